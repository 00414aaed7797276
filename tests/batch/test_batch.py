"""Many files from Python: isolation, resuming, names, reports, faults."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import art
from helpers.batch_files import BROKEN, RESULTS, make, tree
from PIL import Image

import waifu2x
from waifu2x import Options, Upscaler, codec, upscale_file, upscale_many
from waifu2x.batch import Batch, BatchOptions, BatchResult, Report, plan_batch
from waifu2x.batch import job as job_module
from waifu2x.errors import (
    ArgumentError,
    DecodeError,
    EncodeError,
    LimitError,
    OutputExistsError,
    Waifu2xError,
)


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler("upconv_7")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    make(tmp_path / "in")
    return tmp_path / "in"


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(8):
        art.anime_face(20 + i, 16).save(folder / f"{i}.png")
    return folder


def by_name(results: Iterator[BatchResult], top: Path) -> dict[str, BatchResult]:
    return {result.source.relative_to(top).as_posix(): result for result in results}


def statuses(results: Iterator[BatchResult]) -> dict[str, str]:
    return {result.source.name: result.status for result in results}


def test_the_good_are_done_and_the_bad_are_named(
    upscaler: Upscaler, library: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    results = by_name(upscale_many(library, out, upscaler=upscaler, recursive=True), library)
    assert list(tree(out)) == RESULTS
    failed = {name: str(one.error) for name, one in results.items() if one.status == "failed"}
    assert failed.keys() == BROKEN.keys()
    for name, part in BROKEN.items():
        assert part in failed[name], name
        assert Path(name).name in failed[name]
    done = {name: one for name, one in results.items() if one.status == "done"}
    assert len(done) == len(RESULTS)
    assert done["face.png"].size_in == (40, 36)
    assert done["face.png"].size_out == (80, 72)
    assert (done["face.jpg"].noise, done["face.jpg"].reason) == (1, "JPEG quality 75")
    assert done["moving.gif"].notes[0] == "3 frames (2 different)"
    assert all(one.seconds >= one.stages.compute > 0 for one in done.values())
    assert codec.decode(out / "deep.png").color.dtype == "uint16"


def test_the_bytes_are_those_of_one_file_at_a_time(
    upscaler: Upscaler, library: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"scale": 3, "noise": 2}
    results = upscale_many(library, tmp_path / "out", upscaler=upscaler, recursive=True, **options)
    for result in results:
        if result.status == "done":
            alone = tmp_path / result.target.name
            upscale_file(result.source, alone, upscaler=upscaler, **options)
            assert alone.read_bytes() == result.target.read_bytes()
            alone.unlink()


def test_a_defect_in_one_file_does_not_stop_the_others(
    upscaler: Upscaler, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = upscaler.pipeline.run

    def broken(picture: Any, *args: Any, **given: Any) -> Any:
        if picture.width == 23:
            raise ZeroDivisionError("oops\nsecond line")
        if picture.width == 24:
            raise MemoryError
        return real(picture, *args, **given)

    monkeypatch.setattr(upscaler.pipeline, "run", broken)
    results = by_name(upscale_many(faces, tmp_path / "out", upscaler=upscaler), faces)
    assert {name for name, one in results.items() if one.error} == {"3.png", "4.png"}
    assert "unexpected ZeroDivisionError: oops second line" in str(results["3.png"].error)
    assert isinstance(results["4.png"].error, LimitError)
    assert len(tree(tmp_path / "out")) == 6


# --- existing results


def test_existing_results_are_kept_and_named(
    upscaler: Upscaler, faces: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "2.png").write_bytes(b"precious")
    results = by_name(upscale_many(faces, out, upscaler=upscaler), faces)
    assert isinstance(results["2.png"].error, OutputExistsError)
    assert "`resume=True`" in str(results["2.png"].error)
    assert (out / "2.png").read_bytes() == b"precious"
    assert sum(one.status == "done" for one in results.values()) == 7
    results = by_name(upscale_many(faces, out, upscaler=upscaler, overwrite=True), faces)
    assert {one.status for one in results.values()} == {"done"}
    assert Image.open(out / "2.png").size == (44, 32)


def test_resuming_opens_nothing_that_is_done_and_redoes_what_is_older(
    upscaler: Upscaler, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    list(upscale_many(faces, out, upscaler=upscaler))
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    art.anime_face(50, 50).save(faces / "3.png")  # newer than its result
    os.utime(faces / "3.png", ns=(before["3.png"] + 1, before["3.png"] + 1))
    (out / "5.png").unlink()
    (out / "6.png").write_bytes(b"")  # never left by a batch; counts as not done
    opened: list[str] = []
    real = codec.opened

    def watched(path: Any, limit: int) -> Any:
        opened.append(Path(path).name)
        return real(path, limit)

    monkeypatch.setattr(job_module.codec, "opened", watched)
    results = statuses(upscale_many(faces, out, upscaler=upscaler, resume=True))
    assert {name for name, status in results.items() if status == "done"} == {
        *("3.png", "5.png", "6.png")
    }
    assert sorted(opened) == ["3.png", "5.png", "6.png"]
    assert set(results.values()) == {"done", "skipped"}
    assert Image.open(out / "3.png").size == (100, 100)
    after = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert all(after[name] == before[name] for name in ("0.png", "1.png", "7.png"))


def test_kept_times_count_as_done(upscaler: Upscaler, faces: Path, tmp_path: Path) -> None:
    for path in faces.iterdir():
        os.utime(path, (1_000_000_000, 1_100_000_000))
    list(upscale_many(faces, tmp_path / "out", upscaler=upscaler, keep_times=True))
    assert {path.stat().st_mtime for path in (tmp_path / "out").iterdir()} == {1_100_000_000}
    results = upscale_many(faces, tmp_path / "out", upscaler=upscaler, keep_times=True, resume=True)
    assert {one.status for one in results} == {"skipped"}


def test_what_killed_runs_left_is_cleaned(
    upscaler: Upscaler, library: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "日本").mkdir(parents=True)
    for folder in (out, out / "日本"):
        (folder / ".waifu2x-0123456789abcdef.tmp").write_bytes(b"half")
    plan = plan_batch(library, out, batch=BatchOptions(recursive=True), upscaler=upscaler)
    assert plan.cleaned == 2
    assert tree(out) == {}


def test_the_input_is_never_replaced(upscaler: Upscaler, faces: Path, tmp_path: Path) -> None:
    before = tree(faces)
    (tmp_path / "alias").symlink_to(faces)
    for out in (faces, tmp_path / "alias"):
        with pytest.raises(OutputExistsError, match="would replace it"):
            upscale_many(faces, out, upscaler=upscaler, overwrite=True, name="{stem}{ext}")
    (tmp_path / "links").mkdir()
    for path in faces.iterdir():
        (tmp_path / "links" / path.name).symlink_to(path)
    for result in upscale_many(faces, tmp_path / "links", upscaler=upscaler, overwrite=True):
        assert "is the input itself" in str(result.error)
    assert tree(faces) == before


def test_results_beside_their_inputs_are_not_taken_as_inputs(
    upscaler: Upscaler, faces: Path
) -> None:
    named = BatchOptions(name="{stem}_{scale}x{ext}", resume=True)
    for _ in range(2):
        plan = plan_batch(faces, faces, batch=named, upscaler=upscaler)
        assert len(plan.items) == 8
        list(Batch(plan))
        assert len(tree(faces)) == 16
    assert plan.results == 8


def test_two_names_that_would_meet_are_told_apart(
    upscaler: Upscaler, library: Path, tmp_path: Path
) -> None:
    for result in upscale_many(
        [library / "face.png", library / "face.jpg"], tmp_path / "out", upscaler=upscaler
    ):
        assert result.status == "done"
    assert Image.open(tmp_path / "out/face_png.png").size == (80, 72)
    assert Image.open(tmp_path / "out/face_jpg.png").size == (48, 60)


# --- options


def test_larger_pictures_are_left_alone(upscaler: Upscaler, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    art.anime_face(40, 30).save(source / "fits.png")
    art.anime_face(41, 30).save(source / "wide.png")
    art.anime_face(40, 31).save(source / "tall.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown as 30x40
    art.anime_face(40, 30).save(source / "turned.jpg", exif=exif)
    art.anime_face(30, 40).save(source / "upright.jpg", exif=exif)
    results = by_name(
        upscale_many(source, tmp_path / "out", upscaler=upscaler, skip_larger=(40, 30)),
        source,
    )
    assert {name for name, one in results.items() if one.status == "done"} == {
        *("fits.png", "upright.jpg")
    }
    assert {one.status for one in results.values()} == {"done", "skipped"}
    assert "41x30, larger than 40x30" in results["wide.png"].notes[0]
    assert sorted(tree(tmp_path / "out")) == ["fits.png", "upright.png"]
    with pytest.raises(ArgumentError, match=r"skip_larger is \(0, 5\)"):
        Options(skip_larger=(0, 5))


def test_larger_pages_are_carried_over(upscaler: Upscaler, library: Path, tmp_path: Path) -> None:
    """Pages of 24x30 and 24x24."""
    (result,) = upscale_many(
        library / "book.cbz", tmp_path, upscaler=upscaler, skip_larger=(24, 24)
    )
    assert "1 larger page left alone" in result.notes
    import zipfile

    with zipfile.ZipFile(library / "book.cbz") as old, zipfile.ZipFile(result.target) as new:
        assert new.namelist() == ["1.jpg", "2.png"]
        assert new.read("1.jpg") == old.read("1.jpg")
        with new.open("2.png") as page:
            assert Image.open(page).size == (48, 48)
    (result,) = upscale_many(
        library / "book.cbz", tmp_path / "o", upscaler=upscaler, skip_larger=(10, 10)
    )
    assert result.status == "skipped"
    assert tree(tmp_path / "o") == {}


def test_a_quality_goes_where_there_is_one(
    upscaler: Upscaler, library: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match="pictures become PNG"):
        upscale_many(library / "face.png", tmp_path, upscaler=upscaler, quality=80)
    inputs = [library / "face.png", library / "book.cbz"]
    results = upscale_many(inputs, tmp_path / "out", upscaler=upscaler, quality=20)
    assert {one.status for one in results} == {"done"}


WRONG: dict[str, tuple[dict[str, Any], type[Waifu2xError], str]] = {
    "scale": ({"scale": -2}, ArgumentError, "scale is -2"),
    "format": ({"format": "bmpp"}, ArgumentError, "'bmpp' is unknown"),
    "depth": ({"format": "jpeg", "depth": 16}, ArgumentError, "8 bits per sample"),
    "quality": ({"quality": 101}, ArgumentError, "1 to 100"),
    "noise": ({"noise": 5}, ArgumentError, "noise is 5"),
    "name": ({"name": "{stam}{ext}"}, ArgumentError, "stam"),
    "shard": ({"shard": "4/3"}, ArgumentError, "4/3"),
    "memory": ({"memory": 1 << 20}, LimitError, "memory is 1 MiB"),
    "report": ({"report": "no/such/folder/r.jsonl"}, EncodeError, "report no/such"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_with_all_is_said_before_the_work(
    upscaler: Upscaler,
    faces: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    given, kind, message = WRONG[what]

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a file was begun")

    monkeypatch.setattr(job_module, "open_job", never)
    with pytest.raises(kind, match=message):
        upscale_many(faces, tmp_path / "out", upscaler=upscaler, **given)


def test_an_output_directory_that_cannot_be(
    upscaler: Upscaler, faces: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(EncodeError, match="output directory"):
            upscale_many(faces, out, upscaler=upscaler)
    assert (tmp_path / "file").read_bytes() == b"precious"


# --- faults during a run


def during(
    monkeypatch: pytest.MonkeyPatch, upscaler: Upscaler, width: int, act: Callable[[], object]
) -> None:
    """Call ``act`` while a picture ``width`` pixels wide is computed."""
    real = upscaler.pipeline.run

    def run(picture: Any, *args: Any, **given: Any) -> Any:
        if picture.width == width:
            act()
        return real(picture, *args, **given)

    monkeypatch.setattr(upscaler.pipeline, "run", run)


@pytest.mark.parametrize("change", ["written to", "removed"])
def test_an_input_that_changes_underfoot(
    upscaler: Upscaler,
    faces: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    def act() -> None:
        if change == "removed":
            (faces / "3.png").unlink()
        else:
            (faces / "3.png").write_bytes(b"something else")

    during(monkeypatch, upscaler, 23, act)
    results = by_name(upscale_many(faces, tmp_path / "out", upscaler=upscaler), faces)
    assert isinstance(results["3.png"].error, DecodeError)
    wanted = "does not exist" if change == "removed" else "has changed while it was worked on"
    assert wanted in str(results["3.png"].error)
    assert sum(one.status == "done" for one in results.values()) == 7
    assert "3.png" not in tree(tmp_path / "out")
    assert len(tree(tmp_path / "out")) == 7


def test_an_output_directory_that_vanishes_is_not_made_anew(
    upscaler: Upscaler, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After unplugging a disk, a new directory would fill the disk of the mount point."""
    out = tmp_path / "out"
    during(monkeypatch, upscaler, 20, lambda: out.rename(tmp_path / "gone"))
    results = list(upscale_many(faces, out, upscaler=upscaler))
    failed = [one for one in results if one.status == "failed"]
    assert failed
    assert all("vanished" in str(one.error) or "does not exist" in str(one.error)
               or "No such file" in str(one.error) for one in failed)  # fmt: skip
    assert not out.exists()
    for name in tree(tmp_path / "gone"):  # files with final names are complete
        assert name.startswith(".") or codec.decode(tmp_path / "gone" / name).height == 32


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="root writes all")
def test_permission_that_is_lost(
    upscaler: Upscaler, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    during(monkeypatch, upscaler, 20, lambda: out.chmod(0o555))
    try:
        results = list(upscale_many(faces, out, upscaler=upscaler))
    finally:
        out.chmod(0o755)
    assert any("takes files" in str(one.error) for one in results if one.error)


class Full:
    """A file on a disk with 300 free bytes."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._room = 300

    def write(self, data: Any) -> int:
        self._room -= len(data)
        if self._room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(self._file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_a_full_disk_costs_no_further_work(
    upscaler: Upscaler, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    real = upscaler.pipeline.run

    def counted(picture: Any, *args: Any, **given: Any) -> Any:
        ran.append(picture.width)
        return real(picture, *args, **given)

    monkeypatch.setattr(upscaler.pipeline, "run", counted)
    from waifu2x.codec import encoder

    sink = encoder._Sink
    monkeypatch.setattr(encoder, "_Sink", lambda file: sink(Full(file)))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    plan = plan_batch(faces, tmp_path / "out", upscaler=upscaler)
    batch = Batch(plan)
    batch.threads = 1  # otherwise all may be in flight before the first fails
    errors = [str(one.error) for one in batch]
    assert len(errors) == 8
    assert all(os.strerror(errno.ENOSPC) in error for error in errors)
    assert "make room and run again with `resume=True`" in errors[-1]
    assert len(ran) == 1
    assert tree(tmp_path / "out") == {}


# --- ending early


def test_closing_the_iterator_drops_what_is_in_flight(upscaler: Upscaler, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(20):
        art.anime_face(200, 150 + i).save(tmp_path / "in" / f"{i}.png")
    before = threading.active_count()
    results = upscale_many(tmp_path / "in", tmp_path / "out", upscaler=upscaler)
    first = next(results)
    results.close()  # type: ignore[attr-defined]
    names = {
        name for thread in threading.enumerate() if (name := thread.name).startswith("waifu2x-")
    }
    assert not {name for name in names if "file" in name}
    assert threading.active_count() <= before + 1
    found = tree(tmp_path / "out")
    assert first.target.name in found
    assert len(found) < 20
    for name in found:
        assert codec.decode(tmp_path / "out" / name).width == 400


def test_cancelling_ends_it(upscaler: Upscaler, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(20):
        art.anime_face(200, 150 + i).save(tmp_path / "in" / f"{i}.png")
    cancel = threading.Event()
    results = []
    for result in upscale_many(tmp_path / "in", tmp_path / "out", upscaler=upscaler, cancel=cancel):
        results.append(result)
        cancel.set()
    assert 0 < len(results) < 20
    assert {one.status for one in results} == {"done"}
    assert all(not name.startswith(".") for name in tree(tmp_path / "out"))


def test_stopping_finishes_what_has_been_begun(
    upscaler: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for i in range(20):
        art.anime_face(100, 50 + i).save(tmp_path / "in" / f"{i}.png")
    plan = plan_batch(tmp_path / "in", tmp_path / "out", upscaler=upscaler)
    batch = Batch(plan)
    begun = [0]
    real = upscaler.pipeline.run

    def counted(picture: Any, *args: Any, **given: Any) -> Any:
        begun[0] += 1
        return real(picture, *args, **given)

    monkeypatch.setattr(upscaler.pipeline, "run", counted)
    results = []
    for result in batch:
        batch.stop()
        results.append(result)
    assert 0 < len(results) < 20
    assert len(results) == begun[0], "what was begun was finished, and nothing else begun"
    assert {one.status for one in results} == {"done"}
    assert len(tree(tmp_path / "out")) == len(results)


def test_progress(upscaler: Upscaler, faces: Path, tmp_path: Path) -> None:
    plan = plan_batch(faces, tmp_path / "out", upscaler=upscaler)
    batch = Batch(plan)
    assert batch.progress.total == 8
    assert batch.progress.share == 0
    shares = []
    for _ in batch:
        now = batch.progress
        shares.append(now.share)
        assert set(now.current) <= {item.source for item in plan.items}
    assert shares == sorted(shares)
    assert batch.progress.share == 1
    assert batch.progress.ended == 8
    assert batch.summary.done == 8


def test_memory_stays_within_the_budget(upscaler: Upscaler, tmp_path: Path) -> None:
    """Checks the accounting; the benchmark measures the memory of the process."""
    (tmp_path / "in").mkdir()
    for i, side in enumerate((600, 30, 900, 30, 30, 700, 30, 30, 30, 800)):
        art.anime_face(side, side).save(tmp_path / "in" / f"{i}.png")
    plan = plan_batch(tmp_path / "in", tmp_path / "out", upscaler=upscaler)
    batch = Batch(plan)
    batch.limits.memory = 90 << 20
    assert {one.status for one in batch} == {"done"}
    assert 30 << 20 < batch.limits.peak_held <= 90 << 20


# --- the report


def test_the_report_has_a_line_for_each_as_it_ends(
    upscaler: Upscaler, library: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.jsonl"
    results = {}
    ended = upscale_many(
        library, tmp_path / "out", upscaler=upscaler, recursive=True, report=report
    )
    for seen, result in enumerate(ended, 1):
        lines = report.read_text("ascii").splitlines()
        assert len(lines) == seen, "flushed before the result is handed over"
        results[os.fspath(result.source)] = result
    entries = [json.loads(line) for line in report.read_text("ascii").splitlines()]
    assert len(entries) == len(results) == len(RESULTS) + len(BROKEN)
    for entry in entries:
        result = results[entry["input"]]
        assert entry["status"] == result.status
        assert entry["output"] == os.fspath(result.target)
        assert (entry["error"] is None) == (result.status != "failed")
        assert entry["size_out"] == (list(result.size_out) if result.size_out else None)
        assert entry["seconds"] >= 0
        if entry["input"].endswith("link.png"):
            assert entry["stages"] is None, "nothing was measured"
        else:
            assert entry["stages"].keys() == {"decode", "compute", "encode", "wait"}


def test_a_report_is_continued_behind_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"input": "a", "status": "done"}\n{"input": "b", "sta')
    report = Report(path)
    name = os.fsdecode(b"odd\xff\n.png")
    report.write(BatchResult(source=Path(name), target=Path("x"), status="done"))
    report.close()
    first, torn, last = path.read_bytes().splitlines()
    assert json.loads(first)["input"] == "a"
    with pytest.raises(ValueError, match="Unterminated"):
        json.loads(torn)
    assert os.fsencode(json.loads(last)["input"]) == b"odd\xff\n.png"


def test_a_report_that_cannot_be_written_any_more(
    upscaler: Upscaler, faces: Path, tmp_path: Path
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with pytest.raises(EncodeError, match="report /dev/full cannot be written"):
        list(upscale_many(faces, tmp_path / "out", upscaler=upscaler, report="/dev/full"))
    assert all(not name.startswith(".") for name in tree(tmp_path / "out"))


# --- work lists


def test_shards_are_disjoint_and_make_up_the_whole(
    upscaler: Upscaler, library: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    list(upscale_many(library, whole, upscaler=upscaler, recursive=True))
    parts = []
    for i in (1, 2, 3):
        out = tmp_path / f"part{i}"
        list(upscale_many(library, out, upscaler=upscaler, recursive=True, shard=(i, 3)))
        parts.append(tree(out))
    for first, second in itertools.combinations(parts, 2):
        assert not first.keys() & second.keys()
    assert {**parts[0], **parts[1], **parts[2]} == tree(whole)


def test_the_public_names() -> None:
    assert waifu2x.upscale_many is upscale_many
    assert waifu2x.BatchResult is BatchResult
    with pytest.raises(AttributeError, match="no attribute 'upscale_more'"):
        waifu2x.upscale_more  # noqa: B018


def test_a_picture_beyond_all_arrays_is_refused(tmp_path: Path) -> None:
    """2^31 pixels a side are more than NumPy can count in bytes."""
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    ]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    (result,) = waifu2x.upscale_many(tmp_path / "in", tmp_path / "out", model="upconv_7")
    assert isinstance(result.error, waifu2x.DecodeError | waifu2x.LimitError)
    assert "defect" not in str(result.error)
