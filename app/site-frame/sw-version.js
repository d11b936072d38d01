// Which version of the site each document and worker of this origin shows. What it reads later must be of that version,
// or is refused as `version-changed`: a page of version 1 never runs the modules of version 2.
//
// The browser ends and restarts this worker while documents go on, so the versions are kept in a cache too. The site's
// scripts can change what is there: they mix up their own pages at most.
"use strict";

const VERSIONS = "meganet-versions";
const VERSIONS_MAX = 1_000;
// Entries kept in the cache beyond the clients that exist: those that are just being made.
const VERSIONS_SLACK = 64;
// Client id → sequence, a decimal number as text: it is a u64.
const versions = new Map();

function versionUrl(clientId) {
  return `/.meganet/version/${encodeURIComponent(clientId)}`;
}

// The version that a request's answer must be of; undefined for a new page, which shows the one that is current.
async function versionFor(event) {
  const { clientId, request } = event;
  if (request.mode === "navigate" || !clientId) return undefined;
  const known = versions.get(clientId);
  if (known !== undefined) return known;
  const sequence = await keptVersion(clientId).catch(() => undefined);
  if (!isSequence(sequence)) return undefined;
  remember(clientId, sequence);
  return sequence;
}

async function keptVersion(clientId) {
  const cache = await caches.open(VERSIONS);
  return (await cache.match(versionUrl(clientId)))?.text();
}

// The oldest makes room: it is still in the cache.
function remember(clientId, sequence) {
  versions.set(clientId, sequence);
  if (versions.size > VERSIONS_MAX) versions.delete(versions.keys().next().value);
}

// The client that this request makes (a page, a worker) shows this version from now on.
function noteVersion(event, sequence) {
  const { resultingClientId } = event;
  if (!resultingClientId) return;
  remember(resultingClientId, sequence);
  event.waitUntil(keepVersion(resultingClientId, sequence).catch(() => {}));
}

async function keepVersion(clientId, sequence) {
  const cache = await caches.open(VERSIONS);
  await cache.put(versionUrl(clientId), new Response(sequence));
  const kept = await cache.keys();
  const clients = await self.clients.matchAll({ includeUncontrolled: true, type: "all" });
  const excess = kept.length - clients.length - VERSIONS_SLACK;
  if (excess <= 0) return;
  const alive = new Set(clients.map((client) => new URL(versionUrl(client.id), self.location).href));
  const gone = kept.filter((request) => !alive.has(request.url));
  for (const request of gone.slice(0, excess)) await cache.delete(request);
}

function isSequence(value) {
  return typeof value === "string" && /^\d{1,20}$/.test(value);
}
