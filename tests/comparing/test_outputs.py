"""What ``waifu2x compare`` and ``waifu2x rate`` read as originals, and never replace."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from helpers import art
from helpers.command import waifu2x
from helpers.votes import VOTE
from PIL import Image

METHODS = ("-m", "bicubic", "-m", "upconv_7")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A picture in the folder small, its original in big, and votes on the picture."""
    original = art.anime_face(64, 48)
    for name in ("small", "big"):
        (tmp_path / name).mkdir()
    original.save(tmp_path / "big" / "1.png")
    original.resize((32, 24), Image.Resampling.BOX).save(tmp_path / "small" / "1.png")
    (tmp_path / "votes.jsonl").write_text(f"{json.dumps(VOTE)}\n")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(folder: Path, *words: str) -> str:
    """Run a command that must change nothing, and return its one line."""
    before = contents(folder)
    done = waifu2x(*words, cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert contents(folder) == before
    (line,) = done.stderr.splitlines()
    return line.removeprefix("Error: ")


@pytest.mark.parametrize(
    ("target", "source"),
    [
        ("small/1.png", "small/1.png"),
        ("big/../small/1.png", "small/1.png"),
        ("big/1.png", "big/1.png"),
        ("link.png", "small/1.png"),
        ("hard.png", "big/1.png"),
    ],
)
@pytest.mark.parametrize("given", ["small/1.png", "small"])
def test_a_sheet_replaces_no_picture(folder: Path, target: str, source: str, given: str) -> None:
    (folder / "link.png").symlink_to("small/1.png")
    os.link(folder / "big" / "1.png", folder / "hard.png")
    words = ("compare", given, *METHODS, "--truth", "big", "-o", target, "--overwrite")
    assert refused(folder, *words) == (
        f"{target} is an input ({source}), which is never replaced; choose another name"
    )


@pytest.mark.parametrize("target", ["small/1.png", "link.png", "votes.png"])
def test_a_plot_replaces_neither_pictures_nor_votes(folder: Path, target: str) -> None:
    (folder / "link.png").symlink_to("small/1.png")
    (folder / "votes.jsonl").rename(folder / "votes.png")
    line = refused(
        folder, "rate", "small", "--votes", "votes.png", "--report", "--plot", target
    )  # fmt: skip
    if target == "small/1.png":
        assert line == (
            "plot small/1.png would lie among the pictures of small, which are shown for votes; "
            "choose another folder"
        )
    else:
        source = {"link.png": "small/1.png"}.get(target, target)
        assert line == (
            f"{target} is an input ({source}), which is never replaced; choose another name"
        )


def test_votes_replace_no_picture(folder: Path) -> None:
    words = ("rate", "small", *METHODS, "--port", "0", "--votes", "small/1.png")
    assert refused(folder, *words).endswith("; choose another file")


def test_originals_are_pictures_only(folder: Path) -> None:
    (folder / "big" / "1.txt").write_text("notes")
    (folder / "big" / "1.zip").mkdir()
    done = waifu2x("compare", "small", *METHODS, "--truth", "big", "-o", "a.png", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 3
    art.anime_face(64, 48).save(folder / "big" / "1.webp", lossless=True)
    words = ("compare", "small", *METHODS, "--truth", "big", "-o", "b.png")
    assert refused(folder, *words) == (
        "folder big holds 2 originals of small/1.png, 1.png and 1.webp; leave one there"
    )
    (folder / "big" / "1.png").unlink()
    (folder / "big" / "1.webp").unlink()
    assert refused(folder, *words) == "folder big holds no original of small/1.png"


def test_an_original_that_is_not_larger_needs_a_scale(folder: Path) -> None:
    words = ("compare", "small/1.png", *METHODS, "-o", "a.png", "--truth")
    assert refused(folder, *words, "small/1.png") == (
        "original small/1.png is 32x24 px, not larger than small/1.png of 32x24 px; give a larger "
        "original, or --scale 1"
    )
