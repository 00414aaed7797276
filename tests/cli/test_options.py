"""Every command option sets a field of a record and has the field's default."""

from __future__ import annotations

from dataclasses import fields

import click
import pytest

from waifu2x.batch import BatchOptions
from waifu2x.cli.options import CommandOptions
from waifu2x.cli.upscale import upscale
from waifu2x.files.task import Options
from waifu2x.pipeline.options import UpscalerOptions


def parsed(*args: str) -> CommandOptions:
    values = upscale.make_context("waifu2x", ["in.png", *args]).params
    return CommandOptions.from_values(values)


def test_the_defaults_are_those_of_the_records() -> None:
    command = parsed()
    assert command.options == Options()
    assert command.upscaler == UpscalerOptions()
    assert command.batch == BatchOptions()
    assert not command.is_batch


def test_every_option_is_a_field_of_a_record() -> None:
    known = {
        field.name
        for record in (CommandOptions, Options, UpscalerOptions, BatchOptions)
        for field in fields(record)
    }
    names = {param.name for param in upscale.params if isinstance(param, click.Option)}
    assert names - known == {"fp32"}, "which is a precision"


@pytest.mark.parametrize(
    ("args", "record", "name", "value"),
    [
        (["-s", "3"], "options", "scale", 3.0),
        (["--skip-larger", "20x10"], "options", "skip_larger", (20, 10)),
        (["--fp32"], "upscaler", "precision", "fp32"),
        (["-x"], "upscaler", "tta", True),
        (["--name", "{stem}-{ext}"], "batch", "name", "{stem}-{ext}"),
        (["--include", "a*", "--include", "b*"], "batch", "include", ("a*", "b*")),
        (["--memory", "4G"], "batch", "memory", 4 << 30),
        (["--keep-times"], "batch", "keep_times", True),
    ],
)
def test_options_reach_their_record(args: list[str], record: str, name: str, value: object) -> None:
    assert getattr(getattr(parsed(*args), record), name) == value


@pytest.mark.parametrize("args", [["--name", "{stem}{ext}"], ["-r"], ["--memory", "4G"]])
def test_some_options_make_it_a_batch(args: list[str]) -> None:
    assert parsed(*args).is_batch
    assert parsed(*args).upscaler.memory is None, "the limit of the batch, not of a network run"
