"""Finds the model files of the user: by path, or by name in the folder WAIFU2X_MODELS."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .._text import natural_key, reason, shown
from ..errors import WeightsError

#: The suffixes of model files; .pth, .pt and .ckpt are one format, and a .param needs its .bin.
SUFFIXES: Final = (".param", ".pth", ".pt", ".ckpt", ".safetensors", ".onnx", ".json", ".npz")
#: The environment variable with the folder of the user's models.
VARIABLE: Final = "WAIFU2X_MODELS"
#: Most files of the folder that are listed.
_MOST: Final = 10_000


def find(name: str) -> str | None:
    """Return the path of the file that ``name`` stands for; None if it is the name of a model.

    A path comes before a name in the folder of the user. The .bin file of ncnn stands for the
    .param file next to it. The file of a path need not exist.

    Raises `WeightsError` if the folder in the environment variable cannot be read.
    """
    path = Path(name)
    if path.suffix.lower() == ".bin" and os.path.isfile(f"{name[:-4]}.param"):  # noqa: PTH113
        return f"{name[:-4]}.param"
    if os.path.isfile(path):  # noqa: PTH113  (False for a path that cannot be looked up)
        return name
    folder = os.environ.get(VARIABLE)
    if folder:
        if found := in_folder().get(name):
            return str(found)
        if path.suffix.lower() in SUFFIXES and os.path.isfile(Path(folder, path)):  # noqa: PTH113
            return str(Path(folder, path))
    return name if path.suffix.lower() in SUFFIXES or path.name != name else None


def in_folder() -> dict[str, Path]:
    """Return the files in the folder of the user and below, by the names that `find` takes.

    A name is the path in the folder without the suffix. It has the suffix if two files differ only
    there, or if another file has the name without it.

    Raises `WeightsError` if the folder cannot be read.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        return {}
    try:
        names = sorted(_relative(Path(folder)), key=natural_key)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"cannot read the folder {shown(folder)} in {VARIABLE}: {reason(error)}; "
            "create it, or unset the variable"
        ) from error
    bare = [Path(name).with_suffix("").as_posix() for name in names]
    counts = Counter((*names, *bare))
    return {
        each if counts[each] == 1 else name: Path(folder, name)
        for name, each in zip(names, bare, strict=True)
    }


def _relative(folder: Path) -> Iterator[str]:
    """Yield the paths in ``folder`` of the files with a suffix of weights."""
    os.listdir(folder)  # noqa: PTH208  (raises for a folder that os.walk would pass over)
    found = 0
    for parent, _, files in os.walk(folder):
        for file in files:
            if Path(file).suffix.lower() in SUFFIXES and found < _MOST:
                found += 1
                yield Path(parent, file).relative_to(folder).as_posix()
