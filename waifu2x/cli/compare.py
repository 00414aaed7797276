"""``waifu2x compare``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .._text import listed, plural, reason, shown
from ..errors import DecodeError, OutputExistsError
from ..pipeline.auto_noise import Noise
from ..pipeline.options import Precision, UpscalerOptions
from .options import engine_options
from .page import Command, Decorated, Option, help_option
from .params import FileName, MethodName, Number, noise_option, overwrite_option, refuse

if TYPE_CHECKING:
    from ..comparing.crops import Crop

    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic in the stubs of new releases only

HELP = """Draw the same parts of a picture as several models enlarge them, side by side.

IN is a picture, a folder or a pattern. A model is a name of waifu2x models, a model file, or
bicubic. The sheet shows crops at 1:1 where the results differ most, and a heat map of the
differences; with --truth also PSNR and the errors.
"""

EXAMPLES = (
    ("in.png -m cunet -m bicubic -o sheet.png", "A model"),
    ("in.png -m cunet -m upconv_7 -o 2.png", "Two models"),
)


class CropArea(_ParamType):
    """A rectangle: x, y, width and height with commas between them."""

    name = "crop"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Crop:
        """Convert four numbers to a crop."""
        from ..comparing.crops import Crop  # loaded when needed

        if isinstance(value, Crop):
            return value
        numbers = re.fullmatch(r"([0-9]{1,9}),([0-9]{1,9}),([0-9]{1,9}),([0-9]{1,9})", value)
        if numbers is None:
            refuse(f"crop is {value!r}; it must be x,y,width,height in pixels of the result")
        return Crop(*map(int, numbers.groups()))


def methods_option() -> Callable[[Decorated], Decorated]:
    """Declare -m of commands that compare models."""
    return click.option(
        "-m",
        "--model",
        "models",
        cls=Option,
        multiple=True,
        metavar="NAME",
        type=MethodName(),
        help="A model, a model file, or bicubic; give at least two",
    )


@click.command(
    "compare",
    cls=Command,
    help=HELP,
    usage="[OPTIONS] IN... -m A -m B -o SHEET.png",
    examples=EXAMPLES,
)
@click.argument("inputs", metavar="IN", nargs=-1, type=FileName())
@methods_option()
@click.option(
    "-o",
    "--output",
    "target",
    cls=Option,
    metavar="FILE",
    type=FileName(),
    help="Where to write the sheet, PNG",
)
@click.option(
    "-s",
    "--scale",
    cls=Option,
    metavar="NUMBER",
    type=Number("a number above 0, for example 2, 1.5 or 0.5", whole=False),
    shown_default="2, or that of --truth",
    help="Enlargement, any ratio",
)
@noise_option("Options")
@click.option(
    "--truth",
    cls=Option,
    metavar="PATH",
    type=FileName(),
    help="The original of IN, or a folder with originals of the same names",
)
@click.option(
    "--crop",
    cls=Option,
    multiple=True,
    metavar="AREA",
    type=CropArea(),
    shown_default="where they differ",
    help="Part to show: x,y,width,height in the result; repeatable",
)
@click.option(
    "--crops",
    cls=Option,
    metavar="N",
    type=Number("a whole number from 1 to 20, for example 3"),
    default=3,
    help="Parts to choose in each picture",
)
@click.option(
    "--side",
    cls=Option,
    metavar="PX",
    type=Number("a whole number of pixels, for example 256"),
    default=256,
    help="Width and height of the parts that are chosen",
)
@overwrite_option("Options", "Replace FILE if it exists")
@engine_options
@help_option()
def compare(
    inputs: tuple[str, ...],
    models: tuple[str, ...],
    target: str | None,
    scale: float | None,
    noise: Noise,
    truth: str | None,
    crop: tuple[Crop, ...],
    crops: int,
    side: int,
    overwrite: bool,
    **run: Any,
) -> None:
    if not inputs:
        raise click.UsageError(
            "there is no picture; for example: waifu2x compare in.png -m cunet -m bicubic "
            "-o sheet.png"
        )
    if target is None:
        raise click.UsageError("there is no output; give -o FILE")
    if Path(target).suffix.lower() != ".png":
        raise click.UsageError(f"output is {shown(target)}; the name of a sheet must end in .png")
    from ..atomic import write_file  # loaded when needed
    from ..comparing.methods import open_methods
    from ..comparing.sheet import SheetOptions, make_sheet

    options = SheetOptions(scale=scale, noise=noise, crop=crop, crops=crops, side=side)
    methods = open_methods(models, run_options(run))
    sources = _sources(inputs, None if truth is None else Path(truth))
    given = [path for pair in sources for path in pair if path is not None]
    place = checked_place(target, given, overwrite=overwrite)
    sheet = make_sheet(sources, methods, options)
    write_file(place, lambda file: file.write(sheet.image), overwrite=overwrite)
    parts = sum(len(each.crops) for each in sheet.compared)
    names = listed([method.name for method in methods], "and")
    of = plural(len(sources), "picture")
    click.echo(f"{shown(target)}: {plural(parts, 'crop')} of {of}, by {shown(names)}")
    for method, value in zip(methods, sheet.psnr, strict=False):
        click.echo(f"{value:5.2f} dB  {shown(method.name)}")


def run_options(values: Mapping[str, Any]) -> UpscalerOptions:
    """How models run, by the values of `engine_options`; the model is the default."""
    given = {name: value for name, value in values.items() if value is not None}
    precision: Precision = "fp32" if given.pop("fp32") else "auto"
    return UpscalerOptions(precision=precision, **given)


def _sources(inputs: Sequence[str], truth: Path | None) -> list[tuple[Path, Path | None]]:
    """The pictures, each with the file of its original or None; looks at folders only."""
    from ..batch.inputs import find  # loaded when needed

    found = [each.source for each in find(inputs).found]
    if truth is None:
        return [(source, None) for source in found]
    if not truth.exists():
        raise DecodeError(f"{shown(truth)} does not exist")
    if not truth.is_dir():
        if len(found) > 1:
            raise DecodeError(
                f"there are {len(found)} pictures, and {shown(truth)} is no folder; give a folder "
                "with originals of the same names"
            )
        return [(found[0], truth)]
    originals = _pictures_by_stem(truth)
    return [(source, _original(truth, source, originals)) for source in found]


def _pictures_by_stem(folder: Path) -> dict[str, list[Path]]:
    """The files of ``folder`` with extensions of pictures, by their names without extension."""
    from ..codec import FOLDER_SUFFIXES  # loaded when needed

    found: dict[str, list[Path]] = {}
    try:
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in FOLDER_SUFFIXES and path.is_file():
                found.setdefault(path.stem, []).append(path)
    except OSError as error:
        raise DecodeError(f"folder {shown(folder)} cannot be read: {reason(error)}") from error
    return found


def _original(folder: Path, source: Path, originals: Mapping[str, Sequence[Path]]) -> Path:
    found = originals.get(source.stem, ())
    if not found:
        raise DecodeError(f"folder {shown(folder)} holds no original of {shown(source)}")
    if len(found) > 1:
        names = listed([shown(path.name) for path in found], "and")
        raise DecodeError(
            f"folder {shown(folder)} holds {len(found)} originals of {shown(source)}, {names}; "
            "leave one there"
        )
    return found[0]


def checked_place(target: str | Path, sources: Iterable[Path], *, overwrite: bool) -> Path:
    """Check that ``target`` can be written and is none of ``sources``, which are never replaced.

    Returns the target with links resolved. Raises the errors of `atomic.check_place`.
    """
    from ..atomic import check_place, same_file  # loaded when needed

    for source in sources:
        if same_file(Path(target), source):
            raise OutputExistsError(
                f"{shown(target)} is an input ({shown(source)}), which is never replaced; choose "
                "another name"
            )
    return check_place(target, overwrite=overwrite)
