"""Upscale single files: names, checks before the work, and cleanup."""

from __future__ import annotations

import io
import os
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import art
from helpers.pictures import write_picture
from PIL import Image

from waifu2x import Upscaler, codec, upscale_file
from waifu2x.errors import (
    ArgumentError,
    CancelledError,
    DecodeError,
    EncodeError,
    EngineError,
    OutputExistsError,
)
from waifu2x.picture import Metadata, Picture


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler("upconv_7")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.v1.jpg"
    art.anime_face(20, 16).save(path, quality=75)
    return path


def test_target_names(upscaler: Upscaler, source: Path, tmp_path: Path) -> None:
    def target(*args: Any, **options: Any) -> Path | None:
        return upscale_file(source, *args, upscaler=upscaler, **options).target

    assert target() == tmp_path / "in.v1_waifu2x.png"
    assert target(format="webp") == tmp_path / "in.v1_waifu2x.webp"
    other = tmp_path / "out"
    other.mkdir()
    assert target(other) == other / "in.v1.png"
    assert target(other / "..", format="tiff") == other / "../in.v1_waifu2x.tif"
    assert target(tmp_path / "x.JPG") == tmp_path / "x.JPG"
    with Image.open(tmp_path / "x.JPG") as image:
        assert image.format == "JPEG"


def test_result_and_report(upscaler: Upscaler, source: Path, tmp_path: Path) -> None:
    report = upscale_file(source, tmp_path / "out.png", upscaler=upscaler)
    assert (report.size_in, report.size_out) == ((20, 16), (40, 32))
    assert report.noise == 1
    assert "75" in report.reason
    with Image.open(report.target) as image:
        assert (image.format, image.size) == ("PNG", (40, 32))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.v1.jpg", "out.png"]


def test_transparency_into_jpeg_is_laid_on_white(upscaler: Upscaler, tmp_path: Path) -> None:
    source = tmp_path / "sprite.png"
    art.sprite(24).save(source)
    report = upscale_file(source, tmp_path / "out.jpg", upscaler=upscaler)
    assert any("white" in note for note in report.notes)
    with Image.open(report.target) as image:
        assert min(image.convert("RGB").getpixel((0, 0))) > 250


def test_existing_files_are_kept(upscaler: Upscaler, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"precious")
    with pytest.raises(OutputExistsError, match="`overwrite=True`"):
        upscale_file(source, target, upscaler=upscaler)
    assert target.read_bytes() == b"precious"
    upscale_file(source, target, upscaler=upscaler, overwrite=True)
    assert Image.open(target).size == (40, 32)


