"""Keeping Pillow's manners inside: its warnings, and the many errors its readers raise."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeGuard

from PIL import Image

from .._text import reason
from ..errors import DecodeError, LimitError, Waifu2xError

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import TiffImageFile


class _Quiet:
    """Ignores the warnings Pillow attributes to itself, for as long as anybody is inside.

    `warnings.catch_warnings` swaps a global list, so two threads that decode at once would put
    back each other's. Here the first one in swaps it and the last one out puts it back. (Where
    Python keeps the filters per context, every thread swaps its own.)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._swap = warnings.catch_warnings()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        if getattr(sys.flags, "context_aware_warnings", False):
            with warnings.catch_warnings():
                self._ignore()
                yield
            return
        with self._lock:
            if self._inside == 0:
                self._swap = warnings.catch_warnings()
                self._swap.__enter__()
                self._ignore()
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._swap.__exit__(None, None, None)

    @staticmethod
    def _ignore() -> None:
        warnings.filterwarnings("ignore", module=r"PIL\b")


quiet = _Quiet()

# What Pillow logs as an error it raises as well, and Python would print it for want of a handler.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Whatever goes wrong while Pillow reads ``name`` leaves as one of our errors.

    Pillow's readers meet damaged bytes with nearly every exception there is (OSError, SyntaxError,
    ValueError, KeyError, IndexError, TypeError, struct.error, zlib.error, EOFError, RuntimeError,
    OverflowError, ...), so all of them mean the same thing here. The cause stays chained.
    """
    with quiet():
        try:
            yield
        except Waifu2xError:
            raise
        except Image.DecompressionBombError as error:
            raise LimitError(
                f"{name} is larger than Pillow opens; raise PIL.Image.MAX_IMAGE_PIXELS"
            ) from error
        except MemoryError as error:
            raise DecodeError(f"{name} needs more memory to decode than there is") from error
        except Exception as error:
            text = reason(error)
            if isinstance(error, OSError) and error.errno is not None:
                raise DecodeError(f"{name} cannot be read: {text}") from error
            if "truncated" in text.lower():
                raise DecodeError(
                    f"{name} is truncated: the file ends before the picture does"
                ) from error
            # Pillow's numbered errors say nothing to anybody.
            detail = "" if text.startswith("decoder error") else f" ({text})"
            raise DecodeError(f"{name} cannot be decoded, the file is damaged{detail}") from error


def is_tiff(image: Image.Image) -> TypeGuard[TiffImageFile]:
    """Whether Pillow's reader of TIFF made this, without loading that reader for other files."""
    return image.format == "TIFF"
