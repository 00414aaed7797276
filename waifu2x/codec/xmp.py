"""The orientation in an XMP packet, reset in place.

Like browsers and libvips, nothing here turns a picture by XMP: an editor that rotates pixels often
leaves the old value behind.
"""

from __future__ import annotations

import re

#: A larger packet is left out.
MAX_XMP = 16 << 20

# As an attribute and as an element. Bounded repeats keep hostile packets from quadratic time.
_ORIENTATION = re.compile(
    rb"""(\btiff:Orientation\s{0,20}=\s{0,20}["']|<tiff:Orientation(?:\s[^<>]{0,200})?>)"""
    rb"""(\s{0,20})(\d{1,5})(?=\s{0,20}(?:["']|</tiff:Orientation\s{0,20}>))"""
)


def reset_orientation(xmp: bytes) -> bytes:
    """Return ``xmp`` with every tiff:Orientation set to 1, at the same length."""
    return _ORIENTATION.sub(lambda m: m[1] + m[2] + b"1".rjust(len(m[3]), b"0"), xmp)
