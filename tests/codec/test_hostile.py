"""Hostile files: each quickly gives a valid picture or an error message of one line.

`fuzz.corpus` draws the files. A separate process reads all of them, once without and once with a
memory limit. Other tests cover valid files and the command.
"""

from __future__ import annotations

import gc
import io
import json
import os
import random
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from helpers import confined, corpus
from helpers.fuzz_target import check
from PIL import Image

import waifu2x
from waifu2x import codec
from waifu2x.codec import png_reader
from waifu2x.codec.animation import open_animation
from waifu2x.errors import DecodeError
from waifu2x.picture import Picture

COMMAND = Path(sys.executable).with_name("waifu2x")

#: Address space in MiB that a picture of 1 MP may take in addition to the readers.
ROOM = 512

#: Bombs that decode to valid pictures because the excess data is ignored.
HARMLESS = {
    *("png profile", "png profiles", "png text", "png texts", "png raw profiles"),
    *("png xmp", "png xmps", "jxl xmp", "tiff 8bit strip"),
    *("apng frames", "avif 2048x2048 as 37x29", "pcx row"),
    *("jp2.jp2 tiles", "jp2-codestream.j2k tiles", "jp2-16bit.jp2 tiles"),
    "tiff-raw.tif bytes in a strip",
}

#: Files whose end is optional: another picture or a palette.
OPEN_ENDED = ("jpeg.mpo", "pcx-palette.pcx")


class Outcome(NamedTuple):
    """The outcome of a case: the result or crash of each reader, and the seconds."""

    results: dict[str, str]
    seconds: float


