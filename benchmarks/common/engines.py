"""Engines of the package by name, without silent fallbacks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy.typing as npt

from waifu2x import engines
from waifu2x.picture import Picture
from waifu2x.pipeline.options import UpscalerOptions
from waifu2x.pipeline.pipeline import Pipeline

from .measure import UnavailableError

#: Engines that run on the CPU.
CPU_ENGINES = tuple(name for name in engines.ENGINES if name not in ("cuda", "vulkan"))


def create_pipeline(model: str, *, tile: int = 0, **options: Any) -> Pipeline:
    """A pipeline of its own; the options are those of `UpscalerOptions`."""
    return Pipeline(UpscalerOptions(model, tile=tile, **options))


def upscale(
    pipeline: Pipeline,
    picture: Picture,
    scale: int = 2,
    *,
    tile: int = 0,
    dtype: npt.DTypeLike | None = None,
) -> Picture:
    """Enlarge a picture. ``tile`` replaces that of the pipeline for this run."""
    kept = pipeline.options
    pipeline.options = replace(kept, tile=tile or kept.tile)
    try:
        return pipeline.run(picture, pipeline.request(picture, scale=scale), dtype=dtype)
    finally:
        pipeline.options = kept


def require_engine(engine: engines.Engine, name: str) -> None:
    """Raise `UnavailableError` if ``engine`` is a fallback for the engine ``name``."""
    if name not in ("auto", engine.name):
        raise UnavailableError(
            f"engine {name} is not available here; the package falls back to {engine.name}"
        )
