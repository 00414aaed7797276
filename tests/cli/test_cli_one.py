"""One file on the command line: the names, events, report and signals are those of many files."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import art, command
from helpers.command import WAIFU2X, on_terminal, wait_for
from PIL import Image

from waifu2x.batch import upscale_many

FAST = ["-m", "upconv_7"]
DOCS = Path(__file__).parents[2] / "docs/batch.md"


def waifu2x(*args: str | Path, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command with the fast model."""
    result = command.waifu2x(*FAST, *args, cwd=cwd)
    assert result.returncode == code, result.stderr
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    art.anime_face(24, 20).save(tmp_path / "in.png")
    art.anime_face(24, 20).save(tmp_path / "in.jpg", quality=75)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# --- names ------------------------------------------------------------------------------------


def test_one_rule_for_names(folder: Path) -> None:
    (folder / "big").mkdir()
    for args, result in (
        (["in.png"], "in_waifu2x.png"),
        (["in.png", "."], "in_waifu2x.png"),
        (["in.png", "big"], "big/in.png"),
        (["in.png", "--name", "{stem}_{scale}x{ext}"], "in_2x.png"),
        (["in.png", "big", "--name", "{stem}_{scale}x{ext}"], "big/in_2x.png"),
        (["in.png", "in.jpg", "big"], "big/in_png.png"),
        (["in.png", "in.jpg", "."], "in_png_waifu2x.png"),
    ):
        said = waifu2x(*args, "--overwrite", cwd=folder).stdout
        assert f"{result}: 24x20 -> 48x40 px" in said.replace("./", "")
        assert (folder / result).exists()


def test_work_in_place(folder: Path) -> None:
    art.anime_face(24, 20).save(folder / "other.bmp")
    before = names(folder)
    made = ["in_jpg_waifu2x.png", "in_png_waifu2x.png", "other_waifu2x.png"]
    waifu2x(".", ".", cwd=folder)
    assert names(folder) == sorted([*before, *made])
    again = waifu2x(".", ".", "--resume", cwd=folder)
    assert again.stdout.startswith("0 done, 3 skipped in ")
    assert "3 results of earlier runs not taken as input" in again.stdout
    assert names(folder) == sorted([*before, *made])


