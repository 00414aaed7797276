"""Shared parts of the benchmarks: samples, tables, pictures, processes, environment."""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from helpers import art, networks
from helpers.benchmark_results import make_result

from benchmarks.common import environment, measure, parts, pictures, processes, tables
from benchmarks.common.engines import require_engine
from waifu2x.network import registry
from waifu2x.network.reference import evaluate

ROOT = Path(__file__).resolve().parents[2]
SEED = 7


# --- pictures and networks -----------------------------------------------------------------------


def test_pictures_of_a_folder_in_the_order_of_their_names(tmp_path):
    art.gradient(9, 8, "L").save(tmp_path / "b.png")
    art.gradient(7, 6).save(tmp_path / "a.jpg")
    (tmp_path / "c.txt").touch()
    found = pictures.load_pictures(tmp_path)
    assert pictures.names(found) == ["a.jpg", "b.png"]
    assert [(picture.mode, picture.size) for _, picture in found] == [
        ("RGB", (7, 6)), ("RGB", (9, 8))
    ]  # fmt: skip


def test_the_network_gets_the_center_of_the_picture():
    picture = art.gradient(40, 30)
    graph = registry.load(registry.model("cunet").network(2, None))
    batch = pictures.to_batch(graph, pictures.center_crop(picture, 20))
    lost = graph.lost
    middle = np.asarray(picture.crop((10, 5, 30, 25)), np.float32).transpose(2, 0, 1) / 255
    assert np.array_equal(batch[0, :, lost : lost + 20, lost : lost + 20], middle)
    assert np.array_equal(batch[0, :, 0, 0], middle[:, 0, 0])


@pytest.mark.parametrize("size", [(16, 16), (37, 20), (5, 3)])
@pytest.mark.parametrize("batch", [1, 3])
def test_tiles_of_a_peer_make_the_whole_picture(size, batch):
    pixels = np.random.default_rng(SEED).integers(0, 256, (*size, 3), np.uint8)
    lost = 3

    def run(inputs):
        assert len(inputs) <= batch
        assert inputs.shape[1:] == (3, 14, 14)
        inner = inputs[:, :, lost:-lost, lost:-lost]
        return inner.repeat(2, axis=2).repeat(2, axis=3)

    result = pictures.upscale_tiles(run, pixels, tile=8, window=14, lost=lost, batch=batch)
    assert np.array_equal(result, pixels.repeat(2, axis=0).repeat(2, axis=1))


@pytest.mark.parametrize(("model", "scale", "noise"), [("cunet", 2, None), ("cunet", 1, 0)])
def test_the_plain_torch_network_is_the_network(model, scale, noise):
    pytest.importorskip("torch")
    from benchmarks.common.torch_eager import eager

    graph = registry.load(registry.model(model).network(scale, noise))
    side = graph.input_size(2 * graph.lost + 8)
    batch = np.random.default_rng(SEED).random((1, 3, side, side), np.float32)
    assert np.abs(eager(graph)(batch) - evaluate(graph, batch)).max() < 1e-5


@pytest.mark.parametrize(
    "graph",
    [
        networks.compact(),
        networks.esrgan(blocks=1, unshuffled=2),
        networks.span(),
        networks.cugan(),
        networks.shrunk(networks.compact(), 3, 4),
    ],
    ids=["compact", "esrgan", "span", "cugan", "shrunk"],
)
def test_plain_torch_has_every_operation(graph):
    pytest.importorskip("torch")
    from benchmarks.common.torch_eager import eager

    side = graph.input_size(48)
    batch = np.random.default_rng(SEED).random((1, 3, side, side), np.float32)
    assert np.abs(eager(graph)(batch) - evaluate(graph, batch)).max() < 2e-5


# --- samples and tables --------------------------------------------------------------------------


def test_speed_is_relative_to_the_fastest_float32_peer():
    fast = make_result("bf16", (0.1, 0), (0.1, 0), error=1e-2)
    peer = make_result("fp32", (0.4, 0), (0.6, 0))
    slow = make_result("slow", (2.0, 0), (2.0, 0))
    own = make_result("own", (0.2, 0), (0.3, 0), ours=True)
    results = [fast, peer, slow, own]
    measure.summarize(results, 1)
    assert [r.summary.speed for r in results] == pytest.approx([5, 1, 0.25, 2])
    measure.summarize(results, 1, base="slow")
    assert [r.summary.speed for r in results] == pytest.approx([20, 4, 1, 8])


def test_disturbed_samples_can_be_ignored_and_are_counted():
    result = make_result("own", (1.0, 0.05), (9.0, 0.5), (2.0, 0.0), ours=True)
    few = make_result("few", (1.0, 0.05), (1.0, 0.2), ours=True)
    measure.summarize([result, few], 0.1)
    summary = result.summary
    assert (summary.count, summary.median_s, summary.min_s, summary.max_s) == (2, 1.5, 1.0, 2.0)
    assert few.summary is None
    shown = tables.timings([result, few], unit=1)
    assert "2 of 3" in shown
    assert "too few: not quiet" in shown


def test_every_row_of_a_table_has_all_columns():
    absent = measure.Result("absent", False, "", not_run="because")
    quiet, few = make_result("quiet", (1, 0), (1, 0)), make_result("few", (1, 0.9))
    measure.summarize([quiet, few, absent], 0.5)
    lines = tables.timings([quiet, few, absent], unit=1000).splitlines()
    assert {line.count("|") for line in lines} == {9}
    lines = tables.markdown(["", "a", "b"], [["x"], ["y", "1", "2"], ["z", "not run: long"]])
    assert {line.count("|") for line in lines.splitlines()} == {4}


