"""Runs the server of the tree in a thread, and as a process."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from PIL import Image
from starlette.types import ASGIApp

from helpers import art
from helpers.command import WAIFU2X
from waifu2x.cli.say import error_text
from waifu2x.cli.serve import parameters
from waifu2x.pipeline.options import UpscalerOptions
from waifu2x.server import web
from waifu2x.server.app import build
from waifu2x.server.jobs import JobStore
from waifu2x.server.settings import ServerSettings
from waifu2x.server.work import Workshop

#: The model of the tests, the fastest.
MODEL = "upconv_7"


@dataclass(frozen=True)
class Running:
    """A server in this process."""

    url: str
    port: int
    workshop: Workshop
    store: JobStore

    def files(self) -> list[Path]:
        """The files in the private folder."""
        return sorted(self.workshop.folder.rglob("*"))

    def stats(self) -> list[os.stat_result]:
        """What stat says of these files; one that goes away meanwhile is left out."""
        found = []
        for path in self.files():
            with contextlib.suppress(FileNotFoundError):
                found.append(path.stat())
        return found


@contextlib.contextmanager
def running(
    *, upscaler: UpscalerOptions | None = None, token: str | None = None, **settings: Any
) -> Iterator[Running]:
    """Serve on a free port of loopback."""
    chosen = ServerSettings(
        upscaler=upscaler or UpscalerOptions(MODEL), port=0, token=token, **settings
    )
    application = build(chosen, parameters(), error_text)
    workshop = application.workshop
    workshop.start()
    try:
        with served(application.app, chosen.host) as url:
            port = httpx.URL(url).port
            assert port is not None
            try:
                yield Running(url, port, workshop, application.store)
            finally:
                workshop.stop()
    finally:
        workshop.close(at_once=True)


@contextlib.contextmanager
def served(app: ASGIApp, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve ``app`` on a free port; yields its URL."""
    config = uvicorn.Config(app, http=web._Protocol, ws="none", lifespan="off", log_config=None)
    server = web._Server(config)
    with web.listen(host, 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield web.address_of(listener)
        finally:
            server.should_exit = True
            thread.join(30)


@contextlib.contextmanager
def process(
    *options: str, cwd: Path, env: dict[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run ``waifu2x serve`` on a free port; yields its URL and the process."""
    command = [str(WAIFU2X), "serve", "--port", "0", "-m", MODEL, *options]
    with subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found is not None, (line, server.stderr and server.stderr.read())
        try:
            yield found[0], server
        finally:
            if server.poll() is None:
                server.kill()


def picture(width: int = 24, height: int = 20, *, format: str = "PNG", **extra: Any) -> bytes:
    """The bytes of a drawing."""
    stream = io.BytesIO()
    art.anime_face(width, height).save(stream, format, **extra)
    return stream.getvalue()


def opened(data: bytes) -> Image.Image:
    """The picture in ``data``."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def client(url: str, **extra: Any) -> httpx.Client:
    """A client that ignores the proxies of the environment."""
    return httpx.Client(base_url=url, trust_env=False, timeout=120, **extra)


def wait_for(condition: Any, seconds: float = 60) -> None:
    """Wait until ``condition()`` is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def idle(server: Running) -> bool:
    """Whether nothing waits, runs or is stored."""
    workshop = server.workshop
    return not (workshop.running or workshop.queue.held or server.files())
