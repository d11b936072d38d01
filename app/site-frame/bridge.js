// The bridge: a hidden page of the site's origin inside the app. It registers the service worker and hands out the two
// ends of a MessageChannel, one to the app (the parent), one to the worker.
//
// Messages to the app, always to its own origin, never "*":
//   {meganet: "bridge-ready", address}          the worker is active: the visible frame may load now
//   {meganet: "port", address} + [MessagePort]  a port on which the worker asks; after the worker restarts, another one
//   {meganet: "bridge-failed", address, code, message}   code: "no-service-worker" or "refused"
//
// The site's own scripts share this origin and could send the same messages: a port gives them nothing but the files of
// this site, which they can read anyway. Nothing here may ever hold more power than that.

const ADDRESS = location.hostname.split(".", 1)[0];
const APP_ORIGIN = `${location.protocol}//${location.host.slice(ADDRESS.length + 1)}`;

function tellApp(message, ports = []) {
  window.parent.postMessage({ ...message, address: ADDRESS }, APP_ORIGIN, ports);
}

function connect(worker) {
  const channel = new MessageChannel();
  tellApp({ meganet: "port" }, [channel.port1]);
  worker.postMessage({ meganet: "port" }, [channel.port2]);
}

async function start() {
  if (window.parent === window) {
    location.replace(`${APP_ORIGIN}/#/${ADDRESS}/`);
    return;
  }
  const workers = navigator.serviceWorker;
  if (!workers) {
    tellApp({ meganet: "bridge-failed", code: "no-service-worker", message: "this browser window has no service workers" });
    return;
  }
  workers.onmessage = (event) => {
    if (event.data?.meganet === "want-port" && event.source) connect(event.source);
  };
  const registering = workers.register("/.meganet-sw.js", { scope: "/", updateViaCache: "none" });
  // The worker of an earlier visit is taken as it is: the check for a newer one fails with the bootstrap gone, and waits in line
  // behind another of the browser's own that may take it 20 s and more.
  registering.catch(() => {});
  const kept = await workers.getRegistration("/");
  if (!kept?.active) await registering;
  const { active } = await workers.ready;
  tellApp({ meganet: "bridge-ready" });
  connect(active);
}

start().catch((error) => {
  tellApp({ meganet: "bridge-failed", code: "refused", message: String(error?.message ?? error) });
});
