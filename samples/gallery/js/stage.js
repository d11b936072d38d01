// Sizing canvases, reading the page's colours, and one switch for everything that moves.
const MAX_PIXEL_RATIO = 2;
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");
const button = document.getElementById("motion");
const listeners = new Set();
const onScreen = new Set();
let moving = !calm.matches;

export const isMoving = () => moving;

// Calls back now and whenever the reader stops or starts motion.
export function onMotion(callback) {
  listeners.add(callback);
  callback(moving);
}

function setMoving(value) {
  moving = value;
  button.textContent = moving ? "Pause motion" : "Play motion";
  button.setAttribute("aria-pressed", String(!moving));
  for (const callback of listeners) callback(moving);
}

export function startStage() {
  button.addEventListener("click", () => setMoving(!moving));
  calm.addEventListener("change", () => setMoving(!calm.matches));
  setMoving(moving);
}

export const onScheme = (callback) => dark.addEventListener("change", callback);

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// Gives a canvas as many pixels as it is shown with; returns its context scaled to CSS pixels, and its size in them.
export function fit(canvas, heightFor) {
  const width = Math.max(1, Math.round(canvas.clientWidth || canvas.parentElement.clientWidth));
  const height = Math.max(1, Math.round(heightFor ? heightFor(width) : canvas.clientHeight));
  const ratio = Math.min(MAX_PIXEL_RATIO, devicePixelRatio || 1);
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, width, height };
}

// Runs `frame(seconds)` while the element is on screen and the reader allows motion.
export function animate(element, frame) {
  let visible = false;
  let request = 0;
  const step = (time) => {
    request = 0;
    frame(time / 1000);
    schedule();
  };
  const schedule = () => {
    if (visible && moving && !request) request = requestAnimationFrame(step);
    if (!(visible && moving) && request) {
      cancelAnimationFrame(request);
      request = 0;
    }
  };
  new IntersectionObserver((entries) => {
    visible = entries[entries.length - 1].isIntersecting;
    onScreen[visible ? "add" : "delete"](element);
    // The switch is there while something moves, and stays while somebody is using it.
    button.hidden = !onScreen.size && document.activeElement !== button;
    schedule();
  }).observe(element);
  onMotion(schedule);
}

// Calls back when the element's width changes, not for every pixel of a drag.
export function onWidth(element, callback) {
  let width = element.clientWidth;
  let timer = 0;
  new ResizeObserver(() => {
    if (element.clientWidth === width) return;
    width = element.clientWidth;
    clearTimeout(timer);
    timer = setTimeout(callback, 120);
  }).observe(element);
}
