"""The comparison of model families with ncnn: small runs and the arithmetic."""

from __future__ import annotations

import importlib.util
import json
import os

import numpy as np
import pytest
from helpers import networks
from helpers.families import needs

import benchmarks.families.__main__ as families
from benchmarks.common import pictures
from benchmarks.common.engines import CPU_ENGINES
from benchmarks.families import difference, options, speed
from benchmarks.peers.contestants import Job, Ncnn
from waifu2x.network import registry
from waifu2x.network.reference import evaluate

QUICK = ["--quick", "--model", "upconv_7", "--engine", "native,onnx"]

needs_ncnn = pytest.mark.skipif(
    importlib.util.find_spec("ncnn") is None, reason="needs pip install ncnn"
)


@needs_ncnn
def test_every_part_runs_and_reports(tmp_path, capsys):
    target = tmp_path / "families.json"
    assert families.main([*QUICK, "--json", str(target)]) == 0
    report = json.loads(target.read_text())
    assert report["wrong"] == []
    assert {"commit", "cpu", "threads", "isa", "versions"} <= set(report)
    (timed,) = report["speed"]["cases"]
    assert timed["ratios"]["ncnn"]["median"] > 0
    assert {len(result["samples"]) for result in timed["results"]} == {2}
    (used,) = report["memory"]["cases"]
    assert all(found["samples"][0]["peak"] > 0 for found in used["contestants"].values())
    (compared,) = report["difference"]["cases"]
    for engines in compared["references"].values():
        assert set(engines) == {"native", "onnx"}
        assert all(max(found["inside"], found["edge"]) <= 1 for found in engines.values())
    printed = capsys.readouterr().out
    for heading in ("Speed, 2 threads", "Peak memory", "Largest difference"):
        assert f"\n{heading}" in printed


def test_without_ncnn_only_our_memory_is_measured(tmp_path, monkeypatch, capsys):
    (tmp_path / "ncnn.py").write_text("raise ImportError('hidden by this test')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    target = tmp_path / "families.json"
    assert families.main([*QUICK, "--json", str(target)]) == 0
    report = json.loads(target.read_text())
    for part in ("speed", "difference"):
        assert "hidden by this test" in report[part]["cases"][0]["not_run"]
    used = report["memory"]["cases"][0]["contestants"]
    assert used["waifu2x native"]["samples"]
    assert "hidden by this test" in used["ncnn default"]["not_run"]
    assert capsys.readouterr().out.count("not run: ") == 2


def test_every_family_and_scale_is_a_case():
    found = {(case.model, case.scale) for case in options.cases(options.FamilyOptions(2))}
    assert found == {
        (model.name, scale)
        for model in registry.models()
        for scale in model.scales
        # The architectures of upconv_7 and realesrgan_animevideo.
        if scale > 1 and model.name not in ("upconv_7_photo", "fine", "swift")
    }


@pytest.mark.parametrize("graph", [networks.compact(), networks.cugan()])
@pytest.mark.parametrize("tile", [0, 12])
def test_windows_of_ncnn_make_the_whole_picture(graph, tile):
    pixels = np.random.default_rng(3).integers(0, 256, (24, 24, 3), np.uint8)
    whole = pictures.to_batch(graph, pixels)
    windows = speed.cut(graph, pixels, tile)
    assert len(windows) == (4 if tile else 1)
    side = windows[0].shape[1]
    assert np.array_equal(windows[0], whole[0, :, :side, :side])
    last = windows[-1].shape[1]
    assert np.array_equal(windows[-1], whole[0, :, -last:, -last:])


def test_the_result_is_cut_from_the_border():
    graph = networks.compact(layers=1)
    assert graph.border > graph.lost == 0
    pixels = np.random.default_rng(4).integers(0, 256, (9, 7, 3), np.uint8)
    result = evaluate(graph, pictures.to_batch(graph, pixels))
    cut = pictures.crop_result(graph, result, height=9, width=7)
    wide = evaluate(
        graph, pictures.to_batch(graph, np.pad(pixels, ((5, 5), (5, 5), (0, 0)), "edge"))
    )
    first = (graph.border + 5) * graph.scale
    assert cut.shape == (1, 3, 18, 14)
    assert np.allclose(cut, wide[:, :, first : first + 18, first : first + 14])


def test_a_difference_at_the_edge_is_counted_apart():
    a = np.full((3, 12, 10), 0.5, np.float32)
    b = a.copy()
    b[0, 1, 5] += 3 / 255
    b[2, 6, 5] -= 1 / 255
    found = difference.compare(a, b, edge=2)
    assert (found["inside"], found["edge"]) == (1, 3)
    assert found["unrounded"] == pytest.approx(3, abs=1e-3)
    problem = {"name": "a", "references": {"ncnn fp32": {"native": found}}}
    assert difference._problems(problem) == ["a on native is 3 of 255 away from ncnn fp32"]


@pytest.mark.parametrize(("median", "cell"), [(1.49, "1.5x, MISSED"), (1.5, "1.5x |")])
def test_a_missed_aim_is_in_the_table(median, cell):
    row = {
        "name": "realcugan 2x", "side": 96, "tile": 0, "aim": 1.5, "results": [],
        "ratios": {"ncnn": {"median": median, "q1": 1.4, "q3": 1.6}},
    }  # fmt: skip
    row["results"] = [
        {"name": name, "summary": None, "samples": []} for name in (speed.NATIVE, speed.NCNN)
    ]
    assert cell in speed.table([row])


@needs_ncnn
@needs("realcugan")
def test_ncnn_gets_the_step_that_the_file_leaves_out(tmp_path):
    job = Job("realcugan", 4, None, 2, tmp_path / "unused")
    pixels = np.random.default_rng(5).integers(0, 256, (8, 8, 3), np.uint8)
    batch = pictures.to_batch(job.graph, pixels)
    assert np.abs(Ncnn(job)(batch) - evaluate(job.graph, batch)).max() < 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "upconv_8"], "allowed are cunet"),
        (["--engine", "cuda"], f"allowed are {', '.join(CPU_ENGINES)}"),
        (["--threads", "0"], "must be 1 or more"),
        (["--rounds", "1"], "2 or more"),
    ],
)
def test_families_rejects_arguments_before_the_work(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        families.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
