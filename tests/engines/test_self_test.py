"""Devices with planted faults are found out, and another engine gives the right picture."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import art

from waifu2x import Upscaler, engines
from waifu2x.engines import creation, self_test, trust
from waifu2x.engines.host import HostCompiled, HostEngine
from waifu2x.errors import DeviceLostError, DeviceMemoryError, EngineError
from waifu2x.network import registry
from waifu2x.network.graph import Conv, Graph, Node

Fault = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(trust, "_in_float32", lambda engine: engine.in_float32())


def network(model: str = "upconv_7") -> Graph:
    return registry.load(registry.model(model).networks[0])


class _Compiled(HostCompiled):
    def __init__(self, graph: Graph, engine: FaultyEngine) -> None:
        self.graph, self._engine = graph, engine
        self.reduced = engine.precision == "fp16"
        self._inner = engines.create("native", threads=1).compile(engine.altered(graph))

    def run(self, batch: np.ndarray, means: Sequence[np.ndarray] = ()) -> np.ndarray:
        self._engine.runs += 1
        return self._engine.fault(self._inner.run(batch, means))


class FaultyEngine(HostEngine):
    """A device that computes on the CPU and gets something wrong."""

    name = "faulty"
    threads = 1

    def __init__(self, fault: Fault = lambda x: x, *, precision: str = "fp16") -> None:
        self.fault, self.precision = fault, precision
        self.identities = {"faulty:0": f"a device, {precision}"}
        self.altered: Callable[[Graph], Graph] = lambda graph: graph
        self.runs = 0

    def compile(self, graph: Graph) -> _Compiled:
        return _Compiled(graph, self)

    def in_float32(self) -> FaultyEngine:
        """The same device, with the same fault."""
        made = FaultyEngine(self.fault, precision="fp32")
        made.name, made.altered = self.name, self.altered
        made.identities = {name: f"{text}, fp32" for name, text in self.identities.items()}
        return made


def with_wrong_weight(graph: Graph) -> Graph:
    """Return a graph with one weight of its first layer changed."""
    nodes = list(graph.nodes)
    first = next(i for i, node in enumerate(nodes) if isinstance(node.op, Conv))
    op = nodes[first].op
    weight = op.weight.copy()
    weight[0, 0, 1, 1] += 0.25
    changed = Conv(weight, op.bias, op.stride, op.padding, op.activation)
    nodes[first] = Node(nodes[first].name, changed, nodes[first].inputs)
    return Graph(nodes, output=graph.output, inputs=graph.inputs)


def nan_in_one_place(result: np.ndarray) -> np.ndarray:
    result[0, 1, 5, 7] = np.nan
    return result


def one_pixel_off(result: np.ndarray) -> np.ndarray:
    result[0, 0, 9, 9] = 1 - np.clip(result[0, 0, 9, 9], 0, 1)
    return result


FAULTS: dict[str, tuple[Fault, str]] = {
    "nan": (nan_in_one_place, "its result has values that are not finite"),
    "black": (np.zeros_like, "its result is black"),
    "swapped channels": (lambda x: x[:, [2, 1, 0]], "its result is off by 255 of 255"),
    "overflow": (
        lambda x: np.where(x > 0.9, np.inf, x).astype(np.float32),
        "its result has values that are not finite",
    ),
    "one pixel": (one_pixel_off, "its result is off by "),
    "shifted": (lambda x: np.roll(x, 1, 3), "its result is off by 255 of 255"),
    "small": (lambda x: x[:, :, :-2], "its result is "),
}


@pytest.mark.parametrize("kind", [*FAULTS, "wrong weight"])
def test_a_planted_fault_is_found_and_the_processor_takes_over(
    kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fault, said = FAULTS.get(kind, (lambda x: x, "its result is off by "))
    engine = FaultyEngine(fault)
    if kind == "wrong weight":
        engine.altered = with_wrong_weight
    create = creation.create
    monkeypatch.setattr(
        engines, "create", lambda name="auto", **rest: engine if name == "auto" else create(name)
    )
    picture = np.asarray(art.anime_face(60, 50).convert("RGB"))
    got = Upscaler("upconv_7").upscale(picture, 2)
    np.testing.assert_array_equal(got, Upscaler("upconv_7", engine="native").upscale(picture, 2))
    (warning,) = [each.message for each in caplog.records if each.levelname == "WARNING"]
    assert warning.startswith(f"faulty:0 computes this network wrong: {said}")
    assert warning.endswith("; using engine native")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (FAULTS["overflow"][0], ["faulty:0: in half precision its result has values that are not "
                                 "finite; it runs in fp32"]),
        (lambda x: x + np.where(np.indices(x.shape).sum(0) % 2, 0.0015, -0.0015).astype("f4"), []),
    ],
)  # fmt: skip
def test_half_precision_that_is_to_blame_becomes_float32(
    fault: Fault, said: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    half, single = FaultyEngine(fault), FaultyEngine(precision="fp32")
    monkeypatch.setattr(trust, "_in_float32", lambda engine: single)
    for precision, expected in (("auto", single), ("fp16", half)):
        caplog.clear()
        chosen = trust.trusted(half, trust.Tests(network()), precision=precision, threads=1)
        if said and precision == "fp16":
            assert chosen.name == "native"
            continue
        assert chosen is expected
        assert [each.message for each in caplog.records] == said


def test_a_right_device_is_tested_once_for_each_network(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    engine = FaultyEngine()
    tests = trust.Tests(network())
    assert trust.trusted(engine, tests, precision="auto", threads=1) is engine
    assert not caplog.records
    runs = engine.runs
    assert runs > 1
    again = trust.Tests(network())
    assert trust.trusted(engine, again, precision="auto", threads=1) is engine
    assert engine.runs == runs
    other = trust.Tests(network("upconv_7_photo"))
    assert trust.trusted(engine, other, precision="auto", threads=1) is engine
    assert engine.runs > runs
    engine.identities = {"faulty:0": "another driver"}
    runs = engine.runs
    assert trust.trusted(engine, again, precision="auto", threads=1) is engine
    assert engine.runs > runs
    kept = [json.loads(path.read_text()) for path in (tmp_path / "cache").rglob("*.json")]
    assert len(kept) == 3
    assert all(each["verdict"]["fault"] == "" and each["cpu_seconds"] > 0 for each in kept)


def test_a_fault_is_kept_and_a_damaged_verdict_is_not(tmp_path: Path) -> None:
    engine = FaultyEngine(np.zeros_like)
    for _ in range(2):
        chosen = trust.trusted(engine, trust.Tests(network()), precision="auto", threads=1)
        assert chosen.name == "native"
    runs = engine.runs
    (path,) = (
        each for each in (tmp_path / "cache").rglob("*.json") if "fp32" not in each.read_text()
    )
    assert json.loads(path.read_text())["verdict"]["fault"] == "its result is black"
    for text in ("", "[]", "{}", '{"verdict": {"fault": ""}}', '{"verdict": 1, "cpu_seconds": 1}'):
        path.write_text(text)
        trust.trusted(engine, trust.Tests(network()), precision="auto", threads=1)
        assert engine.runs > runs, text
        runs = engine.runs


def test_a_folder_that_cannot_be_written_means_a_test_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    engine = FaultyEngine()
    for count in (1, 2):
        assert trust.trusted(engine, trust.Tests(network()), precision="auto", threads=1)
        assert engine.runs > count


@pytest.mark.parametrize("error", [DeviceLostError("gone; x"), DeviceMemoryError("full; x")])
def test_a_device_that_fails_for_now_is_not_judged(
    error: EngineError, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def fail(result: np.ndarray) -> np.ndarray:
        raise error

    engine = FaultyEngine(fail)
    chosen = trust.trusted(engine, trust.Tests(network()), precision="auto", threads=1)
    assert chosen.name == "native"
    assert [each.message for each in caplog.records] == [
        f"{str(error).split(';')[0]}; using engine native"
    ]
    assert not list((tmp_path / "cache").rglob("*.json"))


def test_an_error_of_a_runtime_is_a_fault() -> None:
    def fail(result: np.ndarray) -> np.ndarray:
        raise RuntimeError("broken\nin two lines")

    expected = self_test.reference(network(), engines.create("native"))
    verdict = self_test.examine(FaultyEngine(fail).compile(network()), expected)
    assert (verdict.fault, verdict.passed) == ("broken", False)


def test_half_precision_may_differ_by_two_and_float32_by_one() -> None:
    expected = self_test.reference(network(), engines.create("native"))
    for precision, allowed in (("fp16", 2.0), ("fp32", 1.0)):
        for off, passes in ((allowed - 0.1, True), (allowed + 0.1, False)):
            engine = FaultyEngine(lambda x, off=off: np.clip(x, 0.02, 0.98) + off / 255,
                                  precision=precision)  # fmt: skip
            want = self_test.Reference(
                expected.pictures, np.clip(expected.results, 0.02, 0.98), expected.seconds
            )
            verdict = self_test.examine(engine.compile(network()), want)
            assert verdict.passed is passes, (precision, off)
            assert verdict.error == pytest.approx(off, abs=0.01)


def test_the_picture_is_hard_and_always_the_same() -> None:
    first = self_test.hard_picture(96)
    np.testing.assert_array_equal(first, self_test.hard_picture(96))
    assert (first.shape, first.dtype, first.min(), first.max()) == (
        (1, 3, 96, 96), np.float32, 0, 1
    )  # fmt: skip
    flat = first[0].transpose(1, 2, 0).reshape(-1, 3)
    for color in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0), (1, 1, 1)):
        assert (flat == color).all(1).any(), color
    steps = np.abs(np.diff(first, axis=3))
    assert (steps == 1).any()
    assert ((steps > 0) & (steps < 0.1)).any()


def test_a_network_that_diverges_gets_a_calmer_picture() -> None:
    graph = network()
    loud = Graph(
        [*graph.nodes, Node("loud", Conv(np.full((3, 3, 1, 1), 9, np.float32),
                                         np.full(3, -13, np.float32)), (graph.output,))],
        output="loud", inputs=graph.inputs,
    )  # fmt: skip
    calm = self_test.reference(loud, engines.create("native"))
    assert calm.pictures[0].min() > 0
    assert calm.pictures[0].max() < 1


# --- engine auto ----------------------------------------------------------------------------------


def accelerators(monkeypatch: pytest.MonkeyPatch, *made: Any) -> None:
    monkeypatch.setattr(trust, "_accelerators", lambda precision: iter(made))


class _Timed(FaultyEngine):
    """A right device with the seconds per megapixel that the test is told."""


def verdicts(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    def examine(compiled: Any, expected: Any) -> self_test.Verdict:
        fault = "its result is black" if compiled._engine.fault is not None else ""
        return self_test.Verdict(fault, 0.0, 99.0, seconds[compiled._engine.name])

    monkeypatch.setattr(trust, "examine", examine)


def timed(name: str, *, wrong: bool = False) -> FaultyEngine:
    engine = FaultyEngine()
    engine.name = name
    engine.fault = np.zeros_like if wrong else None  # type: ignore[assignment]
    engine.identities = {f"{name}:0": name}
    return engine


def test_auto_takes_what_measured_fastest_and_passed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    verdicts(monkeypatch, one=1e-3, two=1e-4, slow=1e3)
    one, two, slow = timed("one"), timed("two"), timed("slow")
    accelerators(monkeypatch, one, two, slow)
    assert trust.fastest(network(), precision="auto", threads=1) is two
    accelerators(monkeypatch, slow)
    assert trust.fastest(network(), precision="auto", threads=1).name == "native"
    assert not caplog.records
    wrong = timed("two", wrong=True)
    wrong.identities = {"two:0": "wrong"}
    accelerators(monkeypatch, one, wrong)
    assert trust.fastest(network(), precision="auto", threads=1) is one
    assert len(caplog.records) == 1


def test_auto_asks_no_library_on_a_machine_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creation, "_NODES", {"/nowhere": ("x",), "/": ("no such name",)})
    monkeypatch.setattr(trust, "_accelerators", lambda precision: pytest.fail("asked"))
    monkeypatch.setattr(creation.sys, "platform", "linux")
    assert Upscaler("upconv_7").pipeline.engine.name == "native"


def test_auto_tests_the_devices_of_a_machine_with_a_gpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    verdicts(monkeypatch, gpu=1e-3)
    accelerators(monkeypatch, timed("gpu"))
    monkeypatch.setattr(engines, "has_accelerators", lambda: True)
    assert Upscaler("upconv_7").pipeline.engine.name == "gpu"
    assert Upscaler("upconv_7", engine="native").pipeline.engine.name == "native"
    with caplog.at_level(logging.WARNING):
        assert Upscaler("upconv_7", device="cpu").pipeline.engine.name == "native"
