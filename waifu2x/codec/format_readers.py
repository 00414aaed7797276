"""Which reader of this package reads a file that Pillow reads wrongly or in part."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, Final, NamedTuple

from ..picture import Picture
from . import (
    bmp_reader,
    dds_reader,
    ico_reader,
    pcx_reader,
    ppm_reader,
    qoi_reader,
    tga_reader,
)


class Reader(NamedTuple):
    """A reader of one format.

    accepts: returns whether a file that begins with these 64 KiB, or all of it, is in the format.
    size: width and height of a seekable file, for a name in messages.
    read: the picture of at most so many pixels, checked before memory is allocated.
    """

    accepts: Callable[[bytes], bool]
    size: Callable[[BinaryIO, str], tuple[int, int]]
    read: Callable[[BinaryIO, str, int], Picture]


#: In the order in which they are tried; those without a signature come last.
READERS: Final = (
    Reader(bmp_reader.is_bmp, bmp_reader.read_size, bmp_reader.read_bmp),
    Reader(ppm_reader.is_ppm, ppm_reader.read_size, ppm_reader.read_ppm),
    Reader(qoi_reader.is_qoi, qoi_reader.read_size, qoi_reader.read_qoi),
    Reader(dds_reader.is_dds, dds_reader.read_size, dds_reader.read_dds),
    Reader(ico_reader.is_ico, ico_reader.read_size, ico_reader.read_ico),
    Reader(pcx_reader.is_pcx, pcx_reader.read_size, pcx_reader.read_pcx),
    Reader(tga_reader.is_tga, tga_reader.read_size, tga_reader.read_tga),
)


def reader_of(head: bytes) -> Reader | None:
    """Return the reader of a file that begins with ``head``, or None."""
    return next((reader for reader in READERS if reader.accepts(head)), None)
