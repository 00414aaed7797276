"""The command ``waifu2x``, and ``python -m waifu2x``.

Imports only the standard library until Ctrl-C and SIGTERM exit without a traceback.
"""

from __future__ import annotations

import os
import signal
from typing import Any, Final, NoReturn

#: A shell's exit code for a program ended by a signal is this plus the signal's number.
_SIGNALED: Final = 128


def main() -> None:
    """Run the command; Ctrl-C and SIGTERM exit at once (130, 143) while its modules are imported.

    The signals have their previous handlers again when the command begins.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup, or a shell's background
            signal.signal(number, _exit)
    from .cli import main as command

    for number, handler in before.items():
        signal.signal(number, handler)
    command(prog_name="waifu2x")


def _exit(number: int, frame: Any) -> NoReturn:
    # Nothing is open yet. An exception would be reported by the module that is being imported.
    os._exit(_SIGNALED + number)


if __name__ == "__main__":
    main()
