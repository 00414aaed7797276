"""Plans a batch: finds the files, names the results, checks everything before the first file."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeAlias

import numpy as np

from .. import codec
from .._record import record
from .._text import shown
from ..atomic import check_place
from ..errors import ArgumentError, DecodeError, LimitError
from ..files.naming import check_is_file
from ..files.open import exact_extension, expected_extension, format_of
from ..files.task import Options, Task, check_target
from ..picture import Picture
from ..pipeline.upscaler import Upscaler
from ..video.containers import VIDEO_SUFFIXES
from .inputs import Found, find, refuse_url, shard
from .job import LOSSLESS_SUFFIXES, Rules
from .memory import for_one_run
from .naming import Item, NameTemplate, name_targets
from .options import BatchOptions
from .results import BatchResult
from .tree import OutputTree

#: A file, a directory, a pattern, or ``@`` and the name of a list; or several of them.
Inputs: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@record
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
    may_be_empty: bool = False,
) -> Plan:
    """Find the files, name their results, check the options.

    Creates ``out_dir``, unless none of the inputs exists.

    stdin: the source of the list ``@-``. may_be_empty: allow directories without any file. The
        other arguments are those of `waifu2x.upscale_many`.

    Raises `ArgumentError`, `DecodeError` for inputs without any file, `EncodeError` if ``out_dir``
    cannot be created, `OutputExistsError` if a result would replace its input, and the errors of
    `waifu2x.Upscaler`.
    """
    options, batch = options or Options(), batch or BatchOptions()
    upscaler = upscaler or Upscaler(run_memory=for_one_run(batch.memory))
    template = _template(upscaler, options, batch)
    out = Path(out_dir)
    listing = find(
        [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs),
        recursive=batch.recursive,
        include=batch.include,
        exclude=batch.exclude,
        leave_out=out,
        stdin=stdin,
        may_be_empty=may_be_empty,
    )
    named = name_targets(
        listing.found, out, template, lambda source: expected_extension(source, options)
    )
    plan = _planned(named.items, out, options, batch, upscaler)
    return replace(
        plan,
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
    )


def plan_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    options: Options | None = None,
    batch: BatchOptions | None = None,
    *,
    upscaler: Upscaler | None = None,
) -> Plan:
    """Plan a batch of one file, which may be written to a file of any name.

    target: a file, a directory, or None for the directory of ``source``. A directory is not
        created.

    Raises the errors of `plan_batch`, and `EncodeError` for a ``target`` that cannot be a file.
    """
    options, batch = options or Options(), batch or BatchOptions()
    upscaler = upscaler or Upscaler(run_memory=for_one_run(batch.memory))
    template = _template(upscaler, options, batch)
    path = Path(source)
    if not path.exists():
        refuse_url(os.fspath(source))
    if target is not None and not Path(target).is_dir():
        if batch.name is not None:
            check_is_file(target, options.format)
            raise ArgumentError(
                f"{shown(target)} is the name of the result, and so is `name={batch.name!r}`; "
                "give one of them"
            )
        check_target(Path(target), options)
        if path.exists():
            check_is_file(target, options.format)
            check_place(target, overwrite=True, source=path)
        out = Path(target).parent
        items: tuple[Item, ...] = (Item(path, PurePosixPath(path.name), Path(target)),)
    else:
        out = path.parent if target is None else Path(target)
        found = [Found(path, PurePosixPath(path.name), named=True)]
        items = name_targets(
            found, out, template, lambda source: exact_extension(source, options)
        ).items
    return _planned(items, out, options, batch, upscaler)


def _template(upscaler: Upscaler, options: Options, batch: BatchOptions) -> NameTemplate | None:
    """Check the options that do not depend on the files; returns the template for names, if any."""
    _check_options(upscaler, options)
    if batch.name is None:
        return None
    return NameTemplate.parse(
        batch.name,
        scale=_scale(options, upscaler.pipeline.model.default_scale),
        model=upscaler.pipeline.model.name,
        noise=options.noise,
    )


def _planned(
    items: tuple[Item, ...], out: Path, options: Options, batch: BatchOptions, upscaler: Upscaler
) -> Plan:
    """The plan for the items of this shard."""
    part = batch.part
    chosen = items
    if part is not None:
        # Every part takes its share of the segments of each video.
        own = {item.source for item in shard(items, *part)}
        chosen = tuple(item for item in items if item.source in own or is_video(item))
    check_quality_used(options, [item.target.suffix for item in chosen])
    tree = OutputTree(out, create=any(os.path.lexists(item.source) for item in items))
    return Plan(
        items=chosen,
        total=len(items),
        rules=Rules(options, batch),
        upscaler=upscaler,
        tree=tree,
        cleaned=tree.clean(item.target.parent for item in chosen),
    )


def is_video(item: Item) -> bool:
    """Whether an item is a video by its name."""
    return item.source.suffix.lower() in VIDEO_SUFFIXES


def _scale(options: Options, default: int) -> float | None:
    if options.width is not None or options.height is not None:
        return None
    return default if options.scale is None else options.scale


def _check_options(upscaler: Upscaler, options: Options) -> None:
    """Raise for options that would fail with every file."""
    with suppress(LimitError):  # applies to this blank picture only
        Task.resolve(upscaler.pipeline, options, Picture(np.zeros((8, 8, 3), np.uint8)))
    if options.format == "y4m":
        return
    # Without a format, files get different formats that share only the range of the quality.
    output = format_of(options.format or "jpeg")
    codec.check_quality(output, options.quality)
    if options.format is not None:
        codec.written_dtype(output, np.dtype(np.uint8), options.depth)


def check_quality_used(options: Options, extensions: Collection[str]) -> None:
    """Raise `ArgumentError` for a quality that no result with these extensions would use."""
    if options.quality is None or options.format is not None or not extensions:
        return
    if all(extension in LOSSLESS_SUFFIXES for extension in extensions):
        raise ArgumentError(
            f"quality is {options.quality}, but pictures become PNG, which is lossless and has "
            "none; leave it out, or name a format (jpeg, webp, avif, jxl)"
        )
