"""Write files: formats, their contents, and targets that are never incomplete."""

import errno
import io
import os
import stat
import struct
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from helpers.command import importable
from helpers.pictures import write_picture
from PIL import Image, ImageCms

from waifu2x import codec
from waifu2x.atomic import check_place, check_writable
from waifu2x.codec import encoder
from waifu2x.errors import ArgumentError, EncodeError, MissingExtraError, OutputExistsError
from waifu2x.picture import Metadata, Picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY_ICC = b"\0" * 16 + b"GRAY" + b"\0" * 16 + b"acsp" + b"\0" * 88
NAMES = ["png", "jpeg", "webp", "avif", "tiff", "bmp"]


def drawing(height=24, width=32, channels=3, dtype=np.uint8, seed=0):
    """Flat areas with a few edges, which lossy formats approximate well."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (height // 8, width // 8, channels))
    samples = np.kron(blocks, np.ones((8, 8, 1), np.int64))
    if np.dtype(dtype) == np.float32:
        return (samples / 255).astype(np.float32)
    return (samples * (np.iinfo(dtype).max // 255)).astype(dtype)


def picture_of(channels=3, dtype=np.uint8, *, alpha=False, metadata=None, **size):
    samples = drawing(channels=channels + alpha, dtype=dtype, **size)
    return Picture(
        np.ascontiguousarray(samples[:, :, :channels]),
        np.ascontiguousarray(samples[:, :, channels]) if alpha else None,
        metadata or Metadata(),
    )


def left_in(directory):
    return sorted(path.name for path in directory.iterdir())


# --- formats


@pytest.mark.parametrize(
    ("path", "format", "name"),
    [
        *(("a.png", None, "png"), ("a.PNG", None, "png"), ("a.JPG", None, "jpeg")),
        *(("a.jpeg", None, "jpeg"), ("a.jfif", None, "jpeg"), ("a.jpe", None, "jpeg")),
        *(("a.webp", None, "webp"), ("a.avif", None, "avif"), ("a.tif", None, "tiff")),
        *(("a.tiff", None, "tiff"), ("a.bmp", None, "bmp"), ("a.b.c.png", None, "png")),
        *(("a.png", "JPG", "jpeg"), ("a", "Tif", "tiff"), ("a.xyz", ".webp", "webp")),
        (None, "png", "png"),
    ],
)
def test_resolve_format(path, format, name):
    assert codec.resolve_format(path, format).name == name


@pytest.mark.parametrize(
    ("path", "format", "words"),
    [
        (
            *("a.tga", None),
            "a.tga: extension '.tga' is unknown; allowed are .gif, .png, .jpg, .webp, .avif, .tif, "
            ".bmp, .jxl, or give `format=`",
        ),
        (
            *("picture", None),
            "picture: has no extension; allowed are .gif, .png, .jpg, .webp, .avif, .tif, .bmp, "
            ".jxl, or give `format=`",
        ),
        (".png", None, ".png: has no extension; allowed are .gif, .png"),
        ("a.png.", None, "a.png.: "),
        ("a.jpge", None, "a.jpge: extension '.jpge' is unknown (did you mean .jpg?); allowed are "),
        (
            *("a.png", "tga"),
            "format 'tga' is unknown; allowed are gif, png, jpeg, webp, avif, tiff, bmp, jxl",
        ),
        ("a.png", "jpge", "format 'jpge' is unknown (did you mean jpeg?); allowed are gif, png"),
        ("a.png", "", "format '' is unknown; allowed are gif"),
    ],
)
def test_unknown_formats(path, format, words, monkeypatch):
    monkeypatch.setattr("waifu2x.codec.formats.find_spec", lambda name: object())
    with pytest.raises(ArgumentError) as caught:
        codec.resolve_format(path, format)
    assert str(caught.value).startswith(words)


def test_formats_that_are_not_installed_are_not_offered(monkeypatch):
    monkeypatch.setattr("waifu2x.codec.formats.find_spec", lambda name: None)
    monkeypatch.setattr("PIL.features.check", lambda name: name != "avif")
    with pytest.raises(ArgumentError) as caught:
        codec.resolve_format("a.tga")
    assert str(caught.value) == (
        "a.tga: extension '.tga' is unknown; allowed are .gif, .png, .jpg, .webp, .tif, .bmp, "
        "or give `format=`; jxl needs `pip install pillow-jxl-plugin`"
    )
    with pytest.raises(ArgumentError) as caught:
        codec.resolve_format(None, "tga")
    assert str(caught.value) == (
        "format 'tga' is unknown; allowed are gif, png, jpeg, webp, tiff, bmp; "
        "jxl needs `pip install pillow-jxl-plugin`"
    )


@pytest.mark.parametrize(("path", "format"), [("o.GIF", None), ("o.png", "gif")])
def test_gif_is_for_animations(path, format):
    with pytest.raises(EncodeError) as caught:
        codec.resolve_format(path, format, name="in.png")
    assert str(caught.value) == (
        "GIF is written for animations only; in.png is one picture; write it as PNG"
    )


def test_a_pillow_without_the_codec(monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda name: name != "avif")
    with pytest.raises(EncodeError, match="AVIF is not supported by the installed Pillow"):
        codec.resolve_format("a.avif")
    assert codec.resolve_format("a.webp").name == "webp"


def test_format_properties():
    by_name = {output.name: output for output in codec.OUTPUT_FORMATS}
    assert list(by_name) == [*NAMES, "jxl"]

    def those(condition):
        return {name for name, output in by_name.items() if condition(output)}

    assert those(lambda output: output.has_alpha) == {"png", "webp", "avif", "tiff", "jxl"}
    assert those(lambda output: 16 in output.depths) == {"png", "tiff"}
    assert those(lambda output: "float32" in output.dtypes) == {"tiff"}
    assert those(lambda output: output.lossy) == {"jpeg", "webp", "avif", "jxl"}
    assert those(lambda output: output.row_writer is not None) == {"png", "tiff"}
    assert those(lambda output: "icc" in output.holds) == {"png", "jpeg", "webp", "avif", "tiff"}
    assert [output.extension for output in codec.OUTPUT_FORMATS] == [
        *(".png", ".jpg", ".webp", ".avif", ".tif", ".bmp", ".jxl")
    ]


def test_jpeg_xl_without_its_extra(monkeypatch):
    monkeypatch.setattr("waifu2x.codec.formats.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as caught:
        codec.resolve_format("a.jxl")
    assert str(caught.value) == (
        "JPEG XL needs a package that is not installed; run `pip install pillow-jxl-plugin`, "
        "or write PNG"
    )
    assert codec.resolve_format("a.png").name == "png"
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)  # installed, but fails to load
    output = dict(zip([*NAMES, "jxl"], codec.OUTPUT_FORMATS, strict=True))["jxl"]
    with pytest.raises(MissingExtraError, match=r"run `pip install pillow-jxl-plugin`, or write"):
        codec.encode_stream(picture_of(), io.BytesIO(), output)


@pytest.mark.parametrize(
    ("name", "dtype", "depth", "expected"),
    [
        *((name, "uint8", None, "uint8") for name in NAMES),
        *(("png", "uint16", None, "uint16"), ("tiff", "uint16", None, "uint16")),
        *(("jpeg", "uint16", None, "uint8"), ("bmp", "float32", None, "uint8")),
        *(("png", "float32", None, "uint16"), ("tiff", "float32", None, "float32")),
        *(("png", "uint8", 16, "uint16"), ("tiff", "float32", 16, "uint16")),
        *(("png", "uint16", 8, "uint8"), ("tiff", "float32", 8, "uint8")),
        ("webp", "uint16", 8, "uint8"),
    ],
)
def test_what_samples_are_written_as(name, dtype, depth, expected):
    output = codec.resolve_format(None, name)
    assert codec.written_dtype(output, np.dtype(dtype), depth) == np.dtype(expected)


@pytest.mark.parametrize("depth", [0, 1, 10, 12, 32, True, 8.5, "8"])
def test_depths_there_are_none_of(depth):
    with pytest.raises(ArgumentError, match="it must be 8 or 16 bits per sample"):
        codec.written_dtype(codec.OUTPUT_FORMATS[0], np.dtype(np.uint8), depth)


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif", "bmp"])
def test_formats_without_sixteen_bits(tmp_path, name):
    text = "depth is 16, and .+ holds 8 bits per sample; write PNG or TIFF"
    with pytest.raises(ArgumentError, match=text):
        write_picture(picture_of(), tmp_path / "a", format=name, depth=16)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "quality", "means"),
    [
        *(("png", None, None), ("jpeg", None, 95), ("webp", None, None), ("avif", None, 90)),
        *(("webp", 100, None), ("webp", 99, 99), ("jpeg", 100, 100), ("avif", 1, 1)),
        *(("jxl", None, None), ("jxl", 100, None), ("jxl", 99, 99)),
    ],
)
def test_what_quality_means(name, quality, means):
    assert codec.check_quality(codec.resolve_format(None, name), quality) == means


@pytest.mark.parametrize("quality", [0, 101, -1, 90.0, "90", True])
def test_quality_outside_its_range(tmp_path, quality):
    with pytest.raises(ArgumentError, match="whole number from 1 to 100"):
        write_picture(picture_of(), tmp_path / "a.jpg", quality=quality)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("name", ["png", "tiff", "bmp"])
def test_quality_of_a_lossless_format(tmp_path, name):
    with pytest.raises(ArgumentError, match="is lossless and has none"):
        write_picture(picture_of(), tmp_path / "a", format=name, quality=90)


# --- samples


@pytest.mark.parametrize("name", ["png", "webp", "tiff", "bmp", "jxl"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_lossless_formats_give_the_samples_back(tmp_path, name, channels, alpha):
    if name == "jxl":
        pytest.importorskip("pillow_jxl")
    if alpha and name == "bmp":
        pytest.skip("no alpha")
    picture = picture_of(channels, alpha=alpha)
    if alpha:
        picture.alpha[:8] = 0  # the color of transparent pixels must survive, too
    path = tmp_path / "out"
    assert write_picture(picture, path, format=name) == ()
    back = codec.decode(path)
    expected = np.broadcast_to(picture.color, back.color.shape)
    np.testing.assert_array_equal(back.color, expected)
    assert back.gray == (channels == 1 and name != "webp")
    if alpha:
        np.testing.assert_array_equal(back.alpha, picture.alpha)
    assert back.source.lossy is False
    assert left_in(tmp_path) == ["out"]


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossy_formats_come_near(tmp_path, name, channels):
    picture = picture_of(channels)
    path = tmp_path / "out"
    write_picture(picture, path, format=name, quality=98)
    back = codec.decode(path)
    error = np.abs(back.color.astype(int) - picture.color)
    # Lossy WebP halves the resolution of color, so errors at edges are large.
    assert np.median(error) <= 3
    assert error.max() <= (255 if name == "webp" else 20)
    assert back.source.lossy is not False
    if name == "jpeg":
        assert back.source.jpeg_quality == 98
        assert Image.open(path).mode == ("L" if channels == 1 else "RGB")


def test_jpeg_and_avif_keep_the_resolution_of_color(tmp_path):
    # Red and blue columns one pixel wide would both become purple with 4:2:0.
    columns = np.zeros((16, 16, 3), np.uint8)
    columns[:, ::2, 0] = 255
    columns[:, 1::2, 2] = 255
    for name in ("jpeg", "avif"):
        write_picture(Picture(columns), tmp_path / name, format=name)
        back = codec.decode(tmp_path / name).color.astype(int)
        assert np.abs(back - columns).mean() < 12, name


@pytest.mark.parametrize("name", ["png", "tiff"])
def test_sixteen_bit_gray_stays(tmp_path, name):
    values = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32, 1)
    assert write_picture(Picture(values), tmp_path / "out", format=name) == ()
    back = codec.decode(tmp_path / "out")
    assert back.color.dtype == np.uint16
    np.testing.assert_array_equal(back.color, values)


def test_float_gray_stays_in_tiff(tmp_path):
    values = np.linspace(-0.1, 1.1, 1024, dtype=np.float32).reshape(32, 32, 1)
    assert write_picture(Picture(values), tmp_path / "out.tif") == ()
    np.testing.assert_array_equal(codec.decode(tmp_path / "out.tif").color, values)


def stored_samples(path):
    """The samples (H, W, C) of a file, read by another library."""
    data = path.read_bytes()
    if data.startswith(b"\x89PNG"):
        array = imagecodecs.png_decode(data)
    elif data[:2] in (b"II", b"MM"):
        array = tifffile.imread(path)
    else:
        with Image.open(path) as image:
            array = np.asarray(image)
    return array[:, :, None] if array.ndim == 2 else array


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("depth", [None, 8, 16])
def test_depths(tmp_path, dtype, name, channels, alpha, depth):
    output = codec.resolve_format(None, name)
    if depth is not None and depth not in output.depths:
        with pytest.raises(ArgumentError):
            write_picture(picture_of(), tmp_path / "out", format=name, depth=depth)
        return
    picture = picture_of(channels, dtype, alpha=alpha)
    notes = write_picture(picture, tmp_path / "out", format=name, depth=depth)
    kind = codec.written_dtype(output, np.dtype(dtype), depth)
    word = "float" if dtype == np.float32 else "16-bit"
    reduced = f"{word} samples reduced to {8 * kind.itemsize}-bit"
    assert (reduced in notes) == (depth is None and kind != dtype)
    array = stored_samples(tmp_path / "out")
    assert array.dtype == kind
    if name not in ("jpeg", "avif") and not (alpha and name == "bmp"):
        expected = codec.convert_samples(picture.color, kind)
        shown = array[:, :, : array.shape[2] - alpha]
        np.testing.assert_array_equal(shown, np.broadcast_to(expected, shown.shape))
        if alpha:
            np.testing.assert_array_equal(
                array[:, :, -1], codec.convert_samples(picture.alpha, kind)
            )


def test_float_is_clamped_and_must_be_finite(tmp_path):
    color = np.array([[[-0.2, 0.5, 1.2]]], np.float32)
    write_picture(Picture(color), tmp_path / "a.png", depth=8)
    assert codec.decode(tmp_path / "a.png").color.tolist() == [[[0, 128, 255]]]
    write_picture(Picture(color), tmp_path / "a.png", overwrite=True)
    assert stored_samples(tmp_path / "a.png").tolist() == [[[0, 32768, 65535]]]
    color[0, 0, 0] = np.nan
    with pytest.raises(EncodeError, match="NaN or infinity"):
        write_picture(Picture(color), tmp_path / "b.png")
    assert left_in(tmp_path) == ["a.png"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_transparency_goes_on_white(tmp_path, dtype, channels):
    full = 1 if dtype == np.float32 else np.iinfo(dtype).max
    steps = np.linspace(0, full, 17).astype(dtype)
    color = np.repeat(np.tile(steps, (17, 1))[:, :, None], channels, axis=2)
    alpha = np.ascontiguousarray(np.tile(steps[:, None], (1, 17)))
    before = color.copy()
    notes = write_picture(Picture(color, alpha), tmp_path / "a.bmp")
    assert "BMP has no transparency: composited on white" in notes
    back = codec.decode(tmp_path / "a.bmp")
    assert back.alpha is None
    ratio = alpha[:, :, None].astype(float) / full
    exact = (color.astype(float) / full * ratio + 1 - ratio) * 255
    assert np.abs(back.color - exact).max() <= (0.5 if dtype == np.uint8 else 0.51)
    np.testing.assert_array_equal(color, before)
    notes = write_picture(Picture(color, alpha), tmp_path / "a.jpg")
    assert "JPEG has no transparency: composited on white" in notes


def test_noise_at_full_quality(tmp_path):
    # The file has more bytes than pixels, so Pillow's default buffer is too small.
    rng = np.random.default_rng(1)
    noise = Picture(rng.integers(0, 256, (400, 400, 3), dtype=np.uint8))
    for name in NAMES:
        lossy = codec.resolve_format(None, name).lossy
        write_picture(noise, tmp_path / name, format=name, quality=100 if lossy else None)
        assert codec.decode(tmp_path / name).width == 400


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
def test_tiny_pictures(tmp_path, name, size):
    height, width = size
    for channels in (1, 3):
        picture = Picture(np.full((height, width, channels), 200, np.uint8))
        write_picture(picture, tmp_path / "out", format=name, overwrite=True)
        back = codec.decode(tmp_path / "out")
        assert (back.height, back.width) == size
        assert np.abs(back.color.astype(int) - 200).max() <= 4


def test_the_picture_is_not_changed(tmp_path):
    for dtype in (np.uint8, np.uint16, np.float32):
        picture = picture_of(dtype=dtype, alpha=True)
        picture.color.flags.writeable = picture.alpha.flags.writeable = False
        for name in NAMES:
            write_picture(picture, tmp_path / "out", format=name, overwrite=True)


# --- metadata


def camera_exif():
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = 1
    exif[0x0103] = 6  # compression of the thumbnail; must not get into a TIFF
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8769)[0xA002] = 7
    exif.get_ifd(0x8769)[0xA003] = 9
    return exif.tobytes()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_metadata_goes_where_the_format_holds_it(tmp_path, name, channels):
    icc = SRGB if channels == 3 else GRAY_ICC
    metadata = Metadata(icc, camera_exif(), (300.0, 150.0))
    notes = write_picture(picture_of(channels, metadata=metadata), tmp_path / "a", format=name)
    back = codec.decode(tmp_path / "a").metadata
    if name == "bmp":
        # GRAY_ICC is a header without a curve; SRGB is the default of BMP.
        broken = ("BMP holds no color profile, and this one is broken: left out",)
        assert notes == ("BMP holds no EXIF: left out", *(broken if channels == 1 else ()))
    else:
        assert notes == ()
        # WebP converts gray to sRGB through the profile. Older Pillows read gray AVIF as RGB.
        as_rgb = channels == 1 and not codec.decode(tmp_path / "a").gray
        assert as_rgb <= (name in ("webp", "avif"))
        assert back.icc == (None if as_rgb else icc)
        parsed = Image.Exif()
        parsed.load(back.exif)
        assert parsed[0x010F] == "Maker"
        if name == "tiff":
            assert 0x0103 not in parsed
        else:
            assert parsed.get(0x0112, 1) == 1
            assert parsed.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
            assert parsed.get_ifd(0x8769)[0xA002] == 32  # the new size
            assert parsed.get_ifd(0x8769)[0xA003] == 24
    if name in ("webp", "avif"):
        assert back.dpi is None
    else:
        assert back.dpi == pytest.approx((300, 150), rel=1e-3)


@pytest.mark.parametrize("name", ["webp", "avif"])
def test_gray_with_a_profile_where_only_rgb_fits(tmp_path, name):
    # Linear gray of 0.5 is 188 in sRGB, but stays 128 if the profile is ignored.
    def s15(value):
        return struct.pack(">i", round(value * 65536))

    white = b"XYZ \0\0\0\0" + s15(0.9642) + s15(1) + s15(0.8249)
    text = b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", 2, 28) + b"\0x\0\0"
    tags = {b"desc": text, b"cprt": text, b"wtpt": white, b"kTRC": b"curv" + b"\0" * 8}
    offset, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for tag, data in tags.items():
        table += struct.pack(">4sII", tag, offset + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    head = struct.pack(
        ">I4sI12s12x4s", offset + len(body), b"lcms", 0x04200000, b"mntrGRAYXYZ ", b"acsp"
    )
    head = (head + b"\0" * 28 + white[8:]).ljust(128, b"\0")
    icc = head + table + body
    color = np.full((8, 8, 1), 128, np.uint8)
    picture = Picture(color, np.full((8, 8), 200, np.uint8), Metadata(icc))
    write_picture(picture, tmp_path / "a", format=name)
    back = codec.decode(tmp_path / "a")
    assert back.metadata.icc is None
    assert np.abs(back.color.astype(int) - 188).max() <= 3
    assert np.abs(back.alpha.astype(int) - 200).max() <= 2


def test_a_profile_of_other_pixels_is_not_written(tmp_path):
    write_picture(picture_of(1, metadata=Metadata(SRGB)), tmp_path / "a.png")
    assert "icc_profile" not in Image.open(tmp_path / "a.png").info


@pytest.mark.parametrize("exif", [b"rubbish", b"Exif\0\0II*\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"])
@pytest.mark.parametrize("name", ["png", "jpeg", "avif", "tiff"])
def test_broken_exif_is_left_out(tmp_path, exif, name):
    notes = write_picture(picture_of(metadata=Metadata(exif=exif)), tmp_path / "a", format=name)
    assert notes == ("the EXIF block cannot be read: left out",)


XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><!-- \xe3\x81\x82 --></x:xmpmeta>"


def xmp_in(path):
    """The XMP packet of a file, read by Pillow or, for JPEG XL, from its box."""
    data = path.read_bytes()
    if data[4:8] == b"JXL ":
        at = data.index(b"xml ")
        return data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at], "big")]
    with Image.open(path) as image:
        image.load()
        found = image.info.get("xmp", image.info.get("XML:com.adobe.xmp"))
    return found.encode() if isinstance(found, str) else found


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "avif", "tiff", "jxl"])
@pytest.mark.parametrize("channels", [1, 3])
def test_xmp_goes_along(tmp_path, name, channels):
    if name == "jxl":
        pytest.importorskip("pillow_jxl")
    picture = picture_of(channels, metadata=Metadata(xmp=XMP, exif=camera_exif()))
    assert write_picture(picture, tmp_path / "a", format=name) == ()
    assert xmp_in(tmp_path / "a") == XMP
    assert b"2020:01:02 03:04:05" in (tmp_path / "a").read_bytes()


def test_what_does_not_fit_is_said(tmp_path):
    text = (("Title", "x"), ("Comment", "y"))
    long = picture_of(metadata=Metadata(xmp=bytes(65503), text=text))
    assert write_picture(long, tmp_path / "a.jpg") == (
        "the XMP packet is too long for JPEG: left out",
        "JPEG holds no texts like those of PNG: left out",
    )
    short = picture_of(metadata=Metadata(xmp=bytes(65502)))
    assert write_picture(short, tmp_path / "b.jpg") == ()
    assert write_picture(short, tmp_path / "a.bmp") == ("BMP holds no XMP: left out",)
    odd = picture_of(metadata=Metadata(text=(*text, ("", "no keyword"), ("NUL", "a\0b"))))
    assert write_picture(odd, tmp_path / "a.png") == ("texts that PNG cannot hold: left out",)
    with Image.open(tmp_path / "a.png") as image:
        assert image.text == dict(text)


def test_exif_too_long_for_jpeg(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x927C] = bytes(70_000)
    picture = picture_of(metadata=Metadata(exif=exif.tobytes()))
    assert write_picture(picture, tmp_path / "a.jpg") == (
        "the EXIF block is too long for JPEG: left out",
    )
    assert write_picture(picture, tmp_path / "a.png") == ()


# --- sizes


@pytest.mark.parametrize(
    ("name", "width", "height", "advice"),
    [
        ("jpeg", 65501, 1, "at most 65500 pixels a side"),
        ("webp", 16384, 1, "at most 16383 pixels a side"),
        ("webp", 1, 16384, "use PNG or TIFF"),
        ("avif", 32769, 1, "at most 32768 pixels a side"),
        ("avif", 16385, 16384, "at most 268435456 pixels in all"),
        ("bmp", 40000, 40000, "at most 4 GiB of pixels); use PNG"),
        ("tiff", 40000, 40000, "use PNG"),
    ],
)
def test_sizes_beyond_the_format(name, width, height, advice):
    output = codec.resolve_format(None, name)
    with pytest.raises(EncodeError) as caught:
        codec.check_size(output, width, height)
    assert f"{width}x{height} is too large for {output.label}" in str(caught.value)
    assert advice in str(caught.value)
    smaller = (min(width, output.max_side), min(height, output.max_side, 16384))
    if width <= 33000:
        codec.check_size(output, *smaller[:1], min(smaller[1], 16000))


@pytest.mark.parametrize(("name", "side"), [("jpeg", 65500), ("webp", 16383), ("avif", 32768)])
def test_the_largest_side_can_be_written_and_read(tmp_path, name, side):
    picture = Picture(np.zeros((1, side, 1), np.uint8))
    write_picture(picture, tmp_path / "a", format=name)
    assert codec.decode(tmp_path / "a").width == side


def test_encode_checks_the_size_itself(tmp_path):
    with pytest.raises(EncodeError, match="too large for WebP"):
        write_picture(Picture(np.zeros((1, 16384, 1), np.uint8)), tmp_path / "a.webp")
    assert left_in(tmp_path) == []


# --- targets


def check(path, *, overwrite=False, source=None):
    check_writable(check_place(path, overwrite=overwrite, source=source))


def test_a_good_target_leaves_nothing(tmp_path):
    check(tmp_path / "a.png")
    check(tmp_path / "a.png", overwrite=True, source=tmp_path / "b.png")
    assert left_in(tmp_path) == []


def test_a_relative_target(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check("a.png")
    write_picture(picture_of(), "a.png")
    assert left_in(tmp_path) == ["a.png"]


def test_existing_targets_need_overwrite(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    for attempt in (lambda: check(path), lambda: write_picture(picture_of(), path)):
        with pytest.raises(OutputExistsError, match=r"exists already; .*`overwrite=True`"):
            attempt()
    assert path.read_bytes() == b"mine"
    check(path, overwrite=True)
    assert path.read_bytes() == b"mine"
    write_picture(picture_of(), path, overwrite=True)
    assert codec.decode(path).width == 32
    assert left_in(tmp_path) == ["a.png"]


def test_the_input_itself_by_any_name(tmp_path):
    source = tmp_path / "in.png"
    write_picture(picture_of(), source)
    names = [source, tmp_path / "." / "in.png"]
    try:
        (tmp_path / "soft.png").symlink_to(source)
        os.link(source, tmp_path / "hard.png")
        names += [tmp_path / "soft.png", tmp_path / "hard.png"]
    except OSError:
        pass
    for path in names:
        for overwrite in (False, True):
            with pytest.raises(OutputExistsError, match="is the input itself"):
                check(path, source=source, overwrite=overwrite)
            with source.open("rb") as stream, pytest.raises(OutputExistsError, match="itself"):
                check(path, source=stream, overwrite=overwrite)
        check(path, source=io.BytesIO(source.read_bytes()), overwrite=True)


def test_links_are_written_through(tmp_path):
    real = tmp_path / "deep" / "real.png"
    real.parent.mkdir()
    real.write_bytes(b"old")
    link = tmp_path / "link.png"
    try:
        link.symlink_to(real)
    except OSError:
        pytest.skip("no links here")
    write_picture(picture_of(), link, overwrite=True)
    assert link.is_symlink()
    assert codec.decode(real).width == 32
    lost = tmp_path / "lost.png"
    lost.symlink_to(tmp_path / "nowhere" / "x.png")
    with pytest.raises(OutputExistsError):
        check(lost)
    with pytest.raises(EncodeError, match=r"is a link to .* which cannot be created"):
        check(lost, overwrite=True)
    circle = tmp_path / "circle.png"
    circle.symlink_to(circle)
    with pytest.raises(EncodeError):
        check(circle, overwrite=True)
    assert left_in(real.parent) == ["real.png"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_targets_that_cannot_be(tmp_path, overwrite):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    for path, words in (
        (tmp_path / "no" / "a.png", f"directory {tmp_path / 'no'} does not exist; create it first"),
        (tmp_path / "file" / "a.png", f"{tmp_path / 'file'} is not a directory"),
        (tmp_path / "file" / "no" / "a.png", "does not exist"),
        (tmp_path / "folder.png", "is a directory; name a file in it"),
        (f"{tmp_path}/new.png/", "is a directory; name a file in it"),
        (tmp_path / ("x" * 300 + ".png"), "cannot be written: "),
        ("a\0b.png", "cannot be written: "),
    ):
        with pytest.raises(EncodeError) as caught:
            check(path, overwrite=overwrite)
        assert words in str(caught.value)
        with pytest.raises(EncodeError):
            write_picture(picture_of(), path, overwrite=overwrite, format="png")
    assert left_in(tmp_path) == ["file", "folder.png"]


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="no devices here")
def test_devices_are_never_replaced():
    # Root could replace /dev/null with a picture, which would break the system.
    for overwrite in (False, True):
        with pytest.raises(EncodeError, match="is a device"):
            check("/dev/null", overwrite=overwrite)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc here")
def test_a_directory_that_takes_no_files():
    with pytest.raises(EncodeError, match=r"cannot be written: "):
        check("/proc/a.png")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes all")
def test_a_read_only_directory(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(EncodeError, match="choose a directory that takes files"):
            check(tmp_path / "a.png")
    finally:
        tmp_path.chmod(0o700)


def test_the_longest_name(tmp_path):
    name = (
        "x" * (os.pathconf(tmp_path, "PC_NAME_MAX") - 4 if hasattr(os, "pathconf") else 200)
        + ".png"
    )
    check(tmp_path / name)
    write_picture(picture_of(), tmp_path / name)
    assert left_in(tmp_path) == [name]


# --- atomic writes


@pytest.mark.skipif(os.name == "nt", reason="no umask")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize("overwrite", [False, True])
def test_the_mode_is_that_of_a_new_file(tmp_path, umask, overwrite):
    before = os.umask(umask)
    try:
        write_picture(picture_of(), tmp_path / "a.png", overwrite=overwrite)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o666 & ~umask


class Failing:
    """A file that fails after some bytes."""

    def __init__(self, file, room, error):
        self._file, self._room, self._error = file, room, error

    def write(self, data):
        self._room -= len(data)
        if self._room < 0:
            raise self._error
        return self._file.write(data)

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("room", [0, 200])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, name, room, overwrite):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    real = encoder._Sink
    monkeypatch.setattr(encoder, "_Sink", lambda file: real(Failing(file, room, full)))
    path = tmp_path / "out"
    if overwrite:
        path.write_bytes(b"old")
    with pytest.raises(EncodeError) as caught:
        write_picture(picture_of(height=80, width=80), path, format=name, overwrite=overwrite)
    assert str(caught.value) == (
        f"{path} cannot be written: {os.strerror(errno.ENOSPC)}; nothing was left behind"
    )
    assert left_in(tmp_path) == (["out"] if overwrite else [])
    assert not overwrite or path.read_bytes() == b"old"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, MemoryError, SystemExit])
def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch, name, interrupt):
    real = encoder._Sink
    monkeypatch.setattr(encoder, "_Sink", lambda file: real(Failing(file, 0, interrupt())))
    expected = EncodeError if interrupt is MemoryError else interrupt
    with pytest.raises(expected):
        write_picture(picture_of(), tmp_path / "out", format=name)
    assert left_in(tmp_path) == []


def test_an_interrupt_while_renaming_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", interrupted)
    monkeypatch.setattr(Path, "replace", interrupted)
    for overwrite in (False, True):
        with pytest.raises(KeyboardInterrupt):
            write_picture(picture_of(), tmp_path / "a.png", overwrite=overwrite)
        assert left_in(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="no limits on file sizes")
def test_a_real_limit_on_file_sizes(tmp_path):
    code = f"""
