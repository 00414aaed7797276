"""The errors raised on purpose by this package.

Every message names the fault, the value, what is allowed and what to do, on one line. It names
arguments as in Python, in backquotes: "out.png exists already; replace it with `overwrite=True`".
The command prints the message on standard error with its options in their place (``--overwrite``)
and exits with a code that follows from the class:

====================  =========  ==================================================================
class                 exit code  meaning
====================  =========  ==================================================================
`ArgumentError`       2          an argument, or an environment variable, is wrong by itself; found
                                 before any file is opened
`SkippedError`        0          skipped as requested
`CancelledError`      130, 143   Ctrl-C, SIGTERM (129: SIGHUP); the command ends without a message
any other class       1          the file or the machine does not allow it
====================  =========  ==================================================================

A batch continues after a file that failed, and exits with 1 at the end. Any other exception that
escapes is a defect.
"""

from __future__ import annotations

import threading


class Waifu2xError(Exception):
    """Base of every error raised on purpose."""


class ArgumentError(Waifu2xError, ValueError):
    """An argument is outside what is allowed (scale, noise level, size, model name, array).

    What depends on a file or the machine is another class: a result beyond the limit in pixels is
    a `LimitError`, a format that cannot store an animation an `EncodeError`.
    """


class DecodeError(Waifu2xError):
    """A file is missing, empty, truncated, corrupt or not a supported picture."""


class EncodeError(Waifu2xError):
    """A result cannot be written: size or animation beyond the format, unwritable target."""


class OutputExistsError(EncodeError):
    """The target exists and overwriting is off, or the target is the input itself."""


class LimitError(Waifu2xError):
    """A picture or result exceeds the limit in pixels, or a process its limit in bytes."""


class GraphError(Waifu2xError):
    """A network graph is inconsistent, or a weights file does not describe one."""


class WeightsError(Waifu2xError):
    """A weights file is missing, or its sha256 is not the one in the manifest."""


class EngineError(Waifu2xError):
    """An engine or device cannot run here, or returned values that are not finite."""


class MissingExtraError(EngineError, ImportError):
    """An optional dependency is not installed; the message names the command of pip."""


class DeviceMemoryError(EngineError):
    """A device has too little memory for a run; smaller tiles or batches may fit."""


class DeviceLostError(EngineError):
    """A device failed during a run; this process cannot use it any more."""


class SkippedError(Waifu2xError):
    """A picture was skipped as requested (``skip_larger``, ``resume``); not a failure."""


class CancelledError(Waifu2xError):
    """The caller cancelled the work; nothing was written."""


def check_cancelled(cancel: threading.Event | None) -> None:
    """Raise `CancelledError` if ``cancel`` is set."""
    if cancel is not None and cancel.is_set():
        raise CancelledError("cancelled; nothing was written")
