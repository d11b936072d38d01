// The service worker's responses: paths, ranges, streamed bodies and the headers that hold a site in its origin.
"use strict";

// Plaintext bytes of one chunk. Large files begin a chunk of their own, so a read aligned to this costs one chunk.
const CHUNK_BYTES = 262_128;
// A read from here brings type and size, and costs no chunk.
const BEYOND_ANY_END = Number.MAX_SAFE_INTEGER;
const READ_CHUNKS_MAX = 4;
const READS_AHEAD_MAX = 2;
const READ_FAST_MS = 500;
const READ_SLOW_MS = 3_000;

const SITE_ORIGIN = self.location.origin;
const ADDRESS = self.location.hostname.split(".", 1)[0];
const APP_ORIGIN = `${self.location.protocol}//${self.location.host.slice(ADDRESS.length + 1)}`;

// Whatever a site does, it reaches nothing but its own files: see threats 70 to 72.
const SITE_CSP = [
  "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:",
  "connect-src 'self' data: blob:",
  "frame-src 'self'",
  "form-action 'self'",
  "base-uri 'self'",
  "object-src 'none'",
  "webrtc 'block'",
  "sandbox allow-scripts allow-same-origin allow-forms allow-modals allow-downloads",
  `frame-ancestors ${APP_ORIGIN} ${SITE_ORIGIN}`,
].join("; ");

// For the bridge. The site's scripts share its origin, so it must be held as tightly as the site.
const FRAME_CSP = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "worker-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "webrtc 'block'",
  "sandbox allow-scripts allow-same-origin",
  `frame-ancestors ${APP_ORIGIN}`,
].join("; ");

// For this worker's own pages: of an opaque origin, so that the site's scripts cannot reach into them.
const PAGE_CSP = [
  "default-src 'none'",
  "style-src 'unsafe-inline'",
  "base-uri 'none'",
  "form-action 'none'",
  "sandbox",
  `frame-ancestors ${APP_ORIGIN} ${SITE_ORIGIN}`,
].join("; ");

// What no directive above stops: preconnects, WebRTC, navigation to another site. Chromium only; others ignore it.
const OWN_ORIGIN_ONLY = "(response-origin);redirects=allow";

function siteHeaders(mediaType) {
  return headersOf(mediaType, SITE_CSP, { "Connection-Allowlist": OWN_ORIGIN_ONLY });
}

function frameHeaders(mediaType) {
  return headersOf(mediaType, FRAME_CSP, { "Connection-Allowlist": OWN_ORIGIN_ONLY });
}

function pageHeaders(mediaType) {
  return headersOf(mediaType, PAGE_CSP, {});
}

function headersOf(mediaType, policy, more) {
  const headers = new Headers({
    "Content-Security-Policy": policy,
    "X-Content-Type-Options": "nosniff",
    "Origin-Agent-Cluster": "?1",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-DNS-Prefetch-Control": "off",
    "Cache-Control": "no-store",
    ...more,
  });
  try {
    headers.set("Content-Type", mediaType);
  } catch {
    headers.set("Content-Type", "application/octet-stream");
  }
  return headers;
}

// Where the app shows what this URL names.
function appLink(url) {
  return `${APP_ORIGIN}/#/${ADDRESS}${url.pathname}`;
}

// The request path of a site file: no leading slash, percent-decoded. Encoded separators would let one file have
// URLs with different bases, so they name nothing.
function filePath(url) {
  if (/%(?:2f|5c|00)/i.test(url.pathname)) throw new ReadError("no-such-path");
  try {
    return decodeURIComponent(url.pathname.slice(1));
  } catch {
    throw new ReadError("no-such-path");
  }
}

// A single byte range (RFC 9110 §14.1.2): {first, last} with `last` inclusive and maybe Infinity, or {suffix}.
// Undefined for none, several or malformed ones: the whole file is the correct answer to those.
function byteRange(header) {
  const match = /^bytes=\s*(\d{0,15})-(\d{0,15})\s*$/.exec(header ?? "");
  if (!match || (match[1] === "" && match[2] === "")) return undefined;
  if (match[1] === "") return { suffix: Number(match[2]) };
  const range = { first: Number(match[1]), last: match[2] === "" ? Infinity : Number(match[2]) };
  return range.last < range.first ? undefined : range;
}

// Relative URLs resolve against the directory, so a file must be asked for under its own.
function redirectTarget(path, resolved, url) {
  const directory = (of) => of.slice(0, of.lastIndexOf("/") + 1);
  if (directory(path) === directory(resolved)) return undefined;
  const target = resolved === `${path}/index.html` ? `${path}/` : resolved;
  return `${SITE_ORIGIN}/${target.split("/").map(encodeURIComponent).join("/")}${url.search}`;
}

