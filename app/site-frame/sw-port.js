// The service worker's side of the port: who answers, one request with its time limit, and what may be waiting.
// Protocol: {id, op: "read", path, offset, max, sequence} → {id, ok: true, sequence, path, mediaType, size, offset, bytes}
// or {id, ok: false, code, message}, and before either, while the node works on it, {id, pending: true} every 2 s. A read
// beyond the end brings no bytes, and the size as its offset. `sequence` is a version, a decimal number as text; a request
// without one is for the version that the app shows, one for another gets the code `version-changed`.
"use strict";

const BRIDGE_PATH = "/.meganet/bridge.html";
const BRIDGE_TIMEOUT_MS = 3_000;
const BRIDGE_POLL_MS = 100;
const BRIDGE_ASK_AGAIN_MS = 1_000;
// A read fails after this long without a word; how long it may take in all is the node's to decide.
const SILENCE_MAX_MS = 10_000;
// What the app, the node or the queue here turn away is asked for again, first after this, then after twice as long.
const AGAIN_MIN_MS = 100;
const AGAIN_MAX_MS = 1_000;
const TURNED_AWAY = new Set(["busy", "rate-limited"]);
const QUEUE_TIMEOUT_MS = 30_000;
const IN_FLIGHT_MAX = 32;
const QUEUE_MAX = 1_024;
const READ_MAX_BYTES = 1_048_576;
const MESSAGE_MAX_CHARS = 500;

class ReadError extends Error {
  constructor(code, message = "") {
    super(message);
    this.code = code;
  }
}

// Client id of a bridge → its link. One bridge per open app tab.
const links = new Map();
// Client id → when it was last asked for a port.
const asked = new Map();
let inFlight = 0;
const queue = [];
let lastId = 0;

class Link {
  constructor(port) {
    this.port = port;
    this.waiting = new Map();
    port.onmessage = (event) => this.settle(event.data);
  }

  // One read. Rejects with a ReadError; never stays unanswered.
  ask(path, offset, max, sequence) {
    const id = ++lastId;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { path, offset, max, sequence, timer: this.patience(id), resolve, reject });
      this.port.postMessage({ id, op: "read", path, offset, max, sequence });
    });
  }

  patience(id) {
    return setTimeout(() => {
      const request = this.waiting.get(id);
      this.waiting.delete(id);
      request?.reject(new ReadError("timeout"));
    }, SILENCE_MAX_MS);
  }

  settle(reply) {
    const request = this.waiting.get(reply?.id);
    if (!request) return;
    clearTimeout(request.timer);
    if (reply.pending === true) {
      request.timer = this.patience(reply.id);
      return;
    }
    this.waiting.delete(reply.id);
    if (reply.ok === false) {
      request.reject(new ReadError(String(reply.code), String(reply.message ?? "").slice(0, MESSAGE_MAX_CHARS)));
    } else if (isRead(reply, request)) {
      request.resolve(reply);
    } else {
      request.reject(new ReadError("malformed"));
    }
  }

  close() {
    this.port.close();
    for (const { timer, reject } of this.waiting.values()) {
      clearTimeout(timer);
      reject(new ReadError("app-closed"));
    }
    this.waiting.clear();
  }
}

function isRead(reply, { offset, max, sequence }) {
  return (
    reply.ok === true &&
    isSequence(reply.sequence) &&
    (sequence === undefined || reply.sequence === sequence) &&
    typeof reply.path === "string" &&
    typeof reply.mediaType === "string" &&
    Number.isSafeInteger(reply.size) &&
    reply.size >= 0 &&
    reply.offset === Math.min(offset, reply.size) &&
    reply.bytes instanceof ArrayBuffer &&
    reply.bytes.byteLength <= Math.min(max, reply.size - reply.offset)
  );
}

function isBridge(client) {
  return client?.url !== undefined && new URL(client.url).pathname === BRIDGE_PATH;
}

function addLink(clientId, port) {
  links.get(clientId)?.close();
  links.set(clientId, new Link(port));
  asked.delete(clientId);
}

// A link to a bridge that still exists, those in visible tabs first. After a restart of this worker there is none:
// every bridge is asked for a new port.
async function currentLink() {
  const deadline = Date.now() + BRIDGE_TIMEOUT_MS;
  for (;;) {
    const windows = await self.clients.matchAll({ includeUncontrolled: true, type: "window" });
    const bridges = windows.filter(isBridge);
    bridges.sort((a, b) => (b.visibilityState === "visible") - (a.visibilityState === "visible"));
    const alive = new Set(bridges.map((bridge) => bridge.id));
    for (const [id, link] of links) {
      if (alive.has(id)) continue;
      links.delete(id);
      link.close();
    }
    for (const id of asked.keys()) if (!alive.has(id)) asked.delete(id);
    const linked = bridges.find((bridge) => links.has(bridge.id));
    if (linked) return links.get(linked.id);
    const now = Date.now();
    if (now >= deadline) throw new ReadError("app-closed");
    for (const bridge of bridges) {
      if (now - (asked.get(bridge.id) ?? 0) < BRIDGE_ASK_AGAIN_MS) continue;
      asked.set(bridge.id, now);
      bridge.postMessage({ meganet: "want-port" });
    }
    await new Promise((resolve) => setTimeout(resolve, BRIDGE_POLL_MS));
  }
}

// Waits for one of the IN_FLIGHT_MAX places, first come, first served.
function place() {
  if (inFlight < IN_FLIGHT_MAX) {
    inFlight += 1;
    return Promise.resolve();
  }
  if (queue.length >= QUEUE_MAX) return Promise.reject(new ReadError("busy"));
  return new Promise((resolve, reject) => {
    const entry = { resolve };
    entry.timer = setTimeout(() => {
      queue.splice(queue.indexOf(entry), 1);
      reject(new ReadError("timeout"));
    }, QUEUE_TIMEOUT_MS);
    queue.push(entry);
  });
}

function leavePlace() {
  const next = queue.shift();
  if (!next) {
    inFlight -= 1;
    return;
  }
  clearTimeout(next.timer);
  next.resolve();
}

// Reads at most `max` bytes (1 or more) of the file that `path` resolves to, from `offset`; fewer only at its end. With a
// `sequence` it reads that version or none.
async function read(path, offset, max, sequence) {
  let until;
  for (let wait = AGAIN_MIN_MS; ; wait = Math.min(wait * 2, AGAIN_MAX_MS)) {
    try {
      return await readOnce(path, offset, max, sequence);
    } catch (error) {
      if (!TURNED_AWAY.has(error.code)) throw error;
      // A random part, so that many that were turned away together do not come back together.
      const pause = wait * (0.5 + Math.random() / 2);
      until ??= Date.now() + SILENCE_MAX_MS;
      if (Date.now() + pause > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}

async function readOnce(path, offset, max, sequence) {
  await place();
  try {
    const link = await currentLink();
    try {
      return await link.ask(path, offset, Math.min(max, READ_MAX_BYTES), sequence);
    } catch (error) {
      // A port whose other end is gone takes messages without a word: the next request asks for a new one.
      if (error.code === "timeout") forget(link);
      throw error;
    }
  } finally {
    leavePlace();
  }
}

function forget(link) {
  for (const [id, other] of links) {
    if (other !== link || link.waiting.size > 0) continue;
    links.delete(id);
    link.close();
  }
}
