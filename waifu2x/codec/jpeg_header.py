"""The layout and the labels in the markers of a JPEG.

Pillow reports neither IPTC nor extended XMP, keeps one comment of several, and ignores what follows
the picture. Markers: ITU-T T.81, annex B; ICC in APP2: ICC.1, annex B.4; XMP: XMP Specification
Part 3, 1.1.3; multi-picture format: CIPA DC-007; gain maps: ISO 21496-1.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from ..errors import DecodeError
from .exif import EXIF_PREFIX
from .xmp import MAX_XMP, promises

_TEM, _SOI, _END, _SCAN, _LINES, _RESTARTS = 0x01, 0xD8, 0xD9, 0xDA, 0xDC, 0xDD
_COMMENT, _JPEG_LS = 0xFE, 0xF7
_FRAMES = (frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | {_JPEG_LS}
_ALONE = frozenset((_TEM, _SOI, *range(0xD0, 0xD8)))

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_ICC = b"ICC_PROFILE\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1\0"
_MULTI_PICTURE = b"MPF\0"
_IPTC, _FIRST_PATH, _LAST_PATH = 0x0404, 2000, 2997

# Signs of a gain map in the markers of a picture behind the first.
_GAIN_MAPS = (b"ns.adobe.com/hdr-gain-map", b"urn:iso:std:iso:ts:21496", b"HDRGainMap")

# libjpeg decodes each scan over the whole picture. Encoders write about ten, a bomb has thousands.
_MAX_SCANS = 100
_MAX_LABELS = 1 << 26
_MAX_SEGMENTS = 1 << 16
# Pictures and videos behind the first picture begin near its end.
_TAIL_HEAD = 1 << 16

# A marker within or after scan data, except stuffed zeros, restarts and fill bytes.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")


class Scan(NamedTuple):
    """One scan: components, first and last coefficient, the bit that it leaves, restarts in it."""

    components: tuple[int, ...]
    first: int
    last: int
    low_bit: int
    restarts: int = 0


@dataclass(slots=True)
class JpegHeader:
    """What the markers of a JPEG say.

    process: the frame marker, 0xC0 baseline to 0xCF, or 0xF7 (JPEG-LS); 0 without one.
    width, height, bits: of the frame; a height of 0 is replaced by that of DNL.
    components: id -> horizontal and vertical sampling factor.
    jfif: whether there is a JFIF marker.
    adobe: the transform of the Adobe marker, or None without one.
    density: pixels per inch of the JFIF marker, or None.
    icc, exif, xmp, iptc: blocks as stored, or None. comments: of all markers.
    notes: what is left out, one short sentence each.
    interval: units between restarts, or 0. scans: those of the first picture.
    height_at: the offset of the height of the frame, or 0. ended: whether there is an end marker.
    """

    process: int = 0
    width: int = 0
    height: int = 0
    bits: int = 0
    components: dict[int, tuple[int, int]] = field(default_factory=dict)
    jfif: bool = False
    adobe: int | None = None
    density: tuple[float, float] | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    comments: list[bytes] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    interval: int = 0
    scans: list[Scan] = field(default_factory=list)
    height_at: int = 0
    ended: bool = False

    @property
    def lossless(self) -> bool:
        """Whether the samples are predicted and not transformed."""
        return self.process in (0xC3, 0xCB)

    @property
    def progressive(self) -> bool:
        """Whether scans refine each other."""
        return self.process in (0xC2, 0xC6, 0xCA, 0xCE)


def read_header(stream: BinaryIO, name: str) -> JpegHeader:
    """Read the markers up to the end of the first picture, and what follows it.

    Stops where the file is damaged, which its decoder reports. Raises DecodeError for a JPEG of
    more than 100 scans.
    """
    return _Reader(stream, name).read()


class _Reader:
    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._header = JpegHeader()
        self._labels = 0
        self._profile: dict[int, bytes] = {}
        self._profile_parts = 0
        self._resources = b""
        self._pictures: list[int] = []
        self._extended = False
        self._gain_map = False

    def read(self) -> JpegHeader:
        position = 2
        for _ in range(_MAX_SEGMENTS):
            found = self._marker(position)
            if found is None:
                break
            kind, position = found
            if kind == _END:
                self._header.ended = True
                break
            if kind in _ALONE:
                continue
            body = self._body(position)
            if body is None:
                break
            self._segment(kind, body, position)
            position += 2 + len(body)
            if kind == _SCAN:
                after = self._scan(body, position)
                if after is None:
                    break
                position = after
        self._finish(position)
        return self._header

    def _marker(self, position: int) -> tuple[int, int] | None:
        """Return the next marker and the position after it; skips fill bytes and stray data."""
        self._stream.seek(position)
        head = self._stream.read(2)
        if head[:1] != b"\xff" or head[1:] in (b"", b"\0", b"\xff"):
            after = self._skip_scan(position)[1]
            if after is None:
                return None
            position = after
            self._stream.seek(position)
            head = self._stream.read(2)
        return head[1], position + 2

    def _body(self, position: int) -> bytes | None:
        self._stream.seek(position)
        length = int.from_bytes(self._stream.read(2), "big")
        body = self._stream.read(max(0, length - 2))
        return body if length >= 2 and len(body) == length - 2 else None

    def _segment(self, kind: int, body: bytes, position: int) -> None:
        header = self._header
        if kind in _FRAMES:
            self._frame(kind, body, position)
        elif kind == _RESTARTS and len(body) >= 2:
            header.interval = int.from_bytes(body[:2], "big")
        elif kind == _LINES and len(body) >= 2 and not header.height:
            header.height = int.from_bytes(body[:2], "big")
        elif kind == _COMMENT:
            if self._keeps(body):
                header.comments.append(body)
        elif 0xE0 <= kind <= 0xEF:
            self._application(kind - 0xE0, body)

    def _frame(self, kind: int, body: bytes, position: int) -> None:
        header = self._header
        if len(body) < 6 or header.process:
            return
        header.process = kind
        header.bits, header.height, header.width = struct.unpack_from(">BHH", body)
        header.height_at = position + 3
        for number, sampling, _ in struct.iter_unpack(
            "BBB", body[6 : 6 + (len(body) - 6) // 3 * 3]
        ):
            header.components[number] = sampling >> 4, sampling & 15

    def _keeps(self, block: bytes) -> bool:
        """Return whether the labels so far leave room for ``block``."""
        self._labels += len(block)
        return self._labels <= _MAX_LABELS

    def _application(self, number: int, body: bytes) -> None:
        header = self._header
        if number == 0 and body.startswith(b"JFIF\0") and len(body) >= 12:
            header.jfif = True
            unit, x, y = struct.unpack_from(">BHH", body, 7)
            factor = {1: 1.0, 2: 2.54}.get(unit)
            header.density = None if factor is None else (x * factor, y * factor)
        elif number == 14 and body.startswith(b"Adobe") and len(body) >= 12:
            header.adobe = body[11]
        elif not self._keeps(body):
            return
        elif number == 1 and body.startswith(EXIF_PREFIX):
            header.exif = (header.exif or EXIF_PREFIX) + body[len(EXIF_PREFIX) :]
        elif number == 1 and body.startswith(_XMP):
            header.xmp = body[len(_XMP) :]
        elif number == 1 and body.startswith(_EXTENDED_XMP):
            self._extended = True
        elif number == 2 and body.startswith(_ICC) and len(body) >= 14:
            self._profile.setdefault(body[12], body[14:])
            self._profile_parts = body[13]
        elif number == 2 and body.startswith(_GAIN_MAP):
            self._gain_map = True
        elif number == 2 and body.startswith(_MULTI_PICTURE):
            self._pictures = _picture_types(body[len(_MULTI_PICTURE) :])
        elif number == 11 and b"jumb" in body[:64] and b"c2pa" in body:
            header.notes.append("content credentials (C2PA), which hold for the source: left out")
        elif number == 13 and body.startswith(_PHOTOSHOP):
            self._resources += body[len(_PHOTOSHOP) :]

    def _scan(self, body: bytes, position: int) -> int | None:
        """Take the scan whose data begins at ``position``; return the place of the next marker."""
        header = self._header
        if len(header.scans) == _MAX_SCANS:
            raise DecodeError(
                f"{self._name} cannot be decoded: it is a JPEG of more than {_MAX_SCANS} scans, "
                "which no encoder writes; save it as PNG"
            )
        restarts, after = self._skip_scan(position)
        count = body[0] if body else 0
        if len(body) >= 4 + 2 * count:
            first, last, bits = body[1 + 2 * count : 4 + 2 * count]
            components = tuple(body[1 : 1 + 2 * count : 2])
            header.scans.append(Scan(components, first, last, bits & 15, restarts))
        return after

    def _skip_scan(self, position: int) -> tuple[int, int | None]:
        """Return the restarts from ``position`` on, and the place of the next other marker."""
        self._stream.seek(position)
        kept, restarts = b"", 0
        while block := self._stream.read(1 << 16):
            data = kept + block
            found = _MARKER.search(data)
            if self._header.interval:
                restarts += len(_RESTART.findall(data, 0, found.start() if found else len(data)))
            if found:
                return restarts, position - len(kept) + found.start()
            position += len(block)
            kept = b"\xff" if data.endswith(b"\xff") else b""
        return restarts, None

    def _finish(self, end: int) -> None:
        header = self._header
        if self._profile:
            parts = range(1, self._profile_parts + 1)
            if all(part in self._profile for part in parts) and parts:
                header.icc = b"".join(self._profile[part] for part in parts)
            else:
                header.notes.append("a color profile of which parts are missing: left out")
        if header.xmp is not None and len(header.xmp) > MAX_XMP:
            header.xmp = None
        for kind, data in _resources(self._resources):
            if kind == _IPTC and data:
                header.iptc = data
            elif _FIRST_PATH <= kind <= _LAST_PATH:
                header.notes.append("clipping paths: left out")
        if self._labels > _MAX_LABELS:
            header.notes.append("labels beyond 64 MiB: left out")
        if self._extended:
            header.notes.append("the extended XMP: left out")
        promised = promises(header.xmp or b"")
        gain_map, others, video = self._behind(end) if header.ended else (False, 0, False)
        for present, what in (
            (self._gain_map or gain_map or "gain map" in promised, "the gain map (HDR)"),
            ("depth map" in promised, "the depth map"),
            (video or "video" in promised, "the video (motion photo)"),
        ):
            if present:
                header.notes.append(f"{what}: left out")
        others -= self._gain_map or gain_map or "gain map" in promised
        if others > 0:
            header.notes.append(f"other pictures in the file: left out ({others})")
        header.notes = list(dict.fromkeys(header.notes))

    def _behind(self, end: int) -> tuple[bool, int, bool]:
        """Return whether a gain map follows the picture, how many pictures, and whether a video."""
        self._stream.seek(end)
        tail = self._stream.read(_TAIL_HEAD)
        start = tail.find(b"\xff\xd8\xff")
        # Without a directory, pictures begin at once or after padding.
        follows = start >= 0 and not tail[:start].strip(b"\0\xff")
        pictures = max(0, len(self._pictures) - 1) if self._pictures else int(follows)
        gain_map = bool(pictures) and any(sign in tail for sign in _GAIN_MAPS)
        return gain_map, pictures, tail[4:8] == b"ftyp"


def _picture_types(directory: bytes) -> list[int]:
    """Return the types of the pictures in a multi-picture directory; empty if it is damaged."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(directory[:4])
    if order is None:
        return []
    try:
        (start,) = struct.unpack_from(order + "I", directory, 4)
        (count,) = struct.unpack_from(order + "H", directory, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, _, size, place = struct.unpack_from(order + "HHII", directory, at)
            if tag == 0xB002:
                entries = directory[place : place + size]
                return [
                    fields[0] & 0xFFFFFF
                    for fields in struct.iter_unpack(
                        order + "IIIHH", entries[: len(entries) // 16 * 16]
                    )
                ]
    except struct.error:
        pass
    return []


def _resources(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the data of Photoshop's image resources."""
    at = 0
    while data[at : at + 4] == b"8BIM" and len(data) >= at + 7:
        kind, length = struct.unpack_from(">HB", data, at + 4)
        at += 6 + (length + 2 & ~1)  # the name is padded with its length
        if at + 4 > len(data):
            return
        size = int.from_bytes(data[at : at + 4], "big")
        yield kind, data[at + 4 : at + 4 + size]
        at += 4 + (size + 1 & ~1)
