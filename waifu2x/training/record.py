"""The record of a training: a row for each validation, and the curve of the rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Row: TypeAlias = Mapping[str, float]


def table(rows: Sequence[Row]) -> bytes:
    """Return the rows as CSV."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in rows)
    return text.getvalue().encode("utf-8")


def curve(rows: Sequence[Row], *, title: str) -> bytes:
    """Return a drawing of the PSNR of all validations over the steps, PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to load
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps = [row["step"] for row in rows]
    for key in rows[0]:
        if key.startswith("psnr "):
            axes.plot(steps, [row[key] for row in rows], label=key.removeprefix("psnr "))
    axes.set_xlabel("steps")
    axes.set_ylabel("PSNR of luma on the validation set, dB")
    axes.set_title(title)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small")
    buffer = io.BytesIO()
    canvas.print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()
