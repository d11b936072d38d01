// Swimmers in a field of directions.
import { chance, noise } from "./chance.js";
import { fit, isMoving, onMotion, onWidth } from "./stage.js";

const SWIMMERS = 900;
const STEPS = 260;
const INKS = ["#f5eee0", "#e8c484", "#e4572e", "#6cc3bd", "#186a74", "#8fb4d8"];
const NIGHT = "#0d1421";

export function currents(canvas, again, label) {
  let seed = 1847;
  let request = 0;

  function begin() {
    cancelAnimationFrame(request);
    request = 0;
    const { context, width, height } = fit(canvas);
    const field = noise(seed);
    const random = chance(seed ^ 0x9e3779b9);
    const reach = Math.max(width, height);
    const swimmers = Array.from({ length: SWIMMERS }, () => {
      const x = random() * width;
      const y = random() * height;
      // The place of birth decides the ink, so a stream keeps one colour.
      const tone = field(x / reach * 3 + 17, y / reach * 3 + 5) * 1.5 - 0.25 + (random() - 0.5) * 0.18;
      return { x, y, ink: INKS[Math.min(INKS.length - 1, Math.max(0, Math.floor(tone * INKS.length)))], life: STEPS * (0.35 + random() * 0.65) };
    });
    context.fillStyle = NIGHT;
    context.fillRect(0, 0, width, height);
    context.lineWidth = Math.max(0.8, reach / 1100);
    context.globalAlpha = 0.72;
    const pace = reach / 620;
    let step = 0;

    function swim() {
      for (const s of swimmers) {
        if (step > s.life) continue;
        const turn = field(s.x / reach * 4.2, s.y / reach * 4.2) * Math.PI * 4 + field(s.x / reach * 9 + 31, s.y / reach * 9) * 0.9;
        context.strokeStyle = s.ink;
        context.beginPath();
        context.moveTo(s.x, s.y);
        s.x += Math.cos(turn) * pace;
        s.y += Math.sin(turn) * pace;
        context.lineTo(s.x, s.y);
        context.stroke();
      }
      step++;
    }

    const frame = () => {
      request = 0;
      swim();
      if (step < STEPS && isMoving()) request = requestAnimationFrame(frame);
    };
    resume = () => {
      if (request || step >= STEPS) return;
      request = requestAnimationFrame(frame);
    };
    label.textContent = `Seed ${seed}`;
    if (isMoving()) {
      for (let i = 0; i < 30; i++) swim();
      resume();
    } else {
      // A reader who wants stillness gets the finished plate at once.
      while (step < STEPS) swim();
    }
  }

  let resume = () => {};
  again.addEventListener("click", () => {
    seed = Math.floor(Math.random() * 10000);
    begin();
  });
  begin();
  onMotion((moving) => moving && resume());
  onWidth(canvas, begin);
  return canvas;
}
