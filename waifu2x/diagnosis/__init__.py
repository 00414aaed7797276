"""Collects what a bug report needs: versions, hardware, checksums and a timed self-test.

The steps run in processes of their own (`isolated`), because a broken library may raise anything at
import, hang, or crash. Names of users and hosts are left out.
"""

from .isolated import Row
from .report import Section, diagnose

__all__ = ["Row", "Section", "diagnose"]
