"""Takes the pictures of the page in server.md: ``python docs/make_screenshots.py``.

Three pictures are upscaled in headless Chromium: in a window of 1280x920 px in light mode, and on a
screen of 400x800 px in dark mode. The fonts are those of the machine; Inter comes first.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from helpers import art  # noqa: E402
from helpers.browser import chromium  # noqa: E402
from helpers.server import process  # noqa: E402

IMAGES = HERE / "images"

#: Name, width, height and color scheme of each picture.
SHOTS = (("serve_1280", 1280, 920, "light"), ("serve_400", 400, 800, "dark"))


def inputs(folder: Path) -> list[Path]:
    """Write the pictures to upscale into ``folder``; the last is a format that no browser shows."""
    page, scan = folder / "page 12.png", folder / "scan.tif"
    art.manga_page(600, 840).save(page)
    art.anime_face(160, 200).save(scan)
    return [IMAGES / "sample.jpg", page, scan]


def shot(
    browser: Browser, url: str, files: list[Path], *, width: int, height: int, scheme: str
) -> bytes:
    """Return a PNG of the page in a window of a size in px, with all ``files`` upscaled."""
    with browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
    ) as context:
        page = context.new_page()
        page.set_default_timeout(300_000)
        page.goto(url)
        page.locator("#model option").first.wait_for(state="attached")
        page.locator("#files").set_input_files(files)
        page.locator("#upscale").click()
        page.locator("#cancel-all").wait_for(state="hidden")
        page.mouse.move(0, 0)
        page.evaluate("() => document.activeElement.blur()")
        page.wait_for_timeout(500)  # for the end of transitions
        return page.screenshot()


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as folder,
        process("--quiet", "-m", "cunet", cwd=Path(folder)) as (url, server),
        chromium() as browser,
    ):
        files = inputs(Path(folder))
        for name, width, height, scheme in SHOTS:
            data = shot(browser, url, files, width=width, height=height, scheme=scheme)
            Image.open(io.BytesIO(data)).save(IMAGES / f"{name}.webp", quality=88, method=6)
        server.terminate()
        server.wait()
