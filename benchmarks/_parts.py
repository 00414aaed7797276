"""What a part of `peers.py` is given and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _pictures import Named


@dataclass(frozen=True)
class Options:
    """What was asked for; an empty list or None leaves it to the part.

    size: sides of the picture that a 2x network enlarges.
    pictures: given by the user.
    folder: for temporary files.
    quick: small pictures everywhere, to see that everything works.
    """

    folder: Path
    models: Sequence[str] = ()
    scales: Sequence[int] = (2,)
    sizes: Sequence[int] = ()
    threads: Sequence[int] = (1,)
    caps: Sequence[str | None] = (None,)
    engine: str = "auto"
    without: Sequence[str] = ()
    rounds: int = 9
    quiet_below: float = 1.0
    pictures: Sequence[Named] = ()
    megapixels: Sequence[float] = ()
    quick: bool = False


@dataclass
class Part:
    """report: for JSON. text: for people. wrong: what is not as it should be with ours."""

    report: dict[str, Any]
    text: str
    wrong: list[str] = field(default_factory=list)
