"""``waifu2x INPUT OUTPUT``, and ``waifu2x batch``: one file, or many."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path, PurePath
from typing import Any

import click

from .options import Given, all_options, batch_rows, picture_rows

HELP = """\b
Upscale and denoise a picture, animation, comic (CBZ) or folder. OUTPUT: a
file, a folder or - for a pipe. Example: waifu2x in.jpg out.png -s 4 -n 1
"""

BATCH_HELP = """\b
Upscale files, folders, 'patterns*', comics and @lists into a folder, OUTPUT.
"waifu2x FOLDER OUTPUT" is the same; options of "waifu2x --help" count too.
Example: waifu2x batch in.png in.jpg out --name "{stem}_{scale}x{ext}"
"""

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

_WILDCARDS = frozenset("*?[")


class _Upscale(click.Command):
    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Options"):
            formatter.write_dl([*picture_rows(self, ctx), ("-h, --help", "Show this page")])


class _Batch(click.Command):
    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Options"):
            formatter.write_dl([*batch_rows(self, ctx), ("-h, --help", "Show this page")])


@click.command(cls=_Upscale, name="upscale", help=HELP, context_settings=_SETTINGS)
@click.argument("paths", metavar="INPUT... [OUTPUT]", nargs=-1, required=True)
@all_options
def upscale(**options: Any) -> None:
    given = _checked(Given(**options))
    inputs = given.paths[:-1] or given.paths
    if len(given.paths) > 2 or given.wants_batch or any(map(_names_many, inputs)):
        _many(given)
        return
    from .single import upscale_one

    target = Path(given.paths[1]) if len(given.paths) == 2 else None
    upscale_one(given, Path(given.paths[0]), target)


@click.command(cls=_Batch, name="batch", help=BATCH_HELP, context_settings=_SETTINGS)
@click.argument("paths", metavar="INPUT... OUTPUT", nargs=-1, required=True)
@all_options
def batch(**options: Any) -> None:
    _many(_checked(Given(**options)))


def _checked(given: Given) -> Given:
    """What holds for one file and for many."""
    if given.scale is not None and (given.width is not None or given.height is not None):
        raise click.UsageError("--scale and --width or --height exclude each other; give one")
    if given.verbose:
        logging.basicConfig(stream=sys.stderr, format="%(message)s")
        logging.getLogger("waifu2x").setLevel(logging.DEBUG)
    elif given.quiet:
        logging.getLogger("waifu2x").setLevel(logging.ERROR)
    return given


def _many(given: Given) -> None:
    if len(given.paths) < 2:
        raise click.UsageError(
            f"{given.paths[0]} may be many files; name the folder for the results behind it"
        )
    *inputs, out = given.paths
    if out == "-" or (inputs != ["@-"] and "-" in inputs):
        raise click.UsageError("a pipe takes one picture; for many files name a folder")
    if Path(out).is_file():
        raise click.UsageError(f"the results of many files go into a folder, and {out} is a file")
    if not Path(out).is_dir() and _is_picture_name(out):
        raise click.UsageError(
            f"the results of many files go into a folder, and {out} looks like a file; "
            f"choose another name, or create it first (mkdir {out})"
        )
    from .batch import upscale_batch

    upscale_batch(given, inputs, Path(out))


def _names_many(path: str) -> bool:
    """Whether an input stands for any number of files: a folder, a pattern, a list."""
    if os.path.isdir(path):  # noqa: PTH112  (a name may hold what Path refuses)
        return True
    if os.path.lexists(path):
        return False
    return path.startswith("@") or not _WILDCARDS.isdisjoint(path)


def _is_picture_name(name: str) -> bool:
    from ..codec import PAGE_SUFFIXES
    from ..files.open import ARCHIVE_SUFFIXES

    return PurePath(name).suffix.lower() in (*PAGE_SUFFIXES, *ARCHIVE_SUFFIXES)
