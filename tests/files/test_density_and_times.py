"""Density, access time and modification time of files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from helpers import art
from PIL import Image

import waifu2x


@pytest.fixture(scope="module")
def upscaler() -> waifu2x.Upscaler:
    return waifu2x.Upscaler("upconv_7")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_density_turns_with_the_picture(
    upscaler: waifu2x.Upscaler, tmp_path: Path, orientation: int, suffix: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    art.anime_face(24, 20).save(tmp_path / "in.jpg", dpi=(72, 144), exif=exif)
    target = tmp_path / f"out{suffix}"
    waifu2x.upscale_file(tmp_path / "in.jpg", target, upscaler=upscaler)
    sideways = orientation >= 5
    with Image.open(target) as made:
        assert made.size == ((40, 48) if sideways else (48, 40))
        density = tuple(round(float(value)) for value in made.info["dpi"])
    assert density == ((144, 72) if sideways else (72, 144))


@pytest.mark.parametrize("many", [False, True])
def test_both_times_are_kept(upscaler: waifu2x.Upscaler, tmp_path: Path, many: bool) -> None:
    art.anime_face(24, 20).save(tmp_path / "in.png")
    now = int(time.time())
    times = (now - 3600, now - 7200)
    os.utime(tmp_path / "in.png", times)
    out = tmp_path / "out"
    out.mkdir()
    if many:
        (result,) = waifu2x.upscale_many(
            [tmp_path / "in.png"], out, upscaler=upscaler, keep_times=True
        )
        assert result.error is None
    else:
        waifu2x.upscale_file(tmp_path / "in.png", out, upscaler=upscaler, keep_times=True)
    (made,) = out.iterdir()
    status = made.stat()
    assert (int(status.st_atime), int(status.st_mtime)) == times
