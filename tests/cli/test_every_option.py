"""Every option of every command has the effect that its help describes."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx
import numpy as np
import onnx
import pytest
from helpers import art
from helpers.command import importable, on_terminal, started, waifu2x, wait_for
from helpers.server import client, picture, process
from helpers.server import wait_for as wait_until
from helpers.trainings import tiny_training
from helpers.weight_files import compact_file
from PIL import Image, PngImagePlugin

from waifu2x import Upscaler, __version__
from waifu2x.cli import main
from waifu2x.network.readers.safetensors import parse_safetensors

#: Records the options of the first `waifu2x.Upscaler` that the command creates.
RECORDER = """
import dataclasses, json, os, waifu2x

create, load = waifu2x.Upscaler.__init__, waifu2x.Upscaler.from_options.__func__

def record(upscaler):
    try:
        with open(os.environ["RECORD"], "x") as file:
            json.dump(dataclasses.asdict(upscaler.options), file)
    except FileExistsError:
        pass

def created(self, *values, **options):
    create(self, *values, **options)
    record(self)

def loaded(cls, options):
    upscaler = load(cls, options)
    record(upscaler)
    return upscaler

waifu2x.Upscaler.__init__ = created
waifu2x.Upscaler.from_options = classmethod(loaded)
"""


#: Two ways to run the main command; all options apply to both.
MODES = ("one file", "many files")


def declared() -> set[tuple[str, str]]:
    """The options of all commands."""
    commands = {**dict.fromkeys(MODES, main), **main.commands}
    return {
        (command, str(option.name))
        for command, each in commands.items()
        for option in each.params
        if isinstance(option, click.Option)
    }


@dataclass
class Done:
    code: int
    out: str
    err: str
    files: dict[str, bytes]
    folder: Path

    @property
    def target(self) -> Path:
        """The path of the only result."""
        assert self.code == 0, self.err
        (name,) = self.files
        return self.folder / name

    @property
    def array(self) -> np.ndarray:
        with Image.open(self.target) as image:
            return np.asarray(image)

    @property
    def size(self) -> tuple[int, int]:
        with Image.open(self.target) as image:
            return image.size


#: The pictures in the folder ``in``.
ALL = ["1.png", "2.png", "3.png", "sub/4.png", "sub/5.png"]


class Command:
    """``waifu2x INPUT OUTPUT``, where INPUT is a file, or a folder that holds only that file."""

    model = ("-m", "upconv_7")

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self._done: dict[tuple[str, ...], Done] = {}
        self._shown: dict[tuple[str, ...], str] = {}
        self._runs = 0

    def into(self, target: str, *options: str, source: str = "in.png") -> Done:
        """Upscale ``source`` into the folder ``target``."""
        out = self.folder / target
        out.mkdir(exist_ok=True)
        done = waifu2x(*self.arguments(source, target, *options), cwd=self.folder)
        return finished(out, done)

    def __call__(self, *options: str, source: str = "in.png") -> Done:
        """Upscale ``source`` into a separate folder; the result is cached for all cases."""
        key = (source, *options)
        if key not in self._done:
            self._done[key] = self.into(self.new(), *options, source=source)
        return self._done[key]

    def on_terminal(self, *options: str) -> str:
        """Return the terminal text of a run, without standard output."""
        if options not in self._shown:
            arguments = self.arguments("in.png", self.new(), *options)
            code, out, self._shown[options] = on_terminal(*arguments, cwd=self.folder)
            assert code == 0
            assert bool(out) == ("--quiet" not in options)
        return self._shown[options]

    def recorded(self, *options: str) -> dict[str, object]:
        """Return the options of the upscaler that the command creates."""
        site = self.folder / "site"
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(RECORDER)
        record = self.folder / f"{self.new()}.json"
        done = waifu2x(
            *self.arguments("in.png", self.new(), *options),
            cwd=self.folder,
            env={**importable(site), "RECORD": str(record)},
        )
        assert done.returncode == 0, done.stderr
        made: dict[str, object] = json.loads(record.read_text())
        return made

    def arguments(self, source: str, target: str, *options: str) -> list[str]:
        (self.folder / target).mkdir(exist_ok=True)
        model = () if {"-m", "--model"} & set(options) else self.model
        return [self.given(source), target, *model, *options]

    def given(self, source: str) -> str:
        """The input that stands for ``source``."""
        path = self.folder / source
        if self.name == "one file" or path.is_dir():
            return source
        folder = self.folder / f"{source} alone"
        folder.mkdir(exist_ok=True)
        if not (folder / source).exists():
            shutil.copy2(path, folder)
        return folder.name

    def path(self, source: str) -> Path:
        """The file that is read for ``source``."""
        given = self.folder / self.given(source)
        return given / source if given.is_dir() else given

    def new(self) -> str:
        self._runs += 1
        return f"out{self._runs}"


def finished(out: Path, done: subprocess.CompletedProcess[str]) -> Done:
    files = {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }
    return Done(done.returncode, done.stdout, done.stderr, files, out)


Case = Callable[[Command], None]
CASES: dict[str, tuple[str, Case]] = {}
SHOWN: set[tuple[str, str]] = set()


def shows(*options: str, of: tuple[str, ...] = MODES) -> Callable[[Case], Case]:
    """Register a test of these options."""

    def declare(case: Case) -> Case:
        for command in of:
            for option in options:
                assert (command, option) not in SHOWN
                SHOWN.add((command, option))
            CASES[f"{command} {' '.join(options)}"] = (command, case)
        return case

    return declare


@functools.cache
def expected(
    source: str = "in.png",
    noise: float | None = None,
    strength: float = 1,
    color_fix: bool = False,
    **options: object,
) -> np.ndarray:
    """Return the result of `waifu2x.Upscaler` for the input picture of all runs."""
    upscaler = Upscaler(**{"model": "upconv_7", **options})  # type: ignore[arg-type]
    return upscaler.upscale(
        np.asarray(art.anime_face(24, 20)), noise=noise, strength=strength, color_fix=color_fix
    )


# --- options for each picture


@shows("scale")
def _(run: Command) -> None:
    assert run().size == (48, 40)
    assert run("-s", "3").size == (72, 60)


@shows("width", "height")
def _(run: Command) -> None:
    assert run("--width", "60").size == (60, 50)
    assert run("--height", "60").size == (72, 60)
    assert run("--width", "30", "--height", "31").size == (30, 31)


@shows("noise")
def _(run: Command) -> None:
    results = [run("-n", level, source="in.jpg").array.tobytes() for level in ("none", "1", "3")]
    assert len(set(results)) == 3
    assert run(source="in.jpg").array.tobytes() == results[1], "level 1 by its quality"
    assert run("-n", "3").array.tobytes() == expected(noise=3).tobytes()
    assert run("-n", "3.0").array.tobytes() == expected(noise=3).tobytes()
    assert run("-n", "1.5").array.tobytes() == expected(noise=1.5).tobytes()
    named = run("-n", "1.5", "--name", "{stem}_{noise}{ext}") if run.name == MODES[1] else None
    assert named is None or named.target.name == "in_1.5.png"


@shows("strength")
def _(run: Command) -> None:
    for strength in (0, 0.7):
        made = run("--strength", str(strength)).array.tobytes()
        assert made == expected(strength=strength).tobytes() != expected().tobytes()
    assert run("--strength", "1").array.tobytes() == expected().tobytes()


@shows("color_fix")
def _(run: Command) -> None:
    made = run("--color-fix").array.tobytes()
    assert made == expected(color_fix=True).tobytes() != expected().tobytes()


@shows("model")
def _(run: Command) -> None:
    assert expected().tobytes() != expected(model="upconv_7_photo").tobytes()
    for model in ("upconv_7", "upconv_7_photo"):
        assert run("-m", model).array.tobytes() == expected(model=model).tobytes()
    file = run.folder / "own.pth"
    compact_file(file, seed=0)
    assert run("-m", "own.pth").array.tobytes() == expected(model=str(file)).tobytes()


@shows("engine", "fp32", "tile", "threads")
def _(run: Command) -> None:
    """These options change no pixels; their effect is covered by the tests of the engines."""
    names = ("engine", "precision", "tile", "threads")
    given = run.recorded()
    assert [given[name] for name in names] == ["auto", "auto", 0, None]
    given = run.recorded("-e", "onnx", "--fp32", "-t", "8", "--threads", "3")
    assert [given[name] for name in names] == ["onnx", "fp32", 8, 3]


@shows("device")
def _(run: Command) -> None:
    done = run("-e", "native", "-d", "cuda:0")
    assert (done.code, done.files) == (2, {})
    assert "'cuda:0'" in done.err


@shows("tta")
def _(run: Command) -> None:
    assert run().array.tobytes() == expected().tobytes()
    assert run("-x").array.tobytes() == expected(tta=True).tobytes()
    assert expected().tobytes() != expected(tta=True).tobytes()


@shows("format")
def _(run: Command) -> None:
    for name, magic in (("webp", b"RIFF"), ("tiff", b"II*\0"), ("jpeg", b"\xff\xd8")):
        (data,) = run("-f", name).files.values()
        assert data.startswith(magic)


@shows("quality")
def _(run: Command) -> None:
    sizes = [len(*run("-f", "jpeg", "-q", q).files.values()) for q in ("20", "90")]
    assert sizes == sorted(set(sizes))


@shows("depth")
def _(run: Command) -> None:
    depths = [run(*options).target.read_bytes()[24] for options in ([], ["--depth", "16"])]
    assert depths == [8, 16]


@shows("strip")
def _(run: Command) -> None:
    texts = [Image.open(run(*options).target).info.get("Title") for options in ([], ["--strip"])]
    assert texts == ["a face", None]


def video(run: Command, name: str, *, codec: str = "libx264", params: str = "") -> str:
    """Make a Matroska file of 12 frames in 3 s, almost equal ones, with an attachment."""
    av = pytest.importorskip("av", reason="PyAV (extra video) is not installed")
    path = run.folder / name
    if not path.exists():
        noise = np.random.default_rng(1)
        still = np.asarray(art.anime_face(40, 36))
        with av.open(str(path), "w", format="matroska") as container:
            stream = container.add_stream(codec, rate=4)
            stream.width, stream.height, stream.pix_fmt = 40, 36, "yuv444p"
            stream.options = {"x264-params": params} if params else {}
            container.add_attachment("font.ttf", "font/ttf", b"font")
            for _ in range(12):
                moved = still.astype(int) + (noise.random(still.shape) < 0.2)
                image = np.clip(moved, 0, 255).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
            container.mux(stream.encode(None))
    return name


@shows("codec", "crf", "preset")
def _(run: Command) -> None:
    source = video(run, "in.mkv")
    results = [
        run("-s", "1", *options, source=source)
        for options in (
            ("--crf", "10", "--preset", "ultrafast"),
            ("--crf", "40", "--preset", "ultrafast"),
            ("--codec", "ffv1"),
        )
    ]
    assert "x264 crf 10 preset ultrafast" in results[0].out
    assert "FFV1" in results[2].out
    sizes = [len(each.target.read_bytes()) for each in results]
    assert sizes[1] < sizes[0] < sizes[2]
    assert b"V_FFV1" in results[2].target.read_bytes()


@shows("deinterlace")
def _(run: Command) -> None:
    source = video(run, "combed.mkv", params="tff=1")
    refused = run("-s", "1", source=source)
    assert (refused.code, refused.files) == (1, {})
    assert "is interlaced; deinterlace it with --deinterlace bwdif" in refused.err
    for how in ("bwdif", "off"):
        assert "12 frames" in run("-s", "1", "--deinterlace", how, source=source).out


@shows("exact")
def _(run: Command) -> None:
    source = video(run, "noisy.mkv", codec="ffv1")
    assert "of the tiles reused" in run(source=source).out
    assert "reused" not in run("--exact", source=source).out


@shows("start", "end")
def _(run: Command) -> None:
    source = video(run, "in.mkv")
    assert "; 8 frames" in run("-s", "1", "--start", "1", source=source).out
    assert "; 6 frames" in run("-s", "1", "--end", "0:01.5", source=source).out


@shows("drop_streams")
def _(run: Command) -> None:
    source = video(run, "matroska.mp4")
    refused = run("-s", "1", source=source)
    assert (refused.code, refused.files) == (1, {})
    assert "MP4 cannot hold stream 1 (attachment" in refused.err
    assert "--drop-streams" in refused.err
    assert "left out: stream 1" in run("-s", "1", "--drop-streams", source=source).out


@shows("keep_times")
def _(run: Command) -> None:
    now = int(time.time())
    times = (now + 3600, now - 7200)  # reading does not change an access time in the future
    os.utime(run.path("in.png"), times)
    for options in (["--keep-times"], ["--keep-times", "--progress", "json"]):
        target = run.folder / run.new()
        arguments = run.arguments("in.png", target.name, *options)
        assert waifu2x(*arguments, cwd=run.folder).returncode == 0
        (made,) = target.iterdir()
        status = made.stat()
        assert (int(status.st_atime), int(status.st_mtime)) == times
    assert run().target.stat().st_mtime > times[1] + 3600


@shows("overwrite")
def _(run: Command) -> None:
    out = run.new()
    first = run.into(out)
    refused = run.into(out, "-n", "3")
    assert refused.code == 1
    assert refused.files == first.files
    replaced = run.into(out, "-n", "3", "--overwrite")
    assert replaced.code == 0
    assert replaced.files.keys() == first.files.keys()
    assert replaced.files != first.files


@shows("quiet")
def _(run: Command) -> None:
    assert run().out
    assert "%" in run.on_terminal("--progress", "bar")
    assert run.on_terminal("--quiet") == ""


@shows("verbose")
def _(run: Command) -> None:
    assert run().err == ""
    assert "24x20 px" in run("--verbose").err


@shows("skip_larger")
def _(run: Command) -> None:
    assert run("--skip-larger", "24x20").files
    for size in ("23x20", "24x19"):
        done = run("--skip-larger", size)
        assert (done.code, done.files) == (0, {})


@shows("strict")
def _(run: Command) -> None:
    with zipfile.ZipFile(run.folder / "in.cbz", "w") as archive:
        archive.write(run.folder / "in.png", "1.png")
        archive.writestr("2.png", b"")
    lenient = run(source="in.cbz")
    assert (lenient.code, list(lenient.files)) == (1, ["in.cbz"])
    assert "2.png" in lenient.err
    strict = run("--strict", source="in.cbz")
    assert (strict.code, strict.files) == (1, {})


@shows("progress")
def _(run: Command) -> None:
    events = [json.loads(line)["event"] for line in run("--progress", "json").out.splitlines()]
    assert (events[0], events[-1]) == ("start", "end")
    assert "file" in events
    assert "%" in run.on_terminal("--progress", "bar")
    assert "%" not in run.on_terminal("--progress", "none")
    assert "%" in run.on_terminal("--progress", "bar", "--quiet")


# --- options for many files


@shows("recursive", of=("many files",))
def _(run: Command) -> None:
    assert [*run(source="in").files] == ALL[:3]
    assert [*run("-r", source="in").files] == ALL


@shows("include", "exclude", of=("many files",))
def _(run: Command) -> None:
    assert [*run("-r", "--include", "[14].png", source="in").files] == ["1.png", "sub/4.png"]
    assert [*run("-r", "--exclude", "[14].png", source="in").files] == [ALL[1], ALL[2], ALL[4]]


@shows("name", of=("many files",))
def _(run: Command) -> None:
    done = run("--name", "{stem}-{scale}{ext}", source="in")
    assert [*done.files] == ["1-2.png", "2-2.png", "3-2.png"]


@shows("resume", of=("many files",))
def _(run: Command) -> None:
    out = run.new()
    first = run.into(out, source="in")
    kept, lost = (first.folder / name for name in ("1.png", "2.png"))
    lost.unlink()
    before = kept.stat().st_ino
    resumed = run.into(out, "--resume", source="in")
    assert (resumed.code, resumed.files) == (0, first.files)
    assert kept.stat().st_ino == before
    assert run.into(out, source="in").code == 1


@shows("shard", of=("many files",))
def _(run: Command) -> None:
    parts = [[*run("-r", "--shard", f"{k}/2", source="in").files] for k in (1, 2)]
    assert all(parts)
    assert sorted(parts[0] + parts[1]) == ALL


@shows("recursive", "include", "exclude", of=("one file",))
def _(run: Command) -> None:
    """A file that is named is always taken."""
    files = run().files
    assert run("-r", "--include", "x*", "--exclude", "in*").files == files


@shows("name", of=("one file",))
def _(run: Command) -> None:
    assert [*run("--name", "{stem}-{scale}{ext}").files] == ["in-2.png"]


@shows("resume", of=("one file",))
def _(run: Command) -> None:
    out = run.new()
    first = run.into(out)
    before = first.target.stat().st_ino
    resumed = run.into(out, "--resume")
    assert (resumed.code, resumed.files) == (0, first.files)
    assert resumed.target.stat().st_ino == before
    later = time.time() + 60
    changed = run.folder / "changed.png"
    shutil.copy(run.path("in.jpg"), changed)
    run.into(out, source="changed.png")
    before = (run.folder / out / "changed.png").stat().st_ino
    os.utime(changed, (later, later))
    assert run.into(out, "--resume", source="changed.png").code == 0
    assert (run.folder / out / "changed.png").stat().st_ino != before


@shows("shard", of=("one file",))
def _(run: Command) -> None:
    parts = [len(run("--shard", f"{k}/2").files) for k in (1, 2)]
    assert sorted(parts) == [0, 1]


@shows("memory")
def _(run: Command) -> None:
    assert run.recorded()["run_memory"] is None
    limit = run.recorded("--memory", "3G")["run_memory"]
    assert isinstance(limit, int)
    assert 0 < limit < 3 << 30
    assert run("--memory", "9").code == 1


@shows("report")
def _(run: Command) -> None:
    report = run.folder / f"{run.new()}.jsonl"
    for source in ("in.png", "in"):
        done = run("--report", report.name, source=source)
        lines = report.read_text().splitlines()
        assert [Path(json.loads(line)["input"]).name for line in lines]
        names = sorted(Path(json.loads(line)["output"]).name for line in lines)
        assert names == sorted(done.files)
        report.unlink()


@shows("cluster")
def _(run: Command) -> None:
    done = run("--cluster", "nowhere://1")
    assert (done.code, done.files) == (1, {})
    # Without Dask, the message describes how to install Dask.
    assert "'nowhere://1'" in done.err or "[cluster]" in done.err


@shows("inputs", "outputs")
def _(run: Command) -> None:
    plain = run()
    out = run.new()
    (run.folder / out).mkdir()
    given = run.given("in.png")
    for arguments in (["-i", given, "-o", out], [given, "-o", out], ["-i", given, out]):
        done = waifu2x(*arguments, *run.model, "--overwrite", cwd=run.folder)
        assert finished(run.folder / out, done).array.tobytes() == plain.array.tobytes()


@shows("version")
def _(run: Command) -> None:
    for option in ("-V", "--version"):
        done = waifu2x(*run.arguments("in.png", run.new(), option), cwd=run.folder)
        assert done.stdout == f"waifu2x, version {__version__}\n"


@shows(
    "help",
    of=(
        *MODES,
        "models",
        "devices",
        "info",
        "export",
        "convert",
        "merge",
        "train",
        "serve",
        "compare",
        "rate",
        "doctor",
        "completion",
    ),
)
def _(run: Command) -> None:
    command = [] if run.name in MODES else [run.name]
    for option in ("-h", "--help"):
        done = waifu2x(*command, option, cwd=run.folder)
        assert done.stdout.startswith(" ".join(["Usage: waifu2x", *command]))
        assert done.returncode == 0


# --- the other commands


def described(run: Command, *options: str) -> Any:
    done = waifu2x("info", "cunet", "--json", *options, cwd=run.folder)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@shows("scales", "levels", "no_measure", of=("info",))
def _(run: Command) -> None:
    def networks(*options: str) -> list[tuple[int, int | None]]:
        found = described(run, "--no-measure", *options)["networks"]
        assert not any("flat" in network for network in found)
        return [(network["scale"], network["noise"]) for network in found]

    every = networks()
    assert len(every) == 9
    assert networks("-s", "1") == [each for each in every if each[0] == 1]
    assert networks("-n", "none", "-n", "3") == [(1, 3), (2, None), (2, 3)]
    measured = described(run, "-s", "2", "-n", "none")["networks"][0]
    assert measured["seconds_per_megapixel"] > 0
    assert [*measured["flat"]] == ["0", "128", "255"]


@shows("as_json", of=("info",))
def _(run: Command) -> None:
    facts = described(run, "-s", "2", "-n", "none")
    plain = waifu2x("info", "cunet", "-s", "2", "-n", "none", cwd=run.folder).stdout
    network = facts["networks"][0]
    for text in (facts["license"], facts["source"], network["files"][0]["sha256"], "2x none"):
        assert text in plain
    assert facts["engines"]["native"] is None
    assert "native, onnx" in plain


@shows("model", "threads", "again", "as_json", of=("devices",))
def _(run: Command) -> None:
    def found(*options: str) -> dict[str, Any]:
        done = waifu2x("devices", *options, "--json", cwd=run.folder)
        assert (done.returncode, done.stderr) == (0, "")
        facts: dict[str, Any] = json.loads(done.stdout)
        return facts

    first = found("-m", "upconv_7", "--threads", "1")
    assert first["model"] == "upconv_7"
    assert first["devices"][0]["name"].endswith(", 1 thread")
    plain = waifu2x("devices", "-m", "upconv_7", cwd=run.folder).stdout
    tested = [each for each in first["devices"] if each["passed"] is not None]
    for each in tested:
        assert each["device"] in plain
    again = found("-m", "upconv_7", "--again")["devices"]
    assert [each["device"] for each in again] == [each["device"] for each in first["devices"]]
    known = found("-m", "upconv_7")["devices"]
    for before, new, kept in zip(first["devices"][1:], again[1:], known[1:], strict=True):
        if before["passed"] is not None:
            assert before["seconds"] != new["seconds"] == kept["seconds"]


@shows("as_json", of=("doctor",))
def _(run: Command) -> None:
    plain, facts = (waifu2x("doctor", *option, cwd=run.folder) for option in ([], ["--json"]))
    assert (plain.returncode, plain.stderr) == (facts.returncode, facts.stderr) == (0, "")
    found = json.loads(facts.stdout)
    assert found.pop("problems") == []
    names = [row["name"] for rows in found.values() for row in rows]
    lines = [line for line in plain.stdout.splitlines() if line.startswith("- ")]
    assert [line[2:].split(": ")[0] for line in lines] == names


@shows("as_json", of=("models",))
def _(run: Command) -> None:
    plain, facts = (
        waifu2x("models", *option, cwd=run.folder).stdout for option in ([], ["--json"])
    )
    assert plain.startswith("model ")
    assert [each["name"] for each in json.loads(facts)] == [
        line.split()[0] for line in plain.partition("\n\n")[0].splitlines()[1:]
    ]


def exported(run: Command, *options: str) -> onnx.ModelProto:
    """Run `waifu2x export`, or `waifu2x convert` on an exported network."""
    name = f"{run.new()}.onnx"
    if run.name == "convert":
        source = run.folder / "upconv_7.safetensors"
        if not source.exists():
            waifu2x("export", "-m", "upconv_7", source.name, cwd=run.folder)
        done = waifu2x("convert", source.name, name, *options, cwd=run.folder)
    else:
        model = [] if "-m" in options else ["-m", "upconv_7"]
        done = waifu2x("export", name, *model, *options, cwd=run.folder)
    assert done.returncode == 0, done.stderr
    return onnx.load(run.folder / name)


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def weights(model: onnx.ModelProto) -> set[tuple[int, bytes]]:
    return {(each.data_type, onnx.numpy_helper.to_array(each).tobytes())
            for each in model.graph.initializer}  # fmt: skip


@shows("model", "scale", of=("export",))
def _(run: Command) -> None:
    assert metadata(exported(run))["scale"] == "2"
    one = exported(run, "-m", "cunet", "-s", "1", "-n", "0")
    assert metadata(one)["scale"] == "1"
    assert metadata(one)["margin"] != metadata(exported(run))["margin"]


@shows("noise", of=("export",))
def _(run: Command) -> None:
    made = [weights(exported(run, "-n", level)) for level in ("none", "0", "3")]
    assert made[0] != made[1] != made[2] != made[0]
    assert made[0] == weights(exported(run))


@shows("fp16", of=("export", "convert"))
def _(run: Command) -> None:
    full, half = (exported(run, *options).ByteSize() for options in ([], ["--fp16"]))
    assert half < 0.6 * full


@shows("opset", of=("export", "convert"))
def _(run: Command) -> None:
    for opset in (13, 20):
        versions = {each.domain: each.version for each in
                    exported(run, "--opset", str(opset)).opset_import}  # fmt: skip
        assert versions[""] == opset


@shows("size", of=("export", "convert"))
def _(run: Command) -> None:
    sides = [
        [
            side.dim_value
            for side in exported(run, *options).graph.input[0].type.tensor_type.shape.dim
        ]
        for options in ([], ["--static", "40x64"])
    ]
    assert sides[1] == [1, 3, 40, 64]
    assert sides[0] != sides[1]


@shows("overwrite", of=("export",))
def _(run: Command) -> None:
    target = run.folder / "kept.onnx"
    target.write_bytes(b"kept")
    refused = waifu2x("export", "-m", "upconv_7", target.name, cwd=run.folder)
    assert refused.returncode == 1
    assert target.read_bytes() == b"kept"
    replaced = waifu2x("export", "-m", "upconv_7", target.name, "--overwrite", cwd=run.folder)
    assert replaced.returncode == 0
    assert onnx.load(target).graph.node


@shows("overwrite", of=("convert",))
def _(run: Command) -> None:
    assert exported(run).graph.node
    source, target = "upconv_7.safetensors", run.folder / "kept.param"
    target.with_suffix(".bin").write_bytes(b"kept")
    refused = waifu2x("convert", source, target.name, cwd=run.folder)
    assert refused.returncode == 1
    assert "kept.bin exists already" in refused.stderr
    assert not target.exists()
    replaced = waifu2x("convert", source, target.name, "--overwrite", cwd=run.folder)
    assert replaced.stdout == (
        f"{target.name}: {source} 2x, margin 7, alignment 1, the same weights\n"
    )
    assert target.read_text().startswith("7767517\n")
    assert target.with_suffix(".bin").stat().st_size > 1e6


def merged(run: Command, *options: str, parents: tuple[str, ...] = ("a", "b")) -> bytes:
    """Merge a.pth and b.pth; return the safetensors file."""
    for seed, name in enumerate(("o", "a", "b")):
        compact_file(run.folder / f"{name}.pth", seed=seed)
    name = f"{run.new()}.safetensors"
    weights = [] if {"-w", "--weights"} & set(options) else ["-w", ",".join("1" for _ in parents)]
    files = [f"{parent}.pth" for parent in parents]
    done = waifu2x("merge", *files, "-o", name, *weights, *options, cwd=run.folder)
    assert done.returncode == 0, done.stderr
    return (run.folder / name).read_bytes()


def tensors_of(data: bytes) -> dict[str, np.ndarray]:
    return dict(parse_safetensors(data))


BASE = ("--base", "o.pth")


@shows("weights", of=("merge",))
def _(run: Command) -> None:
    assert merged(run) == merged(run, "--weights", "1,1")
    assert tensors_of(merged(run, "-w", "0.75,0.25"))["body.0.weight"] == pytest.approx(
        0.75 * tensors_of(merged(run, "-w", "1,0"))["body.0.weight"]
        + 0.25 * tensors_of(merged(run, "-w", "0,1"))["body.0.weight"],
        abs=1e-6,
    )


@shows("target", of=("merge",))
def _(run: Command) -> None:
    merged(run)
    done = waifu2x("merge", "a.pth", "b.pth", "--output", "x.onnx", "-w", "1,1", cwd=run.folder)
    assert done.returncode == 0, done.stderr
    assert onnx.load(run.folder / "x.onnx").graph.node


@shows("method", "base", of=("merge",))
def _(run: Command) -> None:
    made = [
        merged(run),
        merged(run, "--method", "slerp"),
        *(merged(run, "--method", name, *BASE) for name in ("task", "ties", "dare")),
        merged(run, "--method", "task", "--base", "a.pth"),
    ]
    whole = [tensors_of(each)["body.0.weight"].tobytes() for each in made]
    assert whole[2] == whole[4], "dare without dropping is task arithmetic"
    assert len({each for index, each in enumerate(whole) if index != 4}) == 5
    assert merged(run) == made[0]


@shows("density", of=("merge",))
def _(run: Command) -> None:
    for method in ("ties", "dare"):
        made = [merged(run, "--method", method, *BASE, *more)
                for more in ([], ["--density", "1"], ["--density", "0.2"])]  # fmt: skip
        first, same, less = (tensors_of(each)["body.0.weight"] for each in made)
        base = tensors_of(merged(run, "-w", "1,0", parents=("o", "a")))["body.0.weight"]
        assert np.array_equal(first, same)
        assert np.mean(less != base) < 0.5 < np.mean(first != base)


@shows("seed", of=("merge",))
def _(run: Command) -> None:
    options = ("--method", "dare", *BASE, "--density", "0.5")
    made = [merged(run, *options, *seed)
            for seed in ([], ["--seed", "0"], ["--seed", "1"], ["--seed", "1"])]  # fmt: skip
    assert made[0] == made[1] != made[2] == made[3]


@shows("folder", "jpeg", of=("merge",))
def _(run: Command) -> None:
    merged(run)
    (run.folder / "pictures").mkdir(exist_ok=True)
    art.anime_face(40, 36).save(run.folder / "pictures" / "1.png")
    words = ("merge", "a.pth", "b.pth", "-o", "y.onnx", "-w", "1,1", "--overwrite")
    told = [
        waifu2x(*words, *more, cwd=run.folder).stdout.splitlines()
        for more in ([], ["--eval", "pictures"], ["--eval", "pictures", "--jpeg", "40"])
    ]
    assert [len(lines) for lines in told] == [1, 6, 6]
    assert told[0][0] == told[1][0]
    assert [line.split()[-1] for line in told[1][2:5]] == ["a.pth", "b.pth", "y.onnx"]
    assert told[1][2:5] != told[2][2:5]
    assert told[2][5].endswith(", as JPEG of quality 40")


@shows("overwrite", of=("merge",))
def _(run: Command) -> None:
    merged(run)
    target = run.folder / "kept.onnx"
    target.write_bytes(b"kept")
    words = ("merge", "a.pth", "b.pth", "-o", target.name, "-w", "1,1")
    assert waifu2x(*words, cwd=run.folder).returncode == 1
    assert target.read_bytes() == b"kept"
    assert waifu2x(*words, "--overwrite", cwd=run.folder).returncode == 0
    assert onnx.load(target).graph.node


@shows("folder", "device", of=("train",))
def _(run: Command) -> None:
    tiny_training(run.folder / "net.toml", steps=2)
    for options, folder in (
        ([], "net"),
        (["-o", "other"], "other"),
        (["--output", "third", "-d", "cpu"], "third"),
    ):
        done = waifu2x("train", "net.toml", *options, cwd=run.folder)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"{folder}: step 2 of 2"
        assert "on cpu" in done.stdout
        assert (run.folder / folder / "network.safetensors").is_file()
    done = waifu2x("train", "net.toml", "--device", "cuda:99", cwd=run.folder)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: device 'cuda:99' cannot be used: ")


@shows("watch")
def _(run: Command) -> None:
    if run.name == MODES[0]:
        done = run("--watch")
        assert (done.code, done.files) == (2, {})
        assert done.err == "Error: --watch takes folders, and in.png is none\n"
        return
    process = started("in", "watched", *run.model, "--watch", cwd=run.folder)
    try:
        wait_for(process.stdout, "watched/3.png: ")
        art.anime_face(12, 10).save(run.folder / "in" / "6.png")
        wait_for(process.stdout, "watched/6.png: ")
    finally:
        process.kill()
        process.communicate()
        (run.folder / "in" / "6.png").unlink()


# --- options of compare


def drawn(run: Command, *options: str, source: str = "in.png") -> tuple[list[str], np.ndarray]:
    """Return the output of compare and the sheet."""
    name = f"{run.new()}.png"
    models = () if "-m" in options else ("-m", "upconv_7", "-m", "bicubic")
    done = waifu2x("compare", source, "-o", name, *models, *options, cwd=run.folder)
    assert done.returncode == 0, done.stderr
    with Image.open(run.folder / name) as image:
        return done.stdout.replace(name, "SHEET").splitlines(), np.asarray(image)


@shows("models", "target", of=("compare",))
def _(run: Command) -> None:
    lines, sheet = drawn(run)
    assert lines == ["SHEET: 1 crop of 1 picture, by upconv_7 and bicubic"]
    lines, other = drawn(run, "-m", "bicubic", "-m", "cunet", "--model", "upconv_7")
    assert lines == ["SHEET: 1 crop of 1 picture, by bicubic, cunet and upconv_7"]
    assert other.tobytes() != sheet.tobytes()


@shows("scale", "noise", "crop", "crops", "side", of=("compare",))
def _(run: Command) -> None:
    _, plain = drawn(run)
    assert drawn(run, "-s", "3")[1].tobytes() != plain.tobytes()
    assert drawn(run, "-n", "3")[1].tobytes() != plain.tobytes()
    lines, _ = drawn(run, "--crop", "0,0,9,9", "--crop", "4,4,20,16")
    assert lines[0].startswith("SHEET: 2 crops of 1 picture")
    lines, small = drawn(run, "--crops", "1", "--side", "16")
    assert lines[0].startswith("SHEET: 1 crop of 1 picture")
    assert small.shape != plain.shape


@shows("truth", of=("compare",))
def _(run: Command) -> None:
    (run.folder / "originals").mkdir()
    art.anime_face(48, 40).save(run.folder / "originals" / "in.webp", lossless=True)
    for truth in ("originals", "originals/in.webp"):
        lines, _ = drawn(run, "--truth", truth)
        assert [line.split()[1:] for line in lines[1:]] == [["dB", "upconv_7"], ["dB", "bicubic"]]


@shows("overwrite", of=("compare",))
def _(run: Command) -> None:
    words = ("compare", "in.png", "-m", "upconv_7", "-m", "bicubic", "-o", "kept.png")
    (run.folder / "kept.png").write_bytes(b"kept")
    assert waifu2x(*words, cwd=run.folder).returncode == 1
    assert (run.folder / "kept.png").read_bytes() == b"kept"
    assert waifu2x(*words, "--overwrite", cwd=run.folder).returncode == 0
    with Image.open(run.folder / "kept.png") as image:
        assert image.format == "PNG"


@shows("engine", "device", "fp32", "tile", "threads", of=("compare", "rate"))
def _(run: Command) -> None:
    """The options reach the upscaler, which is created before the picture is found missing."""
    site = run.folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(RECORDER)
    end = {"compare": ("-o", "sheet.png"), "rate": ("--port", "0")}[run.name]
    words = (run.name, "gone", "-m", "bicubic", "-m", "upconv_7", *end)
    for options, expected in (
        ((), ["upconv_7", "auto", None, "auto", 0, None]),
        (("-e", "onnx", "-t", "8", "--threads", "3"), ["upconv_7", "onnx", None, "auto", 8, 3]),
        (
            ("-e", "torch", "-d", "cpu", "--fp32"),
            ["upconv_7", "torch", "cpu", "fp32", 0, None],
        ),
    ):
        record = run.folder / f"{run.new()}.json"
        env = {**importable(site), "RECORD": str(record)}
        done = waifu2x(*words, *options, cwd=run.folder, env=env)
        assert (done.returncode, done.stderr) == (1, "Error: gone does not exist\n")
        made = json.loads(record.read_text())
        names = ("model", "engine", "device", "precision", "tile", "threads")
        assert [made[name] for name in names] == expected
    done = waifu2x(*words, "-e", "native", "-d", "cuda:0", cwd=run.folder)
    assert done.returncode == 2
    assert "'cuda:0'" in done.stderr


# --- options of rate


def asked(run: Command, *options: str, votes: int = 0) -> tuple[dict[str, object], bytes, Path]:
    """Return the first question of rate, its left image, and the file of votes after ``votes``."""
    folder = run.folder / run.new()
    folder.mkdir()
    art.anime_face(24, 20).save(folder / "1.jpg", quality=75)
    models = () if "-m" in options else ("-m", "upconv_7", "-m", "bicubic")
    port = () if "--port" in options else ("--port", "0")
    process = started("rate", folder.name, *models, *port, *options, cwd=run.folder)
    try:
        address = wait_for(process.stdout, "open http://").split()[1]
        while True:
            question = httpx.get(f"{address}api/question").json()
            if question["status"] == "question" and votes == 0:
                break
            if question["status"] == "question":
                data = {"id": question["id"], "vote": "same", "face": False}
                assert httpx.post(f"{address}api/vote", json=data).status_code == 204
                votes -= 1
            elif question["status"] == "done":
                return question, b"", folder
            time.sleep(0.05)
        image = httpx.get(f"{address}api/question/{question['id']}/left.png").content
    finally:
        process.kill()
        process.communicate()
    return {**question, "address": address}, image, folder


@shows("models", "port", "side", "scale", "noise", of=("rate",))
def _(run: Command) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    question, _, _ = asked(run, "--port", str(port))
    assert question["address"] == f"http://127.0.0.1:{port}/"
    assert (question["width"], question["height"]) == (48, 40), "smaller than the side"
    question, _, _ = asked(run, "--side", "16")
    assert (question["width"], question["height"]) == (16, 16)
    question, _, _ = asked(run, "-s", "3")
    assert (question["width"], question["height"]) == (72, 60)
    for level, noise in (("none", None), ("3", 3)):
        _, _, folder = asked(run, "-n", level, "--side", "16", votes=1)
        (line,) = (folder / "votes.jsonl").read_text().splitlines()
        assert json.loads(line)["noise"] == noise
    _, _, folder = asked(run, "-m", "upconv_7", "-m", "bicubic", "--model", "cunet", votes=3)
    lines = (folder / "votes.jsonl").read_text().splitlines()
    assert {frozenset((vote["left"], vote["right"])) for vote in map(json.loads, lines)} == {
        frozenset(pair)
        for pair in (("upconv_7", "bicubic"), ("upconv_7", "cunet"), ("bicubic", "cunet"))
    }


@shows("votes", "report", "plot", of=("rate",))
def _(run: Command) -> None:
    asked(run, "--votes", "mine.jsonl", votes=1)
    done = waifu2x("rate", "in", "--votes", "mine.jsonl", "--report", cwd=run.folder)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "all: 1 vote"
    assert {line.split()[-1] for line in lines[2:4]} == {"upconv_7", "bicubic"}
    words = ("rate", "in", "--votes", "mine.jsonl", "--report", "--plot", "ranks.png")
    assert waifu2x(*words, cwd=run.folder).stdout == done.stdout
    with Image.open(run.folder / "ranks.png") as image:
        assert image.format == "PNG"
    other = waifu2x(*words, "-m", "cunet", "-m", "bicubic", cwd=run.folder)
    assert other.stderr == "Error: votes mine.jsonl hold no vote on these models\n"


# --- waifu2x serve


def posted(url: str, **fields: str) -> httpx.Response:
    with client(url) as http:
        return http.post("/api/upscale", files={"file": picture()}, data=fields)


@shows("host", "port", of=("serve",))
def _(run: Command) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    with process("--host", "localhost", "--port", port, cwd=run.folder) as (url, _):
        assert url.endswith(f":{port}/")
        assert posted(f"http://localhost:{port}/").status_code == 200


@shows("token", of=("serve",))
def _(run: Command) -> None:
    for options, env in ((["--token", "long-secret"], {}), ([], {"WAIFU2X_TOKEN": "long-secret"})):
        with process(*options, cwd=run.folder, env=env) as (url, _), client(url) as http:
            assert http.get("/api/health").status_code == 401
            headers = {"Authorization": "Bearer long-secret"}
            assert http.get("/api/health", headers=headers).status_code == 200


@shows("queue", of=("serve",))
def _(run: Command) -> None:
    with process("--queue", "1", cwd=run.folder) as (url, _):
        assert posted(url).status_code == 200
        port = int(url.rpartition(":")[2].strip("/"))
        with socket.create_connection(("127.0.0.1", port)) as slow:
            head = "POST /page HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nx"
            slow.sendall(head.encode())
            wait_until(lambda: posted(url).status_code == 503)


@shows("max_bytes", "max_pixels", of=("serve",))
def _(run: Command) -> None:
    for options in (["--max-bytes", "1K"], ["--max-pixels", "100"]):
        with process(*options, cwd=run.folder) as (url, _):
            assert posted(url).status_code == 413


def wait_for_files(folder: Path, count: int) -> None:
    wait_until(lambda: len(list(folder.iterdir())) == count)


@shows("cache", of=("serve",))
def _(run: Command) -> None:
    for options, count in (([], 0), (["--cache", "1M"], 1)):
        with process(*options, cwd=run.folder) as (url, server):
            assert posted(url).status_code == 200
            assert posted(url).status_code == 200
            (folder,) = Path(tempfile.gettempdir()).glob(f"waifu2x-serve-{server.pid}-*")
            wait_for_files(folder, count)


@shows("memory", of=("serve",))
def _(run: Command) -> None:
    done = waifu2x("serve", "--memory", "1M", cwd=run.folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: memory is 1 MiB")
    with process("--memory", "2G", cwd=run.folder) as (url, _):
        assert posted(url).status_code == 200


@shows("quiet", of=("serve",))
def _(run: Command) -> None:
    for options, lines in (([], 1), (["--quiet"], 0)):
        with process(*options, cwd=run.folder) as (url, server):
            assert posted(url).status_code == 200
            server.send_signal(signal.SIGTERM)
            _, err = server.communicate(timeout=60)
            assert len(err.splitlines()) == lines


@shows("model", "engine", "device", "fp32", "tile", "threads", of=("serve",))
def _(run: Command) -> None:
    site = run.folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(RECORDER)
    names = ("model", "engine", "precision", "tile", "threads")
    for options, expected_values in (
        ([], ["upconv_7", "auto", "auto", 0, None]),
        (
            ["-m", "cunet", "-e", "onnx", "--fp32", "-t", "8", "--threads", "3"],
            ["cunet", "onnx", "fp32", 8, 3],
        ),
    ):
        record = run.folder / f"{run.new()}.json"
        env = {**importable(site), "RECORD": str(record)}
        with process(*options, cwd=run.folder, env=env):
            made = json.loads(record.read_text())
        assert [made[name] for name in names] == expected_values
    done = waifu2x("serve", "-e", "native", "-d", "cuda:0", cwd=run.folder)
    assert done.returncode == 2
    assert "'cuda:0'" in done.stderr


def test_every_option_has_a_case() -> None:
    assert declared() == SHOWN


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Command]:
    """The commands by name; each has a separate folder with the same inputs."""

    @functools.cache
    def make(name: str) -> Command:
        folder = tmp_path_factory.mktemp(name)
        info = PngImagePlugin.PngInfo()
        info.add_text("Title", "a face")
        art.anime_face(24, 20).save(folder / "in.png", pnginfo=info)
        art.anime_face(24, 20).save(folder / "in.jpg", quality=75)
        (folder / "in" / "sub").mkdir(parents=True)
        for name_in in ALL:
            art.anime_face(12, 10).save(folder / "in" / name_in)
        return Command(name, folder)

    return make


@pytest.mark.parametrize("name", CASES)
def test_option(name: str, runs: Callable[[str], Command]) -> None:
    command, case = CASES[name]
    case(runs(command))


# --- progress


def test_the_time_left_is_what_is_left(tmp_path: Path) -> None:
    """The remaining time depends on each event alone, not on when events arrive."""
    (tmp_path / "in").mkdir()
    for name, side in (("1.png", 16), ("2.png", 288)):
        art.anime_face(side, side).save(tmp_path / "in" / name)
    options = ("-m", "upconv_7", "-x", "-t", "64", "--threads", "1", "--progress", "json")
    process = started("in", "out", *options, cwd=tmp_path)
    assert process.stdout is not None
    checked = 0
    try:
        for line in iter(process.stdout.readline, b""):
            event = json.loads(line)
            if event["event"] != "progress" or not event["ended"]:
                continue
            if not 0.2 < event["share"] < 0.9:
                continue
            seconds = event["ended"] / event["files_per_second"]
            left = seconds * (1 - event["share"]) / event["share"]
            assert event["eta_seconds"] == pytest.approx(left, rel=0.02, abs=0.1)
            checked += 1
            break
    finally:
        process.kill()
        process.communicate()
    assert checked
