"""``waifu2x models``."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from .._text import shortened, shown
from ..errors import GraphError, WeightsError
from ..network import registry
from .page import Command, Option, help_option, table

HELP = """List the models: kind of pictures, noise levels, cost and license; and the kernels built.

The model files in the folder WAIFU2X_MODELS follow. A column per scale lists the noise levels of
its networks. Cost is in thousands of multiply-accumulates for each input pixel of a 2x pass, or of
the smallest scale if the model has no 2x network. It does not predict time: cunet costs 1.4 times
as much as upconv_7, and took 2.4 (16 megapixels) to 3.4 times (0.1 megapixels) as long on two CPU
cores (benchmarks/results/README.md). waifu2x info measures it.
"""

EXAMPLES = (("", "A table"), ("--json", "JSON, for programs"))

#: Most characters of an error in the table.
_LONGEST = 100
_SCALES = (1, 2, 3, 4)
_HEADER = (
    "model",
    "style",
    *(f"{scale}x noise" for scale in _SCALES),
    "cost",
    "license",
    "good for",
)


@click.command(
    "models",
    cls=Command,
    help=HELP,
    usage="[OPTIONS]",
    examples=EXAMPLES,
)
@click.option(
    "--json", "as_json", cls=Option, is_flag=True, help="Print JSON, with the cost at each scale"
)
@help_option()
def models(as_json: bool) -> None:
    own = registry.in_folder()
    if as_json:
        facts = [_facts(model) for model in registry.models()]
        facts += [_own_facts(name, model) for name, model in own.items()]
        click.echo(json.dumps(facts, indent=2))
        return
    rows = [_row(model) for model in registry.models()]
    rows += [_own_row(name, model) for name, model in own.items()]
    for line in _lines(rows):
        click.echo(line)
    click.echo(f"\n{_kernels()}")


def _kernels() -> str:
    from .. import kernels  # loaded when needed

    how = "built" if kernels.cuda_built() else "not built (WAIFU2X_CUDA=1 pip install .)"
    return f"CPU kernels: {kernels.isa()}; CUDA kernels: {how}"


def _facts(model: registry.Model) -> dict[str, Any]:
    """What `waifu2x models --json` prints about a model; no noise removal is null."""
    return {
        "name": model.name,
        "style": model.style,
        "description": model.description,
        "license": model.license,
        "source": model.source,
        "installed": model.installed,
        "install": registry.install_command(model),
        "scales": [
            {
                "scale": scale,
                "noise": [None] * _plain(model, scale) + [*model.noise_levels(scale)],
                "macs_per_pixel": _cost(model, scale),
            }
            for scale in model.scales
        ],
    }


def _own_facts(name: str, model: registry.Model | GraphError | WeightsError) -> dict[str, Any]:
    """The facts about a file in the folder of the user, or why it cannot be read."""
    if isinstance(model, registry.Model):
        return {**_facts(model), "name": name}
    return {"name": name, "error": str(model)}


def _own_row(name: str, model: registry.Model | GraphError | WeightsError) -> tuple[str, ...]:
    name = shown(name)
    if isinstance(model, registry.Model):
        _, style, *levels, license, text = _row(model)
        return (name, style or "-", *levels, license, text or model.family or "-")
    why = shortened(str(model), _LONGEST)
    return (name, *"-" * (len(_HEADER) - 2), f"see waifu2x info {name}: {why}")


def _row(model: registry.Model) -> tuple[str, ...]:
    scale = min((scale for scale in model.scales if scale > 1), default=1)
    missing = "" if model.installed else f"(run: {registry.install_command(model)}) "
    return (
        model.name,
        model.style,
        *(_levels(model, scale) for scale in _SCALES),
        f"{_cost(model, scale) / 1000:.0f}k",
        model.license,
        f"{missing}{model.description}",
    )


def _lines(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """A table; on a terminal too narrow for it, a paragraph for each model."""
    widths = [max(map(len, column)) for column in zip(_HEADER, *rows, strict=True)]
    columns = shutil.get_terminal_size().columns
    if sys.stdout.isatty() and sum(widths) + 2 * (len(widths) - 1) > columns:
        for name, *cells in rows:
            yield name
            yield from table([*zip(_HEADER[1:], cells, strict=True)], columns)
        return
    for row in (_HEADER, *rows):
        yield "  ".join(
            f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)
        ).rstrip()


def _plain(model: registry.Model, scale: int) -> bool:
    """Whether there is a network that only enlarges."""
    return model.network(scale, None) is not None


def _levels(model: registry.Model, scale: int) -> str:
    plain = ["none"] * _plain(model, scale)
    return " ".join([*plain, *map(str, model.noise_levels(scale))]) or "-"


def _cost(model: registry.Model, scale: int) -> int:
    """Multiply-accumulates per input pixel; networks of one scale differ in weights only."""
    return next(each.macs_per_pixel for each in model.networks if each.scale == scale)
