"""PBM, PGM, PPM, PAM and PFM, binary and as text, at their full depth.

Pillow reduces text of more than 8 bits, and reads no PAM nor color PFM. Layouts: netpbm's pbm(5),
pgm(5), ppm(5), pam(5) and pfm(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

import numpy as np
import numpy.typing as npt

from .._record import record
from .._text import shortened, shown
from ..picture import Metadata, Picture, Samples, Source
from .faults import damaged, truncated, unsupported
from .limits import check_bytes, check_pixels
from .samples import check_floats, split_planes

# Comments in the header end with their line.
_GAP: Final = rb"(?:[ \t\n\v\f\r]|#[^\n\r]*[\n\r])+"
_HEADS: Final = {
    kind: re.compile(
        b"P([" + kinds + b"])" + (_GAP + rb"(\d{1,9})") * numbers + rb"(?:#[^\n\r]*[\n\r]|\s)"
    )
    for kind, kinds, numbers in (("bits", b"14", 2), ("samples", b"2356", 3))
}
_FLOATS: Final = re.compile(rb"P([Ff])\s+(\d{1,9})\s+(\d{1,9})\s+([-+0-9.eE]{1,30})\s")
_PAM_LINE: Final = re.compile(rb"(?:#.*|([A-Z]+)(?:[ \t]+(.*?))?)?[ \t\r]*\Z")
_COMMENT: Final = re.compile(rb"#[ \t]*([^\n\r]*)")
_START: Final = re.compile(rb"P(?:[1-6](?:\s|#[^\n\r]*[\n\r])+\d|7\n|[Ff]\s+\d)")

_LARGEST: Final = 65535
# Channels of PAM's tuple types; another type counts by its depth.
_TUPLES: Final = {b"BLACKANDWHITE": 1, b"GRAYSCALE": 1, b"RGB": 3}

# Samples that are converted at once, so that wide copies stay small.
_STRIP: Final = 1 << 18
_BLOCK: Final = 1 << 22
_LONGEST_NUMBER: Final = 10


@record
class _Header:
    """The header: kind is the character behind P; start: of the samples.

    most: the sample that means white; 0 for floats. channels: all of them.
    """

    kind: str
    width: int
    height: int
    channels: int
    most: int
    start: int
    little: bool = False
    comment: str = ""


def is_ppm(head: bytes) -> bool:
    """Return whether a file that begins with ``head`` is one of these formats."""
    return _START.match(head) is not None


def read_size(stream: BinaryIO, name: str) -> tuple[int, int]:
    """Return width and height; raises DecodeError."""
    header = _header(stream, name)
    return header.width, header.height


def read_ppm(stream: BinaryIO, name: str, limit: int) -> Picture:
    """Read the first picture: gray or RGB of 8 or 16 bits, with alpha from PAM, or of floats.

    Raises DecodeError, LimitError, and ArgumentError for floats out of range.
    """
    header = _header(stream, name)
    check_pixels(header.width, header.height, limit, name)
    stream.seek(header.start)
    if header.kind in "123":
        check_bytes(stream, limit, name)
        stream.seek(header.start)
        samples = _from_text(stream, header, name)
    elif header.kind == "4":
        samples = _from_bits(stream, header, name)
    elif header.most:
        samples = _from_binary(stream, header, name)
    else:
        samples = _from_floats(stream, header, name)
    notes = ["more pictures in the file: left out"] if is_ppm(stream.read(64).lstrip()) else []
    color, alpha = split_planes(samples)
    text = (("Comment", header.comment),) if header.comment else ()
    source = Source("PPM", False, notes=tuple(notes))
    return Picture(
        cast("Samples", color), cast("Samples | None", alpha), Metadata(text=text), source
    )


def _header(stream: BinaryIO, name: str) -> _Header:
    stream.seek(0)
    head = stream.read(1 << 16)
    if head.startswith(b"P7"):
        header = _pam_header(head, name)
    elif head[1:2] in b"Ff":
        header = _float_header(head, name)
    else:
        found = _HEADS["bits" if head[1:2] in b"14" else "samples"].match(head)
        if found is None:
            raise damaged(name, "PPM", "its header has no size")
        kind = found[1].decode()
        width, height, *rest = (int(number) for number in found.groups()[1:])
        most = rest[0] if rest else 1
        channels = 3 if kind in "36" else 1
        comment = _comments(head[: found.end()])
        header = _Header(kind, width, height, channels, most, found.end(), comment=comment)
    if not (header.width and header.height):
        raise damaged(name, "PPM", f"it is {header.width}x{header.height}")
    if header.most > _LARGEST or (header.most == 0 and header.kind not in "Ff"):
        raise damaged(name, "PPM", f"its largest sample is {header.most}, not 1 to {_LARGEST}")
    return header


def _comments(head: bytes) -> str:
    lines = (found[1].decode("utf-8", "replace").strip() for found in _COMMENT.finditer(head))
    return "\n".join(line for line in lines if line)


def _float_header(head: bytes, name: str) -> _Header:
    found = _FLOATS.match(head)
    try:
        scale = float(found[4]) if found is not None else 0.0
    except ValueError:
        scale = 0.0
    if found is None or not 0 < abs(scale) < float("inf"):
        raise damaged(name, "PFM", "its header has no size or scale")
    channels = 3 if found[1] == b"F" else 1
    return _Header(
        found[1].decode(), int(found[2]), int(found[3]), channels, 0, found.end(), scale < 0
    )


def _pam_header(head: bytes, name: str) -> _Header:
    values: dict[bytes, bytes] = {}
    end = head.find(b"\nENDHDR\n")
    if end < 0:
        raise damaged(name, "PAM", "its header has no end")
    for line in head[2:end].split(b"\n"):
        found = _PAM_LINE.match(line.strip())
        if found is None:
            raise damaged(name, "PAM", "its header is not one")
        if found[1]:
            key = found[1]
            values[key] = (values.get(key, b"") + b" " + (found[2] or b"")).strip()
    try:
        width, height, depth, most = (
            int(values.get(key, b"")) for key in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL")
        )
    except ValueError:
        raise damaged(name, "PAM", "its header has no size") from None
    kind = values.get(b"TUPLTYPE", b"")
    expected = _TUPLES.get(kind.removesuffix(b"_ALPHA"), depth - kind.endswith(b"_ALPHA"))
    expected += kind.endswith(b"_ALPHA")
    if kind.startswith(b"CMYK") or not 1 <= depth <= 4 or expected != depth:
        label = shortened(shown(kind.decode("latin-1")), 40) or "no type"
        raise unsupported(name, f"a PAM of {depth} channels of {label}")
    if width < 0 or height < 0 or most < 1:
        raise damaged(name, "PAM", "its header has no size")
    return _Header(
        "7", width, height, depth, most, end + len(b"\nENDHDR\n"), comment=_comments(head[:end])
    )


# --- samples


def _dtype(header: _Header) -> type[Any]:
    return np.uint8 if header.most < 256 else np.uint16


def _scaled(values: npt.NDArray[Any], most: int) -> npt.NDArray[Any]:
    """Return samples up to ``most`` scaled to 8 or 16 bits, rounded; larger ones are white."""
    full = 255 if most < 256 else _LARGEST
    if most == full:
        clipped: npt.NDArray[Any] = np.minimum(values, full)
        return clipped
    wide: npt.NDArray[Any] = np.minimum(values, most).astype(np.uint32)
    wide *= np.uint32(full)
    wide += np.uint32(most // 2)
    wide //= np.uint32(most)
    return wide


def _from_binary(stream: BinaryIO, header: _Header, name: str) -> npt.NDArray[Any]:
    dtype = _dtype(header)
    stored = np.dtype(dtype).newbyteorder(">")
    count = header.width * header.channels
    samples = np.empty((header.height, count), dtype)
    rows = max(1, _STRIP // count)
    for top in range(0, header.height, rows):
        part = samples[top : top + rows]
        data = stream.read(part.nbytes)
        if len(data) < part.nbytes:
            raise truncated(name)
        part[:] = _scaled(np.frombuffer(data, stored).reshape(part.shape), header.most)
    return samples.reshape(header.height, header.width, header.channels)


def _from_bits(stream: BinaryIO, header: _Header, name: str) -> npt.NDArray[Any]:
    """Read packed rows, in which 1 is black."""
    stride = (header.width + 7) // 8
    samples = np.empty((header.height, header.width, 1), np.uint8)
    rows = max(1, _STRIP // header.width)
    for top in range(0, header.height, rows):
        part = samples[top : top + rows]
        data = stream.read(stride * len(part))
        if len(data) < stride * len(part):
            raise truncated(name)
        bits = np.unpackbits(np.frombuffer(data, np.uint8).reshape(-1, stride), axis=1)
        part[:, :, 0] = (1 - bits[:, : header.width]) * np.uint8(255)
    return samples


def _from_floats(stream: BinaryIO, header: _Header, name: str) -> npt.NDArray[Any]:
    """Read PFM, whose lowest row comes first; the size of its scale has no meaning."""
    count = header.width * header.height * header.channels
    data = stream.read(4 * count)
    if len(data) < 4 * count:
        raise truncated(name)
    stored = np.frombuffer(data, "<f4" if header.little else ">f4")
    shape = (header.height, header.width, header.channels)
    samples = np.ascontiguousarray(stored.reshape(shape)[::-1], np.float32)
    check_floats(samples, "image")
    return samples


def _from_text(stream: BinaryIO, header: _Header, name: str) -> npt.NDArray[Any]:
    count = header.width * header.height * header.channels
    parts: list[npt.NDArray[Any]] = []
    found = 0
    for block in _text_blocks(stream):
        values = _digits(block, name) if header.kind == "1" else _numbers(block, name)
        values = values[: count - found]
        found += len(values)
        if header.kind == "1":
            parts.append(((1 - np.minimum(values, 1)) * 255).astype(np.uint8))
        else:
            parts.append(_scaled(values, header.most).astype(_dtype(header)))
        if found == count:
            break
    if found < count:
        raise truncated(name)
    return np.concatenate(parts).reshape(header.height, header.width, header.channels)


def _text_blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the text without comments, in blocks that end between numbers."""
    rest = b""
    while block := stream.read(_BLOCK):
        rest += block
        # A comment, or a number, may go on in the next block.
        line = max(rest.rfind(b"\n"), rest.rfind(b"\r"))
        open_comment = rest.rfind(b"#") > line
        end = line + 1 if open_comment else _last_space(rest) + 1
        if end == 0 and len(rest) > 2 * _BLOCK:
            return  # one number or comment of megabytes
        yield _COMMENT.sub(b" ", rest[:end])
        rest = rest[end:]
    yield _COMMENT.sub(b" ", rest)


