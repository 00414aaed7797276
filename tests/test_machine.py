"""CPU and memory limits of this process."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import psutil
import pytest

from waifu2x import _machine
from waifu2x.batch import memory
from waifu2x.errors import ArgumentError, LimitError

GB = 1 << 30


def test_processors_are_those_this_process_may_use() -> None:
    assert 1 <= _machine.processors() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 20 * GB),
        ({"memory.max": "max\n", "memory.current": "5"}, 20 * GB),
        ({"memory.max": str(4 * GB), "memory.current": str(3 * GB)}, GB),
        (
            {
                "memory.max": str(4 * GB),
                "memory.current": str(3 * GB),
                "memory.stat": f"anon 1\ninactive_file {GB // 2}\nshmem 3\n",
            },
            GB + GB // 2,
        ),
        ({"memory.max": str(GB), "memory.current": str(2 * GB)}, 0),
        (
            {
                "memory/memory.limit_in_bytes": str(2 * GB),
                "memory/memory.usage_in_bytes": str(GB),
            },
            GB,
        ),
        ({"memory.max": "strange", "memory.current": "5"}, 20 * GB),
    ],
    ids=["bare", "no limit", "limit", "with file cache", "exceeded", "version 1", "strange"],
)
def test_a_container_has_less_than_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    class Free:
        available = 20 * GB

    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(_machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", Free)
    assert _machine.available_memory() == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"kernel/threads-max": "900\n"}, 900),
        ({"kernel/threads-max": "900", "kernel/pid_max": "800"}, 800),
        ({"kernel/threads-max": "900", "vm/max_map_count": "1001"}, 500),
        ({"kernel/threads-max": "900", "pids.max": "70"}, 70),
        ({"kernel/threads-max": "900", "pids.max": "max\n"}, 900),
        ({"kernel/threads-max": "strange"}, None),
    ],
)
def test_threads_are_limited_by_the_smallest_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int | None
) -> None:
    resource = pytest.importorskip("resource")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(_machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(_machine, "_KERNEL", tmp_path)
    unlimited = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (unlimited, unlimited))
    assert _machine.thread_limit() == expected
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (60, unlimited))
    assert _machine.thread_limit() == 60


def test_resident_memory_is_that_of_a_python_with_numpy() -> None:
    assert 10 << 20 < _machine.resident_memory() < 64 * GB


@pytest.mark.parametrize(
    "error", [psutil.NoSuchProcess(1), FileNotFoundError("/proc/meminfo"), NotImplementedError()]
)
def test_memory_is_known_without_proc(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    def failing(*args: object) -> None:
        raise error

    monkeypatch.setattr(_machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", failing)
    monkeypatch.setattr(psutil, "Process", failing)
    assert 10 << 20 < _machine.resident_memory() < 64 * GB
    assert 0 < _machine.available_memory() <= _machine.total_memory()
    assert memory.budget(None) > 0


def test_free_memory_that_the_system_does_not_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*args: object) -> int:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", failing)
    monkeypatch.setattr(_machine, "total_memory", lambda: 6 * GB)
    monkeypatch.setattr(_machine, "_CGROUP", Path("nowhere"))
    monkeypatch.setattr(psutil, "virtual_memory", failing)
    assert _machine.available_memory() == 3 * GB


def test_large_blocks_go_back_to_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []

    class Library:
        def mallopt(self, parameter: int, value: int) -> int:
            calls.append((parameter, value))
            return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    _machine.give_memory_back()
    assert calls == [(-3, 4 << 20)], "M_MMAP_THRESHOLD of glibc's malloc.h"
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())  # a C library without mallopt
    _machine.give_memory_back()
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1073741824", GB),
        ("1G", GB),
        ("1.5g", 3 * GB // 2),
        ("800M", 800 << 20),
        ("2 GiB", 2 * GB),
        ("64KB", 64 << 10),
        ("1T", 1 << 40),
    ],
)
def test_sizes_of_memory(text: str, expected: int) -> None:
    assert memory.parse_memory(text) == expected


@pytest.mark.parametrize("text", ["", "G", "-1G", "1X", "1,5G", "lots", "1e9", "0x10"])
def test_what_is_no_size_of_memory(text: str) -> None:
    with pytest.raises(ArgumentError, match="such as 4G"):
        memory.parse_memory(text)


def test_the_budget_leaves_room_for_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "resident_memory", lambda: 100 << 20)
    monkeypatch.setattr(memory, "available_memory", lambda: 8 * GB)
    assert 3 * GB < memory.budget(None) <= 4 * GB
    assert memory.budget(GB) < GB - (100 << 20)
    with pytest.raises(LimitError, match=r"give it \d+ MiB or more"):
        memory.budget(150 << 20)
    monkeypatch.setattr(memory, "available_memory", lambda: 0)
    assert memory.budget(None) > 0
