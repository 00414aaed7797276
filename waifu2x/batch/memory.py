"""How much memory a batch may take, and what a file of it will take, before it does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO, Final

from .. import codec
from .._machine import available_memory, resident_memory
from ..errors import ArgumentError
from ..files.open import ARCHIVE_SUFFIXES

#: Beyond what is there before the first picture: networks, readers that are loaded when needed, and
#: what the allocator holds on to.
_OVERHEAD: Final = 96 << 20
_LEAST: Final = 64 << 20

#: What decoding takes at its peak for each byte of samples, the samples included; measured 1.1
#: (JPEG, BMP) to 3.8 (WebP).
_DECODER: Final = 4

#: What encoding takes if the format is unknown, see `codec.OutputFormat.encoder_memory`.
_ENCODER: Final = 2.0

#: A page of a comic archive, whose size is not known before it is read.
_PAGE: Final = 64 << 20

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_memory(text: str) -> int:
    """Bytes from "4G", "1.5GiB", "800M" or "1073741824"; units are powers of 1024.

    Raises ArgumentError for anything else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise ArgumentError(
            f"memory is {text!r}; it must be a number of bytes, with K, M, G or T, such as 4G"
        )
    return int(float(found[1]) * _UNITS[found[2].upper()])


def for_one_run(memory: int | None) -> int | None:
    """What one network run may take of ``memory`` bytes; None leaves it to the engine.

    A third: two may run at once, and pictures come on top.
    """
    return None if memory is None else max(1, memory // 3)


def budget(memory: int | None) -> int:
    """Bytes that the files of a batch may take together.

    memory: what this process may take in all; None is what it has now and half of what is free.

    Raises ArgumentError where that leaves nothing to work with.
    """
    base = resident_memory() + _OVERHEAD
    if memory is None:
        return max(_LEAST, available_memory() // 2 - _OVERHEAD)
    if memory < base + _LEAST:
        least = -(-(base + _LEAST) >> 20)
        raise ArgumentError(
            f"memory is {memory >> 20} MiB ({memory} bytes), and the program itself takes "
            f"{base >> 20} MiB; give it {least} MiB or more, such as 2G"
        )
    return memory - base


def decoding_bytes(stream: BinaryIO, limit: int) -> tuple[int, codec.Header | None]:
    """What decoding a file will take, and its header where it has one that we read."""
    length = stream.seek(0, 2)
    header = codec.read_header(stream, limit)
    stream.seek(0)
    if header is None:
        return _PAGE + length // 16, None
    if header.width * header.height > limit:
        return 0, header  # refused before anything is allocated
    return length + _DECODER * header.width * header.height * header.pixel_bytes, header


def encoder_share(target: Path) -> float:
    """Bytes that writing ``target`` takes for each byte of its samples."""
    suffix = target.suffix.lower()
    if suffix in ARCHIVE_SUFFIXES:
        return max(codec.ENCODER_MEMORY.values()) / 2
    return codec.ENCODER_MEMORY.get(suffix, _ENCODER)
