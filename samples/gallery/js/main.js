// Puts every plate to work. A plate that fails leaves the others alone and says why in data-failed.
import { currents } from "./currents.js";
import { hunt } from "./hunt.js";
import { lightbox } from "./lightbox.js";
import { film, sound } from "./media.js";
import { fail, isPainted, mark } from "./ready.js";
import { rosette } from "./rosette.js";
import { startStage } from "./stage.js";
import { stitches } from "./stitches.js";
import { engrave } from "./title.js";
import { weights } from "./weights.js";

const $ = (id) => document.getElementById(id);

async function attempt(part, work) {
  try {
    await work();
    if (part) mark(part);
  } catch (error) {
    fail(part ?? "module", error);
  }
}

async function json(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

mark("module");
startStage();

attempt("canvas", () => {
  const drawn = [engrave($("title")), currents($("currents"), $("currents-again"), $("currents-seed"))];
  if (!drawn.every(isPainted)) throw new Error("a canvas stayed empty");
});

attempt("svg", () => {
  rosette($("rosette"), $("rosette-dials"));
  stitches($("stitches"), $("stitches-form"));
  if (!($("rosette").querySelector("path").getTotalLength() > 100)) throw new Error("the rosette has no line");
});

const pictures = [...document.querySelectorAll("a[data-zoom]")];
lightbox($("lightbox"), pictures);

attempt("image", () => Promise.all(pictures.map(async (link) => {
  const image = link.querySelector("img");
  await image.decode();
  if (image.naturalWidth !== Number(image.getAttribute("width"))) throw new Error(`${image.id} is ${image.naturalWidth} pixels wide`);
})));

attempt("fetch", async () => {
  const [plates, changes] = await Promise.all([json("plates.json"), json("changes.json")]);
  weights($("weights"), plates.files);
  hunt($("hunt"), $("bells"), changes);
}).then(() => {
  if (!$("weights").querySelector("table")) $("weights").textContent = "The list did not load. The plates do not need it.";
});

film($("film"), $("film-jumps"));
sound($("bells"));

// The last plate's module is fetched only when the reader comes near, or when the page has nothing better to do.
let asked = false;
function callRumour() {
  if (asked) return;
  asked = true;
  attempt("dynamic", async () => {
    const { default: rumour } = await import("./rumour.js");
    const canvas = rumour($("rumour"), { leave: $("rumour-leave"), again: $("rumour-again"), status: $("rumour-status") });
    if (!isPainted(canvas)) throw new Error("the net stayed empty");
  });
}
new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && callRumour(), { rootMargin: "600px" }).observe($("rumour"));
setTimeout(callRumour, 2500);
