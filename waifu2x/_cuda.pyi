# Checked in csrc/cuda/*_bindings.cpp: a size or a rectangle that cannot be raises ValueError, an
# error of CUDA RuntimeError. Memory comes by address and must stay until the stream is done.
# sample: "uint8", "uint16", "float32". element: "float32", "float16", "bfloat16".
# seen: (N, 3) int32, or 0 for none; see csrc/cuda/tiles.h.

from collections.abc import Sequence

_Rect = tuple[int, int, int, int, int, int]  # src_x, src_y, dst_x, dst_y, width, height

def gather(
    *,
    src: int,
    sample: str,
    height: int,
    width: int,
    channels: int,
    stride: int,
    xs: Sequence[int],
    ys: Sequence[int],
    dst: int,
    element: str,
    window_height: int,
    window_width: int,
    pixel: int,
    inset: int,
    seen: int,
    device: int,
    stream: int,
) -> None: ...
def blend(
    *,
    src: int,
    element: str,
    src_height: int,
    src_width: int,
    pixel: int,
    rects: Sequence[_Rect],
    dst: int,
    sample: str,
    height: int,
    width: int,
    channels: int,
    stride: int,
    seen: int,
    device: int,
    stream: int,
) -> None: ...
def feather(
    *,
    src: int,
    element: str,
    src_height: int,
    src_width: int,
    pixel: int,
    index: int,
    rect: _Rect,
    canvas: int,
    height: int,
    width: int,
    channels: int,
    stride: int,
    weights_x: int,
    weights_y: int,
    seen: int,
    device: int,
    stream: int,
) -> None: ...
def quantise(*, src: int, dst: int, sample: str, count: int, device: int, stream: int) -> None: ...
