"""Cross-compiles the AArch64 kernels and runs them under qemu."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.cpp_checks import CSRC, FLAGS, compile_all

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"

pytestmark = [
    pytest.mark.skipif(
        not (shutil.which(COMPILER) and shutil.which(EMULATOR)),
        reason=f"the NEON kernels need {COMPILER} and {EMULATOR} to be checked here",
    ),
    pytest.mark.skipif(
        bool(os.environ.get("WAIFU2X_CPU")), reason="a cap of this run is not for that processor"
    ),
]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    sources = [*CSRC.glob("arm/*.cpp"), *CSRC.glob("scalar/*.cpp"), CSRC / "dispatch.cpp"]
    folder = tmp_path_factory.mktemp("kernels")
    return compile_all(sources, folder, "-O3", "-Werror", compiler=COMPILER)


def output_under_emulator(folder: Path, kernels: list[Path], name: str, *arguments: str) -> str:
    program, source = folder / name, Path(__file__).parent / f"{name}.cpp"
    subprocess.run(
        [COMPILER, *FLAGS, "-O1", "-Werror", "-static", source, *kernels, "-o", program], check=True
    )
    result = subprocess.run(
        [EMULATOR, program, *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_neon_is_scalar_bit_for_bit(tmp_path, kernels):
    output = output_under_emulator(tmp_path, kernels, "check_levels")
    assert output.split() == ["scalar", "neon", "agree"]


def test_engine_kernels(tmp_path, kernels):
    output = output_under_emulator(tmp_path, kernels, "check_engine", "--every", "24")
    assert output.splitlines()[-1].split() == ["scalar", "neon", "agree"]
