"""Upscalers that stay loaded, shared by all nodes of all workflows."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final, TypeAlias

from waifu2x import Upscaler, UpscalerOptions

#: Modification time in nanoseconds and size in bytes of a model file; None for other models.
Version: TypeAlias = tuple[int, int] | None

#: Most upscalers that stay loaded.
_MOST: Final = 4


def version(model: str) -> Version:
    """Return the version of a model file; None for a name of a model and a missing file."""
    try:
        state = Path(model).stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size


class Upscalers:
    """The upscalers used last, by their options; safe to use from several threads.

    An upscaler holds the networks of all noise levels and scales that were needed, so nodes that
    differ only in these share it.
    """

    def __init__(self, most: int = _MOST) -> None:
        """Keep at most ``most`` upscalers, 1 or more."""
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[UpscalerOptions, tuple[Version, Upscaler]] = OrderedDict()

    def get(self, options: UpscalerOptions) -> Upscaler:
        """Return the upscaler with these options; a model file that changed is read again.

        Raises the errors of `waifu2x.Upscaler`.
        """
        now = version(str(options.model))
        with self._lock:
            before, upscaler = self._kept.pop(options, (None, None))
            if upscaler is None or before != now:
                upscaler = Upscaler.from_options(options)
            self._kept[options] = now, upscaler
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return upscaler

    def __len__(self) -> int:
        return len(self._kept)
