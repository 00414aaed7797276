"""Loaded by the workers of test_cluster.py: notes what they load, and dies where it is told to.

The environment variable CLUSTER_TEST holds JSON: ``log``, a file that gets a line for each network
loaded; ``version``, what this worker says it is; ``victim``, the name of a file, in the middle of
which the worker kills itself, at the ``moment`` "begun", "written" (and not renamed) or "published"
(and not reported); ``always``, or else only the first time.
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

from waifu2x import _temporary, _version

TOLD: dict[str, Any] = json.loads(os.environ["CLUSTER_TEST"])
LOG = Path(TOLD["log"])
_version.__version__ = TOLD.get("version", _version.__version__)

from waifu2x.batch import cluster  # noqa: E402
from waifu2x.network import registry  # noqa: E402  (which takes the version from there)

_at_work = threading.local()
# Dask loads this twice.
_load, _process = inspect.unwrap(registry.load), inspect.unwrap(cluster.process)
_close = inspect.unwrap(_temporary.Temporary.close)


def die(moment: str) -> None:
    if (_at_work.name, moment) != (TOLD.get("victim"), TOLD.get("moment")):
        return
    if not TOLD.get("always"):
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
def process(item: Any, *args: Any, **given: Any) -> Any:
    _at_work.name = item.source.name
    die("begun")
    result = _process(item, *args, **given)
    die("published")
    return result


@functools.wraps(_close)
def close(self: _temporary.Temporary, *, durable: bool) -> None:
    _close(self, durable=durable)
    die("written")


registry.load = load
cluster.process = process
_temporary.Temporary.close = close  # type: ignore[method-assign]
