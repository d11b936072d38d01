// The page's machine-readable sign: document.documentElement.dataset.ready lists what has really worked, in this order.
const ORDER = ["module", "fetch", "image", "svg", "canvas", "dynamic", "video", "audio"];
const root = document.documentElement;
const done = new Set();
const failed = new Map();

export function mark(part) {
  done.add(part);
  failed.delete(part);
  show();
}

// Keeps the reason where a test, or a curious reader, can find it.
export function fail(part, error) {
  if (done.has(part)) return;
  failed.set(part, String(error?.message ?? error));
  show();
}

function show() {
  root.dataset.ready = ORDER.filter((part) => done.has(part)).join(" ");
  if (failed.size) root.dataset.failed = [...failed].map(([part, why]) => `${part}: ${why}`).join("; ");
  else delete root.dataset.failed;
  if (ORDER.every((part) => done.has(part))) root.dataset.complete = "yes";
}

// True if a canvas holds more than one colour, sampled on a coarse grid.
export function isPainted(canvas) {
  const { width, height } = canvas;
  if (!width || !height) return false;
  const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  const seen = new Set();
  for (let i = 0; i < data.length; i += 4 * 97) {
    seen.add((data[i] << 24) | (data[i + 1] << 16) | (data[i + 2] << 8) | data[i + 3]);
    if (seen.size > 2) return true;
  }
  return false;
}
