"""Errors of the first hour: each names the value, what is allowed, and what to do here.

The texts of wrong values on the command line are in ``tests/cli/test_usage.py``.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import art
from helpers import command as helpers_command
from PIL import Image

import waifu2x
from waifu2x.errors import (
    ArgumentError,
    DecodeError,
    EncodeError,
    EngineError,
    LimitError,
    Waifu2xError,
)
from waifu2x.kernels import isas


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with in.png, in.gif (3 frames) and in.cbz, which becomes the current one."""
    monkeypatch.chdir(tmp_path)
    face = art.anime_face(16, 12)
    face.save("in.png")
    frames = [Image.new("RGB", (16, 12), color) for color in ("red", "green", "blue")]
    frames[0].save("in.gif", save_all=True, append_images=frames[1:])
    with zipfile.ZipFile("in.cbz", "w") as archive:
        page = io.BytesIO()
        face.save(page, "PNG")
        archive.writestr("1.png", page.getvalue())
    return tmp_path


def command(*words: str, **environment: str) -> tuple[int, str]:
    """Run the command; its exit code and what it printed on standard error."""
    done = helpers_command.waifu2x(*words, cwd=Path(), env=environment)
    return done.returncode, done.stderr


def text_of(kind: type[Waifu2xError], *words: object, **options: object) -> str:
    with pytest.raises(Waifu2xError) as caught:
        waifu2x.upscale_file(*words, **options)  # type: ignore[arg-type]
    assert type(caught.value) is kind
    return str(caught.value)


def test_a_function_for_pictures_names_the_one_for_files(folder: Path) -> None:
    with pytest.raises(DecodeError) as caught:
        waifu2x.upscale("in.gif")
    assert str(caught.value) == (
        "in.gif is an animation of 3 frames, not one picture; "
        "upscale it with `waifu2x.upscale_file`"
    )
    with pytest.raises(DecodeError) as caught:
        waifu2x.upscale("in.cbz")
    assert str(caught.value) == (
        "in.cbz is a ZIP file, not one picture; upscale a comic with `waifu2x.upscale_file`"
    )


def test_gif_for_a_still(folder: Path) -> None:
    expected = "GIF is written for animations only; in.png is one picture; write it as PNG"
    assert text_of(EncodeError, "in.png", "o.gif") == expected
    assert text_of(EncodeError, "in.png", format="gif") == expected
    assert command("in.png", "o.gif") == (1, f"Error: {expected}\n")


def test_an_animation_in_a_format_for_stills(folder: Path) -> None:
    expected = (
        "JPEG holds one picture, and in.gif is an animation; write it as gif, png, webp or avif"
    )
    assert text_of(EncodeError, "in.gif", "o.jpg") == expected
    assert command("in.gif", "o.jpg") == (1, f"Error: {expected}\n")


def test_one_error_in_the_words_of_two_places(folder: Path) -> None:
    source = Path("in.png").read_bytes()
    Path("o.png").write_bytes(b"old")
    python = text_of(waifu2x.OutputExistsError, "in.png", "o.png")
    code, shell = command("in.png", "o.png")
    assert "`overwrite=True`" in python
    assert "--" not in python
    assert code == 1
    assert "--overwrite" in shell
    assert "=" not in shell
    assert "`" not in shell
    assert Path("in.png").read_bytes() == source


def test_a_limit_names_what_raises_it(folder: Path) -> None:
    text = "in.png is 16x12, 192 pixels, and the limit is 100; raise the limit with "
    assert text_of(LimitError, "in.png", "o.png", max_pixels=100) == f"{text}`max_pixels=`"
    code, said = command("in.png", "o.png", WAIFU2X_MAX_PIXELS="100")
    assert (code, said) == (1, f"Error: {text}WAIFU2X_MAX_PIXELS\n")


def test_a_scale_beyond_any_picture_is_no_wrong_argument(folder: Path) -> None:
    assert text_of(LimitError, "in.png", "o.png", scale=1e30) == (
        "16x12 px at a scale of 1e+30 are more than 2^31 px a side; choose a smaller `scale=`"
    )
    code, said = command("in.png", "o.png", "-s", "1e30")
    assert (code, said) == (
        1,
        "Error: in.png: 16x12 px at a scale of 1e+30 are more than 2^31 px a side; "
        "choose a smaller --scale\n",
    )


