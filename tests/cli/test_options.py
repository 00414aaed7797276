"""Every command option sets a field of a record and has the field's default."""

from __future__ import annotations

from dataclasses import fields

import click
import pytest

from waifu2x.batch import BatchOptions
from waifu2x.cli import main
from waifu2x.cli.options import CommandOptions
from waifu2x.files.task import Options
from waifu2x.pipeline.options import UpscalerOptions


def parsed(*args: str) -> CommandOptions:
    values = main.make_context("waifu2x", ["in.png", *args]).params
    return CommandOptions.from_values(values)


def test_the_defaults_are_those_of_the_records() -> None:
    command = parsed()
    assert command.options == Options()
    assert command.upscaler == UpscalerOptions()
    assert command.batch == BatchOptions()
    assert (command.inputs, command.output) == (("in.png",), None)


def test_every_option_is_a_field_of_a_record() -> None:
    known = {
        field.name
        for record in (CommandOptions, Options, UpscalerOptions, BatchOptions)
        for field in fields(record)
    }
    names = {param.name for param in main.params if isinstance(param, click.Option)}
    assert names - known == {"fp32", "outputs", "version", "help"}


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
        (["--strict"], "options", "strict", True),
    ],
)
def test_options_reach_their_record(args: list[str], record: str, name: str, value: object) -> None:
    assert getattr(getattr(parsed(*args), record), name) == value


def test_memory_limits_the_process_and_not_a_network_run() -> None:
    assert parsed("--memory", "4G").batch.memory == 4 << 30
    assert parsed("--memory", "4G").upscaler == UpscalerOptions()


@pytest.mark.parametrize(
    ("args", "inputs", "output"),
    [
        (["a"], ["a"], None),
        (["a", "b"], ["a"], "b"),
        (["a", "b", "out"], ["a", "b"], "out"),
        (["-i", "a"], ["a"], None),
        (["-i", "a", "-o", "b"], ["a"], "b"),
        (["-o", "b", "-i", "a"], ["a"], "b"),
        (["a", "-o", "b"], ["a"], "b"),
        (["-o", "out", "a", "b"], ["a", "b"], "out"),
        (["-i", "a", "-i", "b", "-o", "out"], ["a", "b"], "out"),
        (["-i", "a", "-i", "b"], ["a", "b"], None),
        # What a shell makes of -i *.png -o out, and of -i *.png out.
        (["-i", "a", "b", "c", "-o", "out"], ["a", "b", "c"], "out"),
        (["-i", "a", "b", "c", "out"], ["a", "b", "c"], "out"),
        (["-i", "a", "b"], ["a"], "b"),
        (["--input", "a", "--output=b"], ["a"], "b"),
        (["-i", "-", "-o", "-"], ["-"], "-"),
        (["--", "-i", "-o"], ["-i"], "-o"),
    ],
)
def test_inputs_and_output(args: list[str], inputs: list[str], output: str | None) -> None:
    command = CommandOptions.from_values(main.make_context("waifu2x", args).params)
    assert (list(command.inputs), command.output) == (inputs, output)
