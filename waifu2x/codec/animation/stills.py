"""What animation readers share; those of APNG and WebP decode each stored frame as a still."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace

from PIL import Image

from ...picture import Picture, Samples
from .._pillow import pillow_errors
from ..decoder import decode
from ..image import image_over, picture_of
from ..samples import convert_samples
from .frames import Animation, Bytes, Dispose, Frame, FrameControl, Patch, compose

_ORIENTATION = 0x0112


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
    stored: tuple[int, int],
    size: tuple[int, int],
    controls: list[FrameControl],
    loop: int,
    has_alpha: bool,
    patches: Callable[[], Iterator[Patch]],
    reduced: bool = False,
) -> Animation:
    """Return the animation of stored frames.

    still: a file with the metadata of all frames; name: of it, for messages.
    stored: width and height of it, before the orientation is applied. size: those of the canvas.
    controls: of all frames. patches: reads them from the start.
    has_alpha: by the header. reduced: frames have 16 bits per channel, of which 8 are read.
    """
    like = decode_still(still, name, limit)
    source = replace(like.source, reduced=like.source.reduced or reduced)
    exif = _rotating_exif(still, name)
    width, height = size if exif is None or (like.width, like.height) == stored else size[::-1]

    def play() -> Iterator[Frame]:
        for color, alpha, duration in compose(*size, like.color.shape[2], patches()):
            picture = Picture(color, alpha, like.metadata, source)
            if exif is not None:
                image = image_over(color, alpha)
                image.info["exif"] = exif
                upright = picture_of(image, source, "")
                picture = replace(picture, color=upright.color, alpha=upright.alpha)
            yield Frame(picture, duration)

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


def _rotating_exif(data: bytes, name: str) -> bytes | None:
    """Return the EXIF block of the file ``data`` if it rotates or mirrors its picture."""
    with pillow_errors(name), Image.open(io.BytesIO(data), formats=["PNG", "WEBP"]) as image:
        exif = image.getexif()
        return exif.tobytes() if exif.get(_ORIENTATION, 1) in range(2, 9) else None
