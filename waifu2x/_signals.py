"""Signals that end the command, and its exit code then. Imports only the standard library."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Final

#: A shell's exit code for a program ended by a signal is this plus the signal's number.
SIGNALED: Final = 128

_NAMES: Final = ("SIGINT", "SIGTERM", "SIGHUP")


@contextlib.contextmanager
def handled(handler: Callable[[int, object], object]) -> Iterator[None]:
    """Call ``handler`` on Ctrl-C, SIGTERM and SIGHUP; restores the previous handlers at the end.

    An ignored signal stays ignored (nohup, or a shell's background). Outside the main thread,
    nothing changes.

    The handler should not raise: if a finalizer or a callback of an import is interrupted, Python
    prints the exception and goes on.
    """
    before = {}
    for name in _NAMES:
        number = getattr(signal, name, None)  # Windows lacks SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            with contextlib.suppress(ValueError):  # not in the main thread
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
