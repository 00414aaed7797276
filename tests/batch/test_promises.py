"""Guarantees of a batch: complete results and bounded memory."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from helpers import art

import waifu2x
from waifu2x.batch import memory

GB = 1 << 30


def test_results_are_on_the_disk_before_they_have_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("1.png", "2.jpg"):
        art.anime_face(20, 16).save(tmp_path / "in" / name)
    synced: dict[int, tuple[int, list[str]]] = {}
    real = os.fsync

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        names = []
        for path in (tmp_path / "out").iterdir():
            with suppress(FileNotFoundError):  # the other file gets its name just now
                if path.stat().st_ino == status.st_ino:
                    names.append(path.name)
        synced[status.st_ino] = (status.st_size, names)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    upscaler = waifu2x.Upscaler("upconv_7")
    results = list(waifu2x.upscale_many(tmp_path / "in", tmp_path / "out", upscaler=upscaler))
    assert [result.error for result in results] == [None, None]
    targets = sorted((tmp_path / "out").iterdir())
    assert len(targets) == 2
    for target in targets:
        size, names = synced[target.stat().st_ino]
        assert size == target.stat().st_size, "synced when complete"
        assert target.name not in names, "synced before it has its name"


@pytest.mark.parametrize("free", [1 * GB, 8 * GB, 100 * GB])
def test_the_default_is_half_of_what_is_free(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    monkeypatch.setattr("waifu2x._machine._CGROUP", Path("/nowhere"))
    assert 0.35 * free < memory.budget(None) <= 0.5 * free
