"""Facts that every result records: commit, CPU, threads, versions, and the load of the machine."""

from __future__ import annotations

import datetime
import hashlib
import importlib.util
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def environment(*, threads: int | None, distributions: Iterable[str]) -> dict[str, Any]:
    """Collect all facts that stay constant during a run, ready for JSON.

    threads: the requested number; None if each library chooses.
    distributions: names on PyPI whose installed versions are recorded, None for a missing one.
    """
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **commit(),
        "package_differs_from_tree": package_differences(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in distributions},
    }


def describe(facts: dict[str, Any]) -> str:
    """Format the facts as a few lines above a table."""
    dirty = ", with changes" if facts["dirty"] else ""
    threads = "" if facts["threads"] is None else f", {facts['threads']} threads"
    versions = ", ".join(f"{name} {found or '-'}" for name, found in facts["versions"].items())
    lines = [
        f"commit {facts['commit']}{dirty}; {facts['date']}",
        f"{facts['cpu']}, {facts['cores']} cores{threads}; {facts['system']}",
        f"Python {facts['python']}; {versions}",
    ]
    if differing := facts["package_differs_from_tree"]:
        lines.append(
            f"WARNING: the installed waifu2x is not this tree: {len(differing)} files differ, "
            f"such as {differing[0]}; install the tree again"
        )
    return "\n".join(lines)


def commit() -> dict[str, Any]:
    """Commit of the tree, and whether files are modified; "unknown" and None outside git."""
    head = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain", "--", ":!benchmarks/results")
    return {
        "commit": head or "unknown",
        "dirty": None if head is None or status is None else bool(status),
    }


def package_differences() -> list[str]:
    """List the files of the imported package that differ from the tree.

    The recorded commit is that of the tree, but the installed package runs: the commit holds for
    the measurement only if this list is empty. Compiled code is not compared.
    """
    spec = importlib.util.find_spec("waifu2x")
    if spec is None or not spec.submodule_search_locations:
        return ["waifu2x (not installed)"]
    folder = Path(next(iter(spec.submodule_search_locations)))
    installed = _digests(folder, "*.py") | _digests(folder, "manifest.json")
    manifest = _digests(ROOT / "models", "manifest.json", inside="_models/")
    tree = _digests(ROOT / "waifu2x", "*.py") | manifest
    return sorted(name for name, _ in installed.items() ^ tree.items())


def cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def load_average() -> float | None:
    """The load average over one minute, or None on a system without it."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def busy_seconds() -> float | None:
    """CPU seconds of all cores since boot, from /proc/stat; None outside Linux.

    The resolution is a tick of 10 ms. Time stolen by other guests of the host counts as busy.
    """
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
        ticks = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[1:9])
    return (user + nice + system + irq + softirq + steal) / ticks


def foreign_share(
    before: float | None, after: float | None, *, own: float, wall: float
) -> float | None:
    """Share of the machine, 0 to 1, that other processes used between two `busy_seconds`.

    own: CPU seconds of the measured process. wall: elapsed seconds.
    """
    if before is None or after is None or wall <= 0:
        return None
    share = (after - before - own) / (wall * (os.cpu_count() or 1))
    return round(min(1.0, max(0.0, share)), 3)


def _digests(folder: Path, pattern: str, *, inside: str = "") -> dict[str, str]:
    """Digest of every file of a pattern, by its name in the installed package."""
    return {
        f"waifu2x/{inside}{path.relative_to(folder).as_posix()}": hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in folder.rglob(pattern)
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
