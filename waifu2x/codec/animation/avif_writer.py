"""Animated AVIF out, by libavif through Pillow.

Pillow takes all frames in one call, so frames wait in a temporary file until the last is added;
Pillow then reads them one by one. libavif keeps the compressed data in memory.
"""

from __future__ import annotations

import io
import threading
from fractions import Fraction
from typing import Any

from PIL import AvifImagePlugin, Image

from ...errors import EncodeError, check_cancelled
from ...picture import Picture
from .._pillow import quiet
from ..avif_header import read_header
from ..avif_writer import save_avif
from ..formats import avif_options
from ..image import image_over
from .avif_reader import set_loop
from .frames import Bytes
from .spill import Kept, PictureStore
from .writer import AnimationWriter, DurationRounder, Target, still_with_metadata

_MAX_DURATION = (1 << 32) - 1


class AvifWriter(AnimationWriter):
    """Lossy, whole frames, without chroma subsampling."""

    label = "AVIF"

    def __init__(self, target: Target) -> None:
        # Gray with alpha is a mode that Pillow's AVIF lacks.
        self.holds_gray = not target.has_alpha
        super().__init__(target)
        self._rounder = DurationRounder(1000, _MAX_DURATION)
        self._store = PictureStore()
        self._kept: list[Kept] = []
        self._durations: list[int] = []

    def release(self) -> None:
        """Delete the temporary file."""
        self._store.close()

    def _write(self, pixels: Bytes, duration: Fraction) -> None:
        colors = self.channels - self.target.has_alpha
        alpha = pixels[:, :, -1] if self.target.has_alpha else None
        self._kept.append(self._store.put(Picture(pixels[:, :, :colors], alpha)))
        units = self._rounder.units(duration)
        self._durations.append(max(1, units))
        if not units:
            self.notes.append("AVIF shows every frame for 1/1000 s at least: lengthened")

    def _finish(self) -> None:
        target = self.target
        lazy = _StoredFrames(self._store, self._kept, target.cancel)
        buffer = io.BytesIO()
        still, notes = still_with_metadata(target, "avif")
        self.notes += notes
        with quiet(), Image.open(io.BytesIO(still), formats=["AVIF"]) as flat:
            header = read_header(io.BytesIO(still))
            # The color of gray does not describe frames written as RGB.
            recolored = target.gray and not self.holds_gray
            held = ("xmp",) if recolored else ("xmp", "icc_profile")
            save_avif(
                lazy,
                buffer,
                exif=header.exif,
                nclx=None if recolored else header.colors,
                save_all=True,
                duration=self._durations,
                **_options("L" if self.channels == 1 else "RGB", target.quality),
                **{key: flat.info[key] for key in held if key in flat.info},
            )
        if len(self._kept) == 1:  # libavif writes a still picture
            self.notes.append("AVIF holds a single frame as a still picture")
        else:
            self._set_loop(buffer)
        target.stream.write(buffer.getbuffer())
        self.notes += self._rounder.notes(
            "AVIF is written with time in 1/1000 s", "AVIF shows a frame for 49 days"
        )

    def _set_loop(self, buffer: io.BytesIO) -> None:
        try:
            set_loop(buffer, self.target.loop)
        except ValueError as error:
            raise EncodeError(
                "the installed libavif writes animations without a loop count; use WebP or PNG"
            ) from error


def _options(mode: str, quality: int | None) -> dict[str, Any]:
    """Options of Pillow's AVIF encoder for frames.

    At speed 7 and above, libaom compares frames by brightness alone and drops changes of color:
    mean errors of 7 of 255, up to 220. Its tuning for screen content compares colors too: means of
    1.0 to 1.5 in 1.4 times the time. Speed 6 has 0.9 to 1.2, and takes 6 to 20 times as long.
    """
    options = avif_options(mode, quality)
    if AvifImagePlugin.get_codec_version("aom") is not None:
        options |= {"codec": "aom", "advanced": {"tune-content": "screen"}}
    return options


class _StoredFrames(Image.Image):
    """An image of many frames; the selected frame is read from the store."""

    is_animated = True

    def __init__(
        self, store: PictureStore, kept: list[Kept], cancel: threading.Event | None
    ) -> None:
        super().__init__()
        self._cancel = cancel
        self._store = store
        self._frames = kept
        self._number = 0
        self.n_frames = len(kept)
        first = kept[0]
        height, width, channels = first.color.shape
        self._size = (width, height)
        self._mode = "RGBA" if first.alpha is not None else "L" if channels == 1 else "RGB"

    def seek(self, frame: int) -> None:
        """Select a frame."""
        if not 0 <= frame < self.n_frames:
            raise EOFError
        self._number = frame

    def tell(self) -> int:
        """Return the number of the selected frame."""
        return self._number

    def load(self) -> None:
        """Do nothing; `tobytes` reads the frame."""

    def tobytes(self, encoder_name: str = "raw", *args: object) -> bytes:
        """Return the samples of the selected frame."""
        check_cancelled(self._cancel)
        picture = self._store.get(self._frames[self._number])
        return image_over(picture.color, picture.alpha).tobytes(encoder_name, *args)
