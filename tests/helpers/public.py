"""The public names of the package, as the reference has to list them."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from types import FunctionType

import waifu2x
import waifu2x.batch.limits
import waifu2x.files.task
import waifu2x.network.graph
import waifu2x.network.registry

#: Classes that callers receive, but do not create.
RECEIVED = (
    waifu2x.files.task.FrameShare,
    waifu2x.batch.BatchProgress,
    waifu2x.batch.Summary,
    waifu2x.batch.limits.Seconds,
    waifu2x.network.registry.WeightsFile,
)


def objects() -> dict[str, object]:
    """Return the functions and classes by name, as the reference calls them."""
    found = {f"waifu2x.{name}": getattr(waifu2x, name) for name in waifu2x.__all__}
    found |= {f"{each.__module__}.{each.__qualname__}": each for each in RECEIVED}
    return {name: each for name, each in found.items() if callable(each)}


def methods(cls: type) -> Iterator[tuple[str, object]]:
    """Yield the public methods and properties of a class and of its bases in the package."""
    kinds = (property, classmethod, staticmethod, FunctionType)
    for base in cls.__mro__:
        if base.__module__.startswith("waifu2x."):
            for name, value in vars(base).items():
                if isinstance(value, kinds) and not name.startswith("_"):
                    yield name, value


def fields(cls: type) -> list[str]:
    """Return the names of the public fields of a class."""
    hints = typing.get_type_hints(cls, localns={"Graph": waifu2x.network.graph.Graph})
    return [name for name in hints if not name.startswith("_")]
