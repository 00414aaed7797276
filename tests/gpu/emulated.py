"""Compiles the kernels of csrc/cuda for the CPU with the emulator in this folder."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pybind11

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "csrc" / "cuda"
NAME = "_cuda_emulated"


@functools.cache
def module() -> ModuleType | None:
    """The extension of the CUDA kernels, run on host memory; None without g++ on Linux."""
    compiler = os.environ.get("CXX") or shutil.which("g++")
    if compiler is None or sys.platform != "linux":
        return None
    built = _build(compiler)
    spec = importlib.util.spec_from_file_location(NAME, built)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def _build(compiler: str) -> Path:
    sources = sorted([*SOURCE.glob("*.cu"), *SOURCE.glob("*.cpp")])
    folders = (SOURCE, SOURCE.parent, Path(__file__).parent)
    headers = [*SOURCE.glob("*.cuh"), *(file for each in folders for file in each.glob("*.h"))]
    files = sorted([*sources, *headers])
    # Built once per state of the sources; concurrent builds do not interfere.
    state = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    owner = os.getuid()
    folder = Path(tempfile.gettempdir()) / f"waifu2x-cuda-emulated-{owner}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != owner:
        raise RuntimeError(f"{folder} belongs to another user")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    target = folder / f"{NAME}-{state}{suffix}"
    if target.exists():
        return target
    flags = [
        *("-std=c++17", "-O2", "-fPIC", "-ffp-contract=off", "-fvisibility=hidden", "-w"),
        "-U_FORTIFY_SOURCE",  # its longjmp refuses to switch between stacks
        *(f"-DWAIFU2X_CUDA_MODULE={NAME}", f"-I{Path(__file__).parent}", f"-I{SOURCE}"),
        *(f"-I{pybind11.get_include()}", f"-I{sysconfig.get_path('include')}"),
    ]
    with tempfile.TemporaryDirectory(dir=folder) as work:

        def compile_one(source: Path) -> str:
            made = f"{work}/{source.name}.o"
            command = [compiler, *flags, "-x", "c++", "-c", str(source), "-o", made]
            subprocess.run(command, check=True)
            return made

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_one, sources))
        linked = f"{work}/linked{suffix}"
        subprocess.run([compiler, "-shared", *objects, "-o", linked], check=True)
        Path(linked).rename(target)
    return target
