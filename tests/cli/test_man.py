"""The man page docs/waifu2x.1: current, complete, clean, and installed."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

from waifu2x.cli import main

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "waifu2x.1"

needs_groff = pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")


@pytest.fixture
def make_man() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_man", ROOT / "docs" / "make_man.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rendered() -> str:
    """The page as a terminal shows it, without line breaks and styles."""
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-P-c", "-P-b", "-P-u", str(PAGE)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    # groff breaks words at hyphens.
    return " ".join(re.sub(r"\N{HYPHEN}\n\s*", "", done.stdout).split())


def test_the_page_is_current(make_man: ModuleType) -> None:
    assert PAGE.read_text("utf-8") == make_man.page(), "run: python docs/make_man.py"


@needs_groff
def test_roff_is_clean() -> None:
    done = subprocess.run(["groff", "-man", "-ww", "-z", str(PAGE)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_man_shows_it() -> None:
    command = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(PAGE)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "MANROFFOPT": ""}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@needs_groff
def test_every_command_and_option_is_on_it() -> None:
    text = rendered()
    for name, command in {"": main, **main.commands}.items():
        assert f"waifu2x {name}".strip() in text
        for option in command.params:
            if isinstance(option, click.Option):
                assert ", ".join(sorted(option.opts, key=len)) in text
    for heading in ("NAME waifu2x - upscale and denoise anime pictures", "EXIT STATUS"):
        assert heading in text
    assert "'{stem}_{scale}x{ext}'" in text  # not the curly quotes of roff
    assert "written as ~" in text
    assert "\\" not in text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        (".gif", r"\&.gif"),
        ("'drafts/**'", r"\(aqdrafts/**\(aq"),
        ("a-b \\ ~ ^ `", r"a\-b \e \(ti \(ha \(ga"),
    ],
)
def test_what_roff_reads_otherwise_is_escaped(
    make_man: ModuleType, text: str, escaped: str
) -> None:
    assert make_man._text(text) == escaped


def test_it_is_installed(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "setup.py", "-q", "install_data", "-d", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "WAIFU2X_CUDA": "0"},
        check=True,
    )
    assert (tmp_path / "share/man/man1/waifu2x.1").read_bytes() == PAGE.read_bytes()
