"""The benchmarks measure what they say: the metrics, the degradations, and small runs."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import _accuracy
import _batch_corpus
import _batch_mixed
import _batch_watch
import _contestants
import _cost
import _environment
import _load
import _measure
import _memory
import _network
import _pictures
import _processes
import _start
import _tables
import _whole
import art
import batch
import gates as gates_benchmark
import peers
import quality

from waifu2x import _native, engines, registry
from waifu2x.engines.reference import evaluate

ROOT = Path(__file__).resolve().parent.parent
SEED = 7


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(SEED).uniform(16, 235, (height, width))


# --- metrics -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((0, 0, 0), 16),
        ((255, 255, 255), 235),
        ((255, 0, 0), 81.481),
        ((0, 255, 0), 144.553),
        ((0, 0, 255), 40.966),
    ],
)
def test_luma_is_bt601_in_studio_range(colour, expected):
    pixels = np.full((2, 3, 3), colour, np.uint8)
    assert quality.luma(pixels) == pytest.approx(np.full((2, 3), expected))


@pytest.mark.parametrize("error", [1.0, 5.0, 255.0])
def test_psnr_of_a_known_error(error):
    picture = np.zeros((8, 9))
    assert quality.psnr(picture, picture + error) == pytest.approx(20 * math.log10(255 / error))


def test_psnr_averages_squares_over_all_samples():
    picture = np.zeros((2, 2))
    other = np.array([[0.0, 0.0], [0.0, 8.0]])  # mean square 16
    assert quality.psnr(picture, other) == pytest.approx(10 * math.log10(255**2 / 16))
    assert quality.psnr(picture, picture) == math.inf


def test_full_range_luma_would_give_a_psnr_lower_by_a_constant():
    rng = np.random.default_rng(SEED)
    first, second = rng.integers(0, 256, (2, 16, 16, 3), np.uint8)
    studio = quality.psnr(quality.luma(first), quality.luma(second))
    full = [(quality.luma(x) - 16) * 255 / 219 for x in (first, second)]
    assert studio - quality.psnr(*full) == pytest.approx(20 * math.log10(255 / 219), abs=1e-3)


def _ssim_plainly(first: np.ndarray, second: np.ndarray) -> float:
    """Equation 13 of Wang et al. 2004, window by window, with the variances centred."""
    window = np.array(
        [[math.exp(-(x * x + y * y) / (2 * 1.5 * 1.5)) for x in range(-5, 6)] for y in range(-5, 6)]
    )
    window /= window.sum()
    c1, c2 = 6.5025, 58.5225
    values = []
    for top in range(first.shape[0] - 10):
        for left in range(first.shape[1] - 10):
            a = first[top : top + 11, left : left + 11]
            b = second[top : top + 11, left : left + 11]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            cov = (window * (a - ma) * (b - mb)).sum()
            values.append(
                (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
            )
    return sum(values) / len(values)


@pytest.mark.parametrize("size", [(11, 11), (11, 17), (23, 14)])
def test_ssim_agrees_with_a_plain_implementation(size):
    first = _noise(*size)
    second = 0.7 * first + 0.3 * _noise(*size)[::-1] + 4
    assert quality.ssim(first, second) == pytest.approx(_ssim_plainly(first, second), abs=1e-12)
    assert quality.ssim(first, second) == pytest.approx(quality.ssim(second, first), abs=1e-12)


def test_ssim_of_equal_pictures_is_one_and_of_flat_ones_compares_means():
    picture = _noise(20, 30)
    assert quality.ssim(picture, picture) == pytest.approx(1, abs=1e-12)
    a, b = 100.0, 120.0
    expected = (2 * a * b + 6.5025) / (a * a + b * b + 6.5025)
    assert quality.ssim(np.full((12, 12), a), np.full((12, 12), b)) == pytest.approx(expected)


def test_ssim_refuses_what_no_window_fits_in():
    with pytest.raises(ValueError, match="11 px"):
        quality.ssim(np.zeros((10, 30)), np.zeros((10, 30)))


# --- degradations --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lanczos", "bicubic", "box", "box+jpeg75", "lanczos+jpeg30"])
@pytest.mark.parametrize("size", [(2, 2), (64, 48), (30, 90)])
def test_degradations_halve_exactly(name, size):
    degradation = quality.Degradation.parse(name)
    assert degradation.name == name
    small = degradation.apply(art.gradient(*size))
    assert small.size == (size[0] // 2, size[1] // 2)
    assert small.mode == "RGB"


def test_box_is_the_mean_of_two_by_two_and_jpeg_follows_it():
    face = art.anime_face(64)
    small = np.asarray(quality.Degradation("box").apply(face), np.float64)
    means = np.asarray(face, np.float64).reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(small - means).max() <= 1  # Pillow rounds after each direction
    worse = np.asarray(quality.Degradation("box", 75).apply(face), np.float64)
    assert 1 < np.abs(worse - small).mean() < 20


@pytest.mark.parametrize(
    "name", ["area", "", "jpeg75", "box+jpeg", "box+jpeg0", "box+jpeg101", "box+jpeg-5", "box+"]
)
def test_unknown_degradations_are_refused(name):
    with pytest.raises(ValueError, match="allowed"):
        quality.Degradation.parse(name)


def test_originals_lose_transparency_and_odd_sides(tmp_path):
    Image.new("RGBA", (7, 5), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    clear = quality.original(tmp_path / "clear.png")
    assert (clear.mode, clear.size) == ("RGB", (6, 4))
    assert clear.getcolors() == [(24, (255, 255, 255))]
    Image.new("L", (8, 6), 40).save(tmp_path / "gray.png")
    gray = quality.original(tmp_path / "gray.png")
    assert (gray.mode, gray.size, gray.getpixel((7, 5))) == ("RGB", (8, 6), (40, 40, 40))


# --- quality.py ----------------------------------------------------------------------------------


def test_quality_of_a_small_picture(tmp_path, capsys):
    pictures = tmp_path / "originals"
    pictures.mkdir()
    art.anime_face(96, 65).save(pictures / "face.png")
    target = tmp_path / "quality.json"
    arguments = "--models upconv_7 --noise none,1 --degradations lanczos,box+jpeg75 --direct"
    arguments = [str(pictures), *arguments.split(), "--tile", "16", "--json", str(target)]
    assert quality.main(arguments) == 0
    report = json.loads(target.read_text())
    assert report["pictures"] == ["face.png"]
    rows = {(row["degradation"], row["method"]): row for row in report["means"]}
    assert len(rows) == 2 * 4
    plain = rows["lanczos", "upconv_7"]
    assert plain["psnr"] > rows["lanczos", "Pillow bicubic"]["psnr"] + 1
    assert plain["direct_psnr"] == pytest.approx(plain["psnr"], abs=0.02)
    assert max(row.get("direct_levels", 0) for row in rows.values()) <= 1
    noisy = rows["box+jpeg75", "upconv_7 n1"]
    assert noisy["psnr"] > rows["box+jpeg75", "upconv_7"]["psnr"]
    printed = capsys.readouterr().out
    assert f"{plain['psnr']:6.2f} | {plain['ssim']:.4f}" in printed


@pytest.mark.parametrize(
    "arguments",
    ["--models upconv_8", "--noise 4", "--degradations area", "--engine abacus"],
)
def test_quality_refuses_what_does_not_exist(arguments, tmp_path, capsys):
    art.gradient(8, 8).save(tmp_path / "a.png")
    with pytest.raises(SystemExit) as stopped:
        quality.main([str(tmp_path), *arguments.split()])
    assert stopped.value.code == 2
    assert "allowed are" in capsys.readouterr().err


def test_quality_needs_pictures(tmp_path):
    with pytest.raises(SystemExit):
        quality.main([str(tmp_path)])


@pytest.mark.parametrize(("model", "scale", "noise"), [("cunet", 2, None), ("cunet", 1, 0)])
def test_the_plain_torch_network_is_the_network(model, scale, noise):
    pytest.importorskip("torch")
    from _torch_eager import eager

    graph = registry.load(registry.model(model).network(scale, noise))
    side = graph.input_size(2 * graph.lost + 8)
    batch = np.random.default_rng(SEED).random((1, 3, side, side), np.float32)
    assert np.abs(eager(graph)(batch) - evaluate(graph, batch)).max() < 1e-5


# --- peers.py ------------------------------------------------------------------------------------

#: Leaves the peers that these tests do without, installed or not, and what is slow to import.
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
    assert {"waifu2x onnx", "onnxruntime"} <= {one["name"] for one in case["results"]}
    for network in report["accuracy"]["networks"]:
        assert {len(one["errors"]) for one in network["contestants"]} == {1}
    for model in report["cost"]["models"]:
        assert len(model["sizes"]) == len(_cost.QUICK_MEGAPIXELS)
        assert all(size["s_per_megapixel"] > 0 for size in model["sizes"])
    for one in report["memory"]["contestants"]:
        assert one["not_run"] or all(_memory.added(sample) > 0 for sample in one["samples"])
    for sample in report["start"]["samples"]:
        steps = [sample[key] for key in ("interpreter", "import", "load", "run")]
        assert min(steps) > 0
        assert sum(steps) == pytest.approx(sample["total"])
    (loads,) = report["load"]["models"]
    assert all(one["summary"] for one in loads["load"])
    end_to_end = report["command"]["end_to_end"]
    assert end_to_end["ratio"] is None or end_to_end["ratio"] > 0
    printed = capsys.readouterr().out
    for heading in ("Whole command", "End to end", "Network alone", "Largest difference",
                    "The same bytes", "Memory added", "Cost by size", "From nothing",
                    "Load a network,"):  # fmt: skip
        assert f"\n{heading}" in printed


def _measured(pixels, tmp_path, **more):
    np.save(tmp_path / "pixels.npy", pixels)
    arguments = {"model": "upconv_7", "scale": 2, "noise": None, "threads": 1, "cap": None}
    told = _network.measure(
        **{**arguments, **more}, pixels=str(tmp_path / "pixels.npy"), rounds=2, without=()
    )
    results = [_measure.from_json(result) for result in told["results"]]
    _measure.summarise(results, 1)
    return told, {result.name: result for result in results}


def test_peers_that_are_missing_are_listed(tmp_path, monkeypatch):
    for missing in ("ncnn", "openvino"):
        monkeypatch.setitem(sys.modules, missing, None)
    told, results = _measured(np.asarray(art.anime_face(24)), tmp_path)
    assert told["input"] == [1, 3, 38, 38]
    assert told["output"] == [1, 3, 48, 48]
    absent = {name for name, result in results.items() if "not installed" in result.not_run}
    assert {"ncnn fp32", "ncnn default", "openvino fp32", "openvino default"} <= absent
    for name in ("waifu2x onnx", "onnxruntime"):
        assert not results[name].not_run
        assert len(results[name].samples) == 2
        assert results[name].max_error <= _measure.FLOAT32_TOLERANCE
        assert results[name].seconds > 0
    speeds = [r.summary.speed for r in results.values() if r.summary and not r.ours]
    assert max(speeds) == pytest.approx(1)
    assert _tables.timings(list(results.values()), unit=1).count("| not run: ") == len(absent)


def test_what_cannot_be_capped_is_marked_and_counts_for_nothing(tmp_path, monkeypatch):
    for missing in ("ncnn", "openvino"):
        monkeypatch.setitem(sys.modules, missing, None)
    _, results = _measured(np.zeros((8, 8, 3), np.uint8), tmp_path, cap="avx2")
    assert {name for name, result in results.items() if result.uncapped} == {
        "waifu2x onnx", "ncnn fp32", "ncnn default", "onnxruntime"
    }  # fmt: skip
    fast, slow = _result("free", (0.1, 0), (0.1, 0)), _result("capped", (0.4, 0), (0.4, 0))
    fast.uncapped = True
    _measure.summarise([fast, slow], 1)
    assert [result.summary.speed for result in (fast, slow)] == pytest.approx([4, 1])
    assert "| free (uncapped) |" in _tables.timings([fast, slow], unit=1)


def test_a_cap_stands_before_the_process_starts():
    for name, value in _processes.CAPS["avx2"].items():
        found = _processes.in_child("os", "getenv", cap="avx2", arguments={"key": name})
        assert found == value
    with pytest.raises(_measure.FailureError, match=r"exit status 1: .*no-such-module"):
        _processes.in_child("no-such-module", "", arguments={})


def test_the_network_is_given_the_middle_of_the_picture():
    picture = art.gradient(40, 30)
    graph = registry.load(registry.model("cunet").network(2, None))
    batch = _pictures.to_batch(graph, _pictures.middle(picture, 20))
    lost = graph.lost
    middle = np.asarray(picture.crop((10, 5, 30, 25)), np.float32).transpose(2, 0, 1) / 255
    assert np.array_equal(batch[0, :, lost : lost + 20, lost : lost + 20], middle)
    assert np.array_equal(batch[0, :, 0, 0], middle[:, 0, 0])


@pytest.mark.parametrize(
    ("model", "scale", "noise"),
    [("upconv_7", 2, None), ("cunet", 2, None), ("cunet", 1, 0)],
)
def test_a_network_with_the_least_noise(model, scale, noise):
    assert _contestants.least_noise(model, scale) == noise


@pytest.mark.parametrize(
    ("arguments", "told"),
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
    ],
)
def test_peers_refuses_before_the_work(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    art.gradient(8, 8).save(tmp_path / "small.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as stopped:
        peers.main(arguments)
    assert stopped.value.code == 2
    assert told in capsys.readouterr().err


def test_pictures_of_a_folder_in_the_order_of_their_names(tmp_path):
    art.gradient(9, 8, "L").save(tmp_path / "b.png")
    art.gradient(7, 6).save(tmp_path / "a.jpg")
    (tmp_path / "c.txt").touch()
    pictures = _pictures.given(tmp_path)
    assert _pictures.names(pictures) == ["a.jpg", "b.png"]
    assert [(picture.mode, picture.size) for _, picture in pictures] == [
        ("RGB", (7, 6)), ("RGB", (9, 8))
    ]  # fmt: skip


# --- samples and tables --------------------------------------------------------------------------


def _result(name: str, *times: tuple[float, float], ours: bool = False, error: float = 1e-6):
    samples = [_measure.Sample(wall, wall, foreign, None) for wall, foreign in times]
    return _measure.Result(name, ours, "", max_error=error, samples=samples)


def test_speed_is_relative_to_the_fastest_float32_peer():
    fast = _result("bf16", (0.1, 0), (0.1, 0), error=1e-2)
    peer = _result("fp32", (0.4, 0), (0.6, 0))
    slow = _result("slow", (2.0, 0), (2.0, 0))
    own = _result("own", (0.2, 0), (0.3, 0), ours=True)
    results = [fast, peer, slow, own]
    _measure.summarise(results, 1)
    assert [r.summary.speed for r in results] == pytest.approx([5, 1, 0.25, 2])
    _measure.summarise(results, 1, base="slow")
    assert [r.summary.speed for r in results] == pytest.approx([20, 4, 1, 8])


def test_disturbed_samples_can_be_left_out_and_are_counted():
    result = _result("own", (1.0, 0.05), (9.0, 0.5), (2.0, 0.0), ours=True)
    few = _result("few", (1.0, 0.05), (1.0, 0.2), ours=True)
    _measure.summarise([result, few], 0.1)
    summary = result.summary
    assert (summary.count, summary.median_s, summary.min_s, summary.max_s) == (2, 1.5, 1.0, 2.0)
    assert few.summary is None
    shown = _tables.timings([result, few], unit=1)
    assert "2 of 3" in shown
    assert "too few: not quiet" in shown


def test_every_row_of_a_table_has_all_columns():
    absent = _measure.Result("absent", False, "", not_run="because")
    quiet, few = _result("quiet", (1, 0), (1, 0)), _result("few", (1, 0.9))
    _measure.summarise([quiet, few, absent], 0.5)
    lines = _tables.timings([quiet, few, absent], unit=1000).splitlines()
    assert {line.count("|") for line in lines} == {9}
    lines = _tables.markdown(["", "a", "b"], [["x"], ["y", "1", "2"], ["z", "not run: long"]])
    assert {line.count("|") for line in lines.splitlines()} == {4}


def test_results_survive_json():
    result = _result("own", (1.0, 0.05), (2.0, 0.0), ours=True)
    told = json.loads(json.dumps(_measure.to_json([result])))
    assert _measure.from_json(told[0]) == result


def test_turns_go_on_without_those_who_fail():
    calls = []

    def sample(name: str):
        calls.append(name)
        if name == "bad" and calls.count("bad") == 2:
            raise ValueError("it rains\nheavily")
        return _measure.Sample(1, 1, 0, None)

    good, bad = _result("good"), _result("bad")
    _measure.take_turns([(good, lambda: sample("good")), (bad, lambda: sample("bad"))], 4)
    assert (len(good.samples), len(bad.samples)) == (4, 1)
    assert (good.not_run, bad.not_run) == ("", "ValueError: it rains")


def test_short_calls_are_timed_several_in_a_row(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(_measure.time, "perf_counter", lambda: clock[0])

    def call():
        clock[0] += 0.02

    sample = _measure.timed_warm(call)
    assert sample.wall_s == pytest.approx(0.02)
    assert sample.calls * 0.02 >= _measure.LEAST
    assert clock[0] == pytest.approx((sample.calls + 1) * 0.02)
    assert _measure.timed(call).foreign is None  # too short to tell


@pytest.mark.parametrize("error", [2e-4, math.nan])
def test_a_wrong_result_of_ours_fails(error):
    assert _measure.inexact([_result("own", ours=True, error=error)])
    assert not _measure.inexact([_result("peer", error=error), _result("own", ours=True)])
    assert not _whole.different(None)
    assert not _whole.different({"max_levels": 1})
    assert _whole.different({"max_levels": 2})


@pytest.mark.skipif(sys.platform == "win32", reason="needs os.wait4")
def test_commands_are_timed_and_failures_explained(tmp_path):
    target = tmp_path / "out"
    write = f"import pathlib; x = bytearray(80 << 20); pathlib.Path({str(target)!r}).touch()"
    sample = _processes.run_command([sys.executable, "-c", write], target)
    assert sample.cpu_s > 0
    assert sample.wall_s > 0
    assert 80 << 20 < sample.peak_rss < 250 << 20
    failing = "import sys; print('first', file=sys.stderr); sys.exit('it rains')"
    with pytest.raises(_measure.FailureError, match=r"^exit status 1: it rains$"):
        _processes.run_command([sys.executable, "-c", failing], target)
    with pytest.raises(_measure.FailureError, match=r"^it ended without a picture$"):
        _processes.run_command([sys.executable, "-c", ""], target)
    assert _processes.run_command([sys.executable, "-c", ""]).wall_s > 0


# --- the arithmetic of the parts -----------------------------------------------------------------

#: Channels of the 3x3 convolutions of upconv_7; a transposed one of 4x4 and stride 2 makes 3 more.
UPCONV_7 = (3, 16, 32, 64, 128, 128, 256)


def test_multiplications_are_those_of_the_layers():
    graph = registry.load(registry.model("upconv_7").network(2, None))
    side, plain = 30, 0
    for before, after in itertools.pairwise(UPCONV_7):
        side -= 2
        plain += 9 * before * after * side**2
    transposed = 16 * 256 * 3 * side**2
    assert _network.multiplications(graph, 30) == plain + transposed
    assert _network.multiplications(graph, 30, winograd=4) == pytest.approx(plain / 4 + transposed)
    # Edges left out, that is what the graph says for every pixel.
    per_pixel = _network.multiplications(graph, 10**6) / 10**12
    assert per_pixel == pytest.approx(graph.macs_per_pixel, rel=1e-4)


def test_the_peak_is_shown_where_the_native_module_can_tell(monkeypatch):
    monkeypatch.delattr(_native, "fma_peak", raising=False)
    assert _network.measured_peak(2) is None
    asked = []
    monkeypatch.setattr(
        _native, "fma_peak", lambda *args: asked.append(args) or 200.0, raising=False
    )
    peak = _network.measured_peak(2)
    assert peak == {"isa": _native.isa(), "threads": 2, "gflop_per_s": 200.0}
    assert asked == [(_native.isa(), 2)]
    counts = {"direct": 1e9, "winograd_4": 0.25e9, "winograd_6": 0.2e9}
    results = [
        _result("own", (0.02, 0), (0.02, 0), ours=True),
        _result("bf16", (0.01, 0), (0.01, 0), error=1e-2),
    ]
    _measure.summarise(results, 1)
    shown = _network.peak_table({"peak": peak, "multiplications": counts}, results)
    assert [cell.strip() for cell in shown.splitlines()[-1].split("|")[1:-1]] == [
        "own", "100", "50%", "12%", "10%"
    ]  # fmt: skip
    assert "bf16" not in shown  # another kind of number has another peak


def test_bytes_are_compared_run_to_run_and_over_threads():
    same = {"1": ["a", "a"], "2": ["a", "a"]}
    by_threads = {"1": ["a", "a"], "2": ["b", "b"]}
    never = {"1": ["a", "b"], "2": ["b", "a"]}
    cases = (same, by_threads, never)
    assert [_accuracy.repeatable(one) for one in cases] == [True, True, False]
    assert [_accuracy.independent(one) for one in cases] == [True, False, False]


def _accuracy_row(**more):
    one = {"name": "own", "ours": True, "not_run": "", "errors": [1e-6, 2e-6]}
    one |= {"digests": {"1": ["a", "a"]}, **more}
    return {"model": "upconv_7", "scale": 2, "noise": 1, "contestants": [one]}


def test_only_ours_must_be_exact_and_always_the_same():
    bad = {"digests": {"1": ["a", "b"]}, "errors": [1e-6, math.nan]}
    assert _accuracy.wrong([_accuracy_row()], []) == []
    assert len(_accuracy.wrong([_accuracy_row(**bad)], [])) == 2
    assert _accuracy.wrong([_accuracy_row(**bad, ours=False)], []) == []
    assert _accuracy.wrong([_accuracy_row(**bad, not_run="because")], []) == []
    picture = {"name": "own", "model": "cunet", "not_run": "", "digests": {"1": ["a"], "2": ["b"]}}
    assert len(_accuracy.wrong([_accuracy_row()], [picture])) == 1


def test_the_table_of_errors_ends_with_the_largest():
    rows = [_accuracy_row(), _accuracy_row(errors=[3e-6]), _accuracy_row(not_run="because")]
    *_, largest, absent = _accuracy.error_table(rows).splitlines()
    assert largest.split("|")[2].strip() == "3.0e-06"
    assert absent == "own: not run: because"
    shown = _accuracy.same_table(rows, []).splitlines()[-1]
    assert [cell.strip() for cell in shown.split("|")[1:-1]] == [
        "own",
        "2 of 2",
        "2 of 2",
        "-",
        "-",
    ]


@pytest.mark.parametrize("size", [(16, 16), (37, 20), (5, 3)])
def test_tiles_of_a_peer_make_the_whole_picture(size):
    pixels = np.random.default_rng(SEED).integers(0, 256, (*size, 3), np.uint8)
    lost = 3

    def run(batch):
        assert batch.shape == (1, 3, 14, 14)
        inner = batch[:, :, lost:-lost, lost:-lost]
        return inner.repeat(2, axis=2).repeat(2, axis=3)

    result = _memory.tiled(run, pixels, tile=8, lost=lost)
    assert np.array_equal(result, pixels.repeat(2, axis=0).repeat(2, axis=1))


def _memory_row(name: str, *peaks: int, ours: bool, mean: float = 100.0):
    sample = {"before": 50e6, "loaded": 60e6, "picture": 6e6, "result": 24e6, "mean": mean}
    samples = [{**sample, "peak": peak * 1e6} for peak in peaks]
    return {"name": name, "ours": ours, "not_run": "", "samples": samples}


def test_memory_is_the_peak_without_what_anyone_needs():
    rows = [
        _memory_row("own", 180, 182, 260, ours=True),
        _memory_row("peer", 280, 280, 280, ours=False),
        {"name": "absent", "ours": False, "not_run": "because", "samples": []},
    ]
    first, second, third = _memory.table(rows).splitlines()[2:]
    assert [cell.strip() for cell in first.split("|")[1:6]] == [
        "own", "102", "100 - 180", "0.51x", "50"
    ]  # fmt: skip
    assert "| 1.00x" in " ".join(second.split())
    assert "not run: because" in third
    assert _memory.wrong(rows) == []
    rows = [*rows, _memory_row("other", 280, ours=False), _memory_row("bad", 9, ours=True, mean=90)]
    assert len(_memory.wrong(rows)) == 1


def test_sizes_of_pictures_are_about_as_many_megapixels():
    for amount in (*_cost.MEGAPIXELS, 2.0736):
        width, height = _cost.shape(amount)
        assert width * height / 1e6 == pytest.approx(amount, rel=0.01)
        assert width / height == pytest.approx(_cost.ASPECT, rel=0.02)
    assert _cost.shape(2.0736) == (1920, 1080)


def test_cost_is_held_against_the_usual():
    rows = [
        _cost.row((1000, 1000 * n), _result("", *[(cost * n, 0)] * 3), 1)
        for n, cost in ((1, 3.0), (2, 2.0), (3, 1.0))
    ]
    assert [row["s_per_megapixel"] for row in rows] == pytest.approx([3, 2, 1])
    lines = _cost.table([*rows, _cost.row((9, 9), _result("", (1, 0.9)), 0.5)]).splitlines()[2:]
    assert [line.split("|")[5].strip() for line in lines] == ["1.50", "1.00", "0.50", ""]
    assert "not run: no quiet sample" in lines[-1]


def test_steps_of_a_start_in_order():
    samples = [
        {"interpreter": 0.01, "import": 0.1, "load": 0.05, "run": 0.004, "total": 0.164},
        {"interpreter": 0.03, "import": 0.1, "load": 0.05, "run": 0.004, "total": 0.184},
    ]
    lines = _start.table(samples).splitlines()[2:]
    assert [line.split("|")[2].strip() for line in lines] == ["20", "100", "50", "4", "174"]


def test_the_command_is_held_against_engine_and_interpreter():
    results = [
        _result("waifu2x", (1.3, 0), (1.3, 0), ours=True),
        _result("engine alone", (0.99, 0), (0.99, 0), ours=True),
        _result("interpreter start", (0.01, 0), (0.01, 0), ours=True),
    ]
    assert _whole.overhead(results) is None
    _measure.summarise(results, 1)
    assert _whole.overhead(results) == pytest.approx(1.3)
    assert all(result.summary.speed is None for result in results)


def test_loading_is_held_against_onnxruntime():
    told = _load.measure("upconv_7", None, 1, 2, ["torch", "ncnn", "openvino"])
    for what in ("load", "load_and_run"):
        names = [result["name"] for result in told[what]]
        assert set(names) >= {*(f"waifu2x {e}" for e in engines.ENGINES if e != "torch")}
        assert "onnxruntime" in names
        assert all(len(result["samples"]) == 2 for result in told[what])
    assert _load.READ in [result["name"] for result in told["load"]]


# --- many files ----------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="needs os.wait4, and memory from /proc")
def test_batch_benchmark_runs(tmp_path, capsys):
    target, plot = tmp_path / "batch.json", tmp_path / "memory.png"
    arguments = ["--quick", "--only", "mixed,crash", "--json", str(target), "--plot", str(plot)]
    assert batch.main(arguments) == 0
    told = json.loads(target.read_text("utf-8"))
    assert told["wrong"] == []
    assert (told["mixed"]["done"], told["mixed"]["failed"]) == (24, 20)
    assert told["mixed"]["peak_rss"] > 10 << 20
    chain, *_ = told["crash"]["kills"]
    assert (len(chain["legs"]), chain["same"]) == (3, True)
    assert told["crash"]["full_disk"].get("same", True)
    assert "FOLDER" not in target.read_text("utf-8")
    assert str(tmp_path) not in target.read_text("utf-8")
    assert "the same bytes" in capsys.readouterr().out
    with Image.open(plot) as drawn:
        drawn.load()
    with pytest.raises(SystemExit):
        batch.main(["--only", "everything"])
    assert "allowed are mixed, crash" in capsys.readouterr().err


def test_a_corpus_is_the_same_again_and_holds_what_it_should(tmp_path):
    made = [
        _batch_corpus.make(tmp_path / name, 60, _batch_corpus.TINY, bad=20, traps=True)
        for name in ("first", "second")
    ]
    first = made[0]
    assert _batch_watch.tree(first.folder) == _batch_watch.tree(made[1].folder)
    assert (len(first.good), len(first.bad)) == (40, 20)
    assert len(set(first.bad.values())) == 20
    for one in first.good:
        if one.kind != "CBZ":
            with Image.open(first.folder / one.path) as picture:
                assert picture.size == one.size


def test_growth_is_that_of_the_second_half_of_the_files():
    looks = [
        _batch_watch.Look(second, 1000 * second if second < 50 else 60_000, second)
        for second in range(101)
    ]
    assert _batch_mixed.growth(looks) == pytest.approx(0, abs=1e-3)
    assert _batch_mixed.growth([]) is None
    assert _batch_mixed.tenths(looks)[0] == 9000
    assert _batch_mixed.tenths(looks)[-1] == 60_000


# --- environment ---------------------------------------------------------------------------------


def test_foreign_load_is_what_neither_idles_nor_is_ours(monkeypatch):
    monkeypatch.setattr(_environment.os, "cpu_count", lambda: 4)
    share = _environment.foreign_share
    assert share(10.0, 13.0, own=1.0, wall=1.0) == 0.5
    assert share(10.0, 10.99, own=1.0, wall=1.0) == 0  # a tick of rounding
    assert share(None, 13.0, own=1.0, wall=1.0) is None


def test_the_environment_names_no_folder_of_this_machine():
    facts = _environment.environment(threads=2, distributions=("numpy", "no-such-distribution"))
    assert facts["versions"] == {"numpy": np.__version__, "no-such-distribution": None}
    assert facts["cores"] >= 1
    text = json.dumps(facts) + _environment.describe(facts)
    assert str(ROOT) not in text
    assert str(Path.home()) + "/" not in text


def test_gates_benchmark_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    art.manga_page(90, 80).save(tmp_path / "page.png")
    monkeypatch.setattr(gates_benchmark, "TILES", (32,))
    monkeypatch.setattr(gates_benchmark, "SIDES", (160,))
    monkeypatch.setattr(gates_benchmark, "TIMED_SIDE", 160)
    monkeypatch.setattr(gates_benchmark.gates, "EXACT_PIXELS", 180 * 180)
    target = tmp_path / "gates.json"
    monkeypatch.setattr(
        sys, "argv", ["gates.py", str(tmp_path), "--rounds", "1", "--json", str(target)]
    )
    gates_benchmark.main()
    result = json.loads(target.read_text("utf-8"))
    native = result["seams"][0]
    assert native["tile 32"] <= 1 < native["alone 32"]
    assert [row["network"] for row in result["time"]] == [
        "cunet 2x noise None",
        "cunet 2x noise 1",
        "cunet 1x noise 1",
    ]
    assert 0 < result["sample"][0]["share seen"] < 1
    assert "dB" in capsys.readouterr().out


def test_the_cuda_benchmark_goes_through_what_needs_no_gpu(tmp_path: Path) -> None:
    told = tmp_path / "cuda.json"
    command = [sys.executable, str(ROOT / "benchmarks/cuda.py"), "--device", "cpu", "--quick"]
    done = subprocess.run(
        [*command, "--rounds", "2", "--json", str(told)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(told.read_text())
    assert report["kernels"]["compared"] == 72
    assert report["kernels"]["different"] == 0
    for part in ("layers", "small", "memory"):
        assert report[part] == {"not_run": "it needs a GPU, and the device is cpu"}
    for model in ("upconv_7", "cunet"):
        assert report["pictures"]["models"][model]["differs"] <= 1
        assert report["pictures"]["models"][model]["ours"]["samples"] == 2
        found = report["precision"]["models"][model]["pictures"]["drawn"]
        assert 60 < found["float"] < 90
