"""The server of a test module, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from helpers.server import Running, client, idle, running, wait_for


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as found:
        yield found


@pytest.fixture
def http(server: Running) -> Iterator[httpx.Client]:
    with client(server.url) as found:
        yield found
    wait_for(lambda: idle(server))
