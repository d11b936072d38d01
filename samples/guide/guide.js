// What the guide's pages do beyond being read: mark the section in view, search, and take an address apart.
// data-ready on the root element lists what has worked: "module", "search", "image" and, where there is one, "address".
const root = document.documentElement;
const expected = new Set(["module", "search"]);
const done = new Set();

function mark(part) {
  done.add(part);
  root.dataset.ready = ["module", "search", "image", "address"].filter((p) => done.has(p)).join(" ");
  if ([...expected].every((p) => done.has(p))) root.dataset.complete = "yes";
}

function fail(part, error) {
  root.dataset.failed = `${root.dataset.failed ? `${root.dataset.failed}; ` : ""}${part}: ${error.message}`;
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// The chapters' list shows which section is being read.
function followSections() {
  const links = new Map([...document.querySelectorAll(".chapters ol ol a")].map((a) => [a.hash.slice(1), a]));
  if (!links.size) return;
  const headings = [...document.querySelectorAll("main h2[id]")].filter((h) => links.has(h.id));
  const line = 140;
  let shown = null;
  const update = () => {
    const current = headings.filter((h) => h.getBoundingClientRect().top < line).at(-1)?.id ?? null;
    if (current === shown) return;
    links.get(shown)?.removeAttribute("aria-current");
    links.get(current)?.setAttribute("aria-current", "location");
    shown = current;
  };
  let waiting = false;
  addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      update();
    });
  }, { passive: true });
  update();
}

// Search over search.json: every word must occur; words in titles count more.
const RESULTS_SHOWN = 8;
const EXCERPT = 150;

function search() {
  const form = document.querySelector(".search");
  const input = form.querySelector("input");
  const panel = form.querySelector(".results");
  let index = null;
  form.hidden = false;

  async function load() {
    const response = await fetch("search.json");
    if (!response.ok) throw new Error(`search.json: ${response.status}`);
    index = (await response.json()).map((entry) => ({ ...entry, inTitle: entry.title.toLowerCase(), inText: entry.text.toLowerCase() }));
    mark("search");
    if (input.value) show();
  }

  function find(words) {
    const phrase = words.join(" ");
    return index.map((entry) => {
      let score = (entry.inTitle.includes(phrase) ? 20 : 0) + (entry.inText.includes(phrase) ? 8 : 0);
      for (const word of words) {
        const title = entry.inTitle.includes(word);
        const hits = entry.inText.split(word).length - 1;
        if (!title && !hits) return null;
        score += (title ? 12 : 0) + Math.min(hits, 6);
      }
      return { entry, score };
    }).filter(Boolean).sort((a, b) => b.score - a.score);
  }

  // A piece of the text around the whole phrase, or else around the first of its words.
  function excerpt({ text, inText }, words) {
    const hits = [inText.indexOf(words.join(" ")), ...words.map((word) => inText.indexOf(word))].filter((at) => at >= 0);
    const near = Math.max(0, (hits[0] ?? 0) - 40);
    const from = near ? text.indexOf(" ", near) + 1 : 0;
    const to = from + EXCERPT < text.length ? text.lastIndexOf(" ", from + EXCERPT) : text.length;
    return highlighted(`${from ? "… " : ""}${text.slice(from, to)}${to < text.length ? " …" : ""}`, words);
  }

  function highlighted(text, words) {
    const span = element("span");
    const low = text.toLowerCase();
    let i = 0;
    while (i < text.length) {
      let next = -1;
      let length = 0;
      for (const word of words) {
        const hit = low.indexOf(word, i);
        if (hit >= 0 && (next < 0 || hit < next)) [next, length] = [hit, word.length];
      }
      if (next < 0) break;
      span.append(text.slice(i, next), element("mark", { textContent: text.slice(next, next + length) }));
      i = next + length;
    }
    span.append(text.slice(i));
    return span;
  }

  function show() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length || !index) {
      panel.hidden = true;
      panel.replaceChildren();
      return;
    }
    const hits = find(words);
    const say = hits.length ? `${hits.length} ${hits.length === 1 ? "section" : "sections"}${hits.length > RESULTS_SHOWN ? `, the best ${RESULTS_SHOWN} shown` : ""}` : "No section has all of these words. Try fewer, or shorter ones.";
    const list = element("ol", {}, ...hits.slice(0, RESULTS_SHOWN).map(({ entry }) => {
      const heading = entry.title === entry.chapter ? entry.title : `${entry.title} · ${entry.chapter}`;
      return element("li", {}, element("a", { href: `${entry.page}${entry.id ? `#${entry.id}` : ""}` }, element("strong", { textContent: heading }), excerpt(entry, words)));
    }));
    panel.replaceChildren(element("p", { role: "status", textContent: say }), list);
    panel.hidden = false;
  }

  const close = () => (panel.hidden = true);
  input.addEventListener("input", show);
  input.addEventListener("focus", show);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    panel.querySelector("a")?.click();
  });
  form.addEventListener("keydown", (event) => {
    const stops = [input, ...panel.querySelectorAll("a")];
    const at = stops.indexOf(document.activeElement);
    if (event.key === "Escape") {
      close();
      input.focus();
      close();
    } else if (event.key === "ArrowDown" && at >= 0 && !panel.hidden) {
      event.preventDefault();
      stops[Math.min(stops.length - 1, at + 1)].focus();
    } else if (event.key === "ArrowUp" && at > 0) {
      event.preventDefault();
      stops[at - 1].focus();
    }
  });
  panel.addEventListener("click", (event) => event.target.closest("a") && close());
  document.addEventListener("click", (event) => !form.contains(event.target) && close());
  form.addEventListener("focusout", (event) => event.relatedTarget && !form.contains(event.relatedTarget) && close());
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) return;
    event.preventDefault();
    input.focus();
  });
  load().catch((error) => {
    form.hidden = true;
    fail("search", error);
  });
}

