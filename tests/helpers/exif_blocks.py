"""An EXIF block as cameras write it, laid out by hand."""

from __future__ import annotations

import struct

from waifu2x.codec.exif import EXIF_PREFIX

#: Integer types of TIFF and their codes in `struct`.
INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I"}
# Values of a length that no writer would keep if it parsed them: Japanese, Latin-1, and bytes that
# are no text at all; and a maker's note whose numbers are offsets from the start of the block.
ARTIST, COPYRIGHT = "初音ミク".encode() + b"\0", b"\xa9 Andr\xe9 \xff\xfe\0"
NOTE = b"Maker\0\1\0\x7c\x92\2\0\5\0\0\0\x20\2\0\0" + bytes(range(64))


def value(order: str, kind: int, number: int) -> bytes:
    """A number in the four bytes of an entry."""
    return struct.pack(order + INTEGERS[kind], number).ljust(4, b"\0")


def camera(
    order: str = "<", kind: int = 3, turned: int = 6, size: tuple[int, int] = (24, 16)
) -> bytes:
    """An EXIF block of three directories with a thumbnail, laid out by hand."""

    def pack(codes: str, *values: int) -> bytes:
        return struct.pack(order + codes, *values)

    inner, interop, texts = 200, 300, 400
    first = [
        (0x0100, kind, 1, value(order, kind, size[0])),
        (0x0101, kind, 1, value(order, kind, size[1])),
        (0x0112, kind, 1, value(order, kind, turned)),
        (0x013B, 2, len(ARTIST), pack("I", texts)),
        (0x8298, 2, len(COPYRIGHT), pack("I", texts + 20)),
        (0x8769, 4, 1, pack("I", inner)),
    ]
    second = [
        (0x927C, 7, len(NOTE), pack("I", texts + 60)),
        (0xA002, kind, 1, value(order, kind, size[0])),
        (0xA003, kind, 1, value(order, kind, size[1])),
        (0xA005, 4, 1, pack("I", interop)),
    ]
    third = [(0x1001, kind, 1, value(order, kind, size[0]))]
    thumbnail = [(0x0112, 3, 1, value(order, 3, 1))]
    block = bytearray(700)
    block[:8] = (b"II*\0" if order == "<" else b"MM\0*") + pack("I", 8)
    places = ((8, first, 600), (inner, second, 0), (interop, third, 0), (600, thumbnail, 0))
    for at, entries, after in places:
        body = pack("H", len(entries))
        body += b"".join(pack("HHI", tag, kind, count) + at4 for tag, kind, count, at4 in entries)
        body += pack("I", after)
        block[at : at + len(body)] = body
    for at, text in ((texts, ARTIST), (texts + 20, COPYRIGHT), (texts + 60, NOTE)):
        block[at : at + len(text)] = text
    return EXIF_PREFIX + bytes(block)
