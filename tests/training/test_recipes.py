"""The recipes of the networks that ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from waifu2x.network import architectures, registry
from waifu2x.training.config import Config, read_config

RECIPES = Path(__file__).parents[2] / "models" / "recipes"

#: The phases of a training, in the order of `waifu2x train A.toml B.toml ...`.
PHASES = {
    name: [
        f"{name}_compact", f"{name}_compact_levels", "estimator", "filters", "filters_levels", name,
        f"{name}_levels",
    ]
    for name in ("swift", "fine")
}  # fmt: skip


def files(config: Config, phase: str) -> set[str]:
    """Return the networks that a phase leaves, relative to the recipes."""
    if len(config.levels) == 1:
        return {f"{phase}/{config.name}.safetensors"}
    return {f"{phase}/{config.name}_{level}.safetensors" for level in config.levels}


@pytest.mark.parametrize("name", PHASES)
def test_a_recipe_makes_the_network_that_ships(name: str) -> None:
    model = registry.model(name)
    noises: list[int | None] = []
    for phase in (name, f"{name}_levels"):
        config = read_config(RECIPES / f"{phase}.toml")
        assert (config.name, config.license) == (name, model.license)
        made = architectures.state_dict(config.network.graph(config.seed))
        for noise in config.noises:
            network = model.network(2, noise)
            assert network is not None
            shipped = architectures.state_dict(registry.load(network))
            assert {key: array.shape for key, array in made.items()} == {
                key: array.shape for key, array in shipped.items()
            }
        noises += config.noises
    assert noises == [None, 0, 1, 2, 3]


@pytest.mark.parametrize("name", PHASES)
def test_a_phase_begins_with_what_earlier_phases_leave(name: str) -> None:
    made: set[str] = set()
    for phase in PHASES[name]:
        config = read_config(RECIPES / f"{phase}.toml")
        assert {config.start, config.estimator} - {""} <= made, phase
        made |= files(config, phase)


def test_every_recipe_is_a_phase_and_has_its_record() -> None:
    phases = {phase for names in PHASES.values() for phase in names}
    assert {path.stem for path in RECIPES.glob("*.toml")} == phases
    recorded = {path.stem for path in RECIPES.glob("*.csv")}
    assert {path.stem for path in RECIPES.glob("*.png")} <= recorded <= phases
    for names in PHASES.values():
        assert set(names[-1:]) | {names[-1].removesuffix("_levels")} <= recorded
