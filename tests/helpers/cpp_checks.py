"""Builds the C++ programs that check the kernels and the engine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CSRC = Path(__file__).parents[2] / "csrc"
KERNELS = [path for folder in ("scalar", "x86", "arm") for path in CSRC.glob(f"{folder}/*.cpp")]
COMPILER = next(
    filter(None, map(shutil.which, filter(None, [os.environ.get("CXX"), "c++", "g++", "clang++"]))),
    None,
)
FLAGS = ("-std=c++17", "-ffp-contract=off", "-Wall", "-Wextra", f"-I{CSRC}")


def compile_all(
    sources: Iterable[Path], folder: Path, *flags: str, compiler: str | None = COMPILER
) -> list[Path]:
    def compile_one(source: Path) -> Path:
        target = folder / f"{source.stem}.o"
        subprocess.run([compiler, *FLAGS, *flags, "-c", source, "-o", target], check=True)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, sources))


def write_stubs(target: Path, without: Sequence[Path]) -> Path:
    """Write what the dispatcher links to instead of all kernels but those of ``without``."""
    names = [path.stem for path in KERNELS if path not in without]
    lines = [f"void install_{name}(Kernels&) {{}}" for name in names]
    target.write_text("\n".join(['#include "kernels.h"', "namespace waifu2x {", *lines, "}\n"]))
    return target


def sanitizers_link(folder: Path, *flags: str) -> bool:
    source = folder / "empty.cpp"
    source.write_text("int main() {}\n")
    command = [COMPILER, *flags, source, "-o", folder / "empty"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
