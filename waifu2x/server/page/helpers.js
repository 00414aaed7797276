// What all parts of the page use.

export const $ = (selector, root = document) => root.querySelector(selector);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export const pause = (seconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, seconds * 1000);
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); });
});

export const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

/** Join facts for one line, which breaks between them only. */
export const joined = (...facts) => facts.filter(Boolean)
  .map((each) => each.replaceAll(" ", "\u00a0")).join(" · ");

export const capitalized = (text) => text[0].toUpperCase() + text.slice(1);
export const dimensions = (width, height) => `${width} × ${height}`;
export const extension = (name) => /\.([^.]{1,5})$/.exec(name)?.[1].toUpperCase() ?? "FILE";

export function bytes(count) {
  if (count < 1000) return `${count} B`;
  const power = Math.min(3, Math.floor(Math.log10(count) / 3));
  const value = count / 1000 ** power;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${["", "kB", "MB", "GB"][power]}`;
}

/** Have a screen reader read a sentence. */
export const announce = (text) => { $("#live").textContent = text; };

/** Show an error that belongs to no picture. */
export function complain(error) {
  $("#trouble p").textContent = error.message;
  $("#trouble").hidden = false;
}

export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Show a share of the work, or that work goes on. */
export function showProgress(bar, { state, progress }) {
  if (state === "running") bar.value = progress;
  else bar.removeAttribute("value");
}

/** The files of a drop, with those in folders. */
export async function droppedFiles(transfer) {
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
