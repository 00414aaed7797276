"""The errors raised on purpose by this package.

Every message names the fault, the value, what is allowed and what to do, on one line. It names
arguments as in Python, in backquotes, such as ``overwrite=True``. The command prints the message on
standard error with its options in their place (``--overwrite``) and exits with a code that follows
from the class:

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
    """Base of every error raised on purpose.

    >>> try:
    ...     waifu2x.upscale("missing.png")
    ... except waifu2x.Waifu2xError as error:
    ...     print(error)
    missing.png does not exist
    """


class ArgumentError(Waifu2xError, ValueError):
    """An argument is outside what is allowed (scale, noise level, size, model name, array).

    What depends on a file or the machine is another class: a result beyond the limit in pixels is
    a `LimitError`, a format that cannot store an animation an `EncodeError`.

    >>> waifu2x.upscale("in.png", 2, tile=-1)
    Traceback (most recent call last):
    waifu2x.errors.ArgumentError: tile is -1; it must be 0 for automatic, or a side in px
    """


class DecodeError(Waifu2xError):
    """A file is missing, empty, truncated, corrupt or not a supported picture.

    >>> waifu2x.upscale("missing.png")
    Traceback (most recent call last):
    waifu2x.errors.DecodeError: missing.png does not exist
    """


class EncodeError(Waifu2xError):
    """A result cannot be written: the format cannot hold it, the disk is full, no permission.

    >>> try:
    ...     waifu2x.upscale_file("in.gif", "big.jpg")
    ... except waifu2x.EncodeError as error:
    ...     print(str(error).partition(";")[0])
    JPEG holds one picture, and in.gif is an animation
    """


class OutputExistsError(EncodeError):
    """The target exists and overwriting is off, or the target is the input itself.

    >>> from pathlib import Path
    >>> Path("big.png").touch()
    >>> try:
    ...     waifu2x.upscale_file("in.png", "big.png")
    ... except waifu2x.OutputExistsError as error:
    ...     print(error)
    big.png exists already; choose another name, or replace it with `overwrite=True`
    """


class LimitError(Waifu2xError):
    """A picture or result exceeds the limit in pixels, or a process its limit in bytes.

    >>> try:
    ...     waifu2x.upscale("in.png", max_pixels=1000)
    ... except waifu2x.LimitError as error:
    ...     print(error)
    in.png is 40x36, 1440 pixels, and the limit is 1000; raise the limit with `max_pixels=`
    """


class GraphError(Waifu2xError):
    """A network graph is inconsistent, or a weights file does not describe one.

    >>> from pathlib import Path
    >>> _ = Path("own.onnx").write_bytes(b"no network")
    >>> try:
    ...     waifu2x.upscale("in.png", model="own.onnx")
    ... except waifu2x.GraphError as error:
    ...     print(str(error).partition(": ")[0])
    own.onnx
    """


class WeightsError(Waifu2xError):
    """A weights file is missing, or its sha256 is not the one in the manifest.

    >>> from pathlib import Path
    >>> _ = Path("own.param").write_text("7767517")
    >>> try:
    ...     waifu2x.upscale("in.png", model="own.param")
    ... except waifu2x.WeightsError as error:
    ...     print(str(error).partition(": ")[0])
    cannot read weights own.bin
    """


class EngineError(Waifu2xError):
    """An engine or device cannot run here, or returned values that are not finite.

    >>> try:
    ...     waifu2x.upscale("in.png", engine="onnx", device="directml")
    ... except waifu2x.EngineError as error:
    ...     print(str(error).partition(" of ")[0])
    device directml needs DmlExecutionProvider
    """


class MissingExtraError(EngineError, ImportError):
    """An optional dependency is not installed; the message names the command of pip.

    >>> issubclass(waifu2x.MissingExtraError, ImportError)
    True
    """


class DeviceMemoryError(EngineError):
    """A device has too little memory for a run; smaller tiles or batches may fit.

    >>> try:
    ...     big = waifu2x.upscale("in.png")
    ... except waifu2x.DeviceMemoryError:
    ...     big = waifu2x.upscale("in.png", tile=64)
    """


class DeviceLostError(EngineError):
    """A device failed during a run; this process cannot use it any more.

    >>> try:
    ...     big = waifu2x.upscale("in.png")
    ... except waifu2x.DeviceLostError:
    ...     big = waifu2x.upscale("in.png", engine="native")
    """


class SkippedError(Waifu2xError):
    """A picture was skipped as requested (``skip_larger``, ``resume``); not a failure.

    >>> waifu2x.upscale_file("in.png", "big.png", skip_larger=(32, 32))
    Traceback (most recent call last):
    waifu2x.errors.SkippedError: in.png is 40x36, larger than 32x32: left alone
    """


class CancelledError(Waifu2xError):
    """The caller cancelled the work; nothing was written.

    >>> import threading
    >>> cancel = threading.Event()
    >>> cancel.set()
    >>> waifu2x.upscale("in.png", cancel=cancel)
    Traceback (most recent call last):
    waifu2x.errors.CancelledError: cancelled; nothing was written
    """


def check_cancelled(cancel: threading.Event | None) -> None:
    """Raise `CancelledError` if ``cancel`` is set."""
    if cancel is not None and cancel.is_set():
        raise CancelledError("cancelled; nothing was written")