def test_results_survive_a_child_process_and_json():
    result = make_result("own", (1.0, 0.05), (2.0, 0.0), ours=True)
    assert processes.in_child(copy.copy, result) == result
    (record,) = json.loads(json.dumps(measure.to_json([result])))
    samples = [measure.Sample(**sample) for sample in record["samples"]]
    assert measure.Result(**{**record, "samples": samples}) == result


def test_rounds_continue_without_failed_contestants():
    calls = []

    def sample(name: str):
        calls.append(name)
        if name == "bad" and calls.count("bad") == 2:
            raise ValueError("it rains\nheavily")
        return measure.Sample(1, 1, 0, None)

    good, bad = make_result("good"), make_result("bad")
    measure.interleave([(good, lambda: sample("good")), (bad, lambda: sample("bad"))], 4)
    assert (len(good.samples), len(bad.samples)) == (4, 1)
    assert (good.not_run, bad.not_run) == ("", "ValueError: it rains")


def test_short_calls_are_timed_several_in_a_row(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock[0])

    def call():
        clock[0] += 0.02

    sample = measure.timed_warm(call)
    assert sample.wall_s == pytest.approx(0.02)
    assert sample.calls * 0.02 >= measure.MIN_SAMPLE_S
    assert clock[0] == pytest.approx((sample.calls + 1) * 0.02)
    assert measure.timed(call).foreign is None  # too short to measure


@pytest.mark.skipif(sys.platform == "win32", reason="needs os.wait4")
def test_commands_are_timed_and_failures_explained(tmp_path):
    target = tmp_path / "out"
    write = f"import pathlib; x = bytearray(80 << 20); pathlib.Path({str(target)!r}).touch()"
    sample = processes.run_command([sys.executable, "-c", write], target)
    assert sample.cpu_s > 0
    assert sample.wall_s > 0
    assert 80 << 20 < sample.peak_rss < 250 << 20
    failing = "import sys; print('first', file=sys.stderr); sys.exit('it rains')"
    with pytest.raises(measure.FailureError, match=r"^exit status 1: it rains$"):
        processes.run_command([sys.executable, "-c", failing], target)
    with pytest.raises(measure.FailureError, match=r"^the command ended without writing"):
        processes.run_command([sys.executable, "-c", ""], target)
    assert processes.run_command([sys.executable, "-c", ""]).wall_s > 0


def test_a_cap_is_set_before_the_process_starts():
    for name, value in processes.CAPS["avx2"].items():
        assert processes.in_child(os.getenv, name, env=processes.CAPS["avx2"]) == value
    missing = types.SimpleNamespace(__module__="no-such-module", __name__="")
    with pytest.raises(measure.FailureError, match=r"exit status 1: .*no-such-module"):
        processes.in_child(missing)


def test_timing_a_command_imports_nothing_of_the_benchmarks():
    """The peak memory of a command includes the process that starts the command."""
    timer = Path(processes.__file__).with_name("time_command.py")
    assert "benchmarks" not in timer.read_text("utf-8").split('"""', 2)[2]


@pytest.mark.parametrize("name", ["auto", "native"])
def test_a_fallback_is_no_engine_of_another_name(name):
    native = types.SimpleNamespace(name="native")
    require_engine(native, name)
    with pytest.raises(measure.UnavailableError, match="falls back to native"):
        require_engine(native, "cuda")


def test_parts_report_failures_and_problems(tmp_path, capsys):
    def failed(options):
        raise measure.FailureError("it rains")

    def unavailable(options):
        raise measure.UnavailableError("no sun here")

    def differs(options):
        return parts.Part({"folder": 1}, "a table", [f"{options.folder}/out.png differs"])

    target = tmp_path / "report.json"
    chosen = argparse.Namespace(only=["differs", "unavailable", "failed"], json=target)
    every = {"failed": failed, "unavailable": unavailable, "differs": differs, "left out": failed}
    assert parts.run_parts(every, parts.Options(rounds=2), chosen, {"commit": "c"}) == 1
    report = json.loads(target.read_text("utf-8"))
    assert report["wrong"] == ["failed: it rains", "FOLDER/out.png differs"]
    assert report["unavailable"] == {"not_run": "no sun here"}
    assert list(report) == [
        "commit", "rounds", "quick", "pictures", "wrong", "failed", "unavailable", "differs"
    ]  # fmt: skip
    assert "WRONG: failed: it rains" in capsys.readouterr().err
    chosen.only = ["unavailable"]
    assert parts.run_parts(every, parts.Options(rounds=2), chosen, {}) == 0


# --- environment ---------------------------------------------------------------------------------


def test_foreign_load_excludes_idle_time_and_our_own(monkeypatch):
    monkeypatch.setattr(environment.os, "cpu_count", lambda: 4)
    share = environment.foreign_share
    assert share(10.0, 13.0, own=1.0, wall=1.0) == 0.5
    assert share(10.0, 10.99, own=1.0, wall=1.0) == 0  # rounding to clock ticks
    assert share(None, 13.0, own=1.0, wall=1.0) is None


def test_the_environment_names_no_folder_of_this_machine():
    facts = environment.environment(threads=2, distributions=("numpy", "no-such-distribution"))
    assert facts["versions"] == {"numpy": np.__version__, "no-such-distribution": None}
    assert facts["cores"] >= 1
    text = json.dumps(facts) + environment.describe(facts)
    assert str(ROOT) not in text
    assert str(Path.home()) + "/" not in text
