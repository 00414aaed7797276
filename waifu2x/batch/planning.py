"""Plans a batch: finds the files, names the results, checks everything before the first file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np

from .. import codec
from .._text import shown
from ..errors import ArgumentError, DecodeError, LimitError
from ..files.open import expected_extension, format_of
from ..files.task import Options, Task
from ..picture import Picture
from ..pipeline.upscaler import Upscaler
from .inputs import find, parse_shard, shard
from .job import LOSSLESS_SUFFIXES, Rules
from .memory import for_one_run
from .naming import Item, NameTemplate, name_targets
from .options import BatchOptions
from .results import BatchResult
from .tree import OutputTree

#: A file, a directory, a pattern, or ``@`` and the name of a list; or several of them.
Inputs: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@dataclass(frozen=True, slots=True)
class Plan:
    """The work list of a batch.

    items: the files of this shard, in order. total: the number of files in all shards.
    rules, upscaler, tree: how to process them, and the output directory.
    problems: unreadable directories, as failed results.
    ignored: number of files in directories that are not pictures by their names.
    results: number of files found that are results of other files.
    cleaned: number of temporary files of killed runs that were deleted.
    """

    items: tuple[Item, ...]
    total: int
    rules: Rules
    upscaler: Upscaler
    tree: OutputTree
    problems: tuple[BatchResult, ...] = ()
    ignored: int = 0
    results: int = 0
    cleaned: int = 0


def plan_batch(
    inputs: Inputs,
    out_dir: str | os.PathLike[str],
    options: Options | None = None,
    batch: BatchOptions | None = None,
    *,
    upscaler: Upscaler | None = None,
    stdin: BinaryIO | None = None,
) -> Plan:
    """Find the files, name their results, check the options; creates ``out_dir``.

    stdin: the source of the list ``@-``. The other arguments are those of `waifu2x.upscale_many`.

    Raises `ArgumentError`, `EncodeError` if ``out_dir`` cannot be created, and the errors of
    `waifu2x.Upscaler`.
    """
    options, batch = options or Options(), batch or BatchOptions()
    upscaler = upscaler or Upscaler(run_memory=for_one_run(batch.memory))
    _check_options(upscaler, options)
    template = NameTemplate.parse(
        batch.name, scale=_scale(options), model=upscaler.pipeline.model.name, noise=options.noise
    )
    part = parse_shard(batch.shard) if isinstance(batch.shard, str) else batch.shard
    out = Path(out_dir)
    listing = find(
        [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs),
        recursive=batch.recursive,
        include=batch.include,
        exclude=batch.exclude,
        leave_out=out,
        stdin=stdin,
    )
    named = name_targets(
        listing.found, out, template, lambda source: expected_extension(source, options)
    )
    items = named.items if part is None else tuple(shard(named.items, *part))
    _check_quality(options, items)
    tree = OutputTree(out)
    return Plan(
        items=items,
        total=len(named.items),
        rules=Rules(options, batch),
        upscaler=upscaler,
        tree=tree,
        problems=tuple(
            BatchResult(
                source=path,
                target=out,
                status="failed",
                error=DecodeError(f"{shown(path)} cannot be read: {why}"),
            )
            for path, why in listing.unreadable
        ),
        ignored=listing.ignored,
        results=len(named.results),
        cleaned=tree.clean(item.target.parent for item in items),
    )


def _scale(options: Options) -> float | None:
    if options.width is not None or options.height is not None:
        return None
    return 2 if options.scale is None else options.scale


def _check_options(upscaler: Upscaler, options: Options) -> None:
    """Raise for options that would fail with every file."""
    with suppress(LimitError):  # applies to this blank picture only
        Task.resolve(upscaler.pipeline, options, Picture(np.zeros((8, 8, 3), np.uint8)))
    # Without a format, files get different formats that share only the range of the quality.
    output = format_of(options.format or "jpeg")
    codec.check_quality(output, options.quality)
    if options.format is not None:
        codec.written_dtype(output, np.dtype(np.uint8), options.depth)


def _check_quality(options: Options, items: Sequence[Item]) -> None:
    """Raise for a quality that no file of the batch would use."""
    if options.quality is None or options.format is not None or not items:
        return
    if all(item.target.suffix in LOSSLESS_SUFFIXES for item in items):
        raise ArgumentError(
            f"quality is {options.quality}, but pictures become PNG, which is lossless and has "
            "none; leave it out, or name a format (jpeg, webp, avif, jxl)"
        )
