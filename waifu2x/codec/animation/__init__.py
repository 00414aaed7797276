"""Animations in and out, a frame at a time: GIF, animated PNG, WebP and AVIF.

`reader` opens a file; the reader of its format reads the container, and `frames` composes the
patches. `formats` opens a writer; the writers share `writer`. `palette` reduces colors for GIF, and
`spill` stores pictures in a temporary file.
"""

from .formats import (
    ANIMATION_FORMATS,
    animation_writer,
    check_animation_target,
    resolve_animation_format,
)
from .frames import Animation
from .reader import has_frames, open_animation
from .spill import Kept, PictureStore
from .writer import AnimationWriter

__all__ = [
    "ANIMATION_FORMATS",
    "Animation",
    "AnimationWriter",
    "Kept",
    "PictureStore",
    "animation_writer",
    "check_animation_target",
    "has_frames",
    "open_animation",
    "resolve_animation_format",
]
