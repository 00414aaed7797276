"""Prepares pictures to train on: unpacks packages, and fills a cache of patches.

    python -m waifu2x.training.data unpack DOWNLOADS FOLDER
    python -m waifu2x.training.data prepare FOLDER CACHE [--count N] [--seed N] [--pictures DIR]

`unpack` reads packages that were downloaded before (docs/training.md has the commands) and checks
their sha256. `prepare` composes scenes of SVGs, procedural drawings and pictures of the user, cuts
them into patches and writes `train.npy` and `validation.npy`. Both are functions of the sources and
the seed. The sources of the validation set are held out of training by a hash of their names.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from .._text import shown
from . import packages
from .compose import Library, scene
from .drawings import KINDS
from .drawings.canvas import Picture
from .drawings.lettering import Fonts
from .packages import TrainingDataError

_log = logging.getLogger(__name__)

#: Scenes of so many patches along each side.
_PATCHES_PER_SIDE: Final = 2

#: Of a hundred sources, so many are held out for validation.
_HELD_OUT: Final = 4

#: Shares of scenes composed of SVGs, of mixes, and of procedural drawings.
SHARES: Final = {"svg": 0.45, "mix": 0.15, "drawing": 0.40}

#: Share of pictures of the user, if there are any; the other shares shrink accordingly.
_PICTURE_SHARE: Final = 0.5

#: A patch with so much `detail` is always kept; with less, its probability is proportional.
_DETAILED: Final = 0.05

#: Of flat patches, this share is kept.
_FLAT_KEPT: Final = 0.03

#: Drawings that are flat by nature.
_FLAT_KINDS: Final = ("gradient", "dithered", "fine_dither")

#: The smallest patches, in pixels; drawings need some room.
SMALLEST: Final = 48

#: Drawings that lose their nature at half the size.
_UNSHRUNK_KINDS: Final = (*_FLAT_KINDS, "tone", "pixel_art", "speed_lines")
_SHRINKING: Final = (
    Image.Resampling.LANCZOS,
    Image.Resampling.LANCZOS,
    Image.Resampling.BICUBIC,
    Image.Resampling.BOX,
)

VALIDATION_COUNT: Final = 48
VALIDATION_SIZE: Final = 192

_PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp")


# --- sources -------------------------------------------------------------------------------------


def is_held_out(name: str) -> bool:
    """Whether a source belongs to the validation set, by a hash of its name."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:4], "little") % 100 < _HELD_OUT


@dataclass(frozen=True)
class Sources:
    """Unpacked packages and, optionally, a folder of the user's pictures."""

    folder: Path
    pictures: Path | None = None

    def library(self, held_out: bool) -> Library:
        """The sources of one of the two sets; raises `TrainingDataError` if there are none."""
        svgs = {
            package.name: tuple(
                path
                for path in sorted((self.folder / package.name).glob("*.svg"))
                if is_held_out(path.name) is held_out
                and not packages.is_excluded(package.kind, path.name)
            )
            for package in packages.PACKAGES
            if package.kind != "font"
        }
        own: tuple[Path, ...] = ()
        if self.pictures is not None:
            own = tuple(
                path
                for path in sorted(self.pictures.rglob("*"))
                if path.suffix.lower() in _PICTURE_SUFFIXES
                and is_held_out(path.name) is held_out
                and not packages.is_excluded("picture", path.name)
            )
        if not any(svgs.values()):
            raise TrainingDataError(
                f"{shown(self.folder)} holds no SVGs; unpack the packages of docs/training.md first"
            )
        return Library(svgs, Fonts.within(self.folder), own)


# --- patches -------------------------------------------------------------------------------------


def detail(patch: Picture) -> float:
    """The share of pixels that differ visibly from their neighbors, from 0 to 1."""
    gray = patch.astype(np.int16).sum(2)
    steps = np.maximum(np.abs(np.diff(gray, axis=0))[:, :-1], np.abs(np.diff(gray, axis=1))[:-1])
    return float((steps > 24).mean())


def _kind(rng: np.random.Generator, library: Library) -> str:
    if library.pictures and rng.random() < _PICTURE_SHARE:
        return "picture"
    names = list(SHARES)
    kind = names[int(rng.choice(len(names), p=list(SHARES.values())))]
    if kind != "drawing":
        return kind
    weights = np.array(list(KINDS.values()), float)
    return list(KINDS)[int(rng.choice(len(KINDS), p=weights / weights.sum()))]


