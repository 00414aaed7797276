"""The result of each file of a batch, and the report of all results."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from .._record import record
from .._text import folded, reason, shown
from ..errors import ArgumentError, EncodeError, Waifu2xError
from ..pipeline.auto_noise import AnyLevel
from .limits import Seconds

Status: TypeAlias = Literal["done", "skipped", "failed"]


@record
class BatchResult:
    """The result of one file.

    source, target: the files; ``target`` is complete if the file is done.
    status: "done", "skipped" (finished before, or larger than ``skip_larger``, as ``notes``
        explain), or "failed".
    size_in, size_out: (width, height) in pixels; for an archive, those of its largest page. None
        if the file is not done, or an earlier attempt finished it without a report.
    noise: the noise level removed, or None.
    reason: why the level was chosen, if it was chosen automatically; otherwise empty.
    notes: remarks for the user, such as metadata that the format cannot hold.
    failures: what is wrong with each page of an archive that was carried over unchanged, or with a
        damaged video.
    error: why the file failed.
    seconds: time from begin to end.
    stages: the time in each stage, or None if it was not measured.

    >>> for result in waifu2x.upscale_many("pictures/2.png", "big", model="swift", scale=1.5):
    ...     print(result.source.name, result.status, result.size_in, result.size_out)
    2.png done (20, 16) (30, 24)
    """

    source: Path
    target: Path
    status: Status
    size_in: tuple[int, int] | None = None
    size_out: tuple[int, int] | None = None
    noise: AnyLevel | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    error: Waifu2xError | None = None
    seconds: float = 0.0
    stages: Seconds | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields for JSON, with ``source`` as "input" and ``target`` as "output".

        Bytes of file names that are not UTF-8 become lone surrogates, as with `os.fsdecode`.

        >>> from pathlib import Path
        >>> result = waifu2x.BatchResult(Path("in.png"), Path("big.png"), "skipped")
        >>> result.as_dict()["output"], result.as_dict()["status"]
        ('big.png', 'skipped')
        """
        return {
            "input": os.fspath(self.source),
            "output": os.fspath(self.target),
            "status": self.status,
            "size_in": self.size_in,
            "size_out": self.size_out,
            "noise": self.noise,
            "reason": self.reason,
            "notes": self.notes,
            "failures": self.failures,
            "error": None if self.error is None else " ".join(str(self.error).split()),
            "seconds": round(self.seconds, 4),
            "stages": None
            if self.stages is None
            else {name: round(value, 4) for name, value in asdict(self.stages).items()},
        }


@dataclass(slots=True)
class Summary:
    """Counts of files by status.

    done, skipped, failed: numbers of files with this status.
    incomplete: number of those that are done and hold pages carried over unchanged, or miss frames.

    >>> results = waifu2x.upscale_many("pictures", "big", model="swift")
    >>> for result in results:
    ...     pass
    >>> results.summary
    Summary(done=2, skipped=0, failed=0, incomplete=0)
    >>> results.summary.ended
    2
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    incomplete: int = 0

    def count(self, result: BatchResult) -> None:
        """Count one result."""
        setattr(self, result.status, getattr(self, result.status) + 1)
        self.incomplete += bool(result.failures)

    @property
    def ended(self) -> int:
        """The number of files that have ended."""
        return self.done + self.skipped + self.failed


def check_report(path: str | os.PathLike[str], targets: Iterable[Path]) -> None:
    """Raise `ArgumentError` if the report at ``path`` is one of the results ``targets``."""
    try:
        own, name = os.path.realpath(path), folded(os.path.basename(path))  # noqa: PTH119
    except (OSError, ValueError):
        return  # `Report` cannot open such a path either
    for target in targets:
        if folded(target.name) == name and os.path.realpath(target) == own:
            raise ArgumentError(
                f"report is {shown(path)}, which is the name of a result; choose another file"
            )


class Report:
    """A file of JSON lines, one for each file of a batch, written without buffering.

    An existing report is continued. A torn last line, as after a loss of power, is terminated
    first, so that the lines after it can be parsed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the report; raises `EncodeError` if it cannot be written, or is another file."""
        self._path = Path(path)
        self._lock = threading.Lock()
        try:
            self._refuse_other_file()
            self._file = self._path.open("a+b", buffering=0)
            if self._file.seek(0, io.SEEK_END) > 0:
                self._file.seek(-1, io.SEEK_END)
                if self._file.read(1) != b"\n":
                    self._file.write(b"\n")
        except (OSError, ValueError) as error:
            raise EncodeError(
                f"report {shown(path)} cannot be written: {reason(error)}; choose another file"
            ) from error

    def _refuse_other_file(self) -> None:
        if self._path.is_file():
            with self._path.open("rb") as file:
                begin = file.read(1)
            if begin not in (b"", b"{"):
                raise EncodeError(
                    f"report {shown(self._path)} exists and is no report; choose another file"
                )

    def write(self, result: BatchResult) -> None:
        """Append one line; raises `EncodeError` if it cannot be written."""
        line = json.dumps(result.as_dict(), separators=(", ", ": ")).encode("ascii") + b"\n"
        try:
            with self._lock:
                self._file.write(line)
        except OSError as error:
            raise EncodeError(
                f"report {shown(self._path)} cannot be written: {reason(error)}"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()
