"""The memory budget of a batch, and estimates of what a file needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO, Final

from .. import codec
from .._machine import available_memory, resident_memory
from ..errors import ArgumentError, LimitError
from ..files.naming import ARCHIVE_SUFFIXES

#: Memory in addition to that before the first picture: networks, readers that are loaded later, and
#: blocks that the allocator keeps.
_OVERHEAD: Final = 96 << 20
_LEAST: Final = 64 << 20

#: Peak memory of decoding per byte of samples, samples included; measured 1.1 (JPEG, BMP) to 3.8
#: (WebP).
_DECODER: Final = 4

#: Memory of encoding per byte of samples if the format is unknown; see `OutputFormat`.
_ENCODER: Final = 2.0

#: Estimate for a page of a comic archive, whose size is unknown until it is read.
_PAGE: Final = 64 << 20

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_memory(text: str) -> int:
    """Parse "4G", "1.5GiB", "800M" or "1073741824" as bytes; units are powers of 1024.

    Raises `ArgumentError` for anything else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise ArgumentError(
            f"memory is {text!r}; it must be a number of bytes, with K, M, G or T, such as 4G"
        )
    return int(float(found[1]) * _UNITS[found[2].upper()])


def for_one_run(memory: int | None) -> int | None:
    """The share of ``memory`` bytes for one network run; None leaves the choice to the engine.

    It is a third: two networks may run at once, and pictures need memory as well.
    """
    return None if memory is None else max(1, memory // 3)


def budget(memory: int | None) -> int:
    """Bytes for all files of a batch together.

    memory: limit of this process in bytes; None means its current use and half of the free memory.

    Raises `LimitError` if the limit leaves too little for any file.
    """
    base = resident_memory() + _OVERHEAD
    if memory is None:
        return max(_LEAST, available_memory() // 2 - _OVERHEAD)
    if memory < base + _LEAST:
        least = -(-(base + _LEAST) >> 20)
        raise LimitError(
            f"memory is {memory >> 20} MiB ({memory} bytes), and the program itself takes "
            f"{base >> 20} MiB; give it {least} MiB or more, such as 2G"
        )
    return memory - base


def decoding_bytes(stream: BinaryIO, limit: int) -> tuple[int, codec.Header | None]:
    """The memory that decoding will need in bytes, and the header if the format is known."""
    if codec.sniff_stream(stream).video:  # holds a few frames at once, for any length
        return _PAGE, None
    length = stream.seek(0, 2)
    header = codec.read_header(stream, limit)
    stream.seek(0)
    if header is None:
        return _PAGE + length // 16, None
    if header.width * header.height > limit:
        return 0, header  # refused before any allocation
    return length + _DECODER * header.width * header.height * header.pixel_bytes, header


def encoder_share(target: Path) -> float:
    """Bytes that encoding ``target`` needs per byte of its samples."""
    suffix = target.suffix.lower()
    if suffix in ARCHIVE_SUFFIXES:
        return max(codec.ENCODER_MEMORY.values()) / 2
    return codec.ENCODER_MEMORY.get(suffix, _ENCODER)
