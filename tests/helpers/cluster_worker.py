"""Loaded by the workers of test_cluster.py: logs loaded networks, and kills the worker on request.

The environment variable CLUSTER_TEST holds JSON: ``log``, a file that gets a line for each network
loaded; ``version``, the version that this worker reports; ``victim``, the name of a file at which
the worker kills itself, at the ``moment`` "begun", "written" (not yet renamed), "segment" (of a
video, finished) or "published" (not yet reported); ``always``: every time, not only the first time.
A file next to the log gets a line for each segment.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

from waifu2x import _version, atomic

SETTINGS: dict[str, Any] = json.loads(os.environ["CLUSTER_TEST"])
LOG = Path(SETTINGS["log"])
_version.__version__ = SETTINGS.get("version", _version.__version__)

from waifu2x.batch import cluster  # noqa: E402  (reads the replaced version)
from waifu2x.network import registry  # noqa: E402
from waifu2x.video.segments import SegmentFolder  # noqa: E402

_at_work = threading.local()
# Dask loads this file twice.
_load, _process = inspect.unwrap(registry.load), inspect.unwrap(cluster.process)
_close = inspect.unwrap(atomic.Temporary.close)
_write = inspect.unwrap(SegmentFolder.write)


def die(moment: str) -> None:
    if (_at_work.name, moment) != (SETTINGS.get("victim"), SETTINGS.get("moment")):
        return
    if not SETTINGS.get("always"):
        try:
            LOG.with_suffix(".died").touch(exist_ok=False)
        except FileExistsError:
            return
    os.kill(os.getpid(), signal.SIGKILL)


@functools.wraps(_load)
def load(network: registry.Network) -> Any:
    with LOG.open("a") as file:
        file.write(f"{os.getpid()} {network.scale} {network.noise}\n")
    return _load(network)


@functools.wraps(_process)
def process(context: Any, item: Any, *args: Any) -> Any:
    _at_work.name = item.source.name
    die("begun")
    result = _process(context, item, *args)
    die("published")
    return result


@functools.wraps(_close)
def close(self: atomic.Temporary, *, durable: bool) -> None:
    _close(self, durable=durable)
    die("written")


@functools.wraps(_write)
def write(self: SegmentFolder, index: int, *args: Any) -> Any:
    made = _write(self, index, *args)
    with LOG.with_suffix(".segments").open("a") as file:
        file.write(f"{os.getpid()} {index}\n")
    die("segment")
    return made


registry.load = load
cluster.process = process
atomic.Temporary.close = close  # type: ignore[method-assign]
SegmentFolder.write = write  # type: ignore[method-assign]
