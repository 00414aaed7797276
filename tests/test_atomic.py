"""Temporary files: locked while written, and deleted after their process has died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from waifu2x import atomic
from waifu2x.atomic import remove_live, remove_stale, temporary_in, write_file, write_files
from waifu2x.errors import DecodeError, EncodeError, OutputExistsError

WRITER = """
import sys
from pathlib import Path
from waifu2x.atomic import write_file

def write(file):
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.read()

write_file(Path(sys.argv[1]) / "a.bin", write, overwrite=True)
"""


def writer(folder: Path) -> subprocess.Popen[str]:
    """Start a process that is writing a file."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_process_left_is_removed_and_what_is_written_stays(tmp_path: Path) -> None:
    killed = writer(tmp_path)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    living = writer(tmp_path)
    assert len(names(tmp_path)) == 2
    assert remove_stale(tmp_path) == 1
    assert len(names(tmp_path)) == 1
    assert remove_stale(tmp_path) == 0
    living.communicate("", timeout=300)
    assert living.returncode == 0
    assert names(tmp_path) == ["a.bin"]


def test_only_files_of_ours_are_removed(tmp_path: Path) -> None:
    others = [".waifu2x-notes.txt", "waifu2x-1.tmp", ".hidden.tmp", "a.png"]
    for name in others:
        (tmp_path / name).write_bytes(b"precious")
    (tmp_path / ".waifu2x-folder.tmp").mkdir()
    assert remove_stale(tmp_path) == 0
    assert names(tmp_path) == sorted([*others, ".waifu2x-folder.tmp"])
    assert remove_stale(tmp_path / "missing") == 0


def test_a_link_with_such_a_name_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / ".waifu2x-0.tmp").symlink_to(tmp_path / "precious")
    remove_stale(tmp_path)
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_without_locks_only_old_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "fcntl", None)
    for age in (0, 3600, 2 * 24 * 3600):
        path = tmp_path / f".waifu2x-{age}.tmp"
        path.write_bytes(b"")
        os.utime(path, (time.time() - age, time.time() - age))
    with temporary_in(tmp_path) as temporary:
        assert remove_stale(tmp_path) == 1
        assert temporary.path.exists()
    assert names(tmp_path) == [".waifu2x-0.tmp", ".waifu2x-3600.tmp"]


def test_a_file_that_is_cleaned_away_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = atomic._locked_duplicate
    made: list[str] = []

    def cleaned_first(file):  # type: ignore[no-untyped-def]
        if not made:
            Path(file.name).unlink()
        made.append(file.name)
        return real(file)

    monkeypatch.setattr(atomic, "_locked_duplicate", cleaned_first)
    write_file(tmp_path / "a", lambda file: file.write(b"whole"), overwrite=False)
    assert len(made) == 2
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert names(tmp_path) == ["a"]


def test_cleaning_and_writing_at_once_lose_nothing(tmp_path: Path) -> None:
    """With many writers and a constantly running cleaner, every file is complete."""
    over = threading.Event()
    failures: list[BaseException] = []

    def clean() -> None:
        while not over.is_set():
            remove_stale(tmp_path)

    def write(worker: int) -> None:
        try:
            for i in range(100):
                write_file(
                    tmp_path / f"{worker}-{i}",
                    lambda file: file.write(b"x" * 1000),
                    overwrite=bool(i % 2),
                )
        except BaseException as error:
            failures.append(error)

    cleaner = threading.Thread(target=clean)
    cleaner.start()
    writers = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    cleaner.join()
    assert not failures
    assert len(names(tmp_path)) == 400
    assert all(path.stat().st_size == 1000 for path in tmp_path.iterdir())


def test_stopping_at_once_removes_what_is_being_written(tmp_path: Path) -> None:
    with temporary_in(tmp_path) as temporary:
        temporary.file.write(b"half")
        remove_live()
        assert names(tmp_path) == []
    remove_live()
    write_file(tmp_path / "a", lambda file: file.write(b"whole"), overwrite=True)
    remove_live()
    assert names(tmp_path) == ["a"]


def test_durable_files_reach_the_disk_before_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, link, replace = os.fsync, os.link, Path.replace

    def synced(descriptor: int) -> None:
        assert os.fstat(descriptor).st_size == 5, "flushed before"
        order.append("fsync")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", lambda *a: (order.append("name"), link(*a)))
    monkeypatch.setattr(Path, "replace", lambda *a: (order.append("name"), replace(*a)))
    for overwrite in (False, True):
        write_file(
            tmp_path / "a", lambda file: file.write(b"whole"), overwrite=overwrite, durable=True
        )
    assert order == ["fsync", "name"] * 2


def test_a_check_at_the_end_keeps_the_file_from_appearing(tmp_path: Path) -> None:
    def refuse() -> None:
        assert len(names(tmp_path)) == 1, "the contents are complete"
        raise DecodeError("changed")

    with pytest.raises(DecodeError, match="changed"):
        write_file(tmp_path / "a", lambda file: file.write(b"x"), overwrite=True, check=refuse)
    assert names(tmp_path) == []


# --- files that belong together ----------------------------------------------------------------


def pair(folder: Path, *contents: bytes) -> list[tuple[Path, bytes]]:
    return [*zip((folder / "a", folder / "b"), contents, strict=True)]


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_appear_together(tmp_path: Path, overwrite: bool) -> None:
    if overwrite:
        write_files(pair(tmp_path, b"1", b"2"), overwrite=False)
    write_files(pair(tmp_path, b"one", b"two"), overwrite=overwrite)
    assert names(tmp_path) == ["a", "b"]
    assert [(tmp_path / name).read_bytes() for name in "ab"] == [b"one", b"two"]


@pytest.mark.parametrize("existing", ["a", "b"])
def test_a_file_that_appears_meanwhile_is_kept_and_its_partner_not_written(
    tmp_path: Path, existing: str
) -> None:
    (tmp_path / existing).write_bytes(b"other")
    with pytest.raises(OutputExistsError, match=f"{existing} has appeared meanwhile"):
        write_files(pair(tmp_path, b"one", b"two"), overwrite=False)
    assert names(tmp_path) == [existing]
    assert (tmp_path / existing).read_bytes() == b"other"


@pytest.mark.parametrize("links", [False, True])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [(), ("a",), ("b",), ("a", "b")])
def test_a_rename_that_fails_undoes_the_one_before(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: tuple[str, ...],
    error: BaseException,
    links: bool,
) -> None:
    for name in before:
        (tmp_path / name).write_bytes(name.encode())
    renames = 0
    replace = Path.replace

    def fail(path: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if renames == 2:
            raise error
        return replace(path, target)

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "replace", fail)
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    with pytest.raises((EncodeError, KeyboardInterrupt)):
        write_files(pair(tmp_path, b"one", b"two"), overwrite=True)
    assert names(tmp_path) == list(before)
    assert all((tmp_path / name).read_bytes() == name.encode() for name in before)


def test_a_file_that_cannot_be_filled_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = [(tmp_path / "a", b"one"), (tmp_path / "gone" / "b", b"two")]
    with pytest.raises(EncodeError, match="cannot be written"):
        write_files(missing, overwrite=True)
    assert names(tmp_path) == []
