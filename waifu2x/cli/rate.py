"""``waifu2x rate``."""

from __future__ import annotations

import importlib.util
import logging
import random
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from .._text import plural, shown
from ..errors import DecodeError, EncodeError, MissingExtraError
from ..pipeline.auto_noise import Noise
from .compare import checked_place, methods_option, run_options
from .options import engine_options
from .page import Command, Option, help_option
from .params import FileName, Number, noise_option
from .say import error_text

if TYPE_CHECKING:
    from ..comparing.methods import Method

HELP = """Rank models by your own votes, on a page that shows two results of one crop.

FOLDER holds pictures. The page is served on this machine only; sides are random, and names are
hidden. Keys: arrows left and right for the better side, down for no difference, Space to toggle in
place. Ctrl-C ends; the same command goes on. Needs: pip install '.[serve]'.
"""

EXAMPLES = (
    ("pictures -m cunet -m upconv_7", "Vote"),
    ("pictures --report", "Rank the models"),
)

#: Packages that only the page needs.
_NEEDED: Final = ("starlette", "uvicorn")

#: Name of the file of votes in the folder.
_VOTES: Final = "votes.jsonl"


@click.command(
    "rate",
    cls=Command,
    help=HELP,
    usage="[OPTIONS] FOLDER -m A -m B",
    examples=EXAMPLES,
)
@click.argument("folder", metavar="FOLDER", type=FileName())
@methods_option()
@click.option(
    "-s",
    "--scale",
    cls=Option,
    metavar="NUMBER",
    type=Number("a number above 0, for example 2, 1.5 or 0.5", whole=False),
    default=2,
    help="Enlargement, any ratio",
)
@noise_option("Options")
@click.option(
    "--side",
    cls=Option,
    metavar="PX",
    type=Number("a whole number of pixels, for example 320"),
    default=320,
    help="Width and height of a crop",
)
@click.option(
    "--votes",
    cls=Option,
    metavar="FILE",
    type=FileName(),
    shown_default="votes.jsonl in FOLDER",
    help="The file that each vote is appended to",
)
@click.option(
    "--port",
    cls=Option,
    metavar="N",
    type=Number("a whole number from 0 to 65535, for example 8761"),
    default=8761,
    help="Port of the page; 0 chooses a free one",
)
@click.option("--report", cls=Option, is_flag=True, help="Print the ranking by the votes so far")
@click.option(
    "--plot",
    cls=Option,
    metavar="FILE",
    type=FileName(),
    help="Draw the ranking of --report, PNG; replaces FILE",
)
@engine_options
@help_option()
def rate(
    folder: str,
    models: tuple[str, ...],
    scale: float,
    noise: Noise,
    side: int,
    votes: str | None,
    port: int,
    report: bool,
    plot: str | None,
    **run: Any,
) -> None:
    path = Path(folder, _VOTES) if votes is None else Path(votes)
    if plot is not None and not report:
        raise click.UsageError("--plot draws the ranking of --report; give both")
    if plot is not None and Path(plot).suffix.lower() != ".png":
        raise click.UsageError(f"plot is {shown(plot)}; the name of a plot must end in .png")
    if report:
        _report(Path(folder), path, models, None if plot is None else Path(plot))
        return
    if not 0 <= port <= 65535:
        raise click.UsageError(f"port is {port}; it must be a whole number from 0 to 65535")
    for name in _NEEDED:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(f"rating needs {name}; run pip install {name}")
    from ..comparing.methods import open_methods  # loaded when needed

    methods = open_methods(models, run_options(run))
    raise SystemExit(_rate(Path(folder), methods, scale, noise, side, path, port))


def _rate(
    folder: Path,
    methods: tuple[Method, ...],
    scale: float,
    noise: Noise,
    side: int,
    path: Path,
    port: int,
) -> int:
    """Serve the page until a signal, and return the exit code."""
    from ..batch.inputs import find  # loaded when needed
    from ..comparing.gallery import Gallery
    from ..comparing.rating import HOST, Rating, RatingOptions, rating_app
    from ..comparing.votes import VoteFile
    from ..server.web import address_of, listen
    from ..server.web import run as serve

    def on_problem(message: str) -> None:
        click.echo(f"Error: {error_text(message)}", err=True)

    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    options = RatingOptions(scale, noise, side)
    if not folder.is_dir():
        why = "is no folder; give a folder with pictures" if folder.exists() else "does not exist"
        raise DecodeError(f"{shown(folder)} {why}")
    pictures = [(str(each.relative), each.source) for each in find([folder]).found]
    generator = random.SystemRandom()
    with listen(HOST, port) as listener, closing(VoteFile(path, scale=scale, noise=noise)) as file:
        gallery = Gallery(
            pictures,
            methods,
            scale=scale,
            noise=noise,
            side=side,
            on_problem=on_problem,
            generator=generator,
        )
        with closing(gallery):
            rating = Rating(gallery, methods, file, options, generator)
            click.echo(f"open {address_of(listener)} in a browser; Ctrl-C ends")
            sys.stdout.flush()
            code = serve(rating_app(rating, on_problem), listener)
    click.echo(f"{shown(path)}: {plural(len(file.votes), 'vote')}")
    return code


def _report(folder: Path, path: Path, models: tuple[str, ...], target: Path | None) -> None:
    from ..atomic import write_file  # loaded when needed
    from ..comparing.report import plot, sections, table
    from ..comparing.votes import read_votes

    found = read_votes(path)
    if models:
        chosen = {name if name == "bicubic" else Path(name).stem for name in models}
        found = [vote for vote in found if vote.methods <= chosen]
    if not found:
        raise DecodeError(f"votes {shown(path)} hold no vote on these models")
    ranked = sections(found)
    if target is not None:
        place = _place_of_plot(target, folder, path)
        data = plot(ranked)
        write_file(place, lambda file: file.write(data), overwrite=True)
    for line in table(found, ranked):
        click.echo(line)


def _place_of_plot(target: Path, folder: Path, votes: Path) -> Path:
    """Check that the plot replaces neither the votes nor a picture, and becomes no picture."""
    from ..atomic import same_file  # loaded when needed
    from ..batch.inputs import find

    pictures = []
    if folder.is_dir():
        if same_file(target.parent, folder):
            raise EncodeError(
                f"plot {shown(target)} would lie among the pictures of {shown(folder)}, which are "
                "shown for votes; choose another folder"
            )
        pictures = [each.source for each in find([folder], may_be_empty=True).found]
    return checked_place(target, [votes, *pictures], overwrite=True)
