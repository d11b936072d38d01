// A banknote rosette: strands of one curve, each turned a little.
import { svg } from "./svg.js";

// Two rings turn against each other: radius, share of the depth, direction of the phase.
const RINGS = [{ radius: 136, share: 1, turn: 1 }, { radius: 62, share: 0.62, turn: -1 }];
const POINTS = 600;

export function rosette(target, dials) {
  function draw() {
    const lobes = Number(dials.elements.lobes.value);
    const strands = Number(dials.elements.strands.value);
    const depth = Number(dials.elements.depth.value);
    const paths = [];
    for (const { radius, share, turn } of RINGS) for (let k = 0; k < strands; k++) {
      const phase = turn * (k / strands) * Math.PI * 2;
      let path = "";
      for (let i = 0; i < POINTS; i++) {
        const angle = (i / POINTS) * Math.PI * 2;
        const r = radius + share * depth * Math.cos(lobes * angle + phase) * (0.7 + 0.3 * Math.cos(3 * angle));
        path += `${i ? "L" : "M"}${(Math.cos(angle) * r).toFixed(1)} ${(Math.sin(angle) * r).toFixed(1)}`;
      }
      const ink = ["a", "b", "c"][Math.floor((k / strands) * 3)];
      paths.push(svg("path", { d: `${path}Z`, class: `ink-${ink}` }));
    }
    target.replaceChildren(...paths);
  }
  // The form has nowhere to go: its dials are read as they turn.
  dials.addEventListener("submit", (event) => event.preventDefault());
  dials.addEventListener("input", draw);
  draw();
  return target;
}
