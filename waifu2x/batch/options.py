"""How a batch finds its files, names its results and treats existing ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypedDict

from .._record import record
from ..errors import ArgumentError
from ..files.task import WriteOptions
from ..pipeline.arguments import Allowed, check, flag, optional, text, whole
from .inputs import parse_shard
from .naming import NameTemplate


def _patterns(value: Any) -> tuple[str, ...]:
    # A string is a sequence of strings too: its letters.
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError
    patterns = tuple(value)
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise TypeError
    return patterns


def _shard(value: Any) -> tuple[int, int]:
    if isinstance(value, str):
        return parse_shard(value)
    part = whole("", least=1).convert
    index, count = (part(number) for number in value)
    if index > count:
        raise ValueError
    return index, count


_PATTERNS: Final = Allowed("it must be a list of patterns, such as ['*.png']", _patterns)

_BATCH: Final = {
    "recursive": flag(),
    "include": _PATTERNS,
    "exclude": _PATTERNS,
    "name": optional(text("it must be a template such as '{stem}_{scale}x{ext}'")),
    "shard": optional(Allowed("it must be a part and the number of parts, such as '3/16'", _shard)),
    "resume": flag(),
    "memory": optional(
        whole("it must be a whole number of bytes, 1 or more, such as 4 << 30", least=1)
    ),
}


class BatchKeywords(TypedDict, total=False):
    """The fields of `BatchOptions`, except those of `WriteOptions`, as keyword arguments."""

    recursive: bool
    include: Sequence[str]
    exclude: Sequence[str]
    name: str | None
    shard: str | tuple[int, int] | None
    resume: bool
    memory: int | None


@record
class BatchOptions(WriteOptions):
    """The options of a batch.

    recursive: search the subdirectories of directories.
    include, exclude: patterns for names, or, if they hold a ``/``, for paths below an input.
        ``include`` replaces the selection by extension.
    name: template for the names of results: text with ``{stem}`` and, at its end, ``{ext}``; also
        ``{scale}``, ``{model}``, ``{noise}`` and ``{parent}``, the directory. None means
        ``{stem}_waifu2x{ext}`` in the directory of the input, and ``{stem}{ext}`` elsewhere. Inputs
        that would share a name all get longer names: a.png and a.jpg become a_png.png and
        a_jpg.png.
    shard: process one of several parts of the files, (3, 16) or "3/16": the third of sixteen. The
        part of a file depends only on its path below the input. Of a video, every part computes a
        share of the segments, and the part that finishes last joins them.
    resume: skip files whose result exists and is no older; replace older results.
    memory: bytes that the process may use, approximately; None means its current use and half of
        the free memory. A picture that needs more runs alone. On a cluster, the limit holds for
        each worker process; None means six tenths of a worker's limit in Dask, or half of the free
        memory without one. For cluster "local", it is the sum over all workers.

    Raises `ArgumentError` for a value that is not allowed.

    >>> options = waifu2x.BatchOptions(include=["*.png"], shard="3/16", resume=True)
    >>> options.part
    (3, 16)
    >>> results = waifu2x.upscale_many(
    ...     "pictures", "big", model="swift", recursive=True, include=["2.*"], name="{stem}_2x{ext}"
    ... )
    >>> [result.target.name for result in results]
    ['2_2x.png']
    """

    recursive: bool = False
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    name: str | None = None
    shard: str | tuple[int, int] | None = None
    resume: bool = False
    memory: int | None = None

    def __post_init__(self) -> None:
        WriteOptions.__post_init__(self)  # super() fails in a dataclass with slots
        check(self, _BATCH)
        if self.resume and self.overwrite:
            raise ArgumentError(
                "`resume=True` and `overwrite=True` exclude each other; give one of them"
            )
        # The values of the fields matter only to the template's length.
        if self.name is not None:
            NameTemplate.parse(self.name, scale=2, model="", noise=None)

    @property
    def part(self) -> tuple[int, int] | None:
        """The part and the number of parts of ``shard``."""
        return parse_shard(self.shard) if isinstance(self.shard, str) else self.shard
