// Starts the app, and says in plain words when it cannot start or had to stop.

const STOPPED = "meganet-stopped";
const DETAIL_MAX_CHARS = 500;
const byId = (id) => document.getElementById(id);

// A stopped node is followed by a fresh page: nothing of a poisoned instance goes on running behind the message.
const memory = {
  read() {
    try { return sessionStorage.getItem(STOPPED); } catch { return null; }
  },
  write(detail) {
    try { sessionStorage.setItem(STOPPED, detail); return true; } catch { return false; }
  },
  clear() {
    try { sessionStorage.removeItem(STOPPED); } catch { /* Nothing was remembered. */ }
  },
};

function show({ title, what, safe, detail }) {
  byId("app").hidden = true;
  byId("stopped").hidden = false;
  if (title) byId("stopped-title").textContent = title;
  if (what) byId("stopped-what").textContent = what;
  if (safe) byId("stopped-safe").textContent = safe;
  byId("stopped-detail").textContent = String(detail ?? "").slice(0, DETAIL_MAX_CHARS);
  byId("restart").focus();
}

let stopped = false;
function stop(detail) {
  if (stopped) return;
  stopped = true;
  delete window.meganet;
  const text = String(detail || "no further detail").slice(0, DETAIL_MAX_CHARS);
  if (memory.write(text)) location.reload();
  else show({ detail: text });
}

function watch() {
  addEventListener(STOPPED, (event) => stop(event.detail));
  // A trap without a panic (out of memory, stack overflow) poisons the instance just as well.
  addEventListener("error", ({ error }) => error instanceof WebAssembly.RuntimeError && stop(error.message));
  addEventListener("unhandledrejection", ({ reason }) => reason instanceof WebAssembly.RuntimeError && stop(reason.message));
}

// For tests and power users: commands and replies of the node as JSON. Only this origin has it; sites are other origins.
function publish(app) {
  const text = (json) => (typeof json === "string" ? json : JSON.stringify(json));
  window.meganet = Object.freeze({
    command: (json) => app.command(text(json)),
    call: (json) => app.command(text(json)),
    status: () => app.status(),
    timings: () => app.timings(),
    retryNow: () => app.retryNow(),
    crash: () => app.crash(),
  });
}

function missing() {
  if (typeof WebAssembly !== "object") return "WebAssembly, in which the node runs";
  if (typeof RTCPeerConnection !== "function") return "WebRTC, with which peers talk to each other";
  return null;
}

async function start() {
  const lacking = missing();
  if (lacking) {
    show({
      title: "MegaNet cannot run in this browser",
      what: `It has no ${lacking}, or it is switched off.`,
      safe: "Nothing was stored. Allow it in the browser's settings, or use a current Firefox, Chrome or Safari.",
    });
    return;
  }
  watch();
  try {
    const app = await import("/{{APP_JS}}");
    await app.default({ module_or_path: "/{{APP_WASM}}" });
    publish(app);
  } catch (error) {
    if (stopped) return;
    show({
      title: "MegaNet could not be loaded",
      what: "A part of the page did not arrive or could not be started. Check the connection and start again.",
      detail: error?.message ?? error,
    });
    return;
  }
  keepShell();
}

// Keeps the page itself, so that it opens when its server is gone.
function keepShell() {
  if (!("serviceWorker" in navigator)) return;
  navigator.serviceWorker.register("/sw.js", { scope: "/", updateViaCache: "none" }).catch((error) => {
    console.warn("the page is not kept for use without its server:", error);
  });
}

byId("restart").addEventListener("click", () => {
  memory.clear();
  location.reload();
});
const detail = memory.read();
if (detail === null) start();
else show({ detail });
