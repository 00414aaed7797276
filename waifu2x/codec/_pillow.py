"""Contains Pillow's warnings and the many errors that its readers raise."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeGuard

from PIL import Image

from .._text import AGAIN, reason
from ..errors import DecodeError, LimitError, Waifu2xError

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import TiffImageFile


class _WarningFilter:
    """Context manager that ignores Pillow's warnings while any thread is inside.

    `warnings.catch_warnings` replaces a global list, so concurrent threads would restore each
    other's. Here the first thread replaces the list and the last one restores it. (If Python keeps
    the filters per context, every thread replaces its own.)
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


quiet = _WarningFilter()

# Pillow raises every error that it logs; without a handler, Python would print the log.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@contextmanager
def pillow_errors(name: str) -> Iterator[None]:
    """Turn every exception while Pillow reads ``name`` into an error of this package.

    For damaged bytes, Pillow's readers raise nearly any exception (OSError, SyntaxError,
    ValueError, IndexError, struct.error, zlib.error, EOFError, OverflowError, ...), so all of them
    are treated alike. The cause stays chained.
    """
    with quiet():
        try:
            yield
        except Waifu2xError:
            raise
        except Image.DecompressionBombError as error:
            raise LimitError(
                f"{name} is larger than Pillow opens; raise PIL.Image.MAX_IMAGE_PIXELS too"
            ) from error
        except MemoryError as error:
            raise DecodeError(
                f"{name} needs more memory to decode than is free; free some, or scale it down"
            ) from error
        except Exception as error:
            text = reason(error)
            if isinstance(error, OSError) and error.errno is not None:
                raise DecodeError(f"{name} cannot be read: {text}") from error
            if "truncated" in text.lower():
                raise DecodeError(
                    f"{name} is truncated: the file ends before the picture does{AGAIN}"
                ) from error
            # Pillow's numbered errors help nobody.
            detail = "" if text.startswith("decoder error") else f" ({text})"
            raise DecodeError(
                f"{name} cannot be decoded, the file is damaged{detail}{AGAIN}"
            ) from error


def damaged(name: str, label: str, why: str) -> DecodeError:
    """Return the error for a file that begins as ``label`` and is broken."""
    return DecodeError(f"{name} is damaged or truncated: it begins as {label}, but {why}{AGAIN}")


def is_tiff(image: Image.Image) -> TypeGuard[TiffImageFile]:
    """Return whether Pillow read a TIFF, without importing its TIFF reader for other files."""
    return image.format == "TIFF"
