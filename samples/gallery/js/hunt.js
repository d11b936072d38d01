// The score of plain hunt, and its bells lighting up as the recording reaches them.
import { svg } from "./svg.js";

const LEFT = 20;
const TOP = 22;

export function hunt(target, audio, { bells, rows, strokes }) {
  const across = (760 - 2 * LEFT) / (rows.length - 1);
  const down = (330 - 2 * TOP) / (bells - 1);
  const x = (row) => LEFT + row * across;
  const y = (place) => TOP + place * down;
  const circles = [];
  for (let bell = 1; bell <= bells; bell++) {
    const d = rows.map((row, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(row.indexOf(bell)).toFixed(1)}`).join("");
    target.append(svg("path", { d, class: `bell-${bell}` }));
  }
  rows.forEach((row, i) => row.forEach((bell, place) => {
    const circle = svg("circle", { cx: x(i).toFixed(1), cy: y(place).toFixed(1), r: 13, class: `bell-${bell}` });
    circles.push(circle);
    target.append(svg("g", {}, circle, svg("text", { x: x(i).toFixed(1), y: (y(place) + 5.2).toFixed(1) }, String(bell))));
  }));

  // Strokes come in the order of the circles, one each.
  let request = 0;
  const follow = () => {
    const now = audio.currentTime;
    circles.forEach((circle, i) => {
      const since = now - strokes[i][0];
      circle.classList.toggle("struck", since >= 0 && since < 0.45 && now > 0);
    });
    request = audio.paused ? 0 : requestAnimationFrame(follow);
  };
  const start = () => {
    if (!request) request = requestAnimationFrame(follow);
  };
  for (const event of ["play", "seeked", "pause", "ended"]) audio.addEventListener(event, start);
}
