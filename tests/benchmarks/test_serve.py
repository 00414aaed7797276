"""The benchmark of the server: a small run, which is a load test as well."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import serve


@pytest.mark.skipif(sys.platform != "linux", reason="each client has a loopback address of its own")
def test_serve_benchmark_runs(tmp_path, capsys):
    target = tmp_path / "serve.json"
    assert serve.main(["--quick", "--rounds", "2", "--json", str(target)]) == 0
    report = json.loads(target.read_text("utf-8"))
    assert report["wrong"] == []
    assert len(report["throughput"]["seconds"]["server"]) == 2
    assert sum(report["fairness"]["served"]) > 0
    answers = report["memory"]["answers"]
    assert sum(answers.values()) == 40
    assert answers["good: 200 and the right bytes"] == 24
    assert report["memory"]["peak_second_half"] < 1 << 30
    assert "Jain's index" in capsys.readouterr().out
