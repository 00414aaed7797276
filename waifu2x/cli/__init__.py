"""The command line: parses, calls, prints; nothing else of the package prints or imports click."""

from .root import main

__all__ = ["main"]
