"""Batches of crops, chosen by chance and by their loss."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from .._record import record
from .config import DataConfig
from .degradation import degrade, degrade_pixelated, pixelated

Pixels: TypeAlias = npt.NDArray[np.uint8]

#: Batches that are prepared in advance. Losses choose the crops of a step this much later, so that
#: the crops do not depend on the speed of the threads.
AHEAD: Final = 4
#: Share of the new loss in the loss of a patch.
_MIX: Final = 0.5

#: Share of crops that are resampled, and the binary logarithms of the least and the largest side
#: that is taken, in sides of the crop. Drawings as rendered are sharper than published pictures,
#: which mostly were shrunk, or drawn with soft brushes.
_RESAMPLED: Final = 0.55
_TAKEN: Final = (-0.3, 0.65)
_FILTERS: Final = (
    Image.Resampling.LANCZOS,
    Image.Resampling.BICUBIC,
    Image.Resampling.HAMMING,
    Image.Resampling.BILINEAR,
)

#: Share of crops that become pixel art, whose edges no kernel softens: a network that has never
#: seen any draws dark spots at its corners.
_PIXELATED: Final = 0.04


@record
class Batch:
    """Crops of a step: their patches, and the pixels after and before shrinking, (N, 3, H, W).

    families, compressed: how each was shrunk, (N,), see `waifu2x.training.degradation.Degraded`.
    """

    level: int
    patches: npt.NDArray[np.int64]
    given: Pixels
    wanted: Pixels
    families: npt.NDArray[np.int64]
    compressed: npt.NDArray[np.bool_]


class Sampler:
    """Prepares batches in threads; equal seeds and losses give equal batches."""

    def __init__(
        self,
        patches: Pixels,
        config: DataConfig,
        noises: Sequence[int | None],
        *,
        seed: int,
        balanced: bool = False,
    ) -> None:
        """Read ``patches``, (N, P, P, 3) uint8 with P of at least the crop.

        balanced: draw all families of filters as often, and no pixel art, for an estimator.
        """
        self._balanced = balanced
        self._patches, self._config, self._noises, self._seed = patches, config, noises, seed
        self._losses = np.zeros(len(patches), np.float32)
        self._seen = np.zeros(len(patches), np.bool_)
        self._pool = ThreadPoolExecutor(config.workers)
        self._chosen: deque[npt.NDArray[np.int64]] = deque()
        self._waiting: deque[Future[Batch]] = deque()
        self._next = 0

    def state(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return what `restore` needs to go on with the same batches."""
        return {
            "losses": self._losses,
            "seen": self._seen,
            "chosen": np.array(self._chosen, np.int64).reshape(-1, self._config.batch),
        }

    def restore(self, state: dict[str, npt.NDArray[np.generic]], step: int) -> None:
        """Go on at ``step`` with the result of `state`."""
        self._losses[:] = state["losses"]
        self._seen[:] = state["seen"]
        for at, chosen in enumerate(state["chosen"]):
            self._submit(step + at, np.asarray(chosen, np.int64))
        self._next = step + len(state["chosen"])

    def next(self) -> Batch:
        """Return the batch of the next step."""
        while len(self._waiting) < AHEAD:
            self._submit(self._next, self._choose(self._next))
            self._next += 1
        self._chosen.popleft()
        return self._waiting.popleft().result()

    def learn(self, batch: Batch, losses: npt.NDArray[np.float32]) -> None:
        """Note the losses of the crops of a batch, (N,)."""
        at = batch.patches
        old = np.where(self._seen[at], self._losses[at], losses)
        self._losses[at] = old + _MIX * (losses - old)
        self._seen[at] = True

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _submit(self, step: int, chosen: npt.NDArray[np.int64]) -> None:
        self._chosen.append(chosen)
        self._waiting.append(self._pool.submit(self._make, step, chosen))

    def _choose(self, step: int) -> npt.NDArray[np.int64]:
        """Choose the patches of a step."""
        rng = np.random.default_rng((self._seed, step, 0))
        count = len(self._patches)
        chosen = rng.integers(0, count, self._config.batch)
        hard = round(self._config.batch * self._config.hard)
        if hard and self._seen.any():
            # An unseen patch counts as an average one.
            unseen = self._losses[self._seen].mean(dtype=np.float64)
            weights = np.cumsum(np.where(self._seen, self._losses, unseen), dtype=np.float64)
            drawn = np.searchsorted(weights, rng.random(hard) * weights[-1], side="right")
            chosen[:hard] = np.minimum(drawn, count - 1)
        return chosen

    def _make(self, step: int, chosen: npt.NDArray[np.int64]) -> Batch:
        """Crop, turn and shrink the patches of a step."""
        rng = np.random.default_rng((self._seed, step, 1))
        level = int(rng.integers(len(self._noises)))
        made, wanted = [], []
        for index in chosen:
            crop = _augmented(self._patches[index], self._config.crop, rng)
            if not self._balanced and rng.random() < _PIXELATED:
                crop = pixelated(crop, rng)
                made.append(degrade_pixelated(crop, rng, self._noises[level]))
            else:
                made.append(degrade(crop, rng, self._noises[level], balanced=self._balanced))
            wanted.append(crop)
        return Batch(
            level,
            chosen,
            _planes([each.pixels for each in made]),
            _planes(wanted),
            np.array([each.family for each in made]),
            np.array([each.compressed for each in made]),
        )


def _augmented(patch: Pixels, side: int, rng: np.random.Generator) -> Pixels:
    """Return a crop at a random place: resampled, turned, mirrored, its channels in any order."""
    taken = side
    if rng.random() < _RESAMPLED:
        taken = min(round(side * 2 ** rng.uniform(*_TAKEN)), *patch.shape[:2])
    top, left = (int(rng.integers(0, extent - taken + 1)) for extent in patch.shape[:2])
    crop = np.ascontiguousarray(patch[top : top + taken, left : left + taken])
    if taken != side:
        filter = _FILTERS[int(rng.integers(len(_FILTERS)))]
        crop = np.asarray(Image.fromarray(crop).resize((side, side), filter))
    crop = np.rot90(crop, int(rng.integers(4)))
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    if rng.random() < 0.3:
        crop = crop[:, :, rng.permutation(3)]
    return np.ascontiguousarray(crop)


def _planes(crops: Sequence[Pixels]) -> Pixels:
    return np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2))
