"""Completion through the protocol that the shells use: one process for each Tab."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import families
from helpers.command import waifu2x

from waifu2x.cli import main

MODELS = ["cunet", "fine", "swift", "upconv_7", "upconv_7_photo", *families.OPTIONAL]

#: What bash shows for a file name: its own completion of files.
FILES = "<files>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "moon").mkdir()
    (tmp_path / "in.png").touch()
    return tmp_path


def completed(folder: Path, line: str) -> list[str]:
    """What bash is offered for ``line``, which ends where Tab is pressed."""
    env = {
        "_WAIFU2X_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
    }
    result = waifu2x(cwd=folder, env=env)
    assert result.stderr == ""
    offered = [entry.split(",", 1) for entry in result.stdout.split()]
    return [FILES if kind == "file" else word for kind, word in offered]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("waifu2x --sc", ["--scale"]),
        ("waifu2x in.png --sc", ["--scale"]),
        ("waifu2x in.png out.png --re", ["--recursive", "--resume", "--report"]),
        ("waifu2x ", [FILES]),
        ("waifu2x i", [FILES]),
        ("waifu2x in.png ", [FILES]),
        ("waifu2x in.png more.png ", [FILES]),
        ("waifu2x -i ", [FILES]),
        ("waifu2x -i in.png -o o", [FILES]),
        ("waifu2x in.png --report r", [FILES]),
        ("waifu2x -m ", MODELS),
        ("waifu2x in.png --model up", MODELS[3:5]),
        ("waifu2x -n ", ["auto", "none", "conservative", "0", "1", "2", "3"]),
        ("waifu2x -e ", ["auto", "native", "onnx", "torch", "cuda", "vulkan"]),
        ("waifu2x -f a", ["avif"]),
        ("waifu2x --progress ", ["auto", "bar", "json", "none"]),
        ("waifu2x --memory ", []),
        ("waifu2x mod", [FILES, "models"]),
        ("waifu2x ex", [FILES, "export"]),
        ("waifu2x compl", [FILES, "completion"]),
        ("waifu2x completion ", ["bash", "zsh", "fish"]),
        ("waifu2x me", [FILES, "merge"]),
        ("waifu2x merge --me", ["--method"]),
        ("waifu2x merge --method t", ["task", "ties"]),
        ("waifu2x merge a.pth b", [FILES]),
        ("waifu2x tr", [FILES, "train"]),
        ("waifu2x train --de", ["--device"]),
        ("waifu2x train a", [FILES]),
        ("waifu2x train a.toml -o b", [FILES]),
        ("waifu2x mo", [FILES]),  # the folder "moon"
        ("waifu2x in.png mod", [FILES]),
        ("waifu2x -x mod", [FILES]),
        ("waifu2x models --j", ["--json"]),
        ("waifu2x do", [FILES, "doctor"]),
        ("waifu2x doctor --j", ["--json"]),
        ("waifu2x info ", MODELS),
        ("waifu2x info ./o", [FILES]),
        ("waifu2x -m ./o", [FILES]),
        ("waifu2x export --st", ["--static"]),
        ("waifu2x export -n ", ["none", "conservative", "0", "1", "2", "3"]),
        ("waifu2x export o", [FILES]),
        ("waifu2x conv", [FILES, "convert"]),
        ("waifu2x convert --o", ["--opset", "--overwrite"]),
        ("waifu2x convert a.pth o", [FILES]),
    ],
)
def test_completion(folder: Path, line: str, offered: list[str]) -> None:
    assert completed(folder, line) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_command_prints_the_script_of_each_shell(folder: Path, shell: str) -> None:
    printed = waifu2x("completion", shell, cwd=folder)
    requested = waifu2x(cwd=folder, env={"_WAIFU2X_COMPLETE": f"{shell}_source"})
    assert (printed.returncode, printed.stderr) == (requested.returncode, requested.stderr)
    assert printed.returncode == 0
    assert printed.stdout.rstrip() == requested.stdout.rstrip()
    assert "_waifu2x_completion" in printed.stdout


@pytest.mark.parametrize("line", ["waifu2x --s", *(f"waifu2x {name} --" for name in main.commands)])
def test_a_completion_loads_no_library_but_numpy_and_pillow(folder: Path, line: str) -> None:
    env = {
        "_WAIFU2X_COMPLETE": "zsh_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
    }
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "waifu2x"],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
    )
    assert "plain\n--" in done.stdout
    modules = {row.rpartition("|")[2].strip() for row in done.stderr.splitlines()}
    assert "waifu2x.cli.root" in modules
    heavy = (
        *("torch", "onnx", "onnxruntime", "ncnn", "av", "imagecodecs", "tifffile", "rich"),
        *("psutil", "distributed", "starlette", "uvicorn", "matplotlib", "watchfiles"),
    )
    assert not modules.intersection(heavy)
