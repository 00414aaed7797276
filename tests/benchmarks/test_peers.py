"""The comparison with peers: small runs and the arithmetic."""

from __future__ import annotations

import itertools
import json
import math
import sys

import numpy as np
import pytest
from helpers import art
from helpers.benchmark_results import make_result

import benchmarks.peers.__main__ as peers
from benchmarks.common import measure, tables
from benchmarks.common.engines import CPU_ENGINES
from benchmarks.peers import accuracy, command, contestants, cost, load, memory, network, start
from benchmarks.peers.options import PeerOptions
from waifu2x import engines
from waifu2x._machine import nvidia_gpus
from waifu2x.kernels import _native
from waifu2x.network import registry

#: Hides peers that these tests skip, installed or not, and modules that are slow to import.
FEW = ["--without", "torch,ncnn,openvino", "--threads", "2", "--model", "upconv_7"]


def test_every_part_runs_and_reports(tmp_path, capsys):
    target = tmp_path / "peers.json"
    assert peers.main(["--only", "all", "--quick", *FEW, "--json", str(target)]) == 0
    report = json.loads(target.read_text())
    assert report["wrong"] == []
    assert report["threads"] == [2]
    assert set(peers.PARTS) <= set(report)
    (case,) = report["network"]["cases"]
    assert (case["input"], case["output"]) == ([1, 3, 30, 30], [1, 3, 32, 32])
    assert {"waifu2x onnx", "onnxruntime"} <= {row["name"] for row in case["results"]}
    for row in report["accuracy"]["networks"]:
        assert {len(each["errors"]) for each in row["contestants"]} == {1}
    for model in report["cost"]["models"]:
        assert len(model["sizes"]) == len(cost.QUICK_MEGAPIXELS)
        assert all(size["s_per_megapixel"] > 0 for size in model["sizes"])
    for row in report["memory"]["contestants"]:
        assert row["not_run"] or all(memory.added(sample) > 0 for sample in row["samples"])
    for sample in report["start"]["samples"]:
        steps = [sample[key] for key in ("interpreter", "import", "load", "run")]
        assert min(steps) > 0
        assert sum(steps) == pytest.approx(sample["total"])
    (loads,) = report["load"]["models"]
    assert all(row["summary"] for row in loads["load"])
    end_to_end = report["command"]["end_to_end"]
    assert end_to_end["ratio"] is None or end_to_end["ratio"] > 0
    printed = capsys.readouterr().out
    for heading in ("Whole command", "End to end", "Network alone", "Largest difference",
                    "The same bytes", "Memory added", "Cost by size", "From nothing",
                    "Load a network,"):  # fmt: skip
        assert f"\n{heading}" in printed


def _measured(pixels, **more):
    case = {"model": "upconv_7", "scale": 2, "noise": None, "threads": 1, "cap": None, **more}
    facts, results = network.measure(case, pixels, PeerOptions(rounds=2))
    measure.summarize(results, 1)
    return facts, {result.name: result for result in results}


def test_peers_that_are_missing_are_listed(monkeypatch):
    for missing in ("ncnn", "openvino"):
        monkeypatch.setitem(sys.modules, missing, None)
    found, results = _measured(np.asarray(art.anime_face(24)))
    assert found["input"] == [1, 3, 38, 38]
    assert found["output"] == [1, 3, 48, 48]
    absent = {name for name, result in results.items() if "not installed" in result.not_run}
    assert {"ncnn fp32", "ncnn default", "openvino fp32", "openvino default"} <= absent
    for name in ("waifu2x onnx", "onnxruntime"):
        assert not results[name].not_run
        assert len(results[name].samples) == 2
        assert results[name].max_error <= measure.FLOAT32_TOLERANCE
        assert results[name].seconds > 0
    speeds = [r.summary.speed for r in results.values() if r.summary and not r.ours]
    assert max(speeds) == pytest.approx(1)
    assert tables.timings(list(results.values()), unit=1).count("| not run: ") == len(absent)


def test_uncapped_peers_are_marked_and_are_no_reference(monkeypatch):
    for missing in ("ncnn", "openvino"):
        monkeypatch.setitem(sys.modules, missing, None)
    _, results = _measured(np.zeros((8, 8, 3), np.uint8), cap="avx2")
    assert {name for name, result in results.items() if result.uncapped} == {
        "waifu2x onnx", "ncnn fp32", "ncnn default", "onnxruntime"
    }  # fmt: skip
    fast, slow = make_result("free", (0.1, 0), (0.1, 0)), make_result("capped", (0.4, 0), (0.4, 0))
    fast.uncapped = True
    measure.summarize([fast, slow], 1)
    assert [result.summary.speed for result in (fast, slow)] == pytest.approx([4, 1])
    assert "| free (uncapped) |" in tables.timings([fast, slow], unit=1)


