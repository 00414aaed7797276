"""Checks README and docs: commands and code run, links have targets."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers import art
from PIL import Image

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks/README.md"])
BIN = Path(sys.executable).parent


def commands(page: Path) -> list[str]:
    """Return the indented lines that call waifu2x, without their comments."""
    lines = re.findall(r"^    (waifu2x .+)$", page.read_text("utf-8"), re.MULTILINE)
    return [line.split("  #")[0].strip() for line in lines]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    art.anime_face(40, 36).save(tmp_path / "in.png")
    art.anime_face(40, 36).save(tmp_path / "in.jpg", quality=75)
    frames = [art.anime_face(24, 20).rotate(turn) for turn in (0, 20)]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=80)
    with zipfile.ZipFile(tmp_path / "in.cbz", "w") as archive:
        archive.write(tmp_path / "in.jpg", "001.jpg")
    (tmp_path / "pictures" / "more").mkdir(parents=True)
    for path in ("1.jpg", "2.png", "more/1.png"):
        art.anime_face(20, 16).save(tmp_path / "pictures" / path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("README.md", 13),
        ("docs/batch.md", 2),
        ("docs/onnx.md", 3),
        ("docs/formats.md", 0),
        ("docs/animations.md", 1),
        ("docs/archives.md", 1),
        ("docs/gpu.md", 5),
    ],
)
def test_commands_run(name: str, least: int, folder: Path) -> None:
    found = commands(ROOT / name)
    assert len(found) >= least
    for command in found:
        for made in (*folder.glob("out.*"), *folder.glob("*.onnx")):
            made.unlink()  # the page's examples reuse names
        program, *args = shlex.split(command)
        if "720x1280" in args:
            args[args.index("720x1280")] = "64x96"  # the same option with a smaller size
        result = subprocess.run(
            [BIN / program, *args], cwd=folder, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, (command, result.stderr)


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.+?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_readme_code_runs(folder: Path) -> None:
    (code,) = python_blocks(ROOT / "README.md")
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    (comment,) = re.findall(r"print\(error\)  # (.+)", code)
    assert result.stdout.strip() == comment
    assert Image.open(folder / "big.png").size == (80, 72)


@pytest.mark.parametrize("name", ["docs/batch.md", "docs/cluster.md"])
def test_code_for_many_files_runs(name: str, folder: Path) -> None:
    (code,) = python_blocks(ROOT / name)
    (folder / "code.py").write_text(code)  # workers import it
    result = subprocess.run(
        [sys.executable, "code.py"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert sorted(result.stdout.splitlines()) == [
        "done pictures/1.jpg big/1.png",
        "done pictures/2.png big/2.png",
        "done pictures/more/1.png big/more/1.png",
    ]


def test_onnx_consumer_is_ten_lines_and_agrees(folder: Path) -> None:
    (code,) = python_blocks(ROOT / "docs/onnx.md")
    statements = [line for line in code.splitlines() if line]
    assert len(statements) <= 11  # ten, plus the second import
    art.anime_face(41, 35).save(folder / "in.png")
    for args in (
        ["export", "-m", "cunet", "-n", "1", "cunet.onnx"],
        ["in.png", "ours.png", "-n", "1"],
    ):
        subprocess.run([BIN / "waifu2x", *args], cwd=folder, check=True, capture_output=True)
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    theirs, ours = (Image.open(folder / name) for name in ("out.png", "ours.png"))
    assert theirs.size == ours.size
    pairs = zip(theirs.tobytes(), ours.tobytes(), strict=True)
    assert max(abs(a - b) for a, b in pairs) <= 1


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))
    for target in targets:
        assert (page.parent / target).exists(), target


def test_readme_opens_with_the_picture_and_two_commands() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    block = re.search(r"(?:^    .+\n)+", text, re.MULTILINE)
    assert block is not None
    assert 0 < text.index("before_after.png") < block.start()
    install, upscale = (line.strip() for line in block[0].splitlines())
    assert install == "pip install ."
    assert upscale.startswith("waifu2x in.png ")
    with Image.open(ROOT / "docs/images/before_after.png") as image:
        assert image.width > 400
