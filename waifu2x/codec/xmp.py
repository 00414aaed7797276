"""The orientation in an XMP packet: read, and reset in place."""

from __future__ import annotations

import re

#: A larger packet is left out.
MAX_XMP = 16 << 20

# As an attribute and as an element. Bounded repeats keep hostile packets from quadratic time.
_ORIENTATION = re.compile(
    rb"""(\btiff:Orientation\s{0,20}=\s{0,20}["']|<tiff:Orientation(?:\s[^<>]{0,200})?>)"""
    rb"""(\s{0,20})(\d{1,5})(?=\s{0,20}(?:["']|</tiff:Orientation\s{0,20}>))"""
)


def orientation(xmp: bytes) -> int:
    """Return the tiff:Orientation 1..8 of an XMP packet; 1 if it is missing or unknown."""
    found = _ORIENTATION.search(xmp)
    value = int(found[3]) if found else 1
    return value if 1 <= value <= 8 else 1


def reset_orientation(xmp: bytes) -> bytes:
    """Return ``xmp`` with every tiff:Orientation set to 1, at the same length."""
    return _ORIENTATION.sub(lambda m: m[1] + m[2] + b"1".rjust(len(m[3]), b"0"), xmp)
