"""Colors stay the same in every format: our own profiles and wide-gamut pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from helpers import art
from helpers.ciede import delta_e, lab_of
from helpers.pictures import write_picture
from PIL import Image, ImageCms, ImageEnhance

from waifu2x import codec
from waifu2x.codec import color as color
from waifu2x.codec.image import icc_space, to_srgb
from waifu2x.picture import Metadata, Picture

ADOBE = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
PROPHOTO = (0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001)
SRGB = color.matrix_profile(color.SRGB)
WIDE = {
    "Display P3": color.matrix_profile(color.DISPLAY_P3),
    "Adobe RGB": color.matrix_profile(ADOBE, 563 / 256),
    "ProPhoto": color.matrix_profile(PROPHOTO, 1.8),
}


def installed(name: str) -> str:
    if name == "jxl":
        pytest.importorskip("pillow_jxl")
    return name


# --- the color difference


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 3.1571, -77.2803), (50, 0, -82.7485), 2.8615),
        ((50, 2.8361, -74.0200), (50, 0, -82.7485), 3.4412),
        ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
        ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((50, 2.5, 0), (61, -5, 29), 22.8977),
        ((50, 2.5, 0), (56, -27, -3), 31.9030),
        ((50, 2.5, 0), (58, 24, 15), 19.4535),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((63.0109, -31.0961, -5.8663), (62.8187, -29.7946, -4.0864), 1.2630),
        ((6.7747, -0.2908, -2.4247), (5.8714, -0.0985, -2.2286), 0.6377),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_delta_e_gives_the_published_pairs(first, second, expected) -> None:
    assert delta_e(first, second) == pytest.approx(expected, abs=5e-5)
    assert delta_e(second, first) == pytest.approx(expected, abs=5e-5)


def test_lab_of_white_black_and_red() -> None:
    lab = lab_of(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]]), SRGB)
    # Red of sRGB in L*a*b* with D50, as published (Lindbloom: 54.29, 80.81, 69.89).
    np.testing.assert_allclose(lab, [(100, 0, 0), (0, 0, 0), (54.29, 80.81, 69.89)], atol=0.05)


# --- profiles


def test_the_profile_of_srgb_is_that_of_littlecms() -> None:
    theirs = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    ours = ImageCms.ImageCmsProfile(io.BytesIO(SRGB))
    for name in ("red_colorant", "green_colorant", "blue_colorant"):
        np.testing.assert_allclose(
            getattr(ours.profile, name)[0], getattr(theirs.profile, name)[0], atol=2e-4
        )
    assert ours.profile.version == pytest.approx(2.4)
    assert ours.profile.is_matrix_shaper
    assert (ours.profile.xcolor_space.strip(), ours.profile.device_class) == ("RGB", "mntr")
    assert color.is_srgb(SRGB, 3)
    assert color.is_srgb(theirs.tobytes(), 3)
    assert not any(color.is_srgb(icc, 3) for icc in WIDE.values())
    assert not color.is_srgb(b"rubbish", 3)


def test_colors_through_a_profile_of_ours() -> None:
    # In Display P3, the pure red of sRGB is (234, 51, 35).
    image = Image.new("RGB", (2, 2), (234, 51, 35))
    converted = to_srgb(image, WIDE["Display P3"])
    assert converted is not None
    assert np.abs(np.array(converted.getpixel((0, 0))) - (255, 0, 0)).max() <= 2


def test_curves_of_profiles() -> None:
    for gamma, sample, expected in ((1.0, 128, 188), (2.2, 128, 128), (1.8, 100, 119)):
        # light = sample ** gamma, encoded with the sRGB curve
        light = (sample / 255) ** gamma
        exact = 255 * (1.055 * light ** (1 / 2.4) - 0.055)
        assert exact == pytest.approx(expected, abs=1)
        for channels, icc in (
            (3, color.matrix_profile(color.SRGB, gamma)),
            (1, color.gray_profile(color.SRGB[:2], gamma)),
        ):
            image = Image.new("L" if channels == 1 else "RGB", (1, 1), (sample,) * channels)
            converted = to_srgb(image, icc)
            assert converted is not None
            assert np.abs(np.array(converted.getpixel((0, 0))) - exact).max() <= 1
    assert color.is_srgb(color.gray_profile(color.SRGB[:2]), 1)
    assert not color.is_srgb(color.gray_profile(color.SRGB[:2], 1.0), 1)


@pytest.mark.parametrize(
    "chromaticities",
    [
        (0.3, 0.3, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5),
        (0.3127, 0.0, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06),
        (0.3127, 0.329, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3),
        (float("nan"),) * 8,
        (0.9, 0.9, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06),
    ],
)
def test_primaries_that_are_none(chromaticities) -> None:
    with pytest.raises(ValueError, match=r"^no "):
        color.matrix_profile(chromaticities)
    found = color.implied_profile(Metadata(gamma=1.0, chromaticities=chromaticities), 3)
    assert found == (None, ("the chromaticities make no sense: left out",))


def test_the_curve_of_bt709() -> None:
    for sample in (0, 10, 40, 128, 200, 255):
        value = sample / 255
        light = value / 4.5 if value < 0.081 else ((value + 0.099) / 1.099) ** (1 / 0.45)
        exact = 255 * (12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055)
        image = Image.new("RGB", (1, 1), (sample,) * 3)
        converted = to_srgb(image, color.matrix_profile(color.SRGB, "BT.709"))
        assert converted is not None
        assert np.abs(np.array(converted.getpixel((0, 0))) - exact).max() <= 1


@pytest.mark.parametrize("primaries", color._PRIMARIES)
def test_every_known_primaries_make_a_profile(primaries) -> None:
    assert color.matrix_profile(color._PRIMARIES[primaries], 2.2)


# --- color chunks of PNG


@pytest.mark.parametrize(
    "metadata",
    [
        Metadata(),
        Metadata(gamma=0.45455),
        Metadata(gamma=0.458),
        Metadata(gamma=0.45455, chromaticities=color.SRGB),
        Metadata(gamma=1.0, rendering_intent=0),
        Metadata(cicp=(1, 13, 0, 1), gamma=1.0),
    ],
)
def test_what_is_srgb_needs_no_profile(metadata) -> None:
    assert color.implied_profile(metadata, 3) == (None, ())


def test_chromaticities_alone_are_noted() -> None:
    note = "chromaticities without a gamma (cHRM), which only PNG holds: left out"
    assert color.implied_profile(Metadata(chromaticities=ADOBE), 3) == (None, (note,))
    assert color.implied_profile(Metadata(chromaticities=ADOBE), 1) == (None, ())
    assert color.implied_profile(Metadata(chromaticities=color.SRGB), 3) == (None, ())


def srgb_curve(light):
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
def test_all_bits_are_converted_before_they_are_rounded(gamma, channels, dtype) -> None:
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    ramp = (np.linspace(0, 1, 4096) * white).astype(dtype)
    samples = np.repeat(ramp[None, :, None], channels, axis=2)
    icc = (
        color.gray_profile(color.SRGB[:2], gamma)
        if channels == 1
        else color.matrix_profile(color.SRGB, gamma)
    )
    found = color.samples_to_srgb(samples, icc)
    assert (found.shape, found.dtype) == ((1, 4096, 3), np.uint8)
    exact = 255 * srgb_curve((samples / white) ** (round(256 * gamma) / 256))
    assert np.abs(found - exact).max() < 0.55


def test_wide_primaries_of_sixteen_bits() -> None:
    samples = np.random.default_rng(3).integers(0, 65536, (64, 64, 3)).astype(np.uint16)
    found = color.samples_to_srgb(samples, WIDE["Display P3"])
    rgb = (samples / 65535).astype(np.float64)
    light = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    # From Display P3 to sRGB, both of white D65: CSS Color 4.
    matrix = np.array(
        [
            [1.2249402, -0.2249402, 0],
            [-0.0420570, 1.0420570, 0],
            [-0.0196376, -0.0786361, 1.0982736],
        ]
    )
    exact = 255 * srgb_curve(np.clip(light @ matrix.T, 0, 1))
    assert np.abs(found - exact).max() < 1.2
    assert np.abs(found - exact).mean() < 0.3


def test_a_broken_profile_converts_nothing() -> None:
    for channels in (1, 3):
        for dtype in (np.uint8, np.uint16):
            assert color.samples_to_srgb(np.zeros((2, 2, channels), dtype), b"rubbish") is None


@pytest.mark.parametrize("format", ["bmp", "jxl"])
def test_gray_of_sixteen_bits_with_a_linear_curve(format) -> None:
    if format == "jxl":
        pytest.importorskip("pillow_jxl")
    ramp = (np.arange(65536, dtype=np.uint16)).reshape(256, 256, 1)
    buffer = io.BytesIO()
    codec.encode_stream(
        Picture(ramp, metadata=Metadata(gamma=1.0)), buffer, codec.resolve_format(None, format)
    )
    exact = 255 * srgb_curve(ramp / 65535)
    assert np.abs(codec.decode(io.BytesIO(buffer.getvalue())).color - exact).max() < 0.55


def test_what_is_not_srgb_gets_one() -> None:
    p3 = color.DISPLAY_P3
    for metadata, expected in (
        (Metadata(gamma=1.0), color.matrix_profile(color.SRGB, 1.0)),
        (Metadata(gamma=0.45455, chromaticities=ADOBE), color.matrix_profile(ADOBE, 2.2)),
        (Metadata(cicp=(12, 13, 0, 1)), color.matrix_profile(p3)),
        (Metadata(cicp=(9, 8, 0, 1)), color.matrix_profile(color._PRIMARIES[9], 1.0)),
        (Metadata(cicp=(1, 1, 0, 1)), color.matrix_profile(color.SRGB, "BT.709")),
        (Metadata(cicp=(9, 14, 0, 1)), color.matrix_profile(color._PRIMARIES[9], "BT.709")),
    ):
        assert color.implied_profile(metadata, 3) == (expected, ())
    gray = color.implied_profile(Metadata(gamma=1.0, chromaticities=ADOBE), 1).icc
    assert gray is not None
    assert icc_space(gray) == "GRAY"
    assert color.implied_profile(Metadata(gamma=0.45455, chromaticities=ADOBE), 1).icc is None
    narrow = color.implied_profile(Metadata(cicp=(9, 16, 0, 0)), 3)
    assert narrow.notes == ("the colors are labeled cICP 9/16/0/0, which only PNG holds: left out",)
    pq = color.implied_profile(Metadata(cicp=(9, 16, 0, 1), gamma=1.0), 3)
    assert pq.icc == color.matrix_profile(color.SRGB, 1.0)
    assert pq.notes == (
        "the colors are labeled cICP 9/16/0/1, which only PNG and AVIF hold: left out",
    )
    for gamma in (0.0, -1.0, 1e-9, 1e9, float("inf"), float("nan")):
        found = color.implied_profile(Metadata(gamma=gamma), 3)
        assert found.icc is None
        assert "makes no sense" in found.notes[0]


# --- pictures


def read(path: Path) -> tuple[np.ndarray, bytes | None]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")), image.info.get("icc_profile")


# Strong colors, so that the color space matters.
PIXELS = np.asarray(ImageEnhance.Color(art.anime_face(96, 80).convert("RGB")).enhance(1.8))


@pytest.mark.parametrize("space", WIDE)
@pytest.mark.parametrize(
    ("name", "mean"), [("png", 0), ("tiff", 0), ("webp", 0), ("jpeg", 0.6), ("avif", 1.0)]
)
def test_a_wide_gamut_picture_keeps_its_colors(tmp_path, space, name, mean) -> None:
    icc = WIDE[space]
    picture = Picture(PIXELS, metadata=Metadata(icc))
    # At the highest quality, artifacts of lossy formats do not hide color errors.
    quality = 100 if mean else None
    assert write_picture(picture, tmp_path / "a", format=name, quality=quality) == ()
    samples, label = read(tmp_path / "a")
    assert label == icc
    truth = lab_of(PIXELS, icc)
    error = delta_e(lab_of(samples, label), truth)
    assert error.mean() <= max(mean, 1e-6)
    assert mean or error.max() <= 1e-6
    # Check of the check: without the profile the colors differ.
    assert delta_e(lab_of(samples, SRGB), truth).mean() > 1.6


@pytest.mark.parametrize("space", WIDE)
@pytest.mark.parametrize("name", ["bmp", "jxl"])
@pytest.mark.parametrize("alpha", [False, True])
def test_where_no_profile_fits_colors_are_converted(tmp_path, space, name, alpha) -> None:
    output = codec.resolve_format(None, installed(name))
    # An sRGB picture converted to the wide space, so that all its colors fit sRGB again.
    wide = ImageCms.profileToProfile(
        Image.fromarray(PIXELS),
        ImageCms.ImageCmsProfile(io.BytesIO(SRGB)),
        ImageCms.ImageCmsProfile(io.BytesIO(WIDE[space])),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    assert wide is not None
    samples = np.asarray(wide)
    mask = np.full(samples.shape[:2], 255, np.uint8) if alpha else None
    picture = Picture(samples, mask, Metadata(WIDE[space]))
    notes = write_picture(picture, tmp_path / "a", format=name)
    label = output.label
    assert f"{label} is written without a color profile: colors converted to sRGB" == notes[-1]
    back, icc = read(tmp_path / "a")
    assert icc is None or name == "jxl"
    truth = lab_of(samples, WIDE[space])
    error = delta_e(lab_of(back, SRGB), truth)
    assert error.mean() < 0.6
    assert delta_e(lab_of(samples, SRGB), truth).mean() > 1.4


@pytest.mark.parametrize("name", ["bmp", "jxl"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_in_srgb_stay_as_they_are(tmp_path, name, channels) -> None:
    installed(name)
    icc = SRGB if channels == 3 else color.gray_profile(color.SRGB[:2])
    picture = Picture(PIXELS[:, :, :channels], metadata=Metadata(icc))
    assert write_picture(picture, tmp_path / "a", format=name) == ()
    np.testing.assert_array_equal(
        read(tmp_path / "a")[0], np.broadcast_to(picture.color, PIXELS.shape)
    )


def test_gray_without_a_label_stays_gray(tmp_path) -> None:
    picture = Picture(PIXELS[:, :, :1], metadata=Metadata(gamma=1.0))
    notes = write_picture(picture, tmp_path / "a.bmp")
    assert notes == ("BMP is written without a color profile: colors converted to sRGB",)
    with Image.open(tmp_path / "a.bmp") as image:
        assert image.mode == "L"
        light = PIXELS[:, :, 0] / 255
        exact = 255 * np.where(
            light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
        )
        assert np.abs(np.asarray(image) - exact).max() <= 2


def test_a_broken_profile_is_said(tmp_path) -> None:
    broken = b"\0" * 16 + b"RGB " + b"\0" * 16 + b"acsp" + b"\0" * 88
    notes = write_picture(Picture(PIXELS, metadata=Metadata(broken)), tmp_path / "a.bmp")
    assert notes == ("BMP holds no color profile, and this one is broken: left out",)
    np.testing.assert_array_equal(read(tmp_path / "a.bmp")[0], PIXELS)


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif", "tiff"])
def test_gamma_of_a_png_becomes_a_profile(tmp_path, name) -> None:
    metadata = Metadata(gamma=1.0, chromaticities=ADOBE)
    assert write_picture(Picture(PIXELS, metadata=metadata), tmp_path / "a", format=name) == ()
    assert read(tmp_path / "a")[1] == color.matrix_profile(ADOBE, 1.0)
    plain = Metadata(gamma=0.45455)
    write_picture(Picture(PIXELS, metadata=plain), tmp_path / "b", format=name)
    assert read(tmp_path / "b")[1] is None
