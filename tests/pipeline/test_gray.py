"""Gray pictures that are stored as RGB."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers import art
from helpers.command import waifu2x as run
from PIL import Image, ImageDraw

from waifu2x import Upscaler, upscale_file
from waifu2x.codec import decode
from waifu2x.picture import Picture, Source
from waifu2x.pipeline.gray import GrayTest, to_gray, to_rgb

Bytes = npt.NDArray[np.uint8]
JPEG = Source("JPEG", True, 90)


def page(width: int = 48, height: int = 40) -> Bytes:
    return np.asarray(art.manga_page(width, height).convert("L"))


def in_rgb(gray: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.repeat(gray[:, :, None], 3, axis=2)


def equal_channels(color: npt.NDArray[Any]) -> bool:
    return bool((color == color[:, :, :1]).all())


def is_gray(picture: Picture) -> bool:
    test = GrayTest(picture.source)
    test.add(picture)
    return test.result()


def encoded(array: Bytes, format: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, format, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler("upconv_7")


# --- equal channels -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("options", [{}, {"scale": 1.5}, {"scale": 1, "noise": 1}, {"scale": 4}])
def test_equal_channels_give_what_gray_gives(
    upscaler: Upscaler, dtype: str, options: dict[str, Any]
) -> None:
    gray = page()
    samples: npt.NDArray[Any] = {
        "uint8": gray,
        "uint16": gray.astype(np.uint16) * np.uint16(257) + np.uint16(1),
        "float32": gray.astype(np.float32) / np.float32(300),
    }[dtype]
    result = upscaler.upscale(in_rgb(samples), **options)
    assert result.dtype == dtype
    assert result.flags.writeable
    assert np.array_equal(result, in_rgb(upscaler.upscale(samples, **options)))


@pytest.mark.parametrize(
    "settings",
    [
        {"tta": True},
        {"tile": 16},
        {"engine": "onnx"},
        {"engine": "onnx", "tile": 24, "tta": True},
        {"model": "cunet"},
    ],
)
def test_every_engine_and_tiling(settings: dict[str, Any]) -> None:
    with_settings = Upscaler(**{"model": "upconv_7", **settings})
    result = with_settings.upscale(in_rgb(page()))
    assert np.array_equal(result, in_rgb(with_settings.upscale(page())))


@pytest.mark.parametrize("options", [{"strength": 0.5}, {"color_fix": True}, {"scale": 0.5}])
def test_every_way_to_finish(upscaler: Upscaler, options: dict[str, Any]) -> None:
    result = upscaler.upscale(in_rgb(page()), **options)
    assert np.array_equal(result, in_rgb(upscaler.upscale(page(), **options)))


def test_alpha_is_kept_and_hidden_colors_do_not_count(upscaler: Upscaler) -> None:
    alpha = np.full((40, 48), 255, np.uint8)
    alpha[:, :20] = 0
    color = in_rgb(page())
    color[:, :10] = (200, 30, 40)
    result = upscaler.upscale(np.dstack([color, alpha]))
    assert equal_channels(result[:, :, :3])
    expected = upscaler.upscale(np.dstack([to_gray(color), alpha]))
    visible = expected[:, :, 1] > 0
    assert np.array_equal(result[visible][:, [0, 3]], expected[visible])
    color[5, 30] = (200, 30, 40)  # a visible pixel
    assert not equal_channels(upscaler.upscale(np.dstack([color, alpha]))[:, :, :3])
    flat = np.dstack([color, np.zeros_like(alpha)])
    assert not equal_channels(upscaler.upscale(flat)[:, :, :3])


def test_one_level_in_one_pixel_is_color() -> None:
    color = in_rgb(page(300, 500))
    assert is_gray(Picture(color))
    for place in ((0, 0, 0), (250, 150, 1), (499, 299, 2)):
        changed = color.copy()
        changed[place] ^= 1
        assert not is_gray(Picture(changed))
    # The first channel of the next pixel differs anyway.
    assert not is_gray(Picture(np.array([[[1, 1, 2], [2, 2, 2]]], np.uint8)))


def test_a_picture_that_no_network_changes_is_left_alone(upscaler: Upscaler) -> None:
    data = encoded(noisy(page(), 1), quality=95, subsampling=0)
    same = np.asarray(upscaler.upscale(data, scale=1, noise=None))
    assert np.array_equal(same, decode(io.BytesIO(data)).color)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp", ".bmp"])
def test_files_keep_their_layout(upscaler: Upscaler, tmp_path: Path, suffix: str) -> None:
    Image.fromarray(in_rgb(page())).save(tmp_path / "in.png")
    Image.fromarray(page()).save(tmp_path / "gray.png")
    target = tmp_path / f"out{suffix}"
    upscale_file(tmp_path / "in.png", target, upscaler=upscaler)
    upscale_file(tmp_path / "gray.png", tmp_path / "gray.tif", upscaler=upscaler)
    with Image.open(target) as image, Image.open(tmp_path / "gray.tif") as gray:
        assert image.mode == "RGB"
        made = np.asarray(image)
        assert equal_channels(made)
        if suffix != ".jpg":
            assert np.array_equal(made[:, :, 0], np.asarray(gray))


def test_16_bits_in_a_file(upscaler: Upscaler, tmp_path: Path) -> None:
    Image.fromarray(page()).save(tmp_path / "in.png")
    upscale_file(tmp_path / "in.png", tmp_path / "deep.png", upscaler=upscaler, depth=16)
    deep = decode(tmp_path / "deep.png").color[:, :, 0]
    made = upscaler.upscale(in_rgb(deep))
    assert made.dtype == np.uint16
    assert equal_channels(made)


def test_pages_of_a_comic_are_tested_one_by_one(upscaler: Upscaler, tmp_path: Path) -> None:
    pages = {"1.png": in_rgb(page()), "2.png": np.asarray(art.anime_face(24, 20))}
    with zipfile.ZipFile(tmp_path / "in.cbz", "w") as file:
        for name, array in pages.items():
            file.writestr(name, encoded(array, "PNG"))
    result = upscale_file(tmp_path / "in.cbz", upscaler=upscaler)
    assert result.target is not None
    with zipfile.ZipFile(result.target) as file:
        made = [np.asarray(Image.open(io.BytesIO(file.read(name)))) for name in pages]
    assert [equal_channels(array) for array in made] == [True, False]
    assert [array.shape[2] for array in made] == [3, 3]


@pytest.mark.parametrize("format", ["png", "webp", "gif"])
@pytest.mark.parametrize("colored", [False, True])
def test_an_animation_is_tested_as_a_whole(
    upscaler: Upscaler, tmp_path: Path, format: str, colored: bool
) -> None:
    frames = [in_rgb(np.roll(page(), 3 * shift, axis=1)) for shift in range(3)]
    if colored:
        frames[2][10:14, 10:14] = (255, 0, 0)
    images = [Image.fromarray(frame) for frame in frames]
    options = {"lossless": True} if format == "webp" else {}
    source, target = tmp_path / f"in.{format}", tmp_path / f"out.{format}"
    images[0].save(source, save_all=True, append_images=images[1:], duration=80, **options)
    upscale_file(source, target, upscaler=upscaler)
    with Image.open(target) as image:
        made = []
        for index in range(3):
            image.seek(index)
            made.append(np.asarray(image.convert("RGB")))
    if colored:
        first = upscaler.upscale(decode(io.BytesIO(encoded(frames[0], "PNG"))).color)
        assert not equal_channels(made[2])
        assert equal_channels(first)
        if format == "png":
            assert not equal_channels(made[0])  # not gray in a colored animation
    else:
        assert all(map(equal_channels, made))


# --- noise of lossy compression -----------------------------------------------------------------


def noisy(gray: Bytes, levels: int) -> Bytes:
    """A gray picture in RGB whose channels differ, as after a conversion of colors."""
    rng = np.random.default_rng(5)
    noise = rng.integers(-levels, levels + 1, (*gray.shape, 3))
    return np.clip(gray[:, :, None] + noise, 0, 255).astype(np.uint8)


def tinted(gray: Bytes, *white: int) -> Bytes:
    return np.rint(gray[:, :, None] * (np.array(white) / 255)).astype(np.uint8)


def stamped(gray: Bytes, strength: float, radius: int = 12) -> Bytes:
    image = Image.fromarray(in_rgb(gray))
    stamp = image.copy()
    box = (200 - radius, 200 - radius, 200 + radius, 200 + radius)
    ImageDraw.Draw(stamp).ellipse(box, outline=(200, 30, 40), width=3)
    return np.asarray(Image.blend(image, stamp, strength))


def lined(gray: Bytes, color: tuple[int, int, int]) -> Bytes:
    image = Image.fromarray(in_rgb(gray))
    ImageDraw.Draw(image).line([10, 150, 280, 158], fill=color)
    return np.asarray(image)


SETTINGS = [
    pytest.param(quality, subsampling, id=f"{quality}-{('444', '422', '420')[subsampling]}")
    for quality in (50, 75, 85, 95)
    for subsampling in (0, 2)
]


@pytest.mark.parametrize(("quality", "subsampling"), SETTINGS)
def test_chroma_noise_of_jpeg_is_gray(quality: int, subsampling: int) -> None:
    gray = page(320, 288)
    for color in (in_rgb(gray), noisy(gray, 1)):
        data = encoded(color, quality=quality, subsampling=subsampling)
        picture = decode(io.BytesIO(data))
        assert is_gray(picture)
        luma = to_gray(picture.color)
        with Image.open(io.BytesIO(data)) as image:
            image.draft("L", image.size)
            stored = np.asarray(image, np.int16)  # the luma of the file
        assert np.abs(luma[:, :, 0].astype(np.int16) - stored).max() <= 1


@pytest.mark.parametrize(("quality", "subsampling"), SETTINGS)
@pytest.mark.parametrize(
    "colored",
    [
        pytest.param(lambda gray: tinted(gray, 255, 240, 200), id="sepia"),
        pytest.param(lambda gray: tinted(gray, 252, 250, 244), id="paper"),
        pytest.param(lambda gray: tinted(gray, 255, 254, 250), id="white paper"),
        pytest.param(lambda gray: stamped(gray, 1), id="stamp"),
        pytest.param(lambda gray: stamped(gray, 1, 5), id="small stamp"),
        pytest.param(lambda gray: stamped(gray, 0.1), id="faint stamp"),
        pytest.param(lambda gray: lined(gray, (220, 60, 60)), id="red line"),
        pytest.param(lambda gray: lined(gray, (200, 225, 250)), id="pale line"),
    ],
)
def test_faint_colors_are_kept(
    quality: int, subsampling: int, colored: Callable[[Bytes], Bytes]
) -> None:
    data = encoded(colored(page(320, 288)), quality=quality, subsampling=subsampling)
    assert not is_gray(decode(io.BytesIO(data)))


def test_noise_is_allowed_in_files_only() -> None:
    color = noisy(page(), 1)
    assert is_gray(Picture(color, source=JPEG))
    assert is_gray(Picture(color.astype(np.uint16) * np.uint16(257), source=JPEG))
    assert is_gray(Picture(color, source=Source("AVIF", None)))
    assert is_gray(Picture(color, source=Source("PNG", False)))
    assert not is_gray(Picture(color, source=Source()))
    floats = color.astype(np.float32) / np.float32(255)
    assert not is_gray(Picture(floats, source=JPEG))


@pytest.mark.parametrize("saved_as", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize(("quality", "subsampling"), SETTINGS)
def test_noise_of_an_earlier_compression_is_gray(
    quality: int, subsampling: int, saved_as: str
) -> None:
    lossy = encoded(noisy(page(320, 288), 1), quality=quality, subsampling=subsampling)
    with Image.open(io.BytesIO(lossy)) as image:
        data = encoded(np.asarray(image), saved_as)
    assert is_gray(decode(io.BytesIO(data)))


@pytest.mark.parametrize("paper", [(255, 255, 254), (254, 255, 255), (255, 254, 255)])
def test_a_tint_of_one_level_is_kept_in_lossless_files(paper: tuple[int, int, int]) -> None:
    for color in (tinted(page(320, 288), *paper), np.full((64, 64, 3), paper, np.uint8)):
        assert not is_gray(decode(io.BytesIO(encoded(color, "PNG"))))


def test_the_result_of_a_noisy_page_is_gray(upscaler: Upscaler, tmp_path: Path) -> None:
    for name, data in {
        "in.jpg": encoded(noisy(page(), 1), quality=95, subsampling=0),
        "in.webp": encoded(in_rgb(page()), "WEBP", quality=80),
        "in.png": encoded(noisy(page(), 1), "PNG"),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert not equal_channels(decode(tmp_path / name).color)
        upscale_file(tmp_path / name, tmp_path / "out.png", upscaler=upscaler, overwrite=True)
        made = decode(tmp_path / "out.png").color
        assert made.shape[2] == 3
        assert equal_channels(made)


def test_verbose_says_what_was_decided(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="waifu2x"):
        is_gray(Picture(in_rgb(page())))
        is_gray(Picture(noisy(page(), 1), source=JPEG))
        is_gray(Picture(noisy(page(), 1), source=Source("PNG", False)))
        is_gray(Picture(noisy(page(), 9), source=JPEG))
        is_gray(Picture(page()[:, :, None]))
    assert caplog.messages == [
        "gray: all channels are equal",
        "gray: the channels differ by at most 2 of 255, the noise of JPEG",
        "gray: the channels differ by at most 2 of 255, the noise of an earlier compression",
    ]
    Image.fromarray(in_rgb(page())).save(tmp_path / "in.png")
    made = run("in.png", "out.png", "-m", "upconv_7", "--verbose", cwd=tmp_path)
    assert "gray: all channels are equal\n" in made.stderr
    quiet = run("in.png", "quiet.png", "-m", "upconv_7", cwd=tmp_path)
    assert "gray" not in quiet.stderr + quiet.stdout


def test_rows_arrive_in_rgb(upscaler: Upscaler) -> None:
    rows: list[npt.NDArray[Any]] = []
    pipeline = upscaler.pipeline
    picture = Picture(in_rgb(page(64, 200)))
    request = pipeline.request(picture, scale=2)
    result = pipeline.run(picture, request, rows=lambda color, alpha: rows.append(color.copy()))
    made = np.concatenate(rows)
    assert made.shape == (400, 128, 3)
    assert equal_channels(made)
    assert np.array_equal(made, result.color)


def test_conversions() -> None:
    rgb = to_rgb(page()[:, :, None])
    assert np.array_equal(rgb, in_rgb(page()))
    assert np.array_equal(to_gray(rgb)[:, :, 0], page())
    assert to_gray(np.array([[[3, 4, 9]]], np.uint8)).tolist() == [[[4]]]  # 4.271
