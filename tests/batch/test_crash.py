"""A batch that is killed at any moment, or finds the disk full, can be resumed."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.batch_files import RESULTS, make, tree

WAIFU2X = Path(sys.executable).with_name("waifu2x")
COPIES = 3


def command(*args: str | Path) -> list[str]:
    return [str(WAIFU2X), "-m", "upconv_7", "-r", "--quiet", *map(str, args)]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library") / "in"
    make(folder, COPIES)
    return folder


@pytest.fixture(scope="module")
def undisturbed(library: Path) -> dict[str, bytes]:
    out = library.parent / "undisturbed"
    done = subprocess.run(command(library, out), timeout=120, stderr=subprocess.DEVNULL)
    assert done.returncode == 1, "some are broken"
    found = tree(out)
    assert len(found) == COPIES * len(RESULTS)
    return found


def killed_after(seconds: float, *args: str | Path) -> bool:
    """Run the command and kill it after a while; returns whether it was killed."""
    process = subprocess.Popen(command(*args), stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def test_killed_again_and_again(
    library: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """Kill a chain of runs at moments spread over a run's time, then run to the end."""
    began = time.monotonic()
    subprocess.run(command(library, tmp_path / "timed"), timeout=120, stderr=subprocess.DEVNULL)
    takes = time.monotonic() - began
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    out = tmp_path / "out"
    kills = 0
    for _ in range(8):
        kills += killed_after(rng.uniform(0.25, 0.8) * takes, library, out, "--resume")
        for name, data in tree(out).items():
            if not Path(name).name.startswith("."):
                assert data == undisturbed[name], f"{name} is not whole; seed {seed}"
    assert kills > 0
    last = subprocess.run(command(library, out, "--resume"), timeout=120, stderr=subprocess.DEVNULL)
    assert last.returncode == 1
    assert tree(out) == undisturbed, f"seed {seed}"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    done = None
    if mount is not None:
        done = subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], capture_output=True
        )
    if done is None or done.returncode != 0:
        pytest.skip("only root mounts disks")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk(library: Path, undisturbed: dict[str, bytes], small_disk: Path) -> None:
    out = small_disk / "out"
    full = subprocess.run(command(library, out), timeout=120, capture_output=True, text=True)
    assert full.returncode == 1
    assert "No space left on device" in full.stderr
    assert "Traceback" not in full.stderr
    found = tree(out)
    assert 0 < len(found) < len(undisturbed)
    for name, data in found.items():
        assert data == undisturbed[name], f"{name} is not whole"
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    subprocess.run(command(library, out, "--resume"), timeout=120, stderr=subprocess.DEVNULL)
    assert tree(out) == undisturbed
