"""The typed face of the compiled kernels (``csrc/``)."""

from .tiles import (
    bleed,
    blend,
    blend_feathered,
    gather,
    isa,
    isas,
    quantize,
    readable,
    require_finite,
)

__all__ = [
    "bleed",
    "blend",
    "blend_feathered",
    "gather",
    "isa",
    "isas",
    "quantize",
    "readable",
    "require_finite",
]
