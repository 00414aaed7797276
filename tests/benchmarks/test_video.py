"""The benchmark of videos: a small run of each part."""

from __future__ import annotations

import json
import shutil

import pytest

from benchmarks import video


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg, which adds the noise")
def test_video_benchmark_runs(tmp_path, capsys):
    target, plot = tmp_path / "video.json", tmp_path / "memory.png"
    arguments = ["--quick", "--rounds", "2", "--models", "upconv_7", "--crf", "18"]
    assert video.main([*arguments, "--json", str(target), "--plot", str(plot)]) == 0
    report = json.loads(target.read_text("utf-8"))
    assert report["wrong"] == []
    (run,) = report["throughput"]["runs"]
    assert len(run["seconds_per_frame"]["stream"]) == 2
    assert len(report["reuse"]["scenes"]) == 4
    assert all(scene["worst"] <= 2 for scene in report["reuse"]["scenes"])
    assert len(report["memory"]["samples"]) == 20
    assert plot.stat().st_size > 1000
    assert "Throughput" in capsys.readouterr().out
