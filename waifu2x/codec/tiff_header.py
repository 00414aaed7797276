"""The pixel layout of a TIFF, read within limits before any library sees the file.

Layouts: TIFF 6.0 (Adobe, 1992) and BigTIFF. What is missing or absurd raises ValueError.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO, TypeAlias

from .._record import record

# More than any camera or editor writes.
_MOST_ENTRIES = 4096
_MOST_PAGES = 1 << 16

#: Bytes of one value of each type of TIFF 6.0.
VALUE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES = VALUE_SIZES | {16: 8, 17: 8, 18: 8}  # BigTIFF's
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}

#: The entries of a directory: tag -> type, count, and the 4 or 8 bytes of the value or its offset.
Entries: TypeAlias = dict[int, tuple[int, int, bytes]]

_SUBFILE_TYPE = 254
_OLD_SUBFILE_TYPE = 255
_SUB_DIRECTORIES = 330
_MOST_SAMPLES = 16
_REDUCED_COPY, _MASK = 1, 4  # bits of NewSubfileType

#: Compressions by their numbers in TIFF.
RAW, OLD_JPEG, JPEG, JPEG_2000, WEBP, JPEG_XL = (
    1,
    6,
    7,
    (33004, 33005, 34712),
    50001,
    (50002, 52546),
)

# Compressions of whole samples, without a color space of their own.
_PLAIN = frozenset((RAW, 5, 8, 32773, 32946, 34925, 50000))
_FAX = frozenset((2, 3, 4, 32771))  # of 1 bit
_BY_PILLOW = _FAX | {RAW, 5, OLD_JPEG, JPEG, 8, 32773, 32946}
_PICTURES = frozenset((JPEG, *JPEG_2000, WEBP, *JPEG_XL))

_COMPRESSIONS = {
    9: "JBIG (T.85)",
    10: "JBIG (T.43)",
    99: "lossless JPEG (Leaf)",
    262: "Kodak",
    22610: "JPEG XR",
    32766: "NeXT",
    32767: "Sony raw",
    32769: "packed raw",
    32770: "Samsung raw",
    32809: "ThunderScan",
    32895: "IT8 CT",
    32896: "IT8 LW",
    32897: "IT8 MP",
    32898: "IT8 BL",
    32908: "PixarFilm",
    32909: "PixarLog",
    32947: "Kodak DCS",
    33003: "JPEG 2000 (YCbCr)",
    34661: "JBIG",
    34676: "SGI LogLuv",
    34677: "SGI LogLuv",
    34713: "Nikon raw",
    34715: "JBIG2",
    34718: "MDI",
    34719: "MDI",
    34720: "MDI",
    34887: "LERC",
    34892: "lossy JPEG (DNG)",
    34926: "old Zstandard",
    34927: "old WebP",
    34933: "PNG",
    34934: "JPEG XR",
    50013: "Pixtiff",
}

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB, ICCLAB = 0, 1, 2, 3, 5, 6, 8, 9
_PHOTOMETRICS = {
    4: "a transparency mask instead of a picture",
    10: "ITU L*a*b* colors",
    32803: "raw camera data (a color filter array)",
    32844: "LogL samples",
    32845: "LogLuv samples",
    34892: "raw camera data (linear)",
    51177: "a depth map instead of a picture",
}
_COLORS = {
    WHITE_IS_ZERO: 1,
    BLACK_IS_ZERO: 1,
    RGB: 3,
    PALETTE: 1,
    CMYK: 4,
    YCBCR: 3,
    CIELAB: 3,
    ICCLAB: 3,
}

# Subsamplings of chroma that libtiff converts right; at 4x4, it loses the last block.
_CHROMA = frozenset(((1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2)))
_PLANAR_CHROMA = frozenset(((1, 1),))

UNSIGNED, SIGNED, FLOAT = 1, 2, 3
_NUMBERS = {UNSIGNED: "unsigned integers", SIGNED: "signed integers", FLOAT: "floats"}
_DEPTHS = {
    UNSIGNED: frozenset((*range(1, 17), 32)),
    SIGNED: frozenset((8, 16, 32)),
    FLOAT: frozenset((16, 24, 32, 64)),
}


@record
class TiffLayout:
    """The layout in the first directory of a TIFF.

    width, height: as stored, before the orientation is applied. pages: pictures in the file,
    without reduced copies and masks; masks: the number of masks. bits, samples: bits per sample and
    samples per pixel. sample_format: 1 unsigned, 2 signed, 3 float; 0 if samples differ.
    photometric: 0 white is zero, 1 black is zero, 2 RGB, ... extra: meaning of the samples beyond
    color: 1 alpha with premultiplied color, 2 straight alpha, 0 other. inks: InkSet, 1 is CMYK.
    subsampling: of the chroma of YCbCr, horizontal and vertical.
    tile: width and height of a tile, None for strips. tiles_in_strip_tags: whether the tags of
    strips hold the places of the tiles, as in old files.
    preview: whether the first directory is a reduced copy of a picture in a sub-directory.
    byte_orientation: whether the orientation is of type BYTE, which Pillow ignores.
    motorola: whether the byte order is big-endian. big: whether the file is a BigTIFF.
    """

    width: int
    height: int
    pages: int
    masks: int
    bits: int
    samples: int
    sample_format: int
    photometric: int
    compression: int
    planar: bool
    extra: tuple[int, ...]
    inks: int
    preview: bool
    subsampling: tuple[int, ...]
    tile: tuple[int, int] | None
    tiles_in_strip_tags: bool
    orientation: int
    byte_orientation: bool
    motorola: bool
    big: bool

    @property
    def colors(self) -> int:
        """The number of samples that are color; 0 for an unknown color space."""
        if self.photometric == YCBCR and self.samples == 1:
            return 1  # luma alone
        return _COLORS.get(self.photometric, 0)

    @property
    def alpha(self) -> tuple[int, int] | None:
        """The index of the alpha sample and its kind, 1 premultiplied or 2 straight, or None.

        Without ExtraSamples, the sample after gray or RGB is straight alpha.
        """
        surplus = self.samples - self.colors
        extra = self.extra[:surplus]
        if not self.extra and self.colors in (1, 3):
            extra = (2,)[:surplus]
        for index, kind in enumerate(extra, self.colors):
            if kind in (1, 2):
                return index, kind
            if kind > 2:  # Corel Draw writes 999
                return index, 2
        return None

    @property
    def by_pillow(self) -> bool:
        """Whether Pillow reads the pixels right: interleaved samples of up to 8 bits."""
        if self.motorola and self.big:
            return False  # Pillow reads the header in the wrong byte order
        if self.byte_orientation and self.orientation != 1:
            return False
        if self.tiles_in_strip_tags:
            return False  # Pillow takes the tiles for strips
        if self.sample_format != UNSIGNED or self.bits not in (1, 2, 4, 8):
            return False
        if (self.planar and self.samples > 1) or self.compression not in _BY_PILLOW:
            return False
        surplus = self.samples - self.colors
        if self.photometric in (BLACK_IS_ZERO, RGB):
            known = (), (0,), (1,), (2,)
            return surplus == 0 or (self.bits == 8 and surplus == 1 and self.extra in known)
        if self.photometric == YCBCR:
            return surplus == 0 and self.compression in (OLD_JPEG, JPEG)
        return surplus == 0 and self.photometric in (WHITE_IS_ZERO, PALETTE, CMYK, CIELAB)

    @property
    def raw_ycbcr(self) -> bool:
        """Whether the pixels are YCbCr samples of 8 bits that are not compressed as JPEG."""
        return (
            self.photometric == YCBCR
            and self.compression in _PLAIN
            and (self.samples, self.bits, self.sample_format) == (3, 8, UNSIGNED)
        )

    @property
    def unsupported(self) -> str:
        """What no reader supports, for messages; "" if nothing."""
        if self.preview:
            return "a preview of raw camera data"
        if self.photometric in _PHOTOMETRICS:
            return _PHOTOMETRICS[self.photometric]
        if not self.colors:
            return f"an unknown color space (photometric {self.photometric})"
        if self.photometric == CMYK and self.inks != 1:
            return "inks other than CMYK"
        if self.compression not in _PLAIN | _FAX | _PICTURES | {OLD_JPEG}:
            named = _COMPRESSIONS.get(self.compression)
            return f"{named} compression" if named else f"compression {self.compression}"
        if not self.sample_format:
            return "samples of different sizes or types"
        if self.bits not in _DEPTHS.get(self.sample_format, ()):
            return f"samples of {self.bits} bits (sample format {self.sample_format})"
        if not self.colors <= self.samples <= _MOST_SAMPLES:
            return f"{self.samples} samples per pixel"
        return self._unsupported_mixture()

    def _unsupported_mixture(self) -> str:
        """What is supported alone, and not together."""
        integer = self.sample_format == UNSIGNED and self.bits <= 16
        if self.compression == OLD_JPEG and not (self.by_pillow and self.photometric == YCBCR):
            return "old-style JPEG compression of other colors than YCbCr"
        if self.compression == 32771 and not self.by_pillow:
            return "word-aligned fax compression in a big-endian BigTIFF"
        if self.photometric == YCBCR and not (
            self.by_pillow or self.raw_ycbcr or self.compression == JPEG
        ):
            return f"YCbCr samples of {self.bits} bits, or so compressed"
        if self.photometric == YCBCR and (
            self.samples not in (1, 3) or (self.compression == JPEG and self.planar)
        ):
            return "YCbCr samples with alpha, or as JPEG in planes"
        if self.raw_ycbcr and self.subsampling not in (_PLANAR_CHROMA if self.planar else _CHROMA):
            return "YCbCr samples with chroma subsampled by " + "x".join(map(str, self.subsampling))
        if self.photometric in (PALETTE, CMYK) and not integer:
            kind = "a palette" if self.photometric == PALETTE else "CMYK"
            return f"{kind} of {self.bits} bits as {_NUMBERS[self.sample_format]}"
        if self.photometric in (CIELAB, ICCLAB) and (self.bits not in (8, 16) or not integer):
            return f"CIELab colors of {self.bits} bits as {_NUMBERS[self.sample_format]}"
        return ""


def read_layout(stream: BinaryIO) -> TiffLayout:
    """Read the layout of the TIFF in ``stream``.

    Walks all directories, in time and memory proportional to the file.
    Raises ValueError if they are broken, loop or hold absurd numbers.
    """
    reader = TiffReader(stream)
    first, position = reader.directory(reader.first)
    seen = {reader.first}
    kinds = [_subfile_type(reader, first)]
    while position and position not in seen:
        if len(seen) >= _MOST_PAGES:
            raise ValueError(f"more than {_MOST_PAGES} pages")
        seen.add(position)
        try:
            entries, position = reader.directory(position)
        except ValueError:
            break  # pages after a sound first one do not matter
        kinds.append(_subfile_type(reader, entries))
    others = kinds[1:]
    masks = sum(bool(kind & _MASK) for kind in others)
    pages = 1 + sum(not kind & (_REDUCED_COPY | _MASK) for kind in others)
    return _layout(reader, first, kinds[0], pages, masks)


def _subfile_type(reader: TiffReader, entries: Entries) -> int:
    """Return NewSubfileType, or its bits for the older SubfileType."""
    old = reader.integer(entries, _OLD_SUBFILE_TYPE, 0)
    return reader.integer(entries, _SUBFILE_TYPE, _REDUCED_COPY if old == 2 else 0)


def _layout(reader: TiffReader, entries: Entries, kind: int, pages: int, masks: int) -> TiffLayout:
    width, height = reader.integer(entries, 256), reader.integer(entries, 257)
    if min(width, height) < 1:
        raise ValueError(f"it is {width}x{height}")
    bits = reader.integers(entries, 258) or (1,)
    photometric = reader.integer(entries, 262, 0)
    compression = reader.integer(entries, 259, RAW)
    # Old files lack SamplesPerPixel.
    old = compression == OLD_JPEG and photometric in (RGB, YCBCR)
    samples = reader.integer(entries, 277, 3 if old else len(bits))
    formats = reader.integers(entries, 339) or (1,)
    # Some writers list more samples than there are.
    if len(set(bits[:samples])) > 1 or len(set(formats[:samples])) > 1:
        formats = (0,)
    tile = None
    if 322 in entries or 323 in entries:
        tile = reader.integer(entries, 322), reader.integer(entries, 323)
        if min(tile) < 1:
            raise ValueError(f"its tiles are {tile[0]}x{tile[1]}")
    return TiffLayout(
        width=width,
        height=height,
        pages=pages,
        masks=masks,
        bits=bits[0],
        samples=samples,
        sample_format=formats[0],
        photometric=photometric,
        compression=compression,
        planar=reader.integer(entries, 284, 1) == 2,
        extra=reader.integers(entries, 338),
        inks=reader.integer(entries, 332, 1),
        preview=bool(kind & _REDUCED_COPY and _SUB_DIRECTORIES in entries),
        subsampling=reader.integers(entries, 530) or (2, 2),
        tile=tile,
        tiles_in_strip_tags=tile is not None and 324 not in entries,
        orientation=reader.integer(entries, 274, 1),
        byte_orientation=entries.get(274, (0, 0, b""))[0] == 1,
        motorola=reader.order == ">",
        big=reader.big,
    )


class TiffReader:
    """Reads directories of a TIFF.

    order: "<" or ">". big: whether the file is a BigTIFF. first: the position of the first
    directory.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._size = stream.seek(0, io.SEEK_END)
        # Overlapping directories and values would be read again and again.
        self._budget = self._size
        stream.seek(0)
        head = stream.read(16)
        order = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}.get(head[:4])
        if order is None or len(head) < 16:
            raise ValueError("it has no header")
        self.order = order
        self.big = b"+" in head[:4]
        self._offset_format = order + ("Q" if self.big else "I")
        (self.first,) = struct.unpack_from(self._offset_format, head, 8 if self.big else 4)

    def directory(self, position: int) -> tuple[Entries, int]:
        """Return the entries of the directory at ``position``, and the next position (0: none)."""
        count_format, link, entry = ("Q", "Q", "HHQ8s") if self.big else ("H", "I", "HHI4s")
        (count,) = self._unpack(count_format, position)
        if count > _MOST_ENTRIES:
            raise ValueError(f"one of its directories has {count} entries")
        layout = struct.Struct(self.order + entry)
        start = position + struct.calcsize("=" + count_format)
        body = self._read(start, count * layout.size)
        entries: Entries = {}
        for tag, kind, number, value in layout.iter_unpack(body):
            size = number * _SIZES.get(kind, 1)
            if size > len(value):
                self._spend(size)
            entries.setdefault(tag, (kind, number, value))
        try:
            (after,) = self._unpack(link, start + len(body))
        except ValueError:
            after = 0
        return entries, int(after)

    def entry(self, directory: int, tag: int) -> int | None:
        """Return the position of the entry of ``tag`` in a directory that was read, or None."""
        count_format, entry = ("Q", 20) if self.big else ("H", 12)
        (count,) = self._unpack(count_format, directory)
        start = directory + struct.calcsize("=" + count_format)
        for position in range(start, start + count * entry, entry):
            if self._unpack("H", position) == (tag,):
                return position
        return None

    def integer(self, entries: Entries, tag: int, default: int | None = None) -> int:
        """Return the value of a tag that holds one integer."""
        values = self.integers(entries, tag)
        if values:
            return values[0]
        if default is None:
            raise ValueError(f"tag {tag} is missing")
        return default

    def integers(self, entries: Entries, tag: int) -> tuple[int, ...]:
        """Return the integers of a tag, or () if it is missing or of another type."""
        kind, count, value = entries.get(tag, (0, 0, b""))
        letter = _INTEGERS.get(kind)
        if letter is None or not count:
            return ()
        if count > 2 * _MOST_SAMPLES:
            raise ValueError(f"tag {tag} has {count} values")
        size = count * _SIZES[kind]
        if size > len(value):
            (offset,) = struct.unpack(self._offset_format, value)
            value = self._read(offset, size)
        return struct.unpack(f"{self.order}{count}{letter}", value[:size])

    def value(self, entry: tuple[int, int, bytes], limit: int) -> tuple[bytes, int | None]:
        """Return the bytes of a value, and its position in the file if it has one of its own.

        Raises ValueError if the value is of an unknown type, longer than ``limit`` bytes, or beyond
        the end. `directory` has charged the bytes already.
        """
        kind, count, stored = entry
        size = count * _SIZES.get(kind, 0)
        if not 0 < size <= limit:
            raise ValueError(f"a value of type {kind} has {size} bytes")
        if size <= len(stored):
            return stored[:size], None
        (offset,) = struct.unpack(self._offset_format, stored)
        if offset > self._size or size > self._size - offset:
            raise ValueError("a value lies beyond its end")
        self._stream.seek(offset)
        return self._stream.read(size), int(offset)

    def _unpack(self, letters: str, position: int) -> tuple[int, ...]:
        body = self._read(position, struct.calcsize("=" + letters))
        return struct.unpack(self.order + letters, body)

    def _read(self, position: int, size: int) -> bytes:
        if not 0 <= position <= self._size - size:
            raise ValueError("its directories point beyond its end")
        self._spend(size)
        self._stream.seek(position)
        return self._stream.read(size)

    def _spend(self, size: int) -> None:
        self._budget -= size
        if self._budget < -_SHARED_BYTES:
            raise ValueError("its directories overlap")


# Pages may share a few values.
_SHARED_BYTES = 1 << 20
