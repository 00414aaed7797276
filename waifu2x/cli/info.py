"""``waifu2x info``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from .._text import level_text, listed, shown
from ..errors import GraphError
from ..network import registry
from ..network.graph import MAX_REACH, Graph
from ..network.readers.file import read_file
from .page import Command, Option, help_option, table
from .params import ModelName, NoiseLevel, Number

if TYPE_CHECKING:
    from ..pipeline.measuring import Measurement

HELP = """Describe a model: its networks, the engines that run it, its speed and colors here.

MODEL is a name of waifu2x models, or a model file. Each network runs on random noise, and on flat
black, mid gray and white, whose average results are shown. Time is seconds per megapixel of input.
"""

EXAMPLES = (
    ("cunet -s 2 -n none", "A network of the program"),
    ("model.pth --json", "A model file, as JSON"),
)

#: Change of a flat picture, out of 255, from which --color-fix is suggested.
_DRIFT = 2


@click.command(
    "info",
    cls=Command,
    help=HELP,
    usage="[OPTIONS] MODEL",
    examples=EXAMPLES,
)
@click.argument("name", metavar="MODEL", type=ModelName())
@click.option(
    "-s",
    "--scale",
    "scales",
    cls=Option,
    multiple=True,
    metavar="NUMBER",
    type=Number("1, 2, 3 or 4, as far as the model has it"),
    shown_default="all",
    help="Only networks of this scale",
)
@click.option(
    "-n",
    "--noise",
    "levels",
    cls=Option,
    multiple=True,
    metavar="LEVEL",
    type=NoiseLevel(auto=False),
    shown_default="all",
    help="Only networks of this noise level",
)
@click.option(
    "--no-measure", cls=Option, is_flag=True, help="Do not run the networks, only describe them"
)
@click.option("--json", "as_json", cls=Option, is_flag=True, help="Print JSON, for programs")
@help_option()
def info(
    name: str,
    scales: tuple[int, ...],
    levels: tuple[registry.Level | None, ...],
    no_measure: bool,
    as_json: bool,
) -> None:
    from .. import engines  # loaded when needed

    model = registry.model(name, read=engines.read_model)
    registry.require_installed(model)
    networks = [
        network
        for network in model.networks
        if network.scale in (scales or model.scales) and (not levels or network.noise in levels)
    ]
    if not networks:
        there = [_called(network.scale, network.noise) for network in model.networks]
        raise click.UsageError(
            f"model {model.name} has no such network; choose among {listed(there, 'and')}"
        )
    graphs = [registry.load(network) for network in networks]
    facts: dict[str, Any] = {
        "name": model.name,
        "family": model.family or None,
        "description": model.description,
        "license": model.license,
        "source": model.source,
        "engines": _obstacles(model, graphs[0]),
    }
    measured: list[Measurement | None] = [None] * len(networks)
    if not no_measure:
        facts["measured_on"], measured = _measured(name, networks)
    facts["networks"] = [_facts(*each) for each in zip(networks, graphs, measured, strict=True)]
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for line in _page(facts):
        click.echo(line)


def _obstacles(model: registry.Model, graph: Graph) -> dict[str, str | None]:
    """Return why an engine cannot run the model here, for each engine; None if it can.

    If only one engine runs it, the reason is what the readers did not understand.
    """
    from .. import engines  # loaded when needed

    found = engines.obstacles(graph)
    if graph.only_engine is not None:
        try:
            read_file(model.networks[0].files[0].path)
        except GraphError as error:
            alone = {graph.only_engine, "cuda" if graph.only_engine == "torch" else ""}
            found.update({name: str(error) for name in found if name not in alone})
    return found


def _measured(
    name: str, networks: Sequence[registry.Network]
) -> tuple[str, list[Measurement | None]]:
    """Return the engine, and what each network does on it."""
    from ..pipeline.measuring import measure  # loaded when needed
    from ..pipeline.options import UpscalerOptions
    from ..pipeline.pipeline import Pipeline

    pipeline = Pipeline(UpscalerOptions(name))
    made = [measure(pipeline, network.scale, network.noise) for network in networks]
    return pipeline.engine.name, list(made)


def _facts(network: registry.Network, graph: Graph, measured: Measurement | None) -> dict[str, Any]:
    """What --json prints about a network; a margin of null is larger than the readers measure."""
    facts: dict[str, Any] = {
        "scale": network.scale,
        "noise": network.noise,
        "margin": graph.margin if graph.margin < MAX_REACH else None,
        "alignment": graph.alignment,
        "parameters": graph.parameters,
        "macs_per_pixel": round(graph.macs_per_pixel),
        "files": [
            {"package": file.package or None, "path": file.path, "sha256": file.sha256}
            for file in network.files
        ],
    }
    if measured is not None:
        from ..pipeline.measuring import FLAT

        facts["seconds_per_megapixel"] = float(f"{measured.seconds:.3g}")
        facts["flat"] = {
            str(value): round(made, 2) for value, made in zip(FLAT, measured.flat, strict=True)
        }
        facts["drift"] = round(measured.drift, 2)
    return facts


_HEADER = ("network", "margin", "alignment", "parameters", "MACs/px")


def _page(facts: dict[str, Any]) -> Iterator[str]:
    width = shutil.get_terminal_size().columns
    can = [name for name, why in facts["engines"].items() if why is None]
    cannot: dict[str, list[str]] = {}
    for name, why in facts["engines"].items():
        if why is not None:
            cannot.setdefault(why, []).append(name)
    rows = [
        ("family", facts["family"] or "unknown"),
        ("good for", facts["description"] or "unknown"),
        ("license", facts["license"]),
        ("source", shown(facts["source"])),
        ("engines", ", ".join(can) or "none"),
        *((f"not {', '.join(names)}", why) for why, names in cannot.items()),
    ]
    yield shown(facts["name"])
    yield from table(rows, width)
    yield ""
    networks = facts["networks"]
    header: tuple[str, ...] = _HEADER
    if "measured_on" in facts:
        flat = ", ".join(networks[0]["flat"])
        header = (*header, f"s/MP ({facts['measured_on']})", f"flat {flat}")
    cells = [header, *(_row(network) for network in networks)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()
    yield ""
    for network in networks:
        for file in network["files"]:
            yield f"sha256 {file['sha256']}  {shown(file['path'])}"
    drift = max((network.get("drift", 0) for network in networks), default=0)
    if drift > _DRIFT:
        yield ""
        yield f"flat areas change by up to {drift:.0f} of 255; --color-fix keeps their color"


def _row(network: dict[str, Any]) -> tuple[str, ...]:
    row = (
        _called(network["scale"], network["noise"]),
        "unknown" if network["margin"] is None else str(network["margin"]),
        str(network["alignment"]),
        f"{network['parameters'] / 1000:.0f}k",
        f"{network['macs_per_pixel'] / 1000:.0f}k",
    )
    if "flat" not in network:
        return row
    made = ", ".join(f"{value:.0f}" for value in network["flat"].values())
    return (*row, f"{network['seconds_per_megapixel']:.3g}", made)


def _called(scale: int, noise: registry.Level | None) -> str:
    return f"{scale}x {level_text(noise)}"
