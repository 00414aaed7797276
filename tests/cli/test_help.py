"""The help pages: complete, one option a line, within the terminal, with examples that run."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
from dataclasses import fields
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from helpers import art
from helpers.command import WAIFU2X, on_terminal, started, waifu2x, wait_for
from helpers.server import process
from helpers.trainings import tiny_training
from helpers.votes import VOTE
from helpers.weight_files import compact_file

from waifu2x.batch import BatchOptions
from waifu2x.cli import main
from waifu2x.files.task import Options
from waifu2x.network import registry
from waifu2x.pipeline.options import UpscalerOptions

COMMANDS: dict[str, click.Command] = {"": main, **main.commands}

#: Examples that run until a signal, and the line that they print first.
ENDLESS = {"rate pictures -m cunet -m upconv_7": "open http://127.0.0.1:8761/"}


def page(command: str, columns: int = 80) -> list[str]:
    """The lines of the page of ``command``, as wide as the terminal has ``columns``."""
    args = [*command.split(), "--help"]
    result = CliRunner().invoke(main, args, env={"COLUMNS": str(columns)})
    assert result.exit_code == 0
    return result.output.splitlines()


def options_of(command: str) -> list[click.Option]:
    return [each for each in COMMANDS[command].params if isinstance(each, click.Option)]


def row(command: str, option: click.Option) -> str:
    """The line that describes ``option``; fails unless there is exactly one."""
    name = max(option.opts, key=len)
    (line,) = [line for line in page(command) if re.match(rf"  (-\w, |    ){name}( |$)", line)]
    return line


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("columns", [*range(40, 101, 5), 120, 300])
def test_a_page_is_never_wider_than_the_terminal(command: str, columns: int) -> None:
    assert max(map(len, page(command, columns))) <= min(columns, 100)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_line_with_its_names_and_its_value(command: str) -> None:
    for option in options_of(command):
        names, _, text = row(command, option).strip().partition("  ")
        metavar = [] if option.is_flag else [str(option.metavar)]
        assert names.replace(",", "").split() == [*sorted(option.opts, key=len), *metavar]
        assert text.strip()


def test_every_option_of_the_main_page_fits_a_line_of_80_columns() -> None:
    lines = page("")
    begin = lines.index("Input and output:")
    end = lines.index("Commands:")
    rows = [line for line in lines[begin:end] if line.startswith("  ")]
    assert len(rows) == len(options_of(""))


@pytest.mark.parametrize("args", [["-h"], ["in.png", "--help"], ["-s", "3", "in.png", "-h"]])
def test_there_is_one_page_for_upscaling(args: list[str]) -> None:
    assert CliRunner().invoke(main, args).output == CliRunner().invoke(main, ["--help"]).output


def test_the_defaults_on_the_page_are_those_of_the_records() -> None:
    shown = {}
    for option in options_of(""):
        if found := re.search(r"\[default: (.*)\]", row("", option)):
            shown[str(option.name)] = found[1]
    records = (Options(), UpscalerOptions(), BatchOptions())
    known = {each.name: getattr(record, each.name) for record in records for each in fields(record)}
    plain = {"strength", *(name for name in shown if isinstance(known.get(name), str))}
    assert {name: shown[name] for name in plain} == {name: str(known[name]) for name in plain}
    # A default that is described: None or 0 in the record, which chooses at run time.
    assert {name: known[name] for name in shown.keys() - plain - {"progress"}} == {
        "scale": None,
        "tile": 0,
        "threads": None,
        "depth": None,
        "memory": None,
    }
    assert shown["progress"] == "auto"


def test_the_page_lists_the_choices() -> None:
    by_name = {str(option.name): row("", option) for option in options_of("")}
    for name, words in {
        "model": ["Listed by waifu2x models; or a file"],
        "engine": ["native", "onnx", "torch", "cuda", "vulkan"],
        "format": ["png", "jpeg", "webp", "avif", "tiff", "bmp", "jxl", "gif"],
        "progress": ["auto", "bar", "json", "none"],
    }.items():
        assert ", ".join(words) in by_name[name]


def test_the_page_ends_with_the_commands() -> None:
    lines = page("")
    last = lines[lines.index("Commands:") + 1 :]
    assert [line.split()[1] for line in last] == [*main.commands]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_run(tmp_path: Path, command: str) -> None:
    (tmp_path / "pictures" / "more").mkdir(parents=True)
    for name in ("in.png", "in.jpg", "pictures/1.png", "pictures/more/2.png"):
        art.anime_face(24, 20).save(tmp_path / name)
    for seed, name in enumerate(("a.pth", "b.pth")):
        compact_file(tmp_path / name, seed=seed)
    compact_file(tmp_path / "model.pth", seed=0)
    if command == "rate":
        (tmp_path / "pictures" / "votes.jsonl").write_text(f"{json.dumps(VOTE)}\n")
    if command == "train":
        for name in ("swift", "plain", "levels"):
            tiny_training(tmp_path / f"{name}.toml")
    if command == "convert":
        assert waifu2x("export", "-m", "upconv_7", "model.param", cwd=tmp_path).returncode == 0
    examples = [line for line in page(command) if line.startswith("  waifu2x ")]
    examples = [line for line in examples if "--help" not in line]
    assert len(examples) >= 2
    for line in examples:
        arguments = re.split(r"\s{2,}", line.strip())[0]
        words = shlex.split(arguments)[1:]
        if command == "serve":  # it runs until it is stopped
            with process(*words[1:], cwd=tmp_path) as (url, _):
                assert url.startswith("http://")
            continue
        if " ".join(words) in ENDLESS:
            running = started(*words, cwd=tmp_path)
            try:
                wait_for(running.stdout, ENDLESS[" ".join(words)])
            finally:
                running.kill()
                running.communicate()
            continue
        result = waifu2x(*words, cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, ""), arguments


def test_the_page_on_a_terminal(tmp_path: Path) -> None:
    code, out, shown = on_terminal("--help", cwd=tmp_path)
    assert (code, shown) == (0, "")
    assert out.startswith("Usage: waifu2x ")


# --- waifu2x models


def test_the_table_of_models() -> None:
    table, _, kernels = CliRunner().invoke(main, ["models"]).output.partition("\n\n")
    assert kernels.startswith("CPU kernels: ")
    lines = table.splitlines()
    assert len(lines) == 1 + len(registry.models())
    for model, line in zip(registry.models(), lines[1:], strict=True):
        network = model.network(2, None) or model.network(4, None)
        assert network is not None
        assert line.startswith(f"{model.name} ")
        assert f" {network.macs_per_pixel / 1000:.0f}k " in line
        assert line.endswith(model.description)
        assert (f"(run: {registry.install_command(model)})" in line) != model.installed


def test_the_column_of_each_scale_lists_its_levels() -> None:
    lines = CliRunner().invoke(main, ["models"]).output.splitlines()
    (line,) = [line for line in lines if line.startswith("realcugan ")]
    assert re.split("  +", line)[2:6] == [
        "-", "none conservative 1 2 3", "none conservative 3", "none conservative 3",
    ]  # fmt: skip


def test_models_for_programs() -> None:
    found = json.loads(CliRunner().invoke(main, ["models", "--json"]).output)
    assert [each["name"] for each in found] == [model.name for model in registry.models()]
    for model, facts in zip(registry.models(), found, strict=True):
        for name in ("style", "description", "license", "source"):
            assert facts[name] == getattr(model, name)
        networks = {
            (scale["scale"], noise): scale["macs_per_pixel"]
            for scale in facts["scales"]
            for noise in scale["noise"]
        }
        assert networks == {
            (each.scale, each.noise): each.macs_per_pixel for each in model.networks
        }
        assert facts["installed"] == model.installed
        assert facts["install"] == registry.install_command(model)


def test_models_on_a_narrow_terminal(tmp_path: Path) -> None:
    """A terminal too narrow for the table gets a paragraph for each model."""
    leader, follower = pty.openpty()
    env = {**os.environ, "COLUMNS": "40"}
    subprocess.run([WAIFU2X, "models"], stdout=follower, env=env, cwd=tmp_path, timeout=60)
    os.close(follower)
    shown = os.read(leader, 1 << 16).decode().replace("\r", "")
    os.close(leader)
    lines = shown.partition("\n\n")[0].splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        model.name for model in registry.models()
    ]
