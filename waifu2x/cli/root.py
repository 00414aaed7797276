"""The command ``waifu2x``: parses, runs, and ends with one line and one exit code.

Exit code 2 is for what the command line alone shows to be wrong, 1 for what files and the machine
show, 130 for Ctrl-C.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Final

import click

from .._signals import SIGNALED, handled
from .._text import nearest, reason, shown
from ..atomic import remove_live
from ..errors import ArgumentError, Waifu2xError
from .options import CommandOptions, all_options
from .page import Command
from .say import error_text

HELP = """Upscale and denoise anime pictures.

INPUT is a picture, an animation, a video, a comic (CBZ), a folder, a pattern in quotes, a list of
names (@list.txt), or - for a pipe. OUTPUT is a file or a folder. Without OUTPUT, in.png becomes
in_waifu2x.png.
"""

EXAMPLES = (
    ("in.png", "Enlarge 2x"),
    ("in.jpg out.png -s 4 -n 1", "Enlarge 4x, remove noise at level 1"),
    ("pictures big -r", "Enlarge a folder and its subfolders"),
    ("-i in.png -o out.webp", "Name files as in other waifu2x programs"),
)

#: The environment variable with which a shell requests completions.
VARIABLE: Final = "_WAIFU2X_COMPLETE"

#: The subcommands, each in a module of its name, and what they do.
_SUMMARIES: Final = {
    "models": "List models, noise levels, cost, license",
    "devices": "List and test CPU and GPUs",
    "doctor": "Check the installation, for bug reports",
    "info": "Describe a model, or a model file",
    "compare": "Draw the results of several models side by side",
    "rate": "Rank models by your own votes",
    "export": "Write a network as ONNX, safetensors or ncnn",
    "convert": "Write the network in a file in another format",
    "merge": "Merge networks, weight by weight",
    "train": "Train a network of our own",
    "serve": "Serve a page and an HTTP API",
    "completion": "Print a script for bash, zsh or fish",
}

#: Options of other programs, and what to give here.
_OPTIONS_ELSEWHERE: Final = {
    "-g": "-d vulkan:0 or cuda:0 selects a GPU",
    "-j": "--threads sets the threads",
    "-p": "-d vulkan:0 or cuda:0 selects a GPU",
    "--gpu": "-d vulkan:0 or cuda:0 selects a GPU",
    "--gpu-id": "-d vulkan:0 or cuda:0 selects a GPU",
    "--process": "-d vulkan:0 or cuda:0 selects a GPU",
    "--processor": "-d vulkan:0 or cuda:0 selects a GPU",
    "--scale_ratio": "did you mean --scale?",
    "--scale-ratio": "did you mean --scale?",
    "--noise_level": "did you mean --noise?",
    "--noise-level": "did you mean --noise?",
    "--output_quality": "did you mean --quality?",
    "--output_depth": "did you mean --depth?",
    "--output_extention": "did you mean --format?",
    "--tile-size": "did you mean --tile?",
    "--crop_size": "did you mean --tile?",
    "--block_size": "did you mean --tile?",
    "--method": "-s sets the scale and -n the noise level",
    "--mode": "-s sets the scale and -n the noise level",
    "--model_dir": "did you mean --model?",
    "--model-dir": "did you mean --model?",
    "--style": "did you mean --model?",
}

#: First words that other programs take, and what to type here.
_WORDS_ELSEWHERE: Final = {"help": "--help", "version": "--version"}


class _Subcommands(Mapping[str, click.Command]):
    """The subcommands by name; looking one up imports its module, and no other's."""

    def __getitem__(self, name: str) -> click.Command:
        if name not in _SUMMARIES:
            raise KeyError(name)
        command: click.Command = getattr(import_module(f".{name}", __package__), name)
        return command

    def __contains__(self, name: object) -> bool:
        return name in _SUMMARIES

    def __iter__(self) -> Iterator[str]:
        return iter(_SUMMARIES)

    def __len__(self) -> int:
        return len(_SUMMARIES)


