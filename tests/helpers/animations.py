"""Builds animations block by block, and composes the expected frames pixel by pixel."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from waifu2x.codec import from_image
from waifu2x.codec.animation import (
    Animation,
    animation_writer,
    open_animation,
    resolve_animation_format,
)

from . import art

Bytes = npt.NDArray[np.uint8]

KEEP, CLEAR, RESTORE = 0, 1, 2

#: The pixel limit of animations opened here.
LIMIT = 10**6

#: Milliseconds; frames 2 and 3 are equal, and so are frames 0 and 5.
DELAYS = (40, 50, 60, 70, 30, 200)
PLACES = (0, 1, 2, 2, 4, 0)


@dataclass
class Part:
    """An RGBA rectangle (h, w, 4) that is blended over or replaces the canvas, then disposed."""

    pixels: Bytes
    left: int = 0
    top: int = 0
    ms: int = 100
    dispose: int = KEEP
    over: bool = True


def gif_of(width: int, height: int, frames: int) -> bytes:
    """A canvas with ``frames`` frames of one pixel."""
    patch = struct.pack("<BHHHHB", 0x2C, 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + patch * frames + b";"


def shown(width: int, height: int, parts: list[Part]) -> list[Bytes]:
    """Compose every frame in RGBA by the definitions, pixel by pixel, in exact fractions."""
    canvas = np.zeros((height, width, 4), np.uint8)
    frames = []
    for part in parts:
        before = canvas.copy()
        rows, columns = part.pixels.shape[:2]
        for y in range(rows):
            for x in range(columns):
                at = part.top + y, part.left + x
                canvas[at] = _laid(part.pixels[y, x], canvas[at], part.over)
        frames.append(canvas.copy())
        area = (
            slice(part.top, part.top + rows),
            slice(part.left, part.left + columns),
        )
        if part.dispose == CLEAR:
            canvas[area] = 0
        elif part.dispose == RESTORE:
            canvas = before
    return frames


def _laid(above: Bytes, below: Bytes, over: bool) -> Bytes:
    if not over:
        return above
    a, b = Fraction(int(above[3]), 255), Fraction(int(below[3]), 255)
    total = a + b * (1 - a)
    if total == 0:
        return np.zeros(4, np.uint8)
    mixed = [
        (int(u) * a + int(v) * b * (1 - a)) / total
        for u, v in zip(above[:3], below[:3], strict=True)
    ]
    return np.array([int(v + Fraction(1, 2)) for v in (*mixed, total * 255)], np.uint8)


def random_parts(
    seed: int,
    width: int,
    height: int,
    count: int,
    *,
    alphas: tuple[int, ...],
    disposals: tuple[int, ...],
    whole_first: bool = False,
    even: bool = False,
    replace: bool = True,
) -> list[Part]:
    """Random parts of all kinds that a format supports."""
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(count):
        left, right = sorted(rng.choice(width + 1, 2, replace=False).tolist())
        top, bottom = sorted(rng.choice(height + 1, 2, replace=False).tolist())
        if number == 0 and whole_first:
            left, top, right, bottom = 0, 0, width, height
        if even:
            left, top = left & ~1, top & ~1
        size = bottom - top, right - left
        pixels = rng.integers(0, 8, (*size, 4)).astype(np.uint8) * 36
        pixels[..., 3] = rng.choice(alphas, size)
        parts.append(
            Part(
                pixels,
                left,
                top,
                10 * int(rng.integers(0, 20)),
                int(rng.choice(disposals)),
                bool(rng.integers(2)) or not replace,
            )
        )
    return parts


def gif(
    width: int,
    height: int,
    parts: list[Part],
    *,
    repeats: int | None = None,
    interlaced: bool = False,
    shared: bool = False,
) -> bytes:
    """GIF with local color tables or a ``shared`` global table; alpha is 0 or 255."""
    tables = [_table(part.pixels) for part in parts]
    if shared:
        every = _table(np.concatenate([part.pixels.reshape(1, -1, 4) for part in parts], axis=1))
        tables = [every] * len(parts)
    data = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7 if shared else 0x70, 0, 0)
    if shared:
        data += tables[0].tobytes()
    if repeats is not None:
        data += b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", repeats, 0)
    for part, table in zip(parts, tables, strict=True):
        rows, columns = part.pixels.shape[:2]
        clear = part.pixels[..., 3] == 0
        # Index 255 is reserved for transparency.
        distance = np.abs(part.pixels[:, :, None, :3].astype(int) - table[None, None, :255]).sum(-1)
        indices = np.where(clear, 255, distance.argmin(-1)).astype(np.uint8)
        data += b"\x21\xf9\x04" + struct.pack(
            "<BHBB", (part.dispose + 1) << 2 | bool(clear.any()), part.ms // 10, 255, 0
        )
        flags = (0 if shared else 0x87) | (0x40 if interlaced else 0)
        data += struct.pack("<BHHHHB", 0x2C, part.left, part.top, columns, rows, flags)
        data += b"" if shared else table.tobytes()
        if interlaced:
            passes = ((0, 8), (4, 8), (2, 4), (1, 2))
            indices = indices[[row for start, step in passes for row in range(start, rows, step)]]
        buffer = io.BytesIO()
        Image.fromarray(indices).save(buffer, "GIF", optimize=False, interlace=False)
        still = buffer.getvalue()
        data += still[still.rindex(struct.pack("<HHHH", 0, 0, columns, rows)) + 9 : -1]
    return data + b";"


def _table(pixels: Bytes) -> Bytes:
    colors = np.unique(pixels.reshape(-1, 4)[:, :3], axis=0)[:255]
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = colors
    return table


def chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def apng(
    width: int,
    height: int,
    parts: list[Part],
    *,
    plays: int = 0,
    default: Bytes | None = None,
    channels: str = "RGBA",
    extra: bytes = b"",
) -> bytes:
    """APNG; ``default`` is a first picture outside the animation, ``channels`` RGBA, RGB or L."""
    kind = {"RGBA": 6, "RGB": 2, "L": 0}[channels]
    data = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    )
    data += chunk(b"acTL", struct.pack(">II", len(parts), plays)) + extra
    if default is not None:
        data += chunk(b"IDAT", _packed(default, channels))
    sequence = 0
    for number, part in enumerate(parts):
        rows, columns = part.pixels.shape[:2]
        control = struct.pack(
            ">IIIIIHHBB",
            sequence,
            columns,
            rows,
            part.left,
            part.top,
            part.ms,
            1000,
            part.dispose,
            part.over,
        )
        data += chunk(b"fcTL", control)
        sequence += 1
        pixels = _packed(part.pixels, channels)
        if number == 0 and default is None:
            data += chunk(b"IDAT", pixels)
            continue
        for piece in (pixels[: len(pixels) // 2], pixels[len(pixels) // 2 :]):
            data += chunk(b"fdAT", struct.pack(">I", sequence) + piece)
            sequence += 1
    return data + chunk(b"IEND", b"")


def _packed(pixels: Bytes, channels: str) -> bytes:
    samples = pixels[..., : len(channels)]
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in samples))


def webp(width: int, height: int, parts: list[Part], *, plays: int = 0, exif: bytes = b"") -> bytes:
    """Lossless animated WebP."""

    def riff(kind: bytes, data: bytes) -> bytes:
        return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1)

    def three(*values: int) -> bytes:
        return b"".join(value.to_bytes(3, "little") for value in values)

    body = riff(b"VP8X", bytes([0x1A if exif else 0x12, 0, 0, 0]) + three(width - 1, height - 1))
    body += riff(b"ANIM", b"\xff\x80\x40\xff" + struct.pack("<H", plays))
    for part in parts:
        rows, columns = part.pixels.shape[:2]
        buffer = io.BytesIO()
        Image.fromarray(part.pixels).save(buffer, "WEBP", lossless=True, exact=True)
        still = buffer.getvalue()
        start = still.index(b"VP8L")
        size = int.from_bytes(still[start + 4 : start + 8], "little")
        flags = (part.dispose == CLEAR) | (0 if part.over else 2)
        body += riff(
            b"ANMF",
            three(part.left // 2, part.top // 2, columns - 1, rows - 1, part.ms)
            + bytes([flags])
            + riff(b"VP8L", still[start + 8 : start + 8 + size]),
        )
    if exif:
        body += riff(b"EXIF", exif)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def opened(data: bytes, name: str = "in", limit: int = LIMIT) -> Animation:
    animation = open_animation(io.BytesIO(data), name, max_pixels=limit)
    assert animation is not None
    return animation


def rgba(animation: Animation) -> list[Bytes]:
    frames = []
    for frame in animation:
        picture = frame.picture
        color = picture.color
        if picture.gray:
            color = np.repeat(color, 3, axis=2)
        alpha = picture.alpha if picture.alpha is not None else np.full(color.shape[:2], 255)
        frames.append(np.dstack([color, alpha]).astype(np.uint8))
    return frames


def assert_same(ours: list[Bytes], expected: list[Bytes], tolerance: int = 0) -> None:
    assert len(ours) == len(expected)
    for number, (a, b) in enumerate(zip(ours, expected, strict=True), 1):
        # The color of transparent pixels is undefined.
        a, b = (np.where(each[..., 3:] == 0, 0, each.astype(int)) for each in (a, b))
        assert np.abs(a - b).max() <= tolerance, f"frame {number}"


def through_pillow(data: bytes) -> list[Bytes]:
    frames = []
    with Image.open(io.BytesIO(data)) as image:
        for number in range(image.n_frames):
            image.seek(number)
            frames.append(np.asarray(image.convert("RGBA")))
    return frames


def faces(count: int) -> list[Image.Image]:
    frames = [art.anime_face(32, 28, supersample=2) for _ in range(count)]
    for number, frame in enumerate(frames):
        frame.paste((250, 20 * number, 40), (number, 4, number + 6, 10))
    return frames


@cache
def sprites(*, hard: bool = False) -> list[Image.Image]:
    """A figure that moves on transparency; ``hard``: few colors, alpha 0 or 255."""
    figure = art.sprite(32)
    if hard:
        alpha = figure.getchannel("A").point(lambda v: 255 * (v > 127))
        figure = figure.convert("RGB").quantize(40).convert("RGB")
        figure.putalpha(alpha)
    frames = []
    for x in PLACES:
        frame = Image.new("RGBA", (40, 34))
        frame.paste(figure, (x, x // 2))
        frames.append(frame)
    return frames


def written(
    frames: list[Image.Image],
    format: str,
    *,
    delays: tuple[int | Fraction, ...] = DELAYS,
    **options: Any,
) -> tuple[bytes, tuple[str, ...]]:
    stream = io.BytesIO()
    width, height = frames[0].size
    with animation_writer(
        stream, resolve_animation_format(None, format), width=width, height=height, **options
    ) as writer:
        for frame, delay in zip(frames, delays, strict=True):
            writer.add(from_image(frame), Fraction(delay) / 1000)
        notes = writer.close()
    return stream.getvalue(), notes


def truths(frames: list[Image.Image]) -> list[Any]:
    return [np.asarray(frame.convert("RGBA")) for frame in frames]
