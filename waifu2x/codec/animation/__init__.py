"""Animations in and out, a frame at a time: GIF, animated PNG, WebP and AVIF.

`reader` tells what a file is; `gif`, `apng`, `webp` and `avif` walk its container and `frames`
composes what they find. `output` chooses among the writers, which share `writer`; `palette` reduces
colors for GIF, and `store` puts pictures aside in a temporary file.
"""

from .formats import (
    ANIMATION_FORMATS,
    animation_writer,
    check_animation_target,
    resolve_animation_format,
)
from .frames import FOREVER, Animation, Frame
from .reader import open_animation
from .spill import Kept, PictureStore
from .writer import AnimationWriter

__all__ = [
    "ANIMATION_FORMATS",
    "FOREVER",
    "Animation",
    "AnimationWriter",
    "Frame",
    "Kept",
    "PictureStore",
    "animation_writer",
    "check_animation_target",
    "open_animation",
    "resolve_animation_format",
]