class _Main(Command):
    """The main command; a first argument that is the name of a subcommand selects that."""

    #: What each subcommand does.
    summaries: Final[Mapping[str, str]] = _SUMMARIES
    commands: Final = _Subcommands()

    def __init__(self, *args: Any, **extra: Any) -> None:
        more = [(f"{name} --help", summary) for name, summary in _SUMMARIES.items()]
        super().__init__(*args, more=more, **extra)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run and exit; errors are one line on standard error."""
        extra.update(prog_name="waifu2x", standalone_mode=False)
        if VARIABLE in os.environ:
            from . import shells  # noqa: F401  (replaces classes of click)
        try:
            code = super().main(*args, **extra) or 0
        except click.UsageError as error:
            code = _fail(_usage_message(error), 2)
        except ArgumentError as error:
            code = _fail(error_text(error), 2)
        except Waifu2xError as error:
            code = _fail(error_text(error), 1)
        except MemoryError:
            code = _fail("out of memory; a smaller --tile or --scale needs less", 1)
        except OSError as error:
            # Such as a name that is too long, or a standard output on a full disk.
            fault = "standard output cannot be written"
            if error.filename is not None:
                fault = f"{shown(error.filename)} cannot be accessed"
            code = _fail(f"{fault}: {reason(error)}", 1)
        except click.Abort:  # Ctrl-C while arguments are parsed
            code = SIGNALED + signal.SIGINT
        sys.exit(code)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse ``args`` for this command or a subcommand."""
        if args and args[0] in self.commands:
            name, *args = args
            return self.commands[name].make_context(f"{info_name} {name}", args, parent, **extra)
        if args and not extra.get("resilient_parsing"):
            self._refuse_misspelled_command(args[0])
        return super().make_context(info_name, args, parent, **extra)

    def _refuse_misspelled_command(self, word: str) -> None:
        if not word.isalpha() or os.path.lexists(word):
            return
        meant = _WORDS_ELSEWHERE.get(word) or nearest(word, self.commands)
        if meant:
            raise click.UsageError(
                f"{word} is neither a file nor a command; did you mean waifu2x {meant}?"
            )

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command of ``ctx``."""
        warnings.simplefilter("ignore")
        logging.getLogger("PIL").setLevel(logging.CRITICAL)
        with _only_our_stderr(), handled(_exit):
            return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)


def _usage_message(error: click.UsageError) -> str:
    """One line for a usage error of click or of this package."""
    if isinstance(error, click.NoSuchOption):
        name = error.option_name
        hint = _OPTIONS_ELSEWHERE.get(name)
        if hint is None and error.possibilities:
            hint = f"did you mean {' or '.join(sorted(error.possibilities))}?"
        page = error.ctx.info_name if error.ctx else "waifu2x"
        return f"option {name} does not exist; {hint or f'see {page} --help'}"
    if isinstance(error, click.BadOptionUsage):
        known = error.ctx.command.params if error.ctx else []
        option = next((each for each in known if error.option_name in each.opts), None)
        if option is None or not option.metavar:
            return f"option {error.option_name} takes no value"
        return f"option {error.option_name} needs a value: {error.option_name} {option.metavar}"
    if isinstance(error, click.MissingParameter) and error.param is not None:
        page = error.ctx.info_name if error.ctx else "waifu2x"
        return f"{error.param.metavar} is missing; see {page} --help"
    return error.message


def _fail(message: str, code: int) -> int:
    click.echo(f"Error: {' '.join(message.split())}", err=True)
    return code


def _exit(number: int, frame: object) -> None:
    """Exit without a message; unfinished files are removed."""
    remove_live()
    os._exit(SIGNALED + number)


@contextlib.contextmanager
def _only_our_stderr() -> Iterator[None]:
    """Discard what C libraries print on standard error, as libtiff does for damaged files.

    Python's own ``sys.stderr`` still works.
    """
    try:
        ours = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    except OSError:  # started without a standard error
        yield
        return
    before, sys.stderr = sys.stderr, ours
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(ours.fileno(), 2)
        sys.stderr = before
        os.close(null)
        ours.close()


@click.command(
    "waifu2x",
    cls=_Main,
    help=HELP,
    usage="[OPTIONS] INPUT... [OUTPUT]",
    examples=EXAMPLES,
)
@all_options
def main(**values: Any) -> None:
    command = CommandOptions.from_values(values)
    if command.verbose:
        logging.basicConfig(stream=sys.stderr, format="%(message)s")
        logging.getLogger("waifu2x").setLevel(logging.DEBUG)
    elif command.quiet:
        logging.getLogger("waifu2x").setLevel(logging.ERROR)
    from .upscale import upscale  # loaded when needed

    upscale(command)
