"""A line of a file of votes."""

from __future__ import annotations

from typing import Final

VOTE: Final[dict[str, object]] = {
    "picture": "1.png",
    "crop": [0, 0, 32, 32],
    "left": "cunet",
    "right": "bicubic",
    "answer": "left",
    "kind": "lines",
    "face": False,
    "repeat": False,
    "seconds": 1.5,
    "scale": 2,
    "noise": "auto",
    "time": "2026-01-02T03:04:05+00:00",
}
