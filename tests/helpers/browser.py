"""Drives a page of the command in headless Chromium."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, JSHandle, Page, sync_playwright

from .command import started, wait_for

#: The browser of the system; none is downloaded.
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

#: Run without a GPU and a sandbox, and contact no host but that of the page.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)

_TRANSFER = """files => {
    const transfer = new DataTransfer();
    for (const [name, type, data] of files) {
        const bytes = Uint8Array.from(atob(data), char => char.charCodeAt(0));
        transfer.items.add(new File([bytes], name, {type}));
    }
    return transfer;
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        yield browser
        browser.close()


@contextmanager
def serving(*args: str | Path, cwd: Path) -> Iterator[str]:
    """The URL of ``waifu2x serve`` on a free port; the server is stopped at the end."""
    process = started("serve", "--port", "0", "--quiet", *args, cwd=cwd)
    try:
        yield wait_for(process.stdout, "serving on ").split()[-1]
    finally:
        process.terminate()
        process.communicate(timeout=60)


def transfer(page: Page, files: Sequence[tuple[str, str, bytes]]) -> JSHandle:
    """A DataTransfer of the page with files: name, media type and content of each."""
    coded = [(name, kind, base64.b64encode(data).decode()) for name, kind, data in files]
    return page.evaluate_handle(_TRANSFER, coded)


def drop(page: Page, *files: tuple[str, str, bytes]) -> None:
    """Drag files over the page and drop them."""
    data = {"dataTransfer": transfer(page, files)}
    for kind in ("dragenter", "dragover", "drop"):
        page.locator("body").dispatch_event(kind, data)


def paste(page: Page, *files: tuple[str, str, bytes]) -> None:
    """Paste files into the page."""
    page.evaluate(
        """clipboardData => document.body.dispatchEvent(
            new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true}))""",
        transfer(page, files),
    )
