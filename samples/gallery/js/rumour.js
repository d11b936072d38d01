// A chunk spreads among peers, and outlives its author. Loaded with import() when the plate comes near.
import { chance } from "./chance.js";
import { animate, colour, fit, isMoving, onMotion, onScheme, onWidth } from "./stage.js";

const PEERS = 130;
const LINKS = 3;
const MOMENT_SECONDS = 0.42;

export default function rumour(canvas, { leave, again, status }) {
  let seed = 7;
  let view, peers, moment, gone, flights, lastMoment;

  function begin() {
    const random = chance(seed);
    peers = [];
    while (peers.length < PEERS) {
      // Of a few candidates the loneliest is taken, so the net is even without being a grid.
      let best, bestDistance = -1;
      for (let i = 0; i < 9; i++) {
        const candidate = { x: 0.04 + random() * 0.92, y: 0.05 + random() * 0.9 };
        const distance = peers.reduce((least, p) => Math.min(least, (p.x - candidate.x) ** 2 + (p.y - candidate.y) ** 2), 9);
        if (distance > bestDistance) [best, bestDistance] = [candidate, distance];
      }
      peers.push({ ...best, knows: false, here: true, links: new Set() });
    }
    peers.forEach((peer, i) => {
      const near = peers.map((other, j) => [j, (other.x - peer.x) ** 2 + (other.y - peer.y) ** 2]).sort((a, b) => a[1] - b[1]);
      for (const [j] of near.slice(1, LINKS + 1)) {
        peer.links.add(j);
        peers[j].links.add(i);
      }
    });
    peers[0].knows = true;
    moment = 0;
    gone = false;
    flights = [];
    lastMoment = 0;
    leave.disabled = false;
    peers.random = random;
    draw(1);
    say();
    if (!isMoving()) settle();
  }

  // Without motion the plate shows its end: everybody who can be reached has been.
  function settle() {
    while (tell());
    flights = [];
    draw(1);
    say();
  }

  function tell() {
    flights = [];
    peers.forEach((peer, i) => {
      if (!peer.knows || !peer.here) return;
      const ignorant = [...peer.links].filter((j) => peers[j].here && !peers[j].knows && !flights.some((f) => f.to === j));
      if (ignorant.length) flights.push({ from: i, to: ignorant[Math.floor(peers.random() * ignorant.length)] });
    });
    for (const { to } of flights) peers[to].knows = true;
    if (flights.length) moment++;
    return flights.length > 0;
  }

  function say() {
    const here = peers.filter((p) => p.here);
    const holders = here.filter((p) => p.knows).length;
    const author = gone ? "The author has left." : "The author is still here.";
    const text = holders ? `${holders} of ${here.length} hold the chunk after ${moment} moments. ${author}`
      : "The author left before telling anybody. The chunk is lost; begin again and wait a moment.";
    if (status.textContent !== text) status.textContent = text;
  }

  function draw(progress) {
    const { context, width, height } = view;
    const ink = colour("ink");
    const filled = colour("strand-b");
    const accent = colour("accent");
    const radius = Math.max(4, Math.min(width, height) / 85);
    const px = (p) => p.x * width;
    const py = (p) => p.y * height;
    context.clearRect(0, 0, width, height);
    context.lineWidth = 1;
    context.strokeStyle = ink;
    context.globalAlpha = 0.22;
    context.beginPath();
    peers.forEach((peer, i) => peer.here && peer.links.forEach((j) => {
      if (j > i && peers[j].here) {
        context.moveTo(px(peer), py(peer));
        context.lineTo(px(peers[j]), py(peers[j]));
      }
    }));
    context.stroke();
    context.globalAlpha = 1;
    const arriving = new Set(progress < 1 ? flights.map((f) => f.to) : []);
    peers.forEach((peer, i) => {
      if (!peer.here) return;
      context.beginPath();
      context.arc(px(peer), py(peer), i === 0 ? radius * 1.7 : radius, 0, Math.PI * 2);
      context.fillStyle = i === 0 ? accent : peer.knows && !arriving.has(i) ? filled : colour("mount");
      context.fill();
      context.strokeStyle = i === 0 ? accent : peer.knows && !arriving.has(i) ? filled : ink;
      context.stroke();
    });
    context.fillStyle = accent;
    if (progress < 1) for (const { from, to } of flights) {
      const a = peers[from];
      const b = peers[to];
      context.beginPath();
      context.arc(px(a) + (px(b) - px(a)) * progress, py(a) + (py(b) - py(a)) * progress, radius * 0.55, 0, Math.PI * 2);
      context.fill();
    }
  }

  function frame(seconds) {
    if (!lastMoment) lastMoment = seconds;
    const progress = (seconds - lastMoment) / MOMENT_SECONDS;
    if (progress >= 1) {
      lastMoment = seconds;
      tell();
      say();
      draw(flights.length ? 0 : 1);
    } else if (flights.length) draw(progress);
  }

  leave.addEventListener("click", () => {
    peers[0].here = false;
    gone = true;
    leave.disabled = true;
    draw(1);
    say();
  });
  again.addEventListener("click", () => {
    seed = Math.floor(Math.random() * 10000);
    begin();
  });
  view = fit(canvas);
  begin();
  animate(canvas, frame);
  onMotion((moving) => !moving && settle());
  onWidth(canvas, () => {
    view = fit(canvas);
    draw(1);
  });
  onScheme(() => draw(1));
  return canvas;
}
