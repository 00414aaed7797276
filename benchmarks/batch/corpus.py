"""Folders of files of all sizes and kinds for a batch, some of them broken.

A seed determines the corpus, so it is the same on every machine. The pictures are cut from drawings
of the tests, or from pictures of the user, at varying scales.
"""

from __future__ import annotations

import io
import math
import os
import random
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..common.pictures import Named, Pixels, art, mosaic

SEED = 20261125

#: (share of the pictures, minimum and maximum of their pixels): a few of 4 MP, some of 1 to 2 MP,
#: a quarter of 0.1 to 0.5 MP, and mostly thumbnails of about 40 to 200 px.
MIXED = ((0.005, 3.9e6, 4.1e6), (0.045, 1e6, 2e6), (0.25, 1e5, 5e5), (0.7, 40**2, 200**2))
SMALL = ((1.0, 32**2, 160**2),)
TINY = ((1.0, 12**2, 40**2),)

#: Largest pictures of animations and archives, in pixels.
_MAX_FRAME_PIXELS = 200**2
_FOLDERS = ("", "", "漫画", "漫画/第一話", "Ünï cödé", "sprites", "壁紙 2024/夏", "folder.png")
_WORDS = ("snow", "猫", "Über", "ねこ 🐈", "a b", "100%", "[HQ] page", "-dash", "ﬁn", "it's")

Shares = Sequence[tuple[float, float, float]]
_Encoder = Callable[[Image.Image, random.Random], bytes]


@dataclass(frozen=True)
class Good:
    """A valid file.

    path: relative to the folder. kind: a key of `KINDS`. size: width and height in pixels.
    frames: of an animation, or pages of an archive.
    """

    path: Path
    kind: str
    size: tuple[int, int]
    frames: int = 1

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1] * self.frames


@dataclass(frozen=True)
class Corpus:
    """bad: broken files and their defects. traps: paths that only look like inputs."""

    folder: Path
    good: list[Good]
    bad: dict[Path, str]
    traps: list[Path]

    @property
    def megapixels(self) -> float:
        return sum(file.pixels for file in self.good) / 1e6

    def facts(self) -> dict[str, Any]:
        kinds = Counter(file.kind for file in self.good)
        return {
            "good": len(self.good),
            "bad": len(self.bad),
            "traps": len(self.traps),
            "megapixels": round(self.megapixels, 2),
            "kinds": dict(sorted(kinds.items())),
            "broken": sorted(set(self.bad.values())),
        }


def make(
    folder: Path,
    count: int,
    shares: Shares,
    *,
    bad: int = 0,
    traps: bool = False,
    pictures: Sequence[Named] = (),
    kinds: Sequence[str] = (),
    seed: int = SEED,
) -> Corpus:
    """Write ``count`` files to a new ``folder``, ``bad`` of them broken.

    pictures: to cut from, instead of drawings. kinds: keys of `KINDS`, instead of all.
    """
    draw = random.Random(seed)
    canvas = _canvas(tuple(pictures), max(most for _, _, most in shares))
    breakers = [_BREAKERS[index % len(_BREAKERS)] for index in range(bad)]
    plan: list[tuple[float, float] | _Breaker] = [*breakers, *_areas(count - bad, shares)]
    draw.shuffle(plan)
    corpus = Corpus(folder, [], {}, [])
    folder.mkdir()
    names = _names(draw)
    for item in plan:
        if isinstance(item, _Breaker):
            path = next(names)(item.suffix)
            _put(folder / path, item.make(draw))
            corpus.bad[path] = item.kind
            continue
        picture = _cut(canvas, draw, *item)
        small = picture.width * picture.height <= _MAX_FRAME_PIXELS
        able = [kind for kind in kinds or KINDS if small or kind not in _ANIMATED]
        kind = draw.choices(able, [KINDS[each].weight for each in able])[0]
        path = next(names)(KINDS[kind].suffix)
        data, frames = _encoded(kind, picture, draw)
        _put(folder / path, data)
        corpus.good.append(Good(path, kind, picture.size, frames))
    if traps:
        corpus.traps.extend(_set_traps(folder))
    return corpus


def tiny_pictures(folder: Path, count: int, side: int = 16) -> None:
    """Write ``count`` different PNG files of side x side pixels to a new folder."""
    draw = random.Random(SEED)
    canvas = _canvas((), 512**2)
    folder.mkdir()
    for index in range(count):
        left, top = (draw.randrange(size - side) for size in canvas.size)
        piece = canvas.crop((left, top, left + side, top + side))
        piece.save(folder / f"{index:05}.png", compress_level=1)


# --- pictures ------------------------------------------------------------------------------------


def _canvas(pictures: tuple[Named, ...], most: float) -> Image.Image:
    """A canvas from which pictures of up to ``most`` pixels can be cut."""
    given = tuple(np.asarray(picture) for _, picture in pictures) or _drawings(most > 512**2)
    side = max(512, 16 * math.ceil(math.sqrt(most) * 1.4 / 16))
    return Image.fromarray(mosaic(given, side))


