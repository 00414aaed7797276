"""The configuration of a training, a TOML file."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from dataclasses import field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from .._record import record
from .._text import reason, shown, unknown
from ..errors import ArgumentError, DecodeError
from .shape import ESTIMATOR_LAYERS, Shape

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_T = TypeVar("_T")

#: A noise level in a configuration.
TrainedLevel = Literal["none", 0, 1, 2, 3]

#: Larger files are no configuration.
_LARGEST: Final = 1 << 20
#: The least crop that an estimator can read, in pixels of the result: a multiple of 4.
_LEAST_ADAPTIVE: Final = 4 * (ESTIMATOR_LAYERS + 1)
#: As in the specification of TOML.
_LARGEST_INTEGER: Final = 2**63


@record
class DataConfig:
    """What is trained on.

    folder: holds ``train.npy`` and ``validation.npy``, see `waifu2x.training.data`; relative to the
        folder of the configuration.
    count: use only the first patches, so many; 0 for all.
    crop: side of the crops of a batch, in pixels of the result; even.
    batch: crops in a step.
    hard: share of the crops that is drawn in proportion to the loss of their patch, 0 to 1.
    workers: threads that prepare batches.
    """

    folder: str = "patches"
    count: int = 0
    crop: int = 128
    batch: int = 16
    hard: float = 0.25
    workers: int = 1


@record
class LossConfig:
    """The loss of a crop.

    kind: "charbonnier", the mean of sqrt(d * d + epsilon * epsilon) over samples in [0, 1];
        "psnr", the logarithm of the mean of d * d + epsilon * epsilon; or "filters", which trains
        only the estimator of adaptive, see `waifu2x.training.losses.evidence_losses`.
    epsilon: differences below it hardly count.
    luma: weight of the loss of BT.601 luma, in addition to that of RGB.
    frequency: weight of the mean distance of the Fourier transforms of the crops.
    margin: pixels of a crop, on each side, that do not count; less than half the crop.
    """

    kind: Literal["charbonnier", "psnr", "filters"] = "charbonnier"
    epsilon: float = 1e-3
    luma: float = 0.0
    frequency: float = 0.0
    margin: int = 0


@record
class ScheduleConfig:
    """The learning rate: a linear warm-up, then cosine cycles with warm restarts.

    rate: the highest learning rate. lowest: the rate at the end of a cycle, as a share of it.
    warmup: steps of the warm-up. cycles: steps of each cycle; their sum is the length of the
        training. decay: factor of the highest rate from cycle to cycle.
    """

    rate: float = 1e-3
    lowest: float = 0.01
    warmup: int = 200
    cycles: tuple[int, ...] = (20000,)
    decay: float = 1.0

    @property
    def steps(self) -> int:
        """The length of the training in steps."""
        return sum(self.cycles)


@record
class Config:
    """A training.

    name: of the network, for its files. seed: of all random numbers.
    license: that the files of the network name, such as "MIT"; none if empty.
    levels: noise levels; several share their weights and differ in the biases.
    start: a file of weights to begin with, of the same shape or one that grows to it
        (see `waifu2x.training.growth`); relative to the configuration.
    estimator: a file of Adaptive or Compact with whose layers the estimator of adaptive begins;
        relative to the configuration.
    fold: whether 3x3 convolutions are trained folded (see `waifu2x.training.module`).
    learn_slopes: whether the slopes of PReLU are trained; fixed ones are faster to train.
    ema: decay of the moving average of weights per step; the average is the result.
    optimizer: "adam", or "muon" for the weights of layers inside (see `waifu2x.training.muon`).
    precision: of the convolutions. Weights and sums of losses are float32.
    threads: of PyTorch on a CPU; results are the same bytes only for the same number.
    validate: steps between validations. save: steps between checkpoints.
    tensorboard: whether validations are also written for TensorBoard.
    """

    name: str = "network"
    seed: int = 1
    license: str = ""
    levels: tuple[TrainedLevel, ...] = ("none",)
    start: str = ""
    estimator: str = ""
    fold: bool = False
    learn_slopes: bool = True
    ema: float = 0.999
    optimizer: Literal["adam", "muon"] = "adam"
    precision: Literal["float32", "bfloat16"] = "float32"
    threads: int = 1
    validate: int = 1000
    save: int = 1000
    # No part of the representation, by which checkpoints know their configuration.
    tensorboard: bool = field(default=False, repr=False)
    network: Shape = field(default_factory=Shape)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        """Check the values. Raises `ArgumentError`."""
        _check(self)

    @property
    def noises(self) -> tuple[int | None, ...]:
        """The noise levels; None for enlarging only."""
        return tuple(None if level == "none" else level for level in self.levels)


#: Least and greatest values, by the name of the section and the key.
_RANGES: Final[dict[str, tuple[float, float]]] = {
    "seed": (0, 2**32 - 1), "ema": (0, 0.99999), "threads": (1, 1024), "validate": (1, 10**9),
    "save": (1, 10**9), "network.width": (1, 1024), "network.blocks": (1, 256),
    "network.layers": (1, 4), "network.outer": (1, 1024), "network.estimator": (1, 1024),
    "data.count": (0, 10**9),
    "data.crop": (16, 4096), "data.batch": (1, 4096), "data.hard": (0, 1),
    "data.workers": (1, 256),
    "loss.epsilon": (1e-9, 1), "loss.luma": (0, 1000), "loss.frequency": (0, 1000),
    "loss.margin": (0, 4096),
    "schedule.rate": (1e-9, 10), "schedule.lowest": (0, 1), "schedule.warmup": (0, 10**9),
    "schedule.decay": (0.01, 1),
}  # fmt: skip


def _check(config: Config) -> None:
    for key, (least, most) in _RANGES.items():
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        if not least <= value <= most:
            raise ArgumentError(f"{key} is {value:g}; it must be from {least:g} to {most:g}")
    cycles = config.schedule.cycles
    if not cycles or min(cycles) < 1:
        raise ArgumentError(
            f"schedule.cycles is {list(cycles)}; it must be at least one number of steps"
        )
    if not config.levels or len(set(config.levels)) != len(config.levels):
        raise ArgumentError(
            f"levels is {list(config.levels)}; it must be different noise levels, at least one"
        )
    if 2 * config.loss.margin >= config.data.crop:
        raise ArgumentError(
            f"loss.margin is {config.loss.margin}; it must be less than half of data.crop, "
            f"{config.data.crop}"
        )
    if config.data.crop % 4:
        raise ArgumentError(f"data.crop is {config.data.crop}; it must be a multiple of 4")
    adaptive = config.network.architecture == "adaptive"
    if config.loss.kind == "filters" and not adaptive:
        raise ArgumentError("loss.kind is 'filters'; it needs network.architecture = 'adaptive'")
    if adaptive and config.data.crop < _LEAST_ADAPTIVE:
        raise ArgumentError(
            f"data.crop is {config.data.crop}; for adaptive, it must be at least {_LEAST_ADAPTIVE}"
        )
    if config.estimator and not adaptive:
        raise ArgumentError("estimator is a file; it needs network.architecture = 'adaptive'")
    if not config.name.isidentifier():
        raise ArgumentError(
            f"name is {shown(config.name)}; it must consist of letters, digits and underscores"
        )


def read_config(path: Path) -> Config:
    """Read a configuration.

    Raises `DecodeError` if the file cannot be read or is no TOML, for a key that is unknown, and
    for a value that is not allowed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise DecodeError(f"{shown(path)} cannot be read: {reason(error)}") from error
    if len(data) > _LARGEST:
        raise DecodeError(f"{shown(path)} is larger than 1 MiB; it is no configuration")
    try:
        table = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"{shown(path)} is no TOML file: {reason(error)}") from error
    try:
        return _made(Config, table, "")
    except ArgumentError as error:
        raise DecodeError(f"{shown(path)}: {error}") from error


