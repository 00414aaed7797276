"""``waifu2x train``."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from .._signals import SIGNALED, handled
from .._text import shown
from ..atomic import remove_live
from ..errors import MissingExtraError
from .page import Command, Option, help_option
from .params import FileName
from .say import duration

if TYPE_CHECKING:
    from ..training.trainer import Progress, Trainer

HELP = """Train a network by a configuration, a TOML file; docs/training.md describes both.

The folder gets the network (.safetensors), a checkpoint, and the record and curve of PSNR on the
validation set. Ctrl-C saves; the same command goes on from there. Several configurations are
trained in order; each may start from the network of an earlier one. Needs: pip install '.[train]'.
"""

EXAMPLES = (
    ("swift.toml", "Train, in the folder swift"),
    ("swift.toml -o run", "Train, in the folder run"),
    ("plain.toml levels.toml", "Train in two phases"),
)

#: Packages that only training needs.
_NEEDED: Final = ("torch", "matplotlib")

#: Steps between two lines on a terminal.
_EVERY: Final = 10

_DEVICE: Final = re.compile(r"cpu|(cuda|mps|xpu)(:[0-9]{1,3})?")


@click.command(
    "train",
    cls=Command,
    help=HELP,
    usage="[OPTIONS] CONFIG...",
    examples=EXAMPLES,
)
@click.argument("configs", metavar="CONFIG...", nargs=-1, required=True, type=FileName())
@click.option(
    "-o",
    "--output",
    "folder",
    cls=Option,
    metavar="FOLDER",
    type=FileName(),
    shown_default="CONFIG without .toml",
    help="Where the training is kept",
)
@click.option(
    "-d",
    "--device",
    cls=Option,
    metavar="DEVICE",
    default="cpu",
    help="cpu, cuda, or another device of PyTorch: cuda:1, mps, xpu",
)
@help_option()
def train(configs: tuple[str, ...], folder: str | None, device: str) -> None:
    from ..training.config import read_config  # loaded when needed

    if not _DEVICE.fullmatch(device):
        raise click.UsageError(f"device is {device!r}; it must be cpu, cuda, cuda:1, mps or xpu")
    if folder is not None and len(configs) > 1:
        raise click.UsageError("-o names the folder of one training; leave it out for several")
    phases = []
    for config in configs:
        path = Path(config)
        target = path.with_suffix("") if folder is None else Path(folder)
        if target == path:
            raise click.UsageError(f"{shown(config)} has no suffix; give -o FOLDER")
        phases.append((read_config(path), path.parent, target))
    for name in _NEEDED:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(f"training needs {name}; run pip install {name}")
    from ..training.trainer import Trainer

    for recipe, place, target in phases:
        code = _run(Trainer(recipe, place, target, device=device), target)
        if code:
            raise SystemExit(code)


def _run(trainer: Trainer, folder: Path) -> int:
    """Train until the end or a signal, and return the exit code."""
    stopped = threading.Event()
    signals: list[int] = []

    def stop(number: int, frame: object) -> None:
        if stopped.is_set():  # the second time, without saving
            remove_live()
            os._exit(SIGNALED + number)
        signals.append(number)
        stopped.set()

    click.echo(trainer.describe())
    if trainer.step:
        click.echo(f"goes on at step {trainer.step}, after {duration(trainer.seconds)}")
    live = sys.stderr.isatty()
    with handled(stop):
        trainer.run(lambda now: _report(now, live=live), stop=stopped.is_set)
    if live:
        click.echo("\r\x1b[K", nl=False, err=True)
    click.echo(f"{shown(str(folder))}: step {trainer.step} of {trainer.config.schedule.steps}")
    return SIGNALED + signals[0] if signals else 0


def _report(now: Progress, *, live: bool) -> None:
    """Print the validation of a step, and the state on a terminal."""
    if now.row is not None:
        values = [f"{key.removeprefix('psnr ')} {value:.2f}"
                  for key, value in now.row.items() if key.startswith("psnr ")]  # fmt: skip
        clear = "\r\x1b[K" if live else ""
        spent = duration(now.seconds)
        click.echo(f"{clear}step {now.step}  {spent}  loss {now.loss:.5f}  {', '.join(values)} dB")
    elif live and now.step % _EVERY == 0:
        left = duration((now.steps - now.step) * now.seconds / now.step)
        text = f"step {now.step} of {now.steps}  loss {now.loss:.5f}  {left} left"
        click.echo(f"\r\x1b[K{text}", nl=False, err=True)
