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
_PIXEL_WIDTH = 0xA002
_PIXEL_HEIGHT = 0xA003
_FORMATS = {3: "H", 4: "I"}  # SHORT and LONG, the types of every tag above


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

    def entries(self, directory: int) -> dict[int, int]:
        """Return tag -> offset of its entry, for the directory at ``directory``."""
        count = self._unpack("H", directory)
        offsets = (directory + 2 + 12 * index for index in range(count))
        return {self._unpack("H", offset): offset for offset in offsets}

    def after(self, directory: int) -> int:
        """Return the offset of the link from ``directory`` to the next one."""
        return directory + 2 + 12 * self._unpack("H", directory)

    def single(self, entry: int) -> tuple[str, int] | None:
        """Return the format and value of an entry with one SHORT or LONG, else None."""
        kind = _FORMATS.get(self._unpack("H", entry + 2))
        if kind is None or self._unpack("I", entry + 4) != 1:
            return None
        return kind, self._unpack(kind, entry + 8)

    def set(self, entry: int, value: int) -> None:
        """Overwrite the value of ``entry`` if it is one SHORT or LONG that can hold it."""
        found = self.single(entry)
        if found is not None and value < 1 << 8 * struct.calcsize("=" + found[0]):
            struct.pack_into(self.order + found[0], self.data, entry + 8, value)

    def directories(self) -> Iterator[int]:
        """Yield the main directory and the Exif directory, if there is one."""
        yield self.first
        link = self.entries(self.first).get(_EXIF_IFD)
        found = None if link is None else self.single(link)
        if found is not None:
            yield found[1]

    def patched(self) -> bytes:
        return EXIF_PREFIX + bytes(self.data)


def reset_orientation(exif: bytes) -> bytes | None:
    """Return ``exif`` with the orientation tag reset to 1, or None if it is no EXIF block.

    If the orientation changes, the link to the thumbnail is removed: it is not rotated, and a
    sideways thumbnail is worse than none.
    """
    try:
        block = _Block(exif)
        entry = block.entries(block.first).get(_ORIENTATION)
        if entry is not None and block.single(entry) not in (None, ("H", 1)):
            block.set(entry, 1)
            link = block.after(block.first)
            if link + 4 <= len(block.data):
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
        for directory in block.directories():
            entries = block.entries(directory)
            for tag, value in ((_PIXEL_WIDTH, width), (_PIXEL_HEIGHT, height)):
                if tag in entries:
                    block.set(entries[tag], value)
    except ValueError:
        pass  # The rest of a block with a broken inner directory is still worth keeping.
    return block.patched()
