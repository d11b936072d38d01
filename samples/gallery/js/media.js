// Film and sound: jumps on the time line, and proof that both really arrived.
import { fail, mark } from "./ready.js";

const SEEK_SLACK_SECONDS = 0.25;

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

async function seek(element, seconds) {
  const done = once(element, "seeked");
  element.currentTime = seconds;
  await done;
  if (Math.abs(element.currentTime - seconds) > SEEK_SLACK_SECONDS) throw new Error(`asked for ${seconds} s, came to ${element.currentTime} s`);
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
    await seek(video, video.duration * 0.8);
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
