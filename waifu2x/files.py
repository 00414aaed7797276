"""One file in, one file out: decode, upscale, encode, with everything checked before the work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import codec
from .api import Noise, Upscaler, resolve_noise
from .codec import OutputFormat
from .picture import Picture, Samples
from .pipeline import ProgressCallback, RowsCallback

SUFFIX = "_waifu2x"


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file.

    size_in, size_out: (width, height) in pixels.
    noise: the level of noise removed, or None; ``reason`` says why if it was chosen here.
    notes: what else the user should know: something the format could not hold, or that there was
        nothing to do.
    """

    source: Path
    target: Path
    size_in: tuple[int, int]
    size_out: tuple[int, int]
    noise: int | None
    reason: str
    notes: tuple[str, ...]


def resolve_target(
    source: Path, target: Path | None = None, *, format: str | None = None
) -> tuple[Path, OutputFormat]:
    """Where to write the result for ``source``, and in which format.

    target: a file, an existing directory, or None for the directory of ``source``; without a file
        name the result is named after the source, with ``_waifu2x`` added, and is a PNG unless
        ``format`` says otherwise.

    Raises `EncodeError` for an unknown format, or one that the file name contradicts.
    """
    if target is None or target.is_dir():
        output = codec.resolve_format(
            f"{source.stem}.png" if format is None else source.stem, format
        )
        directory = source.parent if target is None else target
        return directory / f"{source.stem}{SUFFIX}{output.extension}", output
    return target, codec.resolve_format(target, format)


def upscale_file(
    upscaler: Upscaler,
    source: Path,
    target: Path | None = None,
    *,
    scale: float | None = None,
    width: int | None = None,
    height: int | None = None,
    noise: Noise = "auto",
    format: str | None = None,
    quality: int | None = None,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    cancel: threading.Event | None = None,
) -> FileResult:
    """Upscale the picture in ``source`` and write it to ``target``; see `resolve_target`.

    quality: 1 to 100 for the lossy formats, None for a high one.
    overwrite: whether ``target`` may exist.
    The other arguments are those of `Upscaler.upscale`.

    Everything that can be known beforehand is checked before the network runs, and the result
    appears under its name only when it is complete. Raises the errors of `Upscaler.upscale`, and
    `EncodeError` or `OutputExistsError` if the result cannot be written.
    """
    path, output = resolve_target(source, target, format=format)
    codec.check_quality(output, quality)
    picture = codec.decode(source, max_pixels=upscaler.settings.max_pixels)
    level, reason = resolve_noise(noise, picture)
    request = upscaler.core.request(
        picture,
        scale=scale,
        width=width,
        height=height,
        noise=level,
        settings=upscaler.settings,
    )
    codec.check_target(
        path,
        output,
        request.width,
        request.height,
        overwrite=overwrite,
        source=source,
    )

    def run(ready: RowsCallback | None = None) -> Picture:
        return upscaler.core.run(
            picture,
            scale=scale,
            width=width,
            height=height,
            noise=level,
            settings=upscaler.settings,
            progress=progress,
            cancel=cancel,
            ready=ready,
        )

    if output.takes_rows:
        rows = _Rows(run)
        notes = codec.encode_rows(
            picture,
            path,
            rows.fill,
            width=request.width,
            height=request.height,
            format=output.name,
            overwrite=overwrite,
        )
        result = rows.result
        assert result is not None
    else:
        result = run()
        notes = codec.encode(result, path, format=output.name, quality=quality, overwrite=overwrite)
    return FileResult(
        source=source,
        target=path,
        size_in=(picture.width, picture.height),
        size_out=(result.width, result.height),
        noise=level,
        reason=reason,
        notes=(
            *(["16 bits per channel read as 8"] if picture.source.reduced else []),
            *notes,
            *(["nothing to enlarge or denoise"] if result is picture else []),
        ),
    )


class _Rows:
    """Hands rows over for writing as soon as they are made."""

    def __init__(self, run: Callable[[RowsCallback], Picture]) -> None:
        self.result: Picture | None = None
        self._run = run
        self._written = 0

    def fill(self, write_rows: codec.WriteRows) -> None:
        """Make the picture and hand all of it over; see `codec.encode_rows`."""

        def ready(colour: Samples, rows: int) -> None:
            if rows > self._written:
                write_rows(colour[self._written : rows], None)
                self._written = rows

        self.result = result = self._run(ready)
        if self._written < result.height:
            rest = slice(self._written, None)
            write_rows(result.colour[rest], None if result.alpha is None else result.alpha[rest])
