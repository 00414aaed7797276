"""The engine's kernels against sums in double, and every level against scalar: a C++ program."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kernel_reference import STAIRCASE

from waifu2x import _native

CSRC = Path(__file__).parents[2] / "csrc"
KERNELS = [path for folder in ("scalar", "x86", "arm") for path in CSRC.glob(f"{folder}/*.cpp")]
SOURCES = [
    *(path for path in KERNELS if path.name.startswith("engine_")),  # the longest first
    Path(__file__).parent / "check_engine.cpp",
    CSRC / "dispatch.cpp",
    *(path for path in KERNELS if not path.name.startswith("engine_")),
]
COMPILER = next(
    filter(None, map(shutil.which, filter(None, [os.environ.get("CXX"), "c++", "g++", "clang++"]))),
    None,
)
FLAGS = ("-std=c++17", "-ffp-contract=off", "-Wall", "-Wextra", f"-I{CSRC}")
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def compile_with(flags: tuple[str, ...], folder: Path) -> Path:
    def compile_one(source: Path) -> Path:
        target = folder / f"{source.stem}.o"
        subprocess.run([COMPILER, *FLAGS, *flags, "-c", source, "-o", target], check=True)
        return target

    program = folder / "check_engine"
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, SOURCES))
    subprocess.run([COMPILER, *flags, *objects, "-o", program], check=True)
    return program


def sanitizers_link(folder: Path) -> bool:
    source = folder / "empty.cpp"
    source.write_text("int main() {}\n")
    command = [COMPILER, *SANITIZE, source, "-o", folder / "empty"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler to build the check with")
@pytest.mark.parametrize(
    ("flags", "every"), [(("-O2",), 2), (("-O1", *SANITIZE), 8)], ids=["optimised", "sanitized"]
)
def test_engine_kernels(tmp_path, flags, every):
    if SANITIZE[0] in flags and not sanitizers_link(tmp_path):
        pytest.skip(f"{COMPILER} has no sanitizers here")
    result = subprocess.run(
        [compile_with(flags, tmp_path), "--every", str(every)],
        # Nothing is freed at the end but by the operating system; looking for leaks needs ptrace.
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
        capture_output=True,
        text=True,
        check=False,
    )
    levels = _native.isas()
    assert levels == STAIRCASE[: len(levels)]
    # 2: this run is capped at scalar, or the processor has nothing else.
    assert result.returncode == (0 if len(levels) > 1 else 2), result.stdout + result.stderr
    assert result.stdout.splitlines()[-1].split() == [*levels, "agree"]
