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

self.addEventListener("install", (event) => {
  event.waitUntil(
    (async () => {
      const cache = await caches.open(CACHE);
      await cache.addAll([...OWN_FILES.keys()].map((path) => new Request(path, { cache: "reload" })));
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

// From the cache first, so that the bridge loads with the bootstrap gone; the network refreshes it for the next time.
async function ownFile(event, path) {
  const cache = await caches.open(CACHE);
  const refreshed = refresh(cache, path);
  event.waitUntil(refreshed);
  const found = (await cache.match(path)) ?? (await refreshed);
  if (!found) throw new ReadError("frame-missing");
  return new Response(event.request.method === "HEAD" ? null : found.body, {
    headers: frameHeaders(OWN_FILES.get(path)),
  });
}

async function refresh(cache, path) {
  try {
    const response = await fetch(path, { cache: "no-cache", credentials: "omit", redirect: "error" });
    if (!response.ok) return undefined;
    await cache.put(path, response.clone());
    return response;
  } catch {
    return undefined;
  }
}
