"""Progress and cancellation of one picture."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

from ..errors import check_cancelled

#: Receives the share of the work done, 0 to 1, after every tile, in the calling thread.
ProgressCallback: TypeAlias = Callable[[float], object]


class Progress:
    """Counts multiply-accumulates and stops the work if it was cancelled."""

    def __init__(
        self, total: float, callback: ProgressCallback | None, cancel: threading.Event | None
    ) -> None:
        self._total = max(total, 1.0)
        self._callback = callback
        self._cancel = cancel
        self._done = 0.0

    @property
    def cancelled(self) -> bool:
        """Whether the caller has cancelled the work."""
        return self._cancel is not None and self._cancel.is_set()

    def check(self) -> None:
        """Raise `CancelledError` if the caller has cancelled the work."""
        check_cancelled(self._cancel)

    def span(self, cost: float) -> Callable[[float], None]:
        """Return a function that takes the share done of a part of ``cost``, never going back."""
        start = self._done

        def set_share(share: float) -> None:
            self._done = max(self._done, start + min(1.0, share) * cost)
            if self._callback is not None:
                self._callback(min(1.0, self._done / self._total))

        return set_share
