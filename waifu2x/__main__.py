"""The command ``waifu2x``, and ``python -m waifu2x``.

Imports only the standard library until signals exit without a traceback.
"""

from __future__ import annotations

import gc
import os
import sys

from ._signals import SIGNALED, handled


def main() -> None:
    """Run the command; Ctrl-C, SIGTERM and SIGHUP exit at once while its modules are imported."""
    with handled(_exit):
        gc.disable()  # imports leave no garbage, and collections take 3% of the start
        # Imported far below, its calls cross the end of a block of Python's stack, which is mapped
        # and unmapped each time, a thousand times in all.
        try:
            import numpy  # noqa: F401

            from .cli import main as command
        except Exception as error:  # a broken library may raise anything
            from .cli.broken import main as report

            report(sys.argv[1:], error)

        gc.freeze()
        gc.enable()
        command(prog_name="waifu2x")


def _exit(number: int, frame: object) -> None:
    os._exit(SIGNALED + number)  # nothing is open yet


if __name__ == "__main__":
    main()
