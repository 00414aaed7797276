"""The metadata in the chunks of a PNG, read within limits.

Pillow refuses a picture for a broken or oversized comment, does not support cICP, and does not
check the checksums of the pixels. So the chunks are read here once, before Pillow sees the file.
Chunk layouts: PNG (Third Edition), https://www.w3.org/TR/png-3/.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from .._text import AGAIN, shown
from ..errors import DecodeError
from ..picture import Metadata
from .png_chunks import SIGNATURE, XMP_KEYWORD, checksum_matches
from .xmp import MAX_XMP

#: Limits of one decompressed text and of all texts; larger ones are left out.
MAX_TEXT = 1 << 20
MAX_TEXTS = 8 << 20

#: The largest decompressed ICC profile and the largest EXIF block; larger ones are left out.
MAX_PROFILE = 16 << 20

#: The most that is decompressed of all texts and profiles of a file, including those left out: a
#: small file may hold thousands.
MAX_DECOMPRESSED = 64 << 20

# Compressed pixels may take this in addition to twice the pixels' size; more would be decompressed
# in vain, and one byte may become a thousand.
_SURPLUS = 1 << 16

#: The chunks of pixels and their layout; a PNG of these alone shows the same picture.
PIXEL_CHUNKS = frozenset(
    (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT", b"pHYs")
)

_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
# Texts in which ImageMagick and others store EXIF and XMP; older than the chunks for them.
_RAW_EXIF = ("Raw profile type exif", "Raw profile type APP1")
_RAW_XMP = "Raw profile type xmp"
_APP1_XMP = b"http://ns.adobe.com/xap/1.0/\0"

# The largest text or profile that Pillow accepts.
_PILLOW_TEXT = 1 << 20


@dataclass(frozen=True, slots=True)
class PngHeader:
    """The IHDR chunk: size in pixels, bits per sample, color type, whether interlaced."""

    width: int
    height: int
    depth: int
    color_type: int
    interlaced: bool


@dataclass(frozen=True, slots=True)
class PngChunks:
    """The result of `read_chunks`.

    metadata: ICC profile, EXIF (both as stored), XMP, color chunks and texts.
    plain: whether Pillow accepts the whole file; if not, pass it PIXEL_CHUNKS by `filter_chunks`.
    """

    metadata: Metadata
    plain: bool


def announces_animation(stream: BinaryIO) -> bool:
    """Return whether a PNG has an acTL chunk before its pixels, as an animation must."""
    stream.seek(len(SIGNATURE))
    while len(start := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        if kind in (b"acTL", b"IDAT"):
            return bool(kind == b"acTL")
        stream.seek(length + 4, io.SEEK_CUR)
    return False


def read_header(stream: BinaryIO, name: str) -> PngHeader:
    """Read the header of the PNG in ``stream``; raises DecodeError if it has none."""
    stream.seek(len(SIGNATURE))
    start = stream.read(8 + 13)
    if len(start) < 8 + 13:
        raise DecodeError(f"{name} is truncated: the file ends before the picture does{AGAIN}")
    length, kind, width, height, depth, color_type, _, _, interlace = struct.unpack(
        ">I4sIIBBBBB", start
    )
    if kind != b"IHDR" or length != 13 or not (width and height):
        raise DecodeError(
            f"{name} is damaged: a PNG begins with its size, and this one does not{AGAIN}"
        )
    return PngHeader(width, height, depth, color_type, bool(interlace))


def read_chunks(stream: BinaryIO, name: str) -> PngChunks:
    """Read the chunks of the PNG in ``stream``, whose signature has been checked.

    Checks that the checksums of all critical chunks match, that the pixels are not far more than
    the header declares, and that the file is complete. Broken or oversized metadata is left out.

    Raises DecodeError if the file is damaged or truncated.
    """
    header = read_header(stream, name)
    width, height = header.width, header.height
    reader = _MetadataReader()
    compressed = 0
    stream.seek(len(SIGNATURE))
    while True:
        start = stream.read(8)
        if len(start) < 8:
            break
        length, kind = struct.unpack(">I4s", start)
        if kind[0] & 0x20:  # ancillary
            if not reader.reads(kind):
                stream.seek(length + 4, io.SEEK_CUR)
            elif length > MAX_PROFILE:
                reader.plain = False
                stream.seek(length + 4, io.SEEK_CUR)
            else:
                body = stream.read(length)
                if checksum_matches(kind, body, stream.read(4)):
                    reader.add(kind, body)
                else:
                    reader.plain = False
            continue
        compressed += length if kind == b"IDAT" else 0
        if compressed > 2 * height * (8 * width + 8) + _SURPLUS:
            raise DecodeError(
                f"{name} is damaged: it holds more data than {width}x{height} pixels take{AGAIN}"
            )
        checksum = zlib.crc32(kind)
        for block in _blocks(stream, length):
            checksum = zlib.crc32(block, checksum)
            length -= len(block)
        stored = stream.read(4)
        if length or len(stored) < 4:
            break
        if int.from_bytes(stored, "big") != checksum:
            chunk = shown(kind.decode("latin-1"))
            raise DecodeError(
                f"{name} is damaged: the checksum of its {chunk} chunk is wrong{AGAIN}"
            )
        if kind == b"IEND":
            return PngChunks(reader.metadata(), reader.plain)
    raise DecodeError(f"{name} is truncated: the file ends before the picture does{AGAIN}")


def filter_chunks(stream: BinaryIO, kinds: Container[bytes]) -> bytes:
    """Return the PNG in ``stream``, checked by `read_chunks`, with only chunks of ``kinds``."""
    parts = [SIGNATURE]
    stream.seek(len(SIGNATURE))
    kind = b""
    while kind != b"IEND":
        start = stream.read(8)
        length, kind = struct.unpack(">I4s", start)
        if kind in kinds:
            parts += [start, stream.read(length + 4)]
        else:
            stream.seek(length + 4, io.SEEK_CUR)
    return b"".join(parts)


def _blocks(stream: BinaryIO, length: int) -> Iterator[bytes]:
    """Yield the next ``length`` bytes of ``stream``, or as many as there are, in blocks."""
    while length > 0:
        block = stream.read(min(length, 1 << 20))
        if not block:
            return
        length -= len(block)
        yield block


class _MetadataReader:
    """Collects the metadata of chunks."""

    def __init__(self) -> None:
        self.plain = True
        self._fields: dict[bytes, bytes] = {}  # the first chunk of a kind counts
        self._texts: list[tuple[str, str]] = []
        self._text_budget = MAX_TEXTS
        self._decompress = _Decompressor()
        self._exif: bytes | None = None  # from a text
        self._xmp: bytes | None = None

    @staticmethod
    def reads(kind: bytes) -> bool:
        return kind in (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"iCCP", b"eXIf", *_TEXT_CHUNKS)

    def add(self, kind: bytes, body: bytes) -> None:
        if kind in _TEXT_CHUNKS:
            self._add_text(kind, body)
            return
        if kind == b"iCCP":
            if kind in self._fields:
                self.plain = False
                return
            _, _, data = body.partition(b"\0")
            profile = self._decompress(data[1:], MAX_PROFILE) if data[:1] == b"\0" else None
            if profile is None or len(profile) > _PILLOW_TEXT:
                self.plain = False
            if profile is None:
                return
            body = profile
        self._fields.setdefault(kind, body)

    def _add_text(self, kind: bytes, body: bytes) -> None:
        found = _text(kind, body, self._decompress)
        if found is None:
            self.plain = False
            return
        keyword, raw, encoding = found
        if keyword == XMP_KEYWORD:
            self.plain = self.plain and len(raw) <= _PILLOW_TEXT
            self._xmp = self._xmp or raw
        elif len(raw) > min(MAX_TEXT, self._text_budget):
            self.plain = False
        elif keyword in _RAW_EXIF or keyword == _RAW_XMP:
            profile = _raw_profile(raw)
            if profile.startswith(_APP1_XMP):
                self._xmp = self._xmp or profile.removeprefix(_APP1_XMP)
            elif keyword == _RAW_XMP:
                self._xmp = self._xmp or profile or None
            else:
                self._exif = self._exif or profile or None
        else:
            self._text_budget -= len(raw)
            self._texts.append((keyword, raw.decode(encoding, "replace")))

    def metadata(self) -> Metadata:
        get = self._fields.get
        gamma, chromaticities, intent, cicp = get(b"gAMA"), get(b"cHRM"), get(b"sRGB"), get(b"cICP")
        return Metadata(
            icc=get(b"iCCP"),
            exif=get(b"eXIf") or self._exif,
            xmp=self._xmp,
            gamma=_gamma(gamma),
            chromaticities=_chromaticities(chromaticities),
            rendering_intent=(
                intent[0] if intent is not None and len(intent) == 1 and intent[0] <= 3 else None
            ),
            cicp=(
                (cicp[0], cicp[1], cicp[2], cicp[3])
                if cicp is not None and len(cicp) == 4 and cicp[3] <= 1
                else None
            ),
            text=tuple(self._texts),
        )


def _gamma(body: bytes | None) -> float | None:
    value = int.from_bytes(body, "big") if body is not None and len(body) == 4 else 0
    return value / 100_000 if value else None


def _chromaticities(
    body: bytes | None,
) -> tuple[float, float, float, float, float, float, float, float] | None:
    if body is None or len(body) != 32:
        return None
    values = struct.unpack(">8I", body)
    if max(values) > 1 << 31 or not all(values[1::2]):  # no color has y = 0
        return None
    a, b, c, d, e, f, g, h = (value / 100_000 for value in values)
    return a, b, c, d, e, f, g, h


def _text(kind: bytes, body: bytes, decompress: _Decompressor) -> tuple[str, bytes, str] | None:
    """Return keyword, text and encoding of a text chunk; None if it is broken or too large."""
    key, separator, rest = body.partition(b"\0")
    if not separator or not 0 < len(key) < 80:
        return None
    keyword, encoding = key.decode("latin-1"), "latin-1"
    compressed = kind == b"zTXt"
    if kind == b"iTXt":
        if len(rest) < 2 or rest[0] > 1:
            return None
        compressed, encoding = bool(rest[0]), "utf-8"
        parts = rest[2:].split(b"\0", 2)  # language, translated keyword, text
        if len(parts) < 3 or (compressed and rest[1]):
            return None
        rest = parts[2]
    elif compressed:
        if rest[:1] != b"\0":
            return None
        rest = rest[1:]
    if compressed:
        limit = MAX_XMP if keyword == XMP_KEYWORD else MAX_TEXT
        data = decompress(rest, limit)
        return None if data is None else (keyword, data, encoding)
    return keyword, rest, encoding


class _Decompressor:
    """Decompresses the zlib streams of one file, MAX_DECOMPRESSED bytes in all."""

    def __init__(self) -> None:
        self._budget = MAX_DECOMPRESSED

    def __call__(self, compressed: bytes, limit: int) -> bytes | None:
        """Return the data, or None if it is broken or longer than ``limit`` bytes."""
        limit = min(limit, self._budget)
        if limit < 1:  # zlib reads 0 as unlimited
            return None
        decompressor = zlib.decompressobj()
        try:
            data = decompressor.decompress(compressed, limit)
        except zlib.error:
            return None
        self._budget -= len(data)
        return data if decompressor.eof else None


def _raw_profile(text: bytes) -> bytes:
    """Return the bytes of a "Raw profile type ..." text: name, length, hexadecimal digits."""
    lines = text.strip().split(b"\n", 2)
    try:
        return bytes.fromhex(lines[2].decode("ascii")) if len(lines) == 3 else b""
    except ValueError:
        return b""