// The address explainer. It decodes and names the parts; whether the checksum is right needs BLAKE3, which the app computes.
const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";
const CHARACTERS = 56;
const VERSION = 1;

// Finds the address in what was pasted: plain, with a path, in a page link or in the scheme form.
function bare(text) {
  return text.trim().replace(/^web\+meganet:(\/\/)?/i, "").replace(/^https?:\/\/[^#]*#\/?/i, "").replace(/[/?].*$/s, "").toLowerCase();
}

function decode(address) {
  const bytes = [];
  let buffer = 0;
  let bits = 0;
  for (const character of address) {
    buffer = (buffer << 5) | ALPHABET.indexOf(character);
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes.push((buffer >> bits) & 0xff);
      buffer &= (1 << bits) - 1;
    }
  }
  return bytes;
}

// Says what is wrong in the order the app does: length, alphabet, version.
function judge(address) {
  if (!address) return { bad: "Paste or type an address: 56 letters and digits." };
  const wrong = [...address].findIndex((c) => !ALPHABET.includes(c));
  if (address.length !== CHARACTERS) return { bad: `An address has ${CHARACTERS} characters; this has ${address.length}.`, wrong };
  if (wrong >= 0) return { bad: `Character ${wrong + 1} is “${address[wrong]}”. Addresses use a to z and 2 to 7 only; 0, 1, 8 and 9 never occur.`, wrong };
  const bytes = decode(address);
  if (bytes[34] !== VERSION) return { bad: `The last byte says version ${bytes[34]}; this guide knows version ${VERSION}, whose addresses all end in b.`, bytes };
  return { bytes };
}

function part(position) {
  if (position < 51) return "key";
  if (position === 51) return "key-check";
  if (position < 54) return "check";
  return position === 54 ? "check-version" : "version";
}

function explainer(box) {
  const input = box.querySelector("textarea");
  const verdict = box.querySelector(".verdict");
  const cells = box.querySelector(".cells");
  const bytes = box.querySelector(".bytes");
  const example = input.value;
  const hex = (list) => list.map((b) => b.toString(16).padStart(2, "0")).join(" ");

  function unfold() {
    const address = bare(input.value);
    const found = judge(address);
    verdict.classList.toggle("bad", Boolean(found.bad));
    verdict.textContent = found.bad ?? "The shape is right: 56 characters, version 1. The checksum is shown below, not verified; the app verifies it before it looks for anything.";
    const full = address.length === CHARACTERS;
    cells.replaceChildren(...[...address].slice(0, CHARACTERS).map((c, i) => element("span", { textContent: c, className: i === found.wrong ? "wrong" : full ? part(i) : "" })));
    const fill = (name, text) => (bytes.querySelector(`code.${name}`).textContent = text);
    fill("key", found.bytes ? hex(found.bytes.slice(0, 32)) : "–");
    fill("check", found.bytes ? hex(found.bytes.slice(32, 34)) : "–");
    fill("version", found.bytes ? hex(found.bytes.slice(34)) : "–");
    box.dataset.state = found.bad ? "bad" : "good";
  }

  input.addEventListener("input", unfold);
  box.querySelector("[data-do=example]").addEventListener("click", () => {
    input.value = example;
    unfold();
  });
  box.querySelector("[data-do=slip]").addEventListener("click", () => {
    const address = bare(input.value);
    const at = Math.floor(Math.random() * 51);
    const turned = ALPHABET[(ALPHABET.indexOf(address[at] ?? "a") + 1 + Math.floor(Math.random() * 31)) % 32];
    input.value = address.slice(0, at) + turned + address.slice(at + 1);
    unfold();
  });
  box.hidden = false;
  unfold();
  if (box.dataset.state === "good" && cells.children.length === CHARACTERS) mark("address");
}

const images = [...document.querySelectorAll("main img")];
if (images.length) expected.add("image");
const box = document.querySelector(".explainer");
if (box) expected.add("address");
mark("module");
followSections();
search();
if (box) explainer(box);
if (images.length) {
  Promise.all(images.map((image) => image.decode().catch(() => {
    throw new Error(`${image.getAttribute("src")} did not load`);
  }))).then(() => mark("image"), (error) => fail("image", error));
}
