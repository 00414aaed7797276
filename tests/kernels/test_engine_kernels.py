"""A C++ program compares engine kernels with double sums, and instruction sets with scalar."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.kernel_reference import STAIRCASE

from waifu2x.kernels import _native

CSRC = Path(__file__).parents[2] / "csrc"
KERNELS = [path for folder in ("scalar", "x86", "arm") for path in CSRC.glob(f"{folder}/*.cpp")]
ENGINE = [path for path in KERNELS if path.name.startswith("engine_")]
PROGRAM = Path(__file__).parent / "check_engine.cpp"
COMPILER = next(
    filter(None, map(shutil.which, filter(None, [os.environ.get("CXX"), "c++", "g++", "clang++"]))),
    None,
)
FLAGS = ("-std=c++17", "-ffp-contract=off", "-Wall", "-Wextra", f"-I{CSRC}")
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no C++ compiler to build the check with"),
    pytest.mark.skipif(
        bool(os.environ.get("WAIFU2X_CPU")), reason="without a cap every level is checked at once"
    ),
]


def compile_all(sources: list[tuple[Path, tuple[str, ...]]], folder: Path) -> list[Path]:
    def compile_one(source: Path, flags: tuple[str, ...]) -> Path:
        target = folder / f"{source.stem}.o"
        subprocess.run([COMPILER, *FLAGS, *flags, "-c", source, "-o", target], check=True)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, *zip(*sources, strict=True)))


@pytest.fixture(scope="module")
def common(tmp_path_factory):
    """Compile the checking program and its other objects, without the kernels under test."""
    folder = tmp_path_factory.mktemp("common")
    others = folder / "others.cpp"  # empty stubs for the dispatcher
    names = [path.stem for path in KERNELS if path not in ENGINE]
    lines = [f"void install_{name}(Kernels&) {{}}" for name in names]
    others.write_text("\n".join(['#include "kernels.h"', "namespace waifu2x {", *lines, "}\n"]))
    return compile_all(
        [(path, ("-O1",)) for path in (PROGRAM, CSRC / "dispatch.cpp", others)], folder
    )


def sanitizers_link(folder: Path) -> bool:
    source = folder / "empty.cpp"
    source.write_text("int main() {}\n")
    command = [COMPILER, *SANITIZE, source, "-o", folder / "empty"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


# Unoptimized sanitized kernels compile in a third of the time; few cases expose stray reads.
@pytest.mark.parametrize(
    ("flags", "every"), [(("-O2",), 8), (("-O0", *SANITIZE), 48)], ids=["optimized", "sanitized"]
)
def test_engine_kernels(tmp_path, common, flags, every):
    if SANITIZE[0] in flags and not sanitizers_link(tmp_path):
        pytest.skip(f"{COMPILER} has no sanitizers here")
    objects = [*common, *compile_all([(path, flags) for path in ENGINE], tmp_path)]
    program = tmp_path / "check_engine"
    subprocess.run([COMPILER, *flags, *objects, "-o", program], check=True)
    result = subprocess.run(
        [program, "--every", str(every)], capture_output=True, text=True, check=False
    )
    levels = _native.isas()
    assert levels == STAIRCASE[: len(levels)]
    # Exit code 2: the CPU supports only scalar.
    assert result.returncode == (0 if len(levels) > 1 else 2), result.stdout + result.stderr
    assert result.stdout.splitlines()[-1].split() == [*levels, "agree"]
