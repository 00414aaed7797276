"""What reading and writing PNG share. Layout: PNG (Third Edition), https://www.w3.org/TR/png-3/."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import takewhile
from typing import Final

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

#: Where the chunks behind IHDR begin.
HEADER_END: Final = len(SIGNATURE) + 25

#: The keyword of the iTXt chunk that holds an XMP packet.
XMP_KEYWORD: Final = "XML:com.adobe.xmp"


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk with its length and checksum."""
    length, checksum = struct.pack(">I", len(data)), zlib.crc32(data, zlib.crc32(kind))
    return b"".join((length, kind, data, struct.pack(">I", checksum)))


def chunks_of(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and data of the chunks of a whole PNG."""
    position = len(SIGNATURE)
    while position < len(file):
        length, kind = struct.unpack_from(">I4s", file, position)
        yield kind, file[position + 8 : position + 8 + length]
        position += 12 + length


def metadata_of(file: bytes) -> bytes:
    """Return the chunks between IHDR and the pixels of a whole PNG."""
    before = takewhile(lambda found: found[0] != b"IDAT", chunks_of(file))
    return b"".join(chunk(kind, data) for kind, data in before if kind != b"IHDR")


def checksum_matches(kind: bytes, data: bytes, stored: bytes) -> bool:
    """Return whether ``stored`` is the checksum of a chunk."""
    return stored == zlib.crc32(data, zlib.crc32(kind)).to_bytes(4, "big")
