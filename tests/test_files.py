"""One file in, one file out: names, checks before the work, nothing left behind."""

from __future__ import annotations

import struct
import threading
import zlib
from pathlib import Path

import art
import pytest
from PIL import Image

from waifu2x import Upscaler
from waifu2x.errors import CancelledError, EncodeError, EngineError, OutputExistsError
from waifu2x.files import resolve_target, upscale_file


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler("upconv_7")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.v1.jpg"
    art.anime_face(20, 16).save(path, quality=75)
    return path


def test_target_names(tmp_path: Path) -> None:
    source = tmp_path / "a.b.jpg"
    assert resolve_target(source)[0] == tmp_path / "a.b_waifu2x.png"
    assert resolve_target(source, format="webp")[0] == tmp_path / "a.b_waifu2x.webp"
    other = tmp_path / "out"
    other.mkdir()
    assert resolve_target(source, other)[0] == other / "a.b_waifu2x.png"
    path, output = resolve_target(source, tmp_path / "x.JPG")
    assert (path, output.name) == (tmp_path / "x.JPG", "jpeg")


def test_result_and_report(upscaler: Upscaler, source: Path, tmp_path: Path) -> None:
    report = upscale_file(upscaler, source, tmp_path / "out.png")
    assert (report.size_in, report.size_out) == ((20, 16), (40, 32))
    assert report.noise == 1
    assert "75" in report.reason
    with Image.open(report.target) as image:
        assert (image.format, image.size) == ("PNG", (40, 32))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.v1.jpg", "out.png"]


def test_transparency_into_jpeg_is_laid_on_white(upscaler: Upscaler, tmp_path: Path) -> None:
    source = tmp_path / "sprite.png"
    art.sprite(24).save(source)
    report = upscale_file(upscaler, source, tmp_path / "out.jpg")
    assert any("white" in note for note in report.notes)
    with Image.open(report.target) as image:
        assert min(image.convert("RGB").getpixel((0, 0))) > 250


def test_existing_files_are_kept(upscaler: Upscaler, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"precious")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        upscale_file(upscaler, source, target)
    assert target.read_bytes() == b"precious"
    upscale_file(upscaler, source, target, overwrite=True)
    assert Image.open(target).size == (40, 32)


def test_the_input_is_never_the_output_by_accident(upscaler: Upscaler, tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    art.anime_face(8, 8).save(source)
    link = tmp_path / "link.png"
    link.symlink_to(source)
    before = source.read_bytes()
    for target in (source, link):
        with pytest.raises(OutputExistsError):
            upscale_file(upscaler, source, target)
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

        monkeypatch.setattr(upscaler.core, "run", broken)
    with pytest.raises(expected):
        upscale_file(upscaler, source, tmp_path / "out.png", cancel=cancel)
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

    monkeypatch.setattr(upscaler.core, "run", never)
    with pytest.raises(EncodeError, match=limit):
        upscale_file(upscaler, source, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["wide.png"]


@pytest.mark.parametrize(("depth", "said"), [(8, False), (16, True)])
def test_bits_that_are_not_read_are_said(
    upscaler: Upscaler, tmp_path: Path, depth: int, said: bool
) -> None:
    """Pillow reads 8 of the 16 bits of an RGB PNG; the user is told."""
    width = height = 4
    row = b"\x00" + b"\x80\x01" * (3 * width) if depth == 16 else b"\x00" + b"\x80" * (3 * width)
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(row * height)), (b"IEND", b"")):
        check = struct.pack(">I", zlib.crc32(name + body))
        data += struct.pack(">I", len(body)) + name + body + check
    (tmp_path / "in.png").write_bytes(data)
    report = upscale_file(upscaler, tmp_path / "in.png", tmp_path / "out.png")
    assert any("16 bits" in note for note in report.notes) == said
