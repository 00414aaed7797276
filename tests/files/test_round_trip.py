"""Every cell of the tables in docs/formats.md, from file to file.

The network repeats every pixel 2x2, so that the expected file is known exactly.
"""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from helpers import round_trip as trip
from helpers.ciede import delta_e, lab_of
from helpers.round_trip import OUTPUTS, Array
from PIL import Image, ImageCms

from waifu2x import Upscaler, upscale_file
from waifu2x.codec.animation import open_animation
from waifu2x.errors import ArgumentError, EncodeError
from waifu2x.files import FileResult
from waifu2x.network import registry
from waifu2x.network.graph import Conv, Graph, Node, Upsample

PAGE = Path(__file__).parents[2] / "docs/formats.md"


def ids(words: str) -> str:
    """The pytest id of a row."""
    return re.sub(r"[^\w+]+", "-", words).strip("-")


@pytest.fixture(scope="module")
def upscaler() -> Iterator[Upscaler]:
    """An upscaler whose network repeats every pixel."""
    weight = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
    graph = Graph(
        [
            Node("same", Conv(weight, np.zeros(3, np.float32)), ("input",)),
            Node("up", Upsample(2), ("same",)),
        ],
        output="up",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "load", lambda entry: graph)
        yield Upscaler("upconv_7", threads=1)


def converted(
    upscaler: Upscaler, data: bytes, folder: Path, column: str, **options: Any
) -> tuple[Path, FileResult]:
    """Convert the file ``data`` to the format of a column of the tables."""
    output = {**OUTPUTS, **trip.ANIMATED}[column]
    if output.format == "jxl":
        pytest.importorskip("pillow_jxl")
    (folder / "in").write_bytes(data)
    result = upscale_file(
        folder / "in",
        folder / "out",
        upscaler=upscaler,
        noise=None,
        format=output.format,
        quality=output.quality,
        **options,
    )
    assert result.target == folder / "out"
    return folder / "out", result


def doubled(pixels: Array) -> Array:
    return pixels.repeat(2, axis=0).repeat(2, axis=1)


def stored(path: Path, format: str) -> Array:
    """The samples (H, W, C) of a file in its own depth, read by another library."""
    if format == "tiff":
        return np.atleast_3d(tifffile.imread(path))
    if format == "png":
        return np.atleast_3d(imagecodecs.png_decode(path.read_bytes()))
    if format == "jxl":
        return np.atleast_3d(imagecodecs.jpegxl_decode(path.read_bytes()))
    with Image.open(path) as image:
        assert image.format == format.upper()
        return np.atleast_3d(np.asarray(image))


def share(samples: Array) -> Array:
    """Scale samples to [0, 1]."""
    white = np.iinfo(samples.dtype).max if samples.dtype.kind == "u" else 1
    return samples / white


def laid_out(truth: Array, layout: str) -> Array:
    """Convert ``truth`` (H, W, C) in [0, 1] to ``layout``; composites transparency on white."""
    channels = truth.shape[2]
    if channels in (2, 4) and layout in ("gray", "RGB"):
        truth = truth[:, :, :-1] * truth[:, :, -1:] + 1 - truth[:, :, -1:]
    if channels <= 2 and layout in ("RGB", "RGBA"):
        truth = np.dstack([truth[:, :, :1].repeat(3, axis=2), truth[:, :, 1:]])
    return truth


def assert_pixels(found: Array, truth: Array, *, near: int = 0, rounded: bool = False) -> None:
    """Compare stored samples with ``truth`` in [0, 1].

    near: see `trip.Output`. rounded: the samples were rounded twice.
    """
    assert found.shape == truth.shape
    error = np.abs(share(found) - truth)
    if found.shape[2] in (2, 4):
        error[truth[:, :, -1] == 0, :-1] = 0  # the color of transparent pixels is undefined
    if near:
        assert error.mean() < near / 255
        assert error.max() < 10 * near / 255
    elif found.dtype.kind == "f":
        assert error.max() < 1e-6
    else:
        step = 1 / np.iinfo(found.dtype).max
        # Ideal rounding is off by half a step, plus the error of floats.
        assert error.max() < (1.5 if rounded else 0.5001 + 1e-6 / step) * step


