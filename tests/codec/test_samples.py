"""Conversion between arrays, Pillow images and sample types."""

import io
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps

from waifu2x import codec
from waifu2x.codec.samples import unpremultiplied
from waifu2x.errors import ArgumentError, DecodeError
from waifu2x.picture import Metadata, Picture, Source

DTYPES = (np.uint8, np.uint16, np.float32)
SHAPES = ((5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4), (1, 1), (1, 9, 3), (9, 1, 4))


def samples(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        return rng.random(shape, np.float32)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


# --- arrays


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_arrays_make_the_round_trip(dtype, shape):
    array = samples(shape, dtype)
    before = array.copy()
    picture = codec.from_array(array)
    channels = shape[2] if len(shape) == 3 else 1
    assert picture.color.shape == (*shape[:2], 3 if channels >= 3 else 1)
    assert (picture.alpha is not None) == (channels in (2, 4))
    assert picture.color.dtype == dtype
    assert picture.color.flags.c_contiguous
    assert picture.alpha is None or picture.alpha.flags.c_contiguous
    assert picture.source == Source()
    assert picture.metadata == Metadata()
    back = codec.to_array(picture, array)
    assert back.shape == array.shape
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, before)
    np.testing.assert_array_equal(array, before)


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.dtype(">u2")]),
        st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    ),
    st.sampled_from([np.s_[:], np.s_[::-1], np.s_[:, ::-1], np.s_[::2, ::2]]),
)
def test_any_strides_and_byte_order(array, view):
    array = array[view]
    array.flags.writeable = False
    picture = codec.from_array(array)
    assert picture.color.dtype.isnative
    back = codec.to_array(picture, array)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_a_transposed_array():
    array = samples((4, 6, 3), np.uint8).transpose(1, 0, 2)
    np.testing.assert_array_equal(codec.from_array(array).color, array)


def test_the_size_of_the_example_does_not_matter():
    picture = codec.from_array(samples((8, 6, 4), np.uint16))
    assert codec.to_array(picture, np.empty((2, 2, 4), np.uint16)).shape == (8, 6, 4)


def test_other_types_are_converted():
    picture = codec.from_array(np.array([[0.0, 0.5, 1.0]], np.float32))
    like = np.empty((1, 1), np.uint8)
    assert codec.to_array(picture, like).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("like", [np.empty((2, 2)), np.empty((2, 2, 4)), np.empty(3)])
def test_an_example_with_other_channels(like):
    with pytest.raises(ArgumentError, match="picture has 3 channels"):
        codec.to_array(codec.from_array(samples((2, 2, 3), np.uint8)), like)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        ([[1, 2]], "is a list; it must be a numpy.ndarray"),
        (np.zeros((2, 2), np.float64), "float64; it must be .* use .astype"),
        (np.zeros((2, 2), np.float16), "float16"),
        (np.zeros((2, 2), bool), "bool; it must be"),
        (np.zeros((2, 2), np.int32), "int32; it must be uint8, uint16 or float32"),
        (np.zeros((2, 2), object), "object"),
        (np.zeros((2, 2), complex), "complex"),
        (np.zeros(4, np.uint8), r"shape \(4,\)"),
        (np.zeros((2, 2, 5), np.uint8), r"shape \(2, 2, 5\)"),
        (np.zeros((3, 20, 30), np.uint8), "the channels come last"),
        (np.zeros((1, 3, 20, 30), np.uint8), "it must be .height, width."),
        (np.zeros((0, 2), np.uint8), "no side may be 0"),
        (np.zeros((2, 2, 0), np.uint8), "it must be"),
        (np.full((2, 2), np.nan, np.float32), "NaN or infinity"),
        (np.full((2, 2), -np.inf, np.float32), "NaN or infinity"),
        (np.full((2, 2), 255, np.float32), r"from 255 to 255; they must be in \[0, 1\]"),
        (np.full((2, 2), -0.6, np.float32), r"must be in \[0, 1\]"),
    ],
)
def test_arrays_that_are_no_pictures(array, words):
    with pytest.raises(ArgumentError, match=words):
        codec.from_array(array)


def test_a_little_overshoot_is_kept():
    array = np.array([[-0.5, 1.5]], np.float32)
    np.testing.assert_array_equal(codec.from_array(array).color[:, :, 0], array)


def test_masked_arrays_and_matrices_are_plain():
    masked = np.ma.masked_array(samples((3, 4), np.uint8), mask=True)
    assert type(codec.from_array(masked).color) is np.ndarray


# --- samples


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_right_type_is_returned_as_it_is(dtype):
    array = samples((3, 3), dtype)
    assert codec.convert_samples(array, dtype) is array


def test_every_uint16_is_rounded_as_in_exact_arithmetic():
    values = np.arange(65536, dtype=np.uint16)
    expected = [int(Fraction(v * 255, 65535) + Fraction(1, 2)) for v in range(65536)]
    assert codec.convert_samples(values, np.uint8).tolist() == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_survive_wider_types(dtype):
    values = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    wide = codec.convert_samples(values, np.float32)
    assert wide[0] == 0
    assert wide[-1] == 1
    np.testing.assert_array_equal(codec.convert_samples(wide, dtype), values)
    if dtype == np.uint8:
        deep = codec.convert_samples(values, np.uint16)
        assert deep.tolist() == [v * 257 for v in range(256)]
        np.testing.assert_array_equal(codec.convert_samples(deep, np.uint8), values)


