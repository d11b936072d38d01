// What the service worker says when it cannot give a file: what happened, what is safe, what to do.
"use strict";

// Code → [status, what happened, what to do]. Codes are the app's and this worker's own.
const FAILURES = {
  "not-found": [404, "Nobody knows a site with this address", "Check the address, or try again when its author is online."],
  "no-such-path": [404, "The site has no such page", "Check the link, or go to the site's start page."],
  "nobody-serves": [503, "The site exists, but nobody serves it now", "Try again later, when a peer that keeps it is online."],
  offline: [503, "No peer can be reached, and this page is not stored here", "Check the connection. The node keeps trying."],
  "too-large": [413, "The site is larger than what is fetched without asking", "Allow its download in MegaNet, then try again."],
  timeout: [504, "The page did not arrive in time", "Try again: what has arrived so far is kept."],
  busy: [503, "The node is busy", "Try again in a moment."],
  "rate-limited": [429, "The site asked for too much at once", "Try again in a moment."],
  storage: [503, "The browser's storage failed", "Free some space, then try again."],
  stopped: [503, "The node has stopped", "Start it again in MegaNet, then try again."],
  "version-changed": [503, "The site was updated while it was read", "Choose “Show it” above: MegaNet offers the new version there."],
  method: [405, "A site can be read only", "Nothing was sent. Go back to the page."],
  "app-closed": [503, "MegaNet is not open", "Open it, then try again: the app brings the site's pages."],
  "frame-missing": [503, "A part of MegaNet itself is missing", "Reload MegaNet when its server can be reached."],
};
const FAILURE_OTHER = [502, "The page cannot be shown", "Try again, or reload MegaNet."];

// The same look as frame.css; a page of an opaque origin loads no style sheet through this worker.
const STYLE = `
:root { color-scheme: light dark; --text: #1b1f24; --soft: #57606a; --ground: #ffffff; --accent: #0b57d0; --on-accent: #ffffff; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e9ed; --soft: #9aa4af; --ground: #14171b; --accent: #8ab4f8; --on-accent: #10151d; }
}
body { margin: 0; background: var(--ground); color: var(--text); font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 34rem; margin: 12vh auto 0; padding: 0 1.5rem; }
h1 { font-size: 1.375rem; line-height: 1.25; margin: 0 0 0.75rem; }
p { margin: 0 0 0.75rem; overflow-wrap: anywhere; }
.detail, .safe { color: var(--soft); font-size: 0.875rem; }
.actions { display: flex; flex-wrap: wrap; gap: 1rem; align-items: center; margin-top: 1.5rem; }
a { color: var(--accent); }
.button { background: var(--accent); color: var(--on-accent); padding: 0.5rem 1rem; border-radius: 0.5rem; text-decoration: none; }
a:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
`;

function escapeHtml(text) {
  return String(text).replace(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`);
}

// The response for an error: a page where a page was asked for, otherwise one line of text.
function failure(request, error) {
  const code = error instanceof ReadError ? error.code : "internal";
  const [status, title, advice] = Object.hasOwn(FAILURES, code) ? FAILURES[code] : FAILURE_OTHER;
  const headers = pageHeaders("text/plain; charset=utf-8");
  if (status === 405) headers.set("Allow", "GET, HEAD");
  if (request.method === "HEAD") return new Response(null, { status, headers });
  const detail = error.message ?? "";
  if (request.mode !== "navigate") return new Response(`${title}. ${advice}\n${detail}\n`, { status, headers });
  headers.set("Content-Type", "text/html; charset=utf-8");
  return new Response(page(request, title, advice, detail), { status, headers });
}

function page(request, title, advice, detail) {
  const url = new URL(request.url);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${escapeHtml(title)}</h1>
<p>${escapeHtml(advice)}</p>
${detail ? `<p class="detail">${escapeHtml(detail)}</p>` : ""}
<p class="safe">Nothing is lost: what your browser keeps of this site, your keys and your other sites are unchanged.</p>
<p class="actions"><a class="button" href="${escapeHtml(url.pathname + url.search)}">Try again</a></p>
</main>
</body>
</html>
`;
}
