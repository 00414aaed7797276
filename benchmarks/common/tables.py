"""Tables in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from .measure import Result, Sample


def markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table; the first column is text, the others are numbers.

    Rows may be shorter than the headers.
    """
    full = [[*row, *[""] * (len(headers) - len(row))] for row in rows]
    # A cell with a reason does not widen its column.
    widths = [
        max(len(row[i]) for row in [headers, *full] if i == 0 or ": " not in row[i])
        for i in range(len(headers))
    ]
    rule = "|".join("-" * (width + 1) + "-:"[i > 0] for i, width in enumerate(widths))

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if i == 0 or ": " in cell else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(cells)} |"

    return "\n".join([line(headers), f"|{rule}|", *map(line, full)])


def record_table(
    records: Sequence[Mapping[str, Any]], columns: Mapping[str, tuple[str, str]]
) -> str:
    """Format records as rows; a record with a key "not_run" shows the reason instead.

    columns: maps each header to a key and a format, such as ".2f"; a missing key leaves the cell
        empty. The first column is text.
    """
    (first, _), *rest = columns.values()
    rows = [
        [str(record[first]), f"not run: {record['not_run']}"]
        if record.get("not_run")
        else [
            str(record[first]),
            *(format(record[key], spec) if key in record else "" for key, spec in rest),
        ]
        for record in records
    ]
    return markdown(list(columns), rows)


def timings(results: Sequence[Result], *, unit: float) -> str:
    """Format results, fastest first, failed ones last. unit: 1 for seconds, 1000 for ms."""
    shown, digits = ("ms", 1) if unit == 1000 else ("s", 3)
    peaks = any(sample.peak_rss for result in results for sample in result.samples)
    errors = any(result.max_error is not None for result in results)
    headers = ["", f"median {shown}", f"quartiles {shown}", f"min - max {shown}", "speed"]
    headers += ["peak MB"] if peaks else ["from float64"] if errors else []
    headers += ["others' load", "samples"]
    rows = []
    for result in sorted(results, key=lambda result: (bool(result.not_run), result.seconds)):
        if result.not_run:
            rows.append([result.label, f"not run: {result.not_run}"])
            continue
        times = ["too few: not quiet", "", "", ""]
        if s := result.summary:
            times = [
                f"{s.median_s * unit:.{digits}f}",
                f"{s.q1_s * unit:.{digits}f} - {s.q3_s * unit:.{digits}f}",
                f"{s.min_s * unit:.{digits}f} - {s.max_s * unit:.{digits}f}",
                "" if s.speed is None else f"{s.speed:.2f}x",
            ]
        last = []
        if peaks:
            last = [peak_mb(result)]
        elif errors:
            last = ["" if result.max_error is None else f"{result.max_error:.1e}"]
        samples = f"{s.count if s else 0} of {len(result.samples)}"
        rows.append([result.label, *times, *last, others(result.samples), samples])
    return markdown(headers, rows)


def others(samples: Sequence[Sample]) -> str:
    """Median share of the machine that other processes used."""
    loads = [sample.foreign for sample in samples if sample.foreign is not None]
    return f"{statistics.median(loads):.0%}" if loads else "?"


def peak_mb(result: Result) -> str:
    """Largest peak memory of the samples, in millions of bytes; empty if unknown."""
    peaks = [sample.peak_rss for sample in result.samples if sample.peak_rss]
    return megabytes(max(peaks)) if peaks else ""


def megabytes(amount: float) -> str:
    return f"{amount / 1e6:.0f}"
