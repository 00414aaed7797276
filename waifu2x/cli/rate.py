"""``waifu2x rate``."""

from __future__ import annotations

import importlib.util
import random
import signal
import threading
from pathlib import Path
from typing import Final

import click

from .._signals import SIGNALED, handled
from .._text import plural, shown
from ..errors import MissingExtraError
from ..pipeline.auto_noise import Noise
from .compare import methods_option
from .page import Command, Option, help_option
from .params import FileName, NoiseLevel, Number
from .say import error_text

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

#: Seconds until a wait notices a signal.
_SIGNAL_SECONDS: Final = 0.1


@click.command(
    "rate",
    cls=Command,
    help=HELP,
    short_help="Rank models by your own votes",
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
@click.option(
    "-n",
    "--noise",
    cls=Option,
    metavar="LEVEL",
    type=NoiseLevel(auto=True),
    default="auto",
    help="auto, none, conservative, 0 to 3, 1.5",
)
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
) -> None:
    path = Path(folder, _VOTES) if votes is None else Path(votes)
    if plot is not None and not report:
        raise click.UsageError("--plot draws the ranking of --report; give both")
    if plot is not None and Path(plot).suffix.lower() != ".png":
        raise click.UsageError(f"plot is {shown(plot)}; the name of a plot must end in .png")
    if report:
        _report(path, models, None if plot is None else Path(plot))
        return
    if not 0 <= port <= 65535:
        raise click.UsageError(f"port is {port}; it must be a whole number from 0 to 65535")
    for name in _NEEDED:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(f"rating needs {name}; run pip install {name}")
    raise SystemExit(_rate(Path(folder), models, scale, noise, side, path, port))


def _rate(
    folder: Path,
    models: tuple[str, ...],
    scale: float,
    noise: Noise,
    side: int,
    path: Path,
    port: int,
) -> int:
    """Serve the page until a signal, and return the exit code."""
    from ..batch.inputs import find  # loaded when needed
    from ..comparing.gallery import Gallery
    from ..comparing.methods import open_methods
    from ..comparing.rating import HOST, Rating, RatingOptions, listen, serve
    from ..comparing.votes import VoteFile

    def on_problem(message: str) -> None:
        click.echo(f"Error: {error_text(message)}", err=True)

    options = RatingOptions(scale, noise, side)
    methods = open_methods(models)
    pictures = [(str(each.relative), each.source) for each in find([folder]).found]
    signals: list[int] = []
    stopped = threading.Event()

    def stop(number: int, frame: object) -> None:
        signals.append(number)
        stopped.set()

    listener = listen(port)
    file = VoteFile(path, scale=scale, noise=noise)
    generator = random.SystemRandom()
    gallery = Gallery(
        pictures,
        methods,
        scale=scale,
        noise=noise,
        side=side,
        on_problem=on_problem,
        generator=generator,
    )
    with handled(stop):
        end = serve(Rating(gallery, methods, file, options, generator), listener, on_problem)
        click.echo(f"open http://{HOST}:{listener.getsockname()[1]}/ in a browser; Ctrl-C ends")
        # A signal that arrives as a wait begins does not end the wait.
        while not stopped.wait(_SIGNAL_SECONDS):
            pass
        end()
        gallery.close()
        file.close()
    click.echo(f"{shown(path)}: {plural(len(file.votes), 'vote')}")
    # Ctrl-C is how a rater ends, not a failure.
    return 0 if signals[0] == signal.SIGINT else SIGNALED + signals[0]


def _report(path: Path, models: tuple[str, ...], target: Path | None) -> None:
    from ..atomic import check_place, write_file  # loaded when needed
    from ..comparing.report import plot, sections, table
    from ..comparing.votes import read_votes
    from ..errors import DecodeError

    found = read_votes(path)
    if models:
        chosen = {name if name == "bicubic" else Path(name).stem for name in models}
        found = [vote for vote in found if vote.methods <= chosen]
    if not found:
        raise DecodeError(f"votes {shown(path)} hold no vote on these models")
    ranked = sections(found)
    if target is not None:
        place = check_place(target, overwrite=True)
        data = plot(ranked)
        write_file(place, lambda file: file.write(data), overwrite=True)
    for line in table(found, ranked):
        click.echo(line)
