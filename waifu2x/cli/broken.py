"""The command of an installation with a module that cannot be imported."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from .._text import reason


def main(args: Sequence[str], error: Exception) -> NoReturn:
    """Run ``waifu2x doctor``, or name the error and exit with 1."""
    if args[:1] == ["doctor"]:
        from .doctor import doctor

        try:
            code = doctor.main([*args[1:]], prog_name="waifu2x doctor", standalone_mode=False)
        except click.UsageError as wrong:
            click.echo(f"Error: {wrong.format_message()}", err=True)
            code = 2
        sys.exit(code or 0)
    click.echo(
        f"Error: the installation is broken: {type(error).__name__}: {reason(error)}; "
        "waifu2x doctor finds what to install again",
        err=True,
    )
    sys.exit(1)
