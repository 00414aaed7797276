"""``waifu2x compare``: methods, the choice of crops, and the sheet."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import art
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from waifu2x import Upscaler
from waifu2x.codec import decode, from_array
from waifu2x.codec.color import DISPLAY_P3, SRGB, gray_profile, matrix_profile
from waifu2x.comparing.crops import Crop, differing_crops, spread
from waifu2x.comparing.drawing import heat_map, text_width
from waifu2x.comparing.methods import Method, as_seen, open_methods
from waifu2x.comparing.sheet import SheetOptions, make_sheet
from waifu2x.errors import ArgumentError, DecodeError
from waifu2x.picture import Metadata
from waifu2x.pipeline.evaluation import luma, psnr
from waifu2x.pipeline.options import PictureOptions, UpscalerOptions


def methods() -> tuple[Method, ...]:
    return open_methods(["upconv_7", "bicubic"])


# --- methods


@pytest.mark.parametrize("scale", [1, 1.5, 2, 3])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_methods_agree_on_the_size(scale: float, mode: str) -> None:
    picture = from_array(np.asarray(art.gradient(21, 17, mode)))
    sizes = {
        method.enlarge(picture, PictureOptions(scale=scale, noise=None)).shape
        for method in methods()
    }
    assert sizes == {(int(17 * scale + 0.5), int(21 * scale + 0.5), 3)}


def test_a_model_gives_the_result_of_the_command() -> None:
    pixels = np.asarray(art.anime_face(24, 20))
    (model, _) = methods()
    made = model.enlarge(from_array(pixels), PictureOptions(scale=2, noise=None))
    assert np.array_equal(made, Upscaler("upconv_7").upscale(pixels, 2, noise=None))


def test_all_models_run_as_given() -> None:
    run = UpscalerOptions(engine="native", tile=8, threads=1)
    one, bicubic, two = open_methods(["upconv_7", "bicubic", "cunet"], run)
    assert bicubic.upscaler is None
    for method in (one, two):
        assert method.upscaler is not None
        assert method.upscaler.options == replace(run, model=method.name)


def test_bicubic_is_that_of_pillow_within_its_rounding() -> None:
    """Without overshoot beyond the range, which Pillow clips between the two directions."""
    image = art.anime_face(24, 20).point(lambda level: 64 + level // 2)
    (_, bicubic) = methods()
    made = bicubic.enlarge(from_array(np.asarray(image)), PictureOptions(scale=2, noise=None))
    expected = np.asarray(image.resize((48, 40), Image.Resampling.BICUBIC))
    assert np.abs(made.astype(int) - expected).max() <= 1


def seen(image: Image.Image, icc: bytes) -> np.ndarray:
    """The image in sRGB, by Little CMS through Pillow."""
    profiles = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
    made = ImageCms.profileToProfile(
        image,
        *profiles,
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert made is not None
    return np.asarray(made)


@pytest.mark.parametrize("kind", ["RGB", "L", "cICP", "gAMA"])
def test_results_are_seen_through_the_profile(kind: str) -> None:
    """The samples of the file are enlarged, and the result is converted to sRGB."""
    image = art.anime_face(24, 20).convert("L" if kind == "L" else "RGB")
    icc = matrix_profile(DISPLAY_P3)
    if kind == "L":
        icc = gray_profile((0.3127, 0.3290), 1.8)
    if kind == "cICP":
        metadata = Metadata(cicp=(12, 13, 0, 1), icc=matrix_profile(SRGB))
    elif kind == "gAMA":
        icc, metadata = matrix_profile(SRGB, 1.8), Metadata(gamma=1 / 1.8)
    else:
        metadata = Metadata(icc=icc)
    plain = from_array(np.asarray(image))
    labeled = replace(plain, metadata=metadata)
    for method in methods():
        options = PictureOptions(scale=2, noise=None)
        samples = method.enlarge(plain, options)
        expected = seen(Image.fromarray(samples).convert(image.mode), icc)
        made = method.enlarge(labeled, options)
        assert np.abs(made.astype(int) - expected).max() <= 1
        assert np.abs(made.astype(int) - samples).max() > 8, "the profile changes colors"
    expected = seen(image, icc)
    assert np.abs(as_seen(labeled).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("icc", [matrix_profile(SRGB), b"broken" * 40])
def test_a_profile_of_srgb_or_a_broken_one_changes_nothing(icc: bytes) -> None:
    plain = from_array(np.asarray(art.anime_face(24, 20)))
    labeled = replace(plain, metadata=Metadata(icc=icc))
    assert np.array_equal(as_seen(labeled), as_seen(plain))


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([], "model is given 0 times"),
        (["cunet"], "model is given 1 times"),
        (["cunet", "cunet"], "model cunet is given twice"),
        (["a/net.pth", "b/net.pth"], "model net is given twice"),
        (["bicubic", "bicubic"], "model bicubic is given twice"),
        (["cunet", "swinir"], "model 'swinir' is unknown"),
    ],
)
def test_methods_that_cannot_be_compared(models: list[str], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        open_methods(models)


# --- crops


def test_the_spread_is_the_largest_difference_of_each_pixel() -> None:
    dark, light = np.full((2, 3, 3), 10, np.uint8), np.full((2, 3, 3), 250, np.uint8)
    middle = dark.copy()
    middle[0, 0] = (10, 40, 10)
    assert spread([dark, light, middle]).tolist() == [[240] * 3] * 2
    assert spread([dark, middle])[0, 0] == 10
    assert not spread([dark]).any()


def test_crops_lie_where_results_differ() -> None:
    differences = np.zeros((100, 200), np.float32)
    differences[10:20, 150:160] = 8
    differences[70:80, 20:30] = 9
    first, second = differing_crops(differences, 2, 32)
    for crop, (x, y) in ((first, (20, 70)), (second, (150, 10))):
        assert crop.x <= x
        assert crop.y <= y
        assert crop.x + crop.width >= x + 10
        assert crop.y + crop.height >= y + 10


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 5),
    st.integers(1, 40),
    st.integers(0, 99),
)
def test_crops_lie_in_the_picture_and_apart(
    width: int, height: int, count: int, side: int, seed: int
) -> None:
    differences = np.random.default_rng(seed).random((height, width), np.float32)
    crops = differing_crops(differences, count, side)
    assert 1 <= len(crops) <= count
    sums = [float(np.sum(each.of(differences))) for each in crops]  # type: ignore[arg-type]
    assert sums == sorted(sums, reverse=True) or np.allclose(sums, sorted(sums, reverse=True))
    for number, crop in enumerate(crops):
        assert crop.fits(width, height)
        assert (crop.width, crop.height) == (min(side, width), min(side, height))
        for other in crops[:number]:
            right, down = abs(crop.x - other.x), abs(crop.y - other.y)
            assert right >= 0.75 * crop.width or down >= 0.75 * crop.height


def test_colors_of_the_heat_map_rise_in_brightness() -> None:
    colors = heat_map(np.arange(0, 101, dtype=np.float32)[None], 100)
    brightness = luma(colors)[0]
    assert (np.diff(brightness) > 0).all()
    assert np.array_equal(heat_map(np.full((1, 1), 200, np.float32), 100)[0, 0], colors[0, -1])


# --- the sheet


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A picture, and its original of twice the size."""
    original = art.anime_face(96, 80)
    original.save(tmp_path / "big.png")
    original.resize((48, 40), Image.Resampling.BOX).save(tmp_path / "in.png")
    return tmp_path / "in.png", tmp_path / "big.png"


