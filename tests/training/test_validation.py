"""PSNR on the validation set, and the record of a training."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from waifu2x.pipeline.evaluation import NetworkPipeline, luma, psnr
from waifu2x.training.config import Config
from waifu2x.training.degradation import Degradation
from waifu2x.training.module import TrainedGraph
from waifu2x.training.record import curve, table
from waifu2x.training.shape import Shape
from waifu2x.training.validation import CLEAN, NOISY, Validation

DEVICE = torch.device("cpu")


@pytest.fixture
def originals(config: Config) -> np.ndarray:
    found: np.ndarray = np.load(Path(config.data.folder) / "validation.npy")
    return found


def test_the_first_network_is_as_good_as_the_nearest_enlargement(originals: np.ndarray) -> None:
    network = TrainedGraph(Shape(8, 1).graph(1), levels=1)
    found = Validation(originals, [None])(network, DEVICE)
    assert list(found) == [f"none {name}" for name in CLEAN]
    for name in CLEAN:
        smalls = [Degradation.parse(name).shrunk(each) for each in originals]
        wanted = np.mean([
            psnr(luma(small.repeat(2, 0).repeat(2, 1)), luma(original))
            for small, original in zip(smalls, originals, strict=True)
        ])  # fmt: skip
        assert found[f"none {name}"] == pytest.approx(wanted)


@pytest.mark.parametrize("shape", [Shape(8, 2), Shape(8, 2, architecture="compact")])
def test_the_engine_that_ships_gets_the_same_psnr(shape: Shape, originals: np.ndarray) -> None:
    torch.manual_seed(1)
    network = TrainedGraph(shape.graph(1), levels=2)
    with torch.no_grad():
        for layer in network.convolutions()[-1:]:
            layer.weight.normal_(0, 0.02)
            layer.bias[1] = 0.05
    found = Validation(originals, [0, 2])(network, DEVICE)
    assert list(found) == [f"{noise} {name}" for noise in (0, 2) for name in NOISY]
    for index, noise in enumerate((0, 2)):
        pipeline = NetworkPipeline(network.network(index), threads=1)
        name = NOISY[0]
        values = [
            psnr(luma(pipeline.restore(Degradation.parse(name).shrunk(each))), luma(each))
            for each in originals
        ]
        assert found[f"{noise} {name}"] == pytest.approx(np.mean(values), abs=0.02)


def test_a_perfect_result_counts_as_80_db() -> None:
    flat = np.full((10, 16, 16, 3), 77, np.uint8)
    network = TrainedGraph(Shape(8, 1, architecture="compact").graph(1), levels=1)
    assert set(Validation(flat, [None])(network, DEVICE).values()) == {80.0}


ROWS = [
    {"step": 1000.0, "loss": 0.03123456789, "rate": 1e-3, "psnr none box": 30.123456789},
    {"step": 2000.0, "loss": 0.02, "rate": 5e-4, "psnr none box": 31.0},
]


def test_the_record_is_a_table() -> None:
    assert table(ROWS).decode() == (
        "step,loss,rate,psnr none box\n"
        "1000,0.0312346,0.001,30.1235\n"
        "2000,0.02,0.0005,31\n"
    )  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(table(ROWS).decode())))
    assert [float(row["psnr none box"]) for row in rows] == [30.1235, 31]


def test_the_curve_is_a_picture() -> None:
    drawn = [curve(rows, title="net") for rows in (ROWS, ROWS, ROWS[:1])]
    assert drawn[0] == drawn[1] != drawn[2]
    for data in drawn:
        with Image.open(io.BytesIO(data)) as picture:
            assert (picture.format, picture.size) == ("PNG", (800, 450))
            assert picture.convert("L").getextrema()[0] < 100
