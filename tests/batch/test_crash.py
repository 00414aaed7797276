"""A batch can be resumed after it was killed at any moment or ran out of disk space."""

from __future__ import annotations

import random
import shutil
import signal
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
    done = subprocess.run(command(library, out), timeout=300, stderr=subprocess.DEVNULL)
    assert done.returncode == 1, "some are broken"
    found = tree(out)
    assert len(found) == COPIES * len(RESULTS)
    return found


def killed(results: int, seconds: float, library: Path, out: Path) -> bool:
    """Kill a run ``seconds`` after its first ``results``; return False if it had ended."""
    process = subprocess.Popen(command(library, out, "--resume"), stderr=subprocess.DEVNULL)
    while process.poll() is None and len(whole(out)) < results:
        time.sleep(0.002)
    time.sleep(seconds)
    process.kill()
    return process.wait() == -signal.SIGKILL


def whole(out: Path) -> list[Path]:
    """The results with final names."""
    return [path for path in out.rglob("*") if path.is_file() and not path.name.startswith(".")]


def test_killed_again_and_again(
    library: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """Kills a chain of runs at random points, then lets the last run finish."""
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    out = tmp_path / "out"
    kills = 0
    while kills < 8:
        made = len(whole(out))
        if made > len(undisturbed) - 3:
            for path in rng.sample(whole(out), made // 2):
                path.unlink()
        results = rng.randrange(len(whole(out)), len(undisturbed) - 1)
        kills += killed(results, rng.uniform(0, 0.05), library, out)
        for name, data in tree(out).items():
            if not Path(name).name.startswith("."):
                assert data == undisturbed[name], f"{name} is not whole; seed {seed}"
    last = subprocess.run(command(library, out, "--resume"), timeout=300, stderr=subprocess.DEVNULL)
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
    full = subprocess.run(command(library, out), timeout=300, capture_output=True, text=True)
    assert full.returncode == 1
    assert "No space left on device" in full.stderr
    assert "Traceback" not in full.stderr
    found = tree(out)
    assert 0 < len(found) < len(undisturbed)
    for name, data in found.items():
        assert data == undisturbed[name], f"{name} is not whole"
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    subprocess.run(command(library, out, "--resume"), timeout=300, stderr=subprocess.DEVNULL)
    assert tree(out) == undisturbed