def image_of(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def holds(sheet: np.ndarray, part: np.ndarray) -> bool:
    """Whether ``part`` is in the sheet, pixel by pixel."""
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (1, part.shape[1], 3))[:, :, 0, 0]
    places = np.argwhere((windows == part[0]).all(axis=(2, 3)))
    return any(
        np.array_equal(sheet[y : y + part.shape[0], x : x + part.shape[1]], part) for y, x in places
    )


def test_the_sheet_holds_each_crop_at_one_to_one(pair: tuple[Path, Path]) -> None:
    source, original = pair
    crop = Crop(30, 20, 40, 32)
    sheet = make_sheet([(source, original)], methods(), SheetOptions(crop=(crop,)))
    pixels = image_of(sheet.image)
    truth = np.asarray(Image.open(original).convert("RGB"))
    results = [
        method.enlarge(decode(source), PictureOptions(scale=2, noise=None)) for method in methods()
    ]
    for expected in (*results, truth):
        assert holds(pixels, crop.of(expected))
    assert not holds(pixels, crop.of(255 - truth))
    (compared,) = sheet.compared
    assert compared.crops == (crop,)
    assert compared.psnr == tuple(psnr(luma(each), luma(truth)) for each in results)
    assert sheet.psnr == compared.psnr


def test_without_an_original_there_is_no_score(pair: tuple[Path, Path]) -> None:
    sheet = make_sheet([(pair[0], None)] * 2, methods(), SheetOptions(crops=2, side=32))
    assert sheet.psnr == ()
    assert [len(each.crops) for each in sheet.compared] == [2, 2]
    assert sheet.compared[0].crops == sheet.compared[1].crops


