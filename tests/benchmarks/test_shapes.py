"""Tests of benchmarks/shapes.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import shapes


def test_shapes_are_trained_and_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    for name, count in (("train", 8), ("validation", 2)):
        blocks = rng.integers(0, 256, (count, 24, 24, 3), np.uint8)
        np.save(tmp_path / f"{name}.npy", blocks.repeat(4, 1).repeat(4, 2))
    names = ["compact 48, 5 layers", "48, 5 blocks"]
    path = tmp_path / "shapes.json"
    words = [str(tmp_path), "--only", ";".join(names), "--steps", "2", "--side", "32"]
    assert shapes.main([*words, "--rounds", "2", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())["shapes"]
    assert [row["shape"] for row in rows] == names
    assert rows[0]["time"] == 1
    assert rows[1]["time"] == pytest.approx(rows[1]["ms"] / rows[0]["ms"])
    for row in rows:
        assert row["mean"] == pytest.approx((row["lanczos"] + row["bicubic"] + row["box"]) / 3)
    assert "| compact 48, 5 layers |" in capsys.readouterr().out
