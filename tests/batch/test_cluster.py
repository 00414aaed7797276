"""Batches on a cluster: a real scheduler and real workers in local processes."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from helpers import art
from helpers.batch_files import make, tree
from helpers.videos import Corpus, needs_ffmpeg
from PIL import Image

import waifu2x
from waifu2x import Upscaler
from waifu2x.batch import BatchOptions, BatchResult, Plan, cluster, plan_batch
from waifu2x.batch.cluster import ClusterBatch, local_shape
from waifu2x.batch.job import Rules
from waifu2x.errors import EngineError, MissingExtraError

pytest.importorskip("distributed")

#: Loaded by every worker.
PRELOAD = Path(__file__).parents[1] / "helpers" / "cluster_worker.py"

#: Timeout of all waits, in seconds.
LATEST = 60.0


class Cluster:
    """A scheduler and workers, each in a process that this object terminates on exit."""

    def __init__(self, folder: Path, *, failures: int = 3) -> None:
        folder.mkdir()
        self._folder = folder
        self._file = folder / "scheduler.json"
        self._log = folder / "log.txt"
        self._log.touch()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start(
            "scheduler", "--port", "0", "--scheduler-file", self._file, "--idle-timeout", "300",
            DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=str(failures),
            # The timeout for a result that a dead worker holds.
            DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="5s",
        )  # fmt: skip
        wait_until(lambda: self._file.exists() and self._file.read_text(), "no scheduler")
        self.address = str(json.loads(self._file.read_text())["address"])

    def add_worker(self, *options: str, **settings: Any) -> subprocess.Popen[bytes]:
        """Start a worker with ``settings`` for helpers/cluster_worker.py."""
        return self._start(
            "worker", self.address, "--nthreads", "2", "--death-timeout", "20",
            "--local-directory", self._folder, "--preload", PRELOAD, *options,
            CLUSTER_TEST=json.dumps({"log": str(self._log), **settings}),
        )  # fmt: skip

    def add_workers(self, *options: str, **settings: Any) -> list[subprocess.Popen[bytes]]:
        """Start two workers without a nanny that restarts them, and wait for both."""
        workers = [self.add_worker("--no-nanny", *options, **settings) for _ in range(2)]
        self.wait_for(2)
        return workers

    def wait_for(self, workers: int) -> None:
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=LATEST)

    @property
    def worker_address(self) -> str:
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            return str(next(iter(client.nthreads())))

    @property
    def loads(self) -> list[str]:
        """The log: one line per loaded network, with process and network."""
        return self._log.read_text().splitlines()

    @property
    def segments(self) -> list[list[str]]:
        """Process and number of each computed segment."""
        log = self._log.with_suffix(".segments")
        return [line.split() for line in log.read_text().splitlines()] if log.exists() else []

    def _start(self, what: str, *args: str | Path, **env: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{what}.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", f"distributed.cli.dask_{what}", *map(str, args)),
                    *("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"),
                    "--no-dashboard",
                ],
                env={**os.environ, **env},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # includes workers started by a nanny
            process.wait()


def wait_until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + LATEST
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.005)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers with two threads each, for tests that keep both alive."""
    with contextlib.closing(Cluster(tmp_path_factory.mktemp("dask") / "cluster")) as one:
        one.add_workers()
        yield one


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Return a function that starts clusters for one test."""
    with contextlib.ExitStack() as stack:

        def made(**given: Any) -> Cluster:
            return stack.enter_context(contextlib.closing(Cluster(tmp_path / "dask", **given)))

        yield made


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler("upconv_7")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small pictures: 00.png to 19.png."""
    folder = tmp_path_factory.mktemp("faces")
    for i in range(20):
        art.anime_face(120 + i, 100).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def whole(
    faces: Path, upscaler: Upscaler, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The results of ``faces`` on one machine."""
    return upscaled(faces, tmp_path_factory.mktemp("whole"), upscaler)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures large enough to interrupt: 00.png to 11.png."""
    folder = tmp_path_factory.mktemp("large")
    art.anime_face(500, 400).save(folder / "00.png")
    for i in range(1, 12):
        shutil.copy(folder / "00.png", folder / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def large_whole(
    large: Path, upscaler: Upscaler, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    return upscaled(large, tmp_path_factory.mktemp("whole"), upscaler)


def upscaled(folder: Path, out: Path, upscaler: Upscaler, **given: Any) -> dict[str, bytes]:
    """The results of ``folder`` on one machine."""
    for one in waifu2x.upscale_many(folder, out, upscaler=upscaler, **given):
        assert one.status != "failed"
    return tree(out)


def facts(results: Iterable[BatchResult]) -> dict[str, dict[str, Any]]:
    """The report of each file without times."""
    found = {}
    for one in results:
        line = {**one.as_dict(), "type": type(one.error).__name__}
        del line["seconds"], line["stages"]
        found[str(one.source)] = line
    return found


class Command:
    """A running command; tests can read its output files while it runs."""

    def __init__(self, *args: str | Path, cwd: Path, patience: float = 30) -> None:
        script = cwd / "script.py"
        script.write_text(
            "from waifu2x.batch import cluster\n"
            f"cluster._PATIENCE = cluster._LONG_PATIENCE = {patience}\n"
            "from waifu2x.cli import main\n"
            "if __name__ == '__main__': main()\n"
        )
        self._out, self._err = cwd / "stdout.txt", cwd / "stderr.txt"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, script, "-m", "upconv_7", *map(str, args)],
                cwd=cwd,
                env={**os.environ, "COLUMNS": "80"},
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def out(self) -> list[str]:
        return self._out.read_text().splitlines()

    @property
    def err(self) -> list[str]:
        return self._err.read_text().splitlines()

    def wait(self) -> int:
        """Return the exit code; fails on a traceback."""
        try:
            code = self.process.wait(LATEST)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        assert not any("Traceback" in line for line in self.err)
        return code


def run(*args: str | Path, cwd: Path, patience: float = 30) -> Command:
    command = Command(*args, cwd=cwd, patience=patience)
    command.wait()
    return command


# --- same results as on one machine


def test_the_tree_and_the_report_are_those_of_one_machine(
    shared: Cluster, upscaler: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "in", copies=3)
    art.anime_face(300, 500).save(tmp_path / "in" / "large.png")
    found = {}
    loads = len(shared.loads)
    for where in ("here", "there"):
        shutil.copytree(tmp_path / "in", tmp_path / where / "in", symlinks=True)
        monkeypatch.chdir(tmp_path / where)  # given and reported names are relative
        given: dict[str, Any] = {"upscaler": upscaler, "recursive": True, "report": "report.jsonl"}
        if where == "here":
            results = waifu2x.upscale_many("in", "out", **given)
        else:
            results = waifu2x.upscale_many("in", "out", cluster=shared.address, **given)
        found[where] = facts(results)
    assert tree(tmp_path / "there" / "out") == tree(tmp_path / "here" / "out")
    assert found["there"] == found["here"]
    lines = (tmp_path / "there" / "report.jsonl").read_text().splitlines()
    assert {json.loads(line)["input"] for line in lines} == found["here"].keys()
    assert sum(line["status"] == "failed" for line in found["there"].values()) == 3 * 6

    loaded = shared.loads[loads:]
    assert len(loaded) == len(set(loaded)), "no process loads a network twice"
    assert len({line.split()[0] for line in loaded}) == 2, "both have worked"


def test_the_command_says_the_same(shared: Cluster, tmp_path: Path) -> None:
    make(tmp_path / "in")
    reported = []
    for options in ([], ["--cluster", shared.address]):
        command = run("in", "out", "-r", *options, cwd=tmp_path)
        *lines, summary = command.out
        assert summary.startswith("8 done, 6 failed in ")
        reported.append(
            (command.process.returncode, sorted(lines), sorted(command.err), tree(tmp_path / "out"))
        )
        shutil.rmtree(tmp_path / "out")
    assert reported[1] == reported[0]
    assert reported[0][0] == 1


def test_names_that_exist_resuming_shards_and_overwriting(
    shared: Cluster, upscaler: Upscaler, faces: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def upscale(**given: Any) -> dict[str, str]:
        results = waifu2x.upscale_many(
            faces, out, cluster=shared.address, upscaler=upscaler, **given
        )
        return {one.source.name: one.status for one in results}

    halves = [upscale(shard=(i, 2)) for i in (1, 2)]
    assert all(halves)
    assert {**halves[0], **halves[1]} == {f"{i:02}.png": "done" for i in range(20)}
    assert len(halves[0]) + len(halves[1]) == 20
    made = tree(out)
    assert set(upscale().values()) == {"failed"}, "exists already"
    (out / "07.png").unlink()
    resumed = upscale(resume=True)
    assert {name for name, status in resumed.items() if status == "done"} == {"07.png"}
    assert set(resumed.values()) == {"done", "skipped"}
    before = (out / "03.png").stat().st_ino
    assert set(upscale(overwrite=True).values()) == {"done"}
    assert (out / "03.png").stat().st_ino != before
    assert tree(out) == made


def test_a_cancelled_one_leaves_whole_files(
    shared: Cluster, upscaler: Upscaler, faces: Path, tmp_path: Path
) -> None:
    cancel = threading.Event()
    results = waifu2x.upscale_many(
        faces, tmp_path / "out", cluster=shared.address, upscaler=upscaler, cancel=cancel
    )
    statuses = []
    for one in results:
        statuses.append(one.status)
        cancel.set()
    assert 0 < len(statuses) < 20
    assert set(statuses) == {"done"}
    wait_until(lambda: not hidden(tmp_path / "out"), "workers drop what they had begun")
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as image:
            image.load()


def hidden(folder: Path) -> list[Path]:
    """Temporary files."""
    return list(folder.rglob(".waifu2x-*"))


def test_stopping_finishes_what_has_been_begun(
    shared: Cluster, upscaler: Upscaler, faces: Path, tmp_path: Path
) -> None:
    batch = ClusterBatch(plan_batch(faces, tmp_path / "out", upscaler=upscaler), shared.address)
    results = []
    for one in batch:
        if not results:
            assert 0 < len(batch.progress.current) <= 4
            batch.stop()
        results.append(one)
    assert {one.status for one in results} == {"done"}
    assert 0 < len(results) < 20
    assert batch.summary.ended == len(results)
    assert sorted(tree(tmp_path / "out")) == sorted(one.target.name for one in results)


# --- videos


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of five segments next to two pictures."""
    pytest.importorskip("av", reason="PyAV (extra video) is not installed")
    corpus = Corpus(tmp_path_factory.mktemp("corpus"))
    folder = tmp_path_factory.mktemp("clips")
    corpus.path("long.mkv").rename(folder / "long.mkv")
    for name in ("a.png", "z.png"):
        art.anime_face(60, 50).save(folder / name)
    return folder


@needs_ffmpeg
def test_the_segments_of_a_video_are_shared(
    shared: Cluster, upscaler: Upscaler, clips: Path, tmp_path: Path
) -> None:
    found = {}
    before = len(shared.segments)
    for where in ("here", "there"):
        given: dict[str, Any] = {"cluster": shared.address} if where == "there" else {}
        results = waifu2x.upscale_many(clips, tmp_path / where, upscaler=upscaler, **given)
        found[where] = {
            one.source.name: (one.status, one.size_out, one.notes, one.failures) for one in results
        }
    assert found["there"] == found["here"]
    assert found["there"].keys() == {"a.png", "long.mkv", "z.png"}
    assert tree(tmp_path / "there") == tree(tmp_path / "here")
    computed = shared.segments[before:]
    assert sorted(number for _, number in computed) == list("01234"), "each once"
    assert len({process for process, _ in computed}) == 2, "both have worked"


@needs_ffmpeg
def test_parts_of_a_batch_share_the_segments_of_a_video(
    shared: Cluster, upscaler: Upscaler, clips: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(clips / "long.mkv", tmp_path / "in")
    ended = []
    for part in ((1, 2), (2, 2)):
        ended += waifu2x.upscale_many(
            *(tmp_path / "in", tmp_path / "out"),
            cluster=shared.address,
            upscaler=upscaler,
            shard=part,
        )
    first, second = ended
    assert (first.status, second.status) == ("skipped", "done")
    assert "2 of 5 segments missing" in first.notes[0]
    assert tree(tmp_path / "out") == upscaled(tmp_path / "in", tmp_path / "whole", upscaler)


@needs_ffmpeg
def test_a_video_that_fails_is_reported_once_and_leaves_nothing(
    shared: Cluster, upscaler: Upscaler, clips: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "short.mkv").write_bytes((clips / "long.mkv").read_bytes()[:100])
    shutil.copy(clips / "a.png", tmp_path / "in" / "picture.mkv")
    shutil.copy(clips / "long.mkv", tmp_path / "in" / "exists.mkv")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "exists.mkv").touch()
    results = list(
        waifu2x.upscale_many(
            tmp_path / "in", tmp_path / "out", cluster=shared.address, upscaler=upscaler
        )
    )
    names = sorted(one.source.name for one in results)
    assert names == ["exists.mkv", "picture.mkv", "short.mkv"]
    assert {one.status for one in results} == {"failed"}
    assert tree(tmp_path / "out") == {"exists.mkv": b""}


@needs_ffmpeg
def test_a_worker_that_dies_leaves_its_segments_to_the_other(
    start: Callable[..., Cluster], upscaler: Upscaler, clips: Path, tmp_path: Path
) -> None:
    dask = start()
    workers = dask.add_workers(victim="long.mkv", moment="segment")
    out = tmp_path / "out"
    results = list(waifu2x.upscale_many(clips, out, cluster=dask.address, upscaler=upscaler))
    assert sorted(worker.poll() is None for worker in workers) == [False, True]
    assert {one.status for one in results} == {"done"}
    assert len(results) == 3
    assert tree(out) == upscaled(clips, tmp_path / "whole", upscaler)
    # The worker may die after its other thread has written a segment, before it notes that.
    assert len(set("01234") - {number for _, number in dask.segments}) <= 1


# --- dying workers


@pytest.mark.parametrize(
    ("moment", "given"),
    [
        ("begun", {}),
        ("written", {}),
        ("published", {}),
        ("published", {"resume": True}),
        ("published", {"overwrite": True}),
    ],
)
def test_a_worker_that_dies_takes_nothing_with_it(
    start: Callable[..., Cluster],
    upscaler: Upscaler,
    faces: Path,
    whole: dict[str, bytes],
    tmp_path: Path,
    moment: str,
    given: dict[str, bool],
) -> None:
    dask = start()
    workers = dask.add_workers(victim="09.png", moment=moment)
    out = tmp_path / "out"
    results = {
        one.source.name: one
        for one in waifu2x.upscale_many(
            faces, out, cluster=dask.address, upscaler=upscaler, **given
        )
    }
    assert sorted(worker.poll() is None for worker in workers) == [False, True]
    assert tree(out) == whole
    assert len(results) == 20
    assert {one.status for one in results.values()} == {"done"}
    reported = (results["09.png"].size_out, results["09.png"].notes)
    if moment == "published" and "overwrite" not in given:
        assert reported == (None, ("an earlier attempt has finished it",))
    else:
        assert reported == ((258, 200), ())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_is_ended_while_it_writes(
    start: Callable[..., Cluster],
    upscaler: Upscaler,
    large: Path,
    large_whole: dict[str, bytes],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    dask = start()
    first, second = dask.add_workers()
    out = tmp_path / "out"
    results = waifu2x.upscale_many(large, out, cluster=dask.address, upscaler=upscaler)
    statuses = [next(results).status]
    files = psutil.Process(first.pid).open_files
    wait_until(lambda: any(".waifu2x-" in file.path for file in files()), "never seen writing")
    first.send_signal(number)
    left = hidden(out)
    statuses += [one.status for one in results]
    assert left
    assert statuses == ["done"] * 12
    assert tree(out) == large_whole
    assert second.poll() is None


def test_a_file_that_kills_its_workers_is_one_failure(
    start: Callable[..., Cluster], upscaler: Upscaler, faces: Path, tmp_path: Path
) -> None:
    """Dask fails all files of the dead workers; the batch fails only the culprit."""
    dask = start(failures=0)
    for _ in range(2):
        dask.add_worker(victim="09.png", moment="begun", always=True)
    dask.wait_for(2)
    results = waifu2x.upscale_many(faces, tmp_path / "out", cluster=dask.address, upscaler=upscaler)
    found = {one.source.name: one for one in results}
    assert len(found) == 20
    (failed,) = (one for one in found.values() if one.status != "done")
    assert failed.status == "failed"
    assert str(failed.error).startswith(f"{faces / '09.png'}: every worker that took it has died")
    assert sorted(tree(tmp_path / "out")) == sorted(found.keys() - {"09.png"})


# --- unusable clusters


@pytest.fixture
def plan(faces: Path, tmp_path: Path, upscaler: Upscaler) -> Plan:
    return plan_batch(faces, tmp_path / "out", upscaler=upscaler)


def test_no_scheduler_at_the_address(
    shared: Cluster, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        for where in (
            *("tcp://127.0.0.1:1", "127.0.0.1:1", "tcp://127.0.0.1", "nonsense:", "no://one", ""),
            f"tcp://127.0.0.1:{mute.getsockname()[1]}",
            shared.worker_address,
        ):
            with pytest.raises(EngineError, match="; give the address of a Dask") as caught:
                ClusterBatch(plan, where)
            assert str(caught.value).startswith(f"cluster {where!r} does not answer as a schedul")


def test_no_workers(
    start: Callable[..., Cluster], plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_PATIENCE", 1.0)
    dask = start()
    with pytest.raises(EngineError, match=r"no workers after 1 s; .*dask worker tcp://127"):
        ClusterBatch(plan, dask.address)


def test_workers_with_another_version(start: Callable[..., Cluster], plan: Plan) -> None:
    dask = start()
    dask.add_workers(version="0.0.1")
    with pytest.raises(EngineError, match=r"worker tcp.* has waifu2x 0\.0\.1, and the batch is"):
        ClusterBatch(plan, dask.address)


def test_workers_that_do_not_see_the_results(plan: Plan, tmp_path: Path) -> None:
    worker = SimpleNamespace(
        address="tcp://far", state=SimpleNamespace(nthreads=1),
        memory_manager=SimpleNamespace(memory_limit=None),
    )  # fmt: skip

    def answer(root: Path) -> str:
        spec = cluster.BatchSpec(plan.upscaler, plan.rules, root, None, None)
        handle = cluster.BatchHandle(str(root), waifu2x.__version__, pickle.dumps(spec))
        return cluster._prepare(handle, root / "probe", worker)

    for root in (tmp_path / "out", tmp_path / "gone"):
        assert answer(root).startswith(
            f"worker tcp://far does not see {root}, the directory of the results"
        )
    assert not (tmp_path / "gone").exists()
    (tmp_path / "out" / "probe").touch()
    assert answer(tmp_path / "out") == ""


def test_without_dask(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match="run `pip install distributed`"):
        ClusterBatch(plan, "local")


def test_the_command_has_one_line_for_it(tmp_path: Path) -> None:
    art.anime_face(20, 16).save(tmp_path / "in.png")
    (tmp_path / "out").mkdir()
    command = run("in.png", "out", "--cluster", "tcp://127.0.0.1:1", cwd=tmp_path, patience=0.5)
    assert (command.process.returncode, command.out) == (1, [])
    (line,) = command.err
    assert line.startswith("Error: cluster 'tcp://127.0.0.1:1' does not answer as a scheduler")
    assert tree(tmp_path / "out") == {}


@pytest.mark.parametrize(
    ("gone", "message"),
    [("scheduler", "the connection to the cluster is lost"), ("workers", "has had no workers for")],
)
def test_a_cluster_that_goes_away(
    start: Callable[..., Cluster],
    upscaler: Upscaler,
    large: Path,
    large_whole: dict[str, bytes],
    tmp_path: Path,
    gone: str,
    message: str,
) -> None:
    dask = start()
    workers = dask.add_workers()
    command = Command(large, "out", "--cluster", dask.address, cwd=tmp_path, patience=2)
    wait_until(lambda: command.out, "nothing done")
    for victim in [dask.scheduler] if gone == "scheduler" else workers:
        victim.kill()
    assert command.wait() == 1
    assert command.out[0].startswith("out/")
    assert " done, " in command.out[-1]
    (line,) = command.err
    assert line.startswith("Error: ")
    assert message in line
    assert "--resume" in line
    for worker in workers:
        worker.kill()
        worker.wait(LATEST)  # until its files are closed
    assert upscaled(large, tmp_path / "out", upscaler, resume=True) == large_whole


# --- Ctrl-C


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("where", ["remote", "local"])
def test_interrupting_the_command(
    shared: Cluster,
    upscaler: Upscaler,
    large: Path,
    large_whole: dict[str, bytes],
    tmp_path: Path,
    where: str,
    times: int,
) -> None:
    address = shared.address if where == "remote" else "local"
    command = Command(large, "out", "--cluster", address, cwd=tmp_path)
    wait_until(lambda: command.out, "nothing done")
    for _ in range(times):
        # Like a terminal, signal all its processes, local workers included.
        os.killpg(command.process.pid, signal.SIGINT)
        wait_until(lambda: command.err, "nothing said")
    assert command.wait() == 128 + signal.SIGINT
    (line,) = command.err
    assert line.startswith("finishing ")
    if where == "remote":
        wait_until(lambda: not hidden(tmp_path / "out"), "workers drop what they had begun")
    made = tree(tmp_path / "out")
    assert 0 < len(made) < 12
    if times == 1:
        *lines, summary = command.out
        assert re.match(rf"{len(made)} done, {12 - len(made)} not begun or dropped in ", summary)
        assert len(lines) == len(made)
    assert upscaled(large, tmp_path / "out", upscaler, resume=True) == large_whole


# --- local workers


def test_shapes_of_local_clusters() -> None:
    assert {n: local_shape(n) for n in (1, 2, 8, 9, 12, 16, 64)} == {
        1: (1, 1), 2: (1, 2), 8: (1, 8), 9: (2, 4), 12: (2, 6), 16: (2, 8), 64: (8, 8),
    }  # fmt: skip


def test_a_local_cluster_is_reached_from_here_only_and_ends_with_the_batch(
    faces: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_LOCAL_THREADS", 1)  # makes two workers for two threads
    upscaler = Upscaler("upconv_7", threads=2)
    before = set(children())
    results = waifu2x.upscale_many(faces, tmp_path / "out", cluster="local", upscaler=upscaler)
    statuses = [next(results).status]
    workers = set(children()) - before
    assert len(workers) == 2
    listening = [
        connection.laddr.ip
        for process in (psutil.Process(), *workers)
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 4
    assert set(listening) == {"127.0.0.1"}
    workers.pop().kill()
    statuses += [one.status for one in results]
    assert statuses == ["done"] * 20
    assert tree(tmp_path / "out") == whole
    wait_until(lambda: set(children()) <= before, "workers are still there")


def children() -> list[psutil.Process]:
    """Child processes except Python's resource tracker."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if not any("resource_tracker" in part for part in child.cmdline())
    ]


def test_memory_of_workers(shared: Cluster, plan: Plan) -> None:
    with pytest.raises(EngineError, match=r"memory is 10 MiB .* give it \d+ MiB or more"):
        ClusterBatch(
            replace(plan, rules=Rules(batch=BatchOptions(memory=10 << 20))), shared.address
        )

    def share(limit: int | None, memory: int | None = None) -> int:
        worker = SimpleNamespace(memory_manager=SimpleNamespace(memory_limit=limit))
        return cluster._budget(memory, worker)

    assert 0 < share(100 << 30) < 60 << 30
    assert 0 < share(100 << 30, memory=2 << 30) < 2 << 30
    assert share(None) > 0
    assert share(10 << 20) == 0, "one file at a time"
