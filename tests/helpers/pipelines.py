"""Runs a picture through a `Pipeline` in one call."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from waifu2x.picture import Picture
from waifu2x.pipeline.options import UpscalerOptions
from waifu2x.pipeline.pipeline import Pipeline
from waifu2x.pipeline.progress import ProgressCallback
from waifu2x.pipeline.streamed import RowsCallback


def pipeline(model: str = "cunet", **options: Any) -> Pipeline:
    """Make a new pipeline."""
    return Pipeline(UpscalerOptions(model, **options))


def run(
    through: Pipeline,
    picture: Picture,
    *,
    scale: float | None = None,
    width: int | None = None,
    height: int | None = None,
    noise: int | None = None,
    dtype: npt.DTypeLike | None = None,
    progress: ProgressCallback | None = None,
    cancel: threading.Event | None = None,
    rows: RowsCallback | None = None,
    **options: Any,
) -> Picture:
    """Return the result of ``picture``; ``options`` apply only to this run."""
    kept = through.options
    through.options = replace(kept, **options)
    try:
        request = through.request(picture, scale=scale, width=width, height=height, noise=noise)
        return through.run(
            picture, request, dtype=dtype, progress=progress, cancel=cancel, rows=rows
        )
    finally:
        through.options = kept
