"""One file in, one file out: decode, upscale, encode, with everything checked before the work."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from . import codec
from .api import Noise, Upscaler, resolve_noise
from .codec import OutputFormat
from .pipeline import ProgressCallback

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
    result = upscaler.core.run(
        picture,
        scale=scale,
        width=width,
        height=height,
        noise=level,
        settings=upscaler.settings,
        progress=progress,
        cancel=cancel,
    )
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
