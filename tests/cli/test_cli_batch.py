"""Many files on the command line: exit codes, streams, progress, signals."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import art, command
from helpers.command import WAIFU2X, ended, on_terminal, started, wait_for
from PIL import Image

from waifu2x._machine import processors

FAST = ["-m", "upconv_7"]


def waifu2x(*args: str | Path, cwd: Path, data: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command with the fast model."""
    return command.waifu2x(*FAST, *args, cwd=cwd, data=data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """in/ with 1.png to 12.png, sub/a.jpg, sub/a.png and a text file, and bad.png next to in/."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for i in range(1, 13):
        art.anime_face(20, 16).save(tmp_path / "in" / f"{i}.png")
    art.anime_face(24, 20).save(tmp_path / "in/sub/a.jpg", quality=75)
    art.anime_face(24, 20).save(tmp_path / "in/sub/a.png")
    (tmp_path / "in/notes.txt").write_text("no picture")
    (tmp_path / "bad.png").write_text("no picture")
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


ALL = sorted([*(f"{i}.png" for i in range(1, 13)), "sub/a_jpg.png", "sub/a_png.png"])


def test_a_folder_into_a_folder(folder: Path) -> None:
    result = waifu2x("in", "out", "-r", cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert names(folder / "out") == ALL
    *lines, summary = result.stdout.splitlines()
    assert len(lines) == 14
    assert any(re.match(r"out/1\.png: 20x16 -> 40x32 px, upconv_7, noise none", x) for x in lines)
    assert re.fullmatch(
        r"14 done in [\d.]+ s \([\d.]+ files/s\); 1 other file in the folders", summary
    )


def test_without_recursion_and_quiet(folder: Path) -> None:
    result = waifu2x("in", "out", "--quiet", cwd=folder)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert len(names(folder / "out")) == 12


def test_one_bad_file_makes_it_1_and_is_named(folder: Path) -> None:
    result = waifu2x("bad.png", "in", "missing.png", "out", cwd=folder)
    assert result.returncode == 1
    lines = sorted(result.stderr.splitlines())
    assert len(lines) == 2
    assert lines[0].startswith("Error: bad.png is not a picture")
    assert lines[1] == "Error: missing.png does not exist"
    assert result.stdout.splitlines()[-1].startswith("12 done, 2 failed in ")
    assert len(names(folder / "out")) == 12


def test_resuming(folder: Path) -> None:
    assert waifu2x("in", "out", cwd=folder).returncode == 0
    again = waifu2x("in", "out", cwd=folder)
    assert again.returncode == 1
    assert len(again.stderr.splitlines()) == 12
    assert all("--resume" in line for line in again.stderr.splitlines())
    (folder / "out/7.png").unlink()
    resumed = waifu2x("in", "out", "--resume", cwd=folder)
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert resumed.stdout.splitlines()[0].startswith("out/7.png: ")
    assert resumed.stdout.splitlines()[1].startswith("1 done, 11 skipped in ")
    replaced = waifu2x("in", "out", "--overwrite", cwd=folder)
    assert replaced.stdout.splitlines()[-1].startswith("12 done in ")


def test_patterns_lists_and_names(folder: Path) -> None:
    result = waifu2x("in/1*.png", "out", "--name", "{stem}_{scale}x{ext}", cwd=folder)
    assert result.returncode == 0
    assert names(folder / "out") == ["10_2x.png", "11_2x.png", "12_2x.png", "1_2x.png"]
    (folder / "list.txt").write_text("# chosen\nin/2.png\nin/sub/a.jpg\n")
    assert waifu2x("@list.txt", "out2", "-f", "webp", cwd=folder).returncode == 0
    assert names(folder / "out2") == ["in/2.webp", "in/sub/a.webp"]
    assert waifu2x("@-", "out3", cwd=folder, data="in/3.png\n").returncode == 0
    assert names(folder / "out3") == ["in/3.png"]
    assert (
        waifu2x("in", "out4", "-r", "--exclude", "1?.png", "--exclude", "sub/", cwd=folder)
    ).returncode == 0
    assert names(folder / "out4") == [f"{i}.png" for i in range(1, 10)]
    assert waifu2x("in", "out5", "-r", "--include", "*.jpg", cwd=folder).returncode == 0
    assert names(folder / "out5") == ["sub/a.png"]


def test_shards(folder: Path) -> None:
    for part in ("1/2", "2/2"):
        result = waifu2x("in", "out", "-r", "--shard", part, cwd=folder)
        assert result.returncode == 0
        assert "this is a part of 14 files" in result.stdout
    assert names(folder / "out") == ALL


def test_the_order_is_that_of_readers(folder: Path) -> None:
    """Page 2 comes before page 10; only files in flight at once may change places."""
    result = waifu2x("in", "out", cwd=folder)
    order = [int(x) for x in re.findall(r"^out/(\d+)\.png:", result.stdout, re.MULTILINE)]
    assert sorted(order) == list(range(1, 13))
    at_once = 3 * processors() + 2
    assert all(number - place < at_once for place, number in enumerate(order, 1))


def events(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_progress_for_programs(folder: Path) -> None:
    result = waifu2x("bad.png", "in", "out", "-r", "--progress", "json", cwd=folder)
    assert result.returncode == 1
    assert result.stderr == ""
    first, *middle, last = events(result.stdout)
    assert first == {
        "event": "start",
        "total": 15,
        "model": "upconv_7",
        "of_all_shards": 15,
        "ignored": 1,
        "cleaned": 0,
    }
    files = [one for one in middle if one["event"] == "file"]
    assert len(files) == 15
    (failed,) = [one for one in files if one["status"] == "failed"]
    assert "not a picture" in str(failed["error"])
    for one in middle:
        if one["event"] == "progress":
            assert one.keys() == {
                *("event", "ended", "total", "share", "files_per_second"),
                *("eta_seconds", "current"),
            }
    assert last["event"] == "end"
    assert (last["done"], last["failed"], last["skipped"], last["exit_code"]) == (14, 1, 0, 1)


def test_progress_for_programs_with_one_file(folder: Path) -> None:
    result = waifu2x("in/1.png", "one.png", "--progress", "json", cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    first, *middle, last = events(result.stdout)
    assert (first["event"], first["total"]) == ("start", 1)
    (file,) = [one for one in middle if one["event"] == "file"]
    assert (file["output"], file["status"], file["size_out"]) == ("one.png", "done", [40, 32])
    assert (last["event"], last["done"], last["exit_code"]) == ("end", 1, 0)
    result = waifu2x("bad.png", "two.png", "--progress", "json", cwd=folder)
    assert result.returncode == 1
    _, file, last = [one for one in events(result.stdout) if one["event"] != "progress"]
    assert "not a picture" in str(file["error"])
    assert (last["failed"], last["exit_code"]) == (1, 1)
    result = waifu2x("in/1.png", "-", "--progress", "json", cwd=folder)
    assert result.returncode == 2
    assert "standard output" in result.stderr


def test_a_bar_on_a_terminal(folder: Path) -> None:
    # By itself the bar waits 0.4 s.
    code, out, shown = on_terminal(*FAST, "in", "out", "-r", "--progress", "bar", cwd=folder)
    assert code == 0
    assert re.search(r"\d+/14 files", shown)
    assert "%" in shown
    assert len(out.splitlines()) == 15
    code, out, shown = on_terminal(*FAST, "in", "quiet", "-r", "--quiet", cwd=folder)
    assert (code, out, shown) == (0, "", "")


def test_verbose_says_what_was_skipped_and_how_busy_it_was(folder: Path) -> None:
    waifu2x("in", "out", cwd=folder)
    (folder / "out/3.png").unlink()
    result = waifu2x("in", "out", "--resume", "--verbose", cwd=folder)
    assert "in/2.png: done before" in result.stderr
    assert re.search(r"a network ran in [\d.]+% of the time", result.stderr)


def test_the_report_is_a_file_of_lines(folder: Path) -> None:
    result = waifu2x("in", "bad.png", "out", "--report", "r.jsonl", cwd=folder)
    assert result.returncode == 1
    lines = events((folder / "r.jsonl").read_text())
    assert len(lines) == 13
    result = waifu2x("in", "out", "--report", "r.jsonl", "--resume", cwd=folder)
    assert len(events((folder / "r.jsonl").read_text())) == 25


@pytest.mark.parametrize(
    "args",
    [
        ["in"],
        ["in/*.png"],
        ["in", "in/1.png"],
        ["in", "out.png"],
        ["in", "-"],
        ["-", "in", "out"],
        ["in", "out", "--memory", "lots"],
        ["in", "out", "--skip-larger", "big"],
        ["in", "out", "--progress", "loud"],
        ["in", "out", "-s", "2", "--width", "9"],
    ],
)
def test_wrong_usage_exits_2(folder: Path, args: list[str]) -> None:
    before = names(folder)
    result = command.waifu2x(*args, cwd=folder, data="")
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("Error: ")
    assert names(folder) == before
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("args", "message", "code"),
    [
        (["nowhere/", "out", "-r"], "nowhere", 1),
        (["in/*.bmp", "out"], "in/*.bmp", 1),
        (["@nowhere.txt", "out"], "nowhere.txt", 1),
        (["in", "https://example.com/a.png", "out"], "download it first", 1),
        (["in", "out", "--shard", "0/4"], "shard is '0/4'", 2),
        (["in", "out", "--name", "x{ext}"], "{stem}", 2),
        (["in", "out", "--memory", "9"], "memory is 0 MiB (9 bytes)", 1),
        (["in", "out", "--report", "nowhere/r"], "report nowhere/r cannot be written", 1),
        (["in", "in", "--name", "{stem}{ext}"], "would replace it", 1),
        (["in", "out", "-q", "50"], "pictures become PNG", 2),
    ],
)
def test_what_is_wrong_with_all_is_one_line(
    folder: Path, args: list[str], message: str, code: int
) -> None:
    result = waifu2x(*args, cwd=folder)
    assert result.returncode == code
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert message in line


# --- signals


@pytest.fixture
def work(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running batch of many pictures after the first result."""
    (folder / "many").mkdir()
    art.anime_face(160, 160).save(folder / "many" / "0.png")
    for i in range(1, 40):
        shutil.copyfile(folder / "many" / "0.png", folder / "many" / f"{i}.png")
    process = started(*FAST, "many", "out", cwd=folder)
    assert wait_for(process.stdout, ": ").startswith("out/")
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def whole(folder: Path) -> int:
    """Return the number of results; fails unless all files are complete results."""
    for name in names(folder):
        with Image.open(folder / name) as image:
            image.load()
            assert image.size == (320, 320)
    return len(names(folder))


def test_ctrl_c_finishes_what_is_in_flight(folder: Path, work: subprocess.Popen[bytes]) -> None:
    work.send_signal(signal.SIGINT)
    out, err = ended(work)
    assert work.returncode == 130
    assert "Ctrl-C again stops at once" in err
    assert "Traceback" not in err
    *lines, summary = out.splitlines()
    assert re.match(r"\d+ done, \d+ not begun or dropped in", summary)
    assert whole(folder / "out") == len(lines) + 1
    assert 1 < len(names(folder / "out")) < 40


def test_a_second_ctrl_c_stops_at_once(folder: Path, work: subprocess.Popen[bytes]) -> None:
    work.send_signal(signal.SIGINT)
    wait_for(work.stderr, "again")
    work.send_signal(signal.SIGINT)
    _, err = ended(work)
    assert work.returncode == 130
    assert "Traceback" not in err
    assert 1 <= whole(folder / "out") < 40


def test_sigterm_stops_at_once(folder: Path, work: subprocess.Popen[bytes]) -> None:
    work.send_signal(signal.SIGTERM)
    _, err = ended(work)
    assert work.returncode == 143
    assert "Traceback" not in err
    assert 1 <= whole(folder / "out") < 40


def test_what_an_interrupt_left_is_gone_on_with(
    folder: Path, work: subprocess.Popen[bytes]
) -> None:
    def unfinished() -> bool:
        return any(name.startswith(".") for name in names(folder / "out"))

    while True:
        while work.poll() is None and not unfinished():
            time.sleep(0.001)
        work.kill()
        work.communicate()
        if unfinished():
            break  # otherwise the process finished the file before the kill
        for name in names(folder / "out")[::2]:
            (folder / "out" / name).unlink()
        work = started(*FAST, "many", "out", "--resume", cwd=folder)
    result = waifu2x("many", "out", "--resume", cwd=folder)
    assert result.returncode == 0
    assert "of killed runs removed" in result.stdout
    assert whole(folder / "out") == 40


def test_two_runs_at_once_into_one_folder(folder: Path) -> None:
    (folder / "many").mkdir()
    for i in range(20):
        art.anime_face(64, 64).save(folder / "many" / f"{i}.png")
    runs = [
        subprocess.Popen(
            [WAIFU2X, *FAST, "many", "out", "--resume"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for run in runs:
        _, err = run.communicate(timeout=300)
        assert (run.returncode, err) == (0, "")
    waifu2x("many", "alone", cwd=folder)
    assert names(folder / "out") == names(folder / "alone")
    for name in names(folder / "out"):
        assert (folder / "out" / name).read_bytes() == (folder / "alone" / name).read_bytes()
