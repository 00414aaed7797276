"""Difference of our results from ncnn, on the same weights with the same border."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from waifu2x.codec import from_array
from waifu2x.picture import as_float

from ..common.engines import create_pipeline, require_engine, upscale
from ..common.measure import FailureError, reason
from ..common.parts import Part
from ..common.pictures import Batch, Pixels, crop_result, gallery, to_batch, to_levels
from ..common.processes import in_child
from ..common.tables import markdown
from ..peers.contestants import Ncnn
from .options import Case, FamilyOptions, cases

SIDE = 64
#: Width of the frame that counts as the edge of a picture, in input pixels.
EDGE = 8
#: Largest difference of a sample after rounding to 8 bits that arithmetic explains.
TOLERANCE = 1
#: How ncnn computes: with 16-bit storage, packing and arithmetic off, and with its defaults.
REFERENCES = {"ncnn fp32": True, "ncnn default": False}


def run(options: FamilyOptions) -> Part:
    side = 16 if options.quick else SIDE
    pictures = gallery(side)[: 1 if options.quick else 2]
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    for case in cases(options):
        row = dict(case.facts)
        rows.append(row)
        try:
            pixels = np.stack([np.asarray(picture) for _, picture in pictures])
            row["references"] = in_child(measure, case, pixels, options.for_child())
        except FailureError as error:
            row["not_run"] = reason(error)
            continue
        problems += _problems(row)
    report = {"side": side, "edge": EDGE, "pictures": [name for name, _ in pictures], "cases": rows}
    text = (
        f"\nLargest difference from ncnn on the same weights with the same replicated border, in\n"
        f"levels of 255 after rounding: inside / in the frame of {EDGE} input pixels at the edges. "
        f"{len(pictures)} pictures of\n{side}x{side} px. Before rounding, the larger of both:\n\n"
        f"{table(rows, options)}\n"
    )
    return Part(report, text, problems)


def _problems(row: dict[str, Any]) -> list[str]:
    found = []
    for engine, result in row["references"]["ncnn fp32"].items():
        if result.get("not_run"):
            continue
        largest = max(result["inside"], result["edge"])
        if largest > TOLERANCE:
            found.append(f"{row['name']} on {engine} is {largest} of 255 away from ncnn fp32")
    return found


def table(rows: list[dict[str, Any]], options: FamilyOptions) -> str:
    lines = []
    for row in rows:
        if row.get("not_run"):
            lines.append([row["name"], f"not run: {row['not_run']}"])
            continue
        for reference, results in row["references"].items():
            lines.append([f"{row['name']}, {reference}"])
            for engine in options.engines:
                result = results[engine]
                if result.get("not_run"):
                    lines[-1] += ["-", "-"]
                else:
                    lines[-1] += [f"{result['inside']} / {result['edge']}",
                                  f"{result['unrounded']:.4f}"]  # fmt: skip
    headers = [""]
    for engine in options.engines:
        headers += [engine, "unrounded"]
    return markdown(headers, lines)


# --- in the child process ------------------------------------------------------------------------


def measure(case: Case, pictures: Pixels, options: FamilyOptions) -> dict[str, dict[str, Any]]:
    """Compare every engine with every reference; the keys are their names."""
    job = case.job(options)
    height, width = pictures.shape[1:3]
    exact: dict[str, list[Batch]] = {}
    for name, float32 in REFERENCES.items():
        peer = Ncnn(job, float32=float32)
        cut = partial(crop_result, job.graph, height=height, width=width)
        exact[name] = [cut(peer(to_batch(job.graph, pixels)))[0] for pixels in pictures]
    report: dict[str, dict[str, Any]] = {name: {} for name in exact}
    for engine in options.engines:
        try:
            pipeline = create_pipeline(case.model, engine=engine, threads=options.threads)
            require_engine(pipeline.engine, engine)
            ours = [
                as_float(upscale(pipeline, from_array(pixels), case.scale, dtype=np.float32).color)
                for pixels in pictures
            ]
        except Exception as error:  # of any kind: the table shows the reason
            for results in report.values():
                results[engine] = {"not_run": reason(error)}
            continue
        for name, references in exact.items():
            found = [
                compare(reference, result.transpose(2, 0, 1), edge=EDGE * case.scale)
                for reference, result in zip(references, ours, strict=True)
            ]
            report[name][engine] = {key: max(each[key] for each in found) for key in found[0]}
    return report


def compare(a: Batch, b: Batch, *, edge: int) -> dict[str, float]:
    """Compare (C, H, W) on [0, 1]: largest difference in levels, and of 255 before rounding.

    edge: width of the frame that is not "inside", in output pixels.
    """
    levels = np.abs(to_levels(a).astype(np.int16) - to_levels(b)).max(0)
    inside = levels[edge:-edge, edge:-edge]
    frame = levels.copy()
    frame[edge:-edge, edge:-edge] = 0
    unrounded = np.abs(np.clip(a, 0, 1) - np.clip(b, 0, 1)).max() * 255
    return {
        "inside": int(inside.max(initial=0)),
        "edge": int(frame.max()),
        "unrounded": float(unrounded),
    }
