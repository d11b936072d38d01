// Film and sound: jumps on the time line, and proof that both really arrived.
import { fail, mark } from "./ready.js";

const SEEK_SLACK_SECONDS = 0.25;
const FRAME_WAIT_MS = 15_000;

function once(target, event) {
  return new Promise((resolve) => target.addEventListener(event, resolve, { once: true }));
}

// Resolves when the element knows its length; rejects with the browser's own words if it cannot.
async function metadata(element) {
  const source = element.querySelector("source") ?? element;
  if (element.readyState >= 1) return;
  await Promise.race([
    once(element, "loadedmetadata"),
    once(source, "error").then(() => {
      throw new Error(element.error?.message || `${element.currentSrc || source.src} did not load`);
    }),
  ]);
}

// Resolves when a frame of about that moment is really shown: browsers report "seeked" even where a file ends too early.
function frameNear(video, seconds) {
  if (!video.requestVideoFrameCallback) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no frame near ${seconds} s came`)), FRAME_WAIT_MS);
    const look = (_, { mediaTime }) => {
      if (Math.abs(mediaTime - seconds) > SEEK_SLACK_SECONDS) return video.requestVideoFrameCallback(look);
      clearTimeout(late);
      resolve();
    };
    video.requestVideoFrameCallback(look);
  });
}

async function seek(video, seconds) {
  const done = Promise.all([once(video, "seeked"), frameNear(video, seconds)]);
  video.currentTime = seconds;
  await done;
  if (Math.abs(video.currentTime - seconds) > SEEK_SLACK_SECONDS) throw new Error(`asked for ${seconds} s, came to ${video.currentTime} s`);
}

export async function film(video, jumps) {
  jumps.hidden = false;
  jumps.addEventListener("click", (event) => {
    const at = event.target.closest("button")?.dataset.at;
    if (at === undefined) return;
    video.currentTime = Number(at);
    video.play().catch(() => {});
  });
  try {
    await metadata(video);
    // Proof that seeking works: go near the end before anything between was needed, then back to the start.
    await seek(video, Math.round(video.duration * 8) / 10);
    await seek(video, 0);
    // Back to the poster, unless the reader was quicker.
    if (video.paused) {
      video.load();
      await metadata(video);
    }
    mark("video");
  } catch (error) {
    fail("video", error);
  }
}

export async function sound(audio) {
  try {
    await metadata(audio);
    if (!(audio.duration > 1)) throw new Error(`the recording says it lasts ${audio.duration} s`);
    mark("audio");
  } catch (error) {
    fail("audio", error);
  }
}
