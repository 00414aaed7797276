"""How to run a model: the options of an `Upscaler`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TypedDict

from ..codec import pixel_limit
from ..errors import ArgumentError


class UpscalerKeywords(TypedDict, total=False):
    """The fields of `UpscalerOptions` after ``model``, as keyword arguments."""

    engine: str
    threads: int | None
    device: str | None
    precision: str
    tile: int
    memory: int | None
    tta: bool
    max_pixels: int | None


@dataclass(frozen=True, slots=True)
class UpscalerOptions:
    """A model and how to run it; only ``model`` and ``tta`` change results by more than rounding.

    model: a name from `waifu2x.models`: "cunet", "upconv_7" or "upconv_7_photo".
    engine: "native", "onnx", "torch" or "cuda" (both need ``waifu2x-native[torch]``), or "auto":
        "cuda" if torch sees an NVIDIA GPU, else "native".
    threads: threads inside one network run, at least 1; None lets the engine choose.
    device: for engine "cuda", "cuda:0" (the default) or several, "cuda:0,cuda:1", for different
        pictures; for "torch", any torch device such as "mps" (default: "cpu").
    precision: "fp32", "fp16" or "bf16"; "auto" is fp16 on a GPU and fp32 elsewhere.
    tile: side of a tile in input pixels; 0 chooses one from ``memory``.
    memory: bytes that one network run may take, approximately. None means 512 MiB, or 2.25 GiB for
        a cunet run over a whole small picture, and at most a quarter of the machine's memory. A GPU
        uses the device memory that is free.
    tta: average the results of the eight rotated and mirrored pictures, at eight times the cost.
    max_pixels: limit for input pictures in pixels; a result, and any stage on the way, may have
        four times as many. None means the environment variable WAIFU2X_MAX_PIXELS, or 178,956,970.

    Raises `ArgumentError` for a value that is not allowed.
    """

    model: str = "cunet"
    _: KW_ONLY
    engine: str = "auto"
    threads: int | None = None
    device: str | None = None
    precision: str = "auto"
    tile: int = 0
    memory: int | None = None
    tta: bool = False
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        if self.max_pixels is None:  # read once: a pickled copy keeps the limit
            object.__setattr__(self, "max_pixels", pixel_limit())
        if self.tile < 0:
            raise ArgumentError(f"tile is {self.tile}; it must be 0 for automatic, or a side in px")
        if self.memory is not None and self.memory < 1:
            raise ArgumentError(f"memory is {self.memory}; it must be a positive number of bytes")
        if self.limit < 1:
            raise ArgumentError(f"max_pixels is {self.limit}; it must be at least 1")

    @property
    def limit(self) -> int:
        """The limit for input pictures in pixels."""
        assert self.max_pixels is not None
        return self.max_pixels
