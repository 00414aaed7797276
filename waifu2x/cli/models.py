"""``waifu2x models``."""

from __future__ import annotations

import click

from ..network import registry
from .page import Command, Option, help_option

HELP = """List the models: kinds of pictures, scales, noise levels, cost and license."""

EXAMPLES = (("", "a table"), ("--json", "JSON, for programs"))


@click.command(
    "models",
    cls=Command,
    help=HELP,
    short_help="List models, noise levels, cost, license",
    usage="[OPTIONS]",
    examples=EXAMPLES,
)
@click.option("--json", "as_json", cls=Option, is_flag=True, help="Print JSON")
@help_option()
def models(as_json: bool) -> None:
    header = ("model", "style", "1x noise", "2x noise", "cost", "license", "good for")
    rows = [header, *(_row(model) for model in registry.models())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def _row(model: registry.Model) -> tuple[str, ...]:
    network = model.network(2, None)
    cost = f"{registry.load(network).macs_per_pixel / 1000:.0f}k" if network else "-"
    return (
        model.name,
        model.style,
        _levels(model, 1),
        _levels(model, 2),
        cost,
        model.license,
        model.description,
    )


def _levels(model: registry.Model, scale: int) -> str:
    plain = ["none"] if model.network(scale, None) else []
    levels = [str(level) for level in model.noise_levels(scale)]
    return " ".join([*plain, *levels]) or "-"
