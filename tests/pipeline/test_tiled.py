"""Tiled runs of the CUDA engine on a device, emulated by torch on the CPU."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.art import anime_face
from helpers.pipelines import pipeline, run

import waifu2x
from waifu2x.engines.cuda_graphs import Runner
from waifu2x.engines.torch import TorchEngine
from waifu2x.engines.torch_device import Device
from waifu2x.errors import CancelledError, DeviceLostError, DeviceMemoryError, EngineError
from waifu2x.network.graph import Graph
from waifu2x.picture import Picture, Samples
from waifu2x.pipeline.pipeline import Pipeline

Hook = Callable[[torch.Tensor, torch.Tensor, torch.dtype], torch.Tensor]


class Gpu(Device):
    """The CPU as a device with separate memory."""

    def __init__(self, reduced: torch.dtype) -> None:
        super().__init__(torch.device("cpu"), reduced, None)
        self.largest_batch = 16
        self.memory = 1 << 30

    @property
    def accelerated(self) -> bool:
        return True

    def available(self) -> int:
        return self.memory

    def is_lost(self, text: str) -> bool:
        return "CUDA error" in text


class Hooked:
    """A network with a hook that may change or fail a run."""

    def __init__(self, runner: Runner, hook: Hook) -> None:
        self._runner, self._hook = runner, hook
        self.pixel, self.dtype = runner.pixel, runner.dtype

    def __call__(self, batch: torch.Tensor, means: Sequence[torch.Tensor]) -> torch.Tensor:
        return self._hook(batch, self._runner(batch, means), self.dtype)


def upscaler(
    model: str = "upconv_7", *, hook: Hook | None = None, precision: str = "fp32", gpus: int = 1
) -> tuple[Pipeline, list[Gpu]]:
    made = pipeline(model, engine="torch", precision=precision)
    return made, put_on_gpus(made, hook, gpus)


def put_on_gpus(core: Pipeline, hook: Hook | None, gpus: int) -> list[Gpu]:
    engine = core.engine
    assert isinstance(engine, TorchEngine)
    devices = [Gpu(engine.dtype) for _ in range(gpus)]
    for number, device in enumerate(devices):
        # Devices differ by index, like the GPUs of a machine.
        device.torch = torch.device("cpu", number) if number else torch.device("cpu")
    engine.devices = list(devices)
    if hook is not None:
        plain = engine.make_runner

        def make(graph: Graph, device: Device, dtype: torch.dtype) -> Runner:
            return Hooked(plain(graph, device, dtype), hook)

        engine.make_runner = make  # type: ignore[method-assign]
    return devices


def picture(width: int = 70, height: int = 50, dtype: type = np.uint8) -> Picture:
    color = np.asarray(anime_face(128).convert("RGB"))[20 : 20 + height, 20 : 20 + width]
    if dtype is np.uint16:
        return Picture(np.ascontiguousarray(color).astype(np.uint16) * 257)
    return Picture(np.ascontiguousarray(color))


def expected(model: str, source: Picture, **arguments: object) -> Samples:
    core = pipeline(model, engine="native")
    return run(core, source, **arguments).color  # type: ignore[arg-type]


def difference(one: Samples, other: Samples) -> int:
    return int(np.abs(one.astype(np.int64) - other.astype(np.int64)).max())


@pytest.mark.parametrize("tile", [0, 16, 33])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiles_in_batches_give_the_bytes_of_the_whole(tile: int, dtype: type) -> None:
    core, devices = upscaler()
    source = picture(dtype=dtype)
    whole = run(core, source).color
    devices[0].largest_batch = 3
    assert run(core, source, tile=tile).color.tobytes() == whole.tobytes()
    step = 1 if dtype is np.uint8 else 257
    assert difference(whole, expected("upconv_7", source)) <= step


def test_passes_stay_on_the_device_and_a_shrink_follows() -> None:
    core, devices = upscaler()
    fetched: list[tuple[int, ...]] = []
    plain = devices[0].fetch

    def fetch(tensor: torch.Tensor, made: object) -> np.ndarray:
        if tensor.dim() == 3:
            fetched.append(tuple(tensor.shape))
        return plain(tensor, made)

    devices[0].fetch = fetch  # type: ignore[method-assign]
    source = picture(24, 20)
    result = run(core, source, scale=4).color
    assert fetched == [(80, 96, 3)]
    assert difference(result, expected("upconv_7", source, scale=4)) <= 1
    result = run(core, source, scale=3).color
    assert difference(result, expected("upconv_7", source, scale=3)) <= 1


def test_gray_and_alpha() -> None:
    core, _ = upscaler()
    color = picture(40, 30).color
    source = Picture(
        np.ascontiguousarray(color[..., :1]), alpha=np.ascontiguousarray(color[..., 1])
    )
    made = run(core, source)
    want = run(pipeline("upconv_7", engine="native"), source)
    assert difference(made.color, want.color) <= 1
    assert made.alpha is not None
    assert want.alpha is not None
    assert difference(made.alpha, want.alpha) <= 1


@pytest.mark.parametrize("tile", [0, 32])
def test_the_gates_of_cunet_are_exact_whatever_the_tiles(tile: int) -> None:
    core, _ = upscaler("cunet")
    source = picture()
    made = run(core, source, noise=1, tile=tile).color
    assert difference(made, expected("cunet", source, noise=1)) <= 1


@pytest.mark.parametrize(("model", "tile"), [("upconv_7", 0), ("upconv_7", 20), ("cunet", 0)])
def test_the_average_of_eight_turns(model: str, tile: int) -> None:
    core, _ = upscaler(model)
    source = picture(42, 30)
    made = run(core, source, tta=True, tile=tile).color
    assert difference(made, expected(model, source, tta=True, tile=tile)) <= 1


def test_half_precision_is_close() -> None:
    core, _ = upscaler(precision="fp16")
    source = picture(40, 32, np.uint16)
    made, want = run(core, source).color, expected("upconv_7", source)
    error = (made.astype(np.float64) - want) / 65535
    assert -10 * np.log10((error**2).mean()) > 65


# --- memory ---------------------------------------------------------------------------------------


def limited(most: int, tried: list[int]) -> Hook:
    def hook(batch: torch.Tensor, output: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        pixels = batch.shape[0] * batch.shape[1] * batch.shape[2]
        tried.append(batch.shape[0])
        if pixels > most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ...")
        return output

    return hook


def test_out_of_memory_takes_fewer_tiles_at_a_time_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried: list[int] = []
    core, _ = upscaler(hook=limited(3 * 30 * 30, tried))
    source = picture(64, 48)
    for _ in range(2):
        made = run(core, source, tile=16).color
        assert difference(made, expected("upconv_7", source)) <= 1
    assert tried[:3] == [12, 6, 3]
    warnings = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert warnings == ["not enough memory on the device: continuing with batches of 6 tiles"]


def test_out_of_memory_takes_smaller_tiles(caplog: pytest.LogCaptureFixture) -> None:
    core, devices = upscaler(hook=limited(50 * 50, []))
    source = picture(90, 64)
    assert difference(run(core, source).color, expected("upconv_7", source)) <= 1
    warnings = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert warnings == ["not enough memory on the device: continuing with tiles of 45 px"]
    # Global means of cunet also recover; the budget of the device shrinks.
    core, devices = upscaler("cunet", hook=limited(100 * 100, []))
    assert difference(run(core, source).color, expected("cunet", source)) <= 1
    assert devices[0]._share < 0.25


def test_what_did_not_fit_is_let_go_before_the_next_try() -> None:
    """The traceback of an error references frames whose tensors fill the memory."""
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []
    most = [0]

    def hook(batch: torch.Tensor, output: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        if batch.shape[0] > 1 or batch.shape[1] > most[0]:
            held.extend((weakref.ref(batch), weakref.ref(output)))
            raise RuntimeError("CUDA out of memory.")
        return output

    for model, tile, most[0] in (("upconv_7", 0, 60), ("upconv_7", 16, 60), ("cunet", 0, 90)):
        core, devices = upscaler(model, hook=hook)
        plain = devices[0].release_memory

        def release_memory(plain: Callable[[], bool] = plain) -> bool:
            alive.extend(each() is not None for each in held)
            return plain()

        devices[0].release_memory = release_memory  # type: ignore[method-assign]
        run(core, picture(90, 64), tile=tile)
    assert len(alive) > 4
    assert not any(alive)


def test_the_tile_goes_by_the_memory_that_is_free() -> None:
    tried: list[int] = []
    core, devices = upscaler(hook=limited(1 << 30, tried))
    source = picture(90, 64)
    whole = run(core, source).color
    assert tried == [1]
    devices[0].memory = 12 << 20
    assert run(core, source).color.tobytes() == whole.tobytes()
    assert len(tried) > 2


def test_a_device_too_small_for_any_tile_is_a_clear_error() -> None:
    core, _ = upscaler(hook=limited(10, []))
    with pytest.raises(DeviceMemoryError) as caught:
        run(core, picture())
    assert str(caught.value) == (
        "not enough memory on cpu: CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ..., "
        "even in the smallest tiles; choose a smaller `scale=`, or `engine='native'`"
    )


# --- tiles that overflow --------------------------------------------------------------------------


def spoilt(value: float, runs: list[str], which: int = 1) -> Hook:
    """Fill tile ``which`` of each float16 batch with ``value``, and log all runs."""

    def hook(batch: torch.Tensor, output: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        runs.append(f"{batch.shape[0]} in {dtype}")
        if dtype == torch.float16 and output.shape[0] > which:
            output = output.clone()
            output[which] = value
        return output

    return hook


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -3.0])
def test_a_tile_that_overflows_is_done_again_in_float32(
    value: float, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[str] = []
    core, _ = upscaler(hook=spoilt(value, runs), precision="fp16")
    source = picture(64, 32)
    with caplog.at_level(logging.INFO):
        made = run(core, source, tile=32).color
    assert runs == ["2 in torch.float16", "1 in torch.float32"]
    assert difference(made, expected("upconv_7", source)) <= 2
    assert "1 of 2 tiles run again in float32" in caplog.text


def test_black_stays_black_without_a_second_run() -> None:
    runs: list[str] = []
    core, _ = upscaler(hook=spoilt(0.0, runs, which=0), precision="fp16")
    run(core, Picture(np.zeros((20, 20, 3), np.uint8)))
    assert runs == ["1 in torch.float16"]


def test_where_a_mean_is_taken_all_of_the_picture_is_done_again() -> None:
    runs: list[str] = []
    core, _ = upscaler("cunet", hook=spoilt(np.nan, runs, which=0), precision="fp16")
    source = picture(40, 36)
    made = run(core, source, tile=20).color
    assert any("float16" in each for each in runs)
    assert difference(made, expected("cunet", source)) <= 1


def test_what_is_not_finite_in_float32_is_an_error() -> None:
    def broken(batch: torch.Tensor, output: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        return output * torch.nan

    for precision in ("fp16", "fp32"):
        core, _ = upscaler(hook=broken, precision=precision)
        with pytest.raises(EngineError, match="the network returned values that are not finite"):
            run(core, picture(20, 20))


# --- devices --------------------------------------------------------------------------------------


def test_a_lost_device_is_a_clear_error_and_the_others_go_on() -> None:
    lost: list[int] = []

    def hook(batch: torch.Tensor, output: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        if not lost:
            lost.append(1)
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")
        return output

    core, devices = upscaler(hook=hook, gpus=2)
    with pytest.raises(DeviceLostError) as caught:
        run(core, picture())
    assert "stopped working (CUDA error: an illegal memory access was encountered)" in str(
        caught.value
    )
    assert [device.lost for device in devices] == [True, False]
    assert difference(run(core, picture()).color, expected("upconv_7", picture())) <= 1
    assert core.engine.name == "torch"


def test_when_the_last_device_is_lost_the_processor_takes_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def hook(batch: torch.Tensor, output: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        raise RuntimeError("CUDA error: unspecified launch failure")

    core, _ = upscaler(hook=hook)
    with pytest.raises(DeviceLostError):
        run(core, picture())
    made = run(core, picture()).color
    assert made.tobytes() == expected("upconv_7", picture()).tobytes()
    warnings = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert warnings == ["no device is left: continuing with engine native, on the CPU"]


def test_a_batch_goes_on_with_the_rest(tmp_path: Path) -> None:
    lost: list[int] = []

    def hook(batch: torch.Tensor, output: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        if not lost:
            lost.append(1)
            raise RuntimeError("CUDA error: unspecified launch failure")
        return output

    (tmp_path / "in").mkdir()
    for n in range(5):
        anime_face(20 + n).save(tmp_path / "in" / f"{n}.png")
    made = waifu2x.Upscaler("upconv_7", engine="torch")
    put_on_gpus(made.pipeline, hook, gpus=2)
    results = list(waifu2x.upscale_many(tmp_path / "in", tmp_path / "out", upscaler=made))
    failed = [result for result in results if result.status != "done"]
    assert [result.status for result in failed] == ["failed"]
    assert "stopped working (CUDA error: unspecified launch failure)" in str(failed[0].error)
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_pictures_are_spread_over_the_devices() -> None:
    core, devices = upscaler(gpus=2)
    engine = core.engine
    with engine.session() as one, engine.session() as two:
        assert one.device is not two.device  # type: ignore[attr-defined]
        assert [device.jobs for device in devices] == [1, 1]
    assert [device.jobs for device in devices] == [0, 0]
    sources = [picture(20 + n, 20) for n in range(6)]
    made: dict[int, Samples] = {}

    def work(n: int) -> None:
        made[n] = run(core, sources[n]).color

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, source in enumerate(sources):
        assert difference(made[n], expected("upconv_7", source)) <= 1


def test_progress_rises_to_one_and_a_cancelled_picture_ends() -> None:
    core, devices = upscaler()
    devices[0].largest_batch = 2
    seen: list[float] = []
    run(core, picture(), tile=20, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) > 3
    cancel = threading.Event()
    with pytest.raises(CancelledError):
        run(core, picture(), tile=20, cancel=cancel, progress=lambda _: cancel.set())
