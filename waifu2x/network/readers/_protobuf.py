"""Splits protobuf messages into fields, within limits and without copying their contents.

Encoding: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import struct
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ..._text import AGAIN
from ...errors import GraphError

#: Most fields of a file, numbers in lists included; RRDB with 23 blocks has 40,000.
MAX_FIELDS: Final = 250_000

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5

#: The values of each field: integers of a varint, else the bytes.
Fields: TypeAlias = dict[int, list[int | memoryview]]


class Reader:
    """Reads the messages of one file, and counts their fields together."""

    def __init__(self) -> None:
        self._fields = 0

    def _count(self) -> None:
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise error(f"more than {MAX_FIELDS} fields")

    def fields(self, data: memoryview) -> Fields:
        """Return the fields of a message by number, in their order."""
        made: Fields = {}
        at = 0
        while at < len(data):
            self._count()
            key, at = _varint(data, at)
            wire = key & 7
            value: int | memoryview
            if wire == _VARINT:
                value, at = _varint(data, at)
            else:
                if wire == _BYTES:
                    length, at = _varint(data, at)
                elif wire in (_FIXED32, _FIXED64):
                    length = 4 if wire == _FIXED32 else 8
                else:
                    raise error(f"wire type {wire}")
                if length > len(data) - at:
                    raise error("a field ends outside its message")
                value = data[at : at + length]
                at += length
            made.setdefault(key >> 3, []).append(value)
        return made

    def integers(self, fields: Fields, number: int) -> list[int]:
        """Return the signed 64-bit integers of a repeated field, packed or not."""
        made: list[int] = []
        for value in fields.get(number, []):
            if isinstance(value, int):
                made.append(_signed(value))
                continue
            at = 0
            while at < len(value):
                self._count()
                integer, at = _varint(value, at)
                made.append(_signed(integer))
        return made


def message(fields: Fields, number: int) -> memoryview | None:
    """Return the last value of a field of bytes, None if it is absent."""
    values = fields.get(number)
    if not values:
        return None
    if isinstance(values[-1], int):
        raise error(f"field {number} is a number")
    return values[-1]


def messages(fields: Fields, number: int) -> list[memoryview]:
    """Return all values of a repeated field of bytes."""
    values = fields.get(number, [])
    found = [value for value in values if not isinstance(value, int)]
    if len(found) != len(values):
        raise error(f"field {number} is a number")
    return found


def text(fields: Fields, number: int) -> str:
    """Return a string field, "" if it is absent."""
    return _decoded(message(fields, number) or memoryview(b""))


def texts(fields: Fields, number: int) -> list[str]:
    """Return the strings of a repeated field."""
    return [_decoded(value) for value in messages(fields, number)]


def integer(fields: Fields, number: int, default: int = 0) -> int:
    """Return a signed 64-bit integer."""
    values = fields.get(number)
    if not values:
        return default
    if not isinstance(values[-1], int):
        raise error(f"field {number} is no number")
    return _signed(values[-1])


def real(fields: Fields, number: int) -> float:
    """Return a float32, 0 if it is absent."""
    data = message(fields, number)
    if data is None:
        return 0.0
    if len(data) != 4:
        raise error(f"field {number} is no float")
    return float(struct.unpack("<f", data)[0])


def reals(fields: Fields, number: int, dtype: str) -> npt.NDArray[Any]:
    """Return the numbers of a repeated float or double field, packed or not."""
    values = messages(fields, number)
    data = values[0] if len(values) == 1 else b"".join(values)
    if len(data) % np.dtype(dtype).itemsize:
        raise error(f"field {number} holds a part of a number")
    return np.frombuffer(data, dtype)


def error(what: str) -> GraphError:
    """Return an error about the encoding."""
    return GraphError(f"the protobuf file is damaged: {what}{AGAIN}")


def _decoded(value: memoryview) -> str:
    try:
        return bytes(value).decode("utf-8")
    except UnicodeDecodeError:
        raise error("a string is not UTF-8") from None


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise error("a number has no end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
