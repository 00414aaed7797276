"""Tests of benchmarks/ceiling.py."""

from __future__ import annotations

import json

import pytest
from helpers.networks import Builder, gated

from benchmarks import ceiling
from waifu2x.kernels import _native


def test_winograd_counts_a_quarter_of_a_3x3_convolution() -> None:
    net = Builder()
    net.conv(3, 8)
    net.conv(8, 5, kernel=1)
    net.conv(5, 4, kernel=3, stride=2)
    whole = 3 * 8 * 9 / 4 + 8 * 5
    assert ceiling.least_flops(net.graph(), 11, 21) == 2 * (231 * whole + 66 * 5 * 4 * 9)


def test_only_samples_that_there_are_count() -> None:
    net = Builder()
    net.conv(3, 8, padding=0)
    net.conv(8, 5, padding=0)
    products = 8 * 18 * 3 * 8 * 9 / 4 + 6 * 16 * 8 * 5 * 9 / 4
    assert ceiling.least_flops(net.graph(), 10, 20) == 2 * products


def test_a_shape_is_a_gated_network() -> None:
    graph = ceiling.shaped("32x4")
    assert graph.parameters == gated(features=32, blocks=4).parameters


def test_the_report_has_a_row_for_each_level_and_number_of_threads(
    tmp_path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    ceiling.main(
        ["--shape", "16x1", "--size", "32x24", "--threads", "1,2", "--isa", "scalar",
         "--rounds", "2", "--json", str(report)]
    )  # fmt: skip
    rows = json.loads(report.read_text())["results"]
    assert [(row["isa"], row["threads"], row["size"]) for row in rows] == [
        ("scalar", 1, "32x24"), ("scalar", 2, "32x24"),
    ]  # fmt: skip
    assert all(row["cpu_share"] > 0 and row["share"] > 0 for row in rows)
    assert "of ceiling" in capsys.readouterr().out


def test_an_unknown_level_is_an_error() -> None:
    with pytest.raises(Exception, match="usable"):
        ceiling.main(["--shape", "16x1", "--isa", "none", "--size", "16x16"])
    assert "scalar" in _native.isas()
