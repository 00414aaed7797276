"""A small run of the seam benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import art
from helpers.families import needs

from benchmarks import seams
from waifu2x.pipeline import squeeze_excitation


def test_seams_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    art.manga_page(90, 80).save(tmp_path / "page.png")
    monkeypatch.setattr(seams, "TILES", (32,))
    monkeypatch.setattr(seams, "SIDES", (160,))
    monkeypatch.setattr(seams, "TIMED_SIDE", 160)
    monkeypatch.setattr(squeeze_excitation, "EXACT_PIXELS", 180 * 180)
    target = tmp_path / "seams.json"
    seams.main([str(tmp_path), "--rounds", "1", "--json", str(target)])
    result = json.loads(target.read_text("utf-8"))
    native = result["seams"][0]
    assert native["tile 32"] <= 1 < native["alone 32"]
    assert [row["network"] for row in result["time"]] == [
        "cunet 2x noise None",
        "cunet 2x noise 1",
        "cunet 1x noise 1",
    ]
    assert 0 < result["sample"][0]["share seen"] < 1
    assert "dB" in capsys.readouterr().out


@needs("realcugan")
def test_tiles_of_another_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    art.anime_face(40, 48).save(tmp_path / "face.png")
    art.manga_page(40, 48).save(tmp_path / "page.png")
    monkeypatch.setattr(seams, "MODEL_TILES", (16,))
    target = tmp_path / "tiles.json"
    arguments = ["--model", "realcugan", "--engine", "onnx", "--crop", "32", "--seams", "page"]
    seams.main([str(tmp_path), *arguments, "--json", str(target)])
    rows = json.loads(target.read_text("utf-8"))["tiles"]
    assert [row["model"] for row in rows] == ["realcugan 2x", "realcugan 3x", "realcugan 4x"]
    assert {row["picture"] for row in rows} == {"page"}
    assert all(row["largest"] <= 1 for row in rows)
    assert "step at seams" in capsys.readouterr().out


def test_a_seam_has_a_larger_step_than_its_surroundings() -> None:
    whole = np.full((12, 12, 3), 100, np.uint8)
    tiled = whole.copy()
    tiled[:, 6:] += 3
    found = seams.compare_tiles(whole, tiled, 6)
    assert (found["largest"], found["mean"], found["more than 1"]) == (3, 1.5, 0.5)
    # One of the two seams has the step; the other rows and columns are even.
    assert (found["step at seams"], found["step elsewhere"]) == (1.5, 0)
