"""The report of `waifu2x doctor`: steps that fail cost a row, and nothing private is shown."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from waifu2x import Upscaler, _machine, kernels
from waifu2x.diagnosis import installation, machine, self_test
from waifu2x.diagnosis.isolated import Row, Step, run
from waifu2x.diagnosis.privacy import _patterns, without_names

ROOT = Path(__file__).parent.parent.parent

#: Modules by what they do when they are imported, and the problem that the report states.
BROKEN = {
    "raise OSError('libfoo.so.3: cannot open')": "OSError: libfoo.so.3: cannot open",
    "raise ImportError": "ImportError",
    "1 / 0": "ZeroDivisionError: division by zero",
    "import sys; sys.exit('no license')": "SystemExit: no license",
    "raise BaseException('odd')": "BaseException: odd",
    "import os; os._exit(7)": "the process ended with exit code 7",
    "import os, signal; os.kill(os.getpid(), signal.SIGILL)": "the process was ended by SIGILL",
    "import time; time.sleep(60)": "no answer within 2 s",
    "print('license: none')": "",
}


def step(module: str, needed: str = "needed", seconds: float = 60) -> Step:
    return Step(module, "libraries", "library", (module, module, "", needed), seconds)


@pytest.mark.parametrize("code", BROKEN)
def test_an_import_of_any_kind_costs_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "planted.py").write_text(code)
    seconds = 2 if "sleep" in code else 60
    broken, sound = run([step("planted", seconds=seconds), step("click")])
    assert (broken.name, broken.problem) == ("planted", BROKEN[code])
    assert (sound.name, sound.problem) == ("click", "")
    assert re.match(r"\d", sound.text)


def test_a_package_that_is_missing() -> None:
    needed, optional = run([step("nowhere"), step("nowhere", "optional")])
    assert needed.problem == "not installed; run `pip install nowhere`"
    assert (optional.text, optional.problem) == ("not installed (pip install nowhere)", "")


def test_a_python_that_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    rows = list(run([step("click"), step("rich")]))
    assert [row.name for row in rows] == ["click", "rich"]
    assert all("python cannot be started: No such file" in row.problem for row in rows)


def test_the_working_folder_is_not_imported_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "click.py").write_text("raise OSError")
    (tmp_path / "json.py").write_text("raise OSError")
    monkeypatch.chdir(tmp_path)
    (row,) = run([step("click")])
    assert row.problem == ""


# --- what is shown


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home" / "hanako"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    _patterns.cache_clear()
    yield folder
    _patterns.cache_clear()


def test_the_home_folder_is_a_tilde(home: Path) -> None:
    assert without_names(f"in {home}/venv/lib: no") == "in ~/venv/lib: no"
    assert without_names(f"'{home}'") == "'~'"
    assert without_names("/data/hanako/x, hanako, hanakos") == "/data/USER/x, hanako, hanakos"
    assert without_names({"a": [f"{home}/b", 3, None]}) == {"a": ["~/b", 3, None]}
    assert without_names(f"{home}s/x") == f"{home}s/x"


def test_secrets_are_not_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WAIFU2X_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WAIFU2X_TOKEN", "open sesame")
    monkeypatch.setenv("WAIFU2X_MODELS", str(home / "models"))
    monkeypatch.setenv("OTHER_TOKEN", "abc")
    (row,) = run([Step("environment", "installation", "environment")])
    assert row.facts == {"WAIFU2X_MODELS": "~/models", "WAIFU2X_TOKEN": "set, not shown"}
    assert row.text == "WAIFU2X_MODELS=~/models, WAIFU2X_TOKEN=set, not shown"


def test_the_extras_are_those_of_the_metadata() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = {
        name: tuple(re.split(r"[>=;]", each)[0] for each in packages)
        for name, packages in declared["optional-dependencies"].items()
        if name not in ("test", "docs", "fuzz", "bench")
    }
    assert extras == installation.EXTRAS
    assert declared["name"] == installation.DISTRIBUTION


def test_the_commit_of_a_source_tree_is_shown() -> None:
    rows = list(installation.commit())
    if (ROOT / ".git").exists() and Path(kernels.__file__).is_relative_to(ROOT):
        assert re.fullmatch(r"[0-9a-f]{12}(, with changes)?", rows[0].text)


# --- the machine


def test_a_machine_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "none")
    monkeypatch.setattr(_machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(platform, "freedesktop_os_release", _no_release)
    for function in (machine.processor, machine.cores, machine.memory, machine.system):
        row = function()
        assert row.text
        assert not row.problem


def _no_release() -> dict[str, str]:
    raise OSError("no os-release")


def test_the_limits_of_a_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_machine, "_CGROUP", tmp_path)
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text(f"{1 << 29}\n")
    assert machine.cores().text.endswith("usable, the container is limited to the time of 1.5")
    assert machine.memory().text.endswith(" available, the container is limited to 0.5 GiB")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.cores().facts is not None
    assert machine.cores().facts["quota"] is None
    assert "limited" not in machine.memory().text


def test_the_limits_of_an_older_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_machine, "_CGROUP", tmp_path)
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    for quota, expected in (("250000", 2.5), ("-1", None)):
        (tmp_path / "cpu/cpu.cfs_quota_us").write_text(f"{quota}\n")
        assert _machine.processor_quota() == expected


def test_the_instruction_sets_within_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAIFU2X_CPU", "scalar")
    (row,) = run([Step("instruction sets", "machine", "instruction_sets")])
    assert row.text == "kernels use scalar, of 1 level: scalar; capped by WAIFU2X_CPU=scalar"
    monkeypatch.setenv("WAIFU2X_CPU", "sse9")
    (row,) = run([Step("instruction sets", "machine", "instruction_sets")])
    assert "sse9" in row.problem


# --- the self-test


@pytest.mark.parametrize("isa", kernels.isas())
def test_every_instruction_set_passes(monkeypatch: pytest.MonkeyPatch, isa: str) -> None:
    monkeypatch.setenv("WAIFU2X_CPU", isa)
    (row,) = run([Step("self-test", "self_test", "self_test", seconds=300)])
    assert row.problem == ""
    assert row.facts is not None
    assert row.facts["seconds_per_megapixel"] > 0
    assert f"engine native, {isa}, " in row.text


@pytest.mark.parametrize("by", [2, 40])
def test_a_wrong_result_is_found(monkeypatch: pytest.MonkeyPatch, by: int) -> None:
    right = Upscaler.upscale
    wrong = np.zeros((384, 384, 3), np.uint8)
    wrong[self_test._FIRST + 2 * self_test._EVERY, self_test._FIRST, 1] = by

    def upscale(self: Upscaler, *values: object, **options: object) -> object:
        return right(self, *values, **options) ^ wrong

    monkeypatch.setattr(Upscaler, "upscale", upscale)
    row = self_test.self_test()
    assert re.fullmatch(r"the result is off by \d+ of 255", row.problem)


def test_the_picture_is_always_the_same() -> None:
    import hashlib

    picture = self_test.fixed_picture()
    assert (picture.shape, picture.dtype) == ((192, 192, 3), np.uint8)
    assert hashlib.sha256(picture.tobytes()).hexdigest() == (
        "63fd8b989f03b82cf7f90a014c8bea98ed05138b11f3f772e0bbb8a1ea155f13"
    )


def test_a_row_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "planted.py").write_text("raise OSError('x' * 9999 + chr(10) + 'y')")
    (row,) = run([step("planted")])
    assert isinstance(row, Row)
    assert len(row.problem) < 500
    assert "\n" not in row.problem
