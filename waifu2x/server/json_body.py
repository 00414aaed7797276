"""Parses a JSON body whose long strings stay on disk.

The parser of the standard library holds the GIL and builds all values at once, so a body of 80 MiB
would stop the server for seconds and take gigabytes. Here long strings, the pictures in base64, are
left in the file, and only the small rest is parsed.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from .._record import record
from .problems import Problem

#: Bytes that are read at once.
_PIECE: Final = 64 << 10

#: Bytes from which a string stays in the file.
_LONG: Final = 1 << 10

#: Bytes of the rest.
_REST: Final = 128 << 10

#: The most bytes of one escape: a pair of surrogates.
_ESCAPE: Final = len(r"\ud83d\ude00")


@record
class _Span:
    """A string in the file, by the offsets of its first byte and of its closing quote."""

    begin: int
    end: int


class JsonBody:
    """A JSON body in a file.

    value: the value of the body; a long string is a mark, which `pieces` resolves.

    Raises `Problem` for a body that is no JSON, and for too much JSON around the long strings.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # No client can guess the mark of a string.
        self._secret = secrets.token_hex(8)
        self._spans: dict[str, _Span] = {}
        with path.open("rb") as file:
            rest = self._cut(file)
        try:
            self.value: Any = json.loads(rest)
        except (ValueError, RecursionError):
            raise Problem(422, "the body is not JSON; send an object") from None

    def pieces(self, text: str) -> Iterator[str]:
        """Yield the string ``text`` of the value in pieces, those of a long string from the file.

        Raises `Problem` for a string that is no JSON.
        """
        span = self._spans.get(text)
        if span is None:
            yield text
            return
        held = b""
        with self._path.open("rb") as file:
            file.seek(span.begin)
            left = span.end - span.begin
            while left:
                data = file.read(min(left, _PIECE))
                left -= len(data)
                data = held + data
                cut = len(data) if not left else _boundary(data)
                held = data[cut:]
                try:
                    yield json.loads(b'"' + data[:cut] + b'"')
                except ValueError:
                    raise Problem(422, "the body is not JSON; send an object") from None

    def _cut(self, file: BinaryIO) -> bytes:
        """The body with marks for its long strings."""
        rest = bytearray()
        held, at = b"", 0
        #: Offsets of the string in the file and in the rest.
        begin: int | None = None
        mark = 0
        while piece := file.read(_PIECE):
            data = held + piece
            # Both escapes keep their length, so that offsets stay.
            plain = data.replace(rb"\\", b"__").replace(rb"\"", b"__")
            # An escape may go on in the next piece.
            held = data[-1:] if plain.endswith(b"\\") else b""
            end = len(data) - len(held)
            position = 0
            while position < end:
                quote = plain.find(b'"', position, end)
                stop = end if quote < 0 else quote
                if begin is None or at + stop - begin < _LONG:
                    rest += data[position:stop]
                else:
                    del rest[mark:]
                if len(rest) > _REST:
                    raise Problem(413, "the JSON around the pictures is too long; send less")
                position = stop
                if quote < 0:
                    continue
                if begin is None:
                    begin, mark = at + quote + 1, len(rest) + 1
                else:
                    if at + quote - begin >= _LONG:
                        rest += self._mark(_Span(begin, at + quote)).encode()
                    begin = None
                rest += b'"'
                position += 1
            at += end
        return bytes(rest) + held

    def _mark(self, span: _Span) -> str:
        mark = f"{self._secret} {len(self._spans)}"
        self._spans[mark] = span
        return mark


def _boundary(data: bytes) -> int:
    """An offset near the end of the contents of a JSON string that divides no character."""
    start = max(0, len(data) - 2 * _ESCAPE)
    slash = data.find(b"\\", start)
    # A backslash before may escape the first one here.
    while slash > 0 and data[slash - 1 : slash] == b"\\":
        slash -= 1
    if slash > 0:
        return slash
    cut = len(data)
    while cut > 1 and data[cut - 1] & 0xC0 == 0x80:
        cut -= 1
    return cut - 1 if data[cut - 1] >= 0x80 else cut
