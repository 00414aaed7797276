"""What a batch will do, known and checked before the first file is opened."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

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
from .results import BatchResult
from .tree import OutputTree

#: A file, a directory, a pattern, or ``@`` and a list of files.
Inputs: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

DEFAULT_NAME: Final = "{stem}{ext}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The work list.

    items: the files of this shard, in order. total: files of all shards.
    rules, upscaler, tree: how and where to.
    problems: directories that could not be read, as failed results.
    ignored: files in directories that are no pictures by their names.
    results: files found that are results of others, and so no inputs.
    cleaned: temporary files of killed runs that were removed.
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
    *,
    upscaler: Upscaler | None = None,
    recursive: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    name: str = DEFAULT_NAME,
    part: str | tuple[int, int] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    keep_times: bool = False,
    memory: int | None = None,
    stdin: BinaryIO | None = None,
) -> Plan:
    """Find the files, name their results, and check what can be known; makes ``out_dir``.

    stdin: where the list ``@-`` is read. The rest is as for `waifu2x.upscale_many`.

    Raises `ArgumentError` for what cannot be, `EncodeError` for an ``out_dir`` that cannot be made,
    and what `waifu2x.Upscaler` raises.
    """
    options = options or Options()
    upscaler = upscaler or Upscaler(memory=for_one_run(memory))
    _check_options(upscaler, options)
    template = NameTemplate.parse(
        name,
        scale=_scale(options),
        model=upscaler.pipeline.model.name,
        noise=options.noise,
    )
    chosen = parse_shard(part) if isinstance(part, str) else part
    out = Path(out_dir)
    given = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    listing = find(
        given,
        recursive=recursive,
        include=include,
        exclude=exclude,
        leave_out=out,
        stdin=stdin,
    )
    named = name_targets(
        listing.found, out, template, lambda source: expected_extension(source, options)
    )
    items = named.items if chosen is None else tuple(shard(named.items, *chosen))
    _check_quality(options, items)
    tree = OutputTree(out)
    return Plan(
        items=items,
        total=len(named.items),
        rules=Rules(options, overwrite=overwrite, resume=resume, keep_times=keep_times),
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
    """Raise for what would be wrong with every single file."""
    with suppress(LimitError):  # that of a blank picture; files are checked by themselves
        Task.of(upscaler, options, Picture(np.zeros((8, 8, 3), np.uint8)))
    # Without a format each file gets its own, and only the range of a quality is common to them.
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
