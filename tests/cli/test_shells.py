"""Tab in bash, zsh and fish, each started for real."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.shells import fish, needs, shell

#: Completes a word, and inserts all of its completions.
TAB, ALL = "\t", "\x18a"

FILES = (
    "in.png", "my picture.png", "a:b.png", "ピクチャ.png", "übung 1.png", "it's.png", "x,y.png",
    "$z.png", "moon dust/p q.png",
)  # fmt: skip

#: The words before, the word at the cursor, and what bash, zsh and fish complete it to.
ONE: tuple[tuple[str, str, tuple[str, str, str]], ...] = (
    ("", "--stric", ("--strict",) * 3),
    ("in.png ", "--col", ("--color-fix",) * 3),
    ("info ", "--no-m", ("--no-measure",) * 3),
    ("", "docto", ("doctor",) * 3),
    ("-m ", "sw", ("swift",) * 3),
    ("-m ", "my", ("my\\ net", "my\\ net", "my net")),
    ("-e ", "vu", ("vulkan",) * 3),
    ("in.png ", "--engine=vu", ("--engine=vulkan",) * 3),
    (
        "in.png ",
        "--output=my",
        ("--output=my\\ picture.png", "--output=my\\ picture.png", "--output=my picture.png"),
    ),
    ("", "in", ("in.png",) * 3),
    ("", "my", ("my\\ picture.png", "my\\ picture.png", "my picture.png")),
    ("", "my\\ p", ("my\\ picture.png", "my\\ picture.png", "my picture.png")),
    ("", "'my p", ("'my picture.png'", "'my picture.png'", "my picture.png")),
    ("-i ", "my", ("my\\ picture.png", "my\\ picture.png", "my picture.png")),
    ("my\\ picture.png ", "--stric", ("--strict",) * 3),
    ("", "a", ("a\\:b.png", "a:b.png", "a:b.png")),
    ("", "a\\:", ("a\\:b.png", "a:b.png", "a:b.png")),
    ("", "ピ", ("ピクチャ.png",) * 3),
    ("in.png -o ", "üb", ("übung\\ 1.png", "übung\\ 1.png", "übung 1.png")),
    ("", "it", ("it\\'s.png", "it\\'s.png", "it's.png")),
    ("", "x", ("x,y.png",) * 3),
    ("", "moon\\ dust/p", ("moon\\ dust/p\\ q.png", "moon\\ dust/p\\ q.png", "moon dust/p q.png")),
    ("", "~/no", ("~/note.png",) * 3),
)

#: A line, and all completions of its last word.
MANY = {
    "-e ": "auto native onnx torch cuda vulkan",
    "-f ": "png jpeg webp avif tiff bmp jxl gif y4m",
    "-n ": "auto none conservative 0 1 2 3",
    "-m up": "upconv_7 upconv_7_photo",
    "export -n ": "none conservative 0 1 2 3",
    "co": "compare convert completion",
    "completion ": "bash zsh fish",
    "--str": "--strength --strip --strict",
}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of files, and a home with a folder of models."""
    for name in FILES:
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "home" / "models").mkdir(parents=True)
    for name in ("note.png", "models/my net.onnx"):
        (tmp_path / "home" / name).touch()
    return tmp_path / "files", tmp_path / "home"


@pytest.mark.parametrize(
    ("name", "index"),
    [
        pytest.param("bash", 0, marks=needs("bash")),
        pytest.param("zsh", 1, marks=needs("zsh")),
    ],
)
def test_tab(folders: tuple[Path, Path], name: str, index: int) -> None:
    files, home = folders
    with shell(name, files, home, WAIFU2X_MODELS=str(home / "models")) as terminal:
        for begin, word, completed in ONE:
            line = terminal.line(f"waifu2x {begin}{word}", TAB)
            assert line == f"waifu2x {begin}{completed[index]} "
        for line, words in MANY.items():
            begin = line[: line.rfind(" ") + 1]
            assert terminal.line(f"waifu2x {line}", ALL) == f"waifu2x {begin}{words} "


@needs("fish")
def test_tab_in_fish(folders: tuple[Path, Path]) -> None:
    files, home = folders
    lines = [f"waifu2x {begin}{word}" for begin, word, _ in ONE]
    lines += [f"waifu2x {line}" for line in MANY]
    offered = fish(lines, files, home, WAIFU2X_MODELS=str(home / "models"))
    expected = [[completed[2]] for _, _, completed in ONE]
    expected += [sorted(words.split()) for words in MANY.values()]
    found = dict(zip(lines, offered, strict=True))
    # After a colon, fish offers every file, as in PATH=a:b.
    assert "a:b.png" in found["waifu2x a\\:"]
    found["waifu2x a\\:"] = ["a:b.png"]
    assert found == dict(zip(lines, expected, strict=True))
