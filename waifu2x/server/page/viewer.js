// Two pictures in one place, the divider between them, zoom and pan; by mouse, finger and keys.

import { $ } from "./helpers.js";

export const canvas = $("#canvas");
export const divider = $("#divider");
const LEVELS = [0.1, 0.25, 0.5, 1, 2, 3, 4, 6, 8];

// item: the picture, with its size. zoom: pixels of the screen per pixel of the result. x, y: the top left corner of the picture in
// the canvas, in CSS pixels. split: the place of the divider, 0 to 1.
export const view = { item: null, fit: true, zoom: 1, x: 0, y: 0, width: 0, height: 0, split: 0.5 };

/** Place both pictures and the divider by zoom, position and split. */
export function layout() {
  const [across, down] = [canvas.clientWidth, canvas.clientHeight];
  if (!view.width || !across) return;
  const density = window.devicePixelRatio || 1;
  const fit = density * Math.min(1, across / view.width, down / view.height);
  if (view.fit) view.zoom = fit;
  const width = (view.width * view.zoom) / density;
  const height = (view.height * view.zoom) / density;
  const held = (place, size, room) =>
    (size <= room ? Math.round((room - size) / 2) : Math.min(0, Math.max(room - size, place)));
  view.x = held(view.x, width, across);
  view.y = held(view.y, height, down);
  const left = Math.max(0, view.x);
  const right = Math.min(across, view.x + width);
  const edge = left + view.split * (right - left);
  for (const image of [$("#before"), $("#after")]) {
    Object.assign(image.style, {
      width: `${width}px`, height: `${height}px`, transform: `translate(${view.x}px, ${view.y}px)`,
      clipPath: "none",
    });
  }
  if (!divider.hidden) {
    $("#before").style.clipPath = `inset(0 ${width - (edge - view.x)}px 0 0)`;
    $("#after").style.clipPath = `inset(0 0 0 ${edge - view.x}px)`;
    divider.style.transform = `translateX(${edge}px)`;
    divider.setAttribute("aria-valuenow", Math.round(view.split * 100));
    divider.setAttribute("aria-valuetext", `${Math.round(view.split * 100)}% before`);
  }
  view.edges = [left, right];
  canvas.classList.toggle("pannable", width > across + 1 || height > down + 1);
  $("#zoom-level").textContent = `${Math.round(view.zoom * 100)}%`;
  $("#zoom-fit").setAttribute("aria-pressed", view.fit);
  $("#zoom-one").setAttribute("aria-pressed", !view.fit && view.zoom === 1);
}

/** Zoom to a level. The point (x, y) of the canvas, its center by default, stays in place. */
export function zoomTo(zoom, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const next = Math.min(16, Math.max(0.02, zoom));
  const ratio = next / view.zoom;
  Object.assign(view, {
    fit: false, zoom: next, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio,
  });
  layout();
}

export function fitView() {
  view.fit = true;
  layout();
}

export const zoomIn = () => zoomTo(LEVELS.find((level) => level > view.zoom * 1.01) ?? view.zoom * 1.5);
export const zoomOut = () => zoomTo(
  LEVELS.findLast((level) => level < view.zoom * 0.99) ?? view.zoom / 1.5);

function setSplit(split) {
  view.split = Math.min(1, Math.max(0, split));
  layout();
}

const KEYS = {
  "+": zoomIn,
  "=": zoomIn,
  "-": zoomOut,
  0: fitView,
  1: () => zoomTo(1),
  b: () => setSplit(view.split < 1 ? 1 : 0),
};

canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const far = event.shiftKey ? 5 : 1;
  const [across, down] = {
    ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
  }[event.key] ?? [0, 0];
  const act = KEYS[event.key];
  if (act) act();
  else if (event.target === divider && (across || down)) {
    setSplit(view.split + (across - down) * far * 0.02);
  }
  else if (event.target === divider && event.key === "Home") setSplit(0);
  else if (event.target === divider && event.key === "End") setSplit(1);
  else if ((across || down) && canvas.classList.contains("pannable")) {
    Object.assign(view, { x: view.x - across * far * 40, y: view.y - down * far * 40 });
    layout();
  } else return; // the key is none of the viewer
  event.preventDefault();
});

// One pointer drags the divider, or pans a picture that is larger than the canvas. Two pinch.
const pointers = new Map();
let drag = null;

const inCanvas = ({ clientX, clientY }) => {
  const box = canvas.getBoundingClientRect();
  return [clientX - box.left, clientY - box.top];
};

function pinch() {
  const [[ax, ay], [bx, by]] = [...pointers.values()];
  return { distance: Math.hypot(ax - bx, ay - by), x: (ax + bx) / 2, y: (ay + by) / 2 };
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, inCanvas(event));
  const onDivider = divider.contains(event.target);
  if (pointers.size === 2) drag = { kind: "pinch", zoom: view.zoom, ...pinch() };
  else if (onDivider || !canvas.classList.contains("pannable")) drag = { kind: "split" };
  else drag = { kind: "pan" };
  if (drag.kind === "split" && !divider.hidden) divider.focus({ preventScroll: true });
  canvas.classList.toggle("dragging", drag.kind === "pan");
});

canvas.addEventListener("pointermove", (event) => {
  const last = pointers.get(event.pointerId);
  if (!last || !view.edges) return;
  const [x, y] = inCanvas(event);
  pointers.set(event.pointerId, [x, y]);
  const [left, right] = view.edges;
  if (drag.kind === "split") setSplit((x - left) / (right - left));
  if (drag.kind === "pan") {
    Object.assign(view, { x: view.x + x - last[0], y: view.y + y - last[1] });
    layout();
  }
  if (drag.kind === "pinch" && pointers.size === 2) {
    const now = pinch();
    zoomTo((drag.zoom * now.distance) / drag.distance, now.x, now.y);
  }
});

for (const kind of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(kind, (event) => {
    pointers.delete(event.pointerId);
    canvas.classList.remove("dragging");
    if (drag?.kind === "pinch") drag = { kind: "pan" };
  });
}

canvas.addEventListener("dblclick", (event) => {
  if (view.zoom === 1 && !view.fit) fitView();
  else zoomTo(1, ...inCanvas(event));
});

canvas.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
  event.preventDefault();
  zoomTo(view.zoom * 2 ** (-event.deltaY / 200), ...inCanvas(event));
}, { passive: false });
