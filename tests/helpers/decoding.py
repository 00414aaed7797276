"""Reads pictures from bytes, and writes them to bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from waifu2x import codec
from waifu2x.errors import DecodeError, Waifu2xError
from waifu2x.picture import Picture


def decode(data: bytes, **options: Any) -> Picture:
    """Decode the bytes of a file."""
    return codec.decode(io.BytesIO(data), **options)


def refused(
    path_or_data: bytes | Path, error: type[Waifu2xError] = DecodeError, **options: Any
) -> str:
    """The message of one line with which a file is refused."""
    source = io.BytesIO(path_or_data) if isinstance(path_or_data, bytes) else path_or_data
    with pytest.raises(error) as caught:
        codec.decode(source, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


def written(picture: Picture, name: str) -> tuple[bytes, tuple[str, ...]]:
    """The file in the format ``name``, and the notes of its writer."""
    buffer = io.BytesIO()
    notes = codec.encode_stream(picture, buffer, codec.resolve_format(None, name))
    return buffer.getvalue(), notes
