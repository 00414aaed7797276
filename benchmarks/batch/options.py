"""Options of the parts that run the command on many files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..common.parts import Options


@dataclass(frozen=True)
class BatchOptions(Options):
    """Options of all parts.

    memory: budget of the command in part mixed, in bytes. plot: file to draw its memory into.
    slowest: approximate seconds per round of the slowest contestant in part throughput.
    threads: CPUs that this process may use.
    """

    memory: int = 2 << 30
    plot: Path | None = None
    slowest: float = 150
    threads: int = 1
