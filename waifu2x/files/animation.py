"""An animation, frame by frame, through something that enlarges pictures."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from ..codec.animation import Animation, AnimationWriter, Kept, PictureStore
from ..picture import Picture


@dataclass(frozen=True, slots=True)
class AnimationResult:
    """What became of an animation.

    frames: how many were written.
    distinct: how many of them were different pictures, and so were enlarged.
    notes: what the file does not hold, one short sentence each.
    """

    frames: int
    distinct: int
    notes: tuple[str, ...]


def upscale_animation(
    animation: Animation,
    upscale: Callable[[Picture], Picture],
    writer: AnimationWriter,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> AnimationResult:
    """Enlarge every frame of ``animation``, write it to ``writer``, and close that.

    upscale: is called once for each different frame, in order of appearance; pictures come back
        in the size ``writer`` was made for. What it raises, to cancel for instance, leaves this.
    progress: is called with the number of different frames done and their number in all, once
        before the first and then after each of them.

    The animation is read twice: once to find frames that are the same, anywhere in it, so that
    damage is found before the work and the work is known. The results of those that come again wait
    in a temporary file, not in memory.

    Raises DecodeError for a damaged frame, and what ``upscale`` and ``writer`` raise.
    """
    uses = Counter(digest(frame.picture) for frame in animation)
    distinct, done = len(uses), 0
    kept: dict[bytes, Kept] = {}
    if progress is not None:
        progress(0, distinct)
    with closing(PictureStore()) as store, writer:
        for frame in animation:
            key = digest(frame.picture)
            uses[key] -= 1
            if key in kept:
                result = store.get(kept[key])
            else:
                result = upscale(frame.picture)
                if uses[key]:
                    kept[key] = store.put(result)
                done += 1
                if progress is not None:
                    progress(done, distinct)
            if not uses[key]:
                kept.pop(key, None)
            writer.add(result, frame.duration)
        notes = writer.close()
    return AnimationResult(writer.frames, distinct, notes)


def digest(picture: Picture) -> bytes:
    """128 bits that stand for the samples of ``picture``."""
    state = hashlib.blake2b(digest_size=16)
    for plane in (picture.color, picture.alpha):
        if plane is not None:
            state.update(f"{plane.dtype}{plane.shape}".encode())
            state.update(np.ascontiguousarray(plane).data.cast("B"))
    return state.digest()
