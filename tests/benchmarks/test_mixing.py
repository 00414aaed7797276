"""`models/measure_mixing.py`: its pairs, its figures and that they repeat."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from waifu2x.network import registry

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "models" / "measure_mixing.py"))


def test_the_pairs_are_neighbors(script: dict[str, Any]) -> None:
    found = {
        model.name: [(a.scale, a.noise, b.noise) for a, b in script["pairs"](model)]
        for model in registry.models()
    }
    three = [(0, 1), (1, 2), (2, 3)]
    assert found["cunet"] == [(scale, *pair) for scale in (1, 2) for pair in three]
    assert found["upconv_7"] == found["upconv_7_photo"] == [(2, *pair) for pair in three]
    assert found["realcugan"] == [(2, 1, 2), (2, 2, 3)]
    assert not any(found[name] for name in found if name.startswith("real") and name != "realcugan")


def test_figures_repeat_and_loss_is_their_difference(
    script: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = script["measure"]
    monkeypatch.setitem(measure.__globals__, "SIDE", 64)
    model = registry.model("upconv_7")
    lower, upper = model.network(2, 0), model.network(2, 1)
    first = measure(lower, upper)
    assert measure(lower, upper) == first
    assert first["levels"] == [0, 1]
    assert [each["jpeg"] for each in first["qualities"]] == [90, 75]
    for each in first["qualities"]:
        assert each["psnr"].keys() == {"lower", "upper", "weights", "outputs"}
        assert each["loss"] == pytest.approx(each["psnr"]["outputs"] - each["psnr"]["weights"])
    assert first["loss"] == max(each["loss"] for each in first["qualities"])
    assert first["agreement"] == min(each["agreement"] for each in first["qualities"])