@cache
def written(kind: str) -> trip.Written:
    return trip.KINDS[kind].write()


@pytest.mark.parametrize("column", OUTPUTS)
@pytest.mark.parametrize("kind", trip.KINDS)
def test_pixels(upscaler: Upscaler, tmp_path: Path, kind: str, column: str) -> None:
    read_as = trip.KINDS[kind].read_as
    cell = trip.PIXELS[read_as][list(OUTPUTS).index(column)]
    (layout, bits), *rest = cell.split(", ")[0].rsplit(" ", 1), *cell.split(", ")[1:]
    data, pixels = written(kind)
    assert (pixels.shape[2], pixels.dtype) == (
        trip.CHANNELS[read_as.rsplit(" ", 1)[0]],
        trip.DTYPES[read_as.rsplit(" ", 1)[1]],
    )
    path, result = converted(upscaler, data, tmp_path, column)
    found = stored(path, OUTPUTS[column].format)
    assert (found.shape[2], found.dtype) == (trip.CHANNELS[layout], trip.DTYPES[bits])
    assert_pixels(
        found,
        laid_out(share(doubled(pixels)), layout),
        near=OUTPUTS[column].near,
        rounded="on white" in rest or "CMYK" in kind,
    )
    assert (result.size_in, result.size_out) == (
        (trip.WIDTH, trip.HEIGHT),
        (2 * trip.WIDTH, 2 * trip.HEIGHT),
    )
    # Every loss has a note, and there are no other notes.
    expected = ["composited on white"] if "on white" in rest else []
    if bits != read_as.rsplit(" ", 1)[1]:
        expected.append(f"samples reduced to {bits}-bit")
    assert ("noted" in rest) == bool(expected)
    expected += ["CMYK converted to sRGB"] if "CMYK" in kind else []
    assert_notes(result.notes, expected)


def assert_notes(notes: tuple[str, ...], expected: list[str]) -> None:
    """Each expected text is in a separate note, and there are no other notes."""
    assert len(notes) == len(expected), notes
    for words in expected:
        assert sum(words in note for note in notes) == 1, notes


