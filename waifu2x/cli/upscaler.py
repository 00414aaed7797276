"""The upscaler that the command line asks for."""

from __future__ import annotations

from ..pipeline.upscaler import Upscaler
from .options import Given


def upscaler_for(given: Given, memory: int | None = None) -> Upscaler:
    """The model and how it runs; ``memory`` is what one network run may take."""
    return Upscaler(
        given.model,
        engine=given.engine,
        threads=given.threads,
        device=given.device,
        precision="fp32" if given.fp32 else "auto",
        tile=given.tile,
        tta=given.tta,
        memory=memory,
    )
