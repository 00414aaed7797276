"""Receives bodies into files, within limits of bytes and time."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request
from starlette.types import Message

from .._text import shortened, shown
from .folder import new_file
from .jobs import UNNAMED, archive_suffix
from .problems import GONE, STOPPING, Problem, busy
from .settings import ServerSettings

#: Bytes of all fields of a form that are no files, and the most parts of a form.
_FIELD_BYTES: Final = 64 << 10
_PARTS: Final = 64

#: The most headers of a part, and their bytes. The parser's own limits may change.
_HEADERS: Final = 8
_HEADER_BYTES: Final = 4 << 10

#: What browsers write for characters that end a name in a form (HTML, 4.10.22.8).
_QUOTED: Final = {"%22": '"', "%0D": "\r", "%0A": "\n"}

#: Seconds within which an upload notices that the server is stopping.
_NOTICED: Final = 0.5

#: Characters of a client's file name that are kept.
_NAME: Final = 120


@dataclass(slots=True)
class Upload:
    """A file that was received.

    name: the client's name without folders, for messages only. sha256: of the contents.
    """

    path: Path
    name: str
    size: int
    sha256: str


@dataclass(slots=True)
class Form:
    """The fields of a form and its file."""

    fields: dict[str, str] = field(default_factory=dict)
    upload: Upload | None = None


class Sink:
    """A file in the private folder that receives an upload."""

    def __init__(self, folder: Path, name: str) -> None:
        # The suffix is from a fixed list; nothing else of the client's name reaches the disk.
        self.path = folder / f"{secrets.token_hex(16)}{archive_suffix(name)}"
        self.name = name
        self.size = 0
        self._digest = hashlib.sha256()
        self._file = new_file(self.path)

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        self.size += len(data)
        self._digest.update(data)
        self._file.write(data)

    def finish(self) -> Upload:
        """Close the file."""
        self._file.close()
        return Upload(self.path, self.name, self.size, self._digest.hexdigest())

    def discard(self) -> None:
        """Close and remove the file."""
        with contextlib.suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)


def plain_name(given: str) -> str:
    """The last part of a client's file name as printable text, never used as a path."""
    last = given.replace("\\", "/").rpartition("/")[2]
    name = shortened(shown(" ".join(last.split())), _NAME)
    return name if name.strip(".") else UNNAMED


def _too_large(limit: int) -> Problem:
    size = f"{limit / (1 << 20):.4g} MiB" if limit >= 1 << 20 else f"{limit} bytes"
    return Problem(413, f"the request is larger than {size}, the limit of this server")


def is_form(request: Request) -> bool:
    """Whether the body is declared as a multipart form."""
    return _boundary(request) is not None


def _boundary(request: Request) -> bytes | None:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    return options.get(b"boundary") or None if kind == b"multipart/form-data" else None


class Receiver:
    """Receives bodies within the limits of a server.

    folder: the private folder of all files. stopping: whether the server begins nothing more.
    """

    def __init__(
        self, settings: ServerSettings, folder: Path, stopping: Callable[[], bool]
    ) -> None:
        self._settings, self._folder, self._stopping = settings, folder, stopping

    async def form(self, request: Request, files: tuple[str, ...]) -> Form:
        """Receive a multipart form.

        files: the names of the field that holds the file.

        Raises `Problem`; then nothing is left in the folder.
        """
        boundary = _boundary(request)
        if boundary is None:
            raise Problem(415, "the body is no form; send it as multipart/form-data")
        try:
            parser = _Parser(boundary, self._folder, files)
        except FormParserError as error:
            raise _malformed(error) from None
        try:
            async for piece in self._pieces(request, self._settings.max_bytes):
                try:
                    parser.feed(piece)
                except FormParserError as error:
                    raise _malformed(error) from None
            return parser.finish()
        except BaseException:
            parser.discard()
            raise

    async def body(self, request: Request, name: str, limit: int | None = None) -> Upload:
        """Receive a bare body; raises `Problem`, and leaves nothing then.

        limit: in bytes, that of the server if None.
        """
        sink = Sink(self._folder, name)
        try:
            async for piece in self._pieces(request, limit or self._settings.max_bytes):
                sink.write(piece)
            return sink.finish()
        except BaseException:
            sink.discard()
            raise

    async def _pieces(self, request: Request, limit: int) -> AsyncIterator[bytes]:
        """Yield the pieces of a body; raises `Problem` if it is too large, too slow or too late.

        A declared length is checked before anything is read.
        """
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise _too_large(limit)
        received, began = 0, time.monotonic()
        more = True
        while more:
            left = self._settings.body_seconds - (time.monotonic() - began)
            message = await self._message(request, min(self._settings.stall_seconds, left))
            if message["type"] == "http.disconnect":
                raise Problem(GONE, "the client has gone before the end of its request")
            piece, more = message.get("body", b""), message.get("more_body", False)
            received += len(piece)
            if received > limit:
                raise _too_large(limit)
            if piece:
                yield piece

    async def _message(self, request: Request, seconds: float) -> Message:
        """Wait for the next part of a body, at most ``seconds``, and not while stopping."""
        end = time.monotonic() + seconds
        while True:
            if self._stopping():
                raise busy(STOPPING, 5)
            left = end - time.monotonic()
            if left <= 0:
                raise Problem(408, "the body of the request arrives too slowly; send it faster")
            with anyio.move_on_after(min(left, _NOTICED)):
                return await request.receive()


