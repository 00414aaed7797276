"""A C++ program compares engine kernels with double sums, and instruction sets with scalar."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from helpers.cpp_checks import COMPILER, CSRC, KERNELS, compile_all, sanitizers_link, write_stubs
from helpers.kernel_reference import STAIRCASE

from waifu2x.kernels import _native

ENGINE = [path for path in KERNELS if path.name.startswith("engine_")]
PROGRAM = Path(__file__).parent / "check_engine.cpp"
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no C++ compiler to build the check with"),
    pytest.mark.skipif(
        bool(os.environ.get("WAIFU2X_CPU")), reason="without a cap every level is checked at once"
    ),
]


@pytest.fixture(scope="module")
def common(tmp_path_factory):
    """Compile the checking program and its other objects, without the kernels under test."""
    folder = tmp_path_factory.mktemp("common")
    stubs = write_stubs(folder / "others.cpp", without=ENGINE)
    return compile_all([PROGRAM, CSRC / "dispatch.cpp", stubs], folder, "-O1")


# Unoptimized sanitized kernels compile in a third of the time; few cases expose stray reads.
@pytest.mark.parametrize(
    ("flags", "every"), [(("-O2",), 8), (("-O0", *SANITIZE), 48)], ids=["optimized", "sanitized"]
)
def test_engine_kernels(tmp_path, common, flags, every):
    if SANITIZE[0] in flags and not sanitizers_link(tmp_path, *SANITIZE):
        pytest.skip(f"{COMPILER} has no sanitizers here")
    objects = [*common, *compile_all(ENGINE, tmp_path, *flags)]
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
