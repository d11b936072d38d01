// Keeps the app's own files, so that it starts when its server is gone. Version {{VERSION}}.
//
// One cache a version: a new one is filled completely before it is used, and old ones are deleted after that. Only what
// `precache.json` lists is ever answered from a cache; the list of peers never is.

const VERSION = "{{VERSION}}";
const PREFIX = "meganet-shell-";
const CACHE = PREFIX + VERSION;
const SHELL = "/index.html";
const LIST_MAX_FILES = 200;

async function keep() {
  const response = await fetch("/precache.json", { cache: "no-store", credentials: "omit" });
  if (!response.ok) throw new Error(`precache.json: ${response.status}`);
  const { version, files } = await response.json();
  // The server changed between this script and the list: the next update brings both of one version.
  if (version !== VERSION || !Array.isArray(files) || files.length > LIST_MAX_FILES) throw new Error("another version");
  const cache = await caches.open(CACHE);
  try {
    // Content-hashed files come from the browser's cache; pages are asked for again. All or nothing.
    await Promise.all(files.map(async (file) => {
      const path = `/${file}`;
      const response = await fetch(path, { cache: path.endsWith(".html") ? "no-cache" : "default", credentials: "omit" });
      if (!response.ok) throw new Error(`${path}: ${response.status}`);
      await cache.put(path, response);
    }));
  } catch (error) {
    await caches.delete(CACHE);
    throw error;
  }
}

async function tidy() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== CACHE).map((name) => caches.delete(name)));
}

async function answer(request, path) {
  const cache = await caches.open(CACHE);
  // Without cookies: the only ones there can be are a site's, set for its parent domain.
  return (await cache.match(path)) ?? fetch(request, { credentials: "omit" });
}

self.addEventListener("install", (event) => event.waitUntil(keep().then(() => self.skipWaiting())));
self.addEventListener("activate", (event) => event.waitUntil(tidy()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== location.origin) return;
  if (url.pathname.startsWith("/.well-known/") || url.pathname === "/precache.json") return;
  const isPage = request.mode === "navigate" && (url.pathname === "/" || url.pathname === SHELL);
  event.respondWith(answer(request, isPage ? SHELL : url.pathname));
});