def test_the_scale_is_that_of_the_original(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """An odd side of the original is no multiple of the scale; the result is as large."""
    art.anime_face(95, 79).save(tmp_path / "odd.png")
    sheet = make_sheet([(pair[0], tmp_path / "odd.png")], methods(), SheetOptions())
    assert len(sheet.psnr) == 2


@pytest.mark.parametrize("size", [(96, 90), (200, 80), (10, 10)])
def test_an_original_of_another_shape_is_refused(
    pair: tuple[Path, Path], tmp_path: Path, size: tuple[int, int]
) -> None:
    art.gradient(*size).save(tmp_path / "other.png")
    with pytest.raises(DecodeError, match=r"other\.png is .* becomes another shape") as error:
        make_sheet([(pair[0], tmp_path / "other.png")], methods(), SheetOptions(scale=2))
    assert "48x40 px" in str(error.value)


@pytest.mark.parametrize(("size", "scale"), [((48, 40), 1), ((24, 20), 0.5)])
def test_an_original_that_is_not_larger_is_refused_unless_its_scale_is_given(
    pair: tuple[Path, Path], tmp_path: Path, size: tuple[int, int], scale: float
) -> None:
    art.anime_face(*size).save(tmp_path / "same.png")
    sources = [(pair[0], tmp_path / "same.png")]
    with pytest.raises(DecodeError, match=f"not larger .* or `scale={scale}`"):
        make_sheet(sources, methods(), SheetOptions())
    assert len(make_sheet(sources, methods(), SheetOptions(scale=scale)).psnr) == 2


def test_a_sheet_has_the_colors_of_the_profile(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """A picture and its original with the same samples, in two color spaces."""
    crop, options = Crop(20, 16, 40, 32), SheetOptions(crop=(Crop(20, 16, 40, 32),))
    icc = matrix_profile(DISPLAY_P3)
    with Image.open(pair[1]) as image:
        plain = image.convert("RGB")
    plain.save(tmp_path / "p3.png", icc_profile=icc)
    pixels = image_of(make_sheet([(pair[0], tmp_path / "p3.png")], methods(), options).image)
    assert holds(pixels, crop.of(as_seen(decode(tmp_path / "p3.png"))))
    assert not holds(pixels, crop.of(np.asarray(plain)))


def test_a_crop_outside_the_result_is_refused(pair: tuple[Path, Path]) -> None:
    options = SheetOptions(crop=(Crop(60, 0, 40, 20),))
    with pytest.raises(DecodeError, match="crop 60,0,40,20 leaves the result of 96x80 px"):
        make_sheet([(pair[0], None)], methods(), options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": (Crop(0, 0, 0, 5),)}, "crop is 0,0,0,5; it must be x,y,width,height"),
        ({"crops": 0}, "crops is 0; it must be a whole number from 1 to 20"),
        ({"side": 4}, "side is 4; it must be a whole number of pixels from 16 to 2048"),
        ({"scale": 0}, "scale is 0"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        SheetOptions(**options)  # type: ignore[arg-type]


def test_a_long_name_is_cut(pair: tuple[Path, Path], tmp_path: Path) -> None:
    long = tmp_path / f"{'w' * 200}.png"
    pair[0].rename(long)
    assert text_width(long.name) > 1000
    pixels = image_of(make_sheet([(long, None)], methods(), SheetOptions(side=16)).image)
    assert (pixels[:, -16:] == 255).all()
