"""The table of formats, and detection by the first bytes."""

from __future__ import annotations

import io
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from waifu2x import codec, kernels
from waifu2x.batch.inputs import picture_suffixes
from waifu2x.codec.formats import FORMATS

ENCODERS = {
    **dict.fromkeys((".png", ".tif", ".tiff"), 0.7),
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif", ".bmp"), 1.5),
    ".gif": 3.0,
    ".webp": 8.0,
    ".avif": 15.0,
    ".jxl": 22.0,
}


#: Not .ts, which is TypeScript as well.
VIDEOS = {
    *(".mkv", ".mk3d", ".webm", ".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".f4v", ".avi", ".flv"),
    *(".m2ts", ".mts", ".mpg", ".mpeg", ".vob", ".m2v", ".ogv", ".ogm", ".wmv", ".asf", ".mxf"),
    *(".rmvb", ".ivf"),
}


def test_files_that_are_taken_from_folders_and_archives():
    assert {
        *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".gif", ".bmp"),
        *(".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".psd", ".psb", ".jp2"),
        *(".j2k", ".jpx", ".jxl", ".qoi", ".ico", ".cur", ".pcx", ".dds", ".pam", ".pfm", ".cbz"),
        ".y4m",
    } == picture_suffixes() - VIDEOS
    # Videos are taken if PyAV is there to read them.
    assert (VIDEOS if find_spec("av") is not None else set()) == picture_suffixes() & VIDEOS
    assert {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".avif", ".jxl", ".jp2"),
        *(".j2k", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".ppm", ".pgm", ".tga", ".qoi"),
    } == codec.PAGE_SUFFIXES
    assert ENCODERS == codec.ENCODER_MEMORY


def test_animations_are_written_in_four_formats():
    names = [output.name for output in codec.ANIMATED_OUTPUT_FORMATS]
    assert names == ["gif", "png", "webp", "avif"]
    assert [output.name for output in codec.ANIMATED_OUTPUT_FORMATS if not output.lossy] == [
        *("gif", "png")
    ]


@pytest.mark.parametrize("name", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000"])
def test_pictures_are_recognized(name):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, name)
    head = buffer.getvalue()[:64]
    found = codec.sniff(head)
    assert found.format is not None
    assert found.format.pillow == name
    assert found.animated == (name in ("PNG", "GIF", "WEBP", "AVIF"))
    assert codec.is_picture(head)
    assert not codec.is_picture(head[1:])


@pytest.mark.parametrize(
    ("head", "name", "words"),
    [
        (b"PK\3\4", "zip", "a ZIP file, not one picture; upscale a comic with `waifu2x.upscale"),
        (b"Rar!\x1a\x07\0", "rar", "a RAR archive (CBR), which is not supported; repack it as ZIP"),
        (b"a" * 257 + b"ustar", "tar", "a tar archive (CBT)"),
        (b"%PDF-1.7", "pdf", "a PDF file, which is not supported; save it as PNG"),
        (b"\0\0\0\x18ftypheic", "heic", "a HEIC file"),
        (b"\0\0\0\x18ftypmp42", "video", "a video file"),
    ],
)
def test_files_that_are_no_pictures_have_names(head, name, words):
    found = codec.sniff(head)
    assert (found.name, found.format, found.animated) == (name, None, False)
    assert found.unsupported("x").startswith(f"x is {words}")


def test_other_files_are_unknown():
    for head in (b"", b"P", b"hello", b"\0\0\1\0", b"RIFF\0\0\0\0WAVE", b"\n" * 600):
        assert codec.sniff(head).name == ""


def test_a_signature_at_the_start_precedes_one_behind_it() -> None:
    """The fields of a BMP header may spell the brand of an AVIF."""
    head = b"BM" + bytes(2) + b"ftypavif" + bytes(52)
    assert codec.sniff(head).name == "bmp"


def test_names_and_extensions_are_unique():
    names = [row.name for row in FORMATS]
    extensions = [each for row in FORMATS for each in row.extensions + row.folder_extensions]
    assert len(set(names)) == len(names)
    assert len(set(extensions)) == len(extensions)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1000,), (20, 50), (10, 20, 5)])
def test_floats_are_quantized_as_by_the_kernels(dtype, shape):
    values = np.random.default_rng(1).uniform(-0.2, 1.2, 1000).astype(np.float32)
    expected = kernels.quantize(values[None], dtype)[0]
    found = codec.convert_samples(values.reshape(shape), dtype)
    np.testing.assert_array_equal(found, expected.reshape(shape))
    assert codec.convert_samples(values[:0].reshape(0, 3), dtype).shape == (0, 3)
