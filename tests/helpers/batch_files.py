"""A small library of good and broken files of many kinds, for tests of batches."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from helpers import art
from helpers.pictures import write_picture
from waifu2x.picture import Picture

#: The paths of the broken files of `make`.
BROKEN = {
    "bad/empty.png": "empty",
    "bad/cut.jpg": "truncated",
    "bad/text.png": "not a picture",
    "bad/flipped.png": "damaged",
    "bad/book.cbz": "no pictures",
    "bad/link.png": "No such file",
}


def make(folder: Path, copies: int = 1) -> None:
    """Write good and broken files of many kinds."""
    for copy in range(copies):
        top = folder / f"{copy}" if copies > 1 else folder
        (top / "bad").mkdir(parents=True)
        (top / "日本").mkdir()
        art.anime_face(40 + copy, 36).save(top / "face.png")
        art.anime_face(24, 30).save(top / "face.jpg", quality=75)
        art.sprite(24).save(top / "sprite.png")
        art.anime_face(33, 20).convert("L").save(top / "日本" / "灰.webp", lossless=True)
        frames = [art.anime_face(20, 16).rotate(turn) for turn in (0, 30, 0)]
        frames[0].save(
            top / "moving.gif", save_all=True, append_images=frames[1:], duration=80, loop=0
        )
        frames[0].save(top / "still.gif")
        ramp = np.linspace(0, 65535, 32).astype(np.uint16)
        deep = np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (16, 32, 3)))
        write_picture(Picture(deep), top / "deep.png")
        with zipfile.ZipFile(top / "book.cbz", "w") as archive:
            archive.write(top / "face.jpg", "1.jpg")
            archive.write(top / "sprite.png", "2.png")
        (top / "notes.txt").write_text("no picture")

        bad = top / "bad"
        (bad / "empty.png").write_bytes(b"")
        (bad / "text.png").write_text("this is no picture")
        data = (top / "face.jpg").read_bytes()
        (bad / "cut.jpg").write_bytes(data[: len(data) // 2])
        data = (top / "face.png").read_bytes()
        middle = len(data) // 2
        (bad / "flipped.png").write_bytes(data[:middle] + b"\xff" * 40 + data[middle + 40 :])
        with zipfile.ZipFile(bad / "book.cbz", "w") as archive:
            archive.writestr("readme.txt", "nothing to see")
        (bad / "link.png").symlink_to(bad / "nowhere.png")


#: The results of the good files.
RESULTS = [
    "book.cbz",
    "deep.png",
    "face_jpg.png",
    "face_png.png",
    "moving.gif",
    "sprite.png",
    "still.png",
    "日本/灰.png",
]


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder, hidden files included, with their contents."""
    return {
        os.fspath(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
