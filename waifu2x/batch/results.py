"""What becomes of a file of a batch, and the report that says so."""

from __future__ import annotations

import io
import json
import os
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from .._text import reason, shown
from ..errors import EncodeError, Waifu2xError
from .stages import Seconds

Status: TypeAlias = Literal["done", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of one file.

    source, target: the files; ``target`` is there whole if the file is done.
    status: "done", "skipped" (left alone as asked: finished before, or larger than
        ``skip_larger``; ``notes`` say which), or "failed".
    size_in, size_out: (width, height) in pixels; of an archive, those of its largest page. None
        where the file is not done, or was by an attempt that could not say so (see ``notes``).
    noise: the level of noise removed, or None; ``reason`` says why if it was chosen here.
    notes: what else the user should know.
    error: why it failed.
    seconds: from when it was begun to its end, and in each stage of that.
    """

    source: Path
    target: Path
    status: Status
    size_in: tuple[int, int] | None = None
    size_out: tuple[int, int] | None = None
    noise: int | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()
    error: Waifu2xError | None = None
    seconds: float = 0.0
    stages: Seconds = field(default_factory=Seconds)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the fields under their names, ``source`` as "input", ``target`` as "output".

        Bytes of file names that are not UTF-8 become lone surrogates, as `os.fsdecode` has them.
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
            "error": None if self.error is None else " ".join(str(self.error).split()),
            "seconds": round(self.seconds, 4),
            "stages": {name: round(value, 4) for name, value in asdict(self.stages).items()},
        }


@dataclass(slots=True)
class Summary:
    """How many files came to which end."""

    done: int = 0
    skipped: int = 0
    failed: int = 0

    def count(self, result: BatchResult) -> None:
        """Count one more."""
        setattr(self, result.status, getattr(self, result.status) + 1)

    @property
    def ended(self) -> int:
        """All that have come to an end."""
        return self.done + self.skipped + self.failed


class Report:
    """A file of JSON lines, one for each file of a batch, written as it ends and flushed.

    A report that exists is continued; a last line that was cut off (by a loss of power, say) is
    ended first, so that every line after it can be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the report. Raises `EncodeError` where it cannot be written."""
        self._path = Path(path)
        self._lock = threading.Lock()
        try:
            self._file = self._path.open("a+b", buffering=0)
            if self._file.seek(0, io.SEEK_END) > 0:
                self._file.seek(-1, io.SEEK_END)
                if self._file.read(1) != b"\n":
                    self._file.write(b"\n")
        except (OSError, ValueError) as error:
            raise EncodeError(
                f"report {shown(path)} cannot be written: {reason(error)}; choose another file"
            ) from error

    def write(self, result: BatchResult) -> None:
        """Add one line. Raises `EncodeError` where it cannot be written."""
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
