# A bad dtype, shape, layout or rectangle raises ValueError (csrc/bindings).
# isa: the instruction set, for tests and benchmarks; None uses the best.

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ..picture import Samples

_Float = npt.NDArray[np.float32]
_Int = npt.NDArray[np.int64]

compiler: str

def isa() -> str: ...
def isas() -> tuple[str, ...]: ...
def gather(src: Samples, xs: _Int, ys: _Int, dst: _Float, *, isa: str | None = None) -> None: ...
def blend(
    src: _Float,
    src_x: int,
    src_y: int,
    dst: Samples,
    dst_x: int,
    dst_y: int,
    width: int,
    height: int,
    *,
    isa: str | None = None,
) -> int: ...
def blend_feathered(
    src: _Float,
    src_x: int,
    src_y: int,
    canvas: _Float,
    dst_x: int,
    dst_y: int,
    width: int,
    height: int,
    wx: _Float,
    wy: _Float,
    *,
    isa: str | None = None,
) -> None: ...
def quantize(src: _Float, dst: Samples, *, isa: str | None = None) -> int: ...
def bleed(color: Samples, alpha: Samples, iterations: int, *, isa: str | None = None) -> None: ...
def fix_colors(
    source: Samples,
    result: _Float,
    out: _Float,
    scale: int,
    first: int,
    *,
    isa: str | None = None,
) -> None: ...
def filter_png(
    color: npt.NDArray[np.uint8] | npt.NDArray[np.uint16],
    dst: npt.NDArray[np.uint8],
    *,
    alpha: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | None = None,
    above_color: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | None = None,
    above_alpha: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | None = None,
) -> None: ...

# The network engine. A reference is a value and its crop: samples removed on each side.
_Ref = tuple[int, int]

def fma_peak(isa: str, threads: int) -> float: ...

class Pool:
    def __init__(self, threads: int) -> None: ...
    @property
    def threads(self) -> int: ...

class Program:
    def __init__(self, channels: int, *, isa: str | None = None) -> None: ...
    def conv(
        self,
        source: _Ref | Sequence[_Ref],
        weight: _Float,
        bias: _Float,
        slope: _Float,
        *,
        stride: int = 1,
        padding: int = 0,
        shuffle: int = 0,
        crop: int = 0,
        trim: int = 0,
        function: str = "identity",
        gate: int = -1,
        factor: _Ref | None = None,
        addend: _Ref | None = None,
    ) -> int: ...
    def add(self, a: _Ref, b: _Ref, /) -> int: ...
    def product(self, a: _Ref, b: _Ref, /) -> int: ...
    def multiply(self, source: _Ref, gate: int, /) -> int: ...
    def affine(self, source: _Ref, scale: _Float, offset: _Float, /) -> int: ...
    def activate(self, source: _Ref, slope: _Float, /) -> int: ...
    def smooth(self, source: _Ref, function: str, /) -> int: ...
    def concat(self, sources: Sequence[_Ref], /) -> int: ...
    def upsample(self, source: _Ref, factor: int, /) -> int: ...
    def shuffle(
        self, source: _Ref, factor: int, *, addend: _Ref | None = None, enlarged: int = 1
    ) -> int: ...
    def unshuffle(self, source: _Ref, factor: int, /) -> int: ...
    def resize(self, source: _Ref, multiplier: int, divisor: int, support: int, /) -> int: ...
    def cut(self) -> None: ...
    def pooled_input(self, channels: int, /) -> int: ...
    def mean(self, source: _Ref, /) -> int: ...
    def pooled_conv(
        self, source: int, weight: _Float, bias: _Float, slope: _Float, sigmoid: bool, /
    ) -> int: ...
    def finish(self, output: _Ref, *, halo: int = 0) -> None: ...
    def run(self, pool: Pool, batch: _Float, means: Sequence[_Float]) -> _Float: ...
    def run_picture(
        self,
        pool: Pool,
        src: Samples,
        dst: Samples,
        *,
        window_start: tuple[int, int],
        window_size: tuple[int, int],
        crop: tuple[int, int],
        means: Sequence[_Float],
        on_rows: Callable[[float, int], bool] | None = None,
    ) -> int | None: ...
    def run_part(
        self,
        pool: Pool,
        src: Samples,
        *,
        window_start: tuple[int, int],
        window_size: tuple[int, int],
        rows: tuple[int, int],
        columns: tuple[int, int],
        means: Sequence[_Float],
    ) -> _Float: ...
