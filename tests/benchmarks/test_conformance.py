"""A small run of the conformance benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.variants import all_variants
from PIL import Image

from benchmarks import conformance
from benchmarks.common.agreement import compare
from benchmarks.common.independent import Reference
from waifu2x.codec import from_array


def test_conformance_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "files"
    (folder / "below").mkdir(parents=True)
    Image.new("RGB", (9, 7), (1, 2, 3)).save(folder / "below" / "right.png")
    (folder / "cut.png").write_bytes(all_variants()["png-2-8"].data[:200])
    (folder / "read.me").write_text("no picture")
    target = tmp_path / "result.json"
    status = conformance.main([str(folder), "--json", str(target), "--list", "both refuse"])
    assert status == 0
    rows = {row["file"]: row for row in json.loads(target.read_text("utf-8"))["rows"]}
    assert rows["below/right.png"]["class"] == "equal"
    assert rows["cut.png"]["class"] in ("both refuse", "refused")
    assert len(rows) == 2
    told = capsys.readouterr().out
    assert "2 pictures, 1 other files" in told


def test_an_exception_of_another_kind_counts_as_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (3, 2)).save(path)

    def fail(data: bytes) -> list[object]:
        raise KeyError("a leak")

    monkeypatch.setattr(conformance, "_ours", fail)
    row = conformance.examine(path)
    assert (row["class"], row["reason"]) == ("escaped", "KeyError: 'a leak'")


def test_a_process_that_dies_or_hangs_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (3, 2)).save(path)
    with conformance.Examiner(seconds=0.0) as examiner:
        assert examiner.examine(path)["class"] == "escaped"
    with conformance.Examiner(seconds=60.0) as examiner:
        assert examiner.examine(path)["class"] == "equal"


def test_differences_are_found_in_the_lower_depth() -> None:
    samples = np.arange(120, dtype=np.uint8).reshape(8, 5, 3)
    picture = from_array(samples)
    same = Reference(samples.astype(np.uint16) * 257, 65535.0, "rgb")
    assert compare(picture, same).verdict == "equal"
    near = Reference(samples + np.uint8(1), 255.0, "rgb")
    assert compare(picture, near).verdict == "close"
    far = Reference(samples + np.uint8(9), 255.0, "rgb")
    assert compare(picture, far).verdict == "differs"
    clear = Reference(samples, 255.0, "rgb", np.zeros((8, 5), np.uint8))
    assert compare(picture, clear).verdict == "differs"
    assert compare(picture, Reference(samples[:, :4], 255.0, "rgb")).verdict == "differs"
