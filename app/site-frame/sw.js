// The service worker of one site's origin (http://ADDRESS.HOST/): it answers every request of the site by asking the
// MegaNet app, over a MessagePort that the bridge page brings. Served as /.meganet-sw.js, so its scope is "/".
//
// The site's own scripts share this origin. They can post messages here, replace cached files and unregister this
// worker. So nothing here may hold any power beyond reading files of this same site, and no header of a response is
// ever taken from the cache or the app: this worker sets them all.
"use strict";

importScripts("/.meganet/sw-pages.js", "/.meganet/sw-version.js", "/.meganet/sw-port.js", "/.meganet/sw-reply.js");

// The build fills in a hash of the site frame's files: each change makes a new cache, and older ones are deleted.
const CACHE = "meganet-frame-{{VERSION}}";
const CACHE_PREFIX = "meganet-frame-";
const OWN_FILES = new Map([
  ["/.meganet/bridge.html", "text/html; charset=utf-8"],
  ["/.meganet/bridge.js", "text/javascript; charset=utf-8"],
]);

// Own files are asked for again after this long: they come from the app's host, which sees by it that the site is visited.
const REFRESH_AFTER_MS = 24 * 3_600_000;
// When a file was kept, on this device's clock. The site's scripts can change it: then it is asked for more or less often.
const KEPT_AT = "X-MegaNet-Kept";

self.addEventListener("install", (event) => {
  event.waitUntil(
    (async () => {
      const files = [...OWN_FILES.keys()];
      const answers = await Promise.all(files.map((path) => ask(path, "reload")));
      if (answers.includes(undefined)) throw new Error("a part of the site's frame did not arrive");
      // On a full disk the site still opens: these files come from the network then.
      await Promise.all(files.map((path, place) => keep(path, answers[place]))).catch(() => {});
      await self.skipWaiting();
    })(),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys()) {
        if (name.startsWith(CACHE_PREFIX) && name !== CACHE) await caches.delete(name);
      }
      // Without this the visible frame's first navigation would go to the network.
      await self.clients.claim();
    })(),
  );
});

self.addEventListener("message", (event) => {
  if (event.data?.meganet === "port" && isBridge(event.source) && event.ports.length === 1) {
    addLink(event.source.id, event.ports[0]);
  }
});

self.addEventListener("fetch", (event) => {
  event.respondWith(answer(event).catch((error) => failure(event.request, error)));
});

async function answer(event) {
  const { request } = event;
  const url = new URL(request.url);
  if (url.origin !== self.location.origin) return Response.error();
  if (request.method !== "GET" && request.method !== "HEAD") throw new ReadError("method");
  if (OWN_FILES.has(url.pathname)) return ownFile(event, url.pathname);
  // A site is shown inside the app only: there its address is always visible, and frame-src keeps it from leaving.
  if (request.mode === "navigate" && request.destination === "document") return Response.redirect(appLink(url));
  if (url.pathname.startsWith("/.meganet")) throw new ReadError("no-such-path");
  return siteFile(event, url);
}

// From the cache first, so that the bridge loads with the bootstrap gone; now and then the network refreshes it for the
// next time. A new version of these files comes with a new worker, which fills a cache of its own.
async function ownFile(event, path) {
  const kept = await caches.match(path, { cacheName: CACHE }).catch(() => undefined);
  const age = Date.now() - Number(kept?.headers.get(KEPT_AT) ?? 0);
  let found = kept;
  if (!kept || age < 0 || age >= REFRESH_AFTER_MS) {
    const refreshed = ask(path, "no-cache");
    event.waitUntil(refreshed.then((response) => response && keep(path, response.clone())).catch(() => {}));
    found ??= await refreshed;
  }
  if (!found) throw new ReadError("frame-missing");
  return new Response(event.request.method === "HEAD" ? null : found.body, {
    headers: frameHeaders(OWN_FILES.get(path)),
  });
}

// A file of the frame from the app's host; undefined when it does not come.
async function ask(path, cache) {
  try {
    const response = await fetch(path, { cache, credentials: "omit", redirect: "error" });
    return response.ok ? response : undefined;
  } catch {
    return undefined;
  }
}

async function keep(path, response) {
  const cache = await caches.open(CACHE);
  await cache.put(path, new Response(await response.blob(), { headers: { [KEPT_AT]: String(Date.now()) } }));
}
