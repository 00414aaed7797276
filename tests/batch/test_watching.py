"""``--watch``: pictures that arrive slowly, once each, and the end by a signal."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers import art
from helpers.command import ended, started, waifu2x, wait_for
from PIL import Image

from waifu2x import Upscaler
from waifu2x.batch.watching import _is_being_written

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path


@contextmanager
def watching(
    folder: Path, *options: str, inputs: str = "in", out: str = "out"
) -> Iterator[subprocess.Popen[bytes]]:
    """A running ``waifu2x in out --watch``, which watches already."""
    process = started(
        inputs, out, "-m", "upconv_7", "--watch", "--report", "report.jsonl", *options, cwd=folder
    )
    try:
        wait_for(process.stderr, f"watching {inputs}; Ctrl-C ends")
        yield process
    finally:
        process.kill()
        process.communicate()


def data_of(number: int = 0, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    art.anime_face(40 + 2 * number, 36).save(buffer, kind)
    return buffer.getvalue()


def report(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "report.jsonl").read_text().splitlines()]


def stopped(process: subprocess.Popen[bytes]) -> tuple[str, str]:
    process.send_signal(signal.SIGINT)
    out, err = ended(process)
    assert process.returncode == 128 + signal.SIGINT
    return out, err


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def expected(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return Upscaler("upconv_7").upscale(np.asarray(image), noise=None)


def test_pictures_are_taken_as_they_arrive(folder: Path) -> None:
    (folder / "in" / "0.png").write_bytes(data_of(0))
    with watching(folder, "-r") as process:
        wait_for(process.stdout, "out/0.png: ")
        (folder / "in" / "1.png").write_bytes(data_of(1))
        wait_for(process.stdout, "out/1.png: ")
        (folder / "2.tmp").write_bytes(data_of(2))
        (folder / "2.tmp").rename(folder / "in" / "2.png")
        wait_for(process.stdout, "out/2.png: ")
        (folder / "in" / "new").mkdir()
        (folder / "in" / "new" / "3.png").write_bytes(data_of(3))
        wait_for(process.stdout, "out/new/3.png: ")
        out, err = stopped(process)
    assert out.startswith("4 done in ")
    assert err == "finishing what has been begun; Ctrl-C again stops at once\n"
    assert [Path(str(each["input"])).name for each in report(folder)] == [
        "0.png", "1.png", "2.png", "3.png",
    ]  # fmt: skip
    for number, name in enumerate(("0.png", "1.png", "2.png", "new/3.png")):
        assert np.array_equal(pixels_of(folder / "out" / name), expected(data_of(number)))


def test_a_slow_file_is_taken_when_it_is_complete(folder: Path) -> None:
    """Its writer pauses for longer than a complete file has to be unchanged."""
    data = data_of(1)
    with watching(folder) as process:
        with (folder / "in" / "slow.png").open("wb", buffering=0) as file:
            for part in range(0, len(data), len(data) // 3 + 1):
                file.write(data[part : part + len(data) // 3 + 1])
                time.sleep(1.6)
            # A file that arrives meanwhile does not wait for the slow one.
            (folder / "in" / "fast.png").write_bytes(data_of(2))
            wait_for(process.stdout, "out/fast.png: ")
            assert not (folder / "out" / "slow.png").exists()
        wait_for(process.stdout, "out/slow.png: ")
        stopped(process)
    assert [each["status"] for each in report(folder)] == ["done", "done"]
    assert np.array_equal(pixels_of(folder / "out" / "slow.png"), expected(data))


def test_a_file_written_by_another_process_in_pieces(folder: Path) -> None:
    """Each piece opens the file again, as some programs do over a network."""
    data = data_of(1)
    script = (
        "import sys, time\n"
        "data = sys.stdin.buffer.read()\n"
        "for at in range(0, len(data), 200):\n"
        "    with open('in/1.png', 'ab') as file:\n"
        "        file.write(data[at : at + 200])\n"
        "    time.sleep(0.05)\n"
    )
    with watching(folder) as process:
        subprocess.run([sys.executable, "-c", script], cwd=folder, input=data, check=True)
        wait_for(process.stdout, "out/1.png: ")
        _, err = stopped(process)
    assert "Error" not in err
    assert len(report(folder)) == 1
    assert np.array_equal(pixels_of(folder / "out" / "1.png"), expected(data))


def test_a_damaged_file_is_tried_again_when_it_changes(folder: Path) -> None:
    data = data_of(1)
    with watching(folder) as process:
        (folder / "in" / "1.png").write_bytes(data[: len(data) // 2])
        line = wait_for(process.stderr, "Error: ")
        assert "in/1.png" in line
        (folder / "in" / "2.png").write_bytes(data_of(2))
        wait_for(process.stdout, "out/2.png: ")
        (folder / "in" / "1.png").write_bytes(data)
        wait_for(process.stdout, "out/1.png: ")
        _, err = stopped(process)
    assert "Error" not in err, "once"
    assert [each["status"] for each in report(folder)] == ["failed", "done", "done"]


def test_nothing_is_done_twice(folder: Path) -> None:
    (folder / "in" / "1.png").write_bytes(data_of(1))
    with watching(folder) as process:
        wait_for(process.stdout, "out/1.png: ")
        # The names of both results would now be longer; the first is done already.
        (folder / "in" / "1.jpg").write_bytes(data_of(2, "JPEG"))
        wait_for(process.stdout, "out/1_jpg.png: ")
        (folder / "in" / "1.jpg").chmod(0o600)  # an event without a change
        (folder / "in" / "2.png").write_bytes(data_of(3))
        wait_for(process.stdout, "out/2.png: ")
        stopped(process)
    assert len(report(folder)) == 3
    (folder / "in" / "1.jpg").unlink()
    with watching(folder) as process:
        (folder / "in" / "3.png").write_bytes(data_of(0))
        wait_for(process.stdout, "out/3.png: ")
        out, _ = stopped(process)
    assert out.startswith("1 done in ")
    assert len(report(folder)) == 4


def test_a_changed_input_is_done_again(folder: Path) -> None:
    path = folder / "in" / "1.png"
    path.write_bytes(data_of(1))
    with watching(folder) as process:
        wait_for(process.stdout, "out/1.png: ")
        path.write_bytes(data_of(2))
        wait_for(process.stdout, "out/1.png: ")
        stopped(process)
    assert np.array_equal(pixels_of(folder / "out" / "1.png"), expected(data_of(2)))


@pytest.mark.parametrize("out", ["in", "in/big"])
def test_results_in_the_watched_folder_are_no_inputs(folder: Path, out: str) -> None:
    with watching(folder, "-r", out=out) as process:
        for number in (1, 2):
            (folder / "in" / f"{number}.png").write_bytes(data_of(number))
            wait_for(process.stdout, f"{out}/{number}")
        stopped(process)
    assert len(report(folder)) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_watch_without_work(folder: Path, number: signal.Signals) -> None:
    with watching(folder) as process:
        process.send_signal(number)
        out, err = ended(process)
        assert process.returncode == 128 + number
    if number == signal.SIGINT:
        assert out.startswith("0 done in ")
        assert err == "finishing what has been begun; Ctrl-C again stops at once\n"
    assert "Traceback" not in err


def test_ctrl_c_finishes_what_has_begun(folder: Path) -> None:
    for number in range(200):
        art.anime_face(60, 50).save(folder / "in" / f"{number}.png")
    with watching(folder) as process:
        wait_for(process.stdout, "out/")
        out, _ = stopped(process)
    last = out.splitlines()[-1]
    assert " not begun or dropped in " in last
    done = int(last.split()[0])
    assert 0 < done < 200
    assert len(list((folder / "out").iterdir())) == done
    assert len([each for each in report(folder) if each["status"] == "done"]) == done


def test_a_folder_that_vanishes_ends_the_watch(folder: Path) -> None:
    with watching(folder) as process:
        (folder / "in").rmdir()
        (folder / "in").with_name("other").mkdir()
        _, err = ended(process)
        assert process.returncode == 1
    assert "Error: " in err
    assert "in" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_folder_that_is_replaced_ends_the_watch(folder: Path) -> None:
    """No event tells of files in the new folder."""
    with watching(folder) as process:
        (folder / "in").rename(folder / "old")
        (folder / "in").mkdir()
        _, err = ended(process)
        assert process.returncode == 1
    assert err.splitlines()[-1] == (
        "Error: in has been removed or replaced; watch the folder again"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tell")
def test_a_file_open_for_writing_is_recognized(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"a")
    assert not _is_being_written(path)
    with path.open("ab"):
        assert _is_being_written(path)
    with path.open("rb"):
        assert not _is_being_written(path)
    assert not _is_being_written(tmp_path / "gone.png")


def test_a_missing_package_is_one_line(folder: Path) -> None:
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import sys; sys.modules['watchfiles'] = None\n")
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    done = waifu2x("in", "out", "--watch", cwd=folder, env={"PYTHONPATH": path})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("Error: watching folders needs watchfiles; run pip install watchfiles\n")
