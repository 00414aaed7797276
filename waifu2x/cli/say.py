"""Describes results in one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._text import shown

if TYPE_CHECKING:
    from ..batch import BatchResult, Summary
    from ..files import FileResult


def result_line(result: FileResult | BatchResult, model: str) -> str:
    """Describe a finished file."""
    target = "standard output" if result.target is None else shown(result.target)
    if result.size_out is None:  # an earlier attempt finished it without a report
        return "; ".join([f"{target}: done", *result.notes])
    level = "none" if result.noise is None else str(result.noise)
    why = f" ({result.reason})" if result.reason else ""
    done = (
        f"{target}: {_size(result.size_in)} -> {_size(result.size_out)} px, "
        f"{model}, noise {level}{why}"
    )
    return "; ".join([done, *result.notes])


def error_line(result: BatchResult) -> str:
    """Describe a failed file, with its name."""
    message = " ".join(str(result.error).split())
    source = shown(result.source)
    return message if source in message else f"{source}: {message}"


def summary_line(summary: Summary, total: int, seconds: float) -> str:
    """Summarize a batch."""
    counts = [f"{summary.done} done"]
    if summary.skipped:
        counts.append(f"{summary.skipped} skipped")
    if summary.failed:
        counts.append(f"{summary.failed} failed")
    if total > summary.ended:
        counts.append(f"{total - summary.ended} not begun or dropped")
    rate = f" ({summary.done / seconds:.3g} files/s)" if summary.done and seconds > 0 else ""
    return f"{', '.join(counts)} in {duration(seconds)}{rate}"


def duration(seconds: float) -> str:
    """Format seconds: 3.2 s, 4 min 10 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _size(size: tuple[int, int] | None) -> str:
    return "?" if size is None else f"{size[0]}x{size[1]}"
