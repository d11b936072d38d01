// Full-size pictures in a dialog. Arrow keys, Home and End turn the pages; Escape closes; focus returns to where it was.
export function lightbox(dialog, links) {
  const image = dialog.querySelector("#lightbox-image");
  const title = dialog.querySelector("#lightbox-title");
  const count = dialog.querySelector("#lightbox-count");
  let at = 0;

  function show(index) {
    at = (index + links.length) % links.length;
    const picture = links[at].querySelector("img");
    image.width = picture.naturalWidth || picture.width;
    image.height = picture.naturalHeight || picture.height;
    image.alt = picture.alt;
    image.src = links[at].href;
    title.textContent = links[at].dataset.zoom;
    count.textContent = `${at + 1} of ${links.length}`;
  }

  links.forEach((link, index) => link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(index);
    dialog.showModal();
    dialog.querySelector("#lightbox-close").focus();
  }));
  dialog.querySelector("#lightbox-close").addEventListener("click", () => dialog.close());
  dialog.querySelector("#lightbox-previous").addEventListener("click", () => show(at - 1));
  dialog.querySelector("#lightbox-next").addEventListener("click", () => show(at + 1));
  dialog.addEventListener("close", () => links[at].focus());
  dialog.addEventListener("click", (event) => event.target.classList.contains("lightbox-stage") && dialog.close());
  const keys = { ArrowLeft: () => show(at - 1), ArrowRight: () => show(at + 1), Home: () => show(0), End: () => show(links.length - 1) };
  dialog.addEventListener("keydown", (event) => {
    const turn = keys[event.key];
    if (!turn || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    turn();
  });
  let startX = null;
  dialog.addEventListener("pointerdown", (event) => (startX = event.pointerType === "touch" ? event.clientX : null));
  dialog.addEventListener("pointerup", (event) => {
    if (startX === null) return;
    const moved = event.clientX - startX;
    startX = null;
    if (Math.abs(moved) > 60) show(moved > 0 ? at - 1 : at + 1);
  });
}
