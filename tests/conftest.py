"""Restores the default action of Ctrl-C, which shells ignore for background jobs."""

from __future__ import annotations

import signal

# Commands started by the tests inherit an ignored signal, but not a handler.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
