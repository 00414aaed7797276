"""Draws the comparison of several methods: crops side by side, and where they differ."""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from .. import codec
from .._record import record
from .._text import shown
from ..errors import ArgumentError, DecodeError
from ..pipeline.arguments import check, whole
from ..pipeline.auto_noise import Noise
from ..pipeline.evaluation import luma, psnr
from ..pipeline.options import PictureOptions
from .crops import Crop, Map, differing_crops, spread
from .drawing import FAINT, INK, LINE, PAPER, heat_map, write
from .methods import Method, Pixels, as_seen

#: Distances in pixels: around the sheet, and between crops.
_MARGIN: Final = 16
_GAP: Final = 8
#: Longest side of the whole picture on the sheet.
_OVERVIEW: Final = 320
#: A heat map ends at this quantile of the differences, and not below this many levels of 255.
_BRIGHTEST: Final = 0.999
_LEAST_RANGE: Final = 16
#: Color of the numbered frames in the whole picture.
_FRAME: Final = (230, 40, 60)

_SHEET: Final = {
    "crops": whole("it must be a whole number from 1 to 20", least=1, most=20),
    "side": whole("it must be a whole number of pixels from 16 to 2048", least=16, most=2048),
}


@record
class SheetOptions:
    """What to compare, and where to look.

    scale: enlargement; None is 2, or that of the originals if there are any, above 1. noise: as for
        `waifu2x.upscale_file`.
    crop: the rectangles to show, in pixels of the results; empty to choose ``crops`` squares of
        ``side`` pixels where the results differ most.

    Raises `ArgumentError` for a value that is not allowed.
    """

    scale: float | None = None
    noise: Noise = "auto"
    crop: tuple[Crop, ...] = ()
    crops: int = 3
    side: int = 256

    def __post_init__(self) -> None:
        check(self, _SHEET)
        PictureOptions(scale=self.scale, noise=self.noise)
        for crop in self.crop:
            if min(crop.x, crop.y) < 0 or min(crop.width, crop.height) < 1:
                raise ArgumentError(
                    f"crop is {','.join(map(str, crop))}; it must be x,y,width,height in pixels "
                    "of the result"
                )


@record
class Compared:
    """The comparison of one picture.

    source: the picture. crops: the crops shown. psnr: agreement of each method with the original in
        dB, on luma as `evaluation.luma` defines it; empty without an original.
    """

    source: Path
    crops: tuple[Crop, ...]
    psnr: tuple[float, ...]


@record
class Sheet:
    """The comparison of all pictures; image: the sheet as PNG."""

    compared: tuple[Compared, ...]
    image: bytes

    @property
    def psnr(self) -> tuple[float, ...]:
        """The mean PSNR of each method in dB; empty without originals."""
        rows = [each.psnr for each in self.compared if each.psnr]
        return tuple(statistics.fmean(column) for column in zip(*rows, strict=True))


def make_sheet(
    sources: Iterable[tuple[Path, Path | None]], methods: Sequence[Method], options: SheetOptions
) -> Sheet:
    """Enlarge each picture by each method and draw the differences.

    sources: pictures, each with the file of its original or None.

    Raises `DecodeError` for a file that is no picture, an original of another shape, an original
    that is not larger if no scale is given, and a crop outside the result. Raises the errors of
    `waifu2x.Upscaler.upscale`.
    """
    compared, blocks = [], []
    for source, original in sources:
        picture = codec.decode(source)
        truth = None if original is None else as_seen(codec.decode(original))
        size = _size(source, (picture.width, picture.height), original, truth, options)
        results = [method.enlarge(picture, size) for method in methods]
        crops = _crops(source, results, options)
        scores = () if truth is None else tuple(_score(each, truth) for each in results)
        compared.append(Compared(source, crops, scores))
        names = [method.name for method in methods]
        blocks.append(_block(compared[-1], names, results, truth))
    return Sheet(tuple(compared), _png(blocks))


def _size(
    source: Path,
    given: tuple[int, int],
    original: Path | None,
    truth: Pixels | None,
    options: SheetOptions,
) -> PictureOptions:
    """Return the size of the results: by the scale, or that of the original."""
    if truth is None:
        return PictureOptions(scale=options.scale or 2, noise=options.noise)
    height, width = truth.shape[:2]
    scale = width / given[0] if options.scale is None else options.scale
    for side, grown in zip(given, (width, height), strict=True):
        # Sides of the original that are no multiples of the scale were cropped or rounded.
        if abs(side * scale - grown) > max(1, scale / 2):
            raise DecodeError(
                f"original {shown(original)} is {width}x{height} px, and {shown(source)} is "
                f"{given[0]}x{given[1]} px, which becomes another shape at a scale of {scale:.4g}"
            )
    if options.scale is None and scale <= 1:
        raise DecodeError(
            f"original {shown(original)} is {width}x{height} px, not larger than {shown(source)} "
            f"of {given[0]}x{given[1]} px; give a larger original, or `scale={scale:.4g}`"
        )
    return PictureOptions(width=width, height=height, noise=options.noise)


def _crops(source: Path, results: Sequence[Pixels], options: SheetOptions) -> tuple[Crop, ...]:
    height, width = results[0].shape[:2]
    for crop in options.crop:
        if not crop.fits(width, height):
            raise DecodeError(
                f"{shown(source)}: crop {','.join(map(str, crop))} leaves the result of "
                f"{width}x{height} px"
            )
    return options.crop or tuple(differing_crops(spread(results), options.crops, options.side))


def _score(result: Pixels, truth: Pixels) -> float:
    return psnr(luma(result), luma(truth))


def error_map(result: Pixels, truth: Pixels) -> Map:
    """Return the absolute difference at each pixel, averaged over the channels."""
    return spread([result, truth])


