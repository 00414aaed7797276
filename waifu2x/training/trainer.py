"""The loop of a training."""

from __future__ import annotations

import hashlib
import io
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from .._record import record
from .._text import reason, shown
from ..atomic import write_files
from ..errors import DecodeError, EncodeError, EngineError, MissingExtraError
from ..network import architectures
from ..network.graph import Graph
from ..network.readers.file import read_file
from ..network.writers.safetensors import to_safetensors
from .config import Config
from .growth import grown, with_estimator
from .losses import difficulty, evidence_losses, losses
from .module import TrainedGraph
from .muon import Muon
from .record import Row, curve, table
from .sampling import Pixels, Sampler
from .schedule import learning_rate
from .validation import Validation

_CHECKPOINT: Final = "checkpoint.pt"
#: Of checkpoints and of the batches that a seed gives.
_VERSION: Final = 2
#: Longest step of the average of weights at the beginning: (1 + n) / (10 + n) at step n.
_EARLY: Final = 10
#: Gradients are scaled down to this norm.
_LONGEST_GRADIENT: Final = 1.0
#: Steps of which the shown loss is the mean.
_SHOWN_STEPS: Final = 100


@record
class Progress:
    """A step of a training, for display.

    step: steps done, of ``steps``. loss: mean of the last steps. rate: the learning rate.
    seconds: of all steps and validations, those before an interruption included.
    row: the validation of this step, or None.
    """

    step: int
    steps: int
    loss: float
    rate: float
    seconds: float
    row: Row | None


