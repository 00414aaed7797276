"""Segments of a video: a killed run goes on, a full disk keeps them, and shards share them."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.command import WAIFU2X, waifu2x
from helpers.videos import Corpus, copied, needs_ffmpeg, probe, stamps

import waifu2x as package
from waifu2x.errors import EncodeError, OutputExistsError
from waifu2x.files.task import Share
from waifu2x.video import segments
from waifu2x.video.demux import SourceFrame
from waifu2x.video.encode import EncodedPacket
from waifu2x.video.planes import VideoFrame
from waifu2x.video.segments import Ending, SegmentFolder, cut

#: upconv_7 on 64x48 px: a few milliseconds per frame.
FAST = ("-m", "upconv_7", "-n", "none", "--preset", "ultrafast")
SAME: dict[str, Any] = {"scale": 1, "noise": None, "model": "upconv_7", "preset": "ultrafast"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    pytest.importorskip("av", reason="PyAV (extra video) is not installed")
    return Corpus(tmp_path_factory.mktemp("corpus"))


# --- the folder -------------------------------------------------------------------------------


def frame(pts: int, *, key: bool = False) -> SourceFrame:
    return SourceFrame(VideoFrame((np.zeros((1, 1), np.uint8),), pts), pts, 1, key)


def test_segments_start_at_keyframes_after_two_seconds_or_after_ten() -> None:
    frames = [frame(pts, key=pts in (0, 1, 3, 4, 30)) for pts in range(40)]
    starts: dict[int, int] = {}
    for each in cut(frames, Fraction(1)):
        starts.setdefault(each.segment, each.frame.pts)
    assert list(starts.values()) == [0, 3, 13, 23, 30]


def packets(*sizes: int) -> Iterator[EncodedPacket]:
    for number, size in enumerate(sizes):
        yield EncodedPacket(bytes([number]) * size, number, number == 0)


FACTS = {"frames": [[0, 1], [1, 1]], "extradata": "01ff", "saved": {"frames": 2}}


def test_a_segment_is_read_back_or_found_damaged(tmp_path: Path) -> None:
    folder = SegmentFolder(tmp_path / "parts", {"source": 1})
    folder.prepare()
    made = folder.write(0, packets(100, 20), FACTS)
    assert folder.load(0) == made
    assert [len(each.data) for each in made.read()] == [100, 20]
    assert (made.frames, made.extradata, made.size) == (((0, 1), (1, 1)), b"\x01\xff", 120)
    assert folder.load(1) is None
    data = made.path.read_bytes()
    for at in (0, 50, len(data) // 2, len(data) - 1):
        made.path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert folder.load(0) is None
        made.path.write_bytes(data[:at])
        assert folder.load(0) is None


def test_segments_of_other_settings_are_kept_and_those_of_another_source_deleted(
    tmp_path: Path,
) -> None:
    first = SegmentFolder(tmp_path / "parts", {"source": 1, "encoder": 1})
    first.prepare()
    first.write(0, packets(5), FACTS)
    again = SegmentFolder(tmp_path / "parts", {"source": 1, "encoder": 1})
    again.prepare()
    assert (again.finished(), again.restarted) == (1, False)
    other = SegmentFolder(tmp_path / "parts", {"source": 1, "encoder": 2})
    with pytest.raises(EncodeError, match="1 finished segment made with another encoder; give"):
        other.prepare()
    assert first.finished() == 1
    changed = SegmentFolder(tmp_path / "parts", {"source": 2, "encoder": 2})
    changed.prepare()
    assert (changed.finished(), changed.restarted) == (0, True)


def test_processes_that_prepare_a_folder_leave_each_other_their_segments(tmp_path: Path) -> None:
    one, two = (SegmentFolder(tmp_path / "parts", {"source": 1}) for _ in range(2))
    one.prepare()
    one.write(0, packets(5), FACTS)
    two.prepare()
    two.write(1, packets(5), FACTS)
    assert two.complete(range(2)) is not None
    assert two.complete(range(3)) is None
    assert one.ending is None
    two.finish(Ending(2, ("a note",), "damaged"))
    assert one.ending == Ending(2, ("a note",), "damaged")
    # Segments of another source give way, and the folder stays.
    other = SegmentFolder(tmp_path / "parts", {"source": 2})
    other.prepare()
    assert (other.restarted, other.finished(), other.ending) == (True, 0, None)


def test_parts_of_shares_cover_all_segments_once() -> None:
    for count, parts in ((1, 1), (1, 4), (2, 3), (3, 2)):
        shares = [
            Share(index, count).part(part, parts)
            for index in range(1, count + 1)
            for part in range(1, parts + 1)
        ]
        assert sorted(at for share in shares for at in share.of(20)) == list(range(20))
        assert all(share.has(at) for share in shares for at in share.of(20))
        assert {share.joining for share in shares} == {"never"}


# --- whole videos -----------------------------------------------------------------------------


@needs_ffmpeg
def test_a_run_killed_at_ten_moments_ends_with_the_same_bytes(
    corpus: Corpus, tmp_path: Path
) -> None:
    source = corpus.path("long.mkv")
    began = time.monotonic()
    waifu2x(source, "whole.mkv", *FAST, cwd=tmp_path)
    duration = time.monotonic() - began
    whole = (tmp_path / "whole.mkv").read_bytes()
    assert [each.name for each in tmp_path.iterdir()] == ["whole.mkv"]
    moments = random.Random(20)
    target = tmp_path / "killed.mkv"
    kept = 0
    for _ in range(10):
        process = subprocess.Popen(
            [WAIFU2X, source, target, *FAST], cwd=tmp_path, stdout=subprocess.DEVNULL
        )
        time.sleep(moments.uniform(0.3, 0.9) * duration)
        process.kill()
        process.wait()
        kept = max(kept, len(list(tmp_path.glob(".killed*/*.segment"))))
        if target.exists():  # ended before
            assert target.read_bytes() == whole
            target.unlink()
    result = waifu2x(source, target, *FAST, cwd=tmp_path)
    assert result.returncode == 0
    assert target.read_bytes() == whole
    assert kept > 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["killed.mkv", "whole.mkv"]


@needs_ffmpeg
def test_finished_segments_are_used_again(corpus: Corpus, tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    seen = []

    def stop(share: float) -> None:
        seen.append(share)
        if len(list(tmp_path.glob(".out*/*.segment"))) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        package.upscale_video(corpus.path("long.mkv"), target, progress=stop, **SAME)
    assert not target.exists()
    assert (tmp_path / ".out.mkv.waifu2x-parts").is_dir()
    result = package.upscale_video(corpus.path("long.mkv"), target, **SAME)
    assert "2 segments of an earlier run used" in result.notes
    assert seen == sorted(seen)
    package.upscale_video(corpus.path("long.mkv"), tmp_path / "other.mkv", **SAME)
    assert (tmp_path / "other.mkv").read_bytes() == target.read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["other.mkv", "out.mkv"]


@needs_ffmpeg
def test_a_full_disk_keeps_finished_segments(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.mkv"
    write, written = segments.write_file, []

    def full(path: Path, *rest: Any, **how: Any) -> Any:
        if path.suffix == ".segment":
            written.append(path)
            if len(written) > 2:
                rest = (lambda file: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space")),)
        return write(path, *rest, **how)

    monkeypatch.setattr(segments, "write_file", full)
    with pytest.raises(EncodeError, match=r"No space.*; 2 finished segments kept in .*again"):
        package.upscale_video(corpus.path("long.mkv"), target, **SAME)
    assert not target.exists()
    assert len(list(tmp_path.glob(".out*/*.segment"))) == 2
    monkeypatch.undo()
    result = package.upscale_video(corpus.path("long.mkv"), target, **SAME)
    assert "2 segments of an earlier run used" in result.notes


@needs_ffmpeg
def test_a_failure_without_a_segment_leaves_nothing(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*values: Any, **how: Any) -> None:
        raise EncodeError("broken")

    monkeypatch.setattr(segments.SegmentFolder, "write", fail)
    with pytest.raises(EncodeError, match="broken"):
        package.upscale_video(corpus.path("one.mkv"), tmp_path / "out.mkv", **SAME)
    assert list(tmp_path.iterdir()) == []


@needs_ffmpeg
def test_a_target_that_appears_meanwhile_is_kept(corpus: Corpus, tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    with pytest.raises(OutputExistsError):
        package.upscale_video(
            corpus.path("one.mkv"), target, progress=lambda _: target.write_bytes(b"mine"), **SAME
        )
    assert target.read_bytes() == b"mine"


@needs_ffmpeg
def test_shards_share_the_segments_and_the_last_one_joins(corpus: Corpus, tmp_path: Path) -> None:
    source = corpus.path("long.mkv")
    same = ("-s", "1", "-n", "none", "-m", "upconv_7", "--preset", "ultrafast")
    waifu2x(source, "whole.mkv", *same, cwd=tmp_path)
    first = waifu2x(source, "out.mkv", *same, "--shard", "1/2", cwd=tmp_path)
    assert first.returncode == 0
    assert "segments missing" in first.stdout
    assert not (tmp_path / "out.mkv").exists()
    second = waifu2x(source, "out.mkv", *same, "--shard", "2/2", cwd=tmp_path)
    assert second.returncode == 0
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "whole.mkv").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


@needs_ffmpeg
def test_a_part_is_taken_with_its_sound_from_time_zero(corpus: Corpus, tmp_path: Path) -> None:
    target = tmp_path / "part.mkv"
    source = corpus.path("long.mkv")
    package.upscale_video(source, target, start=3.1, end=6, **SAME)
    found, whole = probe(target), probe(source)
    times = [float(each) for each in stamps(found, 0)]
    # Frames of 12 per second from 3.1 s on, less than 6 s from the beginning of the file.
    origin = min(float(each["start_time"]) for each in whole["streams"])
    expected = [float(each) for each in stamps(whole, 0) if 3.1 <= float(each) - origin < 6]
    assert times == pytest.approx([each - expected[0] for each in expected], abs=0.0011)
    sound = [packet[5] for packet in copied(whole, 1)]
    part = [packet[5] for packet in copied(found, 1)]
    at = sound.index(part[0])
    assert part == sound[at : at + len(part)]
    assert float(stamps(found, 1)[0]) < 0.03
    with pytest.raises(package.DecodeError, match="no frames between start and end"):
        package.upscale_video(source, tmp_path / "none.mkv", start=100, **SAME)
    assert not (tmp_path / "none.mkv").exists()


@needs_ffmpeg
def test_chapters_and_subtitles_are_cut(corpus: Corpus, tmp_path: Path) -> None:
    target = tmp_path / "part.mkv"
    package.upscale_video(corpus.path("full.mkv"), target, start=0.5, **SAME)
    found = probe(target)
    (chapter,) = found["chapters"]
    assert chapter["tags"]["title"] == "Two"
    assert float(chapter["start_time"]) == 0
    assert 0.4 < float(chapter["end_time"]) < 0.6
    (subtitle,) = [each for each in found["packets"] if each["codec_type"] == "subtitle"]
    assert float(subtitle["pts_time"]) == 0
    assert 0.2 < float(subtitle["duration_time"]) < 0.4


@needs_ffmpeg
def test_ctrl_c_leaves_finished_segments(corpus: Corpus, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [WAIFU2X, corpus.path("long.mkv"), "out.mkv", *FAST, "--progress", "json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ},
    )
    assert process.stdout is not None
    for _ in process.stdout:
        if list(tmp_path.glob(".out*/*.segment")):
            break
    process.send_signal(signal.SIGINT)
    process.communicate()
    if process.returncode:  # it may have ended at the same moment
        assert process.returncode == 130
        assert not (tmp_path / "out.mkv").exists()
        assert list(tmp_path.glob(".out*/*.segment"))
        assert not list(tmp_path.glob(".out*/*.tmp"))
        assert json.loads(next(tmp_path.glob(".out*/plan.json")).read_text())["exact"] is False
