// The title, engraved: level lines that thicken wherever a letter is, over a slow swell.
import { animate, colour, fit, isMoving, onScheme, onWidth } from "./stage.js";

const LINE_GAP = 7;
const STEP = 4;
const NARROW = 640;

export function engrave(heading) {
  const canvas = heading.querySelector("canvas");
  const text = heading.querySelector("span").textContent;
  let view, mask, ink, accent;

  function measure() {
    heading.classList.add("drawn");
    const narrow = heading.clientWidth < NARROW;
    const words = text.split(" ");
    const lines = narrow ? words : [words.slice(0, -1).join(" "), words.at(-1)];
    const family = getComputedStyle(heading).fontFamily;
    const gap = narrow ? LINE_GAP - 2.5 : LINE_GAP;
    view = fit(canvas, (width) => Math.round(narrow ? width * 0.86 : width * 0.47));
    view.gap = gap;
    mask = letters(lines, family, view.width, view.height);
    ink = colour("ink");
    accent = colour("accent");
    draw(isMoving() ? performance.now() / 1000 : 0);
  }

  function draw(seconds) {
    const { context, width, height, gap } = view;
    context.clearRect(0, 0, width, height);
    const rows = Math.floor(height / gap);
    for (let row = 1; row < rows; row++) {
      const upper = [];
      const lower = [];
      for (let x = 0; x <= width; x += STEP) {
        const swell = Math.sin(x * 0.009 + row * 0.16 + seconds * 0.55) * Math.sin(x * 0.0037 - seconds * 0.33 + row * 0.05);
        const y = row * gap + swell * gap * 0.55;
        const half = 0.35 + mask(x, row * gap) * (gap * 0.43);
        upper.push(x, y - half);
        lower.push(x, y + half);
      }
      context.beginPath();
      context.moveTo(upper[0], upper[1]);
      for (let i = 2; i < upper.length; i += 2) context.lineTo(upper[i], upper[i + 1]);
      for (let i = lower.length - 2; i >= 0; i -= 2) context.lineTo(lower[i], lower[i + 1]);
      context.fillStyle = row === Math.round(rows * 0.82) ? accent : ink;
      context.fill();
    }
  }

  measure();
  animate(canvas, draw);
  onWidth(heading, measure);
  onScheme(measure);
  return canvas;
}

// Draws the words small and out of sight; returns how much letter, 0..1, there is at a point.
function letters(lines, family, width, height) {
  const scale = 2.5;
  const small = document.createElement("canvas");
  small.width = Math.ceil(width / scale);
  small.height = Math.ceil(height / scale);
  const context = small.getContext("2d", { willReadFrequently: true });
  context.scale(1 / scale, 1 / scale);
  context.font = `800 100px ${family}`;
  const longest = Math.max(...lines.map((line) => context.measureText(line).width));
  const size = Math.min((100 * width * 0.985) / longest, (height / lines.length) * 1.16);
  context.font = `800 ${size}px ${family}`;
  context.textBaseline = "alphabetic";
  const room = height / lines.length;
  lines.forEach((line, i) => context.fillText(line, -size * 0.04, room * (i + 0.5) + size * 0.32));
  const alpha = context.getImageData(0, 0, small.width, small.height).data;
  const at = (i, j) => alpha[(Math.min(small.height - 1, Math.max(0, j)) * small.width + Math.min(small.width - 1, Math.max(0, i))) * 4 + 3] / 255;
  return (x, y) => {
    const u = x / scale - 0.5;
    const v = y / scale - 0.5;
    const i = Math.floor(u);
    const j = Math.floor(v);
    const f = u - i;
    const g = v - j;
    return (at(i, j) * (1 - f) + at(i + 1, j) * f) * (1 - g) + (at(i, j + 1) * (1 - f) + at(i + 1, j + 1) * f) * g;
  };
}
