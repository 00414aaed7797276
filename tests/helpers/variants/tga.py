"""TGA: Truevision TGA 2.0, every type, depth, origin and kind of attribute."""

from __future__ import annotations

import struct

import numpy as np

from . import HEIGHT, WIDTH, Samples, Variant, Variants, random_samples

_FOOTER = b"TRUEVISION-XFILE.\0"


def file(
    pixels: bytes, kind: int, bits: int, *, attributes: int = 0, origin: int = 2,
    colormap: bytes = b"", entries: int = 0, entry_bits: int = 0, first: int = 0,
    name: bytes = b"", extension: int | None = None, width: int = WIDTH, height: int = HEIGHT,
) -> bytes:  # fmt: skip
    """A TGA. origin: 0 bottom left, 1 bottom right, 2 top left, 3 top right.

    extension: the type of attributes in an extension area, or None for version 1.
    """
    head = struct.pack(
        "<BBBHHBHHHHBB", len(name), bool(colormap), kind, first, entries, entry_bits, 0, 0,
        width, height, bits, attributes | origin << 4,
    )  # fmt: skip
    data = head + name + colormap + pixels
    if extension is None:
        return data
    area = bytearray(495)
    struct.pack_into("<H", area, 0, 495)
    area[494] = extension
    return data + bytes(area) + struct.pack("<II", len(data), 0) + _FOOTER


def stored(samples: Samples, origin: int) -> Samples:
    """Samples in the order of an origin."""
    return samples[:: -1 if origin < 2 else 1, :: -1 if origin % 2 else 1]


def runs(pixels: Samples, *, crossing: bool = False) -> bytes:
    """Run-length packets of (H, W, bytes); crossing: packets of 7 pixels over the rows."""
    lines = [pixels.reshape(-1, pixels.shape[2])] if crossing else list(pixels)
    result = b""
    for line in lines:
        at = 0
        while at < len(line):
            count = 1
            while at + count < len(line) and count < 128 and (line[at + count] == line[at]).all():
                count += 1
            if count > 1:
                result += bytes([128 | count - 1]) + line[at].tobytes()
            else:
                count = min(7, len(line) - at)
                result += bytes([count - 1]) + line[at : at + count].tobytes()
            at += count
    return result


def _fifteen(samples: Samples, bit: Samples | int = 0) -> tuple[Samples, Samples]:
    """5 bits a channel as little-endian bytes (H, W, 2), and the 8-bit colors that they mean."""
    five = samples[:, :, :3].astype(np.uint16) >> 3
    values = five[:, :, 0] << 10 | five[:, :, 1] << 5 | five[:, :, 2] | (bit * np.uint16(0x8000))
    low = np.stack([values & 255, values >> 8], axis=-1).astype(np.uint8)
    return low, np.rint(five * 255 / 31).astype(np.uint8)


def variants() -> Variants:
    """Every variant of TGA."""
    flat = np.repeat(random_samples(4, 8)[:, ::4], 4, axis=1)[:, :WIDTH]
    flat[4] = random_samples(4, 8)[4]
    color, alpha, gray = flat[:, :, :3], flat[:, :, 3], flat[:, :, :1]
    bgr, bgra = color[:, :, ::-1], np.dstack([color[:, :, ::-1], alpha])
    two, five = _fifteen(flat)
    gray_alpha = flat[:, :, [0, 3]]
    for origin, corner in enumerate(("bottom-left", "bottom-right", "top-left", "top-right")):
        for name, pixels, kind, bits, attributes, shown, seen in (
            ("24", bgr, 2, 24, 0, color, None),
            ("32", bgra, 2, 32, 8, color, alpha),
            ("32-no-attributes", bgra, 2, 32, 0, color, None),
            ("16-no-attributes", two, 2, 16, 0, five, None),
            ("gray", gray, 3, 8, 0, gray, None),
            ("gray-alpha", gray_alpha, 3, 16, 8, gray, alpha),
        ):
            order = np.ascontiguousarray(stored(pixels, origin))
            # ImageMagick 6 reads 16-bit gray as color, and alpha without attribute bits.
            unlike = ("magick",) if name in ("gray-alpha", "32-no-attributes") else ()
            for label, body, code in (
                ("raw", order.tobytes(), kind),
                ("rle", runs(order), kind + 8),
                ("rle-crossing", runs(order, crossing=True), kind + 8),
            ):
                data = file(body, code, bits, attributes=attributes, origin=origin)
                tolerance = 1.0 if bits == 16 and kind == 2 else 0.0
                yield Variant(
                    f"tga-{name}-{label}-{corner}", "tga", data, shown, seen, tolerance,
                    unlike=unlike,
                )  # fmt: skip
    yield from _colormaps()
    yield Variant("tga-15", "tga", file(two.tobytes(), 2, 15), five, None, 1.0, may_refuse=True)
    plain = bgr.tobytes()
    yield Variant("tga-name", "tga", file(plain, 2, 24, name=b"x" * 255), color)
    for kind in (0, 1, 2, 3):
        data = file(bgra.tobytes(), 2, 32, attributes=8, extension=kind)
        seen = alpha if kind == 3 else None
        if kind == 3:
            yield Variant(f"tga-32-extension-{kind}", "tga", data, color, seen)
    yield Variant("tga-24-extension", "tga", file(plain, 2, 24, extension=0), color)


def _colormaps() -> Variants:
    index = random_samples(1, 4)[:, :, 0]
    table = random_samples(4, 8, seed=3).reshape(-1, 4)[:16][None]
    for bits in (15, 16, 24, 32):
        two, five = _fifteen(table)
        body = {
            15: two, 16: two, 24: table[:, :, 2::-1], 32: table[:, :, [2, 1, 0, 3]],
        }[bits].tobytes()  # fmt: skip
        color = (five if bits < 24 else table[:, :, :3])[0][index]
        alpha = table[0, :, 3][index] if bits == 32 else None
        for name, first in (("", 0), ("-first", 3)):
            for label, kind in (("raw", 1), ("rle", 9)):
                pixels = (index + first).astype(np.uint8)[:, :, None]
                encoded = pixels.tobytes() if kind == 1 else runs(pixels)
                data = file(
                    encoded, kind, 8, colormap=body, entries=16, entry_bits=bits, first=first,
                    attributes=8 if bits == 32 else 0,
                )  # fmt: skip
                # ImageMagick 6 ignores the first index.
                yield Variant(
                    f"tga-map-{bits}-{label}{name}", "tga", data, color, alpha,
                    1.0 if bits < 24 else 0.0, may_refuse=bits == 15,
                    unlike=("magick",) if first else (),
                )  # fmt: skip
    assert index.shape == (HEIGHT, WIDTH)
