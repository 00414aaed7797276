"""The errors raised on purpose by this package.

Every message names the fault, the value, what is allowed and what to do. The command line prints
the message as one line and exits with 1. Any other exception that escapes is a defect.
"""


class Waifu2xError(Exception):
    """Base of every error raised on purpose."""


class ArgumentError(Waifu2xError, ValueError):
    """An argument is outside what is allowed (scale, noise level, size, model name, array)."""


class DecodeError(Waifu2xError):
    """A file is missing, empty, truncated, corrupt or not a supported picture."""


class EncodeError(Waifu2xError):
    """A result cannot be written: unknown format, size beyond the format, unwritable target."""


class OutputExistsError(EncodeError):
    """The target exists and overwriting is off, or the target is the input itself."""


class LimitError(Waifu2xError):
    """A picture or result exceeds the limit in pixels, or a process its limit in bytes."""


class GraphError(Waifu2xError):
    """A network graph is inconsistent, or a weights file does not describe one."""


class WeightsError(Waifu2xError):
    """A weights file is missing, or its sha256 is not the one in the manifest."""


class EngineError(Waifu2xError):
    """An engine is unknown, cannot run here, or returned values that are not finite."""


class MissingExtraError(EngineError, ImportError):
    """An optional dependency is not installed; the message names the pip command."""


class DeviceMemoryError(EngineError):
    """A device has too little memory for a run; smaller tiles or batches may fit."""


class DeviceLostError(EngineError):
    """A device failed during a run; this process cannot use it any more."""


class SkippedError(Waifu2xError):
    """A picture was skipped as requested (``skip_larger``, ``resume``); not a failure."""


class CancelledError(Waifu2xError):
    """The caller cancelled the work; nothing was written."""
