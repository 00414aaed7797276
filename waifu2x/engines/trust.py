"""Keeps the verdicts on devices, and chooses the engine by them.

A device is tested once with each network: the verdict is kept in the user's cache folder, under the
names of device, driver, runtime, precision and network. A folder that cannot be written means a
test in each process.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import logging
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .._record import record
from .._version import __version__
from ..atomic import write_files
from ..errors import DeviceLostError, DeviceMemoryError, EngineError, Waifu2xError
from ..network.compare import digest
from ..network.graph import Graph
from .base import Engine
from .creation import create, has_cuda
from .self_test import Reference, Verdict, examine, reference

_log = logging.getLogger(__name__)


@record
class Tested:
    """The verdict on a device with a network, and the seconds per megapixel of the CPU."""

    verdict: Verdict
    cpu_seconds: float


class Tests:
    """The tests of one network; its reference is computed once, and only if it is needed."""

    def __init__(self, graph: Graph, *, threads: int | None = None, again: bool = False) -> None:
        """Prepare the tests of a network.

        threads: of the engine on the CPU. again: ignore the verdicts that are known.
        """
        self._graph, self._threads, self._again = graph, threads, again
        self._digest = digest(graph)
        self._reference: Reference | None = None

    def of(self, engine: Engine) -> dict[str, Tested]:
        """Return what is known of each device of an engine, by its name; tests what is not.

        Empty for an engine that needs no test. Raises `DeviceLostError` and `DeviceMemoryError`.
        """
        found = {}
        for name, identity in engine.identities.items():
            path = _path(identity, self._digest)
            tested = None if self._again else _read(path)
            if tested is None:
                single = engine if len(engine.identities) == 1 else _on(engine, name)
                tested = self._test(single, name)
                _keep(path, tested, identity)
            found[name] = tested
        return found

    def _test(self, engine: Engine, name: str) -> Tested:
        _log.info("testing %s with this network, once", name)
        expected = self._expected()
        return Tested(examine(engine.compile(self._graph), expected), expected.seconds)

    @property
    def cpu_seconds(self) -> float:
        """Seconds per megapixel of the CPU."""
        return self._expected().seconds

    def _expected(self) -> Reference:
        if self._reference is None:
            cpu = create(self._graph.only_engine or "native", threads=self._threads)
            self._reference = reference(self._graph, cpu)
        return self._reference


def trusted(engine: Engine, tests: Tests, *, precision: str, threads: int | None) -> Engine:
    """Return ``engine`` if its devices compute a network right, else the engine that takes over.

    If ``precision`` is "auto" and half precision is to blame, that is the same engine in float32,
    else the native one; a fault is a warning. Half precision that is right but far from exact
    becomes float32 without one.
    """
    try:
        return _judged(engine, tests, precision, threads)
    except (DeviceLostError, DeviceMemoryError) as error:
        _log.warning("%s; using engine native", str(error).split(";")[0])
        return create("native", threads=threads)


def _judged(engine: Engine, tests: Tests, precision: str, threads: int | None) -> Engine:
    found = tests.of(engine)
    faults = _faults(found)
    if not faults and all(each.verdict.precise for each in found.values()):
        return engine
    if precision == "auto" and engine.precision != "fp32":
        single = _in_float32(engine)
        if not _faults(tests.of(single)):
            for name, fault in faults.items():
                _log.warning("%s: in half precision %s; it runs in fp32", name, fault)
            return single
    for name, fault in faults.items():
        _log.warning("%s computes this network wrong: %s; using engine native", name, fault)
    return create("native", threads=threads) if faults else engine


def fastest(graph: Graph, *, precision: str, threads: int | None) -> Engine:
    """Return the engine that measured fastest with a network, among those that compute it right."""
    native = create("native", threads=threads)
    best, least = native, math.inf
    tests = Tests(graph, threads=threads)
    for engine in _accelerators(precision):
        with contextlib.suppress(EngineError):
            chosen = trusted(engine, tests, precision=precision, threads=threads)
            for tested in tests.of(chosen).values():
                if tested.verdict.seconds < min(least, tested.cpu_seconds):
                    best, least = chosen, tested.verdict.seconds
    return best


def _accelerators(precision: str) -> Iterator[Engine]:
    """Make the engines that "auto" may choose: devices that are no software."""
    if has_cuda():
        yield create("cuda", precision=precision)
    if precision != "bf16" and importlib.util.find_spec("ncnn"):
        from .vulkan_devices import gpus

        if any(not gpu.software for gpu in gpus()):
            yield create("vulkan", precision=precision)


def _faults(found: dict[str, Tested]) -> dict[str, str]:
    return {name: each.verdict.fault for name, each in found.items() if not each.verdict.passed}


def _in_float32(engine: Engine) -> Engine:
    return create(engine.name, device=",".join(engine.identities), precision="fp32")


def _on(engine: Engine, device: str) -> Engine:
    return create(engine.name, device=device, precision=engine.precision)


# --- cache ----------------------------------------------------------------------------------------


def _path(identity: str, network: str) -> Path:
    from platformdirs import user_cache_path  # loaded for GPUs only

    key = hashlib.sha256(f"{identity}\n{network}\n{__version__}".encode()).hexdigest()[:32]
    return user_cache_path("waifu2x", appauthor=False) / "devices" / f"{key}.json"


def _read(path: Path) -> Tested | None:
    try:
        found = json.loads(path.read_text("utf-8"))
        verdict = Verdict(**{name: _number(value) for name, value in found["verdict"].items()})
        return Tested(verdict, float(found["cpu_seconds"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _number(value: Any) -> Any:
    """Return an infinity from its text, which JSON has no number for."""
    return math.inf if value == "inf" else value


def _keep(path: Path, tested: Tested, identity: str) -> None:
    verdict = {
        name: "inf" if value == math.inf else value
        for name, value in asdict(tested.verdict).items()
    }
    facts = {"device": identity, "verdict": verdict, "cpu_seconds": tested.cpu_seconds}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_files([(path, json.dumps(facts, indent=1).encode())], overwrite=True)
    except (OSError, Waifu2xError) as error:
        _log.debug("the verdict is not kept: %s", error)
