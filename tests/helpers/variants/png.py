"""PNG: ISO/IEC 15948, all color types and depths, transparency, damaged ancillary chunks."""

from __future__ import annotations

import itertools
import struct
import zlib
from typing import Any

import numpy as np

from helpers.animations import chunk

from . import HEIGHT, WIDTH, Samples, Variant, Variants, packed, random_samples, scaled, split

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PASSES = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
)  # fmt: skip
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_END = chunk(b"IEND", b"")


def _filtered(row: bytes, above: bytes, kind: int, step: int) -> bytes:
    """One row filtered by a type of the specification, 9.2."""
    result = bytearray([kind])
    for i, value in enumerate(row):
        a = row[i - step] if i >= step else 0
        b = above[i]
        c = above[i - step] if i >= step else 0
        if kind == 4:
            p = a + b - c
            guess = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
        else:
            guess = (0, a, b, (a + b) // 2)[kind]
        result.append((value - guess) & 255)
    return bytes(result)


def file(
    samples: Samples, depth: int, kind: int, *, before: bytes = b"", after: bytes = _END,
    interlaced: bool = False, filters: bool = False, level: int = 9, parts: int = 1,
) -> bytes:  # fmt: skip
    """A PNG with chunks before and after its pixels, which are in ``parts`` IDAT chunks."""
    height, width = samples.shape[:2]
    images = [samples]
    if interlaced:
        images = [samples[top::down, left::right] for left, top, right, down in _PASSES]
    step = max(1, depth * _CHANNELS[kind] // 8)
    body = b""
    for image in images:
        if not image.size:
            continue
        above = bytes(len(packed(image[0], depth)))
        for number, row in enumerate(packed(row, depth) for row in image):
            body += _filtered(row, above, number % 5 if filters else 0, step)
            above = row
    pixels = zlib.compress(body, level)
    cuts = [len(pixels) * n // parts for n in range(parts + 1)]
    data = b"".join(chunk(b"IDAT", pixels[a:b]) for a, b in itertools.pairwise(cuts))
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, int(interlaced))
    return _SIGNATURE + chunk(b"IHDR", header) + before + data + after


def _palette(count: int) -> Samples:
    return np.random.default_rng(5).integers(0, 256, (count, 3), np.uint8)


def variants() -> Variants:
    """Every variant of PNG."""
    for kind, depths in _DEPTHS.items():
        for depth in depths:
            for interlaced in (False, True):
                yield _plain(kind, depth, interlaced)
    yield from _transparent()
    yield from _chunks()


def _plain(kind: int, depth: int, interlaced: bool, **options: Any) -> Variant:
    samples = random_samples(_CHANNELS[kind], depth)
    name = f"png-{kind}-{depth}{'-interlaced' if interlaced else ''}"
    if kind == 3:
        palette = _palette(2**depth)
        before = chunk(b"PLTE", palette.tobytes())
        data = file(samples, depth, kind, before=before, interlaced=interlaced, **options)
        return Variant(name, "png", data, palette[samples[:, :, 0]])
    data = file(samples, depth, kind, interlaced=interlaced, filters=depth >= 8, **options)
    color, alpha = split(scaled(samples, depth), 3 if kind in (2, 6) else 1)
    return Variant(name, "png", data, color, alpha)


def _transparent() -> Variants:
    for depth in _DEPTHS[0]:
        samples = random_samples(1, depth)
        key = int(samples[2, 3, 0])
        for name, value in (("", key), ("-high-bits", key | (0xFFFF << depth & 0xFFFF))):
            if depth == 16 and name:
                continue
            data = file(samples, depth, 0, before=chunk(b"tRNS", struct.pack(">H", value)))
            color = scaled(samples, depth)
            alpha = np.where(samples[:, :, 0] == key, 0, np.iinfo(color.dtype).max)
            yield Variant(f"png-0-{depth}-key{name}", "png", data, color, alpha.astype(color.dtype))
    for depth in _DEPTHS[2]:
        samples = random_samples(3, depth)
        samples[0] = samples[2, 3]
        samples[0, ::2, 1] ^= 1  # differs in the lowest bit only
        key = samples[2, 3].astype(int)
        for name, mask in (("", 0), ("-high-bits", 0xFF00)):
            if depth == 16 and name:
                continue
            value = struct.pack(">3H", *(int(v) | mask for v in key))
            data = file(samples, depth, 2, before=chunk(b"tRNS", value))
            seen = (samples != samples[2, 3]).any(axis=2)
            alpha = np.where(seen, np.iinfo(samples.dtype).max, 0).astype(samples.dtype)
            yield Variant(f"png-2-{depth}-key{name}", "png", data, samples, alpha)
    for depth in _DEPTHS[3]:
        samples = random_samples(1, depth)
        palette = _palette(2**depth)
        count = 2**depth // 2 + 1
        alphas = np.full(2**depth, 255, np.uint8)
        alphas[:count] = np.linspace(0, 200, count)
        before = chunk(b"PLTE", palette.tobytes()) + chunk(b"tRNS", alphas[:count].tobytes())
        index = samples[:, :, 0]
        data = file(samples, depth, 3, before=before)
        yield Variant(f"png-3-{depth}-alphas", "png", data, palette[index], alphas[index])


def _broken(name: bytes, data: bytes) -> bytes:
    """A chunk whose checksum is wrong."""
    return struct.pack(">I4s", len(data), name) + data + b"\1\2\3\4"


def _chunks() -> Variants:
    samples = random_samples(3, 8)

    def variant(name: str, **options: Any) -> Variant:
        return Variant(f"png-{name}", "png", file(samples, 8, 2, **options), samples)

    sound = {
        b"pHYs": struct.pack(">IIB", 2835, 2835, 1),
        b"tIME": struct.pack(">HBBBBB", 2020, 1, 2, 3, 4, 5),
        b"gAMA": struct.pack(">I", 45455),
        b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
        b"sRGB": b"\0",
        b"sBIT": b"\5\6\5",
        b"bKGD": struct.pack(">3H", 1, 2, 3),
        b"hIST": b"\0\1",
        b"tEXt": b"Title\0one",
        b"zTXt": b"Title\0\0" + zlib.compress(b"two"),
        b"iTXt": b"Title\0\0\0en\0\0three",
        b"prVt": b"private",
        b"eXIf": b"II*\0\x08\0\0\0\0\0\0\0\0\0",
    }
    for name, body in sound.items():
        text = name.decode()
        yield variant(f"sound-{text}", before=chunk(name, body))
        yield variant(f"checksum-{text}", before=_broken(name, body))
        yield variant(f"length-{text}", before=chunk(name, body + b"\0\0\0"))
        yield variant(f"empty-{text}", before=chunk(name, b""))
    yield variant("gamma-1", before=chunk(b"gAMA", struct.pack(">I", 100000)))
    yield variant("many-idat", parts=40)
    yield variant("empty-idat", parts=1, after=chunk(b"IDAT", b"") + _END)
    yield variant("stored", level=0)
    yield variant("trailing", after=_END + b"\0" * 99)
    yield variant("no-iend", after=b"")
    yield variant("cut-iend", after=_END[:9])
    yield variant("actl-without-frames", before=chunk(b"acTL", struct.pack(">II", 3, 0)))
    yield variant("actl-of-no-frames", before=chunk(b"acTL", struct.pack(">II", 0, 0)))
    yield variant("actl-behind", after=chunk(b"acTL", struct.pack(">II", 3, 0)) + _END)
    one = np.zeros((1, 1, 1), np.uint8)
    yield Variant("png-one-pixel", "png", file(one, 1, 0, interlaced=True), one)
    gray = random_samples(1, 16)
    data = file(gray, 16, 0, before=chunk(b"gAMA", struct.pack(">I", 100000)))
    yield Variant("png-gray-16-gamma-1", "png", data, gray)
    assert samples.shape == (HEIGHT, WIDTH, 3)
