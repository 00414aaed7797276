"""Killed and out of room: what is left is whole, and going on leads to the same bytes."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _batch_corpus import SMALL, TINY, make
from _batch_watch import BatchOptions, Watched, batch_command, is_temporary, tree, watch
from _measure import FailureError
from _parts import Part
from _tables import markdown

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
        raise FailureError(f"the run that nothing disturbs: {once.ending()}")
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
    part.wrong += case.wrong
    headers = ["", "killed", "whole files then", "unfinished ones", "in the end"]
    part.text = (
        f"\nKilled and out of room, {count} small pictures, {MODEL}, "
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
    """Runs that are disturbed, held against one that was not.

    files: the digests of what should be there in the end. seconds: that it takes undisturbed.
    """

    def __init__(
        self, source: Path, files: dict[str, str], count: int, seconds: float, draw: random.Random
    ) -> None:
        self.source, self.files, self.count = source, files, count
        self.seconds, self.draw = seconds, draw
        self.wrong: list[str] = []
        self.report: list[dict[str, Any]] = []

    def chain(self, folder: Path, kills: int) -> dict[str, Any]:
        """Start, kill, go on, kill, ..., and go on to the end."""
        out = folder / "killed"
        legs = []
        # Random numbers of files, those of a chain in order; and a random time more.
        moments = sorted(self.draw.randrange(self.count) for _ in range(kills))
        for moment in moments:
            later = self.draw.uniform(0, 4 * self.seconds / self.count)
            if moment == 0:
                later = self.draw.uniform(0, self.seconds / 4)
            watched = watch(_command(self.source, out, "--resume"), kill=(moment, later))
            there = tree(out) if out.exists() else {}
            self._require_whole(there, f"killed after {moment} files")
            if not watched.killed and watched.exit != 0:
                self.wrong.append(f"{moment} files: {watched.ending()}")
            legs.append(
                {
                    "moment": moment,
                    "later_s": later,
                    "killed": watched.killed,  # or it was faster
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
        """A disk that holds about half of the results, and later all of them."""
        size = sum(path.stat().st_size for path in (folder / "whole").rglob("*") if path.is_file())
        disk = folder / "disk"
        try:
            with _small_disk(disk, max(size // 2, 1 << 17)) as resize:
                out = disk / "out"
                first = watch(_command(self.source, out))
                there = tree(out)
                failed = [one for one in first.files if one["status"] == "failed"]
                found = {
                    "bytes_of_results": size,
                    "exit": first.exit,
                    "done_at_first": sum(not is_temporary(path) for path in there),
                    "temporary": sum(map(is_temporary, there)),
                    "failed_at_first": len(failed),
                    "messages": sorted({one["error"].rpartition(": ")[2] for one in failed})[:4],
                }
                if first.exit != 1 or not failed:
                    self.wrong.append(f"disk full: {len(failed)} failed, {first.ending()}")
                if len(first.files) != self.count:
                    self.wrong.append(f"disk full: {len(first.files)} of {self.count} files told")
                if found["temporary"]:
                    self.wrong.append("disk full: unfinished files were left")
                self._require_whole(there, "disk full")
                resize(4 * size + (1 << 20))
                last = watch(_command(self.source, out, "--resume"))
                found["same"] = self._require_same(last, out, "disk full")
                return found
        except FailureError as error:
            return {"skipped": str(error)}

    def _require_whole(self, there: dict[str, str], when: str) -> None:
        """What has its final name is complete."""
        self.wrong += [
            f"{when}: {path} is not what it should be"
            for path, digest in there.items()
            if not is_temporary(path) and self.files.get(path) != digest
        ]

    def _require_same(self, last: Watched, out: Path, when: str) -> bool:
        there = tree(out)
        wrong = []
        if last.exit != 0:
            wrong.append(f"{when}, in the end: {last.ending()}")
        wrong += [f"{when}, in the end: {path} is missing" for path in self.files.keys() - there]
        wrong += [f"{when}, in the end: {path} is left over" for path in there.keys() - self.files]
        wrong += [
            f"{when}, in the end: {path} has other bytes"
            for path in self.files.keys() & there
            if self.files[path] != there[path]
        ]
        self.wrong += wrong
        return not wrong


def _cleaned(watched: Watched) -> int | None:
    return watched.events[0].get("cleaned") if watched.events else None


@contextmanager
def _small_disk(folder: Path, size: int) -> Iterator[Any]:
    """A file system of that many bytes in memory; yields a function that resizes it."""
    folder.mkdir()

    def mount(*arguments: str) -> None:
        try:
            done = subprocess.run(
                ["mount", *arguments, str(folder)], capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise FailureError(f"mount: {error}") from error
        if done.returncode != 0:
            told = done.stderr.strip().splitlines()
            raise FailureError(told[0] if told else f"mount: exit status {done.returncode}")

    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs")
    try:
        yield lambda more: mount("-o", f"remount,size={more}")
    finally:
        subprocess.run(["umount", str(folder)], check=True)
