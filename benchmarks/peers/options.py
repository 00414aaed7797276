"""Options of the parts that compare waifu2x with its peers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..common.parts import Options


@dataclass(frozen=True)
class PeerOptions(Options):
    """An empty sequence selects the default of the part.

    sizes: sides of the picture that a 2x network upscales.
    caps: instruction sets, each "best" or a key of `CAPS`.
    without: words in the names of excluded contestants.
    """

    models: Sequence[str] = ()
    scales: Sequence[int] = (2,)
    sizes: Sequence[int] = ()
    threads: Sequence[int] = (1,)
    caps: Sequence[str] = ("best",)
    engine: str = "auto"
    without: Sequence[str] = ()
    megapixels: Sequence[float] = ()

    def for_child(self) -> PeerOptions:
        """The options without the pictures, which would count toward the memory of a child."""
        return replace(self, pictures=())