class Trainer:
    """A training in a folder: its checkpoint, its networks, its record.

    The folder holds ``checkpoint.pt``, ``<name>.safetensors`` (for several levels
    ``<name>_<level>.safetensors``) with the averaged weights, ``record.csv`` and ``curve.png``,
    and events of TensorBoard if the configuration has them written.
    """

    def __init__(self, config: Config, base: Path, folder: Path, *, device: str = "cpu") -> None:
        """Prepare a training, or go on with the one in ``folder``.

        base: folder that the paths of the configuration are relative to.
        device: of PyTorch, such as "cpu" or "cuda".

        Raises `DecodeError`, `WeightsError` or `GraphError` if data, weights or the checkpoint
        cannot be read or do not fit the configuration, `EngineError` for a device that does not
        work here, and `EncodeError` if the folder cannot be made.
        """
        self.config, self.folder, self.device = config, folder, _device(device)
        if self.device.type == "cpu":
            torch.set_num_threads(config.threads)
        data = base / config.data.folder
        train, validation = (_load(data / f"{name}.npy") for name in ("train", "validation"))
        train = train[: config.data.count or None]
        if min(train.shape[1:3]) < config.data.crop:
            raise DecodeError(
                f"data.crop is {config.data.crop}; the patches are {train.shape[1]} px a side"
            )
        if any(side % 4 for side in validation.shape[1:3]):
            raise DecodeError(
                f"{shown(data / 'validation.npy')} holds {validation.shape}; the sides of patches "
                "must be multiples of 4"
            )
        checkpoint = folder / _CHECKPOINT
        resumed = checkpoint.exists()
        graph = config.network.graph(config.seed)
        # The checkpoint holds all that is trained, thus not slopes that are fixed.
        if not (resumed and config.learn_slopes):
            if config.start:
                graph = grown(read_file(base / config.start), graph)
            if config.estimator:
                graph = with_estimator(graph, read_file(base / config.estimator))
        self._patches = len(train)
        self._identity = _identity(config, train)
        levels, learned = len(config.levels), config.learn_slopes
        self.network, self.average = (
            self._placed(
                TrainedGraph(
                    graph, levels=levels, fold=fold, learn_slopes=learned, seed=config.seed
                )
            )
            for fold in (config.fold, False)
        )
        self._estimates = config.loss.kind == "filters"
        if config.network.architecture == "adaptive":
            self.network.train_estimator(self._estimates)
        self.average.requires_grad_(False)
        self._optimizers = _optimizers(self.network, config)
        self._sampler = Sampler(
            train, config.data, config.noises, seed=config.seed, balanced=self._estimates
        )
        self._board = _board(folder) if config.tensorboard else None
        self._validation = Validation(validation, config.noises)
        self.step = 0
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        self._recent: list[float] = []
        _make_folder(folder)
        if resumed:
            self._resume(checkpoint)

    def describe(self) -> str:
        """Return what is trained, on one line."""
        config, graph = self.config, self.network.graph
        shape, levels = config.network, ", ".join(map(str, config.levels))
        return (
            f"{shape.describe()}, {graph.macs_per_pixel:,.0f} MAC per input pixel, "
            f"{graph.parameters:,} parameters; noise {levels}; {self._patches:,} patches; "
            f"{config.schedule.steps:,} steps of {config.data.batch} crops of "
            f"{config.data.crop} px by {config.optimizer} in {config.precision}, on {self.device}"
        )

    def run(
        self,
        report: Callable[[Progress], None] | None = None,
        *,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train to the end of the schedule, or until ``stop`` returns true; then save.

        report: called after every step.

        Raises `EngineError` if the loss of a step is not finite; the last checkpoint stays.
        """
        config, steps = self.config, self.config.schedule.steps
        saved = None
        try:
            while self.step < steps and not stop():
                started = time.perf_counter()
                loss, rate = self._advance()
                self._recent = [*self._recent[-_SHOWN_STEPS + 1 :], loss]
                shown_loss = statistics.fmean(self._recent)
                row = None
                if self.step % config.validate == 0 or self.step == steps:
                    row = self._validated(shown_loss, rate)
                self.seconds += time.perf_counter() - started
                if self.step % config.save == 0:
                    self.save()
                    saved = self.step
                if report is not None:
                    report(Progress(self.step, steps, shown_loss, rate, self.seconds, row))
            if saved != self.step:
                self.save()
        finally:
            self._sampler.close()

    def save(self) -> None:
        """Write the checkpoint, the networks, the record and its curve; each replaces the old."""
        state = {
            "version": _VERSION,
            "identity": self._identity,
            "step": self.step,
            "seconds": self.seconds,
            "recent": self._recent,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "sampler": {key: torch.from_numpy(np.array(value))
                        for key, value in self._sampler.state().items()},
            "rows": self.rows,
        }  # fmt: skip
        buffer = io.BytesIO()
        torch.save(state, buffer)
        files = [(self.folder / _CHECKPOINT, buffer.getvalue())]
        for path, graph in self.networks().items():
            tensors = architectures.state_dict(graph)
            files.append((path, to_safetensors(tensors, metadata=self._metadata())))
        if self.rows:
            files.append((self.folder / "record.csv", table(self.rows)))
            files.append((self.folder / "curve.png", curve(self.rows, title=self.config.name)))
        write_files(files, overwrite=True)

    def networks(self) -> dict[Path, Graph]:
        """Return the networks with averaged weights, by the path of their file."""
        levels, name = self.config.levels, self.config.name
        return {
            self.folder / (f"{name}.safetensors" if len(levels) == 1
                           else f"{name}_{level}.safetensors"): self.average.network(index)
            for index, level in enumerate(levels)
        }  # fmt: skip

    def _placed(self, network: TrainedGraph) -> TrainedGraph:
        """Move a network to the device, with weights in the layout of its pictures."""
        placed: TrainedGraph = network.to(  # type: ignore[call-overload]
            self.device, memory_format=torch.channels_last
        )
        return placed

    def _metadata(self) -> dict[str, str]:
        named = {"license": self.config.license} if self.config.license else {}
        return {**named, "step": str(self.step), "recipe": self._identity}

    def _advance(self) -> tuple[float, float]:
        """Do one step; return its loss and learning rate."""
        config = self.config
        rate = learning_rate(config.schedule, self.step)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        batch = self._sampler.next()
        given, wanted = (self._tensor(pixels) for pixels in (batch.given, batch.wanted))
        run = self.network.evidence if self._estimates else self.network
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"
        ):
            made = run(given, batch.level).to(torch.float32)
        if self._estimates:
            families, compressed = (
                torch.from_numpy(each.astype(np.int64)).to(self.device)
                for each in (batch.families, batch.compressed)
            )
            clean = config.noises[batch.level] is None
            found = evidence_losses(made, families, None if clean else compressed)
        else:
            # Leaves out samples at the edge of a crop: they lack the context that pictures have.
            inside = slice(config.loss.margin, -config.loss.margin or None)
            made, wanted = (each[:, :, inside, inside] for each in (made, wanted))
            found = losses(config.loss, made, wanted)
        self.network.zero_grad(set_to_none=True)
        found.mean().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _LONGEST_GRADIENT)
        for optimizer in self._optimizers:
            optimizer.step()
        self.step += 1
        decay = min(config.ema, (1 + self.step) / (_EARLY + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.average.weights(), self.network.weights(), 1 - decay)
        values = found.detach().cpu().numpy()
        if not np.isfinite(values).all():
            raise EngineError(
                f"the loss of step {self.step - 1} is not finite; go on from the last network with "
                'a lower schedule.rate, in another folder: start = "FILE"'
            )
        self._sampler.learn(batch, difficulty(config.loss, values))
        return float(values.mean()), rate

    def _tensor(self, pixels: Pixels) -> torch.Tensor:
        planes = torch.from_numpy(pixels).to(self.device, torch.float32).div(255)
        return planes.contiguous(memory_format=torch.channels_last)

    def _validated(self, loss: float, rate: float) -> Row:
        found = self._validation(self.average, self.device)
        row = {
            "step": float(self.step),
            "loss": loss,
            "rate": rate,
            **{f"psnr {name}": value for name, value in found.items()},
        }
        self.rows.append(row)
        if self._board is not None:
            for key, value in row.items():
                self._board.add_scalar(key, value, self.step)
            self._board.flush()
        return row

    def _resume(self, path: Path) -> None:
        try:
            state: dict[str, Any] = torch.load(path, self.device, weights_only=True)
        except Exception as error:  # of many kinds, for a damaged file
            raise DecodeError(f"{shown(path)} is no checkpoint: {reason(error)}") from error
        if not isinstance(state, dict) or state.get("version") != _VERSION:
            raise DecodeError(f"{shown(path)} is no checkpoint of this version of training")
        if state["identity"] != self._identity:
            raise DecodeError(
                f"{shown(path)} belongs to another configuration or other patches; give another "
                'output folder, or begin with its weights: start = "FILE"'
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.rows = state["step"], state["rows"]
        self.seconds, self._recent = state["seconds"], state["recent"]
        sampler = {key: value.cpu().numpy() for key, value in state["sampler"].items()}
        self._sampler.restore(sampler, self.step)


def _optimizers(network: TrainedGraph, config: Config) -> list[torch.optim.Optimizer]:
    """Muon, if chosen, trains the weights between the first layer and the last.

    What is not trained is left out.
    """
    rate = config.schedule.rate
    trained = [layer for layer in network.convolutions() if next(layer.parameters()).requires_grad]
    inside = trained[1:-1] if config.optimizer == "muon" else []
    matrices = [
        parameter
        for layer in inside
        for name, parameter in layer.named_parameters()
        if name != "bias"
    ]
    chosen = {id(parameter) for parameter in matrices}
    rest = [
        parameter
        for parameter in network.parameters()
        if id(parameter) not in chosen and parameter.requires_grad
    ]
    fused = rest[0].device.type in ("cpu", "cuda")
    adam: torch.optim.Optimizer = torch.optim.Adam(rest, lr=rate, betas=(0.9, 0.99), fused=fused)
    return [adam, Muon(matrices, rate)] if matrices else [adam]


def _identity(config: Config, patches: Pixels) -> str:
    """Return a digest of what a training computes; its length, pace and names are left out."""
    same = replace(
        config, name="network", license="", threads=1, validate=1, save=1,
        data=replace(config.data, folder="", workers=1),
    )  # fmt: skip
    same = replace(same, schedule=replace(config.schedule, cycles=(1,)))
    digest = hashlib.sha256(repr(same).encode())
    digest.update(f"{patches.shape}".encode())
    digest.update(np.ascontiguousarray(patches[:: max(1, len(patches) // 64)]).tobytes())
    return digest.hexdigest()


def _load(path: Path) -> Pixels:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(found, np.ndarray):
            raise ValueError("it holds several arrays")
    except Exception as error:  # of many kinds, for a damaged file
        raise DecodeError(
            f"{shown(path)} cannot be read: {reason(error)}; make it with "
            "`python -m waifu2x.training.data`"
        ) from error
    if found.dtype != np.uint8 or found.ndim != 4 or found.shape[3] != 3 or not found.size:
        raise DecodeError(
            f"{shown(path)} holds {found.dtype} {found.shape}; expected are patches, "
            "(N, P, P, 3) uint8"
        )
    patches: Pixels = found
    return patches


def _device(name: str) -> torch.device:
    """Return a device of PyTorch that works here."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except Exception as error:  # of many kinds, by device
        raise EngineError(f"device {shown(name)!r} cannot be used: {reason(error)}") from error
    return device


def _board(folder: Path) -> Any:
    """Return what writes the events of TensorBoard into ``folder``."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError(
            "tensorboard = true needs TensorBoard; run `pip install tensorboard`, or leave it out"
        ) from error
    return SummaryWriter(folder)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise EncodeError(f"{shown(folder)} cannot be made: {reason(error)}") from error
