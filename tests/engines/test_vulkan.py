"""The engine vulkan on a software driver: its results, its memory, its failures."""

from __future__ import annotations

import logging
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import art
from helpers.command import ended, started, waifu2x, wait_for
from PIL import Image

from waifu2x import Upscaler, engines
from waifu2x.errors import ArgumentError, DeviceLostError, DeviceMemoryError, EngineError
from waifu2x.network import registry

pytest.importorskip("ncnn", reason="ncnn is not installed")

from waifu2x.engines import vulkan, vulkan_devices

pytestmark = pytest.mark.skipif(not vulkan_devices.gpus(), reason="there is no Vulkan device")

MODELS = [each.name for each in registry.models()]


@cache
def picture(width: int = 72, height: int = 61) -> np.ndarray:
    return np.asarray(art.anime_face(width, height).convert("RGB"))


def difference(first: np.ndarray, second: np.ndarray) -> int:
    return int(np.abs(first.astype(int) - second.astype(int)).max())


@cache
def on(engine: str, model: str, **options: Any) -> Upscaler:
    return Upscaler(model, engine=engine, **options)


def psnr(got: np.ndarray, want: np.ndarray) -> float:
    error = np.clip(got, 0, 1) - np.clip(want, 0, 1)
    return float(-10 * np.log10(np.mean(error**2)))


# --- results --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_every_model_agrees_with_the_native_engine(name: str) -> None:
    model = registry.model(name)
    network = min(model.networks, key=lambda each: abs(each.scale - model.default_scale))
    graph = registry.load(network)
    side = graph.input_size(90 if graph.macs_per_pixel < 2e6 else 24)
    small = picture(side, side).transpose(2, 0, 1)[None].astype(np.float32) / 255
    want = engines.create("native").compile(graph).run(small)
    single = engines.create("vulkan", precision="fp32").compile(graph)
    assert not single.reduced
    assert np.abs(single.run(small) - want).max() < 0.5 / 255
    if graph.macs_per_pixel > 5e6:
        return  # a software driver takes minutes for the self-test of these
    given = picture(side, side).astype(np.float32) / 255
    options = {"noise": network.noise} if network.noise is not None else {}
    exact = on("native", name).upscale(given, network.scale, **options)
    assert psnr(on("vulkan", name).upscale(given, network.scale, **options), exact) > 60


@pytest.mark.parametrize("tile", [0, 32, 52])
def test_cunet_has_no_seams(tile: int) -> None:
    want = on("native", "cunet").upscale(picture(), 2)
    got = on("vulkan", "cunet", precision="fp32", tile=tile).upscale(picture(), 2)
    assert difference(got, want) <= 1


def test_half_precision_and_tta_and_alpha() -> None:
    image = art.sprite(40).convert("RGBA")
    want = on("native", "upconv_7", tta=True).upscale(image, 2, noise=1)
    got = on("vulkan", "upconv_7", tta=True).upscale(image, 2, noise=1)
    assert difference(np.asarray(got), np.asarray(want)) <= 2


def test_two_pictures_at_once_give_the_same_bytes() -> None:
    upscaler = on("vulkan", "upconv_7", tile=32)
    assert upscaler.pipeline.engine.concurrency.large == 2
    pictures = [picture(), picture(50, 70), picture(33, 64)]
    alone = [upscaler.upscale(each, 2) for each in pictures]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda each: upscaler.upscale(each, 2), pictures))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


# --- memory ---------------------------------------------------------------------------------------


