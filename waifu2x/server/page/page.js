// The page of `waifu2x serve`. Sections: helpers, server, ZIP, viewer, settings, pictures, list,
// selection, input, start.
// The page talks to the HTTP API of its own server and to nothing else.

// --- helpers -------------------------------------------------------------------------------

const $ = (selector, root = document) => root.querySelector(selector);

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const pause = (seconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, seconds * 1000);
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); });
});

const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

/** Join facts for one line, which breaks between them only. */
const joined = (...facts) => facts.filter(Boolean)
  .map((each) => each.replaceAll(" ", "\u00a0")).join(" · ");

const capitalized = (text) => text[0].toUpperCase() + text.slice(1);
const dimensions = (width, height) => `${width} × ${height}`;
const extension = (name) => /\.([^.]{1,5})$/.exec(name)?.[1].toUpperCase() ?? "FILE";

function bytes(count) {
  if (count < 1000) return `${count} B`;
  const power = Math.min(3, Math.floor(Math.log10(count) / 3));
  const value = count / 1000 ** power;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${["", "kB", "MB", "GB"][power]}`;
}

/** Have a screen reader read a sentence. */
const announce = (text) => { $("#live").textContent = text; };

/** Show an error that belongs to no picture. */
function complain(error) {
  $("#trouble p").textContent = error.message;
  $("#trouble").hidden = false;
}

function download(blob, name) {
  const url = URL.createObjectURL(blob);
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Show a share of the work, or that work goes on. */
function showProgress(bar, { state, progress }) {
  if (state === "running") bar.value = progress;
  else bar.removeAttribute("value");
}

/** The files of a drop, with those in folders. */
async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((each) => each.webkitGetAsEntry?.());
  if (!entries.some((entry) => entry?.isDirectory)) return transfer.files;
  return (await Promise.all(entries.filter(Boolean).map(filesIn))).flat();
}

async function filesIn(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    found.push(...some.filter(({ name }) => !name.startsWith(".")));
  }
  found.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  return (await Promise.all(found.map(filesIn))).flat();
}

// --- server --------------------------------------------------------------------------------

/** An error in the words of the server (RFC 9457). */
class Problem extends Error {
  constructor(response, body) {
    super(body.detail ?? body.title ?? `The server answered ${response.status}.`);
    this.status = response.status;
    this.retryAfter = Number(response.headers.get("Retry-After")) || 5;
  }
}

/** Fetch from the server; raises Problem, or Error without a server. */
async function send(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Error("The server does not answer. Is waifu2x serve still running?");
  }
  if (response.ok) return response;
  throw new Problem(response, await response.json().catch(() => ({})));
}

/** Forget a job at the server; work under way stops. Works while the page closes, too. */
const forget = (job) => fetch(`api/jobs/${job}`, { method: "DELETE", keepalive: true })
  .catch(() => {});

// --- ZIP -----------------------------------------------------------------------------------

/** The checksum of a file: that of gzip is the same, 8 bytes before the end. */
async function crc32(blob) {
  const gzip = blob.stream().pipeThrough(new CompressionStream("gzip"));
  const end = (await new Response(gzip).blob()).slice(-8, -4);
  return new DataView(await end.arrayBuffer()).getUint32(0, true);
}

/**
 * Names for one folder, as the command gives them: results of in.png and in.jpg are called
 * in_png_waifu2x.png and in_jpg_waifu2x.png. Equal names that are left get a number.
 * pictures: [{source, name}], the names of each file and of its result.
 */
function distinctNames(pictures) {
  const keys = pictures.map(({ name }) => name.toLowerCase());
  const used = new Set();
  return pictures.map(({ source, name }, index) => {
    const suffix = /[^.].*\.([A-Za-z0-9]{1,16})$/s.exec(source)?.[1];
    const contested = pictures.some(
      (other, at) => keys[at] === keys[index] && other.source !== source);
    const marked = suffix && contested ? name.replace(/_waifu2x(?=\.[^.]*$)/, `_${suffix}$&`) : name;
    const [, stem, end] = /^(.*?)(\.[^.]*)?$/s.exec(marked);
    let unique = marked;
    for (let count = 2; used.has(unique.toLowerCase()); count += 1) {
      unique = `${stem} (${count})${end ?? ""}`;
    }
    used.add(unique.toLowerCase());
    return unique;
  });
}

/** A ZIP file of stored, not compressed, files: [{name, blob}]. Its limit is 4 GB. */
async function zip(files) {
  // All fields are of 16 or 32 bits, little-endian like every machine that runs a browser.
  const fields = (...words) => new Uint16Array(words);
  const long = (value) => [value & 0xffff, value >>> 16];
  const now = new Date();
  const time = (now.getHours() << 11) | (now.getMinutes() << 5) | (now.getSeconds() >> 1);
  const date = ((now.getFullYear() - 1980) << 9) | ((now.getMonth() + 1) << 5) | now.getDate();
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const { name: text, blob } of files) {
    const name = new TextEncoder().encode(text);
    // Version 2.0, names in UTF-8, stored; then time, date, checksum, both sizes, and lengths.
    const common = [20, 0x800, 0, time, date, ...long(await crc32(blob)),
      ...long(blob.size), ...long(blob.size), name.length, 0];
    parts.push(fields(...long(0x04034b50), ...common), name, blob);
    directory.push(
      fields(...long(0x02014b50), 20, ...common, 0, 0, 0, ...long(0), ...long(offset)), name);
    offset += 30 + name.length + blob.size;
  }
  const size = directory.reduce((sum, part) => sum + part.byteLength, 0);
  if (offset + size >= 2 ** 32) {
    throw new Error("The results are too large for one ZIP, 4 GB. Download them one by one.");
  }
  const end = fields(
    ...long(0x06054b50), 0, 0, files.length, files.length, ...long(size), ...long(offset), 0);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

// --- viewer --------------------------------------------------------------------------------

// Two pictures in one place, the divider between them, zoom and pan; by mouse, finger and keys.

const canvas = $("#canvas");
const divider = $("#divider");
const LEVELS = [0.1, 0.25, 0.5, 1, 2, 3, 4, 6, 8];

// item: the picture. width, height: of its result, in pixels. zoom: pixels of the screen per pixel
// of the result. x, y: the top left corner of the picture in the canvas, in CSS pixels.
// split: the place of the divider, 0 to 1.
const view = { item: null, fit: true, zoom: 1, x: 0, y: 0, width: 0, height: 0, split: 0.5 };

/** Place both pictures and the divider by zoom, position and split. */
function layout() {
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
function zoomTo(zoom, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const next = Math.min(16, Math.max(0.02, zoom));
  const ratio = next / view.zoom;
  Object.assign(view, {
    fit: false, zoom: next, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio,
  });
  layout();
}

function fitView() {
  view.fit = true;
  layout();
}

const zoomIn = () => zoomTo(LEVELS.find((level) => level > view.zoom * 1.01) ?? view.zoom * 1.5);
const zoomOut = () => zoomTo(
  LEVELS.findLast((level) => level < view.zoom * 0.99) ?? view.zoom / 1.5);

function setSplit(split) {
  view.split = Math.min(1, Math.max(0, split));
  layout();
}

const turn = (by) => {
  const next = items[items.indexOf(view.item) + by];
  if (next) select(next);
};

const KEYS = {
  "+": zoomIn,
  "=": zoomIn,
  "-": zoomOut,
  0: fitView,
  1: () => zoomTo(1),
  b: () => setSplit(view.split < 1 ? 1 : 0),
  PageUp: () => turn(-1),
  PageDown: () => turn(1),
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const ENDS = { Home: 0, End: 1 };

canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const { key, target } = event;
  const far = event.shiftKey ? 5 : 1;
  const [across, down] = ARROWS[key] ?? [];
  if (key in KEYS) KEYS[key]();
  else if (target === divider && key in ARROWS) setSplit(view.split + (across - down) * far * 0.02);
  else if (target === divider && key in ENDS) setSplit(ENDS[key]);
  else if (key in ARROWS && canvas.classList.contains("pannable")) {
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

canvas.addEventListener("lostpointercapture", (event) => {
  pointers.delete(event.pointerId);
  canvas.classList.remove("dragging");
  if (drag?.kind === "pinch") drag = { kind: "pan" };
});

canvas.addEventListener("dblclick", (event) => {
  if (view.zoom === 1 && !view.fit) fitView();
  else zoomTo(1, ...inCanvas(event));
});

canvas.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
  event.preventDefault();
  zoomTo(view.zoom * 2 ** (-event.deltaY / 200), ...inCanvas(event));
}, { passive: false });

// --- settings -------------------------------------------------------------------------------

const form = $("#settings");
const SCALES = [1, 2, 3, 4];
const MORE = ["strength", "color_fix", "tta", "quality", "depth", "strip"];
const LOSSY = ["jpeg", "webp", "avif", "jxl"];
const NAMES = { jpeg: "JPEG", webp: "WebP", jxl: "JPEG XL" };

let models = [];
let declared = {}; // the options of the command by name

/** Add radio buttons that look like one control. usual: the choice after a reset of the form. */
function segments(fieldset, name, choices, usual, chosen = usual) {
  $(".segments", fieldset).replaceChildren(...choices.map(([value, text]) => element("label", {},
    element("input", {
      type: "radio", name, value, defaultChecked: value === usual, checked: value === chosen,
    }),
    element("span", { textContent: text }))));
}

async function loadSettings() {
  const [known, options] = await Promise.all(
    ["api/models", "api/options"].map(async (path) => (await send(path)).json()));
  models = known.models;
  declared = Object.fromEntries(options.options.map((each) => [each.name, each]));
  form.model.replaceChildren(...models.map(({ name }) =>
    new Option(name, name, name === known.default, name === known.default)));
  form.format.replaceChildren(new Option("Automatic", ""),
    ...options.formats.map((each) => new Option(NAMES[each] ?? each.toUpperCase(), each)));
  const times = SCALES.map((each) => [`${each}`, `${each}×`]);
  segments($("#scales"), "times", [...times, ["other", "Other"]], "2");
  $("#more > div").replaceChildren(...MORE.filter((name) => declared[name]).map(moreField));
  restore();
}

/** A field for an option of the command, with its help. */
function moreField(name) {
  const { type, default: value, choices, help } = declared[name];
  const title = name === "tta" ? "TTA" : capitalized(name.replaceAll("_", " "));
  const hint = element("span", { className: "muted small", id: `hint-${name}`, textContent: help });
  let input = element("input", { name, autocomplete: "off", placeholder: value ?? "Automatic" });
  if (type === "boolean") {
    input = element("input", { name, type: "checkbox", value: "true" });
    input.setAttribute("aria-describedby", hint.id);
    return element("label", { className: "flag" }, input, title, hint);
  }
  if (choices?.length) {
    input = element("select", { name }, new Option("Automatic", ""),
      ...choices.map((each) => new Option(each, each)));
  }
  input.setAttribute("aria-describedby", hint.id);
  return element("div", { className: "field" }, element("label", {}, title, input), hint);
}

/** The facts of the chosen model; undefined before they are here. */
const chosenModel = () => models.find((each) => each.name === form.model.value);

/** Make the choices fit together: noise levels of the model, fields for a size, the quality. */
function fitSettings() {
  const model = chosenModel();
  const facts = [model.description, model.license].filter(Boolean);
  $("#model-hint").textContent = facts.length ? capitalized(facts.join("; ")) : "";
  const levels = ["auto", "none", ...model.noise_levels];
  const current = form.noise?.value;
  const chosen = levels.includes(current) ? current : "auto";
  const shown = [...form.querySelectorAll("[name=noise]")].map(({ value }) => value);
  if (`${shown}` !== `${levels}`) {
    const choices = levels.map((each) => [each, capitalized(each)]);
    segments($("#noise-levels"), "noise", choices, "auto", chosen);
  }
  $("#noise-hint").textContent = chosen === "auto"
    ? "By the quality of a JPEG; other pictures are not denoised." : "";
  $("#size").hidden = form.times.value !== "other";
  const quality = form.quality?.closest(".field");
  if (quality) quality.hidden = !LOSSY.includes(form.format.value);
}

/** The chosen options by their names in the API, without those at their default. */
function chosenOptions() {
  const chosen = {};
  if (!models.length) return chosen; // the choices are not here yet
  const set = (name, value) => { if (value) chosen[name] = value; };
  set("model", form.model.value);
  if (form.noise.value !== "auto") set("noise", form.noise.value);
  if (form.times.value !== "other") {
    if (Number(form.times.value) !== chosenModel().default_scale) set("scale", form.times.value);
  } else {
    for (const name of ["scale", "width", "height"]) set(name, form[name].value.trim());
  }
  set("format", form.format.value);
  for (const name of MORE) {
    const field = form[name];
    if (!field || field.closest(".field")?.hidden) continue;
    set(name, field.type === "checkbox" ? field.checked && "true" : field.value.trim());
  }
  return chosen;
}

/** Quote a word for a shell, where it needs quotes. */
function quoted(word) {
  if (/^[\w./:=,+-]+$/.test(word)) return word;
  return /Win/.test(navigator.platform) ? `"${word}"` : `'${word.replaceAll("'", "'\\''")}'`;
}

/** The command line that does the same, to files in the current folder. */
function commandLine() {
  const chosen = chosenOptions();
  if (chosen.model) chosen.model = chosenModel().argument; // null for the default of the command
  const options = Object.entries(chosen).filter(([, value]) => value)
    .map(([name, value]) => {
      const { flag, type } = declared[name];
      return type === "boolean" ? flag : `${flag} ${quoted(value)}`;
    });
  const names = items.map(({ name }) => quoted(/^[-@]/.test(name) ? `./${name}` : name));
  if (!names.length) names.push("picture.png");
  if (names.length > 1) names.push("-o .");
  return ["waifu2x", ...names, ...options].join(" ");
}

async function copyCommand() {
  try {
    await navigator.clipboard.writeText(commandLine());
  } catch { // browsers have no clipboard without TLS, except on loopback
    getSelection().selectAllChildren($("#command code"));
    return;
  }
  announce("Copied the command line.");
  $("#copy use").setAttribute("href", "#icon-check");
  await pause(2);
  $("#copy use").setAttribute("href", "#icon-copy");
}

function settingsChanged() {
  if (models.length) {
    fitSettings();
    const usual = $("[selected]", form.model).value;
    const fields = [...new FormData(form)].filter(([, value]) => value && value !== usual);
    localStorage.setItem("waifu2x-settings", JSON.stringify(fields));
  }
  $("#command code").textContent = commandLine();
  showCounts();
  if (view.item) showViewer();
}

function restore() {
  let saved = [];
  try {
    saved = JSON.parse(localStorage.getItem("waifu2x-settings")) ?? [];
  } catch { /* written by another program */ }
  const model = saved.find(([name]) => name === "model");
  if (models.some((each) => each.name === model?.[1])) form.model.value = model[1];
  fitSettings();
  for (const [name, value] of saved) {
    const field = form[name];
    if (!field || name === "model") continue;
    if (field.type === "checkbox") field.checked = true;
    else field.value = value;
    if (field instanceof HTMLSelectElement && field.selectedIndex < 0) field.value = "";
    if (MORE.includes(name)) $("#more").open = true;
  }
  settingsChanged();
}

function resetSettings() {
  localStorage.removeItem("waifu2x-settings");
  form.reset();
  settingsChanged();
}

// --- pictures -------------------------------------------------------------------------------

const PARALLEL = 3; // jobs at the server at once; further pictures wait here
const ACTIVE = ["waiting", "sending", "queued", "running"];

const items = [];
const isActive = ({ state }) => ACTIVE.includes(state);

function add(files) {
  const added = [...files].map((file) => {
    const { name } = file;
    const item = { file, name, url: URL.createObjectURL(file), state: "ready", message: "" };
    items.push(item);
    item.row = makeRow(item);
    return item;
  });
  if (!added.length) return;
  select(view.item && view.item.state !== "ready" ? view.item : added[0]);
  announce(`Added ${plural(added.length, "picture")}.`);
  settingsChanged();
}

function remove(item) {
  cancel(item);
  const place = items.indexOf(item);
  if (place < 0) return;
  const focused = item.row.contains(document.activeElement);
  items.splice(place, 1);
  item.row.remove();
  URL.revokeObjectURL(item.url);
  if (item.result) URL.revokeObjectURL(item.result.url);
  const next = items[Math.min(place, items.length - 1)];
  if (view.item === item) select(next ?? null);
  if (focused) (next ? $(".pick", next.row) : $("#empty .choose")).focus();
  announce(`Removed ${item.name}.`);
  settingsChanged();
}

/** The pictures that were not yet tried with the current settings. */
function openItems() {
  const current = JSON.stringify(chosenOptions());
  return items.filter((item) => !isActive(item)
    && (["ready", "canceled"].includes(item.state) || JSON.stringify(item.options) !== current));
}

function start(chosen) {
  for (const item of chosen) {
    Object.assign(item, { options: chosenOptions(), progress: 0 });
    change(item, "waiting");
  }
  startWaiting();
}

function startWaiting() {
  const waiting = items.filter(({ state }) => state === "waiting");
  const room = PARALLEL - (items.filter(isActive).length - waiting.length);
  for (const item of waiting.slice(0, Math.max(0, room))) process(item);
}

/** Take a picture through the server, from the upload to the result. */
async function process(item) {
  item.abort = new AbortController();
  const { signal } = item.abort;
  change(item, "sending");
  try {
    item.job = (await submit(item, signal)).id;
    const job = await follow(item, signal);
    const response = await send(`api/jobs/${item.job}/result`, { signal });
    setResult(item, job, response.headers.get("X-Waifu2x-Noise"), await response.blob());
    change(item, "done");
    announce(`${item.name} is done, ${item.result.size}.`);
  } catch (error) {
    if (signal.aborted) change(item, "canceled");
    else {
      change(item, "failed", error.message);
      announce(`${item.name} failed: ${error.message}`);
    }
  }
  if (item.job && !signal.aborted) forget(item.job);
  item.job = null;
  startWaiting();
}

async function submit(item, signal) {
  const body = new FormData();
  for (const [name, value] of Object.entries(item.options)) body.append(name, value);
  body.append("file", item.file, item.name);
  for (;;) {
    await item.file.slice(0, 1).arrayBuffer().catch(() => {
      throw new Error("The browser can no longer read this file. Add it again.");
    });
    signal.throwIfAborted();
    try {
      return await post(body, signal);
    } catch (error) {
      if (signal.aborted || error.status !== 503) throw error;
      change(item, "sending", `${error.message}; next try in ${error.retryAfter} s`);
      await pause(error.retryAfter, signal);
    }
  }
}

/** Post a picture; returns the job. */
function post(body, signal) {
  const request = new AbortController();
  const options = { method: "POST", headers: { Prefer: "respond-async" }, signal: request.signal };
  const answer = send("api/upscale", { ...options, body }).then((response) => response.json());
  return new Promise((resolve, reject) => {
    answer.then(resolve, reject);
    signal.addEventListener("abort", () => {
      reject(signal.reason);
      // The answer to an upload that is complete names the job; any other upload ends soon.
      answer.then(({ id }) => forget(id), () => {});
      pause(2).then(() => request.abort());
    });
  });
}

/** Follow the events of a job to its end; returns the job. The browser reconnects by itself. */
function follow(item, signal) {
  const source = new EventSource(`api/jobs/${item.job}/events`);
  let lost = 0; // attempts to connect since the last event
  return new Promise((resolve, reject) => {
    const receive = ({ type, data }) => {
      lost = 0;
      const job = JSON.parse(data);
      update(item, job);
      if (type === "done") resolve(job);
      if (type === "failed") reject(new Error(job.error.detail));
      if (type === "canceled") reject(new Error("The server canceled this picture."));
    };
    for (const type of ["queued", "progress", "done", "failed", "canceled"]) {
      source.addEventListener(type, receive);
    }
    source.onerror = () => {
      lost += 1;
      if (source.readyState !== EventSource.CLOSED && lost < 5) return;
      source.close();
      // The server has a sentence for a job that it does not know.
      send(`api/jobs/${item.job}`)
        .then(() => reject(new Error("The connection to the server was lost.")), reject);
    };
    signal.addEventListener("abort", () => reject(signal.reason));
  }).finally(() => source.close());
}

function update(item, job) {
  Object.assign(item, { progress: job.progress, position: job.position });
  if (job.size_in && !item.width) [item.width, item.height] = job.size_in;
  if (job.status === "queued" || job.status === "running") change(item, job.status);
}

function setResult(item, { name, notes, size_out: [width, height] }, noise, blob) {
  if (item.result) URL.revokeObjectURL(item.result.url);
  const url = URL.createObjectURL(blob);
  item.result = { blob, url, name, notes, noise, width, height, size: dimensions(width, height) };
}

function cancel(item) {
  if (!isActive(item)) return;
  if (item.state === "waiting") change(item, "canceled");
  else item.abort.abort();
}

function change(item, state, message = "") {
  Object.assign(item, { state, message });
  showRow(item);
  showCounts();
  if (view.item === item) showViewer();
}

// --- list -----------------------------------------------------------------------------------

function stateText(item) {
  switch (item.state) {
    case "waiting": return "Waiting";
    case "sending": return item.message || "Sending";
    case "queued": return item.position ? `In the queue, place ${item.position}` : "In the queue";
    case "running": return `Upscaling, ${Math.floor(item.progress * 100)}%`;
    case "done": return joined(item.result.size, bytes(item.result.blob.size), noiseText(item));
    case "failed": return item.message;
    case "canceled": return "Canceled";
    default:
      return joined(item.width && dimensions(item.width, item.height), bytes(item.file.size));
  }
}

function noiseText(item) {
  const level = item.result.noise;
  return level === "none" ? "not denoised" : `noise ${level}`;
}

function makeRow(item) {
  const row = $("#row").content.firstElementChild.cloneNode(true);
  const thumb = $(".thumb img", row);
  $(".name", row).textContent = item.name;
  $(".kind", row).textContent = extension(item.name);
  $(".kind", row).hidden = true;
  thumb.onload = () => {
    Object.assign(item, { width: thumb.naturalWidth, height: thumb.naturalHeight, shown: true });
    change(item, item.state, item.message);
  };
  thumb.onerror = () => {
    item.shown = false;
    thumb.hidden = true;
    $(".kind", row).hidden = false;
    change(item, item.state, item.message);
  };
  thumb.src = item.url;
  $(".pick", row).onclick = () => select(item);
  $(".again", row).onclick = () => { start([item]); $(".pick", row).focus(); };
  $(".close", row).onclick = () => (isActive(item) ? cancel(item) : remove(item));
  $(".again", row).ariaLabel = $(".again", row).title = `Try ${item.name} again`;
  $("#list").append(row);
  return row;
}

function showRow(item) {
  const { row, state } = item;
  if (!row) return;
  const active = isActive(item);
  row.className = `${state}${view.item === item ? " current" : ""}`;
  $(".pick", row).setAttribute("aria-current", view.item === item);
  $(".detail", row).textContent = stateText(item);
  const bar = $("progress", row);
  bar.hidden = !active || state === "waiting";
  bar.ariaLabel = `Progress of ${item.name}`;
  showProgress(bar, item);
  const close = $(".close", row);
  close.ariaLabel = close.title = `${active ? "Cancel" : "Remove"} ${item.name}`;
  $(".again", row).hidden = !["failed", "canceled"].includes(state);
  const save = $(".save", row);
  save.hidden = state !== "done";
  if (state === "done") offer(save, item);
}

function offer(link, { result }) {
  link.href = result.url;
  link.download = result.name;
  link.title = result.name;
  link.ariaLabel = `Download ${result.name}`;
}

/** Show what depends on the states of all pictures. */
function showCounts() {
  const open = openItems().length;
  const active = items.filter(isActive).length;
  const done = items.filter((item) => item.state === "done").length;
  $("#pictures").hidden = !items.length;
  $("#pictures-title").textContent = plural(items.length, "picture");
  $("#save-all").hidden = done < 2;
  $("#upscale").setAttribute("aria-disabled", !open);
  document.body.classList.toggle("has-work", open + active > 0);
  const label = open ? "Upscale" : "Upscaling";
  $("#upscale").textContent = open || active
    ? `${label} ${plural(open || active, "picture")}` : "Upscale";
  $("#cancel-all").hidden = !active;
  document.title = active ? `(${items.length - active}/${items.length}) waifu2x` : "waifu2x";
}

// --- selection ------------------------------------------------------------------------------

function select(item) {
  const last = view.item;
  view.item = item;
  for (const each of [last, item]) if (each) showRow(each);
  if (item !== last) Object.assign(view, { fit: true, split: 0.5 });
  if (item) scrollList(item.row);
  $("#empty").hidden = Boolean(item);
  $("#viewer").hidden = !item;
  if (item) showViewer();
}

/** Scroll the list, not the page, until a row is visible. */
function scrollList(row) {
  const list = $("#list");
  const top = row.offsetTop - list.offsetTop;
  const bottom = top + row.offsetHeight;
  if (top < list.scrollTop || bottom > list.scrollTop + list.clientHeight) {
    list.scrollTop = top - list.clientHeight / 2;
  }
}

/** The size of the result; before there is a result, that which the settings will give. */
function resultSize(item) {
  const { result, width, height } = item;
  if (result?.width) return [result.width, result.height];
  if (!width) return [0, 0];
  const chosen = chosenOptions();
  const [w, h] = [Number(chosen.width), Number(chosen.height)];
  if (w && h) return [w, h];
  const times = Number(chosen.scale) || chosenModel()?.default_scale || 2;
  const scale = w ? w / width : h ? h / height : times;
  return [Math.round(width * scale), Math.round(height * scale)];
}

function setSource(image, url) {
  if (image.dataset.url === url) return;
  image.dataset.url = url;
  image.onerror = () => {
    image.dataset.failed = url;
    if (view.item) showViewer();
  };
  if (url) image.src = url;
  else image.removeAttribute("src");
}

const isShowable = ({ dataset: { url, failed } }) => Boolean(url) && failed !== url;

function showViewer() {
  const { item } = view;
  const { result } = item;
  const [before, after] = [$("#before"), $("#after")];
  setSource(before, item.shown === false ? "" : item.url);
  setSource(after, result?.url ?? "");
  [view.width, view.height] = resultSize(item);
  const [hasBefore, hasAfter] = [isShowable(before), isShowable(after)];
  before.hidden = !hasBefore || !view.width;
  after.hidden = !hasAfter || !view.width;
  showPlaceholder(item, hasBefore, hasAfter);
  divider.hidden = before.hidden || after.hidden;
  $("#tag-before").hidden = $("#tag-after").hidden = divider.hidden;
  canvas.ariaLabel = `${item.name}${divider.hidden ? "" : ", before and after"}`;
  $("#working").hidden = !isActive(item);
  $("#working p").textContent = stateText(item);
  showProgress($("#working progress"), item);
  $("#facts").textContent = factsText(item);
  const failed = item.state === "failed" && (hasBefore || result);
  const notes = failed ? [item.message] : result?.notes ?? [];
  $("#notes").classList.toggle("wrong", failed);
  $("#notes").hidden = !notes.length;
  $("#notes").textContent = notes.join(" · ");
  $("#save").hidden = !result;
  if (result) offer($("#save"), item);
  layout();
}

/** Show words in place of a picture that the browser cannot show, or that has failed. */
function showPlaceholder(item, hasBefore, hasAfter) {
  let text = "";
  if (item.result) {
    if (!hasAfter) {
      text = `This browser cannot show ${extension(item.result.name)}. `
        + "The result is complete; download it to see it.";
    }
  } else if (item.state === "failed" && !hasBefore) text = item.message;
  else if (item.shown === false) {
    text = `This browser cannot show this ${extension(item.name)} file. `
      + "The server may well read it.";
  }
  $("#placeholder").hidden = !text;
  $("#placeholder").classList.toggle("wrong", item.state === "failed" && !item.result);
  $("#placeholder p").textContent = text;
  if (text) for (const image of [$("#before"), $("#after")]) image.hidden = true;
  $("#zoom").hidden = $("#before").hidden && $("#after").hidden;
}

function factsText(item) {
  const size = item.width ? dimensions(item.width, item.height) : extension(item.name);
  const [width, height] = resultSize(item);
  return width ? `${size} → ${dimensions(width, height)}` : size;
}

// --- input ----------------------------------------------------------------------------------

function listen() {
  for (const button of document.querySelectorAll(".choose")) {
    button.onclick = () => $("#files").click();
  }
  $("#files").onchange = ({ target }) => { add(target.files); target.value = ""; };

  let depth = 0; // of nested elements that a drag has entered
  const drop = (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    depth = { dragenter: depth + 1, dragover: depth, dragleave: depth - 1, drop: 0 }[event.type];
    $("#drop").hidden = depth < 1;
    if (event.type === "drop") droppedFiles(event.dataTransfer).then(add, complain);
  };
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) addEventListener(kind, drop);
  let pasted = 0;
  addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (!files.length) return;
    event.preventDefault();
    add(files.map((file) => {
      if (file.name !== "image.png") return file; // the name of every copied picture
      pasted += 1;
      return new File([file], `pasted-${pasted}.png`, { type: file.type });
    }));
  });

  form.oninput = settingsChanged;
  // A scale and a size exclude each other.
  form.scale.addEventListener("input", () => { form.width.value = form.height.value = ""; });
  for (const name of ["width", "height"]) {
    form[name].addEventListener("input", () => { form.scale.value = ""; });
  }
  form.onsubmit = (event) => { event.preventDefault(); start(openItems()); };
  $("#cancel-all").onclick = () => { items.forEach(cancel); $("#upscale").focus(); };
  $("#clear").onclick = () => { [...items].forEach(remove); $("#empty .choose").focus(); };
  $("#reset-settings").onclick = resetSettings;
  $("#save-all").onclick = () => {
    const done = items.filter(({ state }) => state === "done");
    const names = distinctNames(done.map(({ name, result }) => ({ source: name, name: result.name })));
    zip(done.map(({ result: { blob } }, index) => ({ name: names[index], blob })))
      .then((blob) => download(blob, "waifu2x.zip"), complain);
  };
  $("#copy").onclick = copyCommand;
  $("#trouble button").onclick = () => { $("#trouble").hidden = true; };
  $("#zoom-fit").onclick = fitView;
  $("#zoom-one").onclick = () => zoomTo(1);
  $("#zoom-in").onclick = zoomIn;
  $("#zoom-out").onclick = zoomOut;
  new ResizeObserver(layout).observe(canvas);
  addEventListener("pagehide", () => { for (const { job } of items) if (job) forget(job); });
}

// --- start ----------------------------------------------------------------------------------
listen();
if (/Mac/.test(navigator.platform)) $("kbd").textContent = "⌘ V";
loadSettings().catch(complain);
send("api/health").then(async (response) => {
  $("#version").textContent = (await response.json()).version;
}).catch(complain);
