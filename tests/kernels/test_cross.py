"""The AArch64 kernels on a machine of another kind: cross-compiled, run under qemu."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"


def test_neon_is_scalar_bit_for_bit(tmp_path):
    if not (shutil.which(COMPILER) and shutil.which(EMULATOR)):
        pytest.skip(f"the NEON kernels need {COMPILER} and {EMULATOR} to be checked here")
    program = tmp_path / "check_levels"
    csrc = ROOT / "csrc"
    sources = [csrc / "dispatch.cpp", *csrc.glob("scalar/*.cpp"), *csrc.glob("arm/*.cpp")]
    subprocess.run(
        [
            *(COMPILER, "-std=c++17", "-O3", "-ffp-contract=off", "-static", "-Wall", "-Wextra"),
            *("-Werror", f"-I{csrc}", Path(__file__).parent / "check_levels.cpp", *sources),
            *("-o", program),
        ],
        check=True,
    )
    result = subprocess.run(
        [EMULATOR, program],
        env={**os.environ, "WAIFU2X_CPU": ""},  # a cap of this run is not for that processor
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.split() == ["scalar", "neon", "agree"]
