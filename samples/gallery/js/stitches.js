// Hitomezashi: words give each row and column the bit that says how it begins.
import { svg } from "./svg.js";

const COLUMNS = 60;
const ROWS = 30;
const CELL = 10;

export function stitches(target, form) {
  const field = form.elements.words;

  function sew() {
    const bits = [...new TextEncoder().encode(field.value || " ")].flatMap((byte) => [7, 6, 5, 4, 3, 2, 1, 0].map((k) => (byte >> k) & 1));
    const back = [...bits].reverse();
    const rowBit = (y) => bits[y % bits.length];
    const columnBit = (x) => back[x % back.length];
    // Crossing a stitch changes sides, so the cloth has two colours and no third.
    let cells = "";
    let left = 0;
    for (let y = 0; y < ROWS; y++) {
      if (y > 0 && (0 + rowBit(y)) % 2 === 0) left ^= 1;
      let side = left;
      for (let x = 0; x < COLUMNS; x++) {
        if (x > 0 && (y + columnBit(x)) % 2 === 0) side ^= 1;
        if (side) cells += `M${x * CELL} ${y * CELL}h${CELL}v${CELL}h-${CELL}z`;
      }
    }
    let thread = "";
    for (let y = 1; y < ROWS; y++) for (let x = 0; x < COLUMNS; x++) if ((x + rowBit(y)) % 2 === 0) thread += `M${x * CELL} ${y * CELL}h${CELL}`;
    for (let x = 1; x < COLUMNS; x++) for (let y = 0; y < ROWS; y++) if ((y + columnBit(x)) % 2 === 0) thread += `M${x * CELL} ${y * CELL}v${CELL}`;
    target.replaceChildren(
      svg("rect", { width: COLUMNS * CELL, height: ROWS * CELL, fill: "#12304f" }),
      svg("path", { d: cells, fill: "#1c4a6b", "shape-rendering": "crispEdges" }),
      svg("path", { d: thread, stroke: "#f5eee0", "stroke-width": 1.7, "stroke-linecap": "round", fill: "none" }),
    );
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  field.addEventListener("input", sew);
  sew();
  return target;
}
