"""``waifu2x merge``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .._text import natural_key, plural, reason, shown
from ..errors import DecodeError
from ..network.merging import METHODS, Method, Recipe
from .export import export_line
from .page import Command, Option, help_option
from .params import FileName, Number, NumberList, Word, overwrite_option

if TYPE_CHECKING:
    from ..network.graph import Graph
    from ..pipeline.evaluation import Pixels, Score

HELP = """Merge networks of one architecture into a network file.

linear: weighted mean of the weights. slerp: the arc between two networks. task, ties and dare: a
base and the weighted differences from it; ties keeps the largest that agree in sign, dare a random
share. Weights of linear and slerp are divided by their sum.
"""

EXAMPLES = (
    ("a.pth b.pth -o c.onnx -w 0.6,0.4", "Weighted mean"),
    ("a.pth b.pth -o d.onnx -w 1,1 --eval pictures", "Compare"),
)


@click.command(
    "merge",
    cls=Command,
    help=HELP,
    usage="[OPTIONS] A B... -o C --weights 0.6,0.4",
    examples=EXAMPLES,
)
@click.argument("parents", metavar="A", nargs=-1, type=FileName())
@click.option(
    "-o",
    "--output",
    "target",
    cls=Option,
    metavar="FILE",
    type=FileName(),
    help="Where to write: .onnx, .safetensors or .param",
)
@click.option(
    "-w",
    "--weights",
    cls=Option,
    metavar="NUMBERS",
    type=NumberList("a number for each network, such as 0.6,0.4"),
    help="A number for each network, such as 0.6,0.4",
)
@click.option(
    "--method",
    cls=Option,
    metavar="NAME",
    type=Word(METHODS),
    default="linear",
    help=", ".join(METHODS),
)
@click.option(
    "--base",
    cls=Option,
    metavar="FILE",
    type=FileName(),
    help="The network to add differences to; for task, ties and dare",
)
@click.option(
    "--density",
    cls=Option,
    metavar="SHARE",
    type=Number("a number above 0 and at most 1, for example 0.5", whole=False),
    shown_default="1",
    help="Share of the differences that ties and dare keep",
)
@click.option(
    "--seed",
    cls=Option,
    metavar="N",
    type=Number("a whole number of at least 0, for example 1"),
    shown_default="0",
    help="Seed of the random numbers of dare",
)
@click.option(
    "--eval",
    "folder",
    cls=Option,
    metavar="FOLDER",
    type=FileName(),
    help="Shrink these pictures, restore them, print PSNR and SSIM",
)
@click.option(
    "--jpeg",
    cls=Option,
    metavar="N",
    type=Number("a whole number from 1 to 100, for example 60"),
    help="Save what --eval restores as JPEG of this quality",
)
@overwrite_option("Options", "Replace FILE if it exists")
@help_option()
def merge(
    parents: tuple[str, ...],
    target: str | None,
    weights: tuple[float, ...] | None,
    method: Method,
    base: str | None,
    density: float | None,
    seed: int | None,
    folder: str | None,
    jpeg: int | None,
    overwrite: bool,
) -> None:
    recipe = _recipe(parents, target, weights, method, base, density, seed)
    if jpeg is not None and folder is None:
        raise click.UsageError("--jpeg is for the pictures of --eval; give --eval FOLDER")
    if jpeg is not None and not 1 <= jpeg <= 100:
        raise click.UsageError(f"jpeg is {jpeg}; it must be a whole number from 1 to 100")
    assert target is not None
    from ..network.export import check_target, write_network  # loaded when needed
    from ..network.readers.file import read_file

    sources = [*parents, *([base] if base else [])]
    check_target(target, sources=sources, overwrite=overwrite)
    pictures = _pictures(Path(folder)) if folder is not None else []
    graphs = [read_file(path) for path in parents]
    start = read_file(base) if base is not None else None
    child = recipe.merge(graphs, start)
    names = [*sources, target]
    networks = [*graphs, *([start] if start is not None else []), child]
    found = _scores(networks, pictures, jpeg) if pictures else []
    metadata = _metadata(recipe, parents, base)
    result = write_network(child, target, metadata=metadata, overwrite=overwrite)
    click.echo(export_line(result, f"{method} merge of {plural(len(parents), 'network')},"))
    if found:
        for line in _table(names, found):
            click.echo(line)
        inputs = [f"shrunk by {child.scale}"] * (child.scale > 1)
        inputs += [f"as JPEG of quality {jpeg}"] * (jpeg is not None)
        click.echo(", ".join([f"mean of {plural(len(pictures), 'picture')}", *inputs]))


def _recipe(
    parents: Sequence[str],
    target: str | None,
    weights: tuple[float, ...] | None,
    method: Method,
    base: str | None,
    density: float | None,
    seed: int | None,
) -> Recipe:
    """Check the options, alone and together; files are not looked at."""
    if not parents:
        raise click.UsageError(
            "there is no network; for example: waifu2x merge a.pth b.pth -o c.onnx --weights 1,1"
        )
    if target is None:
        raise click.UsageError("there is no output; give -o FILE")
    if weights is None:
        example = ",".join("1" for _ in parents)
        raise click.UsageError(f"there are no weights; for equal ones give --weights {example}")
    recipe = Recipe(weights, method, density, seed)
    recipe.check_networks(len(parents), base=base is not None)
    return recipe


def _pictures(folder: Path) -> list[Path]:
    from ..codec import FOLDER_SUFFIXES  # loaded when needed

    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() in FOLDER_SUFFIXES]
    except OSError as error:
        raise DecodeError(f"folder {shown(folder)} cannot be read: {reason(error)}") from error
    if not found:
        raise DecodeError(f"folder {shown(folder)} holds no picture")
    return sorted(found, key=lambda path: natural_key(path.name))


def _scores(graphs: Sequence[Graph], pictures: Sequence[Path], jpeg: int | None) -> list[Score]:
    from ..errors import GraphError
    from ..pipeline.evaluation import scores

    if graphs[0].channels != (3, 3):
        raise GraphError("--eval needs networks from RGB to RGB; leave it out")
    return scores(graphs, _originals(pictures, graphs[0].scale), jpeg=jpeg)


def _originals(pictures: Sequence[Path], scale: int) -> Iterator[Pixels]:
    """Yield each picture in RGB on white, cropped to multiples of ``scale``."""
    from ..codec import decode
    from ..pipeline.evaluation import SSIM_SIDE, on_white

    for path in pictures:
        pixels = on_white(decode(path))
        height, width = (side - side % scale for side in pixels.shape[:2])
        if min(height, width) < SSIM_SIDE:
            raise DecodeError(
                f"{shown(path)} is {pixels.shape[1]}x{pixels.shape[0]} px; --eval needs at least "
                f"{math.ceil(SSIM_SIDE / scale) * scale} px a side"
            )
        yield pixels[:height, :width]


def _table(names: Sequence[str], found: Sequence[Score]) -> Iterator[str]:
    """Yield a line for each network; its name is last, since names have any length."""
    yield f"{'PSNR':<8}  SSIM"
    for name, each in zip(names, found, strict=True):
        yield f"{each.psnr:5.2f} dB  {each.ssim:.4f}  {shown(name)}"


def _metadata(recipe: Recipe, parents: Sequence[str], base: str | None) -> dict[str, str]:
    """Return what the file records about its origin: names without folders."""
    made = {
        "merged_by": recipe.method,
        "networks": ", ".join(Path(name).name for name in parents),
        "weights": ", ".join(f"{weight:g}" for weight in recipe.weights),
    }
    if base is not None:
        made["base"] = Path(base).name
    if recipe.density is not None:
        made["density"] = f"{recipe.density:g}"
    if recipe.method == "dare":
        made["seed"] = str(recipe.seed or 0)
    return made
