"""The figures of `waifu2x merge --eval`; PSNR and SSIM are tested with the benchmark."""

from __future__ import annotations

import io

import numpy as np
import pytest
from helpers import art, networks
from helpers.pipelines import pipeline, run
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from waifu2x.network import registry
from waifu2x.network.graph import Graph
from waifu2x.picture import Picture
from waifu2x.pipeline.evaluation import (
    NetworkPipeline,
    as_jpeg,
    box_shrunk,
    luma,
    on_white,
    psnr,
    scores,
    ssim,
)


def graph(scale: int, noise: registry.Level | None) -> Graph:
    network = registry.model("cunet").network(scale, noise)
    assert network is not None
    return registry.load(network)


@given(hnp.arrays(np.uint8, st.tuples(st.just(12), st.just(24), st.just(3))),
       st.sampled_from([1, 2, 3, 4]))  # fmt: skip
def test_a_block_becomes_its_mean(pixels: np.ndarray, factor: int) -> None:
    small = box_shrunk(pixels, factor)
    assert small.shape == (12 // factor, 24 // factor, 3)
    for y, x in ((0, 0), (12 // factor - 1, 24 // factor - 1)):
        block = pixels[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
        mean = np.floor(block.astype(float).mean((0, 1)) + 0.5 + 1e-9)
        assert np.array_equal(small[y, x], mean)


def test_a_jpeg_is_what_pillow_writes() -> None:
    pixels = np.asarray(art.anime_face(32, 24))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=40)
    assert np.array_equal(as_jpeg(pixels, 40), np.asarray(Image.open(file)))
    assert not np.array_equal(as_jpeg(pixels, 40), as_jpeg(pixels, 90))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_transparent_areas_become_white(dtype: type) -> None:
    full = 1 if dtype is np.float32 else np.iinfo(dtype).max
    color = np.zeros((1, 3, 1), dtype)
    alpha = np.asarray([[0, full, full * 0.6]]).astype(dtype)
    assert on_white(Picture(color)).tolist() == [[[0] * 3] * 3]
    assert on_white(Picture(color, alpha)).tolist() == [[[255] * 3, [0] * 3, [102] * 3]]


@pytest.mark.parametrize(("scale", "noise"), [(1, 1), (2, None), (2, 2)])
def test_a_network_runs_as_users_run_it(scale: int, noise: registry.Level | None) -> None:
    pixels = np.asarray(art.anime_face(40, 32))
    made = NetworkPipeline(graph(scale, noise)).restore(pixels)
    expected = run(pipeline("cunet", engine="native"), Picture(pixels), scale=scale, noise=noise)
    assert np.array_equal(made, expected.color)


@pytest.mark.parametrize("jpeg", [None, 50])
def test_scores_are_means_over_the_pictures(jpeg: int | None) -> None:
    pictures = [np.asarray(art.anime_face(48, 40)), np.asarray(art.painted_scene(36, 44))]
    graphs = [graph(2, 1), graph(2, 3)]
    made = scores(graphs, iter(pictures), jpeg=jpeg)
    for each, network in zip(made, graphs, strict=True):
        one = NetworkPipeline(network)
        pairs = []
        for pixels in pictures:
            small = box_shrunk(pixels, 2)
            given = small if jpeg is None else as_jpeg(small, jpeg)
            pairs.append((luma(one.restore(given)), luma(pixels)))
        assert each.psnr == pytest.approx(np.mean([psnr(*pair) for pair in pairs]))
        assert each.ssim == pytest.approx(np.mean([ssim(*pair) for pair in pairs]))
    assert made[0] != made[1]


def test_a_network_of_another_family_and_scale() -> None:
    pixels = np.asarray(art.anime_face(20, 16))
    assert NetworkPipeline(networks.span(scale=4)).restore(pixels).shape == (64, 80, 3)