async function siteFile(event, url) {
  const { request } = event;
  const path = filePath(url);
  let range = byteRange(request.headers.get("range"));
  const first = await firstRead(path, request.method, range, await versionFor(event));
  noteVersion(event, first.sequence);
  const { size } = first;
  const target = redirectTarget(path, first.path, url);
  if (target) return Response.redirect(target);
  const headers = siteHeaders(first.mediaType);
  headers.set("Accept-Ranges", "bytes");
  if (request.method === "HEAD") {
    headers.set("Content-Length", String(size));
    return new Response(null, { headers });
  }
  if (!range) return respond(event, first, size, 200, headers);
  if (range.suffix !== undefined) range = { first: Math.max(0, size - range.suffix), last: Infinity };
  if (range.first >= size) {
    headers.set("Content-Range", `bytes */${size}`);
    return new Response(null, { status: 416, headers });
  }
  const end = Math.min(range.last + 1, size);
  headers.set("Content-Range", `bytes ${range.first}-${end - 1}/${size}`);
  return respond(event, first, end, 206, headers);
}

// The read that tells type and size, and mostly brings all that is asked for.
async function firstRead(path, method, range, version) {
  if (method === "HEAD") return read(path, BEYOND_ANY_END, 1, version);
  if (range?.suffix === undefined) {
    const offset = range?.first ?? 0;
    return read(path, offset, Math.min(pieceBytes(offset, 1), (range?.last ?? Infinity) + 1 - offset), version);
  }
  const { size, sequence } = await read(path, BEYOND_ANY_END, 1, version);
  const offset = Math.max(0, size - range.suffix);
  return read(path, offset, pieceBytes(offset, 1), sequence);
}

// Bytes from `offset` to the end of the `chunks`-th chunk from there.
function pieceBytes(offset, chunks) {
  return (Math.floor(offset / CHUNK_BYTES) + chunks) * CHUNK_BYTES - offset;
}

// `first` and what follows it up to `end` (exclusive).
function respond(event, first, end, status, headers) {
  const bytes = new Uint8Array(first.bytes).subarray(0, end - first.offset);
  headers.set("Content-Length", String(end - first.offset));
  if (first.offset + bytes.length >= end) return new Response(bytes, { status, headers });
  const { stream, done } = streamBody(first, bytes, end);
  event.waitUntil(done);
  return new Response(stream, { status, headers });
}

// Reads on as the browser takes bytes, at most READS_AHEAD_MAX before it asks; reads grow while they are quick.
function streamBody(first, firstBytes, end) {
  const { path, size, sequence } = first;
  let position = first.offset;
  let nextOffset = position + firstBytes.length;
  let chunks = 1;
  let ahead = [];
  let finish;
  const done = new Promise((resolve) => (finish = resolve));

  function fill() {
    while (ahead.length < READS_AHEAD_MAX && nextOffset < end) {
      const max = Math.min(pieceBytes(nextOffset, chunks), end - nextOffset);
      const reply = read(path, nextOffset, max, sequence);
      reply.catch(() => {});
      ahead.push({ reply, max, started: Date.now() });
      nextOffset += max;
    }
  }

  function pace(milliseconds) {
    if (milliseconds < READ_FAST_MS) chunks = Math.min(chunks * 2, READ_CHUNKS_MAX);
    else if (milliseconds > READ_SLOW_MS) chunks = 1;
  }

  const stream = new ReadableStream(
    {
      start(controller) {
        position += firstBytes.length;
        controller.enqueue(firstBytes);
      },
      async pull(controller) {
        try {
          fill();
          const { reply, max, started } = ahead.shift();
          const piece = await reply;
          pace(Date.now() - started);
          // One version has one file of this path: another size means the app's end is broken.
          if (piece.size !== size || piece.path !== path || piece.bytes.byteLength === 0) throw new ReadError("malformed");
          position += piece.bytes.byteLength;
          if (piece.bytes.byteLength < max) {
            // A short read leaves a gap before those behind it: they are asked for again from where it ended.
            ahead = [];
            nextOffset = position;
          }
          controller.enqueue(new Uint8Array(piece.bytes));
          if (position >= end) {
            controller.close();
            finish();
          } else {
            fill();
          }
        } catch (error) {
          finish();
          controller.error(error);
        }
      },
      cancel() {
        nextOffset = end;
        ahead = [];
        finish();
      },
    },
    { highWaterMark: 1 },
  );
  return { stream, done };
}
