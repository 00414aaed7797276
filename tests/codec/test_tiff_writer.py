"""TIFF: every depth and layout, checked with other readers, and all metadata."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tifffile
from helpers.pictures import write_picture
from PIL import ExifTags, Image

from waifu2x import codec
from waifu2x.codec import row_writer
from waifu2x.codec import tiff_writer as tiff
from waifu2x.codec.deflate import ZLIB
from waifu2x.codec.tiff_writer import TiffWriter
from waifu2x.errors import ArgumentError, EncodeError
from waifu2x.picture import Metadata, Picture

DTYPES = [np.uint8, np.uint16, np.float32]


def samples(*shape, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        return rng.random(shape, np.float32) * 2 - np.float32(0.5)
    return rng.integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def written(array, *, bands=None, alpha=False, **options):
    """Write an array (H, W, C) in bands of ``bands`` rows; returns the file."""
    buffer = io.BytesIO()
    height, width, channels = array.shape
    with TiffWriter(
        buffer, width=width, height=height, channels=channels, dtype=array.dtype, **options
    ) as writer:
        for top in range(0, height, bands or height):
            rows = array[top : top + (bands or height)]
            if alpha:
                writer.write_rows(rows[:, :, :-1], rows[:, :, -1])
            else:
                writer.write_rows(rows)
    return buffer.getvalue()


def camera_exif(order="<"):
    exif = Image.Exif()
    exif.endian = order
    exif[0x010F] = "Maker"
    exif[0x0103] = 6  # compression of the thumbnail; must not get into the file
    exif[0x011A] = 72.0
    exif[0x8298] = "Somebody"
    exif.get_ifd(ExifTags.IFD.Exif)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(ExifTags.IFD.Exif)[0x829A] = 0.01
    exif.get_ifd(ExifTags.IFD.Exif)[0x927C] = b"notes with offsets" * 3
    exif.get_ifd(ExifTags.IFD.Exif)[0xA002] = 7
    exif.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[2] = (35.0, 41.0, 22.5)
    return exif.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("order", [None, "<", ">"])
def test_samples_as_other_readers_see_them(monkeypatch, dtype, channels, order):
    monkeypatch.setattr(row_writer, "STRIP_BYTES", 500)  # several strips
    array = samples(37, 29, channels, dtype=dtype)
    exif = None if order is None else camera_exif(order)
    data = written(array, exif=exif, bands=5, alpha=channels in (2, 4))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        (page,) = file.pages
        assert file.byteorder == ("<" if dtype == np.float32 else order or "<")
        assert page.compression == 8
        assert page.predictor == (3 if dtype == np.float32 else 2)
        assert page.extrasamples == ((2,) if channels in (2, 4) else ())
        assert len(page.dataoffsets) > 1
        np.testing.assert_array_equal(page.asarray().reshape(array.shape), array)
    # Pillow reads these modes with libtiff.
    if dtype == np.uint8 or channels == 1:
        with Image.open(io.BytesIO(data)) as image:
            expected = {np.uint16: "I;16", np.float32: "F"}.get(
                dtype, ("L", "LA", "RGB", "RGBA")[channels - 1]
            )
            assert image.mode in (expected, "I;16B" if expected == "I;16" else "")
            assert image.info["compression"] == "tiff_adobe_deflate"
            np.testing.assert_array_equal(np.asarray(image).reshape(array.shape), array)


def test_the_same_file_however_it_is_handed_over(monkeypatch):
    monkeypatch.setattr(row_writer, "STRIP_BYTES", 1000)
    array = samples(50, 31, 4, dtype=np.uint16)
    files = {
        written(array, bands=bands, threads=threads, alpha=alpha)
        for bands in (1, 7, 50)
        for threads in (1, 3)
        for alpha in (False, True)
    }
    assert len(files) == 1
    zlib = written(array, deflate=ZLIB)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(zlib)), array)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_tiny_pictures(size):
    array = samples(*size, 3, dtype=np.float32)
    np.testing.assert_array_equal(
        tifffile.imread(io.BytesIO(written(array))).reshape(array.shape), array
    )


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_exif_block_stays_where_it_stands(order, dtype):
    exif = camera_exif(order)
    block = exif[6:]
    data = written(samples(8, 8, 1, dtype=dtype), exif=exif, dpi=(300.0, 72.5))
    if (order, dtype) != (">", np.float32):
        assert data[:4] + data[8 : len(block)] == block[:4] + block[8:]
    with Image.open(io.BytesIO(data)) as image:
        found = image.getexif()
        assert found[0x010F] == "Maker"
        assert found[0x8298] == "Somebody"
        assert found[0x0103] == 8
        details = found.get_ifd(ExifTags.IFD.Exif)
        assert details[0x9003] == "2020:01:02 03:04:05"
        assert float(details[0x829A]) == pytest.approx(0.01)
        assert details[0x927C] == b"notes with offsets" * 3
        assert tuple(map(float, found.get_ifd(ExifTags.IFD.GPSInfo)[2])) == (35.0, 41.0, 22.5)
        assert image.info["dpi"] == (300.0, 72.5)


def test_all_metadata():
    icc, xmp = codec.color.matrix_profile(codec.color.DISPLAY_P3), b"<x:xmpmeta/>" * 9
    data = written(samples(8, 8, 3), icc_profile=icc, xmp=xmp, dpi=(300.0, 1 / 3))
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["icc_profile"] == icc
        assert image.info["xmp"] == xmp
        assert image.info["dpi"] == pytest.approx((300, 1 / 3), rel=1e-3)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages[0].tags
        assert list(tags.keys()) == sorted(tags.keys())
        assert all(tag.valueoffset % 2 == 0 for tag in tags.values() if tag.count > 4)
    # Without an explicit resolution, the resolution of the EXIF block stays.
    with Image.open(io.BytesIO(written(samples(8, 8, 3), exif=camera_exif()))) as image:
        assert float(image.tag_v2[0x011A]) == 72


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
        # Make and GPS directory beyond the end, and an undefined type.
        b"Exif\0\0II*\0\x08\0\0\0\x03\0"
        + struct.pack("<HHII", 0x010F, 2, 1000, 20)
        + struct.pack("<HHII", 0x8825, 4, 1, 1 << 30)
        + struct.pack("<HHII", 0x0110, 99, 1, 8),
    ],
)
def test_a_damaged_exif_block_does_no_harm(exif):
    array = samples(8, 8, 3)
    if len(exif) < 14:
        exif = exif.ljust(14, b"\0")
    with tifffile.TiffFile(io.BytesIO(written(array, exif=exif))) as file:
        tags = file.pages[0].tags
        assert not {0x010F, 0x0110, 0x8825} & set(tags.keys())
        np.testing.assert_array_equal(file.asarray(), array)


def test_it_begins_where_the_stream_stands():
    array = samples(9, 9, 3)
    buffer = io.BytesIO()
    buffer.write(b"before")
    with TiffWriter(buffer, width=9, height=9, channels=3) as writer:
        writer.write_rows(array)
    buffer.write(b"after")
    data = buffer.getvalue()
    assert data.startswith(b"before")
    assert data.endswith(b"after")
    assert data[6:-5] == written(array)


def test_no_file_beyond_four_gib(monkeypatch):
    monkeypatch.setattr(tiff, "_LIMIT", 2000)
    with pytest.raises(EncodeError, match="larger than the 4 GiB that TIFF holds; use PNG"):
        written(samples(40, 40, 3))
    output = codec.resolve_format(None, "tiff")
    monkeypatch.undo()
    codec.check_size(output, 30000, 30000, 4)
    with pytest.raises(EncodeError, match=r"at most 4 GiB of pixels\); use PNG"):
        codec.check_size(output, 30000, 30000, 8)
    like = Picture(np.zeros((1, 1, 3), np.float32))
    with pytest.raises(EncodeError, match="30000x30000 is too large for TIFF"):
        codec.open_row_writer(
            io.BytesIO(), output, like=like, width=30000, height=30000
        ).__enter__()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 0}, "width is 0; TIFF holds 1"),
        ({"height": 1 << 32}, "height is 4294967296"),
        ({"channels": 5}, "channels is 5"),
        (
            {"dtype": np.float64},
            "dtype is float64; TIFF is written with uint8 or",
        ),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_bad_arguments(change, words):
    with pytest.raises(ArgumentError, match=words):
        TiffWriter(io.BytesIO(), **{"width": 4, "height": 4, "channels": 3, **change})


def test_missing_rows_and_a_closed_writer():
    writer = TiffWriter(io.BytesIO(), width=5, height=3, channels=1)
    writer.write_rows(samples(2, 5))
    with pytest.raises(ArgumentError, match="2 of 3 rows were written to a TIFF"):
        writer.close()
    with pytest.raises(ArgumentError, match="the TIFF is closed"):
        writer.write_rows(samples(1, 5))
    with pytest.raises(ArgumentError, match="given up"):
        writer.close()
    with pytest.raises(ArgumentError, match="4 rows were written to a TIFF of 3"):
        TiffWriter(io.BytesIO(), width=5, height=3, channels=1).write_rows(samples(4, 5))


def test_float_goes_out_as_it_is(tmp_path):
    color, alpha = samples(20, 20, 3, dtype=np.float32), samples(20, 20, dtype=np.float32)
    assert write_picture(Picture(color, alpha, Metadata(dpi=(96, 96))), tmp_path / "a.tif") == ()
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), np.dstack([color, alpha]))