def test_float_is_clamped_and_rounded_once():
    values = np.array([-9, -0.1, 0, 0.4999 / 255, 0.5 / 255, 1, 7], np.float32)
    assert codec.convert_samples(values, np.uint8).tolist() == [0, 0, 0, 0, 1, 255, 255]
    assert codec.convert_samples(values, np.uint16)[[0, 5, 6]].tolist() == [0, 65535, 65535]
    assert codec.convert_samples(np.float32([np.inf, -np.inf]), np.uint8).tolist() == [255, 0]
    with pytest.raises(ArgumentError, match="NaN"):
        codec.convert_samples(np.float32([0, np.nan]), np.uint8)
    with pytest.raises(ArgumentError, match="float64 is not one of"):
        codec.convert_samples(values, np.float64)


# --- Pillow images


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16", "F"])
def test_images_make_the_round_trip(mode):
    bands = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,)}.get(mode, ())
    dtype = {"I;16": np.uint16, "F": np.float32}.get(mode, np.uint8)
    array = samples((5, 7, *bands), dtype)
    image = Image.fromarray(array)
    assert image.mode == mode
    picture = codec.from_image(image)
    assert picture.source == Source()
    back = codec.to_image(picture)
    assert back.mode == mode
    np.testing.assert_array_equal(np.asarray(back), array)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_what_pillow_has_no_mode_for(channels, alpha, dtype):
    array = samples((4, 4, channels + alpha), dtype)
    picture = codec.from_array(array)
    if channels == 1 and not alpha:
        assert codec.to_image(picture).mode in ("I;16", "F")
    else:
        with pytest.raises(ArgumentError, match="Pillow has no mode for"):
            codec.to_image(picture)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_an_image_has_its_own_memory(channels):
    array = samples((6, 6, channels), np.uint8)
    image = codec.to_image(codec.from_array(array))
    before = np.array(image)
    array[:] = ~array
    np.testing.assert_array_equal(np.asarray(image), before)
    picture = codec.from_image(image)
    image.paste(0, (0, 0, 6, 6))
    np.testing.assert_array_equal(picture.color[:, :, 0], before.reshape(6, 6, -1)[:, :, 0])


def test_metadata_goes_into_info():
    icc = b"\0" * 16 + b"RGB " + b"\0" * 16 + b"acsp" + b"\0" * 88
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    metadata = Metadata(icc, exif.tobytes(), (300.0, 150.0))
    image = codec.to_image(Picture(samples((4, 4, 3), np.uint8), metadata=metadata))
    assert image.info["icc_profile"] == icc
    assert image.info["dpi"] == (300.0, 150.0)
    assert image.getexif()[0x010F] == "Maker"
    assert codec.from_image(image).metadata == metadata
    assert codec.to_image(Picture(samples((4, 4, 3), np.uint8))).info == {}


def test_an_opened_image_tells_its_source_and_is_made_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(samples((16, 24, 3), np.uint8)).save(buffer, "JPEG", quality=77, exif=exif)
    with Image.open(buffer) as image:
        picture = codec.from_image(image)
        assert picture.source == Source("JPEG", True, 77)
        assert (picture.width, picture.height) == (16, 24)
        np.testing.assert_array_equal(picture.color, np.asarray(ImageOps.exif_transpose(image)))
        assert image.size == (24, 16)  # the caller's image is unchanged
        assert image.getexif()[0x0112] == 6


def test_of_an_animation_the_current_frame():
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    with Image.open(buffer) as image:
        image.seek(1)
        assert codec.from_image(image).color[0, 0].tolist() == [0, 255, 0]


def test_a_large_image_is_copied_in_strips():
    # A row longer than one strip, and a height that is no multiple of a strip.
    for size in ((3, 300_000), (701, 1031)):
        array = samples((*size, 4), np.uint8)
        picture = codec.from_image(Image.fromarray(array))
        np.testing.assert_array_equal(picture.color, array[:, :, :3])
        np.testing.assert_array_equal(picture.alpha, array[:, :, 3])


def test_what_is_no_image():
    with pytest.raises(ArgumentError, match=r"is a str; it must be a PIL\.Image\.Image"):
        codec.from_image("in.png")
    with pytest.raises(ArgumentError, match="no side may be 0"):
        codec.from_image(Image.new("RGB", (0, 5)))
    with pytest.raises(ArgumentError, match="from -1 to 0"):
        codec.from_image(Image.fromarray(np.array([[-1, 0]], np.int32)))
    with pytest.raises(ArgumentError, match=r"in \[0, 1\]"):
        codec.from_image(Image.fromarray(np.array([[255, 0]], np.float32)))
    buffer = io.BytesIO()
    Image.fromarray(samples((64, 64, 3), np.uint8)).save(buffer, "JPEG")
    lazy = Image.open(io.BytesIO(buffer.getvalue()[:-500]))
    with pytest.raises(DecodeError, match="image is truncated"):
        codec.from_image(lazy)


def test_a_tiny_float_alpha_gives_the_brightest_color_without_a_warning(recwarn):
    color = np.array([[[1e-3], [0.25], [0.5]]], np.float32)
    alpha = np.array([[1e-44, 0.5, 0.0]], np.float32)
    straight = unpremultiplied(color, alpha)
    assert straight.reshape(-1).tolist() == [1.5, 0.5, 0.0]
    assert not recwarn.list
