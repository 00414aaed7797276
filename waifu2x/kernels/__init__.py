"""The typed face of the compiled kernels (``csrc/``)."""

from importlib.util import find_spec

from .tiles import (
    COLOR_FIX_HALO,
    bleed,
    blend,
    blend_feathered,
    compiler,
    fix_colors,
    gather,
    isa,
    isas,
    quantize,
    readable,
    require_finite,
)

__all__ = [
    "COLOR_FIX_HALO",
    "bleed",
    "blend",
    "blend_feathered",
    "compiler",
    "cuda_built",
    "fix_colors",
    "gather",
    "isa",
    "isas",
    "quantize",
    "readable",
    "require_finite",
]


def cuda_built() -> bool:
    """Whether the installation has the CUDA kernels; does not load them."""
    return find_spec("waifu2x.kernels._cuda") is not None