@pytest.mark.parametrize(
    ("model", "scale", "noise"), [("upconv_7", 2, None), ("cunet", 2, None), ("cunet", 1, 0)]
)
def test_a_network_with_the_least_noise(model, scale, noise):
    assert contestants.least_noise(model, scale) == noise


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "everything"], "allowed are command, network"),
        (["--model", "upconv_7,upconv_8"], "allowed are cunet"),
        (["--model", "upconv_7", "--scale", "1"], "no 1x network"),
        (["--scale", "1"], "no 1x network"),
        (["--isa", "sse9"], "allowed are best"),
        (["--threads", "2,0"], "must be 1 or more"),
        (["--size", "many"], "not numbers"),
        (["--rounds", "1"], "2 or more"),
        (["--picture", "small.png", "--size", "9"], "does not fit"),
        (["--picture", "."], "does not fit"),
        (["--picture", "empty"], "holds no pictures"),
        pytest.param(
            ["--engine", "cuda"],
            "engine cuda is not available",
            marks=pytest.mark.skipif(nvidia_gpus() > 0, reason="engine cuda is available"),
        ),
    ],
)
def test_peers_rejects_arguments_before_the_work(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    art.gradient(8, 8).save(tmp_path / "small.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as stopped:
        peers.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("error", [2e-4, math.nan])
def test_a_wrong_result_of_ours_fails(error):
    assert measure.inexact([make_result("own", ours=True, error=error)])
    assert not measure.inexact([make_result("peer", error=error), make_result("own", ours=True)])
    assert not command.different(None)
    assert not command.different({"max_levels": 1})
    assert command.different({"max_levels": 2})


# --- arithmetic ----------------------------------------------------------------------------------


#: Channels of the 3x3 convolutions of upconv_7; a transposed convolution of 4x4, stride 2, adds 3.
UPCONV_7 = (3, 16, 32, 64, 128, 128, 256)


def test_multiplications_are_those_of_the_layers():
    graph = registry.load(registry.model("upconv_7").network(2, None))
    side, plain = 30, 0
    for before, after in itertools.pairwise(UPCONV_7):
        side -= 2
        plain += 9 * before * after * side**2
    transposed = 16 * 256 * 3 * side**2
    assert network.multiplications(graph, 30) == plain + transposed
    assert network.multiplications(graph, 30, winograd=4) == pytest.approx(plain / 4 + transposed)
    # Without edges, this equals the graph's cost per pixel.
    per_pixel = network.multiplications(graph, 10**6) / 10**12
    assert per_pixel == pytest.approx(graph.macs_per_pixel, rel=1e-4)


def test_the_peak_is_shown_if_the_native_module_has_a_probe(monkeypatch):
    monkeypatch.delattr(_native, "fma_peak", raising=False)
    assert network.measured_peak(2) is None
    asked = []
    monkeypatch.setattr(
        _native, "fma_peak", lambda *args: asked.append(args) or 200.0, raising=False
    )
    peak = network.measured_peak(2)
    assert peak == {"isa": _native.isa(), "threads": 2, "gflop_per_s": 200.0}
    assert asked == [(_native.isa(), 2)]
    counts = {"direct": 1e9, "winograd_4": 0.25e9, "winograd_6": 0.2e9}
    results = [
        make_result("own", (0.02, 0), (0.02, 0), ours=True),
        make_result("bf16", (0.01, 0), (0.01, 0), error=1e-2),
    ]
    measure.summarize(results, 1)
    shown = network.peak_table({"peak": peak, "multiplications": counts}, results)
    assert [cell.strip() for cell in shown.splitlines()[-1].split("|")[1:-1]] == [
        "own", "100", "50%", "12%", "10%"
    ]  # fmt: skip
    assert "bf16" not in shown  # another element type has another peak


def test_bytes_are_compared_run_to_run_and_over_threads():
    same = {"1": ["a", "a"], "2": ["a", "a"]}
    by_threads = {"1": ["a", "a"], "2": ["b", "b"]}
    never = {"1": ["a", "b"], "2": ["b", "a"]}
    cases = (same, by_threads, never)
    assert [accuracy.repeatable(case) for case in cases] == [True, True, False]
    assert [accuracy.independent(case) for case in cases] == [True, False, False]


def _accuracy_row(**more):
    row = {"name": "own", "ours": True, "not_run": "", "errors": [1e-6, 2e-6]}
    row |= {"digests": {"1": ["a", "a"]}, **more}
    return {"model": "upconv_7", "scale": 2, "noise": 1, "contestants": [row]}


def test_only_ours_must_be_exact_and_always_the_same():
    bad = {"digests": {"1": ["a", "b"]}, "errors": [1e-6, math.nan]}
    assert accuracy.problems([_accuracy_row()], []) == []
    assert len(accuracy.problems([_accuracy_row(**bad)], [])) == 2
    assert accuracy.problems([_accuracy_row(**bad, ours=False)], []) == []
    assert accuracy.problems([_accuracy_row(**bad, not_run="because")], []) == []
    picture = {"name": "own", "model": "cunet", "not_run": "", "digests": {"1": ["a"], "2": ["b"]}}
    assert len(accuracy.problems([_accuracy_row()], [picture])) == 1


def test_the_table_of_errors_ends_with_the_largest():
    rows = [_accuracy_row(), _accuracy_row(errors=[3e-6]), _accuracy_row(not_run="because")]
    *_, largest, absent = accuracy.error_table(rows).splitlines()
    assert largest.split("|")[2].strip() == "3.0e-06"
    assert absent == "own: not run: because"
    shown = accuracy.reproducibility_table(rows, []).splitlines()[-1]
    assert [cell.strip() for cell in shown.split("|")[1:-1]] == [
        "own",
        "2 of 2",
        "2 of 2",
        "-",
        "-",
    ]


def _memory_row(name: str, *peaks: int, ours: bool, mean: float = 100.0):
    sample = {"before": 50e6, "loaded": 60e6, "picture": 6e6, "result": 24e6, "mean": mean}
    samples = [{**sample, "peak": peak * 1e6} for peak in peaks]
    return {"name": name, "ours": ours, "not_run": "", "samples": samples}


def test_memory_is_the_peak_without_what_every_contestant_needs():
    rows = [
        _memory_row("own", 180, 182, 260, ours=True),
        _memory_row("peer", 280, 280, 280, ours=False),
        {"name": "absent", "ours": False, "not_run": "because", "samples": []},
    ]
    first, second, third = memory.table(rows).splitlines()[2:]
    assert [cell.strip() for cell in first.split("|")[1:6]] == [
        "own", "102", "100 - 180", "0.51x", "50"
    ]  # fmt: skip
    assert "| 1.00x" in " ".join(second.split())
    assert "not run: because" in third
    assert memory.problems(rows) == []
    rows = [*rows, _memory_row("other", 280, ours=False), _memory_row("bad", 9, ours=True, mean=90)]
    assert len(memory.problems(rows)) == 1


def test_sizes_of_pictures_are_about_as_many_megapixels():
    for amount in (*cost.MEGAPIXELS, 2.0736):
        width, height = cost.shape(amount)
        assert width * height / 1e6 == pytest.approx(amount, rel=0.01)
        assert width / height == pytest.approx(cost.ASPECT, rel=0.02)
    assert cost.shape(2.0736) == (1920, 1080)


def test_cost_is_relative_to_the_usual():
    rows = [
        cost.row((1000, 1000 * n), make_result("", *[(each * n, 0)] * 3), 1)
        for n, each in ((1, 3.0), (2, 2.0), (3, 1.0))
    ]
    assert [row["s_per_megapixel"] for row in rows] == pytest.approx([3, 2, 1])
    lines = cost.table([*rows, cost.row((9, 9), make_result("", (1, 0.9)), 0.5)]).splitlines()[2:]
    assert [line.split("|")[5].strip() for line in lines] == ["1.50", "1.00", "0.50", ""]
    assert "not run: no quiet sample" in lines[-1]


def test_steps_of_a_start_in_order():
    samples = [
        {"interpreter": 0.01, "import": 0.1, "load": 0.05, "run": 0.004, "total": 0.164},
        {"interpreter": 0.03, "import": 0.1, "load": 0.05, "run": 0.004, "total": 0.184},
    ]
    lines = start.table(samples).splitlines()[2:]
    assert [line.split("|")[2].strip() for line in lines] == ["20", "100", "50", "4", "174"]


def test_the_command_is_compared_with_engine_and_interpreter():
    results = [
        make_result("waifu2x", (1.3, 0), (1.3, 0), ours=True),
        make_result("engine alone", (0.99, 0), (0.99, 0), ours=True),
        make_result("interpreter start", (0.01, 0), (0.01, 0), ours=True),
    ]
    assert command.overhead(results) is None
    measure.summarize(results, 1)
    assert command.overhead(results) == pytest.approx(1.3)
    assert all(result.summary.speed is None for result in results)


def test_loading_is_compared_with_onnxruntime():
    found = load.measure("upconv_7", PeerOptions(rounds=2, without=["torch", "ncnn", "openvino"]))
    for what in ("load", "load_and_run"):
        names = [result.name for result in found[what]]
        assert set(names) >= {*(f"waifu2x {e}" for e in CPU_ENGINES if e != "torch")}
        assert "onnxruntime" in names
        assert all(len(result.samples) == 2 for result in found[what])
    assert load.READ in [result.name for result in found["load"]]


def test_no_contestant_is_a_fallback_under_another_name():
    everyone = contestants.contestants(["torch"])
    assert "waifu2x cuda" not in [each.name for each in everyone]  # runs as native without a GPU
    for each in everyone:
        if each.engine:
            assert engines.create(each.engine).name == each.engine
