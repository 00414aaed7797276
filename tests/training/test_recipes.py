"""The recipes of the networks that ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from waifu2x.network import architectures, registry
from waifu2x.training.config import read_config

RECIPES = Path(__file__).parents[2] / "models" / "recipes"


@pytest.mark.parametrize("name", ["swift", "fine"])
def test_a_recipe_makes_the_network_that_ships(name: str) -> None:
    plain = read_config(RECIPES / f"{name}.toml")
    levels = read_config(RECIPES / f"{name}_levels.toml")
    assert (plain.name, levels.name) == (name, name)
    assert (plain.noises, levels.noises) == ((None,), (0, 1, 2, 3))
    # Runs in two phases: `waifu2x train swift.toml swift_levels.toml`.
    assert levels.start == f"{name}/{name}.safetensors"
    model = registry.model(name)
    for config in (plain, levels):
        assert config.license == model.license
        made = architectures.state_dict(config.network.graph(config.seed))
        for noise in config.noises:
            network = model.network(2, noise)
            assert network is not None
            shipped = architectures.state_dict(registry.load(network))
            assert {key: array.shape for key, array in made.items()} == {
                key: array.shape for key, array in shipped.items()
            }


def test_every_recipe_is_of_a_model_that_ships() -> None:
    names = {path.stem.removesuffix("_levels") for path in RECIPES.glob("*.toml")}
    assert names == {"swift", "fine"}
