"""The command line; no other part of the package prints or imports click."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .root import main
else:

    def __getattr__(name):
        """Import the command on first access: `cli.broken` runs without most of the package."""
        if name != "main":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from .root import main

        return main


__all__ = ["main"]
