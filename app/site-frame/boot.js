// What a site's origin shows before its service worker runs: at the top level the way into the app; in the app's frame
// a page that waits for the worker which the bridge beside it registers, then loads itself again through it.

const ADDRESS = location.hostname.split(".", 1)[0];
const APP_ORIGIN = `${location.protocol}//${location.host.slice(ADDRESS.length + 1)}`;
const appUrl = `${APP_ORIGIN}/#/${ADDRESS}${location.pathname}`;
const RELOADED = "meganet-boot-reloaded";

if (window.top === window) {
  document.getElementById("open").href = appUrl;
  location.replace(appUrl);
} else {
  // In the app's frame the way out is closed, and the app is there already.
  document.getElementById("actions").remove();
  document.getElementById("what").textContent = "Waiting for the MegaNet page around this one.";
  navigator.serviceWorker?.ready.then(() => {
    // Once only: a worker that is there and does not answer must not make a loop.
    if (sessionStorage.getItem(RELOADED) === location.href) {
      document.getElementById("what").textContent = "The MegaNet page around this one does not answer. Reload it.";
      return;
    }
    sessionStorage.setItem(RELOADED, location.href);
    location.reload();
  });
}
