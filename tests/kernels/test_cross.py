"""The AArch64 kernels on a machine of another kind: cross-compiled, run under qemu."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"


def output_under_emulator(folder: Path, name: str, *arguments: str) -> str:
    if not (shutil.which(COMPILER) and shutil.which(EMULATOR)):
        pytest.skip(f"the NEON kernels need {COMPILER} and {EMULATOR} to be checked here")
    program = folder / name
    csrc = ROOT / "csrc"
    sources = [csrc / "dispatch.cpp", *csrc.glob("scalar/*.cpp"), *csrc.glob("arm/*.cpp")]
    subprocess.run(
        [
            *(COMPILER, "-std=c++17", "-O3", "-ffp-contract=off", "-static", "-Wall", "-Wextra"),
            *("-Werror", f"-I{csrc}", Path(__file__).parent / f"{name}.cpp", *sources),
            *("-o", program),
        ],
        check=True,
    )
    result = subprocess.run(
        [EMULATOR, program, *arguments],
        env={**os.environ, "WAIFU2X_CPU": ""},  # a cap of this run is not for that processor
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_neon_is_scalar_bit_for_bit(tmp_path):
    assert output_under_emulator(tmp_path, "check_levels").split() == ["scalar", "neon", "agree"]


def test_engine_kernels(tmp_path):
    output = output_under_emulator(tmp_path, "check_engine", "--every", "8")
    assert output.splitlines()[-1].split() == ["scalar", "neon", "agree"]
