# Checked in csrc/bindings.cpp: a bad dtype, shape, layout or rectangle raises ValueError.
# `isa` names the level to run at, for tests and benchmarks; None is the best one.

import numpy as np
import numpy.typing as npt

from .picture import Samples

_Float = npt.NDArray[np.float32]
_Int = npt.NDArray[np.int64]

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
def quantise(src: _Float, dst: Samples, *, isa: str | None = None) -> int: ...
def bleed(colour: Samples, alpha: Samples, iterations: int, *, isa: str | None = None) -> None: ...
