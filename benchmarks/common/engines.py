"""Engines of the package by name, without silent fallbacks."""

from __future__ import annotations

from waifu2x import engines

from .measure import UnavailableError

#: Engines that run on the CPU; the package replaces "cuda" by "native" without a GPU.
CPU_ENGINES = tuple(name for name in engines.ENGINES if name != "cuda")


def require_engine(engine: engines.Engine, name: str) -> None:
    """Raise `UnavailableError` if ``engine`` is a fallback for the engine ``name``."""
    if name not in ("auto", engine.name):
        raise UnavailableError(
            f"engine {name} is not available here; the package falls back to {engine.name}"
        )
