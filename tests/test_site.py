"""The site of the pages and the reference: it builds without a warning, and is complete."""

from __future__ import annotations

import html
import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlparse

import pytest
from helpers import public

import waifu2x

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

ROOT = Path(__file__).parent.parent
CI = (ROOT / ".ci/run").read_text("utf-8")

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("sphinx", "myst_parser", "furo")),
    reason="Sphinx, MyST and Furo (extra docs) are not installed",
)

#: Attributes of HTML that a browser loads by itself.
LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs", "."]
    done = subprocess.run([*command, folder], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@cache
def parsed(page: Path) -> BeautifulSoup:
    from bs4 import BeautifulSoup

    return BeautifulSoup(page.read_text("utf-8"), "html.parser")


def described(site: Path) -> dict[str, str]:
    """Return the text under each name on the reference."""
    names = parsed(site / "docs/reference.html").select("dl.py > dt[id]")
    return {dt["id"]: dt.find_next_sibling("dd").get_text(" ", strip=True) for dt in names}


def expected() -> Iterator[str]:
    for name, value in public.objects().items():
        yield name
        if isinstance(value, type):
            yield from (f"{name}.{each}" for each, _ in public.methods(value))
            yield from (f"{name}.{each}" for each in public.fields(value))


# --- the reference ----------------------------------------------------------------------------


def test_every_public_name_has_a_text(site: Path) -> None:
    texts = described(site)
    missing = [name for name in expected() if not texts.get(name)]
    assert missing == []
    for name in waifu2x.__all__:
        assert f"waifu2x.{name}" in texts or name == "errors", name
    assert "module-waifu2x.errors" in (site / "docs/reference.html").read_text("utf-8")


def test_nothing_else_is_on_the_reference(site: Path) -> None:
    others = {"waifu2x.__version__", "waifu2x.BatchResults.__next__"}
    assert described(site).keys() == {*expected()} | others


@pytest.mark.parametrize("name", public.objects())
def test_every_function_and_class_has_a_docstring(name: str) -> None:
    value = public.objects()[name]
    documented = {name: value, **dict(public.methods(value) if isinstance(value, type) else ())}
    for each, function in documented.items():
        assert inspect.getdoc(function), each
        assert getattr(function, "__doc__", None), each


@pytest.mark.parametrize(
    "function",
    [
        *(waifu2x.upscale, waifu2x.upscale_file, waifu2x.upscale_video, waifu2x.upscale_many),
        *(waifu2x.iter_frames, waifu2x.Upscaler, waifu2x.Upscaler.upscale),
    ],
    ids=lambda function: function.__qualname__,
)
def test_every_option_is_named_or_described(site: Path, function: object) -> None:
    page = parsed(site / "docs/reference.html")
    entry = page.find(id=f"waifu2x.{function.__qualname__}").find_next_sibling("dd")
    named = {each.get_text() for each in entry.select("code, strong")}
    assert named >= inspect.signature(function).parameters.keys() - {"self"}


def test_every_option_has_a_type_and_a_default(site: Path) -> None:
    page = parsed(site / "docs/reference.html")
    for record in (waifu2x.Options, waifu2x.UpscalerOptions, waifu2x.BatchOptions):
        for name, parameter in inspect.signature(record).parameters.items():
            text = page.find(id=f"waifu2x.{record.__name__}.{name}").get_text()
            shown = re.fullmatch(rf"\s*{name}: (.+?) = (.+?)¶?\s*", text)
            assert shown is not None, text
            assert shown[2] == repr(parameter.default)


# --- the site ---------------------------------------------------------------------------------


def test_every_page_is_there(site: Path) -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        assert (site / page.relative_to(ROOT).with_suffix(".html")).is_file(), page
    assert (site / "index.html").read_bytes() == (site / "README.html").read_bytes()


@cache
def found(page: Path, attribute: str) -> set[str]:
    """Return the values of an attribute, by a search of the text: parsing every page is slow."""
    values = re.findall(rf'<[^>]*\s{attribute}="([^"]*)"', page.read_text("utf-8"))
    return {html.unescape(value) for value in values}


def test_links_lead_somewhere(site: Path) -> None:
    links = 0
    for page in site.rglob("*.html"):
        for link in found(page, "href"):
            url = urlparse(urljoin(page.as_uri(), link))
            if url.scheme != "file":
                continue
            links += 1
            target = Path(unquote(url.path))
            assert target.is_file(), (page, link)
            if url.fragment and target.suffix == ".html":
                assert unquote(url.fragment) in found(target, "id"), (page, link)
    assert links > 500


def test_a_browser_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = [*site.rglob("*.html")]
    assert len(pages) > 20
    for page in pages:
        text = page.read_text("utf-8")
        for tag, attribute in LOADED.items():
            for url in re.findall(rf'<{tag}\s[^>]*?\b{attribute}="([^"]*)"', text):
                assert not re.match(r"\w+:|//", url), (page, tag, url)
    for style in site.rglob("*.css"):
        for url in re.findall(r"(?:url\(|@import)\s*['\"]?([^'\")]+)", style.read_text("utf-8")):
            assert url.startswith("data:") or not re.match(r"\w+:|//", url), (style, url)


def test_ci_builds_the_site_with_the_command_of_the_reference() -> None:
    command = "sphinx-build -W --keep-going -c docs . build/site"
    assert f"\n    {command}\n" in (ROOT / "docs/reference.md").read_text("utf-8")
    assert f"\n{command} " in CI