@pytest.mark.parametrize("engine", ["native", "onnx", "torch"])
def test_too_many_threads(folder: Path, engine: str) -> None:
    text = text_of(EngineError, "in.png", "o.png", threads=10**9, engine=engine)
    start, _, end = text.partition(" at most ")
    assert start == "threads is 1000000000, and this system starts"
    assert end.endswith("; give fewer with `threads=`")
    code, said = command("in.png", "o.png", "-e", engine, "--threads", "1000000000")
    assert (code, said) == (1, f"Error: {text.replace('`threads=`', '--threads')}\n")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such limits")
def test_linux_has_a_limit_of_threads() -> None:
    from waifu2x import _machine

    most = _machine.thread_limit()
    assert most is not None
    assert most > _machine.processors()


def test_a_level_of_the_processor_that_does_not_exist(folder: Path) -> None:
    usable = subprocess.run(
        [sys.executable, "-c", "from waifu2x.kernels import isas; print(', '.join(isas()))"],
        env={**os.environ, "WAIFU2X_CPU": ""},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    text = f"WAIFU2X_CPU is 'foo'; on this CPU it may be {usable}, or unset for the fastest"
    for engine in ("native", "onnx", "torch"):
        expected = (2, f"Error: {text}\n")
        assert command("in.png", "o.png", "-e", engine, WAIFU2X_CPU="foo") == expected
    assert not Path("o.png").exists()
    assert usable.startswith(", ".join(isas()))


@pytest.mark.parametrize("value", ["foo", "0", "-5", "1e6", "10 MP"])
def test_a_limit_that_is_no_number(folder: Path, value: str) -> None:
    text = (
        f"WAIFU2X_MAX_PIXELS is {value!r}; it must be a number of pixels, 1 or more, "
        "such as 178956970"
    )
    assert command("in.png", "o.png", WAIFU2X_MAX_PIXELS=value) == (2, f"Error: {text}\n")


def test_a_variable_is_checked_before_files_are_opened(folder: Path) -> None:
    for name in ("WAIFU2X_MAX_PIXELS", "WAIFU2X_CPU"):
        code, said = command("gone.png", "o.png", **{name: "foo"})
        assert code == 2
        assert said.startswith(f"Error: {name} is 'foo'; ")


def test_quality_and_depth_say_what_has_them(folder: Path) -> None:
    assert text_of(ArgumentError, "in.png", "o.png", quality=90) == (
        "quality is 90, and PNG is lossless and has none; leave out `quality=`, "
        "or write JPEG, WebP, AVIF or JPEG XL"
    )
    assert text_of(ArgumentError, "in.png", "o.jpg", depth=16) == (
        "depth is 16, and JPEG holds 8 bits per sample; write PNG or TIFF"
    )
    assert text_of(EncodeError, "in.gif", "o.png", depth=16) == (
        "depth is 16, and in.gif is an animation, which is written with 8 bits; leave out `depth=`"
    )


def test_a_format_that_a_page_cannot_hold_is_a_fact_of_the_archive(folder: Path) -> None:
    with zipfile.ZipFile("in.cbz", "w") as archive:
        page = io.BytesIO()
        art.anime_face(16, 12).save(page, "JPEG")
        archive.writestr("1.jpg", page.getvalue())
    assert text_of(EncodeError, "in.cbz", "o.cbz", depth=16) == (
        "in.cbz: page 1.jpg: depth is 16, and JPEG holds 8 bits per sample; write PNG or TIFF"
    )


def test_half_precision_that_overflows_names_the_argument() -> None:
    from waifu2x.kernels import blend

    output = np.full((3, 2, 2), np.nan, np.float32)
    picture = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(EngineError) as caught:
        blend(output, picture, src_x=0, src_y=0, dst_x=0, dst_y=0, width=2, height=2)
    assert str(caught.value) == (
        "the network returned values that are not finite (12 of 12 samples in the tile at (0, 0)); "
        "half precision can overflow, so choose `precision='fp32'`; if that fails too, the weights "
        "are damaged, so install or download them again"
    )
