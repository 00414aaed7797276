"""The metadata in the chunks of a PNG, read within limits.

Pillow refuses a picture for a broken chunk of metadata, does not support cICP, scales no key of low
depth, and does not check the checksums of the pixels. So the chunks are read here once, before
Pillow sees the file.
Chunk layouts: PNG (Third Edition), https://www.w3.org/TR/png-3/.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, TypeVar

from .._record import record
from .._text import AGAIN, shown
from ..errors import DecodeError
from ..picture import Metadata
from .png_chunks import SIGNATURE, XMP_KEYWORD, checksum_matches, chunk
from .samples import valid_dpi
from .xmp import MAX_XMP

_T = TypeVar("_T")

#: Limits of one decompressed text and of all texts; larger ones are left out.
MAX_TEXT = 1 << 20
MAX_TEXTS = 8 << 20

#: The largest decompressed ICC profile and the largest EXIF block; larger ones are left out.
MAX_PROFILE = 16 << 20

#: The most that is decompressed of all texts and profiles of a file, including those left out: a
#: small file may hold thousands.
MAX_DECOMPRESSED = 64 << 20

#: The note of a file that ends too early, without a loss.
UNFINISHED = "the file ends without IEND, after all pixels"

# Compressed pixels may take this in addition to twice the pixels' size; more would be decompressed
# in vain, and one byte may become a thousand.
_SURPLUS = 1 << 16

_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
# Texts in which ImageMagick and others store EXIF, XMP and ICC; older than the chunks for them.
_RAW_EXIF = ("Raw profile type exif", "Raw profile type APP1")
_RAW_XMP = "Raw profile type xmp"
_RAW_ICC = ("Raw profile type icc", "Raw profile type icm")
_APP1_XMP = b"http://ns.adobe.com/xap/1.0/\0"

# The largest text or profile that Pillow accepts.
_PILLOW_TEXT = 1 << 20

# Chunks that say nothing about the result: time of the last change, suggestions for screens of few
# colors, and an index of Apple's decoder.
_MEANINGLESS = (b"tIME", b"bKGD", b"hIST", b"sPLT", b"iDOT")
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_ANIMATION_CHUNKS = (b"acTL", b"fcTL", b"fdAT")

# Bits per sample of each color type, and samples per pixel.
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

# First column and row, and steps, of the passes of Adam7.
_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)

# Kinds of chunks that a note names.
_MAX_NAMED = 6


@record
class PngHeader:
    """The IHDR chunk: size in pixels, bits per sample, color type, whether interlaced."""

    width: int
    height: int
    depth: int
    color_type: int
    interlaced: bool

    @property
    def pixel_bits(self) -> int:
        """Bits of one pixel."""
        return self.depth * _CHANNELS[self.color_type]

    @property
    def pattern(self) -> tuple[tuple[int, int, int, int], ...]:
        """First column and row, and steps, of each stored pass."""
        return _ADAM7 if self.interlaced else ((0, 0, 1, 1),)

    def passes(self) -> Iterator[tuple[int, int]]:
        """Yield width and height of each stored pass; that of a plain picture is the whole."""
        for left, top, step_x, step_y in self.pattern:
            width, height = -(-(self.width - left) // step_x), -(-(self.height - top) // step_y)
            yield max(width, 0), max(height, 0)

    def filtered_bytes(self) -> int:
        """Bytes of the rows of all passes with their filter types."""
        return sum(
            height * (1 + (width * self.pixel_bits + 7) // 8)
            for width, height in self.passes()
            if width
        )


class StoredChunk(NamedTuple):
    """A chunk of the file: its kind, and the place of its data."""

    kind: bytes
    start: int
    length: int


@record
class PngChunks:
    """The result of `read_chunks`.

    metadata: ICC profile, EXIF (both as stored), XMP, resolution, color chunks and texts.
    transparent: the gray or RGB value that is transparent, in the decoded range of 8 or 16 bits.
    frames: the number of frames if the file is an animation, else 0.
    notes: what was left out, one short sentence each.
    kept: the chunks that show the picture; pass those alone to Pillow unless the file is plain.
    plain: whether Pillow accepts the whole file.
    ended: whether the file has its IEND chunk.
    """

    metadata: Metadata
    transparent: tuple[int, ...] | None
    frames: int
    notes: tuple[str, ...]
    kept: tuple[StoredChunk, ...]
    plain: bool
    ended: bool

    def pixels(self, stream: BinaryIO) -> bytes:
        """Return a PNG of the chunks of ``stream`` that show the picture."""
        parts = [SIGNATURE]
        for kind, start, length in self.kept:
            stream.seek(start)
            parts.append(chunk(kind, stream.read(length)))
        return b"".join((*parts, chunk(b"IEND", b"")))


def announces_animation(stream: BinaryIO) -> bool:
    """Return whether a PNG has a sound acTL chunk before its pixels, as an animation must."""
    stream.seek(len(SIGNATURE))
    while len(start := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        if kind == b"acTL" and length == 8:
            return checksum_matches(kind, stream.read(8), stream.read(4))
        if kind in (b"acTL", b"IDAT"):
            return False
        stream.seek(length + 4, io.SEEK_CUR)
    return False


def read_header(stream: BinaryIO, name: str) -> PngHeader:
    """Read the header of the PNG in ``stream``; raises DecodeError if it has none."""
    stream.seek(len(SIGNATURE))
    start = stream.read(8 + 13)
    if len(start) < 8 + 13:
        raise DecodeError(f"{name} is truncated: the file ends before the picture does{AGAIN}")
    length, kind, width, height, depth, color_type, compression, filters, interlace = struct.unpack(
        ">I4sIIBBBBB", start
    )
    if kind == b"CgBI":
        raise DecodeError(
            f"{name} is a PNG in Apple's variant for apps (CgBI), which is not supported; "
            "save it as PNG"
        )
    if kind != b"IHDR" or length != 13 or not (width and height):
        raise DecodeError(
            f"{name} is damaged: a PNG begins with its size, and this one does not{AGAIN}"
        )
    if depth not in _DEPTHS.get(color_type, ()) or compression or filters or interlace > 1:
        raise DecodeError(
            f"{name} is damaged: {depth} bits of color type {color_type} (methods "
            f"{compression}, {filters}, {interlace}) are no PNG{AGAIN}"
        )
    return PngHeader(width, height, depth, color_type, bool(interlace))


def read_chunks(stream: BinaryIO, name: str) -> PngChunks:
    """Read the chunks of the PNG in ``stream``, whose signature has been checked.

    Checks that the checksums of all critical chunks match, that the pixels are not far more than
    the header declares, and that all pixels are there. Broken or oversized metadata is left out.

    Raises DecodeError if the file is damaged or truncated.
    """
    header = read_header(stream, name)
    width, height = header.width, header.height
    reader = _ChunkReader(header)
    compressed = 0
    ended = False
    stream.seek(len(SIGNATURE))
    while not ended and len(start := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        if kind[0] & 0x20:  # ancillary
            if length > MAX_PROFILE:
                reader.too_large(kind)
                stream.seek(length + 4, io.SEEK_CUR)
                continue
            place = StoredChunk(kind, stream.tell(), length)
            body = stream.read(length)
            if checksum_matches(kind, body, stream.read(4)):
                reader.add(place, body)
            elif kind.upper() in _CRITICAL:  # one bit of its name is wrong
                raise _wrong_checksum(name, kind)
            else:
                reader.damaged(kind)
            continue
        compressed += length if kind == b"IDAT" else 0
        if compressed > 2 * height * (8 * width + 8) + _SURPLUS:
            raise DecodeError(
                f"{name} is damaged: it holds more data than {width}x{height} pixels take{AGAIN}"
            )
        place = StoredChunk(kind, stream.tell(), length)
        checksum, missing = zlib.crc32(kind), length
        for block in _blocks(stream, length):
            checksum = zlib.crc32(block, checksum)
            missing -= len(block)
        stored = stream.read(4)
        if missing or len(stored) < 4:
            if kind == b"IDAT":
                reader.kept.append(place._replace(length=length - missing))
            break
        if int.from_bytes(stored, "big") != checksum:
            raise _wrong_checksum(name, kind)
        ended = kind == b"IEND"
        if kind == b"IDAT":
            reader.add_pixels(place)
        elif kind in _CRITICAL:
            reader.kept += [] if ended else [place]
        else:
            raise DecodeError(
                f"{name} is damaged, or in a variant of PNG that is not supported: it has a "
                f"critical chunk {shown(kind.decode('latin-1'))}{AGAIN}"
            )
    if header.color_type == 3 and not any(kept.kind == b"PLTE" for kept in reader.kept):
        raise DecodeError(f"{name} is damaged: its palette (PLTE) is missing{AGAIN}")
    if not ended:
        if reader.announced or not _is_complete(stream, reader.kept, header):
            raise DecodeError(f"{name} is truncated: the file ends before the picture does{AGAIN}")
        reader.unfinished()
    return reader.result()


def _wrong_checksum(name: str, kind: bytes) -> DecodeError:
    label = shown(kind.decode("latin-1"))
    return DecodeError(f"{name} is damaged: the checksum of its {label} chunk is wrong{AGAIN}")


def _is_complete(stream: BinaryIO, kept: list[StoredChunk], header: PngHeader) -> bool:
    """Return whether the IDAT chunks hold all rows."""
    missing = header.filtered_bytes()
    decompressor = zlib.decompressobj()
    for kind, start, length in kept:
        if kind != b"IDAT":
            continue
        stream.seek(start)
        for block in _blocks(stream, length):
            while block and missing > 0:
                try:
                    missing -= len(decompressor.decompress(block, 1 << 20))
                except zlib.error:
                    return False
                block = decompressor.unconsumed_tail
    return missing <= 0


def _blocks(stream: BinaryIO, length: int) -> Iterator[bytes]:
    """Yield the next ``length`` bytes of ``stream``, or as many as there are, in blocks."""
    while length > 0:
        block = stream.read(min(length, 1 << 20))
        if not block:
            return
        length -= len(block)
        yield block


class _ChunkReader:
    """Collects the metadata in chunks, and the chunks that show the picture."""

    def __init__(self, header: PngHeader) -> None:
        self.kept: list[StoredChunk] = []
        self.pixels = False
        self._header = header
        self._plain = True
        self._ended = True
        self._fields: dict[bytes, bytes] = {}  # the first chunk of a kind counts
        self._texts: list[tuple[str, str]] = []
        self._text_budget = MAX_TEXTS
        self._decompress = _Decompressor()
        self._exif: bytes | None = None  # from a text
        self._xmp: bytes | None = None
        self._icc: bytes | None = None
        self._tagged = False
        self.announced = False
        self._frames = 0
        self._waiting = False
        self._separate = False
        self._damaged: dict[bytes, None] = {}
        self._too_large: dict[bytes, None] = {}
        self._others: dict[bytes, None] = {}

    def damaged(self, kind: bytes) -> None:
        """Leave out a chunk whose checksum or content is wrong."""
        self._plain = False
        if kind not in _MEANINGLESS:
            self._damaged[kind] = None

    def too_large(self, kind: bytes) -> None:
        """Leave out a chunk beyond the limits."""
        self._plain = False
        self._too_large[kind] = None

    def unfinished(self) -> None:
        """Record that the file ends without IEND."""
        self._plain = self._ended = False

    def add(self, place: StoredChunk, body: bytes) -> None:
        """Take a chunk whose checksum matches."""
        kind = place.kind
        if kind in _TEXT_CHUNKS:
            self._add_text(kind, body)
        elif kind in _ANIMATION_CHUNKS:
            self._add_animation(kind, body)
        elif kind == b"tRNS":
            self._add_transparency(place, body)
        elif kind in _SIZES or kind in (b"iCCP", b"eXIf"):
            self._add_field(kind, body)
        elif kind not in _MEANINGLESS:
            self._others[kind] = None

    def _add_field(self, kind: bytes, body: bytes) -> None:
        if kind in self._fields:
            self._plain = False
            return
        if len(body) not in _SIZES.get(kind, (len(body),)):
            self.damaged(kind)
            return
        if kind == b"iCCP":
            _, _, data = body.partition(b"\0")
            if data[:1] != b"\0":
                self.damaged(kind)
                return
            try:
                body = self._decompress(data[1:], MAX_PROFILE)
            except _TooLargeError:
                self.too_large(kind)
                return
            except zlib.error:
                self.damaged(kind)
                return
            self._plain = self._plain and len(body) <= _PILLOW_TEXT
        self._fields[kind] = body

    def _add_transparency(self, place: StoredChunk, body: bytes) -> None:
        size = {0: 2, 2: 6}.get(self._header.color_type)
        palette = self._header.color_type == 3 and 0 < len(body) <= 256
        if b"tRNS" in self._fields or self.pixels:
            self._plain = False
        elif len(body) == size or palette:
            self._fields[b"tRNS"] = body
            self.kept.append(place)
        else:
            self.damaged(b"tRNS")

    def _add_animation(self, kind: bytes, body: bytes) -> None:
        # Pillow counts the frames that acTL announces, whether they exist or not.
        self._plain = False
        if kind == b"acTL" and len(body) != 8:
            self.damaged(kind)
        elif kind == b"acTL":
            self.announced |= not self.pixels
        elif kind == b"fcTL":
            self._waiting = True
        elif kind == b"fdAT":
            self._add_frame()

    def add_pixels(self, place: StoredChunk) -> None:
        """Take an IDAT chunk."""
        self.kept.append(place)
        self._separate |= not (self.pixels or self._waiting)
        self.pixels = True
        self._add_frame()

    def _add_frame(self) -> None:
        """Count a frame at its first pixels; without any, fcTL is none."""
        self._frames += self._waiting
        self._waiting = False

    def _add_text(self, kind: bytes, body: bytes) -> None:
        try:
            keyword, raw, encoding, tagged = _text(kind, body, self._decompress)
        except _TooLargeError:
            self.too_large(kind)
            return
        except (ValueError, zlib.error):
            self.damaged(kind)
            return
        if keyword == XMP_KEYWORD:
            self._plain = self._plain and len(raw) <= _PILLOW_TEXT
            self._xmp = self._xmp or raw
            if len(raw) > MAX_XMP:
                self.too_large(kind)
            return
        if len(raw) > min(MAX_TEXT, self._text_budget):
            self.too_large(kind)
            return
        profile = _raw_profile(raw) if keyword.startswith("Raw profile type ") else b""
        if profile.startswith(_APP1_XMP):
            self._xmp = self._xmp or profile.removeprefix(_APP1_XMP)
        elif profile and keyword == _RAW_XMP:
            self._xmp = self._xmp or profile
        elif profile and keyword in _RAW_EXIF:
            self._exif = self._exif or profile
        elif profile and keyword in _RAW_ICC:
            self._icc = self._icc or profile
        else:
            self._text_budget -= len(raw)
            self._tagged |= tagged
            self._texts.append((keyword, raw.decode(encoding, "replace")))

    def result(self) -> PngChunks:
        """Return everything collected."""
        metadata = self._metadata()
        animated = self.announced and self._frames > 1 - self._separate
        return PngChunks(
            metadata,
            self._transparent(),
            self._frames if animated else 0,
            tuple(self._notes()),
            tuple(self.kept),
            self._plain,
            self._ended,
        )

    def _metadata(self) -> Metadata:
        get = self._fields.get
        gamma, chromaticities, intent, cicp = get(b"gAMA"), get(b"cHRM"), get(b"sRGB"), get(b"cICP")
        return Metadata(
            icc=get(b"iCCP") or self._icc,
            exif=get(b"eXIf") or self._exif,
            dpi=_dpi(get(b"pHYs")),
            xmp=self._xmp,
            gamma=self._checked(b"gAMA", _gamma(gamma)),
            chromaticities=self._checked(b"cHRM", _chromaticities(chromaticities)),
            rendering_intent=self._checked(
                b"sRGB", intent[0] if intent is not None and intent[0] <= 3 else None
            ),
            cicp=self._checked(
                b"cICP",
                (cicp[0], cicp[1], cicp[2], cicp[3]) if cicp is not None and cicp[3] <= 1 else None,
            ),
            mastering_display=get(b"mDCV"),
            content_light=get(b"cLLI"),
            text=tuple(self._texts),
        )

    def _checked(self, kind: bytes, value: _T | None) -> _T | None:
        """Return ``value``; note a chunk that is there and has none."""
        if value is None and kind in self._fields:
            self.damaged(kind)
        return value

    def _transparent(self) -> tuple[int, ...] | None:
        body, depth = self._fields.get(b"tRNS"), self._header.depth
        if body is None or self._header.color_type == 3:
            return None
        # Only the bits of a sample count; samples below 8 bits are decoded to the range of 8.
        largest = (1 << depth) - 1
        scale = 255 // largest if depth < 8 else 1
        values = struct.unpack(f">{len(body) // 2}H", body)
        return tuple((value & largest) * scale for value in values)

    def _notes(self) -> Iterator[str]:
        bits = 8 if self._header.color_type == 3 else self._header.depth
        significant = self._fields.get(b"sBIT")
        if significant is not None and any(value != bits for value in significant):
            self._others[b"sBIT"] = None
        if not self._ended:
            yield UNFINISHED
        for what, kinds in (
            ("damaged chunks of PNG", self._damaged),
            ("chunks of PNG beyond the limits of size", self._too_large),
            ("chunks of PNG", self._others),
        ):
            if kinds:
                names = [shown(kind.decode("latin-1")) for kind in kinds]
                more = ["more"] if len(names) > _MAX_NAMED else []
                yield f"{what} left out: {', '.join(names[:_MAX_NAMED] + more)}"
        if self._tagged:
            yield "languages of PNG's texts left out"


# The sizes that chunks of fixed size may have. mDCv and cLLi are names of drafts.
_SIZES: dict[bytes, tuple[int, ...]] = {
    b"gAMA": (4,),
    b"cHRM": (32,),
    b"sRGB": (1,),
    b"cICP": (4,),
    b"pHYs": (9,),
    b"mDCV": (24,),
    b"cLLI": (8,),
    b"sBIT": (1, 2, 3, 4),
}


def _dpi(body: bytes | None) -> tuple[float, float] | None:
    """Return pHYs in pixels per inch, None without one or for an aspect ratio alone."""
    if body is None or body[8] != 1:
        return None
    x, y = struct.unpack_from(">II", body)
    return valid_dpi((x * 0.0254, y * 0.0254))


def _gamma(body: bytes | None) -> float | None:
    value = int.from_bytes(body, "big") if body is not None else 0
    return value / 100_000 if value else None


def _chromaticities(
    body: bytes | None,
) -> tuple[float, float, float, float, float, float, float, float] | None:
    if body is None:
        return None
    values = struct.unpack(">8I", body)
    if max(values) > 1 << 31 or not all(values[1::2]):  # no color has y = 0
        return None
    a, b, c, d, e, f, g, h = (value / 100_000 for value in values)
    return a, b, c, d, e, f, g, h


class _TooLargeError(Exception):
    """A text or profile is beyond the limits."""


def _text(kind: bytes, body: bytes, decompress: _Decompressor) -> tuple[str, bytes, str, bool]:
    """Return keyword, text and encoding of a text chunk, and whether it names a language.

    Raises ValueError or zlib.error if the chunk is broken, and _TooLargeError.
    """
    key, separator, rest = body.partition(b"\0")
    if not separator or not 0 < len(key) < 80:
        raise ValueError("no keyword")
    keyword, encoding, tagged = key.decode("latin-1"), "latin-1", False
    compressed = kind == b"zTXt"
    if kind == b"iTXt":
        if len(rest) < 2 or rest[0] > 1:
            raise ValueError("no flags")
        compressed, encoding = bool(rest[0]), "utf-8"
        parts = rest[2:].split(b"\0", 2)  # language, translated keyword, text
        if len(parts) < 3 or (compressed and rest[1]):
            raise ValueError("no text")
        tagged = bool(parts[0] or parts[1])
        rest = parts[2]
    elif compressed:
        if rest[:1] != b"\0":
            raise ValueError("an unknown compression")
        rest = rest[1:]
    if compressed:
        rest = decompress(rest, MAX_XMP if keyword == XMP_KEYWORD else MAX_TEXT)
    return keyword, rest, encoding, tagged


class _Decompressor:
    """Decompresses the zlib streams of one file, MAX_DECOMPRESSED bytes in all."""

    def __init__(self) -> None:
        self._budget = MAX_DECOMPRESSED

    def __call__(self, compressed: bytes, limit: int) -> bytes:
        """Return the data of at most ``limit`` bytes; raises zlib.error and _TooLargeError."""
        limit = min(limit, self._budget)
        if limit < 1:  # zlib reads 0 as unlimited
            raise _TooLargeError
        decompressor = zlib.decompressobj()
        data = decompressor.decompress(compressed, limit)
        self._budget -= len(data)
        if decompressor.eof:
            return data
        if len(data) < limit:
            raise zlib.error("incomplete")
        raise _TooLargeError


def _raw_profile(text: bytes) -> bytes:
    """Return the bytes of a "Raw profile type ..." text: name, length, hexadecimal digits."""
    lines = text.strip().split(b"\n", 2)
    try:
        return bytes.fromhex(lines[2].decode("ascii")) if len(lines) == 3 else b""
    except ValueError:
        return b""
