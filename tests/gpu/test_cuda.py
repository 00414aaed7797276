"""Tests on a GPU: the checks that other tests run on the CPU, and GPU-specific checks."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.art import anime_face
from helpers.pipelines import pipeline, run

from waifu2x import engines
from waifu2x.engines.cuda_graphs import CudaGraphCache
from waifu2x.engines.cuda_tiles import load
from waifu2x.engines.torch import TorchEngine
from waifu2x.picture import Picture, Samples

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use"),
]

TESTS = Path(__file__).parent


def picture(width: int = 200, height: int = 150, dtype: type = np.uint8) -> Picture:
    color = np.asarray(anime_face(256).convert("RGB"))[:height, :width]
    if dtype is np.uint16:
        return Picture(np.ascontiguousarray(color).astype(np.uint16) * 257)
    return Picture(np.ascontiguousarray(color))


def expected(model: str, source: Picture, **options: Any) -> Samples:
    return run(pipeline(model, engine="native"), source, **options).color


def difference(one: Samples, other: Samples) -> int:
    return int(np.abs(one.astype(np.int64) - other.astype(np.int64)).max())


def test_auto_takes_the_gpu() -> None:
    assert engines.create().name == "cuda"


@pytest.mark.parametrize("model", ["upconv_7", "cunet"])
@pytest.mark.parametrize(("precision", "most"), [("fp32", 1), ("fp16", 2), ("bf16", 12)])
def test_it_agrees_with_the_processor(model: str, precision: str, most: int) -> None:
    core = pipeline(model, engine="cuda", precision=precision)
    for _ in range(3):  # direct, captured, replayed
        assert difference(run(core, picture()).color, expected(model, picture())) <= most


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("tile", [64, 100])
def test_with_our_convolutions_tiles_give_the_bytes_of_the_whole(
    tile: int, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    if load(torch.device("cuda", 0)) is None or torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("without the fused convolutions")
    monkeypatch.setenv("WAIFU2X_CUDA_CONV", "own")
    core = pipeline("upconv_7", engine="cuda")
    source = picture(dtype=dtype)
    whole = run(core, source).color
    tiles = run(core, source, tile=tile).color
    assert tiles.tobytes() == whole.tobytes()


@pytest.mark.parametrize("way", ["own", "cudnn"])
def test_both_ways_of_a_convolution_agree(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAIFU2X_CUDA_CONV", way)
    for model in ("upconv_7", "cunet"):
        core = pipeline(model, engine="cuda")
        assert difference(run(core, picture()).color, expected(model, picture())) <= 2


def test_tta_and_two_passes() -> None:
    core = pipeline("upconv_7", engine="cuda")
    made = run(core, picture(60, 50), tta=True).color
    assert difference(made, expected("upconv_7", picture(60, 50), tta=True)) <= 2
    made = run(core, picture(60, 50), scale=4).color
    want = run(pipeline("upconv_7", engine="native"), picture(60, 50), scale=4).color
    assert difference(made, want) <= 3


def test_many_threads_at_once() -> None:
    core = pipeline("upconv_7", engine="cuda")
    sources = [picture(100 + 10 * (n % 3), 90) for n in range(12)]
    made: dict[int, Samples] = {}

    def compute(n: int) -> None:
        made[n] = run(core, sources[n]).color

    threads = [threading.Thread(target=compute, args=(n,)) for n in range(len(sources))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, source in enumerate(sources):
        assert difference(made[n], expected("upconv_7", source)) <= 2


def test_out_of_memory_ends_with_the_right_picture(caplog: pytest.LogCaptureFixture) -> None:
    source = picture(256, 256)
    core = pipeline("cunet", engine="cuda", precision="fp32")
    run(core, picture(40, 40))
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    limit = torch.cuda.memory_reserved() + (96 << 20)
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total))
    try:
        made = run(core, source).color
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert difference(made, expected("cunet", source)) <= 1
    assert len([each for each in caplog.records if each.levelname == "WARNING"]) == 1


class _FailsInCapture:
    """A network of one large value that waits for the device, which no capture allows."""

    pixel, dtype = 3, torch.float32

    def __call__(self, batch: torch.Tensor, means: Sequence[torch.Tensor]) -> torch.Tensor:
        made = batch.repeat(1, 1, 1, 64) * 2
        if torch.cuda.is_current_stream_capturing():
            torch.cuda.synchronize()
        return made


@pytest.mark.filterwarnings("ignore:The CUDA Graph is empty")
def test_a_failed_capture_holds_no_memory() -> None:
    device = torch.device("cuda", 0)
    graphs, network = CudaGraphCache(device), _FailsInCapture()
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    with torch.inference_mode(), torch.cuda.stream(torch.cuda.Stream(device)):
        batch = torch.ones((1, 256, 256, 3), device=device)
        for _ in range(4):
            made = graphs.run(network, batch, [], has_memory=lambda: True)
            assert float(made.mean()) == 2
        del made, batch
    assert not graphs._captured
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= before + (2 << 20)


def test_a_batch_of_many_tiles() -> None:
    core = pipeline("upconv_7", engine="cuda", precision="fp32")
    made = run(core, picture(), tile=8).color
    assert difference(made, expected("upconv_7", picture())) <= 1
    assert isinstance(core.engine, TorchEngine)


def test_compute_sanitizer_finds_nothing_in_the_kernels() -> None:
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(tool).exists() or load(torch.device("cuda", 0)) is None:
        pytest.skip("no compute-sanitizer, or no kernels")
    command = [
        *(tool, "--error-exitcode", "9", "--target-processes", "all"),
        *(sys.executable, "-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider"),
        # Half of the cases: the tool slows each case about a hundredfold.
        *("-k", "u8 or uint8 or float16", str(TESTS)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS.parents[1])
    if "not supported" in done.stdout:
        pytest.skip("compute-sanitizer does not work here")
    assert done.returncode == 0, done.stdout[-4000:]
