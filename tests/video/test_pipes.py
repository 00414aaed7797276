"""y4m through the command: pipes, files, folders, and what is refused."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import threading
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from helpers.command import WAIFU2X, importable, waifu2x
from helpers.videos import Corpus, ffmpeg, needs_ffmpeg, probe, raw, stamps

from waifu2x import Upscaler, upscale_file
from waifu2x.errors import ArgumentError, DecodeError, EncodeError, LimitError, SkippedError

HEADER = b"YUV4MPEG2 W24 H16 F24:1 Ip A1:1 C420mpeg2 XYSCSS=420MPEG2 XCOLORRANGE=LIMITED\n"
FRAME = 24 * 16 * 3 // 2
LARGE = HEADER.replace(b"W24 H16", b"W48 H32")
SAME = ("-s", "1", "-n", "none", "--quiet")
FAST = ("-m", "upconv_7", "-n", "none", "--quiet")


def frames(count: int, seed: int = 1) -> list[bytes]:
    rng = np.random.default_rng(seed)
    return [b"FRAME\n" + rng.integers(60, 180, FRAME, np.uint8).tobytes() for _ in range(count)]


def video(count: int = 3) -> bytes:
    return HEADER + b"".join(frames(count))


def run(*args: str | Path, data: bytes, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [WAIFU2X, *map(str, args)], input=data, capture_output=True, cwd=cwd, check=False
    )


def test_a_pipe_that_changes_nothing_is_exact(tmp_path: Path) -> None:
    done = run("-", "-", "-f", "y4m", *SAME, data=video(), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == video()


def test_the_format_is_kept_without_a_name(tmp_path: Path) -> None:
    assert run("-", "-", *SAME, data=video(), cwd=tmp_path).stdout == video()
    assert run("-", "-", *SAME, data=HEADER, cwd=tmp_path).stdout == HEADER


def test_files_and_pipes_give_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "in.y4m").write_bytes(video())
    assert waifu2x("in.y4m", "out.y4m", *FAST, cwd=tmp_path).returncode == 0
    made = (tmp_path / "out.y4m").read_bytes()
    assert made.startswith(LARGE + b"FRAME\n")
    assert len(made) == len(LARGE) + 3 * (6 + 4 * FRAME)
    assert run("-", "-", "-f", "y4m", *FAST, data=video(), cwd=tmp_path).stdout == made
    assert run("-", "piped.y4m", *FAST, data=video(), cwd=tmp_path).returncode == 0
    assert (tmp_path / "piped.y4m").read_bytes() == made
    assert run("in.y4m", "-", *FAST, data=b"", cwd=tmp_path).stdout == made


def test_a_named_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(video()))
    writer.start()
    done = waifu2x("pipe", "out.y4m", *SAME, cwd=tmp_path)
    writer.join()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.y4m").read_bytes() == video()


def exactly(stream: IO[bytes] | None, size: int) -> bytes:
    assert stream is not None
    data = stream.read(size)
    assert len(data) == size
    return data


def test_frames_come_out_while_others_go_in(tmp_path: Path) -> None:
    """The reader of the result waits for each frame: nothing piles up, nothing is held back."""
    command = [WAIFU2X, "-", "-", "-f", "y4m", *FAST]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(HEADER)
        ahead = 8
        for number, frame in enumerate(frames(20)):
            process.stdin.write(frame)
            process.stdin.flush()
            if number == ahead:
                assert exactly(process.stdout, len(LARGE)) == LARGE
            if number >= ahead:
                assert exactly(process.stdout, 6 + 4 * FRAME).startswith(b"FRAME\n")
        process.stdin.close()
        for _ in range(ahead):
            exactly(process.stdout, 6 + 4 * FRAME)
        assert process.stdout is not None
        assert process.stdout.read() == b""
    assert process.returncode == 0


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    """An endless stream: the command ends as soon as nobody reads the result."""
    command = [WAIFU2X, "-", "-", "-f", "y4m", *SAME]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(video(5))
        process.stdin.flush()
        exactly(process.stdout, 100)
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            for _ in range(100_000):
                process.stdin.write(frames(1)[0])
            pytest.fail("the command reads on")
        error = process.stderr.read()
        process.stdin = None
    assert process.returncode == 1
    assert error == (
        b"Error: standard input: the result cannot be written: its reader has closed the pipe\n"
    )


def test_a_stream_that_is_cut_off(tmp_path: Path) -> None:
    done = run("-", "out.y4m", *SAME, data=video()[:-9], cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == b"Error: standard input is cut off within frame 3; check its source\n"
    assert list(tmp_path.iterdir()) == []
    piped = run("-", "-", *SAME, data=video()[:-9], cwd=tmp_path)
    assert piped.returncode == 1
    assert piped.stdout == video(2)


def test_pyav_is_not_needed(tmp_path: Path) -> None:
    (tmp_path / "av.py").write_text("raise ImportError('no such package')")
    (tmp_path / "in.y4m").write_bytes(video())
    done = waifu2x("in.y4m", "out.y4m", *SAME, cwd=tmp_path, env=importable(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.y4m").read_bytes() == video()


def test_folders(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.y4m", "b.y4m"):
        (tmp_path / "in" / name).write_bytes(video())
    assert waifu2x("in", "out", *SAME, cwd=tmp_path).returncode == 0
    assert (tmp_path / "out" / "a.y4m").read_bytes() == video()
    assert (tmp_path / "out" / "b.y4m").read_bytes() == video()


def test_the_line_of_the_result(tmp_path: Path) -> None:
    (tmp_path / "in.y4m").write_bytes(HEADER.split(b" XYSCSS")[0] + b"\n" + frames(1)[0] * 3)
    done = waifu2x("in.y4m", "out.y4m", "-m", "upconv_7", cwd=tmp_path)
    assert "24x16 -> 48x32 px, upconv_7" in done.stdout
    assert "3 frames; 67% of the tiles reused, 2 whole frames" in done.stdout
    assert "not tagged, so assumed: matrix BT.601, range limited" in done.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("in.y4m", "out.png"), "becomes another one, and the result would be .png"),
        (("in.y4m", "out.y4m", "-q", "90"), "quality is 90, and y4m holds raw frames"),
        (("in.y4m", "out.mkv", "-f", "y4m"), "contradict each other"),
        (("in.png", "out.y4m"), "a y4m video is made of another one, and in.png is none"),
        (("in.y4m", "-", "-f", "png"), "the result would be png"),
        (("woven.y4m", "out.y4m"), "woven.y4m is interlaced; deinterlace it first"),
        (("empty.y4m", "out.y4m"), "must have a width"),
    ],
)
def test_what_is_refused(args: tuple[str, ...], message: str, tmp_path: Path) -> None:
    (tmp_path / "in.y4m").write_bytes(video(1))
    (tmp_path / "woven.y4m").write_bytes(video(1).replace(b" Ip ", b" It "))
    (tmp_path / "empty.y4m").write_bytes(b"YUV4MPEG2 C420\n")
    (tmp_path / "in.png").write_bytes(
        bytes.fromhex(
            "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
            "3a7e9b550000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
        )
    )
    done = waifu2x(*args, *FAST, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert message in " ".join(done.stderr.split())
    assert not list(tmp_path.glob("out*"))


# --- from and to containers


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    pytest.importorskip("av", reason="PyAV (extra video) is not installed")
    return Corpus(tmp_path_factory.mktemp("corpus"))


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("full.mkv", "audio aac, jpn"),
        ("ten.mkv", ""),
        ("aspect.mkv", ""),
        ("hdr.mkv", "HDR metadata"),
    ],
)
def test_raw_frames_of_a_video(corpus: Corpus, name: str, lost: str, tmp_path: Path) -> None:
    source = corpus.path(name)
    done = waifu2x(source, "out.y4m", *SAME[:-1], cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr.count("\n") == bool(lost)
    assert lost in done.stderr
    data = (tmp_path / "out.y4m").read_bytes()
    piped = run(source, "-", "-f", "y4m", *SAME, data=b"", cwd=tmp_path)
    assert piped.stdout == data
    ffmpeg(
        *("-i", source, "-fps_mode", "passthrough", "-strict", "-1", "-f", "yuv4mpegpipe"),
        "expected.y4m",
        cwd=tmp_path,
    )
    header, expected = (tmp_path / "expected.y4m").read_bytes().split(b"\n", 1)
    own_header, own = data.split(b"\n", 1)
    assert own == expected
    # The range is not in the header of the other program if the source has no tag.
    assert {word for word in header.split() if not word.startswith(b"XC")} <= {*own_header.split()}


@needs_ffmpeg
def test_a_video_of_raw_frames(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV (extra video) is not installed")
    (tmp_path / "in.y4m").write_bytes(video(60))
    lossless = (*SAME, "--codec", "ffv1")
    done = waifu2x("in.y4m", "out.mkv", *lossless, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    piped = run("-", "piped.mkv", *lossless, data=video(60), cwd=tmp_path)
    assert piped.returncode == 0, piped.stderr
    assert (tmp_path / "piped.mkv").read_bytes() == (tmp_path / "out.mkv").read_bytes()
    samples = b"".join(each.partition(b"\n")[2] for each in frames(60))
    assert raw(tmp_path / "out.mkv", "yuv420p", cwd=tmp_path) == samples
    (stream,) = probe(tmp_path / "out.mkv", "-show_streams")["streams"]
    assert (stream["avg_frame_rate"], stream["width"], stream["height"]) == ("24/1", 24, 16)
    assert waifu2x("in.y4m", "part.mkv", *lossless, "--start", "2", cwd=tmp_path).returncode == 0
    assert len(stamps(probe(tmp_path / "part.mkv"), 0)) == 12
    cut = run("-", "cut.mkv", *lossless, data=video(60)[:-9], cwd=tmp_path)
    assert cut.returncode == 1
    assert cut.stderr == b"Error: standard input is cut off within frame 60; check its source\n"
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["in.y4m", "out.mkv", "part.mkv", "piped.mkv"]


@needs_ffmpeg
@pytest.mark.parametrize(
    ("header", "message"),
    [
        (HEADER.replace(b" Ip ", b" It "), "is interlaced; deinterlace it first"),
        (HEADER.replace(b" F24:1", b""), "has no frame rate"),
    ],
)
def test_raw_frames_that_become_no_video(header: bytes, message: str, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV (extra video) is not installed")
    done = run("-", "out.mkv", *SAME, data=header + frames(1)[0], cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr.decode()
    assert list(tmp_path.iterdir()) == []


def test_interlaced_frames_as_they_are(tmp_path: Path) -> None:
    woven = video(1).replace(b" Ip ", b" It ")
    (tmp_path / "in.y4m").write_bytes(woven)
    done = waifu2x("in.y4m", "out.y4m", *FAST, "--deinterlace", "off", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.y4m").read_bytes().startswith(LARGE.replace(b" Ip ", b" It "))
    assert run("-", "-", *SAME, data=woven, cwd=tmp_path).stdout == woven


def test_parts_of_a_stream() -> None:
    def part(**times: float) -> bytes:
        sink = io.BytesIO()
        upscale_file(io.BytesIO(video(8)), sink, scale=1, noise=None, **times)  # type: ignore[arg-type]
        return sink.getvalue()

    each = frames(8)
    assert part(start=0.1) == HEADER + b"".join(each[3:])
    assert part(end=0.125) == HEADER + b"".join(each[:3])
    assert part(start=1 / 24, end=0.1) == HEADER + b"".join(each[1:3])


def test_python_streams(tmp_path: Path) -> None:
    upscaler = Upscaler("upconv_7", max_pixels=1000)
    sink = io.BytesIO()
    seen: list[float] = []
    done = upscale_file(
        io.BytesIO(video()), sink, scale=2, noise=None, upscaler=upscaler, progress=seen.append
    )
    assert (done.size_in, done.size_out) == ((24, 16), (48, 32))
    assert len(sink.getvalue()) == len(LARGE) + 3 * (6 + 4 * FRAME)
    assert [share.frames for share in seen] == [1, 2, 3]  # type: ignore[attr-defined]
    for data, options, error in [
        (video(), {"depth": 8}, EncodeError),
        (video(), {"scale": 50}, LimitError),
        (video(), {"skip_larger": (23, 16)}, SkippedError),
        (video(), {"noise": 7}, ArgumentError),
        (HEADER.replace(b"W24", b"W2400000"), {}, LimitError),
        (HEADER + b"FRAME", {}, DecodeError),
    ]:
        with pytest.raises(error):
            upscale_file(io.BytesIO(data), io.BytesIO(), upscaler=upscaler, **options)  # type: ignore[arg-type]
