"""Streams a whole picture through one network, row by row in bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import numpy as np

from .. import kernels
from ..engines import Batch, Streaming
from ..picture import Samples
from .progress import Progress
from .tiling import CompiledNetwork

_log = logging.getLogger(__name__)

#: Receives the next rows of a result, top to bottom: color (n, W, C), and alpha (n, W) or None.
RowsCallback: TypeAlias = Callable[[Samples, Samples | None], object]

#: Receives a result that is still computed, and the number of its rows, from the top, that are
#: final.
ReadyCallback: TypeAlias = Callable[[Samples, int], object]


def handing_over(rows: RowsCallback) -> ReadyCallback:
    """Return a function that passes the rows of a result to ``rows`` as soon as they are final."""
    written = 0

    def hand_over(result: Samples, ready: int) -> None:
        nonlocal written
        if ready > written:
            start, written = written, ready
            rows(result[start:ready], None)

    return hand_over


def run(
    source: Samples,
    network: CompiledNetwork,
    dtype: np.dtype[Any],
    *,
    means: tuple[Batch, ...],
    cost: float,
    progress: Progress,
    ready: ReadyCallback | None,
) -> Samples:
    """Run one network over (H, W, C) samples and return a new array of ``dtype``.

    means: the global means of a network that takes them.
    cost: multiply-accumulates of the pass, for ``progress``.
    ready: follows the rows while those below are still computed.

    Raises `EngineError` for values that are not finite, `CancelledError`, and what ``ready``
    raises.
    """
    compiled, tiling = cast("Streaming", network.compiled), network.tiling
    height, width, channels = source.shape
    _log.debug("%dx pass over %dx%d px in one stream", tiling.scale, width, height)
    target: Samples = np.empty((height * tiling.scale, width * tiling.scale, channels), dtype)
    set_share = progress.span(cost)

    def on_rows(share: float, final: int) -> bool:
        set_share(share)
        if ready is not None:
            ready(target, final)
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
    if ready is not None:
        ready(target, len(target))
    return target
