"""Streams a whole picture through one network, row by row in bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, cast

import numpy as np

from .. import kernels
from ..engines import Batch, Streaming
from ..picture import Samples
from .progress import Progress
from .tiling import CompiledNetwork

_log = logging.getLogger(__name__)

#: Receives the next rows of a result, top to bottom: color (n, W, C), and alpha (n, W) or None.
RowsCallback: TypeAlias = Callable[[Samples, Samples | None], object]


class Receiver(Protocol):
    """Follows the result of the last network while it is computed."""

    def allocate(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> Samples:
        """Return an array for the result, not initialized."""

    def advance(self, result: Samples, ready: int) -> object:
        """Use the first ``ready`` rows of ``result``, which are final."""


class HandOver:
    """Passes the rows of a result to a callback as soon as they are final; a `Receiver`."""

    def __init__(self, rows: RowsCallback) -> None:
        self._rows, self._written = rows, 0

    def allocate(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> Samples:
        """Return a new array, which is the result."""
        result: Samples = np.empty(shape, dtype)
        return result

    def advance(self, result: Samples, ready: int) -> None:
        """Pass the rows that are new."""
        if ready > self._written:
            start, self._written = self._written, ready
            self._rows(result[start:ready], None)


def run(
    source: Samples,
    network: CompiledNetwork,
    dtype: np.dtype[Any],
    *,
    means: tuple[Batch, ...],
    cost: float,
    progress: Progress,
    receiver: Receiver | None,
) -> Samples:
    """Run one network over (H, W, C) samples and return a new array of ``dtype``.

    means: the global means of a network that takes them.
    cost: multiply-accumulates of the pass, for ``progress``.
    receiver: follows the rows while those below are still computed.

    Raises `EngineError` for values that are not finite, `CancelledError`, and what ``receiver``
    raises.
    """
    compiled, tiling = cast("Streaming", network.compiled), network.tiling
    height, width, channels = source.shape
    _log.debug("%dx pass over %dx%d px in one stream", tiling.scale, width, height)
    shape = (height * tiling.scale, width * tiling.scale, channels)
    target: Samples = (
        np.empty(shape, dtype) if receiver is None else receiver.allocate(shape, dtype)
    )
    set_share = progress.span(cost)

    def on_rows(share: float, final: int) -> bool:
        set_share(share)
        if receiver is not None:
            receiver.advance(target, final)
        return progress.cancelled

    progress.check()
    nonfinite = compiled.run_picture(
        source,
        target,
        window=network.window(width=width, height=height),
        start=-tiling.margin,
        crop=(tiling.margin - tiling.lost) * tiling.scale,
        means=means,
        on_rows=on_rows,
    )
    kernels.require_finite(nonfinite, target.size, "in the result")
    set_share(1.0)
    if receiver is not None:
        receiver.advance(target, len(target))
    return target