def _last_space(text: bytes) -> int:
    return max(text.rfind(space) for space in (b" ", b"\n", b"\t", b"\r", b"\v", b"\f"))


def _digits(text: bytes, name: str) -> npt.NDArray[Any]:
    """Return the digits 0 and 1, which need no space between them."""
    values = np.frombuffer(b"".join(text.split()), np.uint8) - np.uint8(48)
    if len(values) and values.max() > 1:
        raise damaged(name, "PBM", "not all of its digits are 0 and 1")
    return values


def _numbers(text: bytes, name: str) -> npt.NDArray[Any]:
    """Return the decimal numbers in ``text``."""
    stored = np.frombuffer(text, np.uint8)
    digit = (stored >= 48) & (stored <= 57)
    space = (stored == 32) | ((stored >= 9) & (stored <= 13))
    if not (digit | space).all():
        raise damaged(name, "PPM", "not all of its samples are numbers")
    edges = np.diff(np.concatenate(([0], digit.view(np.int8), [0])))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    lengths = ends - starts
    if len(lengths) and lengths.max() > _LONGEST_NUMBER:
        raise damaged(name, "PPM", "one of its numbers is too long")
    values = np.zeros(len(starts), np.int64)
    for place in range(int(lengths.max()) if len(lengths) else 0):
        more = lengths > place
        values[more] = values[more] * 10 + stored[starts[more] + place] - 48
    return values
