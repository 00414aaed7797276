"""Compiles the native extension with more warnings than its build asks for, as errors."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig

import pytest
from helpers.cpp_checks import CSRC, FLAGS

#: Leaves out the kernels for ARM, which test_cross.py compiles.
SOURCES = sorted(path for path in CSRC.rglob("*.cpp") if path.parent.name not in ("arm", "cuda"))


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_a_compiler_has_nothing_to_say(compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    pybind11 = pytest.importorskip("pybind11", reason="pybind11 is not installed")
    system = [f"-isystem{path}" for path in (sysconfig.get_path("include"), pybind11.get_include())]
    wanted = ["-fsyntax-only", "-Wpedantic", "-Wshadow", "-Werror"]
    result = subprocess.run(
        [compiler, *FLAGS, *wanted, *system, *SOURCES], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
