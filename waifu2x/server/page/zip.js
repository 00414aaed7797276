// A ZIP file of the results.

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

async function crc32(blob) {
  let sum = 0xffffffff;
  const reader = blob.stream().getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return ~sum >>> 0;
    for (const byte of value) sum = (sum >>> 8) ^ CRC_TABLE[(sum ^ byte) & 0xff];
  }
}

/** Little-endian fields of 2 or 4 bytes, given as [size, value]. */
function packed(...fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return view.buffer;
}

/**
 * Names for one folder, as the command gives them: results of in.png and in.jpg are called
 * in_png_waifu2x.png and in_jpg_waifu2x.png. Equal names that are left get a number.
 * pictures: [{source, name}], the names of each file and of its result.
 */
export function distinctNames(pictures) {
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
export async function zip(files) {
  const now = new Date();
  const time = (now.getHours() << 11) | (now.getMinutes() << 5) | (now.getSeconds() >> 1);
  const date = ((now.getFullYear() - 1980) << 9) | ((now.getMonth() + 1) << 5) | now.getDate();
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const { name: text, blob } of files) {
    const name = new TextEncoder().encode(text);
    // Version 2.0, names in UTF-8, stored; then time, date, checksum, both sizes, and lengths.
    const common = [[2, 20], [2, 0x800], [2, 0], [2, time], [2, date], [4, await crc32(blob)],
      [4, blob.size], [4, blob.size], [2, name.length], [2, 0]];
    parts.push(packed([4, 0x04034b50], ...common), name, blob);
    directory.push(packed([4, 0x02014b50], [2, 20], ...common,
      [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]), name);
    offset += 30 + name.length + blob.size;
  }
  const size = directory.reduce((sum, part) => sum + part.byteLength, 0);
  if (offset + size >= 2 ** 32) {
    throw new Error("The results are too large for one ZIP, 4 GB. Download them one by one.");
  }
  const end = packed([4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length],
    [4, size], [4, offset], [2, 0]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
