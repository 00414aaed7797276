"""Fresh processes: commands that are timed from outside, and functions run in a new Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _environment import busy_seconds, load_average
from _measure import FailureError, Sample, others_share

HERE = Path(__file__).parent

#: What keeps a process from instruction sets past this one. ncnn and onnxruntime know no such
#: thing. The libraries read them when they are loaded, so they must stand before a process starts.
CAPS: Mapping[str, Mapping[str, str]] = {
    "avx2": {
        "WAIFU2X_CPU": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
    "avx512": {
        "WAIFU2X_CPU": "avx512",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "ATEN_CPU_CAPABILITY": "avx512",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
    },
}


def in_child(
    module: str, function: str, *, cap: str | None = None, arguments: Mapping[str, Any]
) -> Any:
    """What ``function(**arguments)`` of a module here returns in a fresh Python, as JSON.

    Raises `FailureError` with the last line it wrote to stderr if it fails.
    """
    request = {"module": module, "function": function, "arguments": arguments}
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer.json")
        done = subprocess.run(
            [sys.executable, str(HERE / "_child.py"), str(answer)],
            input=json.dumps(request),
            stdout=subprocess.DEVNULL,  # libraries may print there what they like
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(CAPS[cap] if cap else {})},
            check=False,
        )
        if done.returncode != 0:
            raise FailureError(ended(done.returncode, done.stderr))
        return json.loads(answer.read_text())


def run_command(command: Sequence[str], target: Path | None = None) -> Sample:
    """Time a command from outside. target: a file that it must write.

    Raises `FailureError` saying why the command failed. POSIX only.
    """
    if not hasattr(os, "wait4"):
        raise FailureError("needs os.wait4, which this system has not")
    if target:
        target.unlink(missing_ok=True)
    busy = busy_seconds()
    measured = subprocess.run(
        [sys.executable, "-S", "-E", str(HERE / "_command.py"), *command],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    told = json.loads(measured.stdout)
    if told["exit"] != 0:
        raise FailureError(ended(told["exit"], told["error"]))
    if target and not target.exists():
        raise FailureError("it ended without a picture")
    foreign = others_share(busy, own=told["cpu_s"], wall=told["wall_s"])
    return Sample(told["wall_s"], told["cpu_s"], foreign, load_average(), told["peak_rss"])


def ended(status: int, errors: str) -> str:
    """How a process ended that should have ended well."""
    told = errors.strip().splitlines()
    return f"exit status {status}: {told[-1] if told else 'no message'}"
