"""Each damaged file decodes or is refused with a message of one line."""

import io
import random
import warnings
from functools import cache

import numpy as np
import pytest
from PIL import Image

from waifu2x import codec
from waifu2x.errors import DecodeError, LimitError

WIDTH, HEIGHT = 96, 80
SEEDS = range(3)
#: Pixel limit: a damaged header may declare any size, and pictures within it decode fast.
LIMIT = 50_000


@cache
def drawing():
    """Gradients and edges, so that every part of a file contains data."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [(x * 2 + y) % 256, np.where((x // 9 + y // 7) % 2, 40, 220), (y * 3) % 256]
    return Image.fromarray(np.stack(planes, axis=2).astype(np.uint8))


def variants():
    rgb = drawing()
    rgba = rgb.copy()
    rgba.putalpha(rgb.getchannel("R"))
    deep = Image.fromarray(np.arange(WIDTH * HEIGHT, dtype=np.uint16).reshape(HEIGHT, WIDTH))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    return {
        "png": (rgb, "PNG", {"exif": exif, "dpi": (300, 300)}),
        "png-rgba": (rgba, "PNG", {}),
        "png-palette": (rgb.quantize(64), "PNG", {"transparency": 3}),
        "png-16bit": (deep, "PNG", {}),
        "jpeg": (rgb, "JPEG", {"quality": 85, "exif": exif}),
        "jpeg-progressive": (rgb, "JPEG", {"progressive": True}),
        "jpeg-gray": (rgb.convert("L"), "JPEG", {}),
        "jpeg-cmyk": (rgb.convert("CMYK"), "JPEG", {}),
        "webp": (rgb, "WEBP", {"quality": 80}),
        "webp-lossless": (rgba, "WEBP", {"lossless": True}),
        "webp-extended": (rgb, "WEBP", {"quality": 80, "icc_profile": b"x" * 200, "exif": exif}),
        "gif": (rgb.quantize(100), "GIF", {}),
        "bmp": (rgb, "BMP", {}),
        "bmp-palette": (rgb.quantize(16), "BMP", {}),
        "tiff": (rgb, "TIFF", {}),
        "tiff-lzw": (rgba, "TIFF", {"compression": "tiff_lzw"}),
        "tiff-deflate": (deep, "TIFF", {"compression": "tiff_adobe_deflate"}),
        "tiff-jpeg": (rgb, "TIFF", {"compression": "jpeg"}),
        "avif": (rgb, "AVIF", {"speed": 10}),
        "jpeg2000": (rgb, "JPEG2000", {}),
        "tga": (rgb, "TGA", {"compression": "tga_rle"}),
        "ppm": (rgb, "PPM", {}),
        "pcx": (rgb, "PCX", {}),
        "ico": (rgba, "ICO", {"sizes": [(WIDTH, HEIGHT)]}),
    }


NAMES = list(variants())
# Formats without length and checksum: missing bytes at the very end may go unnoticed.
TAILS = {"gif", "tga", "ico"}


@cache
def file_of(name):
    image, format, options = variants()[name]
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def attempt(data, what):
    """Return the picture, or None if the file was refused; other outcomes fail, naming ``what``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return codec.decode(io.BytesIO(data), max_pixels=LIMIT)
    except (DecodeError, LimitError) as error:
        text = str(error)
        assert text, what
        assert "\n" not in text, what
        assert len(text) < 300, what
        return None
    except BaseException as error:
        raise AssertionError(f"{type(error).__name__} leaked from {what}") from error


@pytest.mark.parametrize("name", NAMES)
def test_the_sound_file_decodes(name):
    picture = attempt(file_of(name), name)
    assert {picture.width, picture.height} == {WIDTH, HEIGHT}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NAMES)
def test_truncated(name, seed):
    """A file truncated anywhere is refused or has only correct samples."""
    data = file_of(name)
    whole = codec.decode(io.BytesIO(data))
    rng = random.Random(f"{name} {seed}")
    cuts = {rng.randrange(1, len(data)) for _ in range(15)}
    cuts |= {rng.randrange(1, min(len(data), 200)) for _ in range(5)}
    cuts |= {len(data) - n for n in (1, 2, 3, 8, 12, 13)}
    for cut in sorted(cuts):
        what = f"{name} cut to {cut} of {len(data)} bytes, seed {seed}"
        picture = attempt(data[:cut], what)
        if picture is not None:
            noticed = bool(picture.source.notes) or cut >= len(data) - 8
            assert name in TAILS or noticed, f"{what} was not noticed"
            np.testing.assert_array_equal(picture.color, whole.color, what)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NAMES)
def test_flipped_bits(name, seed):
    """A file with flipped bits decodes or is refused; flips in PNG pixels are always noticed."""
    data = file_of(name)
    whole = codec.decode(io.BytesIO(data))
    rng = random.Random(f"{name} {seed}")
    for number in range(40):
        damaged = bytearray(data)
        flips = rng.choice((1, 1, 2, 8))
        for _ in range(flips):
            reach = len(data) if rng.random() < 0.5 else min(len(data), 200)
            damaged[rng.randrange(reach)] ^= 1 << rng.randrange(8)
        what = f"{name}, seed {seed}, damage {number}"
        picture = attempt(bytes(damaged), what)
        if picture is not None and name.startswith("png"):
            assert flips > 1 or picture.color.size == whole.color.size, what
            if picture.color.shape == whole.color.shape:
                np.testing.assert_array_equal(picture.color, whole.color, what)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_changed_middle(name, seed):
    """Bytes overwritten, repeated or dropped, or garbage after a valid start."""
    data = file_of(name)
    rng = random.Random(f"{name} {seed}")
    for number in range(12):
        start = rng.randrange(len(data))
        end = min(len(data), start + rng.randrange(1, 64))
        middle = rng.choice(
            (
                b"",
                bytes(end - start),
                b"\xff" * (end - start),
                data[start:end] * 3,
                rng.randbytes(40),
            )
        )
        attempt(data[:start] + middle + data[end:], f"{name}, seed {seed}, change {number}")
        attempt(
            data[: min(start, 100)] + rng.randbytes(300), f"{name}, seed {seed}, rubbish {number}"
        )


def test_rubbish():
    rng = random.Random(7)
    for number in range(300):
        attempt(rng.randbytes(rng.randrange(1, 400)), f"rubbish {number}, seed 7")


def test_what_follows_a_picture_does_not_matter():
    for name in ("png", "jpeg", "gif", "webp", "bmp"):
        data = file_of(name)
        whole = codec.decode(io.BytesIO(data))
        after = codec.decode(io.BytesIO(data + b"\0" * 50))
        np.testing.assert_array_equal(after.color, whole.color)
