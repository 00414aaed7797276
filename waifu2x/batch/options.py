"""How a batch finds its files, names its results and treats existing ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict


class BatchKeywords(TypedDict, total=False):
    """The fields of `BatchOptions` as keyword arguments."""

    recursive: bool
    include: Sequence[str]
    exclude: Sequence[str]
    name: str | None
    shard: str | tuple[int, int] | None
    overwrite: bool
    resume: bool
    keep_times: bool
    memory: int | None


@dataclass(frozen=True, slots=True)
class BatchOptions:
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
        part of a file depends only on its path below the input.
    overwrite: replace existing results; otherwise they are failures.
    resume: skip files whose result exists and is no older; replace older results.
    keep_times: give results the access and modification times of their inputs.
    memory: bytes that the process may use, approximately; None means its current use and half of
        the free memory. A picture that needs more runs alone. On a cluster, the limit holds for
        each worker process; None means six tenths of a worker's limit in Dask, or half of the free
        memory without one. For cluster "local", it is the sum over all workers.
    """

    recursive: bool = False
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    name: str | None = None
    shard: str | tuple[int, int] | None = None
    overwrite: bool = False
    resume: bool = False
    keep_times: bool = False
    memory: int | None = None
