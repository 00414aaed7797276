"""Runs the GPU benchmark on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_gpu_benchmark_runs_the_parts_that_need_no_gpu(tmp_path: Path) -> None:
    target = tmp_path / "cuda.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--quick"]
    done = subprocess.run(
        [*command, "--rounds", "2", "--json", str(target)], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(target.read_text())
    assert report["kernels"]["compared"] == 72
    assert report["kernels"]["different"] == 0
    assert report["wrong"] == []
    for part in ("layers", "small", "memory"):
        assert report[part] == {"not_run": "it needs a GPU, and the device is cpu"}
    for model in ("upconv_7", "cunet"):
        assert report["pictures"]["models"][model]["differs"] <= 1
        assert report["pictures"]["models"][model]["ours"]["samples"] == 2
        found = report["precision"]["models"][model]["pictures"]["drawn"]
        assert 60 < found["float"] < 90
