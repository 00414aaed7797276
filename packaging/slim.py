"""Removes from an environment what `waifu2x` never loads: `python packaging/slim.py FOLDER`.

The Dockerfile runs it on the environment of the image, a virtual environment without pip. Needs the
`strip` of a compiler. Prints the bytes of all files, before and after.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

#: Folders and files of packages, below site-packages.
UNUSED: Final = (
    "numpy/f2py",
    "onnx/backend/test",
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    # For programs in C. The Python module contains the same code.
    "onnxruntime/capi/libonnxruntime.so.*",
)


def main(root: Path) -> None:
    """Reduce the environment at ``root``."""
    (packages,) = root.glob("lib/python3*/site-packages")
    before = size(root)
    for pattern in UNUSED:
        for path in packages.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in [*packages.rglob("tests"), *packages.rglob("__pycache__")]:
        if path.is_dir():
            shutil.rmtree(path)
    modules = [path for path in packages.rglob("*.so") if not path.parent.name.endswith(".libs")]
    subprocess.run(["strip", "--strip-unneeded", *modules], check=True)
    print(f"{root}: {before:,} bytes, now {size(root):,}")


def size(root: Path) -> int:
    """The bytes of all files."""
    return sum(path.lstat().st_size for path in root.rglob("*") if not path.is_dir())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
