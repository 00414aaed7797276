"""Videos in files: every stream, every timestamp and every tag, judged by ffmpeg and ffprobe."""

from __future__ import annotations

import io
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.command import waifu2x as waifu2x_command
from helpers.videos import Corpus, copied, ffmpeg, needs_ffmpeg, probe, raw, stamps

import waifu2x
from waifu2x.errors import DecodeError, EncodeError, LimitError, OutputExistsError
from waifu2x.video.truncation import is_cut_off

pytestmark = needs_ffmpeg
pytest.importorskip("av", reason="PyAV (extra video) is not installed")

#: Only decodes and encodes: no network.
SAME: dict[str, Any] = {"scale": 1, "noise": None, "model": "upconv_7", "preset": "ultrafast"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(tmp_path_factory.mktemp("corpus"))


def upscaled(corpus: Corpus, name: str, target: Path, **options: Any) -> waifu2x.FileResult:
    return waifu2x.upscale_video(corpus.path(name), target, **{**SAME, **options})


#: What a stream may differ in: the new encoder, and what the tags of an untagged one decide.
_OF_ENCODER = {
    *("bit_rate", "extradata_size", "extradata_hash", "profile", "level", "has_b_frames", "refs"),
    *("bits_per_raw_sample", "is_avc", "nal_length_size", "field_order", "chroma_location"),
    *("duration", "duration_ts", "nb_frames", "codec_tag", "codec_tag_string", "max_bit_rate"),
    *("color_range", "color_space", "avg_frame_rate", "tags", "closed_captions", "film_grain"),
}


@pytest.mark.parametrize(
    "name",
    [
        *("full.mkv", "cover.mp4", "plain.mp4", "plain.ts", "vfr.mkv", "vfr.mp4", "offset.mkv"),
        *("ten.mkv", "hdr.mkv", "aspect.mkv", "one.mkv", "444.mkv", "two.mkv", "plain.webm"),
        *("site.mkv", "timecode.mov", "text.mp4"),
    ],
)
def test_streams_packets_timestamps_and_tags_come_out_as_they_went_in(
    corpus: Corpus, name: str, tmp_path: Path
) -> None:
    options = {"preset": "8"} if name.endswith("webm") else {}
    if name in ("ten.mkv", "hdr.mkv"):
        options = {"codec": "hevc"}
    target = tmp_path / name
    assert upscaled(corpus, name, target, **options).failures == ()
    before, after = probe(corpus.path(name)), probe(target)
    assert len(after["streams"]) == len(before["streams"])
    (main,) = [
        each["index"]
        for each in before["streams"]
        if each["codec_type"] == "video"
        and not each["disposition"]["attached_pic"]
        and (name != "two.mkv" or each["disposition"]["default"])
    ]
    for old, new in zip(before["streams"], after["streams"], strict=True):
        assert new["codec_type"] == old["codec_type"]
        assert new["disposition"] == old["disposition"]
        for tag in ("language", "title", "filename", "mimetype"):
            assert new.get("tags", {}).get(tag) == old.get("tags", {}).get(tag)
        if old["index"] == main:
            for key in old.keys() - _OF_ENCODER:
                if not key.startswith("codec") or name not in ("ten.mkv",):
                    assert new.get(key) == old[key], key
            for key in ("color_range", "color_space", "chroma_location"):
                if old.get(key) and name != "444.mkv":
                    assert new.get(key) == old[key], key
            assert stamps(after, main) == stamps(before, main)
        else:
            # Chapters as text are written again; to mov_text, the muxer adds the bit rate.
            if old["codec_type"] != "data" and old["codec_name"] != "mov_text":
                assert new.get("extradata_hash") == old.get("extradata_hash")
            assert copied(after, old["index"]) == copied(before, old["index"])
    assert after["chapters"] == before["chapters"]
    for tag in ("title", "artist"):
        assert after["format"].get("tags", {}).get(tag) == before["format"].get("tags", {}).get(tag)


def test_hdr_metadata_stays(corpus: Corpus, tmp_path: Path) -> None:
    target = tmp_path / "hdr.mkv"
    upscaled(corpus, "hdr.mkv", target)
    first = ("-show_frames", "-read_intervals", "%+#1", "-select_streams", "v")
    found = [probe(path, *first)["frames"][0] for path in (corpus.path("hdr.mkv"), target)]

    def hdr(frame: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            each
            for each in frame["side_data_list"]
            if "light" in each["side_data_type"].lower()
            or "mastering" in each["side_data_type"].lower()
        ]

    assert len(hdr(found[0])) == 2
    assert hdr(found[1]) == hdr(found[0])
    for key in ("color_transfer", "color_primaries", "color_space", "color_range", "pix_fmt"):
        assert found[1][key] == found[0][key]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("hdr.mkv", {}),
        ("hdr.mp4", {}),
        ("hdr.mov", {"codec": "prores", "preset": None}),
        ("hdr.webm", {"preset": "12"}),
        ("ffv1.mkv", {"codec": "ffv1", "preset": None}),
    ],
)
def test_hdr_metadata_is_in_the_container(
    corpus: Corpus, name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    target = tmp_path / name
    upscaled(corpus, "hdr.mkv", target, **options)
    found = probe(target, "-show_streams")["streams"][0]

    def number(text: object) -> float:
        return float(Fraction(str(text)))

    assert {
        key: number(value)
        for each in found["side_data_list"]
        for key, value in each.items()
        if key != "side_data_type"
    } == pytest.approx(
        {
            "red_x": 0.68,
            "red_y": 0.32,
            "green_x": 0.265,
            "green_y": 0.69,
            "blue_x": 0.15,
            "blue_y": 0.06,
            "white_point_x": 0.3127,
            "white_point_y": 0.329,
            "min_luminance": 0.005,
            "max_luminance": 1000,
            "max_content": 1000,
            "max_average": 400,
        }
    )
    assert (found["width"], found["height"]) == (64, 48)
    assert stamps(probe(target), 0) == stamps(probe(corpus.path("hdr.mkv")), 0)
    assert len(raw(target, "gray", cwd=tmp_path)) == 24 * 64 * 48


@pytest.mark.parametrize(
    ("matrix", "name", "full", "pix_fmt"),
    [
        ("bt709", "bt709", "tv", "yuv420p"),
        ("bt709", "bt709", "pc", "yuv420p"),
        ("smpte170m", "bt601", "tv", "yuv420p"),
        ("bt470bg", "bt601", "pc", "yuv420p"),
        ("fcc", "bt601", "tv", "yuv420p"),
        ("smpte240m", "smpte240m", "tv", "yuv420p"),
        ("bt2020nc", "bt2020", "tv", "yuv444p10le"),
        ("bt2020nc", "bt2020", "pc", "yuv444p10le"),
    ],
)
def test_flat_patches_keep_their_color(
    tmp_path: Path, matrix: str, name: str, full: str, pix_fmt: str
) -> None:
    source, target = tmp_path / "in.mkv", tmp_path / "out.mkv"
    scaled = f"scale=out_color_matrix={name}:out_range={full}"
    ffmpeg(
        *("-f", "lavfi", "-i", "rgbtestsrc=s=96x64:r=24:d=0.05", "-frames:v", "1"),
        *("-vf", f"{scaled},format={pix_fmt}", "-c:v", "ffv1", "-colorspace", matrix),
        *("-color_range", full, source),
        cwd=tmp_path,
    )
    # Strength 0 converts to RGB and back, and enlarges without the network.
    waifu2x.upscale_video(source, target, strength=0, noise=None, model="upconv_7", codec="ffv1")
    video = probe(target, "-show_streams")["streams"][0]
    assert (video["color_space"], video["color_range"]) == (matrix, full)
    dtype = np.uint8 if pix_fmt == "yuv420p" else np.uint16
    before, after = (
        np.frombuffer(raw(path, pix_fmt, cwd=tmp_path), dtype) for path in (source, target)
    )
    for stripe in range(3):
        for plane, size in enumerate(_planes(pix_fmt, 96, 64)):
            old = _plane(before, pix_fmt, 96, 64, plane)
            new = _plane(after, pix_fmt, 192, 128, plane)
            row, column = size[0] * (2 * stripe + 1) // 6, size[1] // 2
            unit = 1 if pix_fmt == "yuv420p" else 4
            assert abs(int(old[row, column]) - int(new[2 * row, 2 * column])) <= unit


def _planes(pix_fmt: str, width: int, height: int) -> list[tuple[int, int]]:
    half = 2 if pix_fmt == "yuv420p" else 1
    return [(height, width), *[(height // half, width // half)] * 2]


def _plane(data: np.ndarray, pix_fmt: str, width: int, height: int, index: int) -> np.ndarray:
    sizes = _planes(pix_fmt, width, height)
    start = sum(rows * columns for rows, columns in sizes[:index])
    rows, columns = sizes[index]
    return data[start : start + rows * columns].reshape(rows, columns)


def test_an_edit_list_shows_the_same_frames_at_the_same_times(
    corpus: Corpus, tmp_path: Path
) -> None:
    target = tmp_path / "edit.mp4"
    upscaled(corpus, "edit.mp4", target)
    times = [
        [
            frame["pts_time"]
            for frame in probe(path, "-show_frames", "-select_streams", "v")["frames"]
        ]
        for path in (corpus.path("edit.mp4"), target)
    ]
    assert times[1] == times[0]
    assert copied(probe(target), 1) == copied(probe(corpus.path("edit.mp4")), 1)


def test_a_lossless_copy_has_the_same_samples(corpus: Corpus, tmp_path: Path) -> None:
    target = tmp_path / "same.mkv"
    for name, pix_fmt in (("444.mkv", "yuv444p"), ("odd.mkv", "yuv444p"), ("rgb.mkv", "gbrp")):
        upscaled(corpus, name, target, codec="ffv1", preset=None, overwrite=True)
        got = raw(target, pix_fmt, cwd=tmp_path)
        expected = raw(corpus.path(name), pix_fmt, cwd=tmp_path)
        assert len(got) == len(expected)
        worst = max(abs(a - b) for a, b in zip(got, expected, strict=True))
        assert worst <= 1, name


def test_rotation_is_applied_and_the_tag_cleared(corpus: Corpus, tmp_path: Path) -> None:
    target = tmp_path / "rotated.mp4"
    result = upscaled(corpus, "rotated.mp4", target)
    assert result.size_in == (48, 64)
    video = probe(target)["streams"][0]
    assert (video["width"], video["height"]) == (48, 64)
    assert "side_data_list" not in video
    # ffmpeg rotates by itself when it decodes.
    got, expected = (
        raw(path, "gray", cwd=tmp_path) for path in (target, corpus.path("rotated.mp4"))
    )
    assert len(got) == len(expected)
    difference = sum(abs(a - b) for a, b in zip(got, expected, strict=True)) / len(got)
    assert difference < 2


def test_interlaced_videos_are_refused_or_deinterlaced(corpus: Corpus, tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    with pytest.raises(DecodeError, match=r"is interlaced; .*deinterlace='bwdif'"):
        upscaled(corpus, "interlaced.mkv", target)
    assert list(tmp_path.iterdir()) == []
    upscaled(corpus, "interlaced.mkv", target, deinterlace="bwdif")
    found = probe(target)
    assert stamps(found, 0) == stamps(probe(corpus.path("interlaced.mkv")), 0)
    assert found["streams"][0]["field_order"] == "progressive"
    result = upscaled(
        corpus, "interlaced.mkv", target, deinterlace="off", overwrite=True, codec="ffv1",
        preset=None,
    )  # fmt: skip
    assert "24 frames" in result.notes


# --- what a container cannot hold -------------------------------------------------------------


def test_what_the_container_cannot_hold_is_said_before_the_work(
    corpus: Corpus, tmp_path: Path
) -> None:
    with pytest.raises(EncodeError) as caught:
        upscaled(corpus, "full.mkv", tmp_path / "out.mp4")
    text = str(caught.value)
    assert "MP4 cannot hold stream 3" in text
    assert "stream 4" in text
    assert "write .mkv (Matroska)" in text
    assert list(tmp_path.iterdir()) == []
    result = upscaled(corpus, "full.mkv", tmp_path / "out.mp4", drop_streams=True)
    assert any(note.startswith("left out: stream 3") for note in result.notes)
    found = probe(tmp_path / "out.mp4")
    assert [each["codec_type"] for each in found["streams"][:3]] == ["video", "audio", "audio"]
    assert [each["tags"]["title"] for each in found["chapters"]] == ["One", "Two"]


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("out.webm", {"codec": "h264"}, "WebM does not hold x264; write .mkv"),
        ("out.mpg", {}, "has no extension of a video that can be written"),
        ("out.png", {}, "has no extension of a video"),
        ("out.mkv", {"codec": "av1", "preset": "9"}, "4:4:4, which SVT-AV1 does not hold"),
        ("out.mkv", {"depth": 16}, "keeps its depth"),
    ],
)
def test_a_wrong_target_is_refused(
    corpus: Corpus, tmp_path: Path, target: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(EncodeError, match=message):
        upscaled(corpus, "444.mkv", tmp_path / target, **options)
    assert list(tmp_path.iterdir()) == []


# --- bad files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sound.mkv", "holds no video stream"),
        ("no_index.mp4", "cannot be read"),
    ],
)
def test_a_file_without_frames_is_refused(
    corpus: Corpus, tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(DecodeError, match=message):
        upscaled(corpus, name, tmp_path / "out.mkv")
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_of_a_damaged_file_is_kept(corpus: Corpus, tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    upscaled(corpus, "truncated.mkv", target)
    assert 0 < len(stamps(probe(target), 0)) < 24
    broken = tmp_path / "out.ts"
    result = upscaled(corpus, "broken.ts", broken)
    assert len(stamps(probe(broken), 0)) >= 20
    assert "broken.ts is damaged: " in result.failures[0]


#: Videos of 108 frames in 9 s after the loss of their last 40%.
CUT_OFF = {
    "cut.mkv": r"it is cut off at 0:05\.\d of 0:09\.\d, .*\b\d\d of about 10\d frames are left",
    "cut.mp4": r"it is cut off at 0:05\.\d of 0:09\.\d, .*\b\d\d of about 108 frames are left",
    "cut.ts": r"it is cut off at 0:05\.\d",
    "cut.avi": r"it is cut off at 0:05\.\d",
}


@pytest.mark.parametrize("name", CUT_OFF)
def test_a_file_that_was_cut_off_is_named_as_such(
    corpus: Corpus, name: str, tmp_path: Path
) -> None:
    target = tmp_path / "out.mkv"
    (failure,) = upscaled(corpus, name, target).failures
    assert re.search(rf"{name} is damaged: {CUT_OFF[name]}", failure), failure
    assert 50 < len(stamps(probe(target), 0)) < 75
    # A part before the cut is complete.
    assert upscaled(corpus, name, target, end=3, overwrite=True).failures == ()
    target.unlink()
    with pytest.raises(DecodeError, match=f"{name} is cut off; copy or download it again"):
        upscaled(corpus, name, target, strict=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["nine.mkv", "faststart.mp4", "nine.ts", "nine.avi"])
def test_a_whole_file_is_not_cut_off(corpus: Corpus, name: str) -> None:
    path = corpus.path(name)
    with path.open("rb") as file:
        assert not is_cut_off(file)
    for size in (0, 3, 13, 60, path.stat().st_size - 1):
        data = path.read_bytes()[:size]
        assert is_cut_off(io.BytesIO(data)) or size < 61


def test_broken_packets_are_counted_and_make_the_exit_code_1(
    corpus: Corpus, tmp_path: Path
) -> None:
    source, report = corpus.path("broken.mp4"), tmp_path / "report.jsonl"
    same = ("-s", "1", "-n", "none", "-m", "upconv_7", "--preset", "ultrafast")
    done = waifu2x_command(source, "out.mp4", *same, "--report", report, cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    pattern = r"Error: .*broken.mp4 is damaged: \d packets? of its video cannot be decoded, 10\d of"
    assert re.match(pattern, line)
    row = json.loads(report.read_text())
    assert (row["status"], len(row["failures"]), row["error"]) == ("done", 1, None)
    strict = waifu2x_command(source, "strict.mp4", *same, "--strict", cwd=tmp_path)
    assert strict.returncode == 1
    assert "is damaged" in strict.stderr
    assert not (tmp_path / "strict.mp4").exists()


def test_recordings_that_were_joined_go_on_in_time(corpus: Corpus, tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    result = upscaled(corpus, "joined.ts", target)
    assert "1 jump back in time closed" in result.notes
    found = probe(target)
    times = [float(each) for each in stamps(found, 0)]
    assert len(times) == 96
    assert times[-1] - times[0] == pytest.approx(95 / 24, abs=0.01)
    sound = [float(each) for each in stamps(found, 1)]
    assert sound == sorted(sound)
    assert abs(sound[-1] - times[-1]) < 0.3


def test_existing_results_and_the_input_are_kept(corpus: Corpus, tmp_path: Path) -> None:
    source = corpus.path("one.mkv")
    target = tmp_path / "out.mkv"
    target.write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        waifu2x.upscale_video(source, target, **SAME)
    assert target.read_bytes() == b"mine"
    with pytest.raises(OutputExistsError, match="input itself"):
        waifu2x.upscale_video(source, source, overwrite=True, **SAME)
    assert [each.name for each in tmp_path.iterdir()] == ["out.mkv"]


def test_a_frame_beyond_the_limit_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(LimitError, match="64x48 px, and the limit is 3000 pixels"):
        upscaled(corpus, "one.mkv", tmp_path / "out.mkv", max_pixels=3000)
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_no_videos(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("hello")
    with pytest.raises(DecodeError, match="is no video"):
        waifu2x.upscale_video(path, tmp_path / "out.mkv")


def test_a_folder_of_results_keeps_the_container_or_becomes_matroska(
    corpus: Corpus, tmp_path: Path
) -> None:
    waifu2x.upscale_video(corpus.path("one.mkv"), tmp_path, **SAME)
    waifu2x.upscale_video(corpus.path("plain.wmv"), tmp_path, **SAME)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["one.mkv", "plain.mkv"]


def test_bytes_and_streams_are_read_and_written(corpus: Corpus, tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    data = corpus.path("full.mkv").read_bytes()
    waifu2x.upscale_video(data, target, **SAME)
    assert len(probe(target)["streams"]) == 5
    with (tmp_path / "stream.mkv").open("wb") as sink:
        waifu2x.upscale_video(corpus.path("full.mkv"), sink, **SAME)
    assert (tmp_path / "stream.mkv").read_bytes() == target.read_bytes()


def test_a_network_doubles_the_size(corpus: Corpus, tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    result = waifu2x.upscale_file(
        corpus.path("aspect.mkv"), target, model="upconv_7", preset="ultrafast", quality=90
    )
    assert result.size_out == (128, 96)
    assert "24 frames" in result.notes
    assert "x264 crf 12 preset ultrafast" in result.notes
    video = probe(target)["streams"][0]
    assert (video["width"], video["height"]) == (128, 96)
    assert video["sample_aspect_ratio"] == "4:3"