def test_the_input_is_never_the_output_by_accident(upscaler: Upscaler, tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    art.anime_face(8, 8).save(source)
    link = tmp_path / "link.png"
    link.symlink_to(source)
    before = source.read_bytes()
    for target in (source, link):
        with pytest.raises(OutputExistsError):
            upscale_file(source, target, upscaler=upscaler)
    assert source.read_bytes() == before


@pytest.mark.parametrize("failure", ["engine", "cancel", "interrupt", "encode"])
def test_a_failure_leaves_nothing(
    upscaler: Upscaler,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: str,
) -> None:
    cancel = threading.Event()
    expected: type[BaseException] = CancelledError
    if failure == "cancel":
        cancel.set()
    elif failure == "encode":
        expected = KeyboardInterrupt

        def interrupted(self: Image.Image, stream: object, *args: object, **kwargs: object) -> None:
            stream.write(b"half a pict")  # type: ignore[attr-defined]
            raise KeyboardInterrupt

        monkeypatch.setattr(Image.Image, "save", interrupted)
    else:
        expected = EngineError if failure == "engine" else KeyboardInterrupt

        def broken(*args: object, **kwargs: object) -> None:
            raise expected("broken")

        monkeypatch.setattr(upscaler.pipeline, "run", broken)
    target = tmp_path / ("out.bmp" if failure == "encode" else "out.png")  # Pillow saves BMP
    with pytest.raises(expected):
        upscale_file(source, target, upscaler=upscaler, cancel=cancel)
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


@pytest.mark.parametrize(
    ("size", "name", "limit"),
    [((8192, 1), "out.webp", "16383"), ((32768, 1), "out.jpg", "65500")],
)
def test_sizes_a_format_cannot_hold_are_refused_before_the_work(
    upscaler: Upscaler,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
    name: str,
    limit: str,
) -> None:
    source = tmp_path / "wide.png"
    Image.new("L", size).save(source)

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network ran")

    monkeypatch.setattr(upscaler.pipeline, "run", never)
    with pytest.raises(EncodeError, match=limit):
        upscale_file(source, tmp_path / name, upscaler=upscaler)
    assert [path.name for path in tmp_path.iterdir()] == ["wide.png"]


def test_sixteen_bits_come_out_of_both_ends(upscaler: Upscaler, tmp_path: Path) -> None:
    """A ramp with steps below 8 bits stays a ramp."""
    ramp = np.linspace(20000, 21000, 40).astype(np.uint16)
    color = np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (24, 40, 3)))
    write_picture(Picture(color), tmp_path / "in.png")
    upscale_file(tmp_path / "in.png", tmp_path / "out.png", upscaler=upscaler)
    result = codec.decode(tmp_path / "out.png").color
    assert result.dtype == np.uint16
    assert len(np.unique(result)) > 40
    np.testing.assert_allclose(result[24, 8:-8:2, 1], ramp[4:-4], atol=400)
    eight = upscale_file(tmp_path / "in.png", tmp_path / "out8.png", upscaler=upscaler, depth=8)
    assert codec.decode(tmp_path / "out8.png").color.dtype == np.uint8
    assert not any("reduced" in note for note in eight.notes), "it was asked for"
    jpeg = upscale_file(tmp_path / "in.png", tmp_path / "out.jpg", upscaler=upscaler)
    assert any("16-bit samples reduced" in note for note in jpeg.notes)


def test_sixteen_bits_on_request_are_more_than_eight_stretched(
    upscaler: Upscaler, source: Path, tmp_path: Path
) -> None:
    upscale_file(source, tmp_path / "out.png", upscaler=upscaler, depth=16)
    deep = codec.decode(tmp_path / "out.png").color
    assert deep.dtype == np.uint16
    assert (deep % 257 != 0).any()
    upscale_file(source, tmp_path / "out8.png", upscaler=upscaler)
    plain = codec.decode(tmp_path / "out8.png").color
    assert np.abs(deep / 257 - plain).max() <= 0.51
    with pytest.raises(ArgumentError, match="PNG or TIFF"):
        upscale_file(source, tmp_path / "deep.jpg", upscaler=upscaler, depth=16)


def test_a_stream_gets_the_whole_result_or_nothing(
    upscaler: Upscaler, source: Path, tmp_path: Path
) -> None:
    sink = io.BytesIO()
    report = upscale_file(io.BytesIO(source.read_bytes()), sink, upscaler=upscaler)
    assert (report.source, report.target) == (None, None)
    with Image.open(sink) as image:
        assert (image.format, image.size) == ("JPEG", (40, 32)), "as the input"
    sink = io.BytesIO()
    upscale_file(source, sink, upscaler=upscaler, format="png")
    upscale_file(source, tmp_path / "out.png", upscaler=upscaler)
    assert sink.getvalue() == (tmp_path / "out.png").read_bytes()
    sink = io.BytesIO()
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(CancelledError):
        upscale_file(source, sink, upscaler=upscaler, cancel=cancel)
    assert sink.getvalue() == b""
    with pytest.raises(ArgumentError, match="name the file"):
        upscale_file(io.BytesIO(source.read_bytes()), upscaler=upscaler)


def test_times_are_kept_on_request(upscaler: Upscaler, source: Path, tmp_path: Path) -> None:
    os.utime(source, (1_000_000_000, 1_100_000_000))
    upscale_file(source, tmp_path / "kept.png", upscaler=upscaler, keep_times=True)
    upscale_file(source, tmp_path / "now.png", upscaler=upscaler)
    assert (tmp_path / "kept.png").stat().st_mtime == 1_100_000_000
    assert (tmp_path / "now.png").stat().st_mtime > 1_600_000_000


def animation(path: Path) -> list[Image.Image]:
    frames = [art.anime_face(24, 20).rotate(turn) for turn in (0, 15, 0, 30)]
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=[50, 70, 90, 110], loop=3
    )
    return frames


