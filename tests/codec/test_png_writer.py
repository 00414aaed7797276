"""Pillow reads back the written samples for all sizes, modes, bands and threads."""

import io
import struct
import threading
import zlib

import imagecodecs
import numpy as np
import pytest
from helpers.pictures import write_picture, write_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from waifu2x import codec
from waifu2x.codec import deflate, row_writer
from waifu2x.codec import png_writer as png
from waifu2x.codec.png_writer import PngWriter
from waifu2x.errors import (
    ArgumentError,
    CancelledError,
    EncodeError,
    OutputExistsError,
    Waifu2xError,
)
from waifu2x.kernels import _native
from waifu2x.picture import Metadata, Picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
DEFLATES = [pytest.param(deflate.ZLIB, id="zlib")]
if deflate.igzip() is not None:
    DEFLATES.append(pytest.param(deflate.igzip(), id="igzip"))
FULL = {np.uint8: 255, np.uint16: 65535}


def samples(*shape, dtype=np.uint8, seed=0):
    """Smooth shades with flat areas, noise and extremes: every filter is chosen somewhere."""
    rng = np.random.default_rng(seed)
    full = FULL[dtype]
    height, width = shape[:2]
    y, x = np.mgrid[:height, :width]
    plane = (x * 3 + y * 5) * (full // 255) + rng.integers(0, 3, (height, width))
    plane[rng.random((height, width)) < 0.05] = full
    plane[:, width // 2 :][rng.random(height) < 0.2] = 7
    plane[rng.random(height) < 0.15] = rng.integers(0, full, width)
    if len(shape) == 3:
        plane = plane[:, :, None] + np.arange(shape[2]) * 40
    return (plane % (full + 1)).astype(dtype)


def written(color, alpha=None, *, bands=None, **options):
    """Write a picture in bands of ``bands`` rows; the last number repeats. Returns the file."""
    buffer = io.BytesIO()
    height, width = color.shape[:2]
    channels = (color.shape[2] if color.ndim == 3 else 1) + (alpha is not None)
    with PngWriter(
        buffer,
        width=width,
        height=height,
        channels=channels,
        dtype=color.dtype,
        **options,
    ) as writer:
        top, bands = 0, list(bands or [height])
        while top < height:
            rows = slice(top, top + (bands.pop(0) if len(bands) > 1 else bands[0]))
            writer.write_rows(color[rows], None if alpha is None else alpha[rows])
            top = rows.stop
    return buffer.getvalue()


def chunks_of(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, found = 8, []
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(
            kind + body
        )
        found.append((kind, body))
        at += 12 + size
    return found


def stored(data):
    """The rows of a PNG, unfiltered as specified: (H, bytes of a row)."""
    found = chunks_of(data)
    width, height, depth, kind = struct.unpack(">IIBB", found[0][1][:10])
    pixel = {0: 1, 4: 2, 2: 3, 6: 4}[kind] * depth // 8
    stream = zlib.decompressobj()
    raw = stream.decompress(b"".join(body for name, body in found if name == b"IDAT"))
    assert stream.eof
    assert stream.unused_data == b""
    rows = np.frombuffer(raw, np.uint8).reshape(height, 1 + width * pixel)
    result = np.zeros((height + 1, pixel + width * pixel), np.int64)
    for y, row in enumerate(rows):
        above, line = result[y], result[y + 1]
        for i in range(pixel, len(line)):
            a, b, c = int(line[i - pixel]), int(above[i]), int(above[i - pixel])
            p = a + b - c
            nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            line[i] = (int(row[i - pixel + 1]) + [0, a, b, (a + b) // 2, nearest][row[0]]) % 256
    return result[1:, pixel:].astype(np.uint8)


def as_stored(color, alpha=None):
    array = color.reshape(*color.shape[:2], -1)
    if alpha is not None:
        array = np.concatenate([array, alpha[:, :, None]], axis=2)
    big_endian = np.ascontiguousarray(array.astype(array.dtype.newbyteorder(">")))
    return big_endian.view(np.uint8).reshape(len(array), -1)


def filtered_by_numpy(rows, pixel):
    """Filter every row with the least sum of absolute values; the first filter wins ties."""
    x = rows.astype(np.int64)
    left, up, corner = (np.zeros_like(x) for _ in range(3))
    left[:, pixel:] = x[:, :-pixel]
    up[1:] = x[:-1]
    corner[1:, pixel:] = x[:-1, :-pixel]
    p = left + up - corner
    to_left, to_up, to_corner = abs(p - left), abs(p - up), abs(p - corner)
    paeth = np.where(to_up <= to_corner, up, corner)
    paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, paeth)
    all_five = [
        (x - guess).astype(np.uint8) for guess in (0 * x, left, up, (left + up) // 2, paeth)
    ]
    costs = [np.abs(each.view(np.int8).astype(np.int64)).sum(axis=1) for each in all_five]
    best = np.argmin(costs, axis=0)
    lines = [all_five[number][y] for y, number in enumerate(best)]
    return np.concatenate([best[:, None].astype(np.uint8), np.array(lines)], axis=1)


# --- the filters


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("colors", [1, 2, 3, 4])
@pytest.mark.parametrize("alpha", [False, True])
def test_filters_are_those_of_the_book(dtype, colors, alpha):
    if colors + alpha > 4:
        pytest.skip("no such pixel")
    seen = set()
    for seed, (height, width) in enumerate([(1, 1), (1, 40), (40, 1), (9, 17), (33, 31), (24, 64)]):
        color = samples(height, width, colors, dtype=dtype, seed=seed)
        mask = samples(height, width, dtype=dtype, seed=seed + 9) if alpha else None
        rows = as_stored(color, mask)
        expected = filtered_by_numpy(rows, (colors + alpha) * color.itemsize)
        guarded = np.full((height, 1 + rows.shape[1] + 64), 99, np.uint8)
        dst = np.empty((height, 1 + rows.shape[1]), np.uint8)
        _native.filter_png(color, dst, alpha=mask)
        np.testing.assert_array_equal(dst, expected)
        if height > 5:  # rows with a row above
            dst = guarded.reshape(-1)[32:][: 5 * expected.shape[1]].reshape(5, -1)
            _native.filter_png(
                color[-5:],
                dst,
                alpha=None if mask is None else mask[-5:],
                above_color=color[:-5],
                above_alpha=None if mask is None else mask[:-5],
            )
            np.testing.assert_array_equal(dst, expected[-5:])
            rest = guarded.reshape(-1)
            assert (rest[:32] == 99).all()
            assert (rest[32 + dst.size :] == 99).all()
        seen |= set(expected[:, 0].tolist())
    assert seen == {0, 1, 2, 3, 4}


def test_every_paeth_and_average():
    # All combinations of left, up and corner on a coarse grid with extremes, in rows of two pixels.
    steps = np.array([0, 1, 2, 63, 64, 127, 128, 129, 191, 253, 254, 255], np.uint8)
    left, up, corner = (axis.ravel() for axis in np.meshgrid(steps, steps, steps))
    for x in (0, 100, 255):
        # A row of pairs (corner, up) above a row of (left, x), long enough for vector code.
        top = np.stack([corner, up], axis=1).reshape(1, -1, 1)
        row = np.stack([left, np.full_like(left, x)], axis=1).reshape(1, -1, 1)
        dst = np.empty((1, 1 + row.size), np.uint8)
        _native.filter_png(row, dst, above_color=top)
        expected = filtered_by_numpy(np.concatenate([top, row])[:, :, 0], 1)[1:]
        np.testing.assert_array_equal(dst, expected)


def test_what_the_native_filter_refuses():
    color, dst = np.zeros((2, 5, 3), np.uint8), np.zeros((2, 16), np.uint8)
    alpha, wide = np.zeros((2, 5), np.uint8), np.zeros((2, 5, 3), np.uint16)
    read_only = dst.copy()
    read_only.flags.writeable = False
    for args, options, words in [
        ((color.astype(np.float32), dst), {}, "uint8 or uint16"),
        ((color.astype(">u2"), dst), {}, "byte order"),
        ((color[:, :, 0], dst), {}, "rows, width, channels"),
        ((color[:0], dst), {}, "none of them 0"),
        ((np.zeros((2, 5, 5), np.uint8), dst), {}, "at most 4"),
        ((np.zeros((2, 5, 4), np.uint8), dst), {"alpha": alpha}, "at most 4"),
        ((color[:, ::2], dst), {}, "not contiguous"),
        ((color, dst), {"alpha": alpha[:, :4]}, "must match"),
        ((color, dst), {"alpha": alpha.astype(np.uint16)}, "uint8 like color"),
        ((color, dst), {"alpha": alpha}, "(2, 21)"),
        ((color, dst), {"above_color": wide}, "uint8 like color"),
        ((color, dst), {"above_color": color[:, :4]}, "width and channels"),
        ((color, dst), {"above_color": color, "above_alpha": alpha}, "width and channels"),
        ((color, dst), {"above_alpha": alpha}, "width and channels"),
        ((color, dst[:1]), {}, "(2, 16)"),
        ((color, dst.view(np.int8)), {}, "must be uint8"),
        ((color, read_only), {}, "read-only"),
        ((color, np.zeros((16, 2), np.uint8).T), {}, "not contiguous"),
    ]:
        with pytest.raises(ValueError, match=r"must|not contiguous|read-only") as caught:
            _native.filter_png(*args, **options)
        assert words in str(caught.value)
    with pytest.raises(TypeError):
        _native.filter_png(color.tolist(), dst)


# --- files


SIZES = [(1, 1), (1, 2), (1, 300), (300, 1), (2, 2), (7, 13), (33, 31), (64, 100)]


@pytest.mark.parametrize("deflate", DEFLATES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pillow_reads_the_samples_back(monkeypatch, deflate, channels):
    monkeypatch.setattr(row_writer, "STRIP_BYTES", 1000)
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    for height, width in SIZES:
        array = samples(height, width, channels)
        color, alpha = array, None
        if channels in (2, 4):
            color, alpha = array[:, :, :-1].copy(), array[:, :, -1].copy()
        for data in (
            written(color, alpha, deflate=deflate, threads=1),
            written(color, alpha, deflate=deflate, threads=3, bands=[1, 2, 5]),
            written(array, deflate=deflate),  # alpha among the channels
        ):
            with Image.open(io.BytesIO(data)) as image:
                assert image.mode == mode
                np.testing.assert_array_equal(
                    np.asarray(image).reshape(height, width, channels), array
                )


@pytest.mark.parametrize("deflate", DEFLATES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits(monkeypatch, deflate, channels):
    monkeypatch.setattr(row_writer, "STRIP_BYTES", 700)
    for height, width in SIZES:
        array = samples(height, width, channels, dtype=np.uint16)
        data = written(array, deflate=deflate, bands=[3])
        np.testing.assert_array_equal(stored(data), as_stored(array))
        with Image.open(io.BytesIO(data)) as image:
            read = np.asarray(image).reshape(height, width, -1)
        # Pillow keeps 16 bits only for gray; other modes keep high bytes, and gray+alpha is RGBA.
        if channels == 1:
            np.testing.assert_array_equal(read, array)
        else:
            high = (array >> 8).astype(np.uint8)
            np.testing.assert_array_equal(read, high[:, :, [0, 0, 0, 1]] if channels == 2 else high)


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.integers(1, 4),
    bands=st.lists(st.integers(0, 9), max_size=6),
    threads=st.integers(1, 3),
    piece=st.integers(1, 3000),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_bands_threads_and_seeds(height, width, channels, bands, threads, piece, seed):
    array = samples(height, width, channels, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_writer, "STRIP_BYTES", piece)
        data = written(array, bands=[*bands, 4], threads=threads)
        assert data == written(array, threads=1)  # the same bytes for all bands and threads
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(np.asarray(image).reshape(array.shape), array)


@pytest.mark.parametrize("deflate", DEFLATES)
def test_one_zlib_stream_of_many_pieces(deflate):
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 256, (700, 999, 3), dtype=np.uint8)  # incompressible
    flat = np.full((700, 999, 3), 200, np.uint8)
    for array in (noise, flat):
        data = written(array, deflate=deflate, threads=2)
        kinds = [kind for kind, _ in chunks_of(data)]
        assert kinds[0] == b"IHDR"
        assert kinds[-1] == b"IEND"
        assert kinds.count(b"IDAT") == len(kinds) - 2 > 8
        with Image.open(io.BytesIO(data)) as image:
            image.verify()
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(np.asarray(image), array)
        assert len(data) < 1.01 * array.size + 2000


@pytest.mark.parametrize("deflate", DEFLATES)
def test_pieces_of_every_size_end_on_a_whole_byte(deflate):
    rng = np.random.default_rng(4)
    for size in [*range(1, 80), 255, 256, 4095, 65535, 65536, 70000]:
        for data in (rng.integers(0, 256, size, dtype=np.uint8), np.zeros(size, np.uint8)):
            packed = deflate.compress(data.data)
            stream = zlib.decompressobj(-15)
            assert stream.decompress(packed + packed + b"\x03\x00") == 2 * data.tobytes()
            assert stream.eof
            assert deflate.adler32(data.data) == zlib.adler32(data)


def test_joined_checksums():
    rng = np.random.default_rng(5)
    for sizes in [(0, 0), (1, 0), (0, 1), (70000, 1), (1, 70000), (5552, 200000), (65521, 65521)]:
        first, second = (rng.integers(0, 256, size, dtype=np.uint8).tobytes() for size in sizes)
        joined = png._combine_adler32(zlib.adler32(first), zlib.adler32(second), len(second))
        assert joined == zlib.adler32(first + second)


@pytest.mark.parametrize("layout", ["rows apart", "mirrored", "pixels apart", "columns", "odd"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rows_that_lie_otherwise_in_memory(layout, dtype):
    array = samples(20, 30, 3, dtype=dtype)
    alpha = samples(20, 30, dtype=dtype, seed=1)
    expected = written(array, alpha)
    if layout == "rows apart":
        array, alpha = np.repeat(array, 2, axis=0)[::2], np.repeat(alpha, 2, axis=0)[::2]
    elif layout == "mirrored":
        array, alpha = array[::-1].copy()[::-1], alpha[::-1].copy()[::-1]
    elif layout == "pixels apart":
        array, alpha = np.repeat(array, 2, axis=1)[:, ::2], np.repeat(alpha, 2, axis=1)[:, ::2]
    elif layout == "columns":
        array, alpha = np.asfortranarray(array), np.asfortranarray(alpha)
    else:  # not aligned to the dtype
        array = np.frombuffer(b"x" + array.tobytes(), dtype, offset=1).reshape(array.shape)
    array.flags.writeable = alpha.flags.writeable = False
    assert written(array, alpha, bands=[3]) == expected


def test_gray_without_a_channel_axis():
    array = samples(9, 11)
    assert written(array) == written(array[:, :, None])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("icc", [False, True])
@pytest.mark.parametrize("dpi", [None, (300.0, 72.5)])
def test_the_chunks_are_those_of_pillow(tmp_path, channels, alpha, icc, dpi):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    gray = b"\0" * 16 + b"GRAY" + b"\0" * 16 + b"acsp" + b"\0" * 88
    profile = (SRGB if channels == 3 else gray) if icc else None
    color = samples(12, 14, channels)
    mask = samples(12, 14, seed=2) if alpha else None
    write_picture(Picture(color, mask, Metadata(profile, exif.tobytes(), dpi)), tmp_path / "a.png")
    ours = (tmp_path / "a.png").read_bytes()
    merged = color if mask is None else np.dstack([color, mask])
    image = Image.fromarray(merged[:, :, 0] if merged.shape[2] == 1 else merged)
    options = {"exif": exif.tobytes()}
    if icc:
        options["icc_profile"] = profile
    if dpi is not None:
        options["dpi"] = dpi
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    theirs = buffer.getvalue()

    def without_pixels(data):
        return [each for each in chunks_of(data) if each[0] != b"IDAT"]

    assert without_pixels(ours) == without_pixels(theirs)
    kinds = [kind for kind, _ in chunks_of(ours)]
    assert (b"iCCP" in kinds) == icc
    assert (b"pHYs" in kinds) == (dpi is not None)
    assert kinds.index(b"eXIf") < kinds.index(b"IDAT")
    with Image.open(io.BytesIO(ours)) as mine, Image.open(io.BytesIO(theirs)) as other:
        assert mine.mode == other.mode
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(other))
        assert mine.info == other.info
        assert mine.getexif() == other.getexif()


def test_chunks_of_color_and_text():
    long = "abc" * 1000
    text = (
        *(("Title", "Caf\xe9"), ("Title", "twice"), ("Long", long)),
        *(("Japanese", "\u7d75"), ("Long Japanese", "\u7d75" * 1000)),
    )
    metadata = {
        "xmp": b"<x/>",
        "gamma": 0.45455,
        "chromaticities": (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06),
        "rendering_intent": 1,
        "cicp": (12, 13, 0, 1),
        "text": text,
        "dpi": (300.0, 300.0),
    }
    chunks = chunks_of(png.SIGNATURE + png.metadata_chunks(**metadata))
    assert [kind for kind, _ in chunks] == [
        *(b"cICP", b"gAMA", b"cHRM", b"sRGB", b"pHYs"),
        *(b"iTXt", b"tEXt", b"tEXt", b"zTXt", b"iTXt", b"iTXt"),
    ]
    assert dict(chunks)[b"cICP"] == b"\x0c\x0d\0\1"
    assert dict(chunks)[b"gAMA"] == struct.pack(">I", 45455)
    array = samples(3, 3, 1)
    with Image.open(io.BytesIO(written(array, **metadata))) as image:
        assert image.info["gamma"] == 0.45455
        assert image.info["chromaticity"] == (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
        assert image.info["srgb"] == 1
        image.load()
        assert image.text == {**dict(text), "XML:com.adobe.xmp": "<x/>"}
    # A profile excludes the sRGB chunk.
    kinds = [
        kind
        for kind, _ in chunks_of(
            png.SIGNATURE + png.metadata_chunks(rendering_intent=0, icc_profile=SRGB)
        )
    ]
    assert kinds == [b"iCCP"]


@pytest.mark.parametrize(
    ("keyword", "text"),
    [("", "a"), ("x" * 80, "a"), ("\u7d75", "a"), ("a\0", "a"), ("a", "\0"), ("a", "\ud800")],
)
def test_texts_png_cannot_hold(keyword, text):
    assert not png.holds_text(keyword, text)
    with pytest.raises(ArgumentError, match="PNG holds 1 to 79 Latin-1 characters"):
        png.metadata_chunks(text=((keyword, text),))


def test_without_isal_zlib_does_it(monkeypatch):
    monkeypatch.setattr(row_writer, "igzip", lambda: None)
    array = samples(40, 50, 3)
    data = written(array)
    assert data == written(array, deflate=deflate.ZLIB)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(np.asarray(image), array)


def test_without_isal_it_is_found_out(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "isal", None)
    deflate.igzip.cache_clear()
    try:
        assert deflate.igzip() is None
    finally:
        deflate.igzip.cache_clear()


# --- misuse and failures


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 0}, "width is 0"),
        ({"height": 1 << 31}, "height is 2147483648"),
        ({"channels": 0}, "channels is 0"),
        ({"channels": 5}, "channels is 5"),
        ({"dtype": np.float32}, "dtype is float32"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_bad_arguments(change, words):
    buffer = io.BytesIO()
    with pytest.raises(ArgumentError, match=words):
        PngWriter(buffer, **{"width": 4, "height": 4, "channels": 3, **change})
    assert buffer.getvalue() == b""


def test_bad_rows():
    good = np.zeros((1, 5, 3), np.uint8)
    mask = np.zeros((1, 5), np.uint8)
    for color, alpha, words in [
        (good, None, "color has shape (1, 5, 3); it must be (rows, 5, 4)"),
        (good[:, :4], mask, "(rows, 5, 3)"),
        (good[0, 0], mask, "(rows, 5, 3)"),
        (good[:, :, 0], mask, "(rows, 5, 3)"),
        (good, mask[0], "alpha has shape (5,); it must be (1, 5)"),
        (good, np.zeros((2, 5), np.uint8), "alpha has shape (2, 5)"),
        (good.astype(np.uint16), mask, "color has dtype uint16; it must be uint8"),
        (good, mask.astype(np.float32), "alpha has dtype float32"),
        (np.zeros((3, 5, 3), np.uint8), np.zeros((3, 5), np.uint8), "3 rows were written to a"),
    ]:
        writer = PngWriter(io.BytesIO(), width=5, height=2, channels=4)
        with pytest.raises(ArgumentError) as caught:
            writer.write_rows(color, alpha)
        assert words in str(caught.value)
        writer.write_rows(good, mask)  # a refused call changes nothing
        writer.write_rows(good[:0], mask[:0])
        writer.write_rows(good, mask)
        writer.close()
        writer.close()
        with pytest.raises(ArgumentError, match="closed"):
            writer.write_rows(good[:0], mask[:0])


def test_missing_rows():
    buffer = io.BytesIO()
    writer = PngWriter(buffer, width=5, height=3, channels=1)
    writer.write_rows(np.zeros((2, 5), np.uint8))
    with pytest.raises(ArgumentError, match="2 of 3 rows"):
        writer.close()
    with pytest.raises(ArgumentError, match="given up"):
        writer.close()
    assert b"IEND" not in buffer.getvalue()


def threads_alive():
    return [each.name for each in threading.enumerate() if each.name.startswith("waifu2x-png")]


def test_no_threads_are_left():
    array = samples(300, 900, 3)
    written(array, threads=3)
    assert threads_alive() == []
    writer = PngWriter(io.BytesIO(), width=900, height=300, channels=3)

    def interrupted():
        with writer:
            writer.write_rows(array[:200])
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert threads_alive() == []
    with pytest.raises(ArgumentError, match="given up"):
        writer.close()
    writer.abort()


class Full(io.BytesIO):
    """A file that fails after a given number of bytes."""

    def __init__(self, room):
        super().__init__()
        self.room = room

    def write(self, data):
        if self.tell() + len(data) > self.room:
            raise OSError(28, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("room", [0, 20, 100, 2000, 200_000])
def test_what_the_stream_raises_arrives(monkeypatch, room):
    monkeypatch.setattr(row_writer, "STRIP_BYTES", 10_000)
    noise = np.random.default_rng(6).integers(0, 256, (400, 300, 3), dtype=np.uint8)

    def write_all():
        with PngWriter(Full(room), width=300, height=400, channels=3) as writer:
            writer.write_rows(noise)

    with pytest.raises(OSError, match="No space"):
        write_all()
    assert threads_alive() == []


def test_after_a_failure_it_cannot_be_finished(monkeypatch):
    monkeypatch.setattr(row_writer, "STRIP_BYTES", 1000)
    monkeypatch.setattr(row_writer, "_MAX_PENDING", 1)
    noise = np.random.default_rng(6).integers(0, 256, (400, 300, 3), dtype=np.uint8)
    writer = PngWriter(Full(100), width=300, height=400, channels=3)
    with pytest.raises(OSError, match="No space"):
        writer.write_rows(noise)
    with pytest.raises(ArgumentError, match="closed"):
        writer.write_rows(noise[:1])
    with pytest.raises(ArgumentError, match="given up"):
        writer.close()


def test_what_a_compressor_raises_arrives():
    calls = []

    def compress(data):
        calls.append(len(data))
        if len(calls) == 3:
            raise MemoryError("no room")
        return deflate.ZLIB.compress(data)

    array = samples(700, 999, 3)
    broken = deflate.Deflate(compress, zlib.adler32)
    with pytest.raises(MemoryError, match="no room"):
        written(array, deflate=broken, threads=1)
    assert threads_alive() == []


def test_the_queue_is_bounded(monkeypatch):
    monkeypatch.setattr(row_writer, "STRIP_BYTES", 1000)
    monkeypatch.setattr(row_writer, "_MAX_PENDING", 4)
    gate, waiting = threading.Event(), threading.Event()

    def compress(data):
        gate.wait(10)
        return deflate.ZLIB.compress(data)

    array = samples(100, 400)  # two rows a piece
    buffer = io.BytesIO()
    slow = deflate.Deflate(compress, zlib.adler32)
    with PngWriter(buffer, width=400, height=100, channels=1, threads=2, deflate=slow) as writer:
        writer.write_rows(array[:8])  # does not wait for the blocked compressor
        assert not gate.is_set()

        def rest():
            waiting.set()
            writer.write_rows(array[8:])

        thread = threading.Thread(target=rest)
        thread.start()
        waiting.wait(10)
        assert len(writer._pending) <= 4
        gate.set()
        thread.join(10)
        assert not thread.is_alive()
    with Image.open(io.BytesIO(buffer.getvalue())) as image:
        np.testing.assert_array_equal(np.asarray(image), array)


# --- files, row by row


def in_bands(picture, step):
    def fill(writer):
        for top in range(0, picture.height, step):
            rows = slice(top, top + step)
            alpha = None if picture.alpha is None else picture.alpha[rows]
            writer.write_rows(picture.color[rows], alpha)

    return fill


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_bands_make_the_file_of_the_whole_picture(tmp_path, dtype, channels, alpha):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA002] = 7
    kind = np.uint8 if dtype == np.float32 else dtype
    color = samples(50, 40, channels, dtype=kind)
    mask = samples(50, 40, dtype=kind, seed=1) if alpha else None
    if dtype == np.float32:
        color = codec.convert_samples(color, dtype)
        mask = None if mask is None else codec.convert_samples(mask, dtype)
    picture = Picture(color, mask, Metadata(None, exif.tobytes(), (96.0, 96.0)))
    notes = write_picture(picture, tmp_path / "a.png")
    like = Picture(color[:5, :4], None if mask is None else mask[:5, :4], picture.metadata)
    again = write_rows(
        like, tmp_path / "b.png", in_bands(picture, 7), width=40, height=50, overwrite=True
    )
    assert notes == again
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    array = imagecodecs.png_decode((tmp_path / "b.png").read_bytes()).reshape(50, 40, -1)
    kept = np.uint8 if dtype == np.uint8 else np.uint16
    expected = color if mask is None else np.dstack([color, mask])
    np.testing.assert_array_equal(array, codec.convert_samples(expected, kept))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.bmp"])
def test_rows_of_another_kind_leave_nothing(tmp_path, name):
    picture = Picture(samples(20, 30, 3))
    path = tmp_path / name
    for fill, error, words in [
        (lambda writer: writer.write_rows(picture.color[:9]), ArgumentError, "9 of 20 rows"),
        (lambda writer: None, ArgumentError, "0 of 20 rows"),
        (lambda writer: writer.write_rows(picture.color[:, :9]), ArgumentError, "(rows, 30, 3"),
        (
            lambda writer: writer.write_rows(picture.color, picture.color[:, :, 0]),
            ArgumentError,
            "",
        ),
        (
            lambda writer: writer.write_rows(np.full((20, 30, 3), np.nan, np.float32)),
            EncodeError,
            "NaN or infinity",
        ),
    ]:
        with pytest.raises(error) as caught:
            write_rows(picture, path, fill, width=30, height=20)
        assert words in str(caught.value)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [CancelledError("stopped"), KeyboardInterrupt(), ValueError()])
def test_what_fill_raises_leaves_nothing(tmp_path, error):
    array = samples(900, 300, 3)

    def fill(writer):
        writer.write_rows(array[:800])
        raise error

    with pytest.raises(type(error)) as caught:
        write_rows(Picture(array), tmp_path / "a.png", fill, width=300, height=900)
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []
    assert threads_alive() == []


def test_a_failure_that_fill_swallows_is_no_file(tmp_path, monkeypatch):
    def broken():
        def compress(data):
            raise zlib.error("broken")

        return deflate.Deflate(compress, zlib.adler32)

    monkeypatch.setattr(row_writer, "igzip", broken)
    monkeypatch.setattr(row_writer, "_MAX_PENDING", 1)
    array = samples(900, 300, 3)
    seen = []

    def fill(writer):
        for row in array:
            try:
                writer.write_rows(row[None])
            except Waifu2xError as error:
                seen.append(str(error))

    with pytest.raises(ArgumentError, match="given up"):
        write_rows(Picture(array), tmp_path / "a.png", fill, width=300, height=900)
    assert seen[0] == "the picture cannot be encoded as PNG: broken; choose another format"
    assert "closed" in seen[-1]
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept(tmp_path):
    picture = Picture(samples(4, 4, 3))
    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(OutputExistsError):
        write_rows(picture, tmp_path / "a.png", in_bands(picture, 1), width=4, height=4)
    assert (tmp_path / "a.png").read_bytes() == b"old"
