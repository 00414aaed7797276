"""A small run of the benchmark of colors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import art

from benchmarks import colors


def test_colors_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    art.anime_face(60, 50).save(tmp_path / "face.png")
    monkeypatch.setattr(colors, "SIDE", 60)
    monkeypatch.setattr(colors, "LEAST", 8)
    target = tmp_path / "colors.json"
    arguments = ["--models", "upconv_7", "--scale", "2", "--json", str(target)]
    colors.main([str(tmp_path), *arguments])
    rows = json.loads(target.read_text("utf-8"))["colors"]
    assert [(row["picture"], row["color fix"]) for row in rows] == [
        (picture, fix) for picture in ("portrait", "face.png") for fix in ("off", "on")
    ]
    assert all("psnr" in row for row in rows[:2])
    for off, on in (rows[:2], rows[2:]):
        assert on["drift"] <= 0.5 * off["drift"]
        assert on["hue"] < off["hue"]
        assert on["added"] <= 1
    assert "color fix" in capsys.readouterr().out