def test_the_budget_of_the_device_decides_the_tiles(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    upscaler = on("vulkan", "upconv_7")
    whole = upscaler.upscale(picture(), 2)
    device = upscaler.pipeline.engine.devices[0]
    monkeypatch.setattr(type(device), "available", lambda self: 12 << 20)
    with caplog.at_level(logging.DEBUG, "waifu2x"):
        assert difference(upscaler.upscale(picture(), 2), whole) <= 1
    (said,) = [r.message for r in caplog.records if "2x pass over 72x61 px" in r.message]
    assert int(said.split(" in ")[1].split()[0]) > 1


def test_a_shortage_of_memory_makes_smaller_tiles_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    upscaler = Upscaler("upconv_7", engine="vulkan")
    whole = upscaler.upscale(picture(), 2)
    call = vulkan._Net.__call__

    def limited(self: Any, window: np.ndarray, means: Any) -> np.ndarray:
        if window.shape[1] * window.shape[2] > 3000:
            self._fail(vulkan._OUT_OF_MEMORY, window.shape)
        result: np.ndarray = call(self, window, means)
        return result

    monkeypatch.setattr(vulkan._Net, "__call__", limited)
    assert difference(upscaler.upscale(picture(), 2), whole) <= 1
    assert len([each for each in caplog.records if each.levelname == "WARNING"]) == 1

    monkeypatch.setattr(vulkan._Net, "__call__", lambda self, window, means: self._fail(
        vulkan._OUT_OF_MEMORY, window.shape))  # fmt: skip
    with pytest.raises(DeviceMemoryError, match=r"not enough memory .* even in the smallest tiles"):
        upscaler.upscale(picture(), 2)


def test_an_overflow_of_half_precision_runs_again_in_float32(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    upscaler = Upscaler("upconv_7", engine="vulkan", tile=32)
    want = on("native", "upconv_7").upscale(picture(), 2)
    call = vulkan._Net.__call__
    count = 0

    def overflowing(self: Any, window: np.ndarray, means: Any) -> np.ndarray:
        nonlocal count
        count += 1
        result: np.ndarray = call(self, window, means)
        if count in (2, 3):
            result = np.full_like(result, np.nan if count == 2 else 0)
        return result

    monkeypatch.setattr(vulkan._Net, "__call__", overflowing)
    with caplog.at_level(logging.INFO, "waifu2x"):
        got = upscaler.upscale(picture(), 2)
    assert difference(got, want) <= 1
    assert any("2 of 6 tiles run again in float32" in each.message for each in caplog.records)


# --- failures -------------------------------------------------------------------------------------


def test_a_lost_device_is_replaced_by_the_processor(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    upscaler = Upscaler("upconv_7", engine="vulkan")
    monkeypatch.setattr(
        vulkan._Net, "__call__", lambda self, window, means: self._fail(-1, window.shape)
    )
    with pytest.raises(DeviceLostError, match="failed with code -1"):
        upscaler.upscale(picture(), 2)
    assert difference(
        upscaler.upscale(picture(), 2), on("native", "upconv_7").upscale(picture(), 2)
    ) == 0  # fmt: skip
    assert [each.message for each in caplog.records if each.levelname == "WARNING"] == [
        "no device is left: continuing with engine native, on the CPU"
    ]


def test_devices_are_named_by_number() -> None:
    assert engines.create(device="vulkan:0").name == "vulkan"
    with pytest.raises(EngineError, match=r"device vulkan:99 is not there; ncnn finds vulkan:0 "):
        engines.create("vulkan", device="vulkan:99")
    with pytest.raises(ArgumentError, match="each once"):
        engines.create("vulkan", device="vulkan,vulkan:0")
    with pytest.raises(ArgumentError, match="runs in fp32 or fp16"):
        engines.create("vulkan", precision="bf16")


def test_without_a_device_the_processor_takes_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(vulkan_devices, "gpus", lambda: ())
    assert engines.create("vulkan").name == "native"
    assert [record.message for record in caplog.records] == [
        "ncnn finds no Vulkan device: using engine native on the CPU"
    ]


# --- command --------------------------------------------------------------------------------------


def test_the_command_prints_nothing_of_the_driver(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "in.png")
    done = waifu2x("in.png", "out.png", "-m", "upconv_7", "-d", "vulkan", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(tmp_path / "out.png") as made:
        assert made.size == (144, 122)


def test_ctrl_c_ends_the_command_and_leaves_nothing(tmp_path: Path) -> None:
    Image.fromarray(picture(500, 400)).save(tmp_path / "in.png")
    options = ("-e", "vulkan", "-m", "upconv_7", "-t", "32", "--verbose")
    process = started("in.png", "out.png", *options, cwd=tmp_path)
    wait_for(process.stderr, "pass over")
    process.send_signal(signal.SIGINT)
    _, rest = ended(process)
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert {each.name for each in tmp_path.iterdir()} == {"in.png"}