def run_all(*arguments: str) -> dict[tuple[str, str], Outcome]:
    """Run every case in a separate process; fails if the process does not finish."""
    done = subprocess.run(
        [sys.executable, confined.__file__, *arguments],
        # One malloc arena and one BLAS thread save address space.
        env={**os.environ, "MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=240,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    last = lines[-1] if lines else "its start"
    assert done.returncode == 0, f"ended at {last}: {done.stderr[-2000:]}"
    return {(line[0], line[1]): Outcome(line[2], line[3]) for line in lines if len(line) == 4}


@pytest.fixture(scope="module")
def outcomes() -> dict[tuple[str, str], Outcome]:
    return run_all()


@cache
def names() -> set[tuple[str, str]]:
    return {(family, name) for family, name, _ in confined.cases()}


def same(picture: Picture, seed: corpus.Seed) -> None:
    """Fails if ``picture`` differs from ``seed`` by more than its tolerance."""
    color = np.asarray(codec.convert_samples(picture.color, "uint8"))
    color = np.repeat(color, 3, axis=2) if picture.gray else color
    alpha = np.full(color.shape[:2], 255, np.uint8)
    if picture.alpha is not None:
        alpha = np.asarray(codec.convert_samples(picture.alpha, "uint8"))
    # The color of transparent pixels is undefined.
    ours, theirs = (
        np.where(each[..., 3:] == 0, 0, each.astype(int))
        for each in (np.dstack([color, alpha]), seed.shown)
    )
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).mean() <= seed.tolerance


# --- valid files


@pytest.mark.parametrize("name", corpus.seeds())
def test_the_sound_file_is_right(name: str) -> None:
    seed = corpus.seeds()[name]
    results = check(seed.data)
    animation = open_animation(io.BytesIO(seed.data), name, max_pixels=10**6)
    if seed.frames == 0:
        assert results["archive"] == "2 pages, 3 members"
    elif seed.frames == 1:
        assert animation is None
        same(codec.decode(io.BytesIO(seed.data)), seed)
    else:
        assert animation is not None
        assert animation.frames == seed.frames
        same(next(iter(animation)).picture, seed)


@pytest.mark.parametrize("name", corpus.strips())
def test_a_strip_is_right(name: str) -> None:
    seed = corpus.strips()[name]
    same(codec.decode(io.BytesIO(seed.data)), seed)


# --- all files


def test_every_file_ends_in_a_result_or_one_line(
    outcomes: dict[tuple[str, str], Outcome],
) -> None:
    assert len(names()) > 2000
    assert set(outcomes) == names()
    crashes = {name: one.results for name, one in outcomes.items() if "crash" in one.results}
    assert not crashes


@pytest.mark.skipif(sys.platform != "linux", reason="limits and measures memory as Linux does")
def test_little_memory_changes_nothing(outcomes: dict[tuple[str, str], Outcome]) -> None:
    """No reader allocates much memory, even if a failed allocation is mistaken for damage."""

    def plain(results: dict[str, str]) -> dict[str, str]:
        # A picture may exceed two limits; either may be reported first.
        return {
            key: "LimitError" if text.startswith("LimitError") else text
            for key, text in results.items()
        }

    confined_outcomes = run_all(str(ROOM))
    different = {
        name: (one.results, confined_outcomes[name].results)
        for name, one in outcomes.items()
        if plain(one.results) != plain(confined_outcomes[name].results)
    }
    assert not different


def test_a_cut_file_is_refused_or_whole(outcomes: dict[tuple[str, str], Outcome]) -> None:
    unseen = []
    for (family, name), one in outcomes.items():
        seed, cut, place = name.partition(" cut to ")
        if family != "damaged" or not cut or seed in OPEN_ENDED:
            continue
        whole = outcomes["seeds", seed].results
        missing = len(corpus.seeds()[seed].data) - int(place)
        for reader, text in one.results.items():
            refused = text.startswith("DecodeError") or text == "none"
            if not refused and (text != whole[reader] or missing > 100):
                unseen.append((name, reader, text))
    assert not unseen


@pytest.mark.parametrize("name", corpus.bombs())
def test_a_bomb_is_refused_or_harmless(name: str, outcomes: dict[tuple[str, str], Outcome]) -> None:
    one = outcomes["bombs", name]
    reader = "archive" if name.startswith("zip") else "picture"
    if name == "apng frames":
        assert one.results["animation"].startswith("6 frames 14x11")
    elif name in HARMLESS:
        assert one.results[reader].startswith(("37x29x", "16x16x")), one.results[reader]
    else:
        assert one.results[reader].startswith(("DecodeError: ", "LimitError: "))
        assert one.results["animation"].startswith(("DecodeError: ", "LimitError: ", "none"))


@pytest.mark.parametrize("kind", ["profiles", "texts", "raw profiles", "xmps"])
def test_texts_and_profiles_are_unpacked_within_one_limit(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small file can hold thousands of chunks, each within its own limit."""
    unpacked = []

    class Counting:
        def __init__(self) -> None:
            self._inflater = zlib.decompressobj()

        def decompress(self, data: bytes, most: int) -> bytes:
            result = self._inflater.decompress(data, most)
            unpacked.append(len(result))
            return result

        @property
        def eof(self) -> bool:
            return self._inflater.eof

    # png_reader has its own reference to `zlib`.
    counted = SimpleNamespace(decompressobj=Counting, crc32=zlib.crc32, error=zlib.error)
    monkeypatch.setattr(png_reader, "zlib", counted)
    data = corpus.bombs()[f"png {kind}"]
    assert len(data) < 3 << 20
    png_reader.read_chunks(io.BytesIO(data), kind)
    assert 1 << 20 <= sum(unpacked) <= png_reader.MAX_DECOMPRESSED


def test_the_fuzz_target_sees_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = random.Random(1).sample(list(corpus.damaged(3)), 300)
    for _, data in damaged:
        assert set(check(data)) == {"picture", "animation", "archive"}

    sound = corpus.seeds()["bmp.bmp"].data

    def broken(error: Exception) -> None:
        def decode(*arguments: object, **named: object) -> Picture:
            raise error

        monkeypatch.setattr(codec, "decode", decode)

    broken(KeyError("a leak"))
    with pytest.raises(KeyError, match="a leak"):
        check(sound)
    broken(DecodeError("two\nlines"))
    with pytest.raises(AssertionError, match="printable"):
        check(sound)
    large = Picture(np.zeros((100, 100, 3), np.uint8))
    monkeypatch.setattr(codec, "decode", lambda *arguments, **named: large)
    with pytest.raises(AssertionError):
        check(sound, max_pixels=9999)


# --- extreme shapes, enlarged


@pytest.fixture(scope="module")
def upscaler() -> waifu2x.Upscaler:
    return waifu2x.Upscaler(model="upconv_7", engine="native")


@pytest.mark.parametrize("size", [(65535, 1), (1, 65535)])
def test_the_longest_strip_is_enlarged(
    size: tuple[int, int], upscaler: waifu2x.Upscaler, tmp_path: Path
) -> None:
    width, height = size
    image = corpus.strip(width, height)
    image.save(tmp_path / "in.png")
    result = waifu2x.upscale_file(tmp_path / "in.png", tmp_path / "out.png", upscaler=upscaler)
    assert (result.size_in, result.size_out) == (size, (2 * width, 2 * height))
    with Image.open(tmp_path / "out.png") as opened:
        out = np.asarray(opened)
    assert out.shape == (2 * height, 2 * width)
    # Away from the cuts, every piece equals the result for the piece alone.
    long = max(size)
    for start in (0, 30_000, long - 100):
        end = start + 100
        box = (start, 0, end, 1) if height == 1 else (0, start, 1, end)
        piece = np.asarray(upscaler.upscale(image.crop(box)))
        low = 0 if start == 0 else 7
        high = 100 if end == long else 93
        ours, alone = (out, piece) if height == 1 else (out.T, piece.T)
        begin = 2 * start
        np.testing.assert_array_equal(
            ours[:, begin + 2 * low : begin + 2 * high], alone[:, 2 * low : 2 * high]
        )


# --- the command


COMMANDS = {
    "png.png": "png 100000x100000 of 8 bits",
    "pixels.png": "png pixels of 16 bits",
    "apng.png": "apng pixels",
    "gif.gif": "gif canvas, animated",
    "scans.jpg": "jpeg scans",
    "tiff.tif": "tiff-tiff_lzw.tif bytes in a strip",
    "webp.webp": "webp frame",
    "avif.avif": "avif-animated.avif 65535x65535",
    "jp2.jp2": "jp2.jp2 codestream",
    "psd.psd": "psd 300000x300000",
    "jxl.jxl": "jxl huge",
    "zip.cbz": "zip page, said to be small",
}


def test_the_command_says_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    bombs = corpus.bombs()

    def run(name: str) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_bytes(bombs[COMMANDS[name]])
        target = "out.cbz" if name.endswith("cbz") else "out.png"
        done = subprocess.run(
            [COMMAND, name, target], cwd=folder, capture_output=True, text=True, timeout=300
        )
        assert [path.name for path in folder.iterdir()] == [name]
        return done

    with ThreadPoolExecutor(2) as pool:
        for name, done in zip(COMMANDS, pool.map(run, COMMANDS), strict=True):
            assert (done.returncode, done.stdout) == (1, ""), name
            assert len(done.stderr.splitlines()) == 1, f"{name}: {done.stderr}"
            assert done.stderr.startswith("Error: "), name
            assert name in done.stderr
            assert "Traceback" not in done.stderr, name


def test_reading_a_file_again_retains_nothing() -> None:
    files = [seed.data for seed in corpus.seeds().values() if len(seed.data) <= 16384]

    def objects() -> int:
        for data in files:
            check(data)
        gc.collect()
        return len(gc.get_objects())

    for _ in range(2):  # imports and caches
        objects()
    before = objects()
    # A list that grows with each file of a kind would gain as many objects.
    assert objects() - before < 8
