"""The devices, each with the verdict of its self-test."""

from __future__ import annotations

from collections.abc import Iterator

from ..engines.survey import Found, fastest, found_devices
from ..network import registry
from .isolated import Row


def devices() -> Iterator[Row]:
    """Yield a row for each device as soon as it is tested with the default model.

    A device that computes on the CPU is not tested: the test would take minutes, and engine auto
    never takes it.
    """
    found = []
    for each in found_devices(registry.load(registry.models()[0].networks[0]), software=False):
        found.append(each)
        yield _row(each)
    engine = fastest(found).engine
    yield Row("auto", f"takes engine {engine}", {"engine": engine})


def _row(found: Found) -> Row:
    name = found.device or found.engine
    if found.engine in ("onnx", "torch") and found.device:
        name = f"{found.engine} {found.device}"
    speed = "" if found.seconds is None else f"{found.seconds:.3g} seconds per megapixel"
    software = "software, never chosen by auto" if found.software else ""
    text = ", ".join(filter(None, (found.name, found.result, software, speed)))
    fault = found.problem or (found.verdict.fault if found.verdict else "")
    return Row(name, text, found.facts(), fault if found.device else "")
