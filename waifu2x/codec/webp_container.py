"""The chunks of a still WebP, mended if only lengths are wrong.

libwebp refuses a file whose length field or last padding byte is missing or wrong, although all
pixels are there, and ignores labels that the header does not announce. Container: RFC 9649.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO, NamedTuple

from .._text import AGAIN
from ..errors import DecodeError

_PIXELS = (b"VP8 ", b"VP8L")
_ANIMATION = (b"ANIM", b"ANMF")
_LABELS = {b"ICCP": (0x20, "color profile"), b"EXIF": (0x08, "EXIF"), b"XMP ": (0x04, "XMP")}
_MAX_CHUNKS = 4096

#: The note of a file whose length fields are wrong.
WRONG_LENGTHS = "the lengths in the file are wrong, and all pixels are there"


class _Chunk(NamedTuple):
    """A chunk: where its data begins, and its declared length."""

    kind: bytes
    start: int
    length: int

    @property
    def end(self) -> int:
        """The end of the data, with its padding."""
        return self.start + self.length + (self.length & 1)


def unannounced(kind: bytes) -> str:
    """Return the note of a label whose flag in the header is not set."""
    return f"{_LABELS[kind][1]} that the header does not announce: left out"


def mended(stream: BinaryIO, name: str) -> tuple[BinaryIO, tuple[str, ...]]:
    """Return a stream that libwebp accepts, and notes of what is left out or wrong.

    An animation is returned as it is. Raises DecodeError if the file is truncated.
    """
    size = stream.seek(0, io.SEEK_END)
    stream.seek(4)
    end = 8 + int.from_bytes(stream.read(4), "little")
    chunks = _chunks(stream, size)
    kinds = [each.kind for each in chunks]
    if any(kind in kinds for kind in _ANIMATION):
        if end > size:
            raise _truncated(name)
        return stream, ()
    pixels = next((each for each in chunks if each.kind in _PIXELS), None)
    if pixels is None:
        raise _truncated(name)
    # A length that excludes pixels means nothing; what follows a sound one is no part of the file.
    inside = chunks if end < pixels.end - 1 else [each for each in chunks if each.start <= end]
    if any(each.start + each.length > size for each in inside):
        raise _truncated(name)
    flags = None
    if kinds[0] == b"VP8X" and chunks[0].length >= 10:
        stream.seek(chunks[0].start)
        flags = stream.read(1)[0]
    if end > size and any((flags or 0) & _LABELS[kind][0] for kind in _LABELS if kind not in kinds):
        raise _truncated(name)  # before a label that the header announces
    notes = []
    kept = []
    for each in inside:
        flag, label = _LABELS.get(each.kind, (0, ""))
        if label and not (flags or 0) & flag:
            notes.append(unannounced(each.kind))
        elif each.kind == b"VP8X" or label or each.start <= pixels.start:
            kept.append(each)
    if end <= size and all(each.end <= end for each in inside):
        return stream, tuple(notes)
    notes.insert(0, WRONG_LENGTHS)
    return io.BytesIO(_rebuilt(stream, kept)), tuple(notes)


def _chunks(stream: BinaryIO, size: int) -> list[_Chunk]:
    chunks: list[_Chunk] = []
    position = 12
    while position + 8 <= size and len(chunks) < _MAX_CHUNKS:
        stream.seek(position)
        kind, length = struct.unpack("<4sI", stream.read(8))
        chunks.append(_Chunk(kind, position + 8, length))
        position = chunks[-1].end
    return chunks


def _rebuilt(stream: BinaryIO, chunks: list[_Chunk]) -> bytes:
    body = b"WEBP"
    for each in chunks:
        stream.seek(each.start)
        data = stream.read(each.length)
        body += each.kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _truncated(name: str) -> DecodeError:
    return DecodeError(f"{name} is truncated: the file ends before the picture does{AGAIN}")
