"""A temporary file for a result on its way to a stream."""

from __future__ import annotations

import tempfile


class Spool(tempfile.SpooledTemporaryFile[bytes]):
    """A spool that answers as a file does: Python 3.10 has no `seekable`, and `seek` no result."""

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move, and return the position."""
        super().seek(offset, whence)
        return self.tell()
