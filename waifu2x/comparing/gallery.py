"""Prepares crops for a rater: a thread enlarges pictures by every method, ahead of the votes."""

from __future__ import annotations

import io
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from PIL import Image

from .. import codec
from .._text import shown
from ..errors import Waifu2xError
from ..pipeline.auto_noise import Noise
from ..pipeline.options import PictureOptions
from .content import kind_of
from .crops import Crop, differing_crops, spread
from .methods import Method, Pixels, as_seen
from .questions import Sample

#: Crops that are considered in a picture, and the most of one kind that are taken.
_CONSIDERED: Final = 16
_OF_A_KIND: Final = 2
#: Crops without a vote that are kept ready.
_AHEAD: Final = 24
#: Most bytes of all crops, as PNG; beyond, the crops with the most votes are dropped.
_MOST_BYTES: Final = 256 << 20

#: Receives the message of a picture that cannot be prepared.
OnProblem = Callable[[str], object]


class Gallery:
    """Crops that are ready to be shown, by every method; safe to use from several threads."""

    def __init__(
        self,
        pictures: Sequence[tuple[str, Path]],
        methods: Sequence[Method],
        *,
        scale: float,
        noise: Noise,
        side: int,
        on_problem: OnProblem,
        generator: random.Random,
    ) -> None:
        """Start to prepare crops of ``side`` x ``side`` pixels.

        pictures: the names in votes and the files, prepared in random order.
        """
        self._pictures = generator.sample(pictures, len(pictures))
        self._methods, self._side, self._on_problem = tuple(methods), side, on_problem
        self._size = PictureOptions(scale=scale, noise=noise)
        self._images: dict[Sample, dict[str, bytes]] = {}
        self._votes: Counter[Sample] = Counter()
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._finished = False
        self._thread = threading.Thread(target=self._prepare, name="waifu2x-rate", daemon=True)
        self._thread.start()

    @property
    def samples(self) -> list[Sample]:
        """The crops that are ready."""
        with self._changed:
            return list(self._images)

    @property
    def finished(self) -> bool:
        """Whether all pictures have been prepared."""
        with self._changed:
            return self._finished

    def image(self, sample: Sample, method: str) -> bytes:
        """Return the crop by one method as PNG; raises KeyError if it is no longer ready."""
        with self._changed:
            return self._images[sample][method]

    def voted(self, sample: Sample) -> None:
        """Count a vote on ``sample``."""
        with self._changed:
            self._votes[sample] += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Stop after the present tile."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()

    def _prepare(self) -> None:
        for name, path in self._pictures:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped.is_set() or self._has_room())
            if self._stopped.is_set():
                return
            try:
                made = self._crops(name, path)
            except Waifu2xError as error:
                if not self._stopped.is_set():
                    message = " ".join(str(error).split())
                    source = shown(path)
                    self._on_problem(message if source in message else f"{source}: {message}")
                continue
            with self._changed:
                self._images.update(made)
                self._drop()
        with self._changed:
            self._finished = True

    def _has_room(self) -> bool:
        return sum(not self._votes[sample] for sample in self._images) < _AHEAD

    def _drop(self) -> None:
        """Drop the crops with the most votes while all are too large."""
        sizes = {each: sum(map(len, by.values())) for each, by in self._images.items()}
        total = sum(sizes.values())
        for sample in sorted(sizes, key=lambda each: -self._votes[each]):
            if total <= _MOST_BYTES or not self._votes[sample]:
                break
            total -= sizes[sample]
            del self._images[sample]

    def _crops(self, name: str, path: Path) -> dict[Sample, dict[str, bytes]]:
        """Enlarge a picture and cut out the crops where the results differ most, of each kind."""
        picture = codec.decode(path)
        source = as_seen(picture)
        results = {
            method.name: method.enlarge(picture, self._size, cancel=self._stopped)
            for method in self._methods
        }
        differences = spread(list(results.values()))
        width = differences.shape[1]
        taken: Counter[str] = Counter()
        made = {}
        for crop in differing_crops(differences, _CONSIDERED, self._side):
            kind = kind_of(_source_part(source, crop, width / picture.width))
            taken[kind] += 1
            if taken[kind] <= _OF_A_KIND:
                made[Sample(name, crop, kind)] = {
                    method: _png(crop.of(pixels)) for method, pixels in results.items()
                }
        return made


def _source_part(source: Pixels, crop: Crop, scale: float) -> Pixels:
    """Return the part of the source under a crop of the result."""
    x, y = int(crop.x / scale), int(crop.y / scale)
    width, height = (max(2, round(side / scale)) for side in (crop.width, crop.height))
    return Crop(x, y, width, height).of(source)


def _png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
