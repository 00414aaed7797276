"""A C++ program runs the engine in many threads under ThreadSanitizer."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.cpp_checks import COMPILER, CSRC, KERNELS, compile_all, sanitizers_link, write_stubs

PROGRAM = Path(__file__).parent / "check_threads.cpp"
SANITIZE = ("-O1", "-g", "-fsanitize=thread")

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler to build the check with")


def test_threads_have_no_races_and_agree(tmp_path):
    if not sanitizers_link(tmp_path, *SANITIZE):
        pytest.skip(f"{COMPILER} has no ThreadSanitizer here")
    scalar = [path for path in KERNELS if path.parent.name == "scalar"]
    stubs = write_stubs(tmp_path / "others.cpp", without=scalar)
    sources = [PROGRAM, *CSRC.glob("engine/*.cpp"), *scalar, CSRC / "dispatch.cpp", stubs]
    program = tmp_path / "check_threads"
    objects = compile_all(sources, tmp_path, *SANITIZE)
    subprocess.run([COMPILER, *SANITIZE, *objects, "-o", program], check=True)
    # ThreadSanitizer does not start where addresses are too random.
    fixed = ["setarch", platform.machine(), "-R"] if shutil.which("setarch") else []
    result = subprocess.run(
        [*fixed, program],
        env={**os.environ, "WAIFU2X_CPU": "scalar"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "threads agree\n"), result.stderr
