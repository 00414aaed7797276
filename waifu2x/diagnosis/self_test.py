"""A picture through the default network, compared with the known result, and timed."""

from __future__ import annotations

import base64
import time
import zlib
from typing import Final

import numpy as np
import numpy.typing as npt

from .. import kernels
from .._machine import processors
from .._text import plural
from ..pipeline.options import UpscalerOptions
from ..pipeline.upscaler import Upscaler
from .isolated import Row

#: Side of the picture; the network sees it whole, in one piece.
_SIDE: Final = 192
#: Rows and columns of the result that are compared: from the first, every so many.
_FIRST: Final = 5
_EVERY: Final = 23
#: Largest difference of a sample, of 255: instruction sets round differently.
_ALLOWED: Final = 1

#: Runs that are timed; the fastest counts. No other begins after so many seconds.
_RUNS: Final = 3
_PATIENCE: Final = 5.0

#: The known pixels: cunet, 2x, without noise removal.
_KNOWN: Final = (
    "eNqFkE1PE0EYxxfUiAEvglZeBFOPSkzwZAIoBxNj4hfgoN+rZuPaWGnSpFo609m37pZZZjvT2aVNN2Vp6YYNFS9+AllE"
    "VxY4oJHJ7/A8z/z+M5mh4BuDBw30lcn7r5+tUm2Pbwyo0We1XVbrMryzxXYp6YwIU5S2Ofdoo0nAgQ32CQyJHGIjJFpw"
    "dShFjN6m1t2s+WRjG2OPEM/3B6TeerX4drPhYjCw9O8YhfNzL7AaWGo/fXfyyAXHbiXagunUE2x5NauN6y1cb+K6Y3Gn"
    "tLZjwlAQpk05wCiIHBDx8k9WiVz4a8AOXZCeXR4dvo7tZo01TeasU1sHYRWEOgrkSjcWonMceOiWj9z1ePiDf7kiXKtS"
    "p0q5zpkC9hQYKKgfb/0flXKFMYVTBAIE+wj1kvmxC2ZuT0Rn2p2bt8ZGbiT13HgKMYq4DUAfwB44iyyuGg8mZpZXjbg+"
    "cstxG3N6AgeA2YCTEuiVYHcd7SSRpTd/NEEYPm1PIkkdf0iJkRK3iqBbhP5n5F/6locz6SKzihwXgF+A2wXUuTRSqFsF"
    "hguNWh5s52Enj7y1SuufZuSWIwct3Z/PU5xnG3lu5kAnB70caufkliAIF3z38XN3YSXBf7SYY2aOG1ngZWE7i1pZuZlV"
    "3Q8qj5xy4s9O3jv3E6bHp7JcF07Wx6ovya6kOJLGJZ1JBpVM+4Ifs7WwIjU0QRiKI5/ktig7ospFjYk6FQ1bNMnfkRiR"
    "K8kt743OO5lnVJbRaEa3MwbJmJbz9OUFf2x0LMPl3+SwQa4="
)


def self_test() -> Row:
    """Run the test. Raises the errors of `waifu2x.Upscaler`."""
    upscaler = Upscaler(engine="native")
    picture = fixed_picture()
    began = time.perf_counter()
    times: list[float] = []
    while len(times) < _RUNS and time.perf_counter() - began < _PATIENCE:
        start = time.perf_counter()
        result = upscaler.upscale(picture, 2, noise=None)
        times.append(time.perf_counter() - start)
    seconds = min(times) / _SIDE**2 * 1e6
    off = difference(result)
    text = (
        f"{UpscalerOptions().model}, 2x, engine native, {kernels.isa()}, "
        f"{plural(processors(), 'thread')}: right to {off} of 255, "
        f"{seconds:.3g} seconds per megapixel"
    )
    facts = {"difference": off, "seconds_per_megapixel": float(f"{seconds:.3g}")}
    problem = "" if off <= _ALLOWED else f"the result is off by {off} of 255"
    return Row("native", text, facts, problem)


def fixed_picture() -> npt.NDArray[np.uint8]:
    """Return the picture, (side, side, 3): shapes in integers only, equal on every machine."""
    y, x = np.mgrid[0:_SIDE, 0:_SIDE]
    picture = np.stack([200 - y // 4, 180 + x // 8, 230 - (x + y) // 8], axis=2)
    for cx, cy, radius, color in (
        (96, 90, 70, (250, 205, 180)),
        (70, 85, 16, (60, 90, 190)),
        (122, 85, 16, (60, 90, 190)),
        (74, 80, 5, (255, 255, 255)),
        (140, 170, 40, (205, 50, 65)),
    ):
        distance = (x - cx) ** 2 + (y - cy) ** 2
        picture[distance <= radius**2] = color
        picture[(distance > (radius - 2) ** 2) & (distance <= radius**2)] = (30, 20, 25)
    strands = ((x * 3 + y * y // 64) % 24 < 3) & (y < 48)
    picture[strands] = (40, 30, 60)
    checks = (x // 2 + y // 2) % 2 == 0
    picture[checks & (x < 32) & (y > 160)] = (0, 0, 0)
    return picture.astype(np.uint8)


def difference(result: npt.NDArray[np.uint8]) -> int:
    """Return the largest difference of the compared samples from the known ones, of 255."""
    known = np.frombuffer(zlib.decompress(base64.b64decode(_KNOWN)), np.uint8)
    found = samples(result)
    return int(np.abs(found.astype(int) - known.reshape(found.shape)).max())


def samples(result: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the pixels of a result that are compared."""
    return result[_FIRST::_EVERY, _FIRST::_EVERY]
