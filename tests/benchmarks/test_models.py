"""Tests of benchmarks/models.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import models


@pytest.mark.parametrize("how", [[], ["--command"]])
def test_the_table_and_the_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: list[str]
) -> None:
    path = tmp_path / "speed.json"
    words = ["--models", "upconv_7,swift", "--size", "40x30", "--threads", "1", "--rounds", "2"]
    assert models.main([*words, "--json", str(path), *how]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [line.split()[1] for line in lines[1:]] == ["upconv_7", "swift"]
    report = json.loads(path.read_text())
    assert [row["model"] for row in report["table"]] == ["upconv_7", "swift"]
    first, second = report["table"]
    assert first["share"] == 1
    assert second["share"] == pytest.approx(second["seconds"] / first["seconds"])
    assert first["per_megapixel"] == pytest.approx(first["seconds"] / 40 / 30 * 1e6)
    assert [len(each["samples"]) for each in report["measured"][0]["results"]] == [2, 2]


def test_an_unknown_model_is_a_row_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--models", "upconv_7,nope", "--size", "16x16", "--threads", "1", "--rounds", "2"]
    assert models.main([*words, "--command"]) == 1
    assert "not run: exit status 2: Error: model 'nope' is unknown" in capsys.readouterr().out
