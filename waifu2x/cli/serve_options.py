"""The options of ``waifu2x serve`` that are settings of the server."""

from __future__ import annotations

import click

from .page import Decorated, Option
from .params import MemorySize, Number

_OPTIONS = (
    click.option(
        "--host",
        cls=Option,
        metavar="HOST",
        default="127.0.0.1",
        help="Address to listen on; any but loopback needs --token",
    ),
    click.option(
        "--port",
        cls=Option,
        metavar="N",
        type=Number("a whole number from 0 to 65535"),
        default=8760,
        help="TCP port; 0 chooses a free one",
    ),
    click.option(
        "--token",
        cls=Option,
        metavar="TEXT",
        envvar="WAIFU2X_TOKEN",
        help="Secret of every request; or set WAIFU2X_TOKEN",
    ),
    click.option(
        "--queue",
        cls=Option,
        metavar="N",
        type=Number("a whole number of at least 1, for example 64"),
        default=64,
        help="Pictures that may wait",
    ),
    click.option(
        "--max-bytes",
        cls=Option,
        metavar="SIZE",
        type=MemorySize(),
        default=64 << 20,
        shown_default="64M",
        help="Limit for a request",
    ),
    click.option(
        "--max-pixels",
        cls=Option,
        metavar="N",
        type=Number("a whole number of at least 1, for example 32000000"),
        default=32_000_000,
        help="Limit for a picture",
    ),
    click.option(
        "--cache",
        cls=Option,
        metavar="SIZE",
        type=MemorySize(),
        shown_default="none",
        help="Disk space for results, such as 1G",
    ),
    click.option(
        "--memory",
        cls=Option,
        metavar="SIZE",
        type=MemorySize(),
        shown_default="half of the free",
        help="Memory to use, such as 4G",
    ),
)


def settings_options(command: Decorated) -> Decorated:
    """Declare the settings of the server on ``command``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
