"""Plans what the command line names: one file, many files, or a pipe."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path, PurePath

import click
from PIL import Image

from .._machine import give_memory_back
from .._text import listed, shown
from ..batch import (
    Plan,
    WatchBatch,
    check_cluster,
    check_report,
    for_one_run,
    is_pattern,
    open_run,
    plan_batch,
    plan_file,
)
from ..pipeline.upscaler import Upscaler
from .options import CommandOptions
from .run import Job, run_job


def upscale(command: CommandOptions) -> None:
    """Upscale the inputs of the command; exits with 1 if any file failed."""
    began = time.perf_counter()
    check_cluster(command.cluster)
    if command.report == "-":
        raise click.UsageError(
            "--report takes the name of a file; --progress json prints to standard output"
        )
    if "-" in (*command.inputs, command.output):
        kind = _kind_of_many(command.inputs[0])
        if kind:
            raise click.UsageError(
                f"a pipe (-) takes one picture, and {shown(command.inputs[0])} is {kind}; "
                "give an output folder"
            )
        from .pipe import pipe_job  # loaded when needed

        run_job(command, pipe_job(command, _upscaler(command)), began)
        return
    one = len(command.inputs) == 1 and not _kind_of_many(command.inputs[0])
    if not one:
        _check_folder(command)
    if command.watch:
        for name in command.inputs:
            if not Path(name).is_dir():
                raise click.UsageError(f"--watch takes folders, and {shown(name)} is none")
    upscaler = _upscaler(command)
    give_memory_back()
    if command.watch:
        run_job(command, _watch_job(command, upscaler), began)
        return
    plan = _plan(command, upscaler, one=one)
    if command.report is not None:
        check_report(command.report, (item.target for item in plan.items))
    if command.cluster is not None and not command.verbose:
        # Dask logs to standard error, unless the root logger has a handler at its import.
        logging.getLogger().addHandler(logging.NullHandler())
    run = open_run(plan, command.cluster)
    run_job(
        command,
        Job.of_plan(plan, run, one=plan.items[0].source if one and plan.items else None),
        began,
    )


def _upscaler(command: CommandOptions) -> Upscaler:
    run_memory = for_one_run(command.batch.memory)
    upscaler = Upscaler.from_options(replace(command.upscaler, run_memory=run_memory))
    # Pillow's own limit, a second one behind that of codec, applies to the whole process.
    Image.MAX_IMAGE_PIXELS = upscaler.options.limit
    return upscaler


def _plan(command: CommandOptions, upscaler: Upscaler, *, one: bool) -> Plan:
    inputs, output = command.inputs, command.output
    if one:
        return plan_file(inputs[0], output, command.options, command.batch, upscaler=upscaler)
    stdin = None if sys.stdin is None else sys.stdin.buffer
    return plan_batch(
        inputs, output or "", command.options, command.batch, upscaler=upscaler, stdin=stdin
    )


def _watch_job(command: CommandOptions, upscaler: Upscaler) -> Job:
    """A job that goes on until a signal; the folders and the options are checked."""
    batch = replace(command.batch, resume=True)
    if command.report is not None:
        check_report(command.report, ())

    def plan() -> Plan:
        return plan_batch(
            command.inputs,
            command.output or "",
            command.options,
            batch,
            upscaler=upscaler,
            may_be_empty=True,
        )

    first = plan()
    folders = [Path(name) for name in command.inputs]
    run = WatchBatch(folders, plan, recursive=batch.recursive)
    names = listed([shown(folder) for folder in folders], "and")
    begin = "" if command.quiet else f"watching {names}; Ctrl-C ends"
    return Job(run, one=None, of_all_shards=0, cleaned=first.cleaned, begin=begin)


def _check_folder(command: CommandOptions) -> None:
    """Raise `click.UsageError` unless the output may be the folder for the results of many."""
    inputs, out = command.inputs, command.output
    if out is None:
        if len(inputs) > 1:
            raise click.UsageError(f"there are {len(inputs)} inputs; give an output folder with -o")
        given = shown(inputs[0])
        raise click.UsageError(
            f"{given} is {_kind_of_many(inputs[0])}; give an output folder as the last argument: "
            f"waifu2x {shlex.quote(given)} big"
        )
    name = shown(out)
    if Path(out).is_file():
        raise click.UsageError(
            f"the results of many files go into a folder, and {name} is a file; "
            "give a folder as the last argument"
        )
    if not Path(out).is_dir() and _is_picture_name(out):
        raise click.UsageError(
            f"the results of many files go into a folder, and {name} looks like a file; "
            f"choose another name, or create it first (mkdir {shlex.quote(name)})"
        )


def _kind_of_many(path: str) -> str:
    """What an input is that stands for any number of files; empty for a plain file."""
    if os.path.isdir(path):  # noqa: PTH112  (Path rejects some names)
        return "a folder"
    if os.path.lexists(path) or "://" in path:
        return ""
    if path.startswith("@"):
        return "a list"
    return "a pattern" if is_pattern(path) else ""


def _is_picture_name(name: str) -> bool:
    from ..codec import PAGE_SUFFIXES
    from ..files.naming import ARCHIVE_SUFFIXES
    from ..video.containers import VIDEO_SUFFIXES

    known = (*PAGE_SUFFIXES, *ARCHIVE_SUFFIXES, *VIDEO_SUFFIXES)
    return PurePath(name).suffix.lower() in known
