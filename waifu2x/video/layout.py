"""How the samples of a video frame are stored: size, depth, chroma grid, matrix and range."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from .._record import record
from ..errors import ArgumentError

Subsampling: TypeAlias = Literal["444", "440", "422", "420", "411", "410", "mono"]
Matrix: TypeAlias = Literal["bt709", "bt601", "bt2020", "smpte240m", "fcc", "ycgco", "rgb"]
ChromaSite: TypeAlias = Literal["left", "center", "topleft", "top", "bottomleft", "bottom"]

#: Luma samples per chroma sample, across and down.
FACTORS: Final[dict[str, tuple[int, int]]] = {
    "444": (1, 1),
    "440": (1, 2),
    "422": (2, 1),
    "420": (2, 2),
    "411": (4, 1),
    "410": (4, 4),
}

MATRICES: Final = ("bt709", "bt601", "bt2020", "smpte240m", "fcc", "ycgco", "rgb")

#: Whether the first chroma sample lies on the left column, and its row: top, between or bottom.
_SITES: Final[dict[str, tuple[bool, float | None]]] = {
    "left": (True, None),
    "center": (False, None),
    "topleft": (True, 0.0),
    "top": (False, 0.0),
    "bottomleft": (True, 1.0),
    "bottom": (False, 1.0),
}
#: In the order of their numbers in H.264 (E.2.1) and H.273.
CHROMA_SITES: Final = tuple(_SITES)

#: The largest frame of standard definition. Larger ones without a tag are BT.709.
_SD_WIDTH: Final = 1024
_SD_HEIGHT: Final = 576


@record
class VideoLayout:
    """The layout of all frames of a stream.

    width, height: size of the luma plane in pixels.
    depth: bits per sample, 8 to 16; samples of more than 8 bits are uint16 in native byte order,
        with the value in the low bits.
    subsampling: the grid of the chroma planes; "mono" has none.
    alpha: whether a plane of straight alpha follows, always full range, of the size of luma.
    matrix: how RGB becomes the first three planes (ITU-T H.273). "rgb" stores G, B and R in this
        order. "bt601" is also SMPTE 170M and BT.470 System B, G.
    full_range: whether samples span the whole range, instead of 16 to 235 (chroma: 240) of 255.
    chroma: position of the first chroma sample relative to luma.
    guessed: names of the fields that no tag declares, see `untagged`.

    Raises `ArgumentError` for a value that is not allowed.
    """

    width: int
    height: int
    depth: int = 8
    subsampling: Subsampling = "420"
    alpha: bool = False
    matrix: Matrix = "bt709"
    full_range: bool = False
    chroma: ChromaSite = "left"
    guessed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ArgumentError(f"a frame of {self.width}x{self.height} px has no pixels")
        if not 8 <= self.depth <= 16:
            raise ArgumentError(f"depth is {self.depth} bits; it must be 8 to 16")
        for name, value, allowed in (
            ("subsampling", self.subsampling, (*FACTORS, "mono")),
            ("matrix", self.matrix, MATRICES),
            ("chroma", self.chroma, CHROMA_SITES),
        ):
            if value not in allowed:
                raise ArgumentError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")
        if self.matrix == "rgb" and self.subsampling not in ("444", "mono"):
            raise ArgumentError(f"subsampling is {self.subsampling!r}; RGB needs '444'")

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 for 8 bits, else uint16."""
        return np.dtype(np.uint8 if self.depth == 8 else np.uint16)

    @property
    def matrix_label(self) -> str:
        """The matrix in messages, as in "BT.601"."""
        return self.matrix.upper().replace("BT", "BT.")

    @property
    def mono(self) -> bool:
        """Whether there are no chroma planes."""
        return self.subsampling == "mono"

    @property
    def factors(self) -> tuple[int, int]:
        """Luma samples per chroma sample, across and down; (1, 1) for mono."""
        return FACTORS.get(self.subsampling, (1, 1))

    @property
    def offsets(self) -> tuple[float, float]:
        """Position of the first chroma sample in luma samples, right and down."""
        across, down = self.factors
        left, row = _SITES[self.chroma]
        x = 0.0 if left else (across - 1) / 2
        y = (down - 1) / 2 if row is None else row * (down - 1)
        return x, y

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of each plane in order; sizes of chroma are rounded up."""
        luma = (self.height, self.width)
        across, down = self.factors
        chroma = (-(-self.height // down), -(-self.width // across))
        return (luma, *(() if self.mono else (chroma, chroma)), *((luma,) if self.alpha else ()))

    @property
    def frame_bytes(self) -> int:
        """Bytes of the samples of a frame."""
        return sum(height * width for height, width in self.shapes) * self.dtype.itemsize

    def assumptions(self) -> str:
        """Describe what no tag declares in one short sentence; empty if everything is tagged."""
        values = {
            "matrix": f"matrix {self.matrix_label}",
            "full_range": f"range {'full' if self.full_range else 'limited'}",
            "chroma": f"chroma position {self.chroma}",
        }
        found = [values[name] for name in self.guessed]
        return f"not tagged, so assumed: {', '.join(found)}" if found else ""

    def sized(self, width: int, height: int) -> VideoLayout:
        """Return the same layout for another size; nothing is guessed again."""
        return replace(self, width=width, height=height)


def untagged(
    width: int,
    height: int,
    *,
    matrix: Matrix | None = None,
    full_range: bool | None = None,
    chroma: ChromaSite | None = None,
    **fields: Any,
) -> VideoLayout:
    """Return a layout, with the usual values for what is None; `VideoLayout.guessed` names them.

    The usual matrix is BT.601 up to 1024x576 px, and BT.709 for larger frames. The usual range is
    limited, but full for mono, as in FFmpeg: samples of limited range lose nothing in it. The usual
    position of chroma is left, as in MPEG-2, H.264 and HEVC.

    fields: the other fields of `VideoLayout`.
    """
    guessed = []
    mono = fields.get("subsampling") == "mono"
    if matrix is None:
        matrix = "bt601" if width <= _SD_WIDTH and height <= _SD_HEIGHT else "bt709"
        if not mono:
            guessed.append("matrix")
    if full_range is None:
        full_range = mono
        guessed.append("full_range")
    if chroma is None:
        chroma = "left"
        if fields.get("subsampling", "420") not in ("444", "mono"):
            guessed.append("chroma")
    return VideoLayout(
        width,
        height,
        matrix=matrix,
        full_range=full_range,
        chroma=chroma,
        guessed=tuple(guessed),
        **fields,
    )
