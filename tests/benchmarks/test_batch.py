"""The batch benchmark: a small run, its corpus and its arithmetic."""

from __future__ import annotations

import json
import sys

import pytest
from PIL import Image

import benchmarks.batch.__main__ as batch
from benchmarks.batch import corpus, mixed, watch


@pytest.mark.skipif(sys.platform != "linux", reason="needs os.wait4, and memory from /proc")
def test_batch_benchmark_runs(tmp_path, capsys):
    target, plot = tmp_path / "batch.json", tmp_path / "memory.png"
    arguments = ["--quick", "--only", "mixed,crash", "--json", str(target), "--plot", str(plot)]
    assert batch.main(arguments) == 0
    report = json.loads(target.read_text("utf-8"))
    assert report["wrong"] == []
    assert (report["mixed"]["done"], report["mixed"]["failed"]) == (24, 20)
    assert report["mixed"]["peak_rss"] > 10 << 20
    chain, *_ = report["crash"]["kills"]
    assert (len(chain["legs"]), chain["same"]) == (3, True)
    assert report["crash"]["full_disk"].get("same", True)
    assert "FOLDER" not in target.read_text("utf-8")
    assert str(tmp_path) not in target.read_text("utf-8")
    assert "the same bytes" in capsys.readouterr().out
    with Image.open(plot) as drawn:
        drawn.load()
    with pytest.raises(SystemExit):
        batch.main(["--only", "everything"])
    assert "allowed are mixed, crash" in capsys.readouterr().err


def test_a_corpus_is_reproducible_and_complete(tmp_path):
    made = [
        corpus.make(tmp_path / name, 60, corpus.TINY, bad=20, traps=True)
        for name in ("first", "second")
    ]
    first = made[0]
    assert watch.tree(first.folder) == watch.tree(made[1].folder)
    assert (len(first.good), len(first.bad)) == (40, 20)
    assert len(set(first.bad.values())) == 20
    for file in first.good:
        if file.kind != "CBZ":
            with Image.open(first.folder / file.path) as picture:
                assert picture.size == file.size


def test_growth_is_that_of_the_second_half_of_the_files():
    samples = [
        watch.MemorySample(second, 1000 * second if second < 50 else 60_000, second)
        for second in range(101)
    ]
    assert mixed.growth(samples) == pytest.approx(0, abs=1e-3)
    assert mixed.growth([]) is None
    assert mixed.tenths(samples)[0] == 9000
    assert mixed.tenths(samples)[-1] == 60_000
