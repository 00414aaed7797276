"""The threads of this process."""

from __future__ import annotations

import re
import threading


def threads() -> set[str]:
    """The names of the package's threads, but for those that engines keep."""
    names = {each.name for each in threading.enumerate()}
    return {name for name in names if re.match(r"waifu2x-(?!vulkan-)", name)}