@cache
def _drawings(large: bool) -> tuple[Pixels, ...]:
    side = 768 if large else 256
    drawings = [
        draw(side, side) for draw in (art().anime_face, art().manga_page, art().painted_scene)
    ]
    return tuple(np.asarray(drawing.convert("RGB")) for drawing in drawings)


def _areas(count: int, shares: Shares) -> Iterator[tuple[float, float]]:
    """Yield the minimum and maximum pixels of each picture; the last share takes the remainder."""
    left = count
    for share, least, most in shares[:-1]:
        some = round(count * share)
        left -= some
        yield from [(least, most)] * some
    yield from [shares[-1][1:]] * left


def _cut(canvas: Image.Image, draw: random.Random, least: float, most: float) -> Image.Image:
    side = draw.uniform(math.sqrt(least), math.sqrt(most))
    aspect = draw.uniform(0.75, 1.33) ** (1 if side > 512 else 2)
    width, height = round(side * math.sqrt(aspect)), round(side / math.sqrt(aspect))
    # Thumbnails show whole scenes, large pictures show details.
    zoom = min(draw.uniform(1, 4), canvas.width / width, canvas.height / height)
    wide, tall = int(width * zoom), int(height * zoom)
    left, top = draw.randint(0, canvas.width - wide), draw.randint(0, canvas.height - tall)
    return canvas.resize(
        (width, height), Image.Resampling.LANCZOS, (left, top, left + wide, top + tall)
    )


# --- kinds of files ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kind:
    """weight: relative frequency."""

    suffix: str
    weight: float
    encode: _Encoder


def _saved(format: str, mode: str = "RGB", **options: Any) -> _Encoder:
    def encode(picture: Image.Image, draw: random.Random) -> bytes:
        return _bytes(picture.convert(mode), format, **options)

    return encode


def _sprite(picture: Image.Image, draw: random.Random) -> bytes:
    """Cut out an ellipse with soft edges."""
    y, x = np.mgrid[-1 : 1 : picture.height * 1j, -1 : 1 : picture.width * 1j]
    alpha = np.clip((1 - np.hypot(x, y)) * 12, 0, 1) * 255
    cut = picture.copy()
    cut.putalpha(Image.fromarray(alpha.astype(np.uint8)))
    return _bytes(cut, "PNG")


def _deep(picture: Image.Image, draw: random.Random) -> bytes:
    from imagecodecs import png_encode

    return bytes(png_encode(np.asarray(picture).astype(np.uint16) * 257))


def _animation(format: str, **options: Any) -> _Encoder:
    """Shift the picture from frame to frame."""

    def encode(picture: Image.Image, draw: random.Random) -> bytes:
        frames = [picture]
        for _ in range(draw.randrange(2, 6)):
            pixels = np.roll(np.asarray(picture), draw.randrange(1, 8), draw.randrange(2))
            frames.append(Image.fromarray(pixels))
        return _bytes(
            frames[0], format, save_all=True, append_images=frames[1:], duration=80, **options
        )

    return encode


