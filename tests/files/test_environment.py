"""What a single file shares with a folder: abandoned temporary files, and long names."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from helpers import art
from helpers.command import WAIFU2X
from helpers.command import waifu2x as run

from waifu2x import Upscaler, upscale_file, upscale_many
from waifu2x.atomic import temporary_in
from waifu2x.files.naming import MAX_NAME_BYTES, name_size, result_path

ABANDONED = ".waifu2x-0123456789abcdef.tmp"


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler("upconv_7")


def picture() -> bytes:
    file = io.BytesIO()
    art.anime_face(12, 10).save(file, "PNG")
    return file.getvalue()


# --- temporary files ----------------------------------------------------------------------------


def test_a_single_file_removes_what_a_killed_run_left(upscaler: Upscaler, tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(picture())
    (tmp_path / ABANDONED).write_bytes(b"half")
    with temporary_in(tmp_path) as living:  # of a run that goes on
        upscale_file(tmp_path / "in.png", tmp_path / "out.png", upscaler=upscaler)
        assert living.path.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png"]


@pytest.mark.parametrize("arguments", [("in.png", "out.png"), ("in.png",), ("-", "out.png")])
def test_the_command_removes_what_a_killed_run_left(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "in.png").write_bytes(picture())
    (tmp_path / ABANDONED).write_bytes(b"half")
    with (tmp_path / "in.png").open("rb") as file:
        command = [WAIFU2X, *arguments, "-m", "upconv_7"]
        assert subprocess.run(command, cwd=tmp_path, stdin=file, check=False).returncode == 0
    assert not (tmp_path / ABANDONED).exists()


def test_an_export_removes_what_a_killed_run_left(tmp_path: Path) -> None:
    (tmp_path / ABANDONED).write_bytes(b"half")
    assert run("export", "-m", "upconv_7", "a.onnx", cwd=tmp_path).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


# --- long names ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stem", ["x" * 248, "\u3042" * 82 + "ab", "y" * 251, "\U0001f600" * 62])
def test_a_long_name_works_alone_as_in_a_folder(
    upscaler: Upscaler, tmp_path: Path, stem: str
) -> None:
    source = tmp_path / "in" / f"{stem}.png"
    source.parent.mkdir()
    assert len(source.name.encode()) >= 252
    source.write_bytes(picture())
    alone = upscale_file(source, upscaler=upscaler)
    (together,) = upscale_many(source, tmp_path / "in", upscaler=upscaler, resume=True)
    assert alone.target == together.target
    assert together.status == "skipped"
    assert alone.target is not None
    assert len(alone.target.name.encode()) <= MAX_NAME_BYTES
    elsewhere = upscale_file(source, tmp_path, upscaler=upscaler, format="webp")
    (many,) = upscale_many(source, tmp_path, upscaler=upscaler, format="webp", resume=True)
    assert elsewhere.target == many.target
    named = upscale_file(source, tmp_path / f"{stem[:-1]}.png", upscaler=upscaler)
    assert named.target == tmp_path / f"{stem[:-1]}.png"


def test_names_that_fit_are_not_changed() -> None:
    for length in (1, 100, 243):
        assert result_path(Path("a") / ("x" * length + ".jpg"), None, ".png") == Path("a") / (
            "x" * length + "_waifu2x.png"
        )
    longer = result_path(Path("a") / ("x" * 244 + ".jpg"), None, ".png")
    assert longer.name.startswith("x" * 200)
    assert longer.name.endswith("_waifu2x.png")
    assert name_size(longer.name) == MAX_NAME_BYTES
    assert name_size("\udcff\u3042") == 4
