"""Killed runs and a full disk: files are complete, and resuming gives the same bytes."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..common.measure import FailureError
from ..common.parts import Part
from ..common.tables import markdown
from .corpus import SMALL, TINY, make
from .options import BatchOptions
from .watch import Watched, batch_command, is_temporary, tree, watch

COUNT, QUICK_COUNT = 150, 24
KILLS, QUICK_KILLS = 20, 3
FRESH, QUICK_FRESH = 6, 1
MODEL = "upconv_7"
SEED = 9


def run(options: BatchOptions) -> Part:
    source, whole = options.folder / "in", options.folder / "whole"
    count = QUICK_COUNT if options.quick else COUNT
    make(source, count, TINY if options.quick else SMALL, pictures=options.pictures)
    once = watch(_command(source, whole))
    if once.exit != 0:
        raise FailureError(f"the undisturbed run: {once.message}")
    case = _Case(source, tree(whole), count, once.wall_s, random.Random(SEED))
    part = Part({"model": MODEL, "files": count, "undisturbed_s": once.wall_s}, "")
    kills = QUICK_KILLS if options.quick else KILLS
    rows = [_row("a chain", case.chain(options.folder, kills))]
    for index in range(QUICK_FRESH if options.quick else FRESH):
        rows.append(_row(f"fresh run {index + 1}", case.chain(options.folder, 1)))
    part.report["kills"] = case.report
    part.report["full_disk"] = full = case.full_disk(options.folder)
    rows.append(
        ["disk full", f"skipped: {full['skipped']}"]
        if "skipped" in full
        else ["disk full", "", str(full["done_at_first"]), str(full["temporary"]), _same(full)]
    )
    part.problems += case.problems
    headers = ["", "killed", "complete files then", "unfinished files", "at the end"]
    part.text = (
        f"\nKilled runs and a full disk, {count} small pictures, {MODEL}, "
        f"{once.wall_s:.1f} s undisturbed:\n\n{markdown(headers, rows)}\n"
    )
    return part


def _row(name: str, chain: dict[str, Any]) -> list[str]:
    killed = sum(leg["killed"] for leg in chain["legs"])
    return [
        name,
        f"{killed} of {chain['kills']}",
        *(_span([leg[what] for leg in chain["legs"]]) for what in ("whole", "temporary")),
        _same(chain),
    ]


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} - {high}"


def _same(found: dict[str, Any]) -> str:
    return "the same bytes" if found["same"] else "DIFFERS"


def _command(source: Path, out: Path, *more: str) -> list[str]:
    return batch_command(source, out, "-m", MODEL, "--memory", "1G", *more)


class _Case:
    """Disturbed runs, compared with an undisturbed run.

    files: digests of the undisturbed results. count: of input files. seconds: of the undisturbed
    run.
    """

    def __init__(
        self, source: Path, files: dict[str, str], count: int, seconds: float, draw: random.Random
    ) -> None:
        self.source, self.files, self.count = source, files, count
        self.seconds, self.draw = seconds, draw
        self.problems: list[str] = []
        self.report: list[dict[str, Any]] = []

    def chain(self, folder: Path, kills: int) -> dict[str, Any]:
        """Start, kill and resume ``kills`` times, then resume to the end."""
        out = folder / "killed"
        legs = []
        # A random number of files, ascending within a chain, and a random delay.
        moments = sorted(self.draw.randrange(self.count) for _ in range(kills))
        for moment in moments:
            later = self.draw.uniform(0, 4 * self.seconds / self.count)
            if moment == 0:
                later = self.draw.uniform(0, self.seconds / 4)
            watched = watch(_command(self.source, out, "--resume"), kill=(moment, later))
            there = tree(out) if out.exists() else {}
            self._require_whole(there, f"killed after {moment} files")
            if not watched.killed and watched.exit != 0:
                self.problems.append(f"{moment} files: {watched.message}")
            legs.append(
                {
                    "moment": moment,
                    "later_s": later,
                    "killed": watched.killed,  # False if the run ended first
                    "ended": len(watched.files),
                    "whole": len(self.files.keys() & there.keys()),
                    "temporary": sum(map(is_temporary, there)),
                }
            )
        last = watch(_command(self.source, out, "--resume"))
        same = self._require_same(last, out, f"killed {kills} times")
        shutil.rmtree(out)
        found = {"kills": kills, "legs": legs, "same": same, "cleaned": _cleaned(last)}
        self.report.append(found)
        return found

    def full_disk(self, folder: Path) -> dict[str, Any]:
        """Run on a disk with space for half of the results, enlarge the disk, and resume."""
        size = sum(path.stat().st_size for path in (folder / "whole").rglob("*") if path.is_file())
        disk = folder / "disk"
        try:
            with _small_disk(disk, max(size // 2, 1 << 17)) as resize:
                out = disk / "out"
                first = watch(_command(self.source, out))
                there = tree(out)
                failed = [file for file in first.files if file["status"] == "failed"]
                found = {
                    "bytes_of_results": size,
                    "exit": first.exit,
                    "done_at_first": sum(not is_temporary(path) for path in there),
                    "temporary": sum(map(is_temporary, there)),
                    "failed_at_first": len(failed),
                    "messages": sorted({file["error"].rpartition(": ")[2] for file in failed})[:4],
                }
                if first.exit != 1 or not failed:
                    self.problems.append(f"disk full: {len(failed)} failed, {first.message}")
                if len(first.files) != self.count:
                    self.problems.append(
                        f"disk full: {len(first.files)} of {self.count} files reported"
                    )
                if found["temporary"]:
                    self.problems.append("disk full: unfinished files remain")
                self._require_whole(there, "disk full")
                resize(4 * size + (1 << 20))
                last = watch(_command(self.source, out, "--resume"))
                found["same"] = self._require_same(last, out, "disk full")
                return found
        except FailureError as error:
            return {"skipped": str(error)}

    def _require_whole(self, there: dict[str, str], when: str) -> None:
        """Record files under their final name that differ from the undisturbed result."""
        self.problems += [
            f"{when}: {path} is incomplete"
            for path, digest in there.items()
            if not is_temporary(path) and self.files.get(path) != digest
        ]

    def _require_same(self, last: Watched, out: Path, when: str) -> bool:
        there = tree(out)
        problems = []
        if last.exit != 0:
            problems.append(f"{when}, at the end: {last.message}")
        problems += [f"{when}, at the end: {path} is missing" for path in self.files.keys() - there]
        problems += [
            f"{when}, at the end: {path} is unexpected" for path in there.keys() - self.files
        ]
        problems += [
            f"{when}, at the end: {path} has other bytes"
            for path in self.files.keys() & there
            if self.files[path] != there[path]
        ]
        self.problems += problems
        return not problems


def _cleaned(watched: Watched) -> int | None:
    return watched.events[0].get("cleaned") if watched.events else None


@contextmanager
def _small_disk(folder: Path, size: int) -> Iterator[Any]:
    """Mount a tmpfs of ``size`` bytes; yield a function that resizes it."""
    folder.mkdir()

    def mount(*arguments: str) -> None:
        try:
            done = subprocess.run(
                ["mount", *arguments, str(folder)], capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise FailureError(f"mount: {error}") from error
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            raise FailureError(lines[0] if lines else f"mount: exit status {done.returncode}")

    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs")
    try:
        yield lambda more: mount("-o", f"remount,size={more}")
    finally:
        subprocess.run(["umount", str(folder)], check=True)
