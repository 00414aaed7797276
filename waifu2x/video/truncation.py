"""Finds files that have been cut off, by the sizes that their containers declare.

The demuxers of the library take the end of such a file for the end of the video.
"""

from __future__ import annotations

from typing import BinaryIO, Final

_EBML: Final = b"\x1a\x45\xdf\xa3"
_SEGMENT: Final = b"\x18\x53\x80\x67"

#: The first byte of a packet of MPEG-TS; the size of a packet, and the place of that byte in it.
_SYNC: Final = 0x47
_PACKETS: Final = ((188, 0), (192, 4))

#: Kinds of boxes that begin an MP4 or MOV file.
_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


def is_cut_off(file: BinaryIO) -> bool:
    """Whether ``file``, which seeks, is shorter than its container declares.

    Matroska, WebM, MP4, MOV, AVI and MPEG-TS declare sizes; False for other containers.
    """
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(2 * 192)
    if head.startswith(_EBML):
        return _matroska_end(head) > size
    if head[4:8] in _BOXES:
        return _boxes_end(file, size) > size
    if head[:4] == b"RIFF":
        return 8 + int.from_bytes(head[4:8], "little") > size
    for length, place in _PACKETS:
        if len(head) > length + place and head[place] == head[length + place] == _SYNC:
            return size % length != 0
    return False


def _matroska_end(head: bytes) -> int:
    """Where the segment of a Matroska file ends; 0 if it declares no size."""
    at = len(_EBML)
    length, value, _ = _number(head, at)
    at += length + value
    if head[at : at + 4] != _SEGMENT:
        return 0
    at += len(_SEGMENT)
    length, value, unknown = _number(head, at)
    return 0 if unknown or not length else at + length + value


def _number(data: bytes, at: int) -> tuple[int, int, bool]:
    """The length and the value of a number of EBML, and whether it stands for an unknown size."""
    first = data[at] if at < len(data) else 0
    length = 9 - first.bit_length() if first else 0
    raw = int.from_bytes(data[at : at + length], "big")
    most = (1 << 7 * length) - 1
    return length, raw & most, raw & most == most


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Where the last box of an MP4 or MOV file ends."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0 extends to the end of the file
            return size
        at += length
    return at
