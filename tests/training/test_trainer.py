"""Trainings: repeatable, resumed exactly, better than bicubic, and refused with one line."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from waifu2x import Upscaler
from waifu2x.errors import (
    DecodeError,
    EncodeError,
    EngineError,
    GraphError,
    MissingExtraError,
    Waifu2xError,
    WeightsError,
)
from waifu2x.network.readers.file import read_file, read_metadata
from waifu2x.network.readers.safetensors import parse_safetensors
from waifu2x.pipeline.evaluation import luma, psnr
from waifu2x.training import trainer as training
from waifu2x.training.config import Config, DataConfig, LossConfig, ScheduleConfig
from waifu2x.training.degradation import Degradation
from waifu2x.training.shape import Shape
from waifu2x.training.trainer import Progress, Trainer

#: Trainings whose parts are all those that a checkpoint holds.
VARIANTS: dict[str, dict[str, Any]] = {
    "adam": {},
    "muon, folded, levels": {
        "optimizer": "muon", "fold": True, "levels": ("none", 1, 3),
        "network": Shape(8, 1, 2, slopes=True),
    },
    "bfloat16, compact": {
        "optimizer": "muon", "precision": "bfloat16", "fold": True,
        "network": Shape(8, 2, architecture="compact"),
    },
    "adaptive": {
        "optimizer": "muon", "levels": (0, 2),
        "network": Shape(8, 2, estimator=4, architecture="adaptive"),
    },
    "filters": {
        "optimizer": "muon", "network": Shape(8, 2, estimator=4, architecture="adaptive"),
        "loss": LossConfig("filters"),
    },
    "fixed slopes, margin": {
        "learn_slopes": False, "network": Shape(8, 2, architecture="compact"),
        "loss": LossConfig(luma=1, frequency=0.1, margin=4),
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the drawing of curves, which takes longest."""
    monkeypatch.setattr(training, "curve", lambda rows, title: f"{title} {rows}".encode())


def trained(config: Config, folder: Path, stop: int | None = None) -> Trainer:
    trainer = Trainer(config, folder, folder)
    trainer.run(stop=lambda: trainer.step == stop)
    return trainer


def check_same(first: Path, second: Path) -> None:
    """Check that two folders hold the same bytes; the time is the only thing that differs."""
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    for name in names:
        if name == "checkpoint.pt":
            check_equal(*(torch.load(folder / name) for folder in (first, second)))
        else:
            assert (first / name).read_bytes() == (second / name).read_bytes(), name


