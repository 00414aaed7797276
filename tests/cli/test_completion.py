"""Completion through the protocol that the shells use: one process for each Tab."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers import families
from helpers.command import WAIFU2X, waifu2x

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


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_with_the_line_of_the_readme(folder: Path) -> None:
    script = """
        eval "$(_WAIFU2X_COMPLETE=bash_source waifu2x)"
        complete -p waifu2x
        COMP_WORDS=(waifu2x in.png --sc); COMP_CWORD=2
        _waifu2x_completion waifu2x
        echo "${COMPREPLY[@]}"
    """
    result = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": os.pathsep.join([str(WAIFU2X.parent), os.environ["PATH"]])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    declared, offered = result.stdout.splitlines()
    assert "_waifu2x_completion" in declared
    assert offered == "--scale"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script(folder: Path, shell: str) -> None:
    result = waifu2x(cwd=folder, env={"_WAIFU2X_COMPLETE": f"{shell}_source"})
    assert (result.returncode, result.stderr) == (0, "")
    assert "waifu2x" in result.stdout
