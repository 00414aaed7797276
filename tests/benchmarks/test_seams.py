"""A small run of the seam benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import art

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
