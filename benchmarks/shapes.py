"""Compares shapes of networks: each is trained equally short, and timed on the native engine.

    python -m benchmarks.shapes PATCHES [--only NAMES] [--steps 1500] [--side 512] [--rounds 9]
                                [--threads 1] [--json FILE]

PATCHES is the folder that `python -m waifu2x.training.data prepare` has made. All candidates see
the same crops in the same order. The table shows the mean PSNR of luma on the validation set,
shrunk by Lanczos, bicubic and box, and the time of a picture of the given side, candidates
alternating, as a share of the first one's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from waifu2x.pipeline.evaluation import NetworkPipeline
from waifu2x.training.config import Config, DataConfig, LossConfig, ScheduleConfig
from waifu2x.training.shape import Shape
from waifu2x.training.trainer import Trainer

from .common.environment import describe, environment
from .common.measure import Result, interleave, median_s, timed
from .common.parts import write_json
from .common.tables import record_table

#: Shapes of about the cost of swift, the last three of fine, and how they are trained.
CANDIDATES: dict[str, tuple[Shape, dict[str, Any]]] = {
    "compact 48, 5 layers": (Shape(48, 5, architecture="compact"), {}),
    "compact 48, 5 layers, learned slopes": (
        Shape(48, 5, architecture="compact"), {"learn_slopes": True},
    ),
    "compact 48, 5 layers, folded": (Shape(48, 5, architecture="compact"), {"fold": True}),
    "compact 64, 3 layers": (Shape(64, 3, architecture="compact"), {}),
    "compact 32, 10 layers": (Shape(32, 10, architecture="compact"), {}),
    "48, 5 blocks": (Shape(48, 5), {}),
    "48, 5 blocks, no gate": (Shape(48, 5, gate=False), {}),
    "48, 5 blocks, no join": (Shape(48, 5, join=False), {}),
    "48, 5 blocks, neither": (Shape(48, 5, gate=False, join=False), {}),
    "48, 5 blocks, PReLU": (Shape(48, 5, slopes=True), {}),
    "48, 5 blocks, folded": (Shape(48, 5), {"fold": True}),
    "48, 5 blocks, Adam": (Shape(48, 5), {"optimizer": "adam"}),
    "48, 7 blocks of 2": (Shape(48, 7, layers=2), {}),
    "64, 3 blocks": (Shape(64, 3), {}),
    "64, 4 blocks of 2": (Shape(64, 4, layers=2), {}),
    "32, 11 blocks": (Shape(32, 11), {}),
    "compact 64, 6 layers": (Shape(64, 6, architecture="compact"), {}),
    "unet 96/48, 3 blocks of 2": (Shape(96, 3, 2, outer=48, architecture="unet"), {}),
    "unet 96/32, 3 blocks of 3": (Shape(96, 3, 3, outer=32, architecture="unet"), {}),
}  # fmt: skip
COLUMNS = {
    "shape": ("shape", ""), "MAC per px": ("macs", ",.0f"), "Lanczos": ("lanczos", ".2f"),
    "bicubic": ("bicubic", ".2f"), "box": ("box", ".2f"), "mean": ("mean", ".2f"),
    "time": ("time", ".2f"),
}  # fmt: skip


def trained(patches: Path, shape: Shape, how: dict[str, Any], steps: int) -> dict[str, float]:
    """Train a shape and return its last validation."""
    config = Config(
        network=shape,
        data=DataConfig(folder=str(patches.absolute()), batch=8, crop=64, hard=0),
        loss=LossConfig("psnr", epsilon=0.008, luma=3),
        schedule=ScheduleConfig(rate=3e-3, cycles=(steps,), warmup=100),
        validate=steps,
        save=steps,
        **{"learn_slopes": False, "optimizer": "muon", "precision": "bfloat16", **how},
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, patches, Path(folder))
        trainer.run()
        row = trainer.rows[-1]
    kinds = {kind: row[f"psnr none {kind}"] for kind in ("lanczos", "bicubic", "box")}
    return {
        **kinds, "mean": statistics.fmean(kinds.values()), "loss": row["loss"],
        "seconds": trainer.seconds,
    }  # fmt: skip


def times(names: Sequence[str], side: int, rounds: int, threads: int) -> dict[str, Result]:
    """Time the native engine with each shape, alternating."""
    pixels = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    runs = []
    for name in names:
        pipeline = NetworkPipeline(CANDIDATES[name][0].graph(1), threads=threads)
        runs.append(
            (
                Result(name, True, ""),
                lambda pipeline=pipeline: timed(lambda: pipeline.restore(pixels)),
            )
        )
    interleave(runs, rounds)
    return {result.name: result for result, _ in runs}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shapes", description="Compare shapes of networks."
    )
    parser.add_argument("patches", type=Path, metavar="PATCHES")
    parser.add_argument("--only", metavar="NAMES", help="candidates, separated by semicolons")
    parser.add_argument("--steps", type=int, default=1500, metavar="N", help="(default: 1500)")
    parser.add_argument("--side", type=int, default=512, metavar="PX", help="(default: 512)")
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="(default: 9)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="(default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures here")
    arguments = parser.parse_args(argv)
    names = list(CANDIDATES) if arguments.only is None else arguments.only.split(";")
    unknown = set(names) - set(CANDIDATES)
    if unknown:
        parser.error(f"unknown shapes {sorted(unknown)}; allowed are {'; '.join(CANDIDATES)}")
    facts = environment(threads=arguments.threads, distributions=("numpy", "torch"))
    print(describe(facts), flush=True)
    rows: list[dict[str, Any]] = []
    for name in names:
        shape, how = CANDIDATES[name]
        macs = shape.graph(1).macs_per_pixel
        rows.append(
            {"shape": name, "macs": macs, **trained(arguments.patches, shape, how, arguments.steps)}
        )
        print(f"{name}: {rows[-1]['mean']:.2f} dB", flush=True)
    if arguments.rounds:
        found = times(names, arguments.side, arguments.rounds, arguments.threads)
        first = median_s(found[names[0]])
        for row in rows:
            row["ms"] = median_s(found[row["shape"]]) * 1000
            row["time"] = row["ms"] / first / 1000
    print(record_table(rows, COLUMNS))
    if arguments.json:
        write_json(
            arguments.json,
            {"benchmark": "shapes", **facts, "steps": arguments.steps, "side": arguments.side,
             "shapes": rows},
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
