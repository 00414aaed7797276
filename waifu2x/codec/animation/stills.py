"""What animation readers share; those of APNG and WebP decode each stored frame as a still."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

from PIL import Image

from ...picture import Picture, Samples
from .._pillow import pillow_errors
from ..decoder import decode
from ..exif import orientation as exif_orientation
from ..image import apply_orientation, stored_exif
from ..png_chunks import SIGNATURE
from ..png_reader import read_chunks
from ..samples import convert_samples
from .frames import Animation, Bytes, Dispose, Frame, FrameControl, Patch, compose


class _NamedBytes(io.BytesIO):
    """Bytes with a name for messages."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def decode_still(data: bytes, name: str, limit: int) -> Picture:
    """Decode the still file ``data``; ``name`` is for messages."""
    return decode(_NamedBytes(data, name), max_pixels=limit)


def to_8_bits(samples: Samples) -> Bytes:
    """Return ``samples`` as uint8."""
    return convert_samples(samples, "uint8")  # type: ignore[return-value]


def patch_of(picture: Picture, control: FrameControl) -> Patch:
    """Return the patch of a stored frame that was decoded to ``picture``."""
    alpha = None if picture.alpha is None else to_8_bits(picture.alpha)
    return Patch(to_8_bits(picture.color), alpha, control)


def animation_of(
    still: bytes,
    name: str,
    limit: int,
    *,
    size: tuple[int, int],
    controls: list[FrameControl],
    loop: int,
    has_alpha: bool,
    patches: Callable[[], Iterator[Patch]],
    reduced: bool = False,
    notes: tuple[str, ...] = (),
) -> Animation:
    """Return the animation of stored frames.

    still: a file with the metadata of all frames; name: of it, for messages.
    size: width and height of the canvas, before the orientation is applied.
    controls: of all frames. patches: reads them from the start.
    has_alpha: by the header. reduced: frames have 16 bits per channel, of which 8 are read.
    notes: what was left out or repaired beyond ``still``.
    """
    like = decode_still(still, name, limit)
    source = replace(
        like.source,
        reduced=like.source.reduced or reduced,
        notes=(*like.source.notes, *notes),
    )
    orientation = _orientation(still, name)
    width, height = size if orientation < 5 else size[::-1]

    def play() -> Iterator[Frame]:
        for color, alpha, duration in compose(*size, like.color.shape[2], patches()):
            planes = apply_orientation(color, alpha, orientation)
            color, alpha = cast("tuple[Bytes, Bytes | None]", planes)
            yield Frame(Picture(color, alpha, like.metadata, source), duration)

    return Animation(
        width=width,
        height=height,
        frames=len(controls),
        loop=loop,
        metadata=like.metadata,
        source=source,
        gray=like.gray,
        has_alpha=(
            has_alpha
            or any(control.dispose is Dispose.CLEAR for control in controls)
            or not controls[0].covers(*size)
        ),
        play=play,
    )


def _orientation(data: bytes, name: str) -> int:
    """Return the EXIF orientation 1..8 of the file ``data``."""
    if data.startswith(SIGNATURE):
        # Pillow refuses files with damaged chunks that `decode_still` leaves out.
        exif = read_chunks(io.BytesIO(data), name).metadata.exif
    else:
        with pillow_errors(name), Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
            exif = stored_exif(image)
    return 1 if exif is None else exif_orientation(exif)
