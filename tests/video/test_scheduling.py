"""Encoders must not change how the system schedules the process; as root, SVT-AV1 tries to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.videos import ffmpeg

pytest.importorskip("av", reason="PyAV is not installed")

SCRIPT = """
import os
from pathlib import Path
import waifu2x
from waifu2x.video.encode import FrameEncoder
opened = []
begin = FrameEncoder.__post_init__
def policies():
    return {os.sched_getscheduler(int(each)) for each in os.listdir("/proc/self/task")}
def observed(self):
    begin(self)
    opened.append(policies())
FrameEncoder.__post_init__ = observed
waifu2x.upscale_video("in.mkv", "out.mkv", model="swift", codec="av1")
assert opened and all(each == {os.SCHED_OTHER} for each in opened), opened
assert policies() == {os.SCHED_OTHER}, policies()
"""


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="no scheduling policies here")
def test_av1_leaves_the_scheduling_of_all_threads(tmp_path: Path) -> None:
    source = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=24:d=0.2", "-pix_fmt", "yuv420p")
    ffmpeg(*source, "-c:v", "libx264", "in.mkv", cwd=tmp_path)
    subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, check=True, timeout=120)
