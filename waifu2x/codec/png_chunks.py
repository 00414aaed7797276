"""What reading and writing PNG share. Layout: PNG (Third Edition), https://www.w3.org/TR/png-3/."""

from __future__ import annotations

import struct
import zlib
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


def checksum_matches(kind: bytes, data: bytes, stored: bytes) -> bool:
    """Return whether ``stored`` is the checksum of a chunk."""
    return stored == zlib.crc32(data, zlib.crc32(kind)).to_bytes(4, "big")