def _malformed(error: Exception) -> Problem:
    return Problem(400, "the form cannot be parsed; check its boundary and its headers")


class _Parser:
    """A form as it arrives: files go to the disk, other fields into memory."""

    def __init__(self, boundary: bytes, folder: Path, files: tuple[str, ...]) -> None:
        self._folder, self._files = folder, files
        self._form = Form()
        self._field_bytes = self._parts = 0
        self._header_bytes = self._header_count = 0
        self._header = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._text: bytearray | None = None
        self._sink: Sink | None = None
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_field,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )

    def feed(self, piece: bytes) -> None:
        self._parser.write(piece)

    def finish(self) -> Form:
        self._parser.finalize()
        if not self._ended:
            raise Problem(400, "the form is cut off; send it again")
        return self._form

    def discard(self) -> None:
        if self._sink is not None:
            self._sink.discard()
        if self._form.upload is not None:
            self._form.upload.path.unlink(missing_ok=True)

    # --- callbacks of the parser

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _PARTS:
            raise Problem(413, f"the form has more than {_PARTS} parts; send fewer")
        self._headers, self._header, self._value = {}, b"", b""
        self._header_bytes = self._header_count = 0

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _HEADER_BYTES:
            raise Problem(413, f"a part of the form has more than {_HEADER_BYTES} bytes of headers")

    def _on_header(self) -> None:
        self._header_count += 1
        if self._header_count > _HEADERS:
            raise Problem(413, f"a part of the form has more than {_HEADERS} headers; send fewer")
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        given = options.get(b"filename")
        if self._name in self._files:
            if self._form.upload is not None:
                raise Problem(422, "the form holds two files; send one in each request")
            name = (given or b"").decode("utf-8", "replace")
            for code, character in _QUOTED.items():
                name = name.replace(code, character)
            self._sink = Sink(self._folder, plain_name(name))
        elif given is not None:
            allowed = " or ".join(self._files)
            raise Problem(
                422, f"field {self._name[:60]!r} holds a file; the file goes into {allowed}"
            )
        else:
            self._text = bytearray()

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._sink is not None:
            self._sink.write(data[start:end])
        elif self._text is not None:
            self._field_bytes += end - start
            if self._field_bytes > _FIELD_BYTES:
                raise Problem(413, "the fields of the form are too long")
            self._text += data[start:end]

    def _end(self) -> None:
        if self._sink is not None:
            self._form.upload, self._sink = self._sink.finish(), None
        elif self._text is not None:
            if self._name in self._form.fields:
                raise Problem(422, f"field {self._name[:60]!r} is given twice; give it once")
            self._form.fields[self._name] = self._text.decode("utf-8", "replace")
            self._text = None

    def _finish(self) -> None:
        self._ended = True


@contextlib.contextmanager
def kept_on_success(upload: Upload) -> Iterator[None]:
    """Remove the file of ``upload`` if the block raises."""
    try:
        yield
    except BaseException:
        upload.path.unlink(missing_ok=True)
        raise