# --- drawing ----------------------------------------------------------------------------------


def _block(
    compared: Compared, names: Sequence[str], results: Sequence[Pixels], truth: Pixels | None
) -> Image.Image:
    """Draw one picture: the whole with frames, a row for each crop, and a row for its errors."""
    differences = spread(results)
    errors = [] if truth is None else [error_map(each, truth) for each in results]
    most = _range([differences, *errors])
    rows = [
        _row(number, crop, names, results, differences, most, truth, errors)
        for number, crop in enumerate(compared.crops, 1)
    ]
    head = _head(compared, names, results[0], differences, most, truth is not None)
    width = max(image.width for image in (head, *rows))
    canvas = Image.new("RGB", (width, sum(image.height for image in (head, *rows))), PAPER)
    y = 0
    for image in (head, *rows):
        canvas.paste(image, (0, y))
        y += image.height
    return canvas


def _range(maps: Sequence[Map]) -> float:
    """Return the difference that is drawn brightest, in levels of 255."""
    brightest = max(float(np.quantile(each, _BRIGHTEST)) for each in maps)
    return max(_LEAST_RANGE, math.ceil(brightest))


def _head(
    compared: Compared,
    names: Sequence[str],
    result: Pixels,
    differences: Map,
    most: float,
    has_truth: bool,
) -> Image.Image:
    """Draw the whole picture with numbered frames, the map of differences, and the scores."""
    height, width = differences.shape
    shrink = max(1.0, max(height, width) / _OVERVIEW)
    size = max(1, round(width / shrink)), max(1, round(height / shrink))
    whole = Image.fromarray(result).resize(size, Image.Resampling.BOX)
    heat = Image.fromarray(heat_map(differences, most)).resize(size, Image.Resampling.BOX)
    for image in (whole, heat):
        draw = ImageDraw.Draw(image)
        for number, crop in enumerate(compared.crops, 1):
            left, top = crop.x / shrink, crop.y / shrink
            right, bottom = left + crop.width / shrink - 1, top + crop.height / shrink - 1
            draw.rectangle((left, top, max(left, right), max(top, bottom)), outline=_FRAME, width=2)
            draw.rectangle((left, top, left + 18, top + LINE), fill=_FRAME)
            write(image, (round(left) + 5, round(top) + 1), str(number), color=PAPER)
    scores = [f"{width}x{height} px"]
    if has_truth:
        scores += ["PSNR, BT.601 luma, 16 to 235:"]
        scores += [
            f"{value:.2f} dB  {name}" for name, value in zip(names, compared.psnr, strict=True)
        ]
    scores += ["Heat: largest difference", f"among the methods, 0 to {most:g} of 255"]
    if has_truth:
        scores += ["Below each: difference from", "the original, same colors"]
    tall = max(size[1], (len(scores) + 1) * LINE)
    canvas = Image.new("RGB", (2 * size[0] + 2 * _GAP + 300, tall + LINE + 2 * _GAP), PAPER)
    write(canvas, (0, 0), compared.source.name, width=canvas.width)
    canvas.paste(whole, (0, LINE + _GAP))
    canvas.paste(heat, (size[0] + _GAP, LINE + _GAP))
    left = 2 * (size[0] + _GAP) + _GAP
    for number, line in enumerate(scores):
        write(canvas, (left, LINE + _GAP + number * LINE), line, width=280)
    scale = heat_map(np.linspace(0, most, 256, dtype=np.float32)[None, :].repeat(12, 0), most)
    canvas.paste(Image.fromarray(scale), (left, LINE + _GAP + len(scores) * LINE + 4))
    return canvas


def _row(
    number: int,
    crop: Crop,
    names: Sequence[str],
    results: Sequence[Pixels],
    differences: Map,
    most: float,
    truth: Pixels | None,
    errors: Sequence[Map],
) -> Image.Image:
    """Draw the crop by each method, of the original, and of the differences."""

    def heat(values: Map) -> Pixels:
        part = values[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
        return heat_map(part, most)

    cells = [(name, crop.of(pixels)) for name, pixels in zip(names, results, strict=True)]
    if truth is not None:
        cells = [
            (f"{name}  {_score(pixels, crop.of(truth)):.2f} dB", pixels) for name, pixels in cells
        ]
        cells.append(("original", crop.of(truth)))
    cells.append(("differences", heat(differences)))
    step = max(crop.width, 96) + _GAP
    lines = 1 + bool(errors)
    tall = 2 * LINE + crop.height + (lines - 1) * (crop.height + _GAP) + 2 * _GAP
    canvas = Image.new("RGB", (len(cells) * step - _GAP, tall), PAPER)
    where = f"{number}: {crop.width}x{crop.height} px at {crop.x},{crop.y}"
    write(canvas, (0, 0), where, color=FAINT)
    for column, (label, pixels) in enumerate(cells):
        write(canvas, (column * step, LINE), label, width=step - _GAP, color=INK)
        canvas.paste(Image.fromarray(np.ascontiguousarray(pixels)), (column * step, 2 * LINE))
    for column, values in enumerate(errors):
        place = column * step, 2 * LINE + crop.height + _GAP
        canvas.paste(Image.fromarray(heat(values)), place)
    return canvas


def _png(blocks: Sequence[Image.Image]) -> bytes:
    width = max(block.width for block in blocks) + 2 * _MARGIN
    height = sum(block.height + _MARGIN for block in blocks) + _MARGIN
    canvas = Image.new("RGB", (width, height), PAPER)
    y = _MARGIN
    for block in blocks:
        canvas.paste(block, (_MARGIN, y))
        y += block.height + _MARGIN
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()
