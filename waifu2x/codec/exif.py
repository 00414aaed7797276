"""Small changes to an EXIF block, made in place.

Parsing and rewriting a block moves its values, which breaks the offsets in camera makers' notes.
So the few numbers that must change are overwritten in place.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

#: The bytes before the TIFF header in JPEG; `Metadata.exif` always has them.
EXIF_PREFIX = b"Exif\0\0"

#: Tags of a first directory that describe the picture and not how its pixels are stored: document,
#: description, make, model, page, software, date, artist, host, rating, copyright, IPTC, and the
#: title, comment, author, keywords and subject of Windows.
DESCRIPTIVE_TAGS = (
    *(0x010D, 0x010E, 0x010F, 0x0110, 0x011D, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749),
    *(0x8298, 0x83BB, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F),
)

_ORIENTATION = 0x0112
_EXIF_IFD = 0x8769
_INTEROP_IFD = 0xA005
# Width and height: of the first directory, of the Exif and of the interoperability directory.
_SIZES = ((0x0100, 0x0101), (0xA002, 0xA003), (0x1001, 0x1002))
# BYTE, SHORT, LONG, SBYTE, SSHORT, SLONG and IFD: writers use all of them for whole numbers.
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I"}
_LONG = 4


class _Block:
    """An EXIF block to patch; raises ValueError if the bytes are no EXIF block."""

    def __init__(self, exif: bytes) -> None:
        self.data = bytearray(exif.removeprefix(EXIF_PREFIX))
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(self.data[:4]))
        if order is None:
            raise ValueError("not an EXIF block")
        self.order = order
        self.first = self._unpack("I", 4)
        self.entries(self.first)

    def _unpack(self, kind: str, offset: int) -> int:
        try:
            return int(struct.unpack_from(self.order + kind, self.data, offset)[0])
        except struct.error as error:
            raise ValueError("EXIF block ends too early") from error

    def entries(self, directory: int) -> list[tuple[int, int]]:
        """Return the tag and the offset of each entry of the directory at ``directory``."""
        count = self._unpack("H", directory)
        offsets = (directory + 2 + 12 * index for index in range(count))
        return [(self._unpack("H", offset), offset) for offset in offsets]

    def found(self, directory: int, tag: int) -> list[int]:
        """Return the offsets of all entries of ``tag``; some writers repeat a tag."""
        return [offset for other, offset in self.entries(directory) if other == tag]

    def after(self, directory: int) -> int:
        """Return the offset of the link from ``directory`` to the next one."""
        return directory + 2 + 12 * self._unpack("H", directory)

    def single(self, entry: int) -> tuple[str, int] | None:
        """Return the format and value of an entry with one integer, else None."""
        kind = _INTEGERS.get(self._unpack("H", entry + 2))
        if kind is None or self._unpack("I", entry + 4) != 1:
            return None
        return kind, self._unpack(kind, entry + 8)

    def orientation(self) -> int:
        """Return the orientation 1..8; 1 if it is missing or unknown. The last entry counts."""
        values = map(self.single, self.found(self.first, _ORIENTATION))
        known = [value[1] for value in values if value is not None and 1 <= value[1] <= 8]
        return known[-1] if known else 1

    def set(self, entry: int, value: int) -> None:
        """Overwrite the value of ``entry`` if it is one integer; it becomes LONG if need be."""
        found = self.single(entry)
        if found is None or entry + 12 > len(self.data):
            return
        try:
            data = struct.pack(self.order + found[0], value).ljust(4, b"\0")
        except struct.error:
            struct.pack_into(self.order + "H", self.data, entry + 2, _LONG)
            data = struct.pack(self.order + "I", value)
        self.data[entry + 8 : entry + 12] = data

    def directories(self) -> Iterator[tuple[int, tuple[int, int]]]:
        """Yield each directory that records the size of the picture, and the tags of the size."""
        directory = self.first
        for sizes, link in zip(_SIZES, (_EXIF_IFD, _INTEROP_IFD, None), strict=True):
            yield directory, sizes
            links = [] if link is None else self.found(directory, link)
            inner = self.single(links[-1]) if links else None
            if inner is None or inner[0] != "I":
                return
            directory = inner[1]

    def patched(self) -> bytes:
        return EXIF_PREFIX + bytes(self.data)


def orientation(exif: bytes) -> int:
    """Return the orientation 1..8 of an EXIF block; 1 if it is missing or unknown.

    Any integer type counts, in both byte orders.
    """
    try:
        return _Block(exif).orientation()
    except ValueError:
        return 1


def reset_orientation(exif: bytes) -> bytes | None:
    """Return ``exif`` with the orientation tag reset to 1, or None if it is no EXIF block.

    If the orientation changes, the link to the thumbnail is removed: it is not rotated, and a
    sideways thumbnail is worse than none.
    """
    try:
        block = _Block(exif)
        changes = block.orientation() != 1
        for entry in block.found(block.first, _ORIENTATION):
            block.set(entry, 1)
        link = block.after(block.first)
        if changes and link + 4 <= len(block.data):
            struct.pack_into("=I", block.data, link, 0)
    except ValueError:
        return None
    return block.patched()


def set_size(exif: bytes, width: int, height: int) -> bytes | None:
    """Return ``exif`` with its recorded picture size set, or None if it is no EXIF block."""
    try:
        block = _Block(exif)
    except ValueError:
        return None
    try:
        for directory, tags in block.directories():
            for tag, value in zip(tags, (width, height), strict=True):
                for entry in block.found(directory, tag):
                    block.set(entry, value)
    except ValueError:
        pass  # The rest of a block with a broken inner directory is still worth keeping.
    return block.patched()
