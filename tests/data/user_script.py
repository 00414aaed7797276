"""A user's script: every function, with the idioms of README.md and docs/python.md."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

import waifu2x


def red_share(array: npt.NDArray[np.float32]) -> float:
    return float(array[..., 0].mean())


def describe(result: waifu2x.BatchResult) -> str:
    if result.status == "failed":
        return f"{result.source}: {result.error}"
    return f"{result.source} -> {result.target} {result.size_out}"


big: Image.Image = waifu2x.upscale("in.png", scale=2, model="upconv_7")
big.save("big.png")

upscaler = waifu2x.Upscaler("upconv_7", engine="native", threads=2, precision="auto")
array = np.asarray(Image.open("in.png").convert("RGB"), dtype=np.uint8)
bigger: npt.NDArray[np.uint8] = upscaler.upscale(array, 4, noise=1)
wide: Image.Image = upscaler.upscale(Path("in.jpg"), width=100, noise="auto")
share = red_share(upscaler.upscale(array.astype(np.float32) / np.float32(255), 1.5))

frames: list[npt.NDArray[np.uint8]] = list(
    waifu2x.iter_frames((array for _ in range(2)), 2, upscaler=upscaler, exact=True)
)

data = Path("in.jpg").read_bytes()
from_bytes: Image.Image = waifu2x.upscale(data, upscaler=upscaler)
with Path("in.jpg").open("rb") as file:
    from_file: Image.Image = waifu2x.upscale(file, upscaler=upscaler)
from_memory: Image.Image = waifu2x.upscale(io.BytesIO(data), upscaler=upscaler)

one = waifu2x.upscale_file("in.png", "out.webp", upscaler=upscaler, quality=90, overwrite=True)
sides: tuple[int, int] = one.size_out
shares: list[float] = []
cancel = threading.Event()
results = waifu2x.upscale_many(
    ["in.png", "in.jpg"], "many", scale=1.5, noise=None, format="png", upscaler=upscaler,
    resume=True, memory=4 << 30, progress=shares.append, cancel=cancel,
)  # fmt: skip
lines: list[str] = [describe(result) for result in results]
assert (results.summary.failed, results.progress.share) == (0, 1.0), lines

names: list[str] = [model.name for model in waifu2x.models()]
levels: tuple[int | str, ...] = waifu2x.models()[0].noise_levels(scale=2)
options = waifu2x.UpscalerOptions("upconv_7", tta=True, run_memory=1 << 30)
try:
    waifu2x.Upscaler.from_options(options).upscale(array, -2)
except waifu2x.ArgumentError as error:
    print(error, big.size, wide.size, from_bytes.size, sides, names, levels, share < 1)
