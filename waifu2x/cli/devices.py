"""``waifu2x devices``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ..network import registry
from .page import Command, Option, help_option
from .params import ModelName, Number

if TYPE_CHECKING:
    from ..engines.survey import Found

HELP = """List the devices of this machine: what was found, whether it computes right, how fast.

Each device runs a picture with all that is hard for a network, and is compared with the CPU. The
verdict is kept, so that a device is tested once with each network, driver and version. Time is
seconds per megapixel of input. Engine auto takes the fastest device that computes right.
"""

EXAMPLES = (
    ("", "With the default model"),
    ("-m upconv_7 --again", "With another one, tested again"),
    ("--json", "JSON, for programs"),
)

_HEADER = ("engine", "device", "name", "result", "s/MP", "")


@click.command(
    "devices",
    cls=Command,
    help=HELP,
    short_help="List and test CPU and GPUs",
    usage="[OPTIONS]",
    examples=EXAMPLES,
)
@click.option(
    "-m",
    "--model",
    cls=Option,
    metavar="NAME",
    type=ModelName(),
    default="cunet",
    help="Model to test with, or a model file",
)
@click.option(
    "--threads",
    cls=Option,
    metavar="N",
    type=Number("a whole number of at least 1, for example 4"),
    shown_default="all cores",
    help="Threads of the CPU",
)
@click.option("--again", cls=Option, is_flag=True, help="Test devices that were tested before, too")
@click.option("--json", "as_json", cls=Option, is_flag=True, help="Print JSON, for programs")
@help_option()
def devices(model: str, threads: int | None, again: bool, as_json: bool) -> None:
    from .. import engines  # loaded when needed
    from ..engines.survey import survey

    engines.check(threads=threads)
    described = registry.model(model, read=engines.read_model)
    registry.require_installed(described)
    found = survey(registry.load(described.networks[0]), threads=threads, again=again)
    if as_json:
        facts = {"model": described.name, "devices": [each.facts() for each in found]}
        click.echo(json.dumps(facts, indent=2))
        return
    cells = [_HEADER, *(_row(each) for each in found)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def _row(found: Found) -> tuple[str, ...]:
    seconds = "" if found.seconds is None else f"{found.seconds:.3g}"
    remark = "chosen by auto" if found.chosen else ""
    if found.software:
        remark = "software, never chosen by auto"
    return (found.engine, found.device or "-", found.name or "-", found.result, seconds, remark)
