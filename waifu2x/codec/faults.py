"""Errors that several readers raise in the same words."""

from __future__ import annotations

from .._text import AGAIN, plural
from ..errors import DecodeError


def truncated(name: str) -> DecodeError:
    """Return the error for a file that ends before its pixels do."""
    return DecodeError(f"{name} is truncated: the file ends before the picture does{AGAIN}")


def damaged(name: str, label: str, why: str) -> DecodeError:
    """Return the error for a file that begins as ``label`` and is broken."""
    return DecodeError(f"{name} is damaged or truncated: it begins as {label}, but {why}{AGAIN}")


def unsupported(name: str, what: str) -> DecodeError:
    """Return the error for a sound file in a variant that is not read ("a BMP with JPEG data")."""
    return DecodeError(f"{name} is {what}, which is not supported; save it as PNG")


def animated(frames: int, name: str) -> DecodeError:
    """Return the error for an animation, of which a still would lose frames."""
    return DecodeError(
        f"{name} is an animation of {plural(frames, 'frame')}, not one picture; "
        "upscale it with `waifu2x.upscale_file`"
    )
