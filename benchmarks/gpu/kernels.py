"""Gather and blend on the device: bytes compared with the CPU kernels, and bandwidth."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from waifu2x.engines import TileCopy, torch_tiles
from waifu2x.engines.cuda_tiles import CudaSteps
from waifu2x.engines.torch_tiles import TileKernels
from waifu2x.kernels import tiles

from ..common.parts import Part
from ..common.tables import markdown
from .options import GpuOptions, spread

SEED = 11
SIZES = ((1, 1), (7, 5), (33, 17), (270, 135), (481, 357))
WINDOWS = (1, 3, 16, 31, 64, 129, 256)


def run(options: GpuOptions) -> Part:
    native = options.native
    kernels: TileKernels = CudaSteps(native) if native is not None else torch_tiles
    checked, problems = 0, []
    for name, same in _checks(options, kernels):
        checked += 1
        if not same:
            problems.append(f"{name}: bytes differ from the CPU")
    report: dict[str, Any] = {
        "implementation": "kernels" if native is not None else "torch",
        "compared": checked,
        "different": len(problems),
    }
    text = f"\n{checked} comparisons with the CPU, {len(problems)} different"
    if options.gpu:
        report["bandwidth"] = _bandwidth(options, kernels)
        rows = [
            [each["what"], f"{each['gb_s']:.0f}", f"{each['of_copy']:.0%}"]
            for each in report["bandwidth"]
        ]
        text += "\n\n" + markdown(["", "GB/s", "of a copy"], rows)
    return Part(report, text, problems)


def _checks(options: GpuOptions, kernels: TileKernels) -> Iterator[tuple[str, bool]]:
    rng = np.random.default_rng(SEED)
    for dtype in (np.uint8, np.uint16):
        for height, width in SIZES[: 3 if options.quick else None]:
            for channels in (1, 3):
                source = rng.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype)
                for side in WINDOWS[: 3 if options.quick else None]:
                    name = f"{np.dtype(dtype)} {width}x{height}x{channels}, windows of {side}"
                    yield f"gather {name}", _gathers(options, kernels, source, side, rng)
                    yield f"blend {name}", _blends(options, kernels, source, side, rng)


def _to(options: GpuOptions, array: np.ndarray) -> torch.Tensor:
    bits = array.view(np.int16) if array.dtype == np.uint16 else array
    return torch.from_numpy(bits.copy()).to(options.device)


def _gathers(
    options: GpuOptions,
    kernels: TileKernels,
    source: np.ndarray,
    side: int,
    rng: np.random.Generator,
) -> bool:
    xs = [int(x) for x in rng.integers(-side - 3, source.shape[1] + 3, 5)]
    ys = [int(y) for y in rng.integers(-side - 3, source.shape[0] + 3, 5)]
    made = kernels.gather(
        _to(options, source), list(zip(xs, ys, strict=True)), window=(side, side), pixel=3,
        dtype=torch.float32, inset=0, stats=None,
    )  # fmt: skip
    want = tiles.gather(source, xs, ys, width=side, height=side)
    return made.cpu().numpy().tobytes() == want.transpose(0, 2, 3, 1).tobytes()


def _blends(
    options: GpuOptions,
    kernels: TileKernels,
    source: np.ndarray,
    side: int,
    rng: np.random.Generator,
) -> bool:
    height, width, _ = source.shape
    output = rng.uniform(-0.1, 1.1, (1, side + 2, side + 3, 3)).astype(np.float32)
    tall, wide = min(side, height), min(side, width)
    x, y = int(rng.integers(0, width - wide + 1)), int(rng.integers(0, height - tall + 1))
    want, target = source.copy(), _to(options, source)
    tiles.blend(
        np.ascontiguousarray(output[0].transpose(2, 0, 1)), want,
        src_x=2, src_y=1, dst_x=x, dst_y=y, width=wide, height=tall,
    )  # fmt: skip
    stats = torch.zeros((1, 3), dtype=torch.int32, device=options.device)
    copy = TileCopy(0, 0, 2, 1, x, y, wide, tall)
    kernels.blend(torch.from_numpy(output).to(options.device), [copy], target, stats)
    return target.cpu().numpy().tobytes() == want.tobytes()


def _bandwidth(options: GpuOptions, kernels: TileKernels) -> list[dict[str, Any]]:
    """Bytes read and written per second, compared with a copy of as many bytes."""
    height, width = (256, 256) if options.quick else (4320, 7680)
    found = []
    for sample, element, pixel in (
        (torch.uint8, torch.float16, 3),
        (torch.uint8, torch.float16, 16),
        (torch.int16, torch.float16, 3),
        (torch.uint8, torch.float32, 3),
    ):
        source = torch.randint(0, 100, (height, width, 3), device=options.device).to(sample)
        stats = torch.zeros((1, 3), dtype=torch.int32, device=options.device)
        batch = torch.empty((1, height, width, pixel), dtype=element, device=options.device)
        moved = source.nbytes + batch.nbytes
        copy = TileCopy(0, 0, 0, 0, 0, 0, width, height)

        gather = partial(
            kernels.gather, source, [(0, 0)], window=(height, width), pixel=pixel, dtype=element,
            inset=0, stats=None,
        )  # fmt: skip
        blend = partial(kernels.blend, batch, [copy], source, stats)
        read = torch.empty(moved // 2, dtype=torch.uint8, device=options.device)
        written = torch.empty_like(read)
        names = {torch.uint8: "u8", torch.int16: "u16", torch.float16: "fp16"}
        kind = names.get(element, "fp32")
        times = {
            "copy": options.seconds(lambda a=written, b=read: a.copy_(b)),
            f"gather {names[sample]} to {kind}, {pixel} channels": options.seconds(gather),
        }
        if pixel == 3:
            times[f"blend {kind} to {names[sample]}"] = options.seconds(blend)
        copy_s = spread(times.pop("copy"))["median"]
        found += [
            {
                "what": what,
                "gb_s": moved / spread(taken)["median"] / 1e9,
                "of_copy": copy_s / spread(taken)["median"],
                "copy_gb_s": moved / copy_s / 1e9,
                "seconds": spread(taken),
            }
            for what, taken in times.items()
        ]
    return found
