"""The fuzz target: every reader must return a valid result or raise an error of this package.

`check` needs only the package, so tests can run it, too; `fuzz_decode` runs it with atheris.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable
from itertools import islice

import numpy as np

from waifu2x import codec
from waifu2x.codec.animation import open_animation
from waifu2x.errors import Waifu2xError
from waifu2x.files.pages import ArchiveReader, Member, check_pages, rewrite
from waifu2x.picture import Picture

#: Pixel limit that keeps inputs fast: a valid picture of this size takes milliseconds.
MAX_PIXELS = 1 << 18

#: Only this many frames of an animation are decoded.
MOST_FRAMES = 64

#: The longest message: messages may quote names and values, but stay one readable line.
_LONGEST_MESSAGE = 400

_DTYPES = (np.uint8, np.uint16, np.float32)


def check(data: bytes, max_pixels: int = MAX_PIXELS) -> dict[str, str]:
    """Read ``data`` as a picture, an animation and an archive, and describe the outcomes.

    data: a file. max_pixels: the limit for pictures and frames.

    Returns for each reader ("picture", "animation", "archive") a description of the result with a
    digest, or the name and message of the error. Raises AssertionError if a result is invalid, a
    message is not one printable line, or a warning escapes; other exceptions propagate.
    """
    return {
        "picture": _outcome(lambda: _read_picture(data, max_pixels)),
        "animation": _outcome(lambda: _read_animation(data, max_pixels)),
        "archive": _outcome(lambda: _read_archive(data, max_pixels)),
    }


def _outcome(read: Callable[[], str]) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = read()
        except Waifu2xError as error:
            message = str(error)
            assert message.isprintable(), f"not one printable line: {message!r}"
            assert 0 < len(message) <= _LONGEST_MESSAGE, f"a message of {len(message)} characters"
            result = f"{type(error).__name__}: {message}"
    assert not caught, f"a warning got out: {caught[0].message}"
    return result


def _read_picture(data: bytes, max_pixels: int) -> str:
    return described(codec.decode(io.BytesIO(data), max_pixels=max_pixels), max_pixels)


def _read_animation(data: bytes, max_pixels: int) -> str:
    animation = open_animation(io.BytesIO(data), "the stream", max_pixels=max_pixels)
    if animation is None:
        return "none"
    assert animation.frames >= 1
    assert animation.loop >= 0
    digests = []
    for frame in islice(animation, MOST_FRAMES):
        picture = frame.picture
        assert (picture.width, picture.height) == (animation.width, animation.height)
        assert picture.color.dtype == np.uint8
        assert picture.gray == animation.gray
        assert picture.alpha is None or animation.has_alpha
        assert frame.duration >= 0
        digests.append(described(picture, max_pixels))
    assert len(digests) == min(animation.frames, MOST_FRAMES), "frames are missing"
    digest = hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
    return f"{animation.frames} frames {animation.width}x{animation.height} {digest}"


def _read_archive(data: bytes, max_pixels: int) -> str:
    reader = ArchiveReader(
        io.BytesIO(data),
        "the archive",
        max_members=1000,
        max_page_bytes=1 << 22,
        max_other_bytes=1 << 22,
    )

    def verify(member: Member, page: bytes) -> None:
        described(codec.decode(io.BytesIO(page), max_pixels=max_pixels), max_pixels)

    check_pages(reader, verify)
    sink = io.BytesIO()
    rewrite(reader, sink, lambda member, page: page, extension=lambda member: ".png")
    return f"{len(reader.pages)} pages, {len(reader.members)} members"


def described(picture: Picture, max_pixels: int) -> str:
    """Size, type and digest of a picture; fails if the picture violates `Picture`'s invariants."""
    color, alpha = picture.color, picture.alpha
    height, width, channels = color.shape
    assert 1 <= width * height <= max_pixels
    assert channels in (1, 3)
    assert color.dtype in _DTYPES
    assert bool(np.isfinite(color).all())
    state = hashlib.sha256(np.ascontiguousarray(color).tobytes())
    if alpha is not None:
        assert (alpha.shape, alpha.dtype) == ((height, width), color.dtype)
        assert bool(np.isfinite(alpha).all())
        state.update(b"alpha" + np.ascontiguousarray(alpha).tobytes())
    return f"{width}x{height}x{channels} {color.dtype} {state.hexdigest()[:16]}"
