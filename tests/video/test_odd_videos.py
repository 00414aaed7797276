"""Videos that are rare or on the edge of a format; ffmpeg and ffprobe judge the results."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.videos import Corpus, copied, needs_ffmpeg, probe, raw, stamps

import waifu2x
from waifu2x.errors import ArgumentError, DecodeError, EncodeError
from waifu2x.video.demux import VideoSource

pytestmark = needs_ffmpeg
av = pytest.importorskip("av", reason="PyAV (extra video) is not installed")

#: Only decodes and encodes: no network.
SAME: dict[str, Any] = {"scale": 1, "noise": None, "model": "upconv_7"}
FAST: dict[str, Any] = {**SAME, "preset": "ultrafast"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(tmp_path_factory.mktemp("corpus"))


# --- times --------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", ["mkv", "mp4", "ts", "flv", "mpg", "avi"])
def test_a_part_has_all_its_frames_whatever_the_demuxer_finds(
    corpus: Corpus, extension: str
) -> None:
    path = corpus.path(f"open.{extension}")
    whole = [(each.pts, each.frame.planes[0]) for each in VideoSource(path, path.name).frames()]
    for start, end in ((0.3, None), (1.25, 1.5), (2.51, 2.6), (3.9, None)):
        source = VideoSource(path, path.name, start=start, end=end)
        expected = [each for each in whole if source.inside(each[0] * source.facts.time_base)]
        found = [(each.pts, each.frame.planes[0]) for each in source.frames()]
        assert [pts for pts, _ in found] == [pts for pts, _ in expected]
        assert all(
            np.array_equal(one, two) for (_, one), (_, two) in zip(found, expected, strict=True)
        )
        assert source.damage() == ""


def test_negative_times_of_matroska(corpus: Corpus, tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    result = waifu2x.upscale_video(corpus.path("negative.mkv"), target, **FAST)
    assert not any("corrected" in note for note in result.notes)
    found = probe(target)
    times = [float(each) for each in stamps(found, 0)]
    assert np.diff(times) == pytest.approx(1 / 24, abs=0.0011)
    # Sound begins 23 ms before the video, as in the source.
    assert times[0] - float(stamps(found, 1)[0]) == pytest.approx(0.023, abs=0.0021)


def test_short_recordings_that_were_joined(corpus: Corpus, tmp_path: Path) -> None:
    target = tmp_path / "out.ts"
    result = waifu2x.upscale_video(corpus.path("short.ts"), target, **FAST)
    assert "1 jump back in time closed" in result.notes
    times = [float(each) for each in stamps(probe(target), 0)]
    assert np.diff(times) == pytest.approx(1 / 24, abs=0.001)


def test_a_beginning_between_two_milliseconds(corpus: Corpus, tmp_path: Path) -> None:
    for name in ("half.ts", "fragments.mp4"):
        target = tmp_path / "out.mp4"
        waifu2x.upscale_video(corpus.path(name), target, overwrite=True, **FAST)
        assert stamps(probe(target), 0) == stamps(probe(corpus.path(name)), 0)


# --- what containers hold -----------------------------------------------------------------------


def test_mpeg_ts_takes_no_stream_that_no_reader_finds(corpus: Corpus, tmp_path: Path) -> None:
    target = tmp_path / "out.ts"
    message = (
        r"MPEG-TS cannot hold stream 1 \(audio flac\) and stream 2 \(subtitle .*\); write .mkv"
    )
    with pytest.raises(EncodeError, match=message):
        waifu2x.upscale_video(corpus.path("flac.mkv"), target, **FAST)
    waifu2x.upscale_video(corpus.path("flac.mkv"), target, drop_streams=True, **FAST)
    assert [each["codec_type"] for each in probe(target)["streams"]] == ["video"]


def test_a_stream_that_fails_at_the_end_of_a_file_is_found_before_the_work(
    corpus: Corpus, tmp_path: Path
) -> None:
    message = r"MP4 cannot hold stream 1 \(audio pcm_s16le\); write .mkv"
    with pytest.raises(EncodeError, match=message):
        waifu2x.upscale_video(corpus.path("pcm.mkv"), tmp_path / "out.mp4", **FAST)
    assert list(tmp_path.iterdir()) == []


def test_flv_holds_one_sound_in_a_codec_that_its_readers_know(
    corpus: Corpus, tmp_path: Path
) -> None:
    # FFmpeg's muxer ends the process for PCM at this rate.
    with pytest.raises(EncodeError, match=r"FLV cannot hold stream 1 \(audio pcm_s16le\); write"):
        waifu2x.upscale_video(corpus.path("pcm.mkv"), tmp_path / "out.flv", **FAST)
    message = r"FLV cannot hold stream 2 \(audio aac\); write .mkv"
    with pytest.raises(EncodeError, match=message):
        waifu2x.upscale_video(corpus.path("two_sounds.mp4"), tmp_path / "out.flv", **FAST)


def test_corrected_times_do_not_drift(corpus: Corpus, tmp_path: Path) -> None:
    # 1200 packets per second in whole milliseconds.
    target = tmp_path / "out.m2ts"
    waifu2x.upscale_video(corpus.path("truehd.mkv"), target, **FAST)
    found, expected = probe(target), probe(corpus.path("truehd.mkv"))
    assert found["streams"][1]["codec_name"] == "truehd"
    times, before = (np.array(stamps(each, 1), float) for each in (found, expected))
    assert len(times) == len(before)
    assert np.abs(times - before).max() < 0.0011
    assert [each[5] for each in copied(found, 1)] == [each[5] for each in copied(expected, 1)]


def test_the_numbers_of_streams_stay(corpus: Corpus, tmp_path: Path) -> None:
    target = tmp_path / "out.ts"
    waifu2x.upscale_video(corpus.path("pids.ts"), target, **FAST)
    found = probe(target)
    assert [each["id"] for each in found["streams"]] == ["0x12c", "0x100"]
    assert copied(found, 1) == copied(probe(corpus.path("pids.ts")), 1)


@pytest.mark.parametrize("name", ["tags.mp4", "tags.mov"])
def test_tags_of_any_name_stay(corpus: Corpus, name: str, tmp_path: Path) -> None:
    for extension in (Path(name).suffix, ".mkv"):
        target = tmp_path / f"out{extension}"
        waifu2x.upscale_video(corpus.path(name), target, **FAST)
        with av.open(str(target)) as opened:
            tags = {key.lower(): value for key, value in opened.metadata.items()}
            track = opened.streams[1].metadata
        assert (tags["title"], tags["director"], tags["com.apple.quicktime.make"]) == (
            "A",
            "D",
            "M",
        )
        assert (track.get("name") or track.get("title")) == "Sound"


def test_tags_that_a_container_loses_are_named_before_the_work(
    corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        result = waifu2x.upscale_video(
            corpus.path("full.mkv"), tmp_path / "out.ts", drop_streams=True, **FAST
        )
    (note,) = [each for each in result.notes if "tags" in each]
    assert note.startswith("MPEG-TS does not hold these tags: ")
    assert "title" in note
    assert note.endswith("title of stream 2")
    assert any(note in record.getMessage() for record in caplog.records)


def test_a_text_that_is_named_as_a_video(tmp_path: Path) -> None:
    for name in ("a.mkv", "b.MP4", "c.y4m"):
        (tmp_path / name).write_text("hello")
        with pytest.raises(DecodeError, match=rf"{name} is named as a video, and its contents"):
            waifu2x.upscale_file(tmp_path / name, tmp_path / f"out{Path(name).suffix}")


def test_the_program_that_wrote_the_source_is_no_tag_of_the_result(
    corpus: Corpus, tmp_path: Path
) -> None:
    result = waifu2x.upscale_video(corpus.path("plain.avi"), tmp_path / "out.avi", **FAST)
    assert not any("tags" in note for note in result.notes)


# --- samples ------------------------------------------------------------------------------------


def test_prores_has_the_tags_of_hdr_in_its_frames(corpus: Corpus, tmp_path: Path) -> None:
    target = tmp_path / "out.mov"
    waifu2x.upscale_video(corpus.path("hdr.mkv"), target, codec="prores", **SAME)
    frame = probe(target, "-show_frames", "-read_intervals", "%+#1")["frames"][0]
    assert frame["color_primaries"] == "bt2020"
    assert frame["color_transfer"] == "smpte2084"


def test_alpha_of_webm(corpus: Corpus, tmp_path: Path) -> None:
    source, target = corpus.path("alpha.webm"), tmp_path / "out.mkv"
    waifu2x.upscale_video(source, target, **SAME)
    video = probe(target)["streams"][0]
    assert (video["codec_name"], video["pix_fmt"]) == ("ffv1", "yuva420p")
    assert "alpha_mode" not in {key.lower() for key in video["tags"]}
    expected = raw(source, "yuva420p", cwd=tmp_path, decoder="libvpx-vp9")
    assert raw(target, "yuva420p", cwd=tmp_path) == expected
    with pytest.raises(EncodeError, match=r"has alpha, which VP9 does not hold; write .mkv, .mov"):
        waifu2x.upscale_video(source, tmp_path / "out.webm", **SAME)


def test_alpha_of_webm_in_y4m(corpus: Corpus, tmp_path: Path) -> None:
    source, target = corpus.path("alpha.webm"), tmp_path / "out.y4m"
    waifu2x.upscale_video(source, target, **SAME)
    header, _, frames = target.read_bytes().partition(b"\n")
    assert b" C444alpha " in header
    planes = np.frombuffer(frames[6 : 6 + 4 * 64 * 48], np.uint8).reshape(4, 48, 64)
    before = raw(source, "yuva420p", cwd=tmp_path, decoder="libvpx-vp9")
    alpha = np.frombuffer(before, np.uint8)[: 64 * 48 * 5 // 2][-64 * 48 :]
    assert np.array_equal(planes[3].ravel(), alpha)


def test_gray_with_alpha(corpus: Corpus, tmp_path: Path) -> None:
    source, target = corpus.path("gray_alpha.mkv"), tmp_path / "out.mkv"
    waifu2x.upscale_video(source, target, **SAME)
    before = np.frombuffer(raw(source, "ya8", cwd=tmp_path), np.uint8).reshape(-1, 2)
    after = np.frombuffer(raw(target, "rgba", cwd=tmp_path), np.uint8).reshape(-1, 4)
    assert (after == before[:, (0, 0, 0, 1)]).all()


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_odd_sides_are_padded_where_the_encoder_needs_it(
    corpus: Corpus, codec: Any, tmp_path: Path
) -> None:
    source, target = corpus.path("uneven.webm"), tmp_path / "out.mkv"
    result = waifu2x.upscale_video(source, target, codec=codec, crf=0, **FAST)
    assert result.size_out == (64, 48)
    assert any(note.startswith("63x47 px padded to 64x48 px") for note in result.notes)
    got = np.frombuffer(raw(target, "gray", cwd=tmp_path), np.uint8).reshape(3, 48, 64)
    expected = np.frombuffer(raw(source, "gray", cwd=tmp_path), np.uint8).reshape(3, 47, 63)
    expected = np.pad(expected, ((0, 0), (0, 1), (0, 1)), "edge")
    assert np.abs(got.astype(int) - expected).max() <= (0 if codec == "h264" else 3)


def test_odd_sides_without_a_loss(corpus: Corpus, tmp_path: Path) -> None:
    source, target = corpus.path("uneven.webm"), tmp_path / "out.mkv"
    assert waifu2x.upscale_video(source, target, codec="ffv1", **SAME).size_out == (63, 47)
    assert raw(target, "yuv420p", cwd=tmp_path) == raw(source, "yuv420p", cwd=tmp_path)


# --- encoders -----------------------------------------------------------------------------------


def test_the_rate_factors_of_av1(corpus: Corpus, tmp_path: Path) -> None:
    sizes = []
    for crf in (0, 1.5, 35):
        target = tmp_path / f"{crf}.mkv"
        waifu2x.upscale_video(
            corpus.path("one.mkv"), target, scale=2, strength=0, noise=None, model="upconv_7",
            codec="av1", preset=10, crf=crf,
        )  # fmt: skip
        sizes.append(int(probe(target, "-show_packets")["packets"][0]["size"]))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 1.5 * sizes[2]


def test_vp9_has_no_fractions(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(
        ArgumentError, match=r"crf is 22\.5; it must be a whole number from 0 to 63"
    ):
        waifu2x.upscale_video(corpus.path("one.mkv"), tmp_path / "out.webm", crf=22.5, **SAME)


def test_a_codec_that_is_proposed_fits_the_container(corpus: Corpus, tmp_path: Path) -> None:
    source, target = corpus.path("deep444.mkv"), tmp_path / "out.webm"
    message = r"the video is 4:4:4, which SVT-AV1 does not hold; choose `codec='vp9'`$"
    with pytest.raises(EncodeError, match=message):
        waifu2x.upscale_video(source, target, **SAME)
    result = waifu2x.upscale_video(source, target, codec="vp9", preset=8, **SAME)
    assert "10 bits written as 8" in result.notes
