"""Upper and lower limits on the cost and memory of a run."""

from __future__ import annotations

import os
from functools import cache

import numpy as np
import pytest

from waifu2x import Upscaler, engines
from waifu2x.network import registry
from waifu2x.picture import Picture
from waifu2x.pipeline.squeeze_excitation import SAMPLE_WINDOWS, GlobalMeans
from waifu2x.training.shape import Shape

MB = 1 << 20


@cache
def global_means() -> GlobalMeans:
    entry = registry.model("cunet").network(2, None)
    assert entry is not None
    return GlobalMeans(registry.load(entry), engines.create("native"))


@pytest.mark.parametrize(
    ("side", "share"), [(700, 0.25), (1000, 0.25), (1440, 0.25), (2048, 0.125), (4096, 1 / 32)]
)
def test_a_sample_of_global_means_takes_its_share_of_the_cost(side: int, share: float) -> None:
    """A quarter of the network's cost, at most the cost of half a megapixel."""
    means = global_means()
    side = means.graph.input_size(side)
    whole = means.graph.macs_per_pixel * side * side
    plan = means.plan_sampling(width=side, height=side)
    assert not plan.exact
    assert 0.6 * share < means.cost(plan) / whole <= share * 1.01


@pytest.mark.parametrize("side", [700, 1440, 4096])
def test_a_sample_of_a_cheap_stage_has_few_windows(side: int) -> None:
    """An estimator costs so little that its cost alone would let it see every pixel twice."""
    graph = Shape(32, 4, estimator=4, architecture="adaptive").graph(1)
    means = GlobalMeans(graph, engines.create("native"))
    plan = means.plan_sampling(width=side, height=side)
    assert not plan.exact
    assert 0.75 * SAMPLE_WINDOWS < len(plan.sample) <= SAMPLE_WINDOWS


def machine_of(monkeypatch: pytest.MonkeyPatch, memory: int) -> None:
    """Make the operating system report ``memory`` bytes of memory."""
    real = os.sysconf
    pages = memory // real("SC_PAGE_SIZE")
    monkeypatch.setattr(
        os, "sysconf", lambda name: pages if name == "SC_PHYS_PAGES" else real(name)
    )


def blank(side: int) -> Picture:
    """A black picture whose pixels share one byte of memory."""
    return Picture(np.broadcast_to(np.zeros(1, np.uint8), (side, side, 3)))


@pytest.mark.parametrize("model", ["upconv_7", "cunet"])
def test_a_network_run_takes_at_most_a_quarter_of_the_machine(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Upscaler(model, engine="onnx").pipeline
    picture = blank(2000)
    request = pipeline.request(picture, scale=2)
    machine_of(monkeypatch, 64 << 30)
    assert pipeline.footprint(picture, request).work > 256 * MB
    machine_of(monkeypatch, 512 * MB)
    assert 64 * MB < pipeline.footprint(picture, request).work <= 128 * MB


def test_augmentation_needs_memory_for_the_transformed_pictures() -> None:
    """Test-time augmentation works on the eight transforms of the picture."""
    picture = blank(300)
    work = []
    for tta in (False, True):
        pipeline = Upscaler("upconv_7", engine="onnx", tile=64, tta=tta).pipeline
        work.append(pipeline.footprint(picture, pipeline.request(picture, scale=2)).work)
    assert work[1] - work[0] == 8 * picture.color.nbytes


def test_less_memory_makes_smaller_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler = Upscaler("upconv_7", engine="onnx")
    picture = np.random.default_rng(1).integers(0, 256, (150, 150, 3), np.uint8)
    runs, results = [], []
    for memory in (64 << 30, 64 * MB):
        machine_of(monkeypatch, memory)
        steps: list[float] = []
        results.append(upscaler.upscale(picture, progress=steps.append).astype(int))
        runs.append(len(steps))
    assert runs[0] < runs[1]
    assert np.abs(results[0] - results[1]).max() <= 1