def patches(
    library: Library, size: int, seed: Sequence[int], kind: str | None = None
) -> tuple[str, list[Picture]]:
    """The patches of one scene, 0 to 5 of them, and the kind of the scene."""
    rng = np.random.default_rng(seed)
    kind = kind or _kind(rng, library)
    whole = scene(rng, size * _PATCHES_PER_SIDE, library, kind)
    found = []
    for row in range(_PATCHES_PER_SIDE):
        for column in range(_PATCHES_PER_SIDE):
            patch = whole[row * size : (row + 1) * size, column * size : (column + 1) * size]
            keep = max(_FLAT_KEPT, min(1.0, detail(patch) / _DETAILED))
            if kind in _FLAT_KINDS or rng.random() < keep:
                found.append(patch)
    if kind in _FLAT_KINDS:
        # The parts of a gradient are alike.
        found = found[:2]
    if kind not in _UNSHRUNK_KINDS:
        # The whole scene at half the size: fine lines and dense detail, as large drawings have
        # when they are published smaller.
        filter = _SHRINKING[int(rng.integers(len(_SHRINKING)))]
        found.append(np.array(Image.fromarray(whole).resize((size, size), filter)))
    return kind, found


def prepare(
    sources: Sources, folder: Path, *, count: int = 12_000, size: int = 256, seed: int = 0
) -> dict[str, int]:
    """Write `train.npy`, `validation.npy` and `patches.json` into ``folder``.

    train.npy: uint8 (count, size, size, 3). validation.npy: uint8 (48, 192, 192, 3), from other
    sources. Returns the number of training patches by kind of scene. The same sources and seed give
    the same files. Raises `TrainingDataError` if the patches are too small for the drawings.
    """
    if size < SMALLEST:
        raise TrainingDataError(f"size of patches is {size}; allowed are {SMALLEST} or more")
    folder.mkdir(parents=True, exist_ok=True)
    held_out = validation(sources.library(held_out=True), seed)
    _save(folder / "validation.npy", held_out)
    library = sources.library(held_out=False)
    path = folder / "train.npy"
    part = path.with_name("train.npy.part")
    train = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=(count, size, size, 3))
    counts: dict[str, int] = {}
    done = number = 0
    while done < count:
        kind, found = patches(library, size, [seed, 1, number])
        number += 1
        for patch in found[: count - done]:
            train[done] = patch
            done += 1
            counts[kind] = counts.get(kind, 0) + 1
        if number % 250 == 0:
            _log.info("%d of %d patches", done, count)
    train.flush()
    del train
    part.replace(path)
    facts = {"count": count, "size": size, "seed": seed, "kinds": dict(sorted(counts.items()))}
    (folder / "patches.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    return counts


def validation(library: Library, seed: int) -> Picture:
    """The validation set: every kind of scene in turn, one patch of each scene."""
    kinds = ["svg", "novel_scene", "svg", "mix", *KINDS, "svg"]
    if library.pictures:
        kinds = [each for kind in kinds for each in (kind, "picture")]
    found: list[Picture] = []
    number = 0
    while len(found) < VALIDATION_COUNT:
        kind = kinds[len(found) % len(kinds)]
        _, parts = patches(library, VALIDATION_SIZE, [seed, 2, number], kind)
        number += 1
        found += [part for part in parts if kind in _FLAT_KINDS or detail(part) > 0.02][:1]
    return np.stack(found)


def _save(path: Path, values: npt.NDArray[np.uint8]) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        np.save(file, values)
    part.replace(path)


# --- command line --------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run `unpack` or `prepare`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m waifu2x.training.data", description="Prepare pictures to train on."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("unpack", help="verify and unpack downloaded packages")
    one.add_argument("downloads", type=Path, metavar="DOWNLOADS")
    one.add_argument("folder", type=Path, metavar="FOLDER")
    two = commands.add_parser("prepare", help="fill a cache of patches")
    two.add_argument("folder", type=Path, metavar="FOLDER", help="as unpacked")
    two.add_argument("cache", type=Path, metavar="CACHE", help="receives train.npy")
    two.add_argument("--pictures", type=Path, metavar="DIR", help="own pictures to train on too")
    two.add_argument("--count", type=int, default=12_000, metavar="N", help="(default: 12000)")
    two.add_argument("--size", type=int, default=256, metavar="PX", help="(default: 256)")
    two.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if arguments.command == "unpack":
            counts = packages.unpack(arguments.downloads, arguments.folder)
        else:
            counts = prepare(
                Sources(arguments.folder, arguments.pictures),
                arguments.cache,
                count=arguments.count,
                size=arguments.size,
                seed=arguments.seed,
            )
    except TrainingDataError as error:
        parser.error(str(error))
    for name, number in sorted(counts.items()):
        _log.info("%6d  %s", number, name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
