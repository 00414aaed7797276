"""The command ``waifu2x``: a group of commands with upscaling as the default."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import click

from .._version import __version__
from ..errors import Waifu2xError
from .export import export
from .models import models
from .options import picture_rows
from .say import error_text
from .upscale import batch, upscale


class _UpscaleByDefault(click.Group):
    """A group that passes arguments to ``upscale`` unless they begin with a command's name."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        own = {*self.commands, "-h", "--help", "--version"}
        if args and args[0] not in own:
            return upscale.make_context(info_name, args, parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage("waifu2x", "[OPTIONS] INPUT... [OUTPUT]")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # The first page shows the options of the main command on one screen.
        rows = [*picture_rows(upscale, ctx), ("--version, --help", "Show version or this page")]
        with formatter.section("Options"):
            formatter.write_dl(rows)
        formatter.write_paragraph()
        names = ", ".join(name for name in self.list_commands(ctx) if name != "batch")
        formatter.write_text(f"Commands: batch (for folders), {names} (waifu2x COMMAND --help)")

    def invoke(self, ctx: click.Context) -> Any:
        warnings.simplefilter("ignore")
        logging.getLogger("PIL").setLevel(logging.CRITICAL)
        try:
            with _only_our_stderr():
                return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)
        except Waifu2xError as error:
            raise click.ClickException(error_text(error)) from error
        except MemoryError as error:
            raise click.ClickException(
                "out of memory; a smaller --tile or --scale needs less"
            ) from error


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


@click.group(
    cls=_UpscaleByDefault,
    help=upscale.help,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
)
@click.version_option(__version__, prog_name="waifu2x", help="Show the version and exit")
def main() -> None:
    pass


main.add_command(batch)
main.add_command(models)
main.add_command(export)