def _comic(picture: Image.Image, draw: random.Random) -> bytes:
    pages = [picture, picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for index, page in enumerate(pages):
            entry = zipfile.ZipInfo(f"{index:03}.png", (2026, 11, 25, 0, 0, 0))
            archive.writestr(entry, _bytes(page, "PNG"))
        archive.writestr(zipfile.ZipInfo("info.txt", (2026, 11, 25, 0, 0, 0)), "猫".encode())
    return file.getvalue()


KINDS = {
    "PNG": _Kind(".png", 24, _saved("PNG", compress_level=4)),
    "PNG palette": _Kind(".png", 5, _saved("PNG", "P")),
    "PNG gray": _Kind(".png", 5, _saved("PNG", "L")),
    "PNG sprite": _Kind(".png", 10, _sprite),
    "PNG 16 bit": _Kind(".png", 4, _deep),
    **{f"JPEG {q}": _Kind(".jpg", 6, _saved("JPEG", quality=q)) for q in (50, 75, 88, 97)},
    "JPEG gray": _Kind(".jpeg", 2, _saved("JPEG", "L", quality=85)),
    "WebP": _Kind(".webp", 9, _saved("WEBP", quality=85, method=2)),
    "WebP lossless": _Kind(".webp", 4, _saved("WEBP", lossless=True, method=0)),
    "AVIF": _Kind(".avif", 5, _saved("AVIF", quality=80, speed=9)),
    "GIF": _Kind(".gif", 5, _saved("GIF")),
    "GIF animation": _Kind(".gif", 1, _animation("GIF")),
    "PNG animation": _Kind(".png", 1, _animation("PNG")),
    "WebP animation": _Kind(".webp", 1, _animation("WEBP", quality=80, method=2)),
    "CBZ": _Kind(".cbz", 1, _comic),
}
_ANIMATED = [kind for kind in KINDS if "animation" in kind or kind == "CBZ"]
#: Still RGB pictures of 8 bits, which every program reads.
PLAIN = tuple(
    kind
    for kind in KINDS
    if kind.startswith(("PNG", "JPEG", "WebP", "AVIF"))
    and not kind.endswith(("palette", "gray", "sprite", "bit", "animation"))
)


def _encoded(kind: str, picture: Image.Image, draw: random.Random) -> tuple[bytes, int]:
    """Encode a picture; return the file and its number of frames or pages."""
    data = KINDS[kind].encode(picture, draw)
    if kind == "CBZ":
        return data, 2
    if kind not in _ANIMATED:
        return data, 1
    with Image.open(io.BytesIO(data)) as opened:
        return data, getattr(opened, "n_frames", 1)


def _bytes(picture: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


# --- broken files --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Breaker:
    """make: returns the bytes of a file; None for a dangling link."""

    kind: str
    suffix: str
    make: Callable[[random.Random], bytes | None]


def _whole(kind: str, draw: random.Random) -> bytes:
    pixels = np.random.default_rng(draw.getrandbits(32)).integers(0, 256, (12, 16, 3), np.uint8)
    picture = Image.fromarray(pixels).resize((96, 64), Image.Resampling.BICUBIC)
    return KINDS[kind].encode(picture, draw)


def _cut_off(kind: str, share: float = 0.5) -> Callable[[random.Random], bytes]:
    def make(draw: random.Random) -> bytes:
        whole = _whole(kind, draw)
        return whole[: int(len(whole) * share)]

    return make


def _flipped(draw: random.Random) -> bytes:
    data = bytearray(_whole("PNG", draw))
    for _ in range(8):  # after the header, so that checksums and the stream are wrong
        data[draw.randrange(45, len(data) - 20)] ^= draw.randrange(1, 256)
    return bytes(data)


def _header_only(width: int, height: int) -> bytes:
    """A PNG whose header claims a size without the data."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1 << 16))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def _text(text: str) -> Callable[[random.Random], bytes]:
    return lambda draw: text.encode()


_BREAKERS = (
    _Breaker("empty PNG", ".png", lambda draw: b""),
    _Breaker("PNG cut off", ".png", _cut_off("PNG")),
    _Breaker("JPEG cut off", ".jpg", _cut_off("JPEG 88")),
    _Breaker("flipped bytes", ".png", _flipped),
    _Breaker("text", ".png", _text("This is no picture.\n" * 20)),
    _Breaker("PNG claiming 60000x60000", ".png", lambda draw: _header_only(60_000, 60_000)),
    _Breaker("random bytes", ".jpg", lambda draw: draw.randbytes(3000)),
    _Breaker("wrong magic", ".png", lambda draw: b"\x89PNX" + _whole("PNG", draw)[4:]),
    _Breaker("dangling link", ".png", lambda draw: None),
    _Breaker("RAR", ".cbz", lambda draw: b"Rar!\x1a\x07\x01\x00" + draw.randbytes(500)),
    _Breaker("WebP cut off", ".webp", _cut_off("WebP")),
    _Breaker("AVIF cut off", ".avif", _cut_off("AVIF")),
    _Breaker("GIF cut off in its header", ".gif", lambda draw: _whole("GIF", draw)[:11]),
    _Breaker("HTML", ".jpg", _text("<!DOCTYPE html><title>404</title>" + " " * 500)),
    _Breaker("SVG", ".png", _text('<svg xmlns="http://www.w3.org/2000/svg"/>')),
    _Breaker("empty JPEG", ".jpg", lambda draw: b""),
    _Breaker("ZIP cut off", ".cbz", _cut_off("CBZ")),
    _Breaker("PNG of no width", ".png", lambda draw: _header_only(0, 10)),
    _Breaker("zeros", ".webp", lambda draw: bytes(4096)),
    _Breaker("magic and nothing else", ".jpg", lambda draw: b"\xff\xd8\xff\xe0"),
)


def _set_traps(folder: Path) -> Iterator[Path]:
    """Write paths that the command must neither read nor wait for."""
    files = {"notes.txt": b"buy milk", ".hidden.png": _header_only(8, 8), "Thumbs.db": bytes(64)}
    for name, data in files.items():
        _put(folder / name, data)
        yield Path(name)
    (folder / "empty.png").mkdir()
    yield Path("empty.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.png")
        yield Path("pipe.png")


# --- names ---------------------------------------------------------------------------------------


def _names(draw: random.Random) -> Iterator[Callable[[str], Path]]:
    """Yield, for each file, a function that makes its path from its suffix.

    Every twentieth name is used twice, for two files that may differ in their suffix only.
    """
    index = 0
    while True:
        folder, word = draw.choice(_FOLDERS), draw.choice(_WORDS)
        name = _Name(Path(folder, f"{index:05} {word}"), draw.random() < 0.05)
        for _ in range(2 if index % 20 == 0 else 1):
            yield name.path
            index += 1


@dataclass(frozen=True)
class _Name:
    stem: Path
    upper: bool
    taken: set[str] = field(default_factory=set)

    def path(self, suffix: str) -> Path:
        again = " again" if suffix in self.taken else ""
        self.taken.add(suffix)
        ending = suffix.upper() if self.upper else suffix
        return self.stem.with_name(self.stem.name + again + ending)


def _put(path: Path, data: bytes | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if data is None:
        path.symlink_to("nowhere.png")
    else:
        path.write_bytes(data)
