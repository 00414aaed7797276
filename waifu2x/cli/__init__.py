"""The command line; no other part of the package prints or imports click."""

from .root import main

__all__ = ["main"]
