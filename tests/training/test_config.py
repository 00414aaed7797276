"""Configurations of trainings: every key, and every message."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from waifu2x.errors import ArgumentError, DecodeError
from waifu2x.training.config import Config, DataConfig, LossConfig, ScheduleConfig, read_config
from waifu2x.training.shape import Shape

EVERY_KEY = """
name = "net"
seed = 7
license = "MIT"
levels = ["none", 0, 1, 2, 3]
start = "other.safetensors"
estimator = "small.safetensors"
fold = true
ema = 0.99
optimizer = "muon"
precision = "bfloat16"
threads = 2
validate = 50
save = 60
tensorboard = true
learn_slopes = false

[network]
architecture = "adaptive"
width = 24
blocks = 4
layers = 2
gate = false
join = false
slopes = true
outer = 20
estimator = 12

[data]
folder = "there"
count = 9
crop = 64
batch = 8
hard = 1
workers = 3

[loss]
kind = "psnr"
epsilon = 0.01
luma = 2
frequency = 0.5
margin = 6

[schedule]
rate = 0.002
lowest = 0.1
warmup = 5
cycles = [10, 20]
decay = 0.5
"""


def read(text: str, folder: Path) -> Config:
    path = folder / "net.toml"
    path.write_text(text, "utf-8")
    return read_config(path)


def test_every_key_is_read(tmp_path: Path) -> None:
    config = read(EVERY_KEY, tmp_path)
    assert config == Config(
        name="net",
        seed=7,
        license="MIT",
        levels=("none", 0, 1, 2, 3),
        start="other.safetensors",
        estimator="small.safetensors",
        fold=True,
        learn_slopes=False,
        ema=0.99,
        optimizer="muon",
        precision="bfloat16",
        threads=2,
        validate=50,
        save=60,
        tensorboard=True,
        network=Shape(
            24,
            4,
            2,
            gate=False,
            join=False,
            slopes=True,
            outer=20,
            estimator=12,
            architecture="adaptive",
        ),
        data=DataConfig("there", 9, 64, 8, 1.0, 3),
        loss=LossConfig("psnr", 0.01, 2.0, 0.5, 6),
        schedule=ScheduleConfig(0.002, 0.1, 5, (10, 20), 0.5),
    )
    assert config.noises == (None, 0, 1, 2, 3)
    assert config.schedule.steps == 30
    default = Config()
    for record, other in (
        (config, default),
        *((getattr(config, part), getattr(default, part))
          for part in ("network", "data", "loss", "schedule")),
    ):  # fmt: skip
        for field in dataclasses.fields(record):
            changed = getattr(record, field.name) != getattr(other, field.name)
            assert changed, f"the test leaves {field.name} at its default"


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert read("", tmp_path) == Config()
    assert type(read("[data]\nhard = 1", tmp_path).data.hard) is float


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed = 1", "key 'sed' is unknown (did you mean seed?); allowed are name, seed, "),
        ("[data]\ncrops = 1", "key 'data.crops' is unknown (did you mean data.crop?); allowed"),
        ("[network]\nscale = 4", "key 'network.scale' is unknown"),
        ("seed = true", "seed is True; it must be a whole number"),
        ("seed = 1.0", "seed is 1.0; it must be a whole number"),
        ("seed = -1", "seed is -1; it must be from 0 to 4.29497e+09"),
        (f"seed = {'9' * 400}", "seed has 400 digits; that is too large"),
        (f"ema = {'9' * 400}", "ema has 400 digits; that is too large"),
        ("ema = 'x'", "ema is 'x'; it must be a number"),
        ("ema = 1", "ema is 1; it must be from 0 to 0.99999"),
        ("ema = nan", "ema is nan; it must be from 0 to 0.99999"),
        ("fold = 1", "fold is 1; it must be true or false"),
        ("name = 1", "name is 1; it must be a text"),
        ("name = 'a/b'", "name is a/b; it must consist of letters, digits and underscores"),
        ("name = ''", "name is ; it must consist of letters, digits and underscores"),
        ("levels = []", "levels is []; it must be different noise levels, at least one"),
        ("levels = [1, 1]", "levels is [1, 1]; it must be different noise levels, at least one"),
        ("levels = [4]", "levels is 4; allowed are 'none', 0, 1, 2, 3"),
        ("levels = [1.0]", "levels is 1.0; allowed are 'none', 0, 1, 2, 3"),
        ("levels = [true]", "levels is True; allowed are 'none', 0, 1, 2, 3"),
        ("levels = 1", "levels is 1; it must be a list"),
        ("optimizer = 'sgd'", "optimizer is 'sgd'; allowed are 'adam', 'muon'"),
        ("precision = 'float16'", "precision is 'float16'; allowed are 'float32', 'bfloat16'"),
        ("threads = 0", "threads is 0; it must be from 1 to 1024"),
        ("validate = 0", "validate is 0; it must be from 1 to 1e+09"),
        ("save = 0", "save is 0; it must be from 1 to 1e+09"),
        ("data = 1", "data is 1; it must be a table, [data]"),
        ("[network]\nwidth = 0", "network.width is 0; it must be from 1 to 1024"),
        ("[network]\nwidth = 50", "network.width is 50; for gated, it must be a multiple of 4"),
        ("[network]\nblocks = 257", "network.blocks is 257; it must be from 1 to 256"),
        ("[network]\nlayers = 5", "network.layers is 5; it must be from 1 to 4"),
        ("[network]\narchitecture = 'x'", "network.architecture is 'x'; allowed are 'gated', 'c"),
        ("[data]\ncrop = 8", "data.crop is 8; it must be from 16 to 4096"),
        ("[data]\ncrop = 18", "data.crop is 18; it must be a multiple of 4"),
        (
            "[data]\ncrop = 24\n[network]\narchitecture = 'adaptive'",
            "data.crop is 24; for adaptive, it must be at least 28",
        ),
        ("estimator = 'x'", "estimator is a file; it needs network.architecture = 'adaptive'"),
        (
            "[loss]\nkind = 'filters'",
            "loss.kind is 'filters'; it needs network.architecture = 'adaptive'",
        ),
        ("[data]\nbatch = 0", "data.batch is 0; it must be from 1 to 4096"),
        ("[data]\nhard = 1.5", "data.hard is 1.5; it must be from 0 to 1"),
        ("[data]\nworkers = 0", "data.workers is 0; it must be from 1 to 256"),
        ("[loss]\nkind = 'l1'", "loss.kind is 'l1'; allowed are 'charbonnier', 'psnr'"),
        ("[loss]\nepsilon = 0", "loss.epsilon is 0; it must be from 1e-09 to 1"),
        ("[loss]\nluma = -1", "loss.luma is -1; it must be from 0 to 1000"),
        ("[loss]\nfrequency = inf", "loss.frequency is inf; it must be from 0 to 1000"),
        ("[loss]\nmargin = 64", "loss.margin is 64; it must be less than half of data.crop, 128"),
        ("[schedule]\nrate = 0", "schedule.rate is 0; it must be from 1e-09 to 10"),
        ("[schedule]\nlowest = 2", "schedule.lowest is 2; it must be from 0 to 1"),
        ("[schedule]\nwarmup = -1", "schedule.warmup is -1; it must be from 0 to 1e+09"),
        ("[schedule]\ndecay = 0", "schedule.decay is 0; it must be from 0.01 to 1"),
        ("[schedule]\ncycles = []", "schedule.cycles is []; it must be at least one number of st"),
        ("[schedule]\ncycles = [5, 0]", "schedule.cycles is [5, 0]; it must be at least one num"),
        ("[schedule]\ncycles = ['x']", "schedule.cycles is 'x'; it must be a whole number"),
    ],
)
def test_what_is_not_allowed_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DecodeError) as caught:
        read(text, tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'net.toml'}: {message}")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a = ", "is no TOML file: Invalid value"),
        (b"a = '\xff'", "is no TOML file: 'utf-8' codec can't decode"),
        (b"a = " + b"[" * 100_000, "is no TOML file: "),
        (b"#" * (1 << 20) + b"#", "is larger than 1 MiB; it is no configuration"),
    ],
)
def test_other_files_are_refused(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(data)
    with pytest.raises(DecodeError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path} {message}")
    assert str(caught.value).isprintable()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="cannot be read: No such file or directory"):
        read_config(tmp_path / "missing.toml")
    with pytest.raises(DecodeError, match="cannot be read"):
        read_config(tmp_path / "null\0.toml")


@pytest.mark.parametrize(
    "wrong", [{"ema": 2.0}, {"levels": ()}, {"data": DataConfig(crop=30)}, {"name": "a b"}]
)
def test_records_check_themselves(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        Config(**wrong)


def test_the_page_lists_every_key_with_its_default() -> None:
    def keys(record: Any, prefix: str = "") -> dict[str, object]:
        found: dict[str, object] = {}
        for field in dataclasses.fields(record):
            value = getattr(record, field.name)
            if dataclasses.is_dataclass(value):
                found |= keys(value, f"{field.name}.")
            else:
                found[prefix + field.name] = list(value) if isinstance(value, tuple) else value
        return found

    page = Path(__file__).parents[2] / "docs" / "training.md"
    rows = re.findall(r"^\| `([a-z_.]+)` \| `(.+?)` \| ", page.read_text("utf-8"), re.MULTILINE)
    assert {key: json.dumps(value) for key, value in keys(Config()).items()} == dict(rows)