def _made(kind: type[_T], table: dict[str, Any], prefix: str) -> _T:
    """Make a record of ``table``; its keys are the names of the fields."""
    hints = typing.get_type_hints(kind)
    values = {}
    for key, value in table.items():
        if key not in hints:
            raise ArgumentError(unknown("key", f"{prefix}{key}", [f"{prefix}{k}" for k in hints]))
        values[key] = _typed(hints[key], value, f"{prefix}{key}")
    return kind(**values)


def _typed(hint: Any, value: Any, name: str) -> Any:
    """Return a value of TOML as the type of its field. Raises `ArgumentError`."""
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ArgumentError(f"{name} is {value!r}; it must be a table, [{name}]")
        return _made(typing.cast("type[Any]", hint), value, f"{name}.")
    origin = typing.get_origin(hint)
    if origin is tuple:
        if not isinstance(value, list):
            raise ArgumentError(f"{name} is {value!r}; it must be a list")
        return tuple(_typed(typing.get_args(hint)[0], item, name) for item in value)
    if origin is Literal:
        allowed = typing.get_args(hint)
        if not any(type(value) is type(each) and value == each for each in allowed):
            raise ArgumentError(f"{name} is {value!r}; allowed are {', '.join(map(repr, allowed))}")
        return value
    if origin in (typing.Union, types.UnionType):  # pragma: no cover - no such field
        raise TypeError(hint)
    if type(value) is int and abs(value) > _LARGEST_INTEGER:
        raise ArgumentError(f"{name} has {len(str(abs(value)))} digits; that is too large")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        raise ArgumentError(f"{name} is {value!r}; it must be {kinds[hint]}")
    return value
