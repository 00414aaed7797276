"""The public API: accepted inputs and types of results."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import art, families
from helpers.pictures import write_picture
from PIL import Image

import waifu2x
from waifu2x.picture import Picture


@pytest.fixture(scope="module")
def upscaler() -> waifu2x.Upscaler:
    return waifu2x.Upscaler("upconv_7")


def test_array_gives_an_array(upscaler: waifu2x.Upscaler) -> None:
    array = np.asarray(art.anime_face(12, 10))
    before = array.copy()
    result = upscaler.upscale(array)
    assert isinstance(result, np.ndarray)
    assert (result.shape, result.dtype) == ((20, 24, 3), np.uint8)
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("shape", [(10, 12), (10, 12, 1), (10, 12, 2), (10, 12, 3), (10, 12, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_array_kinds_are_kept(
    upscaler: waifu2x.Upscaler, shape: tuple[int, ...], dtype: type
) -> None:
    rng = np.random.default_rng(1)
    top = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    array = (rng.random(shape) * top).astype(dtype)
    result = upscaler.upscale(array, 1.5)
    assert result.dtype == dtype
    assert result.shape == (15, 18, *shape[2:])


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "I;16"])
def test_image_gives_an_image(upscaler: waifu2x.Upscaler, mode: str) -> None:
    if mode == "I;16":
        image = art.gradient(10, 8, "I;16")
    else:
        image = art.sprite(10).resize((10, 8)).convert(mode)
    result = upscaler.upscale(image)
    expected = {"1": "L"}.get(mode, mode)
    if mode == "P":  # converted from RGBA, so its palette has alpha
        expected = "RGBA"
    assert isinstance(result, Image.Image)
    assert (result.mode, result.size) == (expected, (20, 16))


def test_path_gives_an_image(upscaler: waifu2x.Upscaler, tmp_path: Path) -> None:
    path = tmp_path / "名前.png"
    art.anime_face(12, 10).save(path)
    for given in (path, str(path)):
        assert upscaler.upscale(given).size == (24, 20)


def test_module_function_equals_the_class(upscaler: waifu2x.Upscaler) -> None:
    array = np.asarray(art.anime_face(12, 10))
    result = waifu2x.upscale(array, 2, noise=1, model="upconv_7", tile=5)
    np.testing.assert_array_equal(result, upscaler.upscale(array, 2, noise=1))


def test_auto_noise_reads_the_jpeg(upscaler: waifu2x.Upscaler, tmp_path: Path) -> None:
    face = art.anime_face(24, 20)
    jpeg = tmp_path / "a.jpg"
    face.save(jpeg, quality=75)
    auto = upscaler.upscale(jpeg, noise="auto")
    assert auto == upscaler.upscale(jpeg, noise=1)
    assert auto != upscaler.upscale(jpeg, noise=None)
    png = tmp_path / "a.png"
    face.save(png)
    assert upscaler.upscale(png, noise="auto") == upscaler.upscale(png)


def test_auto_noise_reads_an_open_jpeg_image(upscaler: waifu2x.Upscaler) -> None:
    buffer = io.BytesIO()
    art.anime_face(24, 20).save(buffer, "JPEG", quality=75)
    image = Image.open(buffer)
    assert upscaler.upscale(image, noise="auto") == upscaler.upscale(image, noise=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda u, a: u.upscale(a, noise="strong"), "noise is 'strong'; allowed are"),
        (lambda u, a: u.upscale(a, noise=True), "noise is True"),
        (lambda u, a: u.upscale(a, 2, width=5), "give `scale=`, or `width=`"),
        (lambda u, a: u.upscale(a.astype(np.int64)), "int64"),
        (lambda u, a: u.upscale([[1, 2]]), "image is a list; allowed are"),
        (lambda u, a: waifu2x.Upscaler("waifu3x"), "model 'waifu3x' is unknown; allowed are cunet"),
        (lambda u, a: waifu2x.Upscaler(engine="ncnn"), "engine 'ncnn' is unknown"),
        (lambda u, a: waifu2x.Upscaler(threads=0), "threads is 0"),
        (lambda u, a: waifu2x.Upscaler(tile=-1), "tile is -1"),
    ],
)
def test_bad_arguments(upscaler: waifu2x.Upscaler, call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(waifu2x.ArgumentError, match=message):
        call(upscaler, np.zeros((4, 4, 3), np.uint8))


def test_errors_are_value_errors_too(upscaler: waifu2x.Upscaler) -> None:
    with pytest.raises(ValueError, match="scale is 0"):
        upscaler.upscale(np.zeros((4, 4, 3), np.uint8), 0)


def test_pixel_limit_of_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    art.anime_face(12, 10).save(path)
    with pytest.raises(waifu2x.LimitError, match="12x10"):
        waifu2x.upscale(path, model="upconv_7", max_pixels=100)
    monkeypatch.setenv("WAIFU2X_MAX_PIXELS", "100")
    with pytest.raises(waifu2x.LimitError, match="12x10"):
        waifu2x.upscale(path, model="upconv_7")


def test_models_are_listed() -> None:
    names = [model.name for model in waifu2x.models()]
    own = ["fine", "swift"]
    assert names == ["cunet", *own, "upconv_7", "upconv_7_photo", *families.OPTIONAL]
    assert waifu2x.models()[0].noise_levels(1) == (0, 1, 2, 3)


def test_upscaling_loads_no_other_runtime(tmp_path: Path) -> None:
    """The default engine must not import the runtime of another engine."""
    code = (
        "import sys, numpy, waifu2x\n"
        "waifu2x.upscale(numpy.zeros((4, 4, 3), numpy.uint8), model='upconv_7')\n"
        "assert not {'onnxruntime', 'onnx', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize("alpha", [False, True])
def test_a_file_with_sixteen_bit_color_gives_an_image_of_eight(tmp_path: Path, alpha: bool) -> None:
    """Pillow has no mode for 16-bit color."""
    color = np.linspace(0, 65535, 12 * 10 * 3).reshape(10, 12, 3).astype(np.uint16)
    picture = Picture(color, color[:, :, 0].copy() if alpha else None)
    write_picture(picture, tmp_path / "deep.png")
    image = waifu2x.upscale(tmp_path / "deep.png", model="upconv_7")
    assert (image.mode, image.size) == ("RGBA" if alpha else "RGB", (24, 20))
