"""``waifu2x train``: a run, its end by a signal, and how it goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command import ended, on_terminal, started, waifu2x, wait_for
from helpers.trainings import tiny_training

from waifu2x.network.readers.file import read_file


def test_a_run_prints_what_it_trains_and_each_validation(tmp_path: Path) -> None:
    tiny_training(tmp_path / "net.toml", steps=4, more="validate = 2")
    done = waifu2x("train", "net.toml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    first, second, third, last = done.stdout.splitlines()
    assert first.startswith("gated with 1 block of 3 layers of 4 channels, gates and a join, ")
    assert first.endswith(
        "; noise none; 6 patches; 4 steps of 2 crops of 16 px by adam in float32, on cpu"
    )
    for line, step in ((second, 2), (third, 4)):
        assert line.startswith(f"step {step}  ")
        assert " s  loss 0." in line
        for kernel in ("lanczos", "bicubic", "box"):
            assert f"none {kernel} " in line
        assert line.endswith(" dB")
    assert last == "net: step 4 of 4"
    again = waifu2x("train", "net.toml", cwd=tmp_path)
    lines = again.stdout.splitlines()
    assert lines[1].startswith("goes on at step 4, after ")
    assert lines[2:] == ["net: step 4 of 4"]


def test_phases_are_trained_in_order_and_go_on(tmp_path: Path) -> None:
    tiny_training(tmp_path / "plain.toml", steps=2)
    tiny_training(
        tmp_path / "levels.toml", more='start = "plain/network.safetensors"\nlevels = [0, 1]'
    )
    done = waifu2x("train", "plain.toml", "levels.toml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "levels: step 3 of 3"
    made = (tmp_path / "levels" / "network_1.safetensors").read_bytes()
    again = waifu2x("train", "plain.toml", "levels.toml", cwd=tmp_path)
    lines = again.stdout.splitlines()
    assert sum(line.startswith("goes on at step ") for line in lines) == 2
    assert lines[-1] == "levels: step 3 of 3"
    assert (tmp_path / "levels" / "network_1.safetensors").read_bytes() == made


def test_a_phase_without_its_start_fails_after_the_phases_before(tmp_path: Path) -> None:
    tiny_training(tmp_path / "plain.toml", steps=2)
    tiny_training(tmp_path / "next.toml", more='start = "lost.safetensors"')
    done = waifu2x("train", "plain.toml", "next.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert "lost.safetensors" in done.stderr
    assert (tmp_path / "plain" / "network.safetensors").is_file()
    assert not (tmp_path / "next").exists()


def test_a_terminal_shows_the_current_step(tmp_path: Path) -> None:
    tiny_training(tmp_path / "net.toml", steps=12)
    code, out, shown = on_terminal("train", "net.toml", cwd=tmp_path)
    assert code == 0
    assert out.endswith("net: step 12 of 12\n")
    assert "step 10 of 12  loss 0." in shown
    assert " left" in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_the_same_command_goes_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    tiny_training(tmp_path / "net.toml", steps=1_000_000, more="validate = 1\nsave = 1000000")
    process = started("train", "net.toml", cwd=tmp_path)
    try:
        wait_for(process.stdout, "step 3  ")
        process.send_signal(number)
        out, err = ended(process)
    finally:
        process.kill()
    assert (process.returncode, err) == (128 + number, "")
    step = int(out.splitlines()[-1].removeprefix("net: step ").split()[0])
    assert step >= 3
    assert read_file(tmp_path / "net" / "network.safetensors").scale == 2
    assert not [*(tmp_path / "net").glob(".*")]
    record = (tmp_path / "net" / "record.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in record[1:]] == [str(each + 1) for each in range(step)]
    again = started("train", "net.toml", cwd=tmp_path)
    try:
        assert f"goes on at step {step}, after" in wait_for(again.stdout, f"step {step + 1}  ")
    finally:
        again.kill()
        again.communicate()


def test_a_signal_before_the_first_step_ends_without_a_message(tmp_path: Path) -> None:
    script = (
        "import os, signal\n"
        "from waifu2x.training import config\n"
        "from waifu2x.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "config.read_config = lambda path: os.kill(os.getpid(), signal.SIGINT)\n"
        "main(['train', 'net.toml'])\n"
    )
    done = run_python(script, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("name", ["torch", "matplotlib"])
def test_a_missing_package_is_one_line(tmp_path: Path, name: str) -> None:
    tiny_training(tmp_path / "net.toml")
    script = (
        f"import sys; sys.modules[{name!r}] = None\n"
        "from waifu2x.cli import main; main(['train', 'net.toml'])\n"
    )
    done = run_python(script, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: training needs {name}; run pip install {name}\n"
    assert not (tmp_path / "net").exists()


def test_the_network_enlarges_pictures(tmp_path: Path) -> None:
    from helpers import art

    tiny_training(tmp_path / "net.toml")
    assert waifu2x("train", "net.toml", cwd=tmp_path).returncode == 0
    art.anime_face(24, 20).save(tmp_path / "in.png")
    done = waifu2x("in.png", "out.png", "-m", "net/network.safetensors", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out.png").is_file()


def run_python(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