def check_equal(first: Any, second: Any, at: str = "") -> None:
    assert type(first) is type(second), at
    if isinstance(first, dict):
        assert list(first) == list(second), at
        for key in first:
            if key != "seconds":
                check_equal(first[key], second[key], f"{at}/{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), at
        for index, pair in enumerate(zip(first, second, strict=True)):
            check_equal(*pair, f"{at}/{index}")
    elif isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype, at
        assert torch.equal(first, second), at
    else:
        assert first == second, at


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resumed_training_equals_an_uninterrupted_one(
    config: Config, variant: str, tmp_path: Path
) -> None:
    config = replace(config, **VARIANTS[variant])
    trained(config, tmp_path / "whole")
    for stop in (3, 8, None):
        trained(config, tmp_path / "parts", stop)
    check_same(tmp_path / "whole", tmp_path / "parts")
    rows = (tmp_path / "whole" / "record.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "4", "8", "12"]


def test_a_training_is_repeated_by_its_seed(config: Config, tmp_path: Path) -> None:
    trained(config, tmp_path / "first")
    trained(config, tmp_path / "second")
    check_same(tmp_path / "first", tmp_path / "second")
    trained(replace(config, seed=2), tmp_path / "third")
    first, third = ((tmp_path / name / "network.safetensors").read_bytes()
                    for name in ("first", "third"))  # fmt: skip
    assert first != third


def test_a_longer_schedule_goes_on(config: Config, tmp_path: Path) -> None:
    trained(config, tmp_path)
    longer = replace(
        config,
        save=1000,
        validate=6,
        schedule=replace(config.schedule, cycles=(6, 6, 4)),
    )
    trainer = trained(longer, tmp_path)
    assert [row["step"] for row in trainer.rows] == [4, 8, 12, 16]


def test_progress_is_reported(config: Config, tmp_path: Path) -> None:
    seen: list[Progress] = []
    trainer = Trainer(config, tmp_path, tmp_path / "new" / "folder")
    assert trainer.describe() == (
        "gated with 2 blocks of 3 layers of 8 channels, gates and a join, "
        "2,040 MAC per input pixel, 8,288 parameters; noise none; 24 patches; "
        "12 steps of 4 crops of 32 px by adam in float32, on cpu"
    )
    trainer.run(seen.append)
    assert [now.step for now in seen] == list(range(1, 13))
    assert [now.step for now in seen if now.row is not None] == [4, 8, 12]
    assert all(now.steps == 12 and now.loss > 0 and now.rate > 0 for now in seen)
    assert sorted(now.seconds for now in seen) == [now.seconds for now in seen]
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "checkpoint.pt", "curve.png", "network.safetensors", "record.csv",
    ]  # fmt: skip


def test_the_files_name_license_and_step(config: Config, tmp_path: Path) -> None:
    trained(replace(config, license="MIT", name="mine", levels=(0, 2)), tmp_path, 2)
    for level in (0, 2):
        metadata = read_metadata(tmp_path / f"mine_{level}.safetensors")
        assert (metadata["license"], metadata["step"]) == ("MIT", "2")
    trained(replace(config, name="other"), tmp_path / "other", 1)
    assert "license" not in read_metadata(tmp_path / "other" / "other.safetensors")


def test_a_run_of_a_minute_is_better_than_bicubic(config: Config, tmp_path: Path) -> None:
    """The network, on the pictures held out, on the engine that ships."""
    config = replace(
        config, validate=10_000, save=10_000, optimizer="muon", ema=0.98,
        network=Shape(16, 3, architecture="compact"),
        data=replace(config.data, batch=8),
        schedule=ScheduleConfig(rate=5e-3, cycles=(250,), warmup=20),
    )  # fmt: skip
    trainer = trained(config, tmp_path)
    originals = np.load(Path(config.data.folder) / "validation.npy")
    path = tmp_path / "network.safetensors"
    upscaler = Upscaler(model=str(path), engine="native", threads=1)
    kernels = {"nearest": Image.Resampling.NEAREST, "bicubic": Image.Resampling.BICUBIC}
    for filter in ("lanczos", "bicubic", "box"):
        ours, others = [], {name: [] for name in kernels}  # type: ignore[var-annotated]
        for original in originals:
            small = Image.fromarray(Degradation.parse(filter).shrunk(original))
            made = np.asarray(upscaler.upscale(small, scale=2).convert("RGB"))
            ours.append(psnr(luma(made), luma(original)))
            for name, kernel in kernels.items():
                enlarged = np.asarray(small.resize(original.shape[1::-1], kernel))
                others[name].append(psnr(luma(enlarged), luma(original)))
        mean = np.mean(ours)
        assert mean == pytest.approx(trainer.rows[-1][f"psnr none {filter}"], abs=0.02)
        for name in kernels:
            assert mean > np.mean(others[name]) + 0.3, (filter, name)


# --- start ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["gated", "compact", "unet", "adaptive"])
def test_a_training_begins_with_trained_weights(
    config: Config, architecture: str, tmp_path: Path
) -> None:
    config = replace(config, network=Shape(8, 2, architecture=architecture))  # type: ignore[arg-type]
    trained(config, tmp_path / "first")
    start = str(tmp_path / "first" / "network.safetensors")
    levels = replace(config, levels=(0, 1), start=start, fold=True)
    trainer = Trainer(levels, tmp_path, tmp_path / "second")
    picture = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        wanted = training.TrainedGraph(read_file(start), levels=1)(picture, 0)
        for network in (trainer.network, trainer.average):
            torch.testing.assert_close(network(picture, 1), wanted, rtol=1e-4, atol=1e-5)
    trained(levels, tmp_path / "second", 1)
    (tmp_path / "first" / "network.safetensors").unlink()
    assert Trainer(levels, tmp_path, tmp_path / "second").step == 1


def test_fixed_slopes_of_the_start_stay(config: Config, tmp_path: Path) -> None:
    shape = Shape(8, 1, architecture="compact")
    trained(replace(config, network=shape), tmp_path / "first")
    fixed = replace(config, network=shape, learn_slopes=False, start="first/network.safetensors")
    for folder, stops in (("whole", (None,)), ("parts", (5, None))):
        for stop in stops:
            trainer = Trainer(fixed, tmp_path, tmp_path / folder)
            trainer.run(stop=lambda: trainer.step == stop)  # noqa: B023 - runs at once
    check_same(tmp_path / "whole", tmp_path / "parts")


def test_a_swift_network_grows(config: Config, tmp_path: Path) -> None:
    trained(replace(config, network=Shape(8, 3)), tmp_path / "first")
    larger = replace(config, network=Shape(12, 5), start="first/network.safetensors")
    trainer = Trainer(larger, tmp_path, tmp_path / "second")
    picture = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        wanted = training.TrainedGraph(
            read_file(tmp_path / "first" / "network.safetensors"), levels=1
        )(picture, 0)
        torch.testing.assert_close(trainer.network(picture, 0), wanted, rtol=1e-4, atol=1e-5)


ADAPTIVE = Shape(8, 2, estimator=4, architecture="adaptive")


def _layers(path: Path, *prefixes: str) -> dict[str, np.ndarray]:
    found = parse_safetensors(path.read_bytes())
    return {name: array for name, array in found.items() if name.startswith(prefixes)}


def test_an_adaptive_network_grows_from_compact_networks(config: Config, tmp_path: Path) -> None:
    """It begins with the result of one; its estimator, with the layers of another."""
    for folder, width, blocks in (("body", 8, 2), ("small", 4, 5)):
        shape = Shape(width, blocks, architecture="compact")
        trained(replace(config, network=shape), tmp_path / folder)
    starts = {f"{key}/network.safetensors": tmp_path / key for key in ("body", "small")}
    start, estimator = starts
    adaptive = replace(config, network=ADAPTIVE, start=start, estimator=estimator)
    trainer = Trainer(adaptive, tmp_path, tmp_path / "both")
    picture = torch.rand(1, 3, 20, 20)
    with torch.no_grad():
        wanted = training.TrainedGraph(read_file(tmp_path / start), levels=1)(picture, 0)
        torch.testing.assert_close(trainer.network(picture, 0), wanted, rtol=1e-4, atol=1e-5)
    trainer.save()
    made = _layers(tmp_path / "both" / "network.safetensors", "estimator.")
    small = _layers(tmp_path / estimator, "body.")
    for name in small:
        if name.removeprefix("body.").partition(".")[0] != "12":
            np.testing.assert_array_equal(made[name.replace("body", "estimator")], small[name])
    again = replace(adaptive, estimator="both/network.safetensors", seed=5)
    Trainer(again, tmp_path, tmp_path / "again").save()
    for name, array in _layers(tmp_path / "again" / "network.safetensors", "estimator.").items():
        np.testing.assert_array_equal(array, made[name])
    for wrong, message in (
        ({"start": estimator}, "start is of another shape than .network., and no Compact of its"),
        ({"estimator": start}, "estimator has no layers of network.estimator"),
    ):
        with pytest.raises(GraphError, match=message):
            Trainer(replace(adaptive, **wrong), tmp_path, tmp_path / "wrong")


def test_either_the_estimator_is_trained_or_the_rest(config: Config, tmp_path: Path) -> None:
    """The code, which weighs the evidence, always stays."""
    config = replace(config, network=ADAPTIVE, ema=0)
    before = Trainer(config, tmp_path, tmp_path / "before")
    before.save()
    first = tmp_path / "before" / "network.safetensors"
    for folder, loss, changed, same in (
        ("filters", LossConfig("filters"), "estimator.", ("body.", "gates.", "code.")),
        ("rest", LossConfig("psnr"), "body.", ("estimator.", "code.")),
    ):
        trained(replace(config, loss=loss), tmp_path / folder)
        made = tmp_path / folder / "network.safetensors"
        for name, array in _layers(first, *same).items():
            np.testing.assert_array_equal(_layers(made, name)[name], array)
        for name, array in _layers(first, changed).items():
            assert not np.array_equal(_layers(made, name)[name], array), name


def test_an_estimator_learns_no_compression_where_there_is_none(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def record(evidence: torch.Tensor, families: torch.Tensor, compressed: Any) -> torch.Tensor:
        given.append(compressed is None)
        return evidence.mean((1, 2, 3)) + 0 * families

    monkeypatch.setattr(training, "evidence_losses", record)
    config = replace(config, network=ADAPTIVE, loss=LossConfig("filters"))
    trained(config, tmp_path / "none", 3)
    assert set(given) == {True}
    given.clear()
    trained(replace(config, levels=(0, 3)), tmp_path / "levels", 3)
    assert set(given) == {False}


def test_a_start_of_another_shape_is_refused(config: Config, tmp_path: Path) -> None:
    trained(config, tmp_path / "first", 1)
    start = {"start": "first/network.safetensors"}
    for shape, message in (
        (Shape(8, 2, architecture="compact"), "start is of another shape than .network.; only Ga"),
        (Shape(4, 2), "start is .*, larger than"),
        (Shape(8, 3), "2 blocks of start cannot be spread over 3"),
        (Shape(8, 3, gate=False), "start is of another shape than .network.; blocks are added"),
        (Shape(8, 1), "start has 2 blocks, more than network.blocks, 1"),
        (Shape(8, 2, slopes=True), "start has no head.slopes.weight"),
    ):
        with pytest.raises(GraphError, match=message):
            Trainer(replace(config, network=shape, **start), tmp_path, tmp_path / "second")
    with pytest.raises(WeightsError, match=r"missing\.safetensors"):
        Trainer(replace(config, start="missing.safetensors"), tmp_path, tmp_path / "second")


# --- refusals ------------------------------------------------------------------------------------


def refused(config: Config, folder: Path, kind: type[Waifu2xError], device: str = "cpu") -> str:
    with pytest.raises(kind) as caught:
        Trainer(config, folder, folder / "run", device=device)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 9},
        {"fold": True},
        {"levels": (1,)},
        {"network": Shape(8, 1)},
        {"data": {"batch": 3}},
        {"data": {"count": 20}},
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(
    config: Config, change: dict[str, Any], tmp_path: Path
) -> None:
    trained(config, tmp_path / "run", 1)
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    if "data" in change:
        change = {"data": replace(config.data, **change["data"])}
    text = refused(replace(config, **change), tmp_path, DecodeError)
    assert "checkpoint.pt belongs to another configuration or other patches; give" in text
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before


def test_a_checkpoint_of_other_patches_is_refused(config: Config, tmp_path: Path) -> None:
    trained(config, tmp_path / "run", 1)
    for name in ("train", "validation"):
        patches = np.load(Path(config.data.folder) / f"{name}.npy")
        np.save(tmp_path / f"{name}.npy", 255 - patches)
    other = replace(config, data=replace(config.data, folder="."))
    assert "other patches" in refused(other, tmp_path, DecodeError)


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize("damage", [_half, lambda data: b"", lambda data: b"x" * 1000])
def test_a_damaged_checkpoint_is_refused(
    config: Config, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    trained(config, tmp_path / "run", 1)
    path = tmp_path / "run" / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes()))
    assert "checkpoint.pt is no checkpoint" in refused(config, tmp_path, DecodeError)


