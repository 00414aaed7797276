"""Models of optional packages: the mark of tests that need their weights."""

from __future__ import annotations

import pytest

from waifu2x.network import registry

#: The models whose packages come with the extra `models`.
OPTIONAL = (
    *("realcugan", "realcugan_pro"),
    *("realesrgan_animevideo", "realesrgan_anime", "realesrgan"),
)


def needs(name: str) -> pytest.MarkDecorator:
    """Skip a test if the weights of the model ``name`` are not installed."""
    model = registry.model(name)
    return pytest.mark.skipif(
        not model.installed, reason=f"needs {registry.install_command(model)}"
    )