def test_contents_decide_the_name_of_the_result(folder: Path) -> None:
    frames = [art.anime_face(20, 16), art.anime_face(20, 16).rotate(180)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    (folder / "moving.gif").rename(folder / "moving")
    waifu2x("moving", cwd=folder)
    with Image.open(folder / "moving_waifu2x.gif") as image:
        assert (image.format, image.n_frames) == ("GIF", 2)


def test_the_input_from_a_pipe_is_not_replaced(folder: Path) -> None:
    before = (folder / "in.png").read_bytes()
    with (folder / "in.png").open("rb") as stream:
        result = subprocess.run(
            [WAIFU2X, "-", "in.png", "--overwrite"],
            cwd=folder, stdin=stream, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    assert result.returncode == 1
    assert "in.png is the input itself, which is never replaced" in result.stderr
    assert (folder / "in.png").read_bytes() == before


# --- options that were for many files only ----------------------------------------------------


def test_resuming_one_file(folder: Path) -> None:
    waifu2x("in.png", "out.png", cwd=folder)
    stamp = (folder / "out.png").stat().st_mtime_ns
    assert waifu2x("in.png", "out.png", "--resume", cwd=folder).stdout == "in.png: done before\n"
    assert (folder / "out.png").stat().st_mtime_ns == stamp
    os.utime(folder / "out.png", ns=(1, 1))
    waifu2x("in.png", "out.png", "--resume", cwd=folder)
    assert (folder / "out.png").stat().st_mtime_ns > stamp


def test_memory_shard_and_unfinished_files(folder: Path) -> None:
    (folder / ".waifu2x-0123456789abcdef.tmp").touch()
    waifu2x("in.png", "out.png", "--memory", "4G", cwd=folder)
    assert names(folder) == ["in.jpg", "in.png", "out.png"]
    made = [
        waifu2x("in.png", "part.png", "--shard", f"{part}/2", cwd=folder).stdout for part in (1, 2)
    ]
    assert sum(said.startswith("part.png: ") for said in made) == 1
    assert sum("this is a part of 1 file" in said for said in made) == 1


def test_results_of_one_and_of_many_files_are_on_disk_before_their_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        seen.append(sorted(path.name for path in folder.rglob("*.png")))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    (result,) = upscale_many(folder / "in.png", folder / "out", model="upconv_7")
    assert result.status == "done"
    assert seen == [["in.png"]]


# --- events and report ------------------------------------------------------------------------


def documented() -> dict[str, set[str]]:
    """The fields that docs/batch.md lists for each event; those of "file" are the report's."""
    text = DOCS.read_text()
    events = {}
    for kind, fields in re.findall(r"^\| `(start|progress|end)` \| (.+) \|$", text, re.MULTILINE):
        events[kind] = set(re.findall(r"`([a-z_]+)`", fields)) - {"null"}
    report = text[text.index("## The report") : text.index("## Progress for programs")]
    first = re.findall(r"^\| (`[^|]+) \|", report, re.MULTILINE)
    events["file"] = {name for cell in first for name in re.findall(r"`(\w+)`", cell)}
    return events


def checked_events(text: str, kinds: set[str]) -> dict[str, dict[str, Any]]:
    """The last event of each kind, with the documented fields."""
    found = {}
    for line in text.splitlines():
        event = json.loads(line)
        kind = event.pop("event")
        assert event.keys() == documented()[kind], kind
        found[kind] = event
    assert kinds <= found.keys()
    return found


ENDS = {"start", "file", "end"}


def test_events_and_reports_have_the_documented_fields(folder: Path) -> None:
    for args in (["in.png", "one.png"], ["in.png", "in.jpg", "out"]):
        said = waifu2x(*args, "--progress", "json", "--report", "r.jsonl", cwd=folder)
        assert said.stderr == ""
        found = checked_events(said.stdout, ENDS)
        assert found["file"]["stages"].keys() == {"decode", "compute", "encode", "wait"}
        assert found["file"]["stages"]["compute"] > 0
        assert 0 < found["end"]["compute_busy"] <= 1
    lines = (folder / "r.jsonl").read_text().splitlines()
    assert [json.loads(line).keys() for line in lines] == [documented()["file"]] * 3


def test_events_and_report_of_a_pipe(folder: Path) -> None:
    args = [WAIFU2X, *FAST, "-", "out.png", "--progress", "json", "--report", "r.jsonl"]
    with (folder / "in.jpg").open("rb") as stream:
        said = subprocess.run(
            args, cwd=folder, stdin=stream, capture_output=True, text=True, timeout=300
        )
    assert (said.returncode, said.stderr) == (0, "")
    found = checked_events(said.stdout, ENDS)
    file = found["file"]
    assert (file["input"], file["output"], file["stages"]) == (None, "out.png", None)
    assert (file["size_out"], file["noise"]) == ([48, 40], 1)
    assert found["end"]["compute_busy"] is None
    assert [json.loads(line) for line in (folder / "r.jsonl").read_text().splitlines()] == [file]
    said_bytes = subprocess.run(
        [WAIFU2X, *FAST, "in.png", "-", "--report", "s.jsonl"],
        cwd=folder, capture_output=True, timeout=300,
    )  # fmt: skip
    (line,) = (folder / "s.jsonl").read_text().splitlines()
    assert said_bytes.stdout.startswith(b"\x89PNG")
    assert (json.loads(line)["input"], json.loads(line)["output"]) == ("in.png", None)


def test_nothing_is_invented(folder: Path) -> None:
    waifu2x("in.png", "out.png", cwd=folder)
    for args in (
        ["in.png", "out.png", "--resume"],
        ["in.png", "same.png", "-s", "1"],
        ["gone.png", "gone2.png"],
    ):
        code = int("gone.png" in args)
        said = waifu2x(*args, "--progress", "json", "--verbose", cwd=folder, code=code)
        assert checked_events(said.stdout, ENDS)["end"]["compute_busy"] is None
        assert "a network ran" not in said.stderr


def test_failures_of_one_file_are_events(folder: Path) -> None:
    (folder / "bad.png").write_text("no picture")
    said = waifu2x("bad.png", "out.png", "--progress", "json", "--report", "r.jsonl", cwd=folder,
                   code=1)  # fmt: skip
    found = checked_events(said.stdout, ENDS)
    assert said.stderr == ""
    assert "not a picture" in found["file"]["error"]
    assert (found["end"]["failed"], found["end"]["exit_code"]) == (1, 1)
    assert json.loads((folder / "r.jsonl").read_text())["status"] == "failed"
    said = waifu2x("in.png", "in.jpg", "--progress", "json", cwd=folder, code=1)
    assert "--overwrite" in checked_events(said.stdout, ENDS)["file"]["error"]


# --- the bar ----------------------------------------------------------------------------------

ODD = "[group] a :smile: [bold]x.png"


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_the_bar_shows_names_as_they_are_on_one_line(folder: Path, columns: int) -> None:
    (folder / "many").mkdir()
    for place in (folder, folder / "many"):
        art.anime_face(900, 900).save(place / ODD)  # takes longer than an update of the bar
    for args in ([f"./{ODD}", "out.png"], ["many", "out"]):
        code, _, shown = on_terminal(*FAST, *args, cwd=folder, columns=columns)
        assert code == 0
        lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]", shown)]
        assert max(map(len, lines)) < columns
        assert any("%" in line and "[gr" in line for line in lines), lines
        assert "😄" not in shown
    if columns == 120:
        assert any(ODD in line for line in lines)


def test_no_bar_and_no_stray_line_without_a_terminal_that_can_show_it(folder: Path) -> None:
    result = waifu2x("in.png", "out.png", "--progress", "bar", cwd=folder)
    assert result.stderr == ""
    for extra, term in (([], "dumb"), (["--progress", "bar"], "dumb"), (["--quiet"], "xterm")):
        args = ["in.png", "out.png", "--overwrite", *extra]
        code, _, shown = on_terminal(*FAST, *args, cwd=folder, term=term)
        assert (code, shown) == (0, "")


# --- signals ----------------------------------------------------------------------------------


def stage(name: str, folder: Path) -> list[str]:
    """Arguments of a run that spends seconds in one stage."""
    if name == "decode":
        os.mkfifo(folder / "fifo.png")  # opening waits for a writer
        return ["fifo.png", "out.png"]
    if name == "compute":
        art.anime_face(700, 700).save(folder / "large.png")
        return ["large.png", "out.png", "-s", "8", "-m", "cunet"]
    Image.effect_noise((2400, 2400), 90).save(folder / "noise.png")
    return ["noise.png", "out.avif", "-s", "1"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("name", ["decode", "compute", "encode"])
def test_a_signal_stops_one_file_at_once(
    folder: Path, name: str, number: signal.Signals, code: int
) -> None:
    args = stage(name, folder)
    before = names(folder)
    process = started(args, folder)
    writer = None
    if name == "decode":
        writer = wait_for_reader(process, folder / "fifo.png")
    else:
        wait_for_temporary(process, folder)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    if writer is not None:
        os.close(writer)
    assert (process.returncode, out, err) == (code, b"", b"")
    assert names(folder) == before


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("target", ["-", "out.png"])
def test_a_signal_stops_a_pipe_at_once(
    folder: Path, number: signal.Signals, code: int, target: str
) -> None:
    art.anime_face(700, 700).save(folder / "large.png")
    before = names(folder)
    with (folder / "large.png").open("rb") as stream:
        args = ["-", target, "-s", "8", "-m", "cunet", "--verbose"]
        process = started(args, folder, stdin=stream)
    wait_for(process.stderr, "pass over")  # the work has begun
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, b"")
    assert b"Traceback" not in err
    assert b"Error" not in err
    assert names(folder) == before


def started(args: list[str], folder: Path, stdin: Any = None) -> subprocess.Popen[bytes]:
    """Start the command with the default reactions to signals."""
    default = (
        "import os, signal, sys\n"
        "for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):\n"
        "    signal.signal(each, signal.SIG_DFL)\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    return subprocess.Popen(
        [sys.executable, "-c", default, WAIFU2X, *FAST, *args],
        cwd=folder, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        bufsize=0,
    )  # fmt: skip


def wait_for_temporary(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until the temporary file of the result exists: the picture has been decoded."""
    while not any(path.suffix == ".tmp" for path in folder.iterdir()):
        assert process.poll() is None
        time.sleep(0.01)


def wait_for_reader(process: subprocess.Popen[bytes], fifo: Path) -> int:
    """Wait until the process reads ``fifo``; returns the end for writing, which keeps it open."""
    while True:
        assert process.poll() is None
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads yet
            time.sleep(0.01)


# --- words and names ----------------------------------------------------------------------------


def test_words_may_be_written_in_any_case(folder: Path) -> None:
    waifu2x("in.png", "out.png", "-m", "UPCONV_7", "-n", "None", "-e", "NATIVE", cwd=folder)


def test_a_name_in_brackets_is_a_file_unless_it_matches_others(folder: Path) -> None:
    (folder / "in.png").rename(folder / "[Group] a.png")
    said = waifu2x("[Group] a.png", cwd=folder).stdout
    assert said.startswith("[Group] a_waifu2x.png: ")
    (folder / "in.jpg").rename(folder / "i.jpg")
    assert waifu2x("[hi].jpg", "big", cwd=folder).stdout.startswith("big/i.png: ")


def test_an_existing_file_is_no_list(folder: Path) -> None:
    (folder / "in.png").rename(folder / "@a.png")
    waifu2x("@a.png", cwd=folder)
    waifu2x("@a.png", "in.jpg", "big", cwd=folder)
    assert names(folder / "big") == ["@a.png", "in.png"]


def test_a_pipe_is_called_standard_input(folder: Path) -> None:
    result = command.waifu2x("-", "out.png", cwd=folder, data="")
    assert result.stderr == "Error: standard input is empty (0 bytes); copy or download it again\n"


def test_results_next_to_their_inputs_are_never_inputs(folder: Path) -> None:
    """Another format, and inputs that come and go, change the names of results."""
    waifu2x(".", ".", "-f", "webp", cwd=folder)
    art.anime_face(24, 20).save(folder / "in.bmp")
    waifu2x(".", ".", "--overwrite", cwd=folder)
    (folder / "in.jpg").unlink()
    waifu2x(".", ".", "--overwrite", cwd=folder)
    assert not [name for name in names(folder) if name.count("_waifu2x") > 1]
    waifu2x("in_png_waifu2x.png", cwd=folder)  # named: an input
    assert "in_png_waifu2x_waifu2x.png" in names(folder)
