"""Writes picture files with the codec."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO

from waifu2x import codec
from waifu2x.atomic import check_place, write_file
from waifu2x.codec import PictureWriter
from waifu2x.picture import Picture


def write_rows(
    like: Picture,
    path: str | os.PathLike[str],
    fill: Callable[[PictureWriter], object],
    *,
    width: int,
    height: int,
    format: str | None = None,
    quality: int | None = None,
    depth: int | None = None,
    overwrite: bool = False,
    times: tuple[int, int] | None = None,
) -> tuple[str, ...]:
    """Write the rows that ``fill`` passes to a writer, into ``path``; return its notes."""
    output = codec.resolve_format(path, format)
    notes: list[str] = []

    def write(file: BinaryIO) -> None:
        with codec.open_row_writer(
            file, output, like=like, width=width, height=height, quality=quality, depth=depth
        ) as writer:
            fill(writer)
        notes.extend(writer.notes)

    write_file(check_place(path, overwrite=overwrite), write, overwrite=overwrite, times=times)
    return tuple(notes)


def write_picture(
    picture: Picture,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    quality: int | None = None,
    depth: int | None = None,
    overwrite: bool = False,
    times: tuple[int, int] | None = None,
) -> tuple[str, ...]:
    """Write a whole picture, see `write_rows`."""
    return write_rows(
        picture,
        path,
        lambda writer: writer.write_rows(picture.color, picture.alpha),
        width=picture.width,
        height=picture.height,
        format=format,
        quality=quality,
        depth=depth,
        overwrite=overwrite,
        times=times,
    )