@pytest.mark.parametrize("column", ["png", "tiff"])
def test_linear_light_of_jpeg_xl(upscaler: Upscaler, tmp_path: Path, column: str) -> None:
    """All 16 bits and their profile are kept."""
    data, pixels = trip.linear_jxl()
    path, result = converted(upscaler, data, tmp_path, column)
    assert result.notes == ()
    found = stored(path, column)
    assert found.dtype == np.uint16
    assert_pixels(found, share(doubled(pixels)))
    icc = label_of(path)
    assert icc is not None
    middle = ImageCms.profileToProfile(
        Image.new("RGB", (1, 1), (128, 128, 128)),
        ImageCms.ImageCmsProfile(io.BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
    )
    assert middle is not None
    assert middle.getpixel((0, 0)) == (188, 188, 188)  # half of the linear light


# --- metadata of pictures


def lab(pixels: Array, means: bytes) -> Array:
    """CIE L*a*b* of 8-bit samples (H, W, 1 or more) with the ICC profile ``means``."""
    colors = pixels[:, :, :3] if pixels.shape[2] > 2 else pixels[:, :, :1].repeat(3, axis=2)
    return lab_of(colors, means)


def label_of(path: Path) -> bytes | None:
    """The ICC profile in a file."""
    with Image.open(path) as image:
        # For JPEG XL, the plugin derives a profile from the color encoding, which is always sRGB.
        return None if image.format == "JXL" else image.info.get("icc_profile")


def is_color(row: str) -> bool:
    return row.startswith(("ICC", "gAMA", "cICP", "nclx"))


def png_chunks(data: bytes) -> dict[bytes, bytes]:
    found, at = {}, 8
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found[data[at + 4 : at + 8]] = data[at + 8 : at + 8 + size]
        at += size + 12
    return found


def assert_colors(
    path: Path,
    pixels: Array,
    row: str,
    word: str,
    source: trip.Labeled,
    *,
    near: int = 0,
) -> None:
    """The colors of the source are kept, and the color label is treated as ``word`` states."""
    icc = label_of(path)
    gray = "gray" in row
    if word == "kept" and row.startswith("ICC"):
        was = {"ICC profile": trip.PROPHOTO, "ICC profile of gray": trip.GRAY_LINEAR}
        assert icc == was.get(row, trip.SRGB)
        means = source.means
    elif word in ("as nclx", "as cICP") or (word == "kept" and row.startswith("nclx")):
        assert icc is None
        code = 9, 18 if "HLG" in row else 16 if "PQ" in row else 13
        if word == "as cICP":
            assert png_chunks(path.read_bytes())[b"cICP"] == bytes([*code, 0, 1])
        else:
            assert b"colrnclx" + struct.pack(">HH", *code) in path.read_bytes()
        means = source.means
    elif word == "kept":
        assert icc is None
        before, after = png_chunks(source.data), png_chunks(path.read_bytes())
        names = [name for name in (b"gAMA", b"cHRM", b"cICP") if name in before]
        assert names
        assert [after[name] for name in names] == [before[name] for name in names]
        means = source.means
    elif word == "as ICC":
        assert icc is not None
        assert icc[16:20] == (b"GRAY" if gray else b"RGB ")
        means = source.means if gray else icc
        if gray:
            assert icc == trip.GRAY_LINEAR
    else:
        assert icc is None
        means = trip.SRGB
    truth = lab(doubled(source.pixels), source.means)
    error = delta_e(lab(pixels, means), truth)
    exact = word != "to sRGB" and not near
    assert error.mean() < (0.2 if exact else 2.5)
    if source.means != trip.SRGB:  # check of the check: without the label colors differ
        assert delta_e(lab(doubled(source.pixels), trip.SRGB), truth).mean() > 3


def said(row: str, word: str) -> list[str]:
    """The texts of the notes that belong to a cell."""
    if "noted" not in word:
        return []
    if word.startswith("to sRGB"):
        return ["colors converted to sRGB"]
    subjects = {
        "cICP, PQ (HDR)": "cICP 9/16/0/1",
        "nclx of AVIF, HLG (HDR)": "cICP 9/18/0/1",
        "texts of PNG": "text",
        "comments of JPEG": "comments",
        "IPTC of JPEG": "IPTC",
        "gain map of JPEG (HDR)": "the gain map (HDR)",
    }
    return [subjects.get(row, row)]


@pytest.mark.parametrize("column", OUTPUTS)
@pytest.mark.parametrize("row", [row for row in trip.METADATA if is_color(row)], ids=ids)
def test_colors(upscaler: Upscaler, tmp_path: Path, row: str, column: str) -> None:
    cell = trip.METADATA[row][list(OUTPUTS).index(column)]
    source = trip.labeled(row)
    path, result = converted(upscaler, source.data, tmp_path, column)
    assert_notes(result.notes, said(row, cell))
    output = OUTPUTS[column]
    word = cell.removesuffix(", noted")
    found = stored(path, output.format)
    assert_colors(path, found, row, word, source, near=output.near)


def xmp_in(path: Path) -> bytes | None:
    """The XMP packet of a file; in JPEG XL the packet is stored uncompressed."""
    data = path.read_bytes()
    if data[4:8] == b"JXL ":
        return trip.XMP if trip.XMP in data else None
    with Image.open(path) as image:
        return image.info.get("xmp")


def exif_in(path: Path) -> dict[int, Any]:
    with Image.open(path) as image:
        exif = image.getexif()
        return {**exif, **exif.get_ifd(0x8769)}


def texts_in(path: Path) -> tuple[tuple[str, str], ...]:
    with Image.open(path) as image:
        image.load()
        return tuple(getattr(image, "text", {}).items())


def assert_metadata(path: Path, row: str, word: str, size: tuple[int, int]) -> None:
    """The metadata ``row`` of a file is treated as ``word`` states."""
    kept = word == "kept"
    if row == "XMP":
        assert xmp_in(path) == (trip.XMP if kept else None)
    elif row == "comments of JPEG":
        with Image.open(path) as image:
            image.load()
            comment = image.info.get("comment", image.info.get("Comment", "").encode())
        assert comment == (b"a comment" if kept else b"")
    elif row == "IPTC of JPEG":
        assert (trip.IPTC in path.read_bytes()) == kept
    elif row == "gain map of JPEG (HDR)":
        assert b"iso:ts:21496" not in path.read_bytes()
    elif row == "texts of PNG":
        assert texts_in(path) == (trip.TEXTS if kept else ())
    elif row == "EXIF":
        found = exif_in(path)
        assert found.get(0x010F) == ("Maker" if kept else None)
        assert found.get(0x0112, 1) == 1
        if kept:
            assert found[0x9003] == "2020:01:02 03:04:05"
            assert (found[0xA002], found[0xA003]) == size
    else:
        assert row == "resolution (DPI)"
        with Image.open(path) as image:
            found_dpi = image.info.get("dpi")
        assert found_dpi == (pytest.approx(trip.DPI, rel=1e-3) if kept else None)


@pytest.mark.parametrize("column", OUTPUTS)
@pytest.mark.parametrize("row", [row for row in trip.METADATA if not is_color(row)], ids=ids)
def test_metadata(upscaler: Upscaler, tmp_path: Path, row: str, column: str) -> None:
    cell = trip.METADATA[row][list(OUTPUTS).index(column)]
    source = trip.labeled(row)
    path, result = converted(upscaler, source.data, tmp_path, column)
    assert_notes(result.notes, said(row, cell))
    height, width = (2 * side for side in source.pixels.shape[:2])
    assert result.size_out == (width, height)
    assert_metadata(path, row, cell.removesuffix(", noted"), (width, height))
    output = OUTPUTS[column]
    found = stored(path, output.format)  # rotated upright if EXIF requires
    assert_pixels(found, share(doubled(source.pixels)), near=output.near)


# --- animations


def frames_of(path: Path) -> tuple[list[Array], list[Fraction], int]:
    """Frames (H, W, 4), durations in seconds and plays; 0 plays is forever.

    Pillow reads everything except durations, which Pillow has as floats, and plays of AVIF, which
    Pillow does not report.
    """
    with path.open("rb") as stream:
        ours = open_animation(stream, "out", max_pixels=10**6)
        assert ours is not None
        durations = [frame.duration for frame in ours]
    frames = []
    with Image.open(path) as image:
        plays = image.info.get("loop")
        if image.format == "GIF":
            plays = 1 if plays is None else plays + 1 if plays else 0
        for number in range(image.n_frames):
            image.seek(number)
            frames.append(np.array(image.convert("RGBA")))
            # Pillow sets the duration of WebP and AVIF when the frame is loaded.
            assert image.info["duration"] == pytest.approx(float(durations[number] * 1000))
    return frames, durations, ours.loop if plays is None else plays


@cache
def animated(row: str) -> trip.Moving:
    return trip.animated(row)


@pytest.mark.parametrize("column", trip.ANIMATED)
@pytest.mark.parametrize("row", trip.ANIMATIONS, ids=ids)
def test_animations(upscaler: Upscaler, tmp_path: Path, row: str, column: str) -> None:
    cell = trip.ANIMATIONS[row][list(trip.ANIMATED).index(column)]
    source = animated(row)
    path, result = converted(upscaler, source.data, tmp_path, column)
    found, durations, plays = frames_of(path)
    assert plays == source.plays
    if "time rounded" in cell:
        assert durations != source.durations
        for n in range(1, 4):  # the rounding error carries to the next frames
            assert abs(sum(durations[:n]) - sum(source.durations[:n])) <= Fraction(1, 200)
    else:
        assert durations == source.durations
    assert len(found) == len(source.frames)
    for frame, truth in zip(found, source.frames, strict=True):
        expected = doubled(truth)
        if "alpha on or off" in cell:
            expected[:, :, 3] = np.where(expected[:, :, 3] < 128, 0, 255)
        near = 3 if "near" in cell or "256 colors" in cell else 0
        assert_pixels(frame, share(expected), near=near)
    expected_notes = ["3 frames"]
    for words, note in (
        ("alpha on or off", "half transparency"),
        ("256 colors", "256 colors a frame"),
        ("time rounded", "durations rounded"),
    ):
        expected_notes += [note] if words in cell else []
    assert ("noted" in cell) == (len(expected_notes) > 1)
    assert_notes(result.notes, expected_notes)


@pytest.mark.parametrize("column", trip.ANIMATED)
@pytest.mark.parametrize("row", trip.ANIMATION_METADATA, ids=ids)
def test_animation_metadata(upscaler: Upscaler, tmp_path: Path, row: str, column: str) -> None:
    cell = trip.ANIMATION_METADATA[row][list(trip.ANIMATED).index(column)]
    source = trip.animated_with(row)
    path, result = converted(upscaler, source.data, tmp_path, column)
    assert_notes(result.notes, ["3 frames", *said(row, cell)])
    word = cell.removesuffix(", noted")
    if is_color(row):
        first = trip.Labeled(source.data, source.frames[0], source.means)
        found = frames_of(path)[0][0]
        assert_colors(path, found, row, word, first, near=trip.ANIMATED[column].near)
    else:
        assert_metadata(path, row, word, (2 * trip.WIDTH, 2 * trip.HEIGHT))


@pytest.mark.parametrize("column", ["jpeg", "tiff", "bmp", "jxl"])
def test_animations_are_not_cut_down_to_a_picture(
    upscaler: Upscaler, tmp_path: Path, column: str
) -> None:
    with pytest.raises(EncodeError, match="is an animation; write it as gif, png, webp or avif"):
        converted(upscaler, animated("GIF").data, tmp_path, column)
    assert not (tmp_path / "out").exists()


# --- options


@pytest.mark.parametrize("row", ["EXIF", "XMP", "texts of PNG"])
def test_strip_leaves_out_without_a_note(upscaler: Upscaler, tmp_path: Path, row: str) -> None:
    source = trip.labeled(row)
    path, result = converted(upscaler, source.data, tmp_path, "png", strip=True)
    assert result.notes == ()
    assert_metadata(path, row, "left out", result.size_out)
    assert_pixels(stored(path, "png"), share(doubled(source.pixels)))


@pytest.mark.parametrize("row", ["ICC profile", "gAMA and cHRM", "resolution (DPI)"], ids=ids)
def test_strip_keeps_what_colors_and_sizes_mean(
    upscaler: Upscaler, tmp_path: Path, row: str
) -> None:
    source = trip.labeled(row)
    path, _ = converted(upscaler, source.data, tmp_path, "png", strip=True)
    if is_color(row):
        assert_colors(path, stored(path, "png"), row, "kept", source)
    else:
        assert_metadata(path, row, "kept", (0, 0))


@pytest.mark.parametrize("row", ["EXIF", "XMP", "texts of PNG"])
def test_strip_of_an_animation(upscaler: Upscaler, tmp_path: Path, row: str) -> None:
    source = trip.animated_with(row)
    for column in trip.ANIMATED:
        folder = tmp_path / column
        folder.mkdir()
        path, result = converted(upscaler, source.data, folder, column, strip=True)
        assert result.notes == ("3 frames",)
        assert_metadata(path, row, "left out", result.size_out)


@pytest.mark.parametrize("column", OUTPUTS)
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("kind", ["png-RGB-8", "png-RGB-16", "tiff-RGB-float"])
def test_depth(upscaler: Upscaler, tmp_path: Path, kind: str, depth: int, column: str) -> None:
    data, pixels = written(kind)
    if depth == 16 and column not in ("png", "tiff"):
        with pytest.raises(ArgumentError, match="8 bits per sample; write PNG or TIFF"):
            converted(upscaler, data, tmp_path, column, depth=depth)
        assert not (tmp_path / "out").exists()
        return
    path, result = converted(upscaler, data, tmp_path, column, depth=depth)
    assert result.notes == ()  # the change was requested
    found = stored(path, OUTPUTS[column].format)
    assert found.dtype == trip.DTYPES[str(depth)]
    truth = share(doubled(pixels))
    assert_pixels(found, truth, near=OUTPUTS[column].near)


def test_depth_of_an_animation(upscaler: Upscaler, tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match="animation, which is written with 8 bits; leave out"):
        converted(upscaler, animated("APNG, RGB").data, tmp_path, "png", depth=16)
    path, _ = converted(upscaler, animated("APNG, RGB").data, tmp_path, "png", depth=8)
    assert len(frames_of(path)[0]) == 3


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("column", ["png", "jpeg", "gif"])
def test_keep_times(upscaler: Upscaler, tmp_path: Path, column: str, keep: bool) -> None:
    data = animated("GIF").data if column == "gif" else written("png-RGB-8").data
    source = tmp_path / "in"
    source.write_bytes(data)
    seconds = 1_000_000_000
    os.utime(source, ns=(seconds * seconds, (seconds + 86_400) * seconds))
    target = tmp_path / f"out.{column}"
    upscale_file(source, target, upscaler=upscaler, noise=None, keep_times=keep)
    age = target.stat().st_mtime_ns // seconds - seconds
    assert (age == 86_400) == keep


# --- trained network, and the page


@pytest.mark.parametrize("kind", ["png-gray-16", "png-RGBA-8", "jpeg-RGB", "tiff-RGB-float"])
def test_with_a_trained_network(tmp_path: Path, kind: str) -> None:
    """The tests above hold for any network; this test uses a trained network."""
    data, pixels = written(kind)
    path, _ = converted(Upscaler("upconv_7", threads=1), data, tmp_path, "tiff")
    found = stored(path, "tiff")
    assert (found.shape, found.dtype) == (doubled(pixels).shape, pixels.dtype)
    blocks = share(found).reshape(trip.HEIGHT, 2, trip.WIDTH, 2, -1).mean(axis=(1, 3))
    error = np.abs(blocks - share(pixels))
    if pixels.shape[2] == 4:
        error = error[share(pixels)[:, :, 3] > 0.05]
    assert error.mean() < 4 / 255


def test_the_page_holds_these_tables() -> None:
    page = PAGE.read_text("utf-8")
    made = page.split(trip.BEGIN)[1].split(trip.END)[0].strip()
    assert made == trip.markdown(), "run: python docs/make_table.py"


def test_every_cell_is_there() -> None:
    for rows, columns in (
        (trip.PIXELS, OUTPUTS),
        (trip.METADATA, OUTPUTS),
        (trip.ANIMATIONS, trip.ANIMATED),
        (trip.ANIMATION_METADATA, trip.ANIMATED),
    ):
        assert {len(row) for row in rows.values()} == {len(columns)}
    assert {kind.read_as for kind in trip.KINDS.values()} == set(trip.PIXELS)
