"""Tests of benchmarks/start.py."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import start
from benchmarks.common.measure import FailureError


def test_a_start_ends_at_its_first_network_run(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "in.png")
    sample = start.first_run(sys.executable, tmp_path / "in.png", "upconv_7")
    assert 0 < sample.wall_s < 60
    assert sample.cpu_s > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png"]


def test_a_start_that_fails_has_a_reason(tmp_path: Path) -> None:
    with pytest.raises(FailureError, match=r"exit status 1: Error: in.png does not exist"):
        start.first_run(sys.executable, tmp_path / "in.png", "upconv_7")


def test_other_installations(tmp_path: Path) -> None:
    assert start.parse_other(f"before={sys.executable}") == ("before", sys.executable)
    for text in ("before", f"={sys.executable}", f"before={tmp_path / 'python'}"):
        with pytest.raises(argparse.ArgumentTypeError):
            start.parse_other(text)


def test_contestants_have_different_names(tmp_path: Path) -> None:
    runs = [
        *start.contestants("", sys.executable, tmp_path),
        *start.contestants("before", sys.executable, tmp_path),
    ]
    names = [result.name for result, _ in runs]
    assert len(set(names)) == len(names)
    assert "waifu2x --version" in names
