"""The files that the examples of pages and docstrings read."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from . import art


def _still(path: Path) -> None:
    art.anime_face(40, 36).save(path, quality=75)


def _original(path: Path) -> None:
    art.anime_face(80, 72).save(path)


def _animation(path: Path) -> None:
    frames = [art.anime_face(24, 20).rotate(turn) for turn in (0, 20)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=80)


def _video(path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV (extra video) is not installed")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=4)
        stream.width, stream.height = 40, 36
        for turn in range(6):
            image = art.anime_face(40, 36).rotate(10 * (turn // 2))
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode(None))


def _comic(path: Path) -> None:
    _still(path.with_name("001.jpg"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(path.with_name("001.jpg"), "001.jpg")
    path.with_name("001.jpg").unlink()


def _pictures(path: Path) -> None:
    (path / "more").mkdir(parents=True)
    for name in ("1.jpg", "2.png", "more/1.png"):
        art.anime_face(20, 16).save(path / name)


#: The files by name.
FIXTURES = {
    "in.png": _still,
    "in.jpg": _still,
    "original.png": _original,
    "in.gif": _animation,
    "in.mkv": _video,
    "in.cbz": _comic,
    "pictures": _pictures,
}


def prepare(folder: Path, text: str) -> None:
    """Make the files that ``text`` names."""
    for name, make in FIXTURES.items():
        if re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w.-])", text):
            make(folder / name)
