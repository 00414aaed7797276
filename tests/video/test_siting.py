"""The position of chroma in streams of ffmpeg; reading it must not stop decoders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.videos import ffmpeg

pytest.importorskip("av", reason="PyAV is not installed")

from waifu2x.video.demux import VideoSource
from waifu2x.video.layout import CHROMA_SITES

NAMES = ("left", "center", "topleft", "top", "bottomleft")


def made(folder: Path, name: str, *encoder: str) -> Path:
    source = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=24:d=0.5", "-pix_fmt", "yuv420p")
    ffmpeg(*source, *encoder, name, cwd=folder)
    return folder / name


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
@pytest.mark.parametrize("site", NAMES)
def test_h264(tmp_path: Path, site: str, suffix: str) -> None:
    params = f"chromaloc={CHROMA_SITES.index(site)}"
    path = made(tmp_path, f"in.{suffix}", "-c:v", "libx264", "-x264-params", params)
    layout = VideoSource(path, path.name).facts.layout
    assert (layout.chroma, "chroma" in layout.guessed) == (site, False)


@pytest.mark.parametrize(
    ("codec", "site"),
    [
        ("libx265", "topleft"),
        ("libsvtav1", "topleft"),
        ("libvpx-vp9", "topleft"),
        ("ffv1", "center"),
    ],
)
def test_other_codecs(tmp_path: Path, codec: str, site: str) -> None:
    path = made(tmp_path, "in.mkv", "-c:v", codec, "-chroma_sample_location", site)
    layout = VideoSource(path, path.name).facts.layout
    assert (layout.chroma, "chroma" in layout.guessed) == (site, False)


def test_a_stream_without_it(tmp_path: Path) -> None:
    path = made(tmp_path, "in.mkv", "-c:v", "ffv1")
    assert "chroma" in VideoSource(path, path.name).facts.layout.guessed


def test_videos_are_opened_while_a_damaged_one_is_decoded(tmp_path: Path) -> None:
    # A thread of a decoder that logs must not wait for the GIL: the thread that frees the decoder
    # holds it and waits for that thread.
    path = made(tmp_path, "in.ts", "-c:v", "libx264", "-x264-params", "keyint=4")
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 4, len(data) // 4 * 3, 97):
        data[at] ^= 0x55
    (tmp_path / "broken.ts").write_bytes(data)
    code = """
import threading
from pathlib import Path
from waifu2x.video.demux import VideoSource
def work(name):
    for _ in range(60):
        VideoSource(Path(name), name)
threads = [threading.Thread(target=work, args=(name,)) for name in ("in.ts", "broken.ts") * 2]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
