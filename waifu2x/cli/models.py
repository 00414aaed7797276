"""``waifu2x models``."""

from __future__ import annotations

import click

from ..network import registry

HELP = """List the models: scales, noise levels, cost and license.

Cost is in thousands of multiply-accumulates for each input pixel of one 2x pass; time follows it.

\b
Example:
  waifu2x models
"""


@click.command(help=HELP)
def models() -> None:
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