import resource, signal, sys
import numpy as np
from helpers.pictures import write_picture
from waifu2x.errors import EncodeError
from waifu2x.picture import Picture
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
noise = Picture(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8))
for name in {NAMES}:
    try:
        write_picture(noise, {str(tmp_path / "out")!r}, format=name)
    except EncodeError as error:
        assert "nothing was left behind" in str(error), error
    else:
        sys.exit(name + " was written")
"""
    environment = {**os.environ, **importable(Path(__file__).parent.parent)}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300, env=environment)
    assert left_in(tmp_path) == []


def test_what_pillow_cannot_encode_leaves_nothing(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise ValueError("some\nreason")

    monkeypatch.setattr(Image.Image, "save", broken)
    with pytest.raises(EncodeError, match=r"cannot be encoded as BMP: some reason; choose"):
        write_picture(picture_of(), tmp_path / "a.bmp")
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_kept(tmp_path, monkeypatch, links):
    path = tmp_path / "a.png"
    real = encoder._Sink

    def sink(file):
        path.write_bytes(b"theirs")
        return real(file)

    monkeypatch.setattr(encoder, "_Sink", sink)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(OutputExistsError, match="has appeared meanwhile and was kept"):
        write_picture(picture_of(), path)
    assert path.read_bytes() == b"theirs"
    assert left_in(tmp_path) == ["a.png"]


def no_links(*_):
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_without_links(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    write_picture(picture_of(), tmp_path / "a.png")
    assert codec.decode(tmp_path / "a.png").width == 32
    assert left_in(tmp_path) == ["a.png"]

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_picture(picture_of(), tmp_path / "b.png")
    assert left_in(tmp_path) == ["a.png"]


def test_the_final_name_never_holds_half_a_picture(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    seen = []
    real = encoder._Sink

    class Watching(real):
        def write(self, data):
            seen.append((path.exists(), sum(name.startswith(".") for name in left_in(tmp_path))))
            return super().write(data)

    monkeypatch.setattr(encoder, "_Sink", Watching)
    write_picture(picture_of(), path)
    assert set(seen) == {(False, 1)}  # with one hidden file next to the target


def test_nothing_is_printed(tmp_path, capfd):
    rng = np.random.default_rng(1)
    noise = Picture(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), metadata=Metadata(SRGB))
    for name in NAMES:
        write_picture(noise, tmp_path / name, format=name)
        codec.decode(tmp_path / name)
    assert capfd.readouterr() == ("", "")


def test_encode_makes_the_same_bytes_twice(tmp_path):
    for name in NAMES:
        for path in ("a", "b"):
            write_picture(picture_of(), tmp_path / path, format=name, overwrite=True)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes(), name


def test_the_file_is_as_pillow_reads_it(tmp_path):
    picture = picture_of(alpha=True)
    write_picture(picture, tmp_path / "a.png")
    with Image.open(io.BytesIO((tmp_path / "a.png").read_bytes())) as image:
        assert image.mode == "RGBA"
        np.testing.assert_array_equal(np.asarray(image)[:, :, :3], picture.color)