def test_an_animation_stays_one(upscaler: Upscaler, tmp_path: Path) -> None:
    animation(tmp_path / "in.gif")
    shares: list[float] = []
    report = upscale_file(tmp_path / "in.gif", upscaler=upscaler, progress=shares.append)
    assert report.target == tmp_path / "in_waifu2x.gif"
    assert "4 frames (3 different)" in report.notes
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    upscale_file(tmp_path / "in.gif", tmp_path / "out.webp", upscaler=upscaler)
    for name in ("in_waifu2x.gif", "out.webp"):
        with Image.open(tmp_path / name) as image:
            assert (image.n_frames, image.size) == (4, (48, 40))  # type: ignore[attr-defined]
    with pytest.raises(EncodeError, match="gif, png, webp or avif"):
        upscale_file(tmp_path / "in.gif", tmp_path / "out.jpg", upscaler=upscaler)
    with pytest.raises(EncodeError, match="8 bits"):
        upscale_file(tmp_path / "in.gif", tmp_path / "o.png", upscaler=upscaler, depth=16)
    assert not (tmp_path / "o.png").exists()


def book(path: Path, damage: bool = False) -> None:
    pages = {"b/002.jpg": art.anime_face(20, 16), "b/001.png": art.sprite(16)}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ComicInfo.xml", "<ComicInfo/>")
        for name, image in pages.items():
            buffer = io.BytesIO()
            image.save(buffer, "JPEG" if name.endswith("jpg") else "PNG")
            data = buffer.getvalue()
            archive.writestr(name, data[: len(data) // 2] if damage else data)


def test_a_comic_archive_stays_one(upscaler: Upscaler, tmp_path: Path) -> None:
    book(tmp_path / "in.cbz")
    report = upscale_file(tmp_path / "in.cbz", upscaler=upscaler)
    assert report.target == tmp_path / "in_waifu2x.cbz"
    assert report.notes[:2] == ("2 pages", "1 other file carried over")
    with zipfile.ZipFile(report.target) as archive:
        assert archive.namelist() == ["ComicInfo.xml", "b/002.jpg", "b/001.png"]
        assert archive.testzip() is None
        assert archive.read("ComicInfo.xml") == b"<ComicInfo/>"
        with archive.open("b/002.jpg") as file, Image.open(file) as image:
            assert (image.format, image.size) == ("JPEG", (40, 32))
    upscale_file(tmp_path / "in.cbz", tmp_path / "out.zip", upscaler=upscaler, format="webp")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == ["ComicInfo.xml", "b/002.webp", "b/001.webp"]
    with pytest.raises(EncodeError, match=r"\.cbz or \.zip"):
        upscale_file(tmp_path / "in.cbz", tmp_path / "out.png", upscaler=upscaler)


def test_a_quality_is_for_the_lossy_pages_of_an_archive(upscaler: Upscaler, tmp_path: Path) -> None:
    book(tmp_path / "in.cbz")
    sizes = {}
    for quality in (20, 95):
        target = tmp_path / f"{quality}.cbz"
        upscale_file(tmp_path / "in.cbz", target, upscaler=upscaler, quality=quality)
        with zipfile.ZipFile(target) as archive:
            sizes[quality] = {each.filename: each.file_size for each in archive.infolist()}
    assert sizes[20]["b/002.jpg"] < sizes[95]["b/002.jpg"]
    assert sizes[20]["b/001.png"] == sizes[95]["b/001.png"]
    with pytest.raises(ArgumentError, match="quality is 90, and PNG is lossless"):
        upscale_file(
            tmp_path / "in.cbz", tmp_path / "x.cbz", upscaler=upscaler, quality=90, format="png"
        )


@pytest.mark.parametrize("lossless", [False, True])
def test_a_lossy_page_of_an_archive_stays_lossy(
    upscaler: Upscaler, tmp_path: Path, lossless: bool
) -> None:
    buffer = io.BytesIO()
    art.anime_face(40, 32).save(buffer, "WEBP", lossless=lossless)
    with zipfile.ZipFile(tmp_path / "in.cbz", "w") as archive:
        archive.writestr("1.webp", buffer.getvalue())
    upscale_file(tmp_path / "in.cbz", tmp_path / "out.cbz", upscaler=upscaler)
    with zipfile.ZipFile(tmp_path / "out.cbz") as archive:
        data = archive.read("1.webp")
    assert (b"VP8L" in data[:64]) == lossless


def test_a_broken_page_is_named_before_the_work(
    upscaler: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book(tmp_path / "in.cbz", damage=True)

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network ran")

    monkeypatch.setattr(upscaler.pipeline, "run", never)
    with pytest.raises(DecodeError, match=r"in\.cbz.*002\.jpg.*truncated"):
        upscale_file(tmp_path / "in.cbz", upscaler=upscaler)
    assert [path.name for path in tmp_path.iterdir()] == ["in.cbz"]


@pytest.mark.parametrize("backdrop", [(255, 255, 255), (0, 0, 0), (255, 0, 255)])
def test_a_sprite_has_no_halo(backdrop: tuple[int, int, int], tmp_path: Path) -> None:
    """On any background, edges are as good as those of art and mask enlarged separately.

    The reference is made of the mask and the complete drawing, including the part under
    transparent pixels, which the input file lacks. In the input, magenta replaces this hidden color
    and would show around the sprite.
    """
    sprite = np.asarray(art.sprite(64).convert("RGBA"))
    alpha = sprite[:, :, 3]
    full = spread_outward(sprite[:, :, :3], alpha)
    hidden = np.where(alpha[:, :, None] > 0, full, (255, 0, 255)).astype(np.uint8)
    source = np.dstack([hidden, alpha])
    upscaler = Upscaler("upconv_7")
    result = upscaler.upscale(source).astype(float)
    art_alone = upscaler.upscale(full).astype(float)
    mask_alone = upscaler.upscale(np.ascontiguousarray(alpha)).astype(float)

    def over(color: np.ndarray, mask: np.ndarray) -> np.ndarray:
        share = mask[:, :, None] / 255
        return color * share + np.array(backdrop) * (1 - share)

    ours, reference = over(result[:, :, :3], result[:, :, 3]), over(art_alone, mask_alone)
    edge = np.zeros(mask_alone.shape, bool)
    soft = (mask_alone > 2) & (mask_alone < 253)
    for down in range(-3, 4):
        for right in range(-3, 4):
            edge |= np.roll(soft, (down, right), (0, 1))
    assert edge.sum() > 500
    error = np.square(ours - reference)[edge].mean()
    assert 10 * np.log10(255**2 / error) > 40
    # Check of the check: visible magenta fails.
    glowing = over(upscaler.upscale(hidden).astype(float), mask_alone)
    halo = np.square(glowing - reference)[edge].mean()
    assert backdrop == (255, 0, 255) or 10 * np.log10(255**2 / halo) < 35


def spread_outward(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Fill transparent pixels with the nearest opaque color."""
    rows, columns = np.nonzero(alpha)
    y, x = np.mgrid[: alpha.shape[0], : alpha.shape[1]]
    distance = (y[:, :, None] - rows) ** 2 + (x[:, :, None] - columns) ** 2
    nearest = distance.argmin(2)
    return color[rows[nearest], columns[nearest]]


@pytest.mark.parametrize("format", ["bmp", "jxl", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_colors_are_converted_with_all_their_bits(
    tmp_path: Path, format: str, channels: int, dtype: Any
) -> None:
    if format == "jxl":
        pytest.importorskip("pillow_jxl")
    if format == "webp" and channels == 3:
        pytest.skip("keeps the profile")
    light = np.random.default_rng(5).random((12, 400, channels)).astype(np.float32) ** 4
    samples = light if dtype == np.float32 else np.rint(light * 65535).astype(np.uint16)
    source = tmp_path / ("in.tif" if dtype == np.float32 else "in.png")
    with source.open("wb") as file:
        codec.encode_stream(
            Picture(samples, metadata=Metadata(gamma=1.0)), file, codec.resolve_format(source, None)
        )
    target = tmp_path / f"out.{format}"
    report = upscale_file(source, target, scale=1, noise=None)
    assert any("converted to sRGB" in note for note in report.notes)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(codec.decode(target).color - 255 * curve).max() < 0.6
