"""Videos made by Debian's ffmpeg, and described by its ffprobe: an independent judge."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None,
    reason="ffmpeg and ffprobe make and judge the videos; apt-get install ffmpeg",
)

SUBTITLES = """[Script Info]
ScriptType: v4.00+
[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,20
[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:00.10,0:00:00.80,Default,,0,0,0,,Hello
"""

CHAPTERS = """;FFMETADATA1
title=A film
artist=Somebody
[CHAPTER]
TIMEBASE=1/1000
START=0
END=400
title=One
[CHAPTER]
TIMEBASE=1/1000
START=400
END=1000
title=Two
"""


def ffmpeg(*arguments: str | Path, cwd: Path) -> None:
    subprocess.run(
        ["ffmpeg", "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)],
        cwd=cwd,
        check=True,
    )


def probe(path: Path, *sections: str) -> dict[str, Any]:
    """What ffprobe finds: by default streams, packets with MD5, chapters and tags."""
    sections = sections or ("-show_streams", "-show_packets", "-show_chapters", "-show_format")
    done = subprocess.run(
        ["ffprobe", "-v", "error", *sections, "-show_data_hash", "md5", "-of", "json", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def stamps(found: dict[str, Any], index: int) -> list[str]:
    """The timestamps of a stream in order."""
    times = [packet["pts_time"] for packet in found["packets"] if packet["stream_index"] == index]
    return sorted(times, key=float)


def copied(found: dict[str, Any], index: int) -> list[tuple[str | None, ...]]:
    """Timestamps, duration, flags, size and MD5 of each packet of a stream."""
    keys = ("pts_time", "dts_time", "duration_time", "flags", "size", "data_hash")
    return [
        tuple(packet.get(key) for key in keys)
        for packet in found["packets"]
        if packet["stream_index"] == index
    ]


def raw(path: Path, pix_fmt: str, *, cwd: Path, decoder: str | None = None) -> bytes:
    """All frames of the first video stream, decoded by ffmpeg, or by one of its decoders."""
    done = subprocess.run(
        [
            *("ffmpeg", "-v", "error", *(["-c:v", decoder] if decoder else [])),
            *("-i", str(path), "-map", "0:v:0", "-f", "rawvideo"),
            *("-fps_mode", "passthrough", "-pix_fmt", pix_fmt, "-"),
        ],
        cwd=cwd,
        capture_output=True,
        check=True,
    )
    return done.stdout


_TESTSRC = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=24:d=1")
_SINE = ("-f", "lavfi", "-i", "sine=f=440:d=1")
_X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "8")
_OPEN = (
    *("-c:v", "libx264", "-preset", "ultrafast", "-bf", "3", "-g", "24"),
    *("-x264-params", "open-gop=1:scenecut=0", "-c:a", "aac"),
)
_TAGS = (
    *(*_TESTSRC, *_SINE, *_X264, "-c:a", "aac", "-metadata", "title=A", "-metadata", "director=D"),
    *("-metadata", "com.apple.quicktime.make=M", "-metadata:s:a", "title=Sound"),
    *("-movflags", "+use_metadata_tags"),
)


class Corpus:
    """Makes videos by name in a folder, each when first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "s.ass").write_text(SUBTITLES)
        (folder / "chapters.txt").write_text(CHAPTERS)
        (folder / "font.ttf").write_bytes(bytes(range(256)) * 4)
        self.path = cache(self._make)

    def _make(self, name: str) -> Path:
        target = self.folder / name
        make = _MAKERS[name]
        if callable(make):
            make(self, target)
        else:
            ffmpeg(*make, target, cwd=self.folder)
        return target


def _cover(corpus: Corpus, target: Path) -> None:
    ffmpeg(*_TESTSRC, "-frames:v", "1", "cover.jpg", cwd=corpus.folder)
    ffmpeg(
        *(*_TESTSRC, *_SINE, "-i", "cover.jpg", "-map", "0", "-map", "1", "-map", "2"),
        *("-c:v:0", "libx264", "-bf", "2", "-c:v:1", "copy", "-disposition:v:1", "attached_pic"),
        *("-c:a", "aac", "-metadata", "title=Film"),
        target,
        cwd=corpus.folder,
    )


def _edit_list(corpus: Corpus, target: Path) -> None:
    ffmpeg("-ss", "0.3", "-i", corpus.path("plain.mp4"), "-c", "copy", target, cwd=corpus.folder)


def _rotated(corpus: Corpus, target: Path) -> None:
    ffmpeg(
        *("-i", corpus.path("plain.mp4"), "-c", "copy", "-metadata:s:v", "rotate=90"),
        target,
        cwd=corpus.folder,
    )


def _truncated(corpus: Corpus, target: Path) -> None:
    target.write_bytes(corpus.path("full.mkv").read_bytes()[:20000])


def _cut(corpus: Corpus, target: Path) -> None:
    whole = {".mp4": "faststart.mp4"}.get(target.suffix, f"nine{target.suffix}")
    data = corpus.path(whole).read_bytes()
    target.write_bytes(data[: len(data) * 6 // 10 // 188 * 188 + 100])


def _broken_mp4(corpus: Corpus, target: Path) -> None:
    data = bytearray(corpus.path("faststart.mp4").read_bytes())
    for at in range(len(data) // 2, len(data) // 2 + 1500):
        data[at] ^= 0x55
    target.write_bytes(data)


def _from_long(corpus: Corpus, target: Path) -> None:
    ffmpeg(
        "-i", corpus.path("long.mkv"), "-c", "copy", "-movflags", "+faststart", target,
        cwd=corpus.folder,
    )  # fmt: skip


def _without_index(corpus: Corpus, target: Path) -> None:
    target.write_bytes(corpus.path("plain.mp4").read_bytes()[:6000])


def _joined(corpus: Corpus, target: Path) -> None:
    target.write_bytes(2 * corpus.path("long.ts").read_bytes())


def _short(corpus: Corpus, target: Path) -> None:
    target.write_bytes(2 * corpus.path("half.ts").read_bytes())


def _broken(corpus: Corpus, target: Path) -> None:
    data = bytearray(corpus.path("plain.ts").read_bytes())
    for at in range(len(data) // 3, len(data) // 3 + 1500):
        data[at] ^= 0x55
    target.write_bytes(data)


_MAKERS: dict[str, tuple[str, ...] | Callable[[Corpus, Path], None]] = {
    # Two tracks of sound, subtitles with a font, chapters, tags and dispositions.
    "full.mkv": (
        *(*_TESTSRC, *_SINE, "-f", "lavfi", "-i", "sine=f=880:d=1"),
        *("-i", "s.ass", "-i", "chapters.txt", "-map", "0", "-map", "1", "-map", "2"),
        *("-map", "3", "-map_metadata", "4", "-map_chapters", "4", *_X264),
        *("-c:a:0", "aac", "-c:a:1", "libopus", "-c:s", "ass"),
        *("-metadata:s:a:0", "language=jpn", "-metadata:s:a:1", "language=eng"),
        *("-metadata:s:a:1", "title=Commentary", "-metadata:s:s:0", "language=deu"),
        *("-disposition:a:1", "default", "-disposition:a:0", "comment"),
        *("-disposition:s:0", "forced", "-attach", "font.ttf"),
        *("-metadata:s:t", "mimetype=application/x-truetype-font"),
    ),
    "cover.mp4": _cover,
    "plain.mp4": (*_TESTSRC, *_SINE, *_X264, "-c:a", "aac"),
    "plain.ts": (*_TESTSRC, *_SINE, *_X264, "-c:a", "aac"),
    "plain.avi": (*_TESTSRC, *_SINE, "-c:v", "mpeg4", "-c:a", "mp3"),
    "plain.webm": (*_TESTSRC, "-c:v", "libvpx-vp9", "-deadline", "realtime", "-b:v", "100k"),
    "plain.wmv": (*_TESTSRC, "-c:v", "wmv2"),
    "vfr.mkv": (
        *(*_TESTSRC, "-vf", "select='not(mod(n,3))+eq(mod(n,7),1)',settb=1/1000"),
        *("-fps_mode", "vfr", *_X264),
    ),
    "vfr.mp4": (
        *(*_TESTSRC, "-vf", "select='not(mod(n,3))+eq(mod(n,7),1)'", "-fps_mode", "vfr", *_X264),
    ),
    "offset.mkv": (
        *("-itsoffset", "1.5", *_TESTSRC, *_SINE, "-map", "0", "-map", "1", *_X264),
        *("-c:a", "aac"),
    ),
    "edit.mp4": _edit_list,
    "rotated.mp4": _rotated,
    "ten.mkv": (
        *(*_TESTSRC, *_X264, "-pix_fmt", "yuv420p10le", "-colorspace", "bt2020nc"),
        *("-color_primaries", "bt2020", "-color_trc", "arib-std-b67", "-color_range", "tv"),
    ),
    "hdr.mkv": (
        *(*_TESTSRC, "-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le"),
        "-x265-params",
        "log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:range=limited:"
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):"
        "max-cll=1000,400",
    ),
    "odd.mkv": (
        *("-f", "lavfi", "-i", "color=c=0x3070c0:s=63x47:r=24:d=0.5", "-c:v", "ffv1"),
        *("-pix_fmt", "yuv444p"),
    ),
    "site.mkv": (*_TESTSRC, *_X264, "-x264-params", "chromaloc=2"),
    "timecode.mov": (*_TESTSRC, *_X264, "-timecode", "01:00:00:00"),
    "text.mp4": (
        *(*_TESTSRC, "-i", "s.ass", "-i", "chapters.txt", "-map", "0", "-map", "1"),
        *("-map_metadata", "2", "-map_chapters", "2", *_X264, "-c:s", "mov_text"),
    ),
    "aspect.mkv": (*_TESTSRC, "-vf", "setsar=4/3", *_X264),
    "one.mkv": (*_TESTSRC, "-frames:v", "1", *_X264),
    "sound.mkv": (*_SINE, "-c:a", "aac"),
    "interlaced.mkv": (
        *(*_TESTSRC, "-vf", "setfield=tff", "-c:v", "libx264", "-flags", "+ilme+ildct"),
        *("-x264opts", "tff=1"),
    ),
    "444.mkv": (*_TESTSRC, *_X264, "-pix_fmt", "yuv444p"),
    "rgb.mkv": (*_TESTSRC, "-c:v", "ffv1", "-pix_fmt", "bgr0"),
    "two.mkv": (
        *(*_TESTSRC, *_TESTSRC, "-map", "0", "-map", "1", *_X264),
        *("-disposition:v:0", "0", "-disposition:v:1", "default"),
    ),
    "long.mkv": (
        *("-f", "lavfi", "-i", "testsrc2=s=64x48:r=12:d=9", "-f", "lavfi", "-i", "sine=f=440:d=9"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-g", "24", "-c:a", "aac"),
    ),
    "long.ts": (
        *("-f", "lavfi", "-i", "testsrc2=s=64x48:r=24:d=2", "-f", "lavfi", "-i", "sine=d=2"),
        *(*_X264, "-c:a", "aac"),
    ),
    "joined.ts": _joined,
    "half.ts": (
        *("-f", "lavfi", "-i", "testsrc2=s=64x48:r=24:d=0.5", "-f", "lavfi", "-i", "sine=d=0.5"),
        *(*_X264, "-c:a", "mp2"),
    ),
    "short.ts": _short,
    "fragments.mp4": (
        *(*_TESTSRC, *_SINE, *_X264, "-c:a", "aac"),
        *("-movflags", "+frag_keyframe+empty_moov"),
    ),
    "pids.ts": (
        *(*_TESTSRC, *_SINE, "-map", "0", "-map", "1", *_X264, "-c:a", "mp2"),
        *("-streamid", "0:300", "-streamid", "1:256"),
    ),
    # Keyframes a second apart, with frames that are shown before and stored behind them.
    **{
        f"open.{extension}": (
            *("-f", "lavfi", "-i", "testsrc2=s=64x48:r=24:d=4", "-f", "lavfi", "-i", "sine=d=4"),
            *codec,
        )
        for extension, codec in {
            "mkv": _OPEN,
            "mp4": _OPEN,
            "ts": _OPEN,
            "flv": _OPEN,
            "mpg": ("-c:v", "mpeg2video", "-bf", "2", "-g", "24", "-c:a", "mp2"),
            "avi": ("-c:v", "mpeg4", "-bf", "2", "-g", "30", "-c:a", "mp3"),
        }.items()
    },
    "tags.mp4": _TAGS,
    "tags.mov": _TAGS,
    "negative.mkv": (
        *(*_TESTSRC, *_SINE, *_X264, "-c:a", "aac", "-output_ts_offset", "-0.5"),
        *("-avoid_negative_ts", "disabled"),
    ),
    "flac.mkv": (
        *(*_TESTSRC, *_SINE, "-i", "s.ass", "-map", "0", "-map", "1", "-map", "2", *_X264),
        *("-c:a", "flac", "-c:s", "srt"),
    ),
    "two_sounds.mp4": (
        *(*_TESTSRC, *_SINE, *_SINE, "-map", "0", "-map", "1", "-map", "2", *_X264),
        *("-c:a", "aac"),
    ),
    "pcm.mkv": (*_TESTSRC, *_SINE, *_X264, "-c:a", "pcm_s16le", "-ac", "2"),
    "truehd.mkv": (
        *(*_TESTSRC, *_SINE, *_X264, "-c:a", "truehd", "-strict", "-2", "-ar", "48000"),
        *("-ac", "2"),
    ),
    "alpha.webm": (
        *(*_TESTSRC, "-frames:v", "3", "-vf", "format=yuva420p,colorchannelmixer=aa=0.5"),
        *("-c:v", "libvpx-vp9", "-deadline", "realtime"),
    ),
    "gray_alpha.mkv": (
        *(*_TESTSRC, "-frames:v", "3", "-vf", "format=rgba,colorchannelmixer=aa=0.5"),
        *("-c:v", "ffv1", "-pix_fmt", "ya8"),
    ),
    "uneven.webm": (
        *(*_TESTSRC, "-frames:v", "3", "-vf", "scale=63:47"),
        *("-c:v", "libvpx-vp9", "-deadline", "realtime"),
    ),
    "deep444.mkv": (*(*_TESTSRC, "-frames:v", "3", "-c:v", "ffv1", "-pix_fmt", "yuv444p10le"),),
    "faststart.mp4": _from_long,
    "nine.mkv": _from_long,
    "nine.ts": _from_long,
    "nine.avi": (
        *("-f", "lavfi", "-i", "testsrc2=s=64x48:r=12:d=9", "-f", "lavfi", "-i", "sine=f=440:d=9"),
        *("-c:v", "mpeg4", "-c:a", "mp3"),
    ),
    "cut.mkv": _cut,
    "cut.mp4": _cut,
    "cut.ts": _cut,
    "cut.avi": _cut,
    "broken.mp4": _broken_mp4,
    "truncated.mkv": _truncated,
    "no_index.mp4": _without_index,
    "broken.ts": _broken,
}