@pytest.mark.parametrize("state", [[1], {}, {"version": 99}])
def test_other_files_of_torch_are_no_checkpoints(
    config: Config, state: object, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    torch.save(state, tmp_path / "run" / "checkpoint.pt")
    text = refused(config, tmp_path, DecodeError)
    assert text.endswith("checkpoint.pt is no checkpoint of this version of training")


def _saved(path: Path, values: np.ndarray) -> None:
    np.save(path, values, allow_pickle=True)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (Path.unlink, "cannot be read: No such file or directory; make it with `python -m"),
        (lambda path: path.write_bytes(b""), "cannot be read: "),
        (lambda path: path.write_bytes(_half(path.read_bytes())), "cannot be read: mmap length"),
        (lambda path: path.write_bytes(b"x" * 9999), "cannot be read: "),
        (lambda path: _saved(path, np.zeros((2, 64, 64, 3))), "holds float64 (2, 64, 64, 3)"),
        (lambda path: _saved(path, np.zeros((64, 64, 3), np.uint8)), "holds uint8 (64, 64, 3)"),
        (lambda path: _saved(path, np.zeros((0, 64, 64, 3), np.uint8)), "holds uint8 (0, 64"),
        (lambda path: _saved(path, np.array([{}])), "cannot be read: "),
        (lambda path: path.unlink() or path.mkdir(), "cannot be read: Is a directory"),
    ],
)
@pytest.mark.parametrize("name", ["train", "validation"])
def test_damaged_patches_are_refused(
    config: Config, name: str, write: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    for each in ("train", "validation"):
        source = Path(config.data.folder) / f"{each}.npy"
        (tmp_path / f"{each}.npy").write_bytes(source.read_bytes())
    write(tmp_path / f"{name}.npy")
    text = refused(replace(config, data=replace(config.data, folder=".")), tmp_path, DecodeError)
    assert text.startswith(f"{tmp_path / name}.npy {message}")


def test_patches_must_fit(config: Config, tmp_path: Path) -> None:
    crop = replace(config, data=replace(config.data, crop=68))
    text = refused(crop, tmp_path, DecodeError)
    assert text == "data.crop is 68; the patches are 64 px a side"
    _saved(tmp_path / "train.npy", np.zeros((2, 64, 64, 3), np.uint8))
    _saved(tmp_path / "validation.npy", np.zeros((2, 64, 66, 3), np.uint8))
    text = refused(replace(config, data=DataConfig(".", crop=32)), tmp_path, DecodeError)
    assert text.endswith("the sides of patches must be multiples of 4")


def test_the_folder_and_the_device_must_work(config: Config, tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(b"")
    assert "run cannot be made: File exists" in refused(config, tmp_path, EncodeError)
    for device in ("cuda:99", "xyz", "meta"):
        text = refused(config, tmp_path / "other", EngineError, device)
        assert text.startswith(f"device '{device}' cannot be used: ")


def test_a_loss_that_is_not_finite_ends_the_training(config: Config, tmp_path: Path) -> None:
    trained(config, tmp_path, 3)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    trainer = Trainer(config, tmp_path, tmp_path)
    with torch.no_grad():
        trainer.network.convolutions()[-1].bias.fill_(torch.nan)
    with pytest.raises(EngineError, match="the loss of step 3 is not finite; go on from the last"):
        trainer.run()
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    trained(config, tmp_path)


# --- TensorBoard ---------------------------------------------------------------------------------


def test_events_of_tensorboard_are_written(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, float, int]] = []

    class SummaryWriter:
        def __init__(self, folder: Path) -> None:
            assert folder == tmp_path

        def add_scalar(self, name: str, value: float, step: int) -> None:
            seen.append((name, value, step))

        def flush(self) -> None:
            seen.append(("flush", 0, 0))

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    trainer = trained(replace(config, tensorboard=True), tmp_path)
    wanted = [
        item
        for row in trainer.rows
        for item in [*((key, value, int(row["step"])) for key, value in row.items()),
                     ("flush", 0, 0)]
    ]  # fmt: skip
    assert seen == wanted


def test_a_missing_tensorboard_is_one_line(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    text = refused(replace(config, tensorboard=True), tmp_path, MissingExtraError)
    assert text == (
        "tensorboard = true needs TensorBoard; run `pip install tensorboard`, or leave it out"
    )
