"""Finds the stored members of a ZIP archive in memory.

Only what torch.save and numpy.savez write is read: stored members (for numpy also deflated ones,
inflated to exactly the declared size), no encryption, one disk. Format: PKWARE's APPNOTE.TXT.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from ..._record import record
from ..._text import AGAIN
from ...errors import GraphError
from .tensors import quoted

MAGIC: Final = b"PK\x03\x04"

_END: Final = struct.Struct("<4s4H2LH")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_STORED: Final = 0
_DEFLATED: Final = 8
_ENCRYPTED: Final = 1
_MAX_COMMENT: Final = 0xFFFF
_MAX_MEMBERS: Final = 20_000
#: Weights deflate to 0.9 of their size; only padding and zeros go far below.
_MAX_RATIO: Final = 20


@record
class _Member:
    start: int
    packed: int
    size: int
    crc: int
    method: int


class Archive:
    """The members of an archive by name.

    data: the file. deflated: whether deflated members are allowed.

    Raises `GraphError` for a damaged directory, repeated names and members outside the file.
    """

    def __init__(self, data: bytes, *, deflated: bool = False) -> None:
        self._data = data
        self._methods = (_STORED, _DEFLATED) if deflated else (_STORED,)
        self._members = dict(self._directory())

    def __contains__(self, name: str) -> bool:
        return name in self._members

    @property
    def names(self) -> list[str]:
        """The names of all members, in the order of the directory."""
        return list(self._members)

    def size(self, name: str) -> int:
        """Return the size of a member in bytes when unpacked."""
        return self._members[name].size

    def read(self, name: str) -> memoryview:
        """Return the contents of a member. Raises `GraphError` if the checksum is wrong."""
        member = self._members[name]
        packed = memoryview(self._data)[member.start : member.start + member.packed]
        contents = packed
        if member.method == _DEFLATED:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                contents = memoryview(inflater.decompress(packed, member.size + 1))
            except zlib.error:
                raise _error(f"member {quoted(name)} cannot be inflated") from None
            if len(contents) != member.size or not inflater.eof:
                raise _error(f"member {quoted(name)} does not have its declared size")
        if zlib.crc32(contents) != member.crc:
            raise _error(f"member {quoted(name)} has a wrong checksum")
        return contents

    def _directory(self) -> list[tuple[str, _Member]]:
        data = self._data
        end = data.rfind(b"PK\x05\x06", max(0, len(data) - _END.size - _MAX_COMMENT))
        if end < 0 or end + _END.size > len(data):
            raise _error("there is no directory")
        _, disk, first, here, count, length, at, _ = _END.unpack_from(data, end)
        if disk or first or here != count or count > _MAX_MEMBERS or at + length > end:
            raise _error("the directory is not valid")
        made: dict[str, _Member] = {}
        stop = at + length
        for _ in range(count):
            if at + _CENTRAL.size > stop:
                raise _error("the directory ends early")
            magic, _, _, flags, method, _, _, crc, packed, size, *lengths, _, _, _, start = (
                _CENTRAL.unpack_from(data, at)
            )
            name_end = at + _CENTRAL.size + lengths[0]
            if magic != b"PK\x01\x02" or name_end > stop:
                raise _error("the directory is not valid")
            name = data[at + _CENTRAL.size : name_end].decode("utf-8", "replace")
            at = name_end + sum(lengths[1:3])
            if name in made:
                raise _error(f"two members are named {quoted(name)}")
            if flags & _ENCRYPTED or method not in self._methods:
                raise _error(f"member {quoted(name)} is compressed or encrypted")
            if (method == _STORED and packed != size) or size > _MAX_RATIO * packed + 1024:
                raise _error(f"member {quoted(name)} declares {size} bytes in {packed}")
            if start + _LOCAL.size > len(data) or not data.startswith(MAGIC, start):
                raise _error(f"member {quoted(name)} is not where the directory says")
            *_, name_length, extra_length = _LOCAL.unpack_from(data, start)
            start += _LOCAL.size + name_length + extra_length
            if start + packed > len(data):
                raise _error(f"member {quoted(name)} ends outside the file")
            made[name] = _Member(start, packed, size, crc, method)
        if sum(member.packed for member in made.values()) > len(data):
            raise _error("members overlap")
        return list(made.items())


def _error(what: str) -> GraphError:
    return GraphError(f"the ZIP archive is damaged: {what}{AGAIN}")
