"""Builds the extension module of the CUDA kernels in csrc/cuda.

The environment variable ``WAIFU2X_CUDA`` is 1 to build them, where a failure is an error, or 0 to
skip the build. By default they are built if nvcc is found and torch with CUDA is installed in the
environment of the interpreter, and a failure leaves the package without CUDA kernels.
The kernels are compiled for the GPUs of this machine, as reported by nvidia-smi; without a GPU, for
compute capability 8.0. The highest architecture is also embedded as PTX, which the driver compiles
for newer GPUs. ``WAIFU2X_CUDA_ARCHS`` replaces the list, for instance "75 80 86 89 90" for a build
that is copied to other machines. nvcc is searched in ``CUDACXX``, ``CUDA_HOME``, ``CUDA_PATH``,
``PATH`` and /usr/local/cuda.

Linux only: nvcc with MSVC is untested, and macOS has no CUDA.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from pybind11.setup_helpers import Pybind11Extension
from setuptools.errors import CompileError

NAME = "waifu2x.kernels._cuda"
CUDA = Path("csrc") / "cuda"
# Turing. Older GPUs have no tensor cores for these kernels.
OLDEST = 75
# Without a GPU: Ampere and, by its PTX, every newer GPU. PTX of 75 would lack the convolutions.
PORTABLE = 80
FLAGS = ("-std=c++17", "-O3", "-Xcompiler", "-fPIC,-fvisibility=hidden")


class Decision(NamedTuple):
    """Whether to build the extension, and one line that says so and why."""

    build: bool
    reason: str


def decision() -> Decision:
    """Decide by ``WAIFU2X_CUDA``, torch and nvcc; raises SystemExit if the wish cannot be met."""
    choice = os.environ.get("WAIFU2X_CUDA", "")
    if choice not in ("", "0", "1"):
        raise SystemExit(f"WAIFU2X_CUDA is {choice!r}; it must be 0, 1 or not set")
    nvcc = find_nvcc() if sys.platform == "linux" else None
    if choice == "1" and nvcc is None:
        raise SystemExit("WAIFU2X_CUDA=1 needs Linux and nvcc; set CUDA_HOME or CUDACXX to find it")
    if choice == "0":
        return Decision(False, "CUDA kernels: not built, because WAIFU2X_CUDA is 0")
    if choice == "1":
        return Decision(True, "CUDA kernels: built, because WAIFU2X_CUDA is 1")
    version = torch_cuda()
    if version is None:
        reason = "torch with CUDA is not installed; WAIFU2X_CUDA=1 builds them"
    elif nvcc is None:
        reason = f"torch with CUDA {version} is installed, but nvcc is not found"
    else:
        return Decision(True, f"CUDA kernels: built, because torch has CUDA {version}")
    return Decision(False, f"CUDA kernels: not built, because {reason}")


def torch_cuda() -> str | None:
    """The CUDA version of the torch in the environment of this interpreter, or None.

    Reads a file and imports nothing: pip hides the packages of the environment from a build, but
    runs the environment's own interpreter. uv builds in another environment; there the answer is
    None.
    """
    for kind in ("purelib", "platlib"):
        file = Path(sysconfig.get_path(kind)) / "torch" / "version.py"
        if file.is_file():
            found = re.search(r"^cuda\b[^=]*= *'([^']+)'", file.read_text("utf-8"), re.M)
            return found[1] if found else None
    return None


def find_nvcc() -> str | None:
    """The path of nvcc, or None."""
    environ = os.environ
    homes = [environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if environ.get(name)]
    candidates = [
        environ.get("CUDACXX"), *(f"{home}/bin/nvcc" for home in homes), "nvcc",
        "/usr/local/cuda/bin/nvcc",
    ]  # fmt: skip
    return next((path for each in candidates if each and (path := shutil.which(each))), None)


def extension() -> Pybind11Extension:
    """The extension without the object files of the kernels, which `prepare` adds.

    Unless ``WAIFU2X_CUDA`` is 1, a failed build is only a warning.
    """
    return Pybind11Extension(
        NAME,
        sources=sorted(str(path) for path in CUDA.glob("*.cpp")),
        depends=[*_kernels(), *_headers()],
        cxx_std=17,
        extra_compile_args=["-O3"],
        optional=os.environ.get("WAIFU2X_CUDA") != "1",
    )


def prepare(extension: Pybind11Extension, work: Path, target: Path) -> None:
    """Compile the kernels into ``work`` and add them to the extension.

    target: the file of the extension; removed after a failure.
    """
    nvcc = find_nvcc()
    assert nvcc is not None
    try:
        toolkit = _toolkit(nvcc)
        extension.include_dirs.append(str(_folder(toolkit, "include", "cuda_runtime.h")))
        library = _folder(toolkit, "lib", "libcudart_static.a")
        made = _compile(nvcc, work / "cuda")
    except CompileError as error:
        target.unlink(missing_ok=True)  # a previous build is out of date
        without = "; the package goes without CUDA kernels" if extension.optional else ""
        raise CompileError(f"{error}{without}") from error
    extension.depends.extend(made)
    extension.extra_objects = [*made, str(library / "libcudart_static.a")]
    extension.libraries = ["rt", "dl", "pthread"]


def _compile(nvcc: str, work: Path) -> list[str]:
    work.mkdir(parents=True, exist_ok=True)
    base = [nvcc, *FLAGS, *_code(nvcc)]
    newest = max(Path(file).stat().st_mtime for file in (*_headers(), __file__))

    def compile_one(source: str) -> str:
        made = work / f"{Path(source).stem}.o"
        command = [*base, "-c", source, "-o", str(made)]
        # The command is written after its object, so both exist and match after a completed build.
        note = made.with_suffix(".command")
        since = max(newest, Path(source).stat().st_mtime)
        if note.exists() and note.read_text() == str(command) and made.stat().st_mtime > since:
            return str(made)
        note.unlink(missing_ok=True)
        print(shlex.join(command), flush=True)
        try:
            subprocess.run(command, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise CompileError(f"nvcc failed on {source}") from error
        note.write_text(str(command))
        return str(made)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, _kernels()))


def _code(nvcc: str) -> list[str]:
    """Flags for the architectures of the build, with PTX for the highest."""
    archs = os.environ.get("WAIFU2X_CUDA_ARCHS", "").replace(",", " ").split()
    archs = archs or _architectures(nvcc)
    flags = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    return [*flags, f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}"]


def _architectures(nvcc: str) -> list[str]:
    """The architectures of the GPUs of this machine, or a portable one."""
    listed = re.findall(r"^compute_(\d+)$", _output(nvcc, "--list-gpu-arch"), re.M)
    known = [arch for arch in map(int, listed) if arch >= OLDEST]
    if PORTABLE not in known:
        raise CompileError(f"{nvcc} does not support compute capability {PORTABLE / 10}")
    # For a GPU newer than the toolkit, the driver compiles the PTX of an older architecture.
    archs = {max(each for each in known if each <= gpu) for gpu in gpus() if gpu >= min(known)}
    return [str(arch) for arch in sorted(archs or {PORTABLE})]


def gpus() -> list[int]:
    """Compute capabilities of the NVIDIA GPUs of this machine, times ten."""
    try:
        listed = _output("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader")
    except CompileError:
        return []
    return [int(f"{major}{minor}") for major, minor in re.findall(r"^(\d+)\.(\d)$", listed, re.M)]


def _toolkit(nvcc: str) -> Path:
    """The root of the toolkit, as reported by nvcc: its path may be a link or a script."""
    found = re.search(r"^#\$ TOP=(.+)$", _output(nvcc, "--dryrun", "-x", "cu", os.devnull), re.M)
    return Path(found[1] if found else os.path.realpath(f"{nvcc}/../..")).resolve()


def _folder(toolkit: Path, kind: str, file: str) -> Path:
    machine = os.uname().machine
    target = toolkit / "targets" / f"{'sbsa' if machine == 'aarch64' else machine}-linux"
    for folder in (toolkit / kind, toolkit / f"{kind}64", target / kind):
        if (folder / file).exists():
            return folder
    raise CompileError(f"the CUDA toolkit at {toolkit} has no {file}")


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CompileError(f"{command[0]} does not run") from error
    return done.stdout + done.stderr


def _kernels() -> list[str]:
    return sorted(str(path) for path in CUDA.glob("*.cu"))


def _headers() -> list[str]:
    here = [path for kind in ("*.h", "*.cuh") for path in CUDA.glob(kind)]
    return sorted(str(path) for path in (*here, *CUDA.parent.glob("*.h")))
