"""Comics with pages that fail, or that do not fit their format at the new size."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import art
from helpers.command import WAIFU2X
from helpers.command import waifu2x as run
from PIL import Image

from waifu2x import Upscaler, upscale_file, upscale_many
from waifu2x.errors import DecodeError, EncodeError, LimitError, MissingExtraError, SkippedError
from waifu2x.files import archive as archive_job


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler("upconv_7", max_pixels=1 << 20)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


FACE = art.anime_face(24, 20)
PNG = encoded(FACE, "PNG")
JPEG = encoded(FACE, "JPEG", quality=95)
WEBP = encoded(FACE, "WEBP", lossless=True)


def tall(height: int, format: str, **options: Any) -> bytes:
    return encoded(Image.new("RGB", (4, height), (90, 140, 200)), format, **options)


def animation(format: str, size: tuple[int, int] = (24, 20)) -> bytes:
    frames = [Image.new("RGB", size, color) for color in ("red", "blue")]
    return encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=80)


def pack(path: Path, pages: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in pages.items():
            file.writestr(name, data)
    return path


def unpacked(path: Path | None) -> dict[str, bytes]:
    assert path is not None
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def size_of(data: bytes) -> tuple[str | None, tuple[int, int]]:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.format, image.size


def with_flipped_crc(path: Path, name: str) -> None:
    """Give the member ``name`` a wrong checksum in both of its headers."""
    with zipfile.ZipFile(path) as file:
        crc = file.getinfo(name).CRC.to_bytes(4, "little")
    data = path.read_bytes()
    assert data.count(crc) == 2
    path.write_bytes(data.replace(crc, bytes(each ^ 1 for each in crc)))


# --- pages that fail --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("2.jpg", JPEG[: len(JPEG) // 2], "truncated"),
        ("2.png", PNG[: len(PNG) // 2], "is truncated"),
        ("2.webp", WEBP[: len(WEBP) // 2], "2.webp"),
        ("2.jpg", b"<html>not found</html>", "is not a picture in a supported format"),
        ("2.png", b"", "is empty (0 bytes)"),
        ("2.png", bytes(5000), "is not a picture in a supported format"),
        ("2.jpg", b"\0\0\0\x18ftypheic" + bytes(99), "is a HEIC file"),
        ("2.heic", b"\0\0\0\x18ftypheic" + bytes(99), "is a HEIC file"),
        ("2.png", tall(300_000, "PNG"), "the limit is 1048576"),
        ("2.gif", animation("GIF")[:-30], "2.gif"),
        ("2.png", animation("PNG")[:-60], "2.png"),
    ],
)
def test_a_page_that_fails_is_carried_over_and_named(
    upscaler: Upscaler, tmp_path: Path, name: str, data: bytes, why: str
) -> None:
    source = pack(tmp_path / "in.cbz", {"1.png": PNG, name: data, "3.jpg": JPEG, "a.txt": b"text"})
    result = upscale_file(source, upscaler=upscaler)
    pages = unpacked(result.target)
    assert list(pages) == ["1.png", name, "3.jpg", "a.txt"]
    assert pages[name] == data
    assert size_of(pages["1.png"]) == ("PNG", (48, 40))
    assert size_of(pages["3.jpg"]) == ("JPEG", (48, 40))
    assert "1 carried over unchanged after an error" in result.notes
    (failure,) = result.failures
    assert failure.startswith(
        (f"{tmp_path}/in.cbz: page {name}: ", f"{tmp_path}/in.cbz: page {name} ")
    )
    assert failure.count(name) == 1
    assert failure.endswith("; carried over unchanged")
    assert why in failure
    with pytest.raises((DecodeError, LimitError), match="page 2"):
        upscale_file(source, tmp_path / "strict.cbz", upscaler=upscaler, strict=True)
    assert not (tmp_path / "strict.cbz").exists()


def test_members_with_wrong_checksums_are_carried_over(upscaler: Upscaler, tmp_path: Path) -> None:
    members = {"1.png": PNG, "2.jpg": JPEG, "ComicInfo.xml": b"<ComicInfo/>"}
    source = pack(tmp_path / "in.cbz", members)
    for damaged in ("2.jpg", "ComicInfo.xml"):
        with_flipped_crc(source, damaged)
    result = upscale_file(source, upscaler=upscaler)
    assert [failure.split(": ")[1] for failure in result.failures] == [
        "member 2.jpg is damaged",
        "member ComicInfo.xml is damaged",
    ]
    assert result.target is not None
    with zipfile.ZipFile(result.target) as file:
        assert file.namelist() == ["1.png", "2.jpg", "ComicInfo.xml"]
        assert size_of(file.read("1.png")) == ("PNG", (48, 40))
        assert file.testzip() == "2.jpg"  # as damaged as before
    assert JPEG in result.target.read_bytes()


def test_a_comic_without_a_page_that_works_is_an_error(upscaler: Upscaler, tmp_path: Path) -> None:
    source = pack(tmp_path / "in.cbz", {"1.png": b"", "2.jpg": JPEG[:99], "a.txt": b"text"})
    with pytest.raises(DecodeError, match=r"in\.cbz: page 1\.png is empty"):
        upscale_file(source, upscaler=upscaler)
    assert [path.name for path in tmp_path.iterdir()] == ["in.cbz"]


def test_a_page_that_fails_while_it_is_converted(
    upscaler: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: object, sink: Any, *args: Any, **extra: Any) -> None:
        raise EncodeError("the encoder failed")

    from waifu2x.files.animation import AnimationJob

    source = pack(tmp_path / "in.cbz", {"1.gif": animation("GIF"), "2.png": PNG})
    monkeypatch.setattr(AnimationJob, "write", failing)
    result = upscale_file(source, upscaler=upscaler, format="png")
    assert result.failures == (f"{source}: page 1.gif: the encoder failed; carried over unchanged",)
    pages = unpacked(result.target)
    assert pages["1.gif"] == animation("GIF")
    assert size_of(pages["2.png"]) == ("PNG", (48, 40))
    with pytest.raises(EncodeError, match="the encoder failed"):
        upscale_file(source, tmp_path / "o.cbz", upscaler=upscaler, format="png", strict=True)


def test_a_missing_reader_of_one_page(
    upscaler: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = archive_job.ArchiveJob.__init__

    def without_reader(self: Any, *args: Any) -> None:
        *rest, page = args

        def open_page(data: Any, page_name: str, **how: bool) -> Any:
            if page_name == "2.jxl":
                raise MissingExtraError("2.jxl is a JPEG XL file, and its reader is not installed")
            return page(data, page_name, **how)

        opened(self, *rest, open_page)

    monkeypatch.setattr(archive_job.ArchiveJob, "__init__", without_reader)
    source = pack(tmp_path / "in.cbz", {"1.png": PNG, "2.jxl": b"\xff\x0a"})
    result = upscale_file(source, upscaler=upscaler)
    assert "its reader is not installed" in result.failures[0]


def test_larger_pages_next_to_pages_that_fail(upscaler: Upscaler, tmp_path: Path) -> None:
    source = pack(tmp_path / "in.cbz", {"1.png": PNG, "2.png": b""})
    with pytest.raises(DecodeError, match=r"page 2\.png"):
        upscale_file(source, upscaler=upscaler, skip_larger=(10, 10))
    small = encoded(FACE.resize((8, 8)), "PNG")
    pack(source, {"1.png": PNG, "2.png": b"", "3.png": small})
    result = upscale_file(source, upscaler=upscaler, skip_larger=(10, 10))
    pages = unpacked(result.target)
    assert (pages["1.png"], pages["2.png"]) == (PNG, b"")
    assert size_of(pages["3.png"]) == ("PNG", (16, 16))
    assert "1 larger page left alone" in result.notes
    assert len(result.failures) == 1
    pack(source, {"1.png": PNG})
    with pytest.raises(SkippedError, match="only pages that are larger"):
        upscale_file(source, upscaler=upscaler, skip_larger=(10, 10))


# --- pages that do not fit ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "page", "label", "format"),
    [
        ("2.webp", lambda: tall(9000, "WEBP", lossless=True), "WebP", None),
        ("2.webp", lambda: tall(9000, "WEBP", quality=80), "WebP", None),
        ("2.jpg", lambda: tall(40_000, "JPEG", quality=90), "JPEG", None),
        ("2.png", lambda: tall(9000, "PNG"), "WebP", "webp"),
        ("2.webp", lambda: animation("WEBP", (4, 9000)), "WebP", None),
    ],
)
def test_a_page_that_its_format_cannot_hold_becomes_png(
    upscaler: Upscaler,
    tmp_path: Path,
    name: str,
    page: Callable[[], bytes],
    label: str,
    format: Any,
) -> None:
    info = b'<ComicInfo><Pages><Page Image="1" Key="%s"/></Pages></ComicInfo>'
    source = pack(
        tmp_path / "in.cbz",
        {"ComicInfo.xml": info % name.encode(), "1.webp": WEBP, name: page(), "3.webp": WEBP},
    )
    result = upscale_file(source, upscaler=upscaler, format=format, noise=None)
    pages = unpacked(result.target)
    assert list(pages) == ["ComicInfo.xml", "1.webp", "2.png", "3.webp"]
    assert pages["ComicInfo.xml"] == info % b"2.png"
    assert size_of(pages["1.webp"]) == ("WEBP", (48, 40))
    kind, (width, height) = size_of(pages["2.png"])
    assert (kind, width) == ("PNG", 8)
    assert height in (18_000, 80_000)
    assert f"pages that {label} cannot hold, written as PNG: {name}" in result.notes
    assert result.failures == ()
    with pytest.raises(EncodeError, match=rf"page 2\.\w+: .*is too large for .*{label}"):
        upscale_file(
            source, tmp_path / "o.cbz", upscaler=upscaler, format=format, noise=None, strict=True
        )


def test_a_page_that_becomes_png_keeps_its_pixels(upscaler: Upscaler, tmp_path: Path) -> None:
    data = tall(9000, "WEBP", lossless=True)
    source = pack(tmp_path / "in.cbz", {"1.webp": data})
    result = upscale_file(source, upscaler=upscaler, quality=80)
    (page,) = unpacked(result.target).values()
    with Image.open(io.BytesIO(page)) as image:
        expected = upscaler.upscale(data)
        assert np.array_equal(np.asarray(image), np.asarray(expected))


# --- the command -------------------------------------------------------------------------------


def test_the_exit_code_says_that_a_page_failed(tmp_path: Path) -> None:
    pack(tmp_path / "in.cbz", {"1.png": PNG, "2.png": b""})
    made = run("in.cbz", "out.cbz", "-m", "upconv_7", cwd=tmp_path)
    assert made.returncode == 1
    assert made.stderr == (
        "Error: in.cbz: page 2.png is empty (0 bytes); copy or download it again; "
        "carried over unchanged\n"
    )
    assert made.stdout.startswith("out.cbz: 24x20 -> 48x40 px, upconv_7, ")
    quiet = run("in.cbz", "q.cbz", "-m", "upconv_7", "--quiet", cwd=tmp_path)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (1, "", made.stderr)
    strict = run("in.cbz", "s.cbz", "-m", "upconv_7", "--strict", cwd=tmp_path)
    assert strict.returncode == 1
    assert not (tmp_path / "s.cbz").exists()
    with (tmp_path / "in.cbz").open("rb") as file:
        command = [WAIFU2X, "-", "p.cbz", "-m", "upconv_7"]
        piped = subprocess.run(command, cwd=tmp_path, stdin=file, check=False)
    assert piped.returncode == 1
    assert (tmp_path / "p.cbz").exists()


def test_a_folder_counts_comics_with_pages_that_failed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pack(tmp_path / "in/a.cbz", {"1.png": PNG, "2.png": b""})
    pack(tmp_path / "in/b.cbz", {"1.png": PNG})
    made = run("in", "out", "-m", "upconv_7", "--report", "r.jsonl", cwd=tmp_path)
    assert made.returncode == 1
    assert "2 done (1 incomplete) in" in made.stdout
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    failures = {line["input"]: line["failures"] for line in lines}
    assert [len(failures[name]) for name in ("in/a.cbz", "in/b.cbz")] == [1, 0]
    assert {line["status"] for line in lines} == {"done"}


def test_many_files_report_failures(upscaler: Upscaler, tmp_path: Path) -> None:
    pack(tmp_path / "in.cbz", {"1.png": PNG, "2.png": b""})
    results = upscale_many(tmp_path / "in.cbz", tmp_path / "out", upscaler=upscaler)
    (result,) = results
    assert (result.status, len(result.failures)) == ("done", 1)
    assert (results.summary.done, results.summary.incomplete) == (1, 1)
