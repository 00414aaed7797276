"""Uses the page of the server as a person does, in headless Chromium."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import art
from helpers.browser import CHROMIUM, chromium, drop, paste
from helpers.command import PATIENCE, waifu2x
from helpers.server import process
from helpers.weight_files import compact_file
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Request, Route, expect

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")

expect.set_options(timeout=60_000)

TIMES = "\N{MULTIPLICATION SIGN}"

#: Records every text of the element that matches, so that short states are seen.
RECORD = """selector => {
    window.seen = [];
    new MutationObserver(() => {
        const text = document.querySelector(selector)?.textContent;
        if (text && text !== window.seen.at(-1)) window.seen.push(text);
    }).observe(document.body, {childList: true, characterData: true, subtree: true});
}"""

#: The contrast of each text with the color behind it (WCAG 2), and the text.
CONTRASTS = """() => {
    const parse = color => color.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = element => {
        for (let at = element; at; at = at.parentElement) {
            const color = parse(getComputedStyle(at).backgroundColor);
            if (color.length === 3 || color[3] > 0.7) return color;
        }
        return [255, 255, 255];
    };
    const found = [];
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
        if (!own || !element.checkVisibility() || element.closest(".visually-hidden")) continue;
        const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
        found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.textContent.trim()]);
    }
    return found;
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with process("--quiet", cwd=folder) as (url, running):
        yield url
        running.terminate()
        running.wait(PATIENCE)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def problems() -> Iterator[list[str]]:
    """Errors and warnings of the pages that `watched` opens; fails if there are any."""
    found: list[str] = []
    yield found
    assert not found


def watched(context: BrowserContext, problems: list[str]) -> Page:
    """A page whose uncaught exceptions and lines in the console are noted in ``problems``."""
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: _note(problems, line.type, line.text))
    return page


@pytest.fixture
def page(browser: Browser, server: str, problems: list[str]) -> Iterator[Page]:
    """The page at 1280x800 in light mode."""
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = watched(context, problems)
        open_page(page, server)
        yield page
        page.evaluate("() => new Promise(requestAnimationFrame)")  # late events


def _note(problems: list[str], kind: str, text: str) -> None:
    # Chromium logs every answer of 400 and more, which some tests provoke.
    if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
        problems.append(text)


def open_page(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator("#model option").first).to_be_attached()


@pytest.fixture
def face(tmp_path: Path) -> Path:
    """A JPEG of 120x96 px."""
    path = tmp_path / "face.jpg"
    art.anime_face(120, 96).save(path, quality=75)
    return path


@pytest.fixture
def manga(tmp_path: Path) -> Path:
    """A gray PNG of 90x140 px, whose name needs quotes in a shell."""
    path = tmp_path / "it's page 1.png"
    art.manga_page(90, 140).convert("L").save(path)
    return path


def dropped(page: Page, *paths: Path) -> None:
    kinds = {".jpg": "image/jpeg", ".png": "image/png"}
    drop(page, *((each.name, kinds.get(each.suffix, ""), each.read_bytes()) for each in paths))


def size(width: int, height: int) -> str:
    return f"{width} {TIMES} {height}"


def row(page: Page, name: str) -> Locator:
    return page.locator("#list li").filter(has=page.locator(".name", has_text=name))


def upscale(page: Page) -> None:
    page.locator("#upscale").click()
    expect(page.locator("#cancel-all")).to_be_hidden()


def saved(page: Page, link: Locator, folder: Path) -> Path:
    """Download what ``link`` offers into ``folder``, under its own name."""
    with page.expect_download() as waiting:
        link.click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def run_shown(page: Page, folder: Path) -> None:
    """Run the command line of the page in ``folder``."""
    name, *args = shlex.split(page.locator("#command code").inner_text())
    assert name == "waifu2x"
    result = waifu2x(*args, cwd=folder)
    assert result.returncode == 0, result.stderr


def test_a_dropped_picture_becomes_the_file_of_the_command(
    page: Page, face: Path, tmp_path: Path
) -> None:
    page.evaluate(RECORD, "#list .detail")
    dropped(page, face)
    expect(row(page, "face.jpg").locator(".detail")).to_contain_text(size(120, 96))
    expect(page.locator("#facts")).to_have_text(f"{size(120, 96)} → {size(240, 192)}")
    upscale(page)
    expect(row(page, "face.jpg").locator(".detail")).to_contain_text(size(240, 192))
    expect(page.locator("#live")).to_have_text(f"face.jpg is done, {size(240, 192)}.")
    found = saved(page, page.locator("#save"), tmp_path / "downloads")
    assert found.name == "face_waifu2x.png"
    run_shown(page, tmp_path)
    assert found.read_bytes() == (tmp_path / found.name).read_bytes()
    seen: list[str] = page.evaluate("() => window.seen")
    assert {"Waiting", "Sending"} & set(seen)


def test_progress_rises_and_a_picture_can_be_canceled(
    page: Page, tmp_path: Path, server: str
) -> None:
    path = tmp_path / "large.png"
    art.manga_page(300, 400).resize((1200, 1600)).save(path)
    page.evaluate(RECORD, "#working p")
    dropped(page, path)
    page.get_by_label(f"4{TIMES}").check(force=True)
    page.locator("#upscale").click()
    bar = page.get_by_role("progressbar", name="Progress of large.png")
    expect(page.locator("#working p")).to_have_text(re.compile(r"Upscaling, [1-9]\d?%"))
    expect(bar).to_be_visible()
    assert 0 < float(bar.evaluate("bar => bar.value")) < 1
    assert page.title() == "(0/1) waifu2x"
    page.get_by_role("button", name="Cancel large.png").click()
    expect(row(page, "large.png").locator(".detail")).to_have_text("Canceled")
    shown = [int(text) for text in re.findall(r"(\d+)%", " ".join(page.evaluate("window.seen")))]
    assert shown == sorted(shown)
    idle = "async () => (await (await fetch('api/health')).json()).running"
    for _ in range(100):
        if page.evaluate(idle) == 0:
            break
        page.wait_for_timeout(100)
    assert page.evaluate(idle) == 0
    page.get_by_role("button", name="Remove large.png").click()
    expect(page.locator("#empty")).to_be_visible()
    expect(page.locator(".choose:visible")).to_be_focused()


def test_two_pictures_at_once_come_as_a_zip(
    page: Page, face: Path, manga: Path, tmp_path: Path
) -> None:
    dropped(page, face, manga)
    expect(page.locator("#pictures-title")).to_have_text("2 pictures")
    expect(page.locator("#upscale")).to_have_text("Upscale 2 pictures")
    upscale(page)
    expect(page.locator("#list li.done")).to_have_count(2)
    path = saved(page, page.get_by_role("button", name="Download all as ZIP"), tmp_path / "zip")
    run_shown(page, tmp_path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["face_waifu2x.png", "it's page 1_waifu2x.png"]
        for name in archive.namelist():
            assert archive.read(name) == (tmp_path / name).read_bytes()


def test_equal_names_stay_apart_in_a_zip(page: Page, face: Path, tmp_path: Path) -> None:
    dropped(page, face)
    dropped(page, face)
    upscale(page)
    path = saved(page, page.get_by_role("button", name="Download all as ZIP"), tmp_path)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["face_waifu2x.png", "face_waifu2x (2).png"]


def test_a_zip_has_the_names_of_the_command(page: Page, face: Path, tmp_path: Path) -> None:
    names = ("in.png", "in.jpg", "other.JPEG", "Other.png", ".hidden", "a.b.png")
    paths = [tmp_path / name for name in names]
    art.anime_face(30, 20).save(paths[0])
    for path in paths[1:]:
        path.write_bytes(face.read_bytes())
    dropped(page, *paths)
    upscale(page)
    path = saved(page, page.get_by_role("button", name="Download all as ZIP"), tmp_path / "zip")
    run_shown(page, tmp_path)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist()[:2] == ["in_png_waifu2x.png", "in_jpg_waifu2x.png"]
        for name in archive.namelist():
            assert archive.read(name) == (tmp_path / name).read_bytes()


def test_a_name_that_browsers_encode(page: Page, face: Path, tmp_path: Path) -> None:
    path = face.rename(tmp_path / 'a"b.jpg')
    dropped(page, path)
    upscale(page)
    expect(page.locator("#save")).to_have_attribute("download", 'a"b_waifu2x.png')


def test_clear_while_a_picture_is_shown(page: Page, face: Path, manga: Path) -> None:
    dropped(page, face, manga)
    upscale(page)
    expect(page.locator("#after")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#empty")).to_be_visible()
    # The images lose their files.
    page.wait_for_timeout(500)
    dropped(page, face)
    expect(page.locator("#before")).to_be_visible()


@pytest.mark.parametrize("name", ["mine", "cunet"])
def test_a_model_of_the_user(
    browser: Browser, face: Path, tmp_path: Path, problems: list[str], name: str
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    compact_file(folder / f"{name}.pth", seed=0)
    (tmp_path / f"{name}.pth").write_bytes((folder / f"{name}.pth").read_bytes())
    with (
        process("--quiet", "-m", f"models/{name}.pth", cwd=tmp_path) as (url, _),
        browser.new_context() as context,
    ):
        page = watched(context, problems)
        open_page(page, url)
        dropped(page, face)
        upscale(page)
        expect(page.locator("#command code")).to_have_text(f"waifu2x face.jpg --model {name}.pth")
        shown = page.locator("#facts").inner_text()
        found = saved(page, page.locator("#save"), tmp_path / "downloads")
        run_shown(page, tmp_path)
        assert found.read_bytes() == (tmp_path / found.name).read_bytes()
        page.get_by_role("button", name="Remove face.jpg").click()
        dropped(page, face)
        expect(page.locator("#facts")).to_have_text(shown)
        page.get_by_label("Model").select_option("cunet")
        expect(page.locator("#command code")).to_have_text("waifu2x face.jpg")


def test_a_cancel_while_an_upload_is_answered(page: Page, face: Path) -> None:
    jobs: list[str] = []

    def answer_late(route: Route) -> None:
        answer = route.fetch()
        jobs.append(answer.json()["links"]["self"].lstrip("/"))
        page.get_by_role("button", name="Cancel face.jpg").click()
        route.fulfill(response=answer)

    page.route("**/api/upscale", answer_late)
    dropped(page, face)
    upscale(page)
    expect(row(page, "face.jpg").locator(".detail")).to_have_text("Canceled")
    status = "async path => (await fetch(path)).status"
    for _ in range(100):
        if page.evaluate(status, jobs[0]) == 404:
            break
        page.wait_for_timeout(100)
    assert page.evaluate(status, jobs[0]) == 404


def test_a_cancel_before_the_upload(page: Page, face: Path) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    dropped(page, face)
    page.evaluate(
        """() => {
            document.querySelector("#upscale").click();
            document.querySelector("#cancel-all").click();
        }"""
    )
    detail = row(page, "face.jpg").locator(".detail")
    expect(detail).to_have_text("Canceled")
    page.wait_for_timeout(500)
    expect(detail).to_have_text("Canceled")
    assert "POST" not in sent


def test_every_setting_reaches_the_result(page: Page, face: Path, tmp_path: Path) -> None:
    dropped(page, face)
    page.get_by_label("Model").select_option("cunet")
    page.get_by_label("2", exact=True).check(force=True)
    page.get_by_label("Other").check(force=True)
    page.get_by_label("Width").fill("200")
    page.get_by_label("Format").select_option("webp")
    page.get_by_text("More options").click()
    page.get_by_label("Quality").fill("70")
    page.get_by_label("Strength").fill("0.5")
    page.get_by_label("Color fix").check()
    expect(page.locator("#facts")).to_have_text(f"{size(120, 96)} → {size(200, 160)}")
    expect(page.locator("#command code")).to_have_text(
        "waifu2x face.jpg --noise 2 --width 200 --format webp --strength 0.5 --color-fix "
        "--quality 70"
    )
    upscale(page)
    found = saved(page, page.locator("#save"), tmp_path / "downloads")
    run_shown(page, tmp_path)
    assert found.name == "face_waifu2x.webp"
    assert found.read_bytes() == (tmp_path / found.name).read_bytes()
    # The settings stay, until they are reset.
    page.reload()
    expect(page.locator("#command code")).to_contain_text("--width 200 --format webp")
    expect(page.get_by_label("Strength")).to_be_visible()
    page.get_by_role("button", name="Reset the settings").click()
    expect(page.locator("#command code")).to_have_text("waifu2x picture.png --model upconv_7")


def test_the_noise_levels_are_those_of_the_model(page: Page) -> None:
    page.get_by_label("3", exact=True).check(force=True)
    page.get_by_label("Model").select_option("realcugan_pro")
    labels = page.locator("#noise-levels label").all_inner_texts()
    assert labels == ["Auto", "None", "Conservative", "3"]
    expect(page.get_by_label("3", exact=True)).to_be_checked()
    page.get_by_label("Conservative").check(force=True)
    page.get_by_label("Model").select_option("realcugan")
    labels = page.locator("#noise-levels label").all_inner_texts()
    assert labels == ["Auto", "None", "Conservative", "1", "2", "3"]
    expect(page.get_by_label("Conservative")).to_be_checked()
    page.get_by_label("Model").select_option("cunet")
    expect(page.get_by_label("Auto")).to_be_checked()


def test_a_pasted_picture_gets_a_name(page: Page, manga: Path) -> None:
    paste(page, ("image.png", "image/png", manga.read_bytes()))
    paste(page, ("image.png", "image/png", manga.read_bytes()))
    upscale(page)
    assert page.locator("#list .name").all_inner_texts() == ["pasted-1.png", "pasted-2.png"]
    expect(page.locator("#list li.done")).to_have_count(2)


def test_chosen_files(page: Page, face: Path, manga: Path) -> None:
    with page.expect_file_chooser() as waiting:
        page.get_by_role("button", name="Choose pictures").click()
    waiting.value.set_files([face, manga])
    expect(page.locator("#list li")).to_have_count(2)


def test_a_dropped_folder(page: Page, face: Path, manga: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / ".hidden").touch()
    face.rename(folder / "10.jpg")
    manga.rename(folder / "inner/9.png")
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})
    expect(page.locator("#drop")).to_be_visible()
    session.send("Input.dispatchDragEvent", {"type": "drop", "x": 300, "y": 300, "data": data})
    expect(page.locator("#list .name")).to_have_text(["10.jpg", "9.png"])
    expect(page.locator("#drop")).to_be_hidden()


def test_the_command_line_is_copied(page: Page, manga: Path) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    dropped(page, manga)
    page.get_by_role("button", name="Copy the command line").click()
    expect(page.locator("#live")).to_have_text("Copied the command line.")
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert shlex.split(copied) == ["waifu2x", manga.name, "--model", "upconv_7"]


def test_an_error_is_the_sentence_of_the_command(page: Page, face: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(face.read_bytes()[:700])
    dropped(page, broken, face)
    upscale(page)
    said = waifu2x("broken.jpg", cwd=tmp_path).stderr.strip().removeprefix("Error: ")
    expect(row(page, "broken.jpg").locator(".detail")).to_have_text(said)
    expect(page.locator("#viewer")).to_contain_text(said)
    expect(row(page, "face.jpg")).to_have_class(re.compile("done"))
    expect(page.get_by_role("button", name="Try broken.jpg again")).to_be_visible()


def test_a_wrong_setting_is_an_error_of_the_server(page: Page, face: Path, tmp_path: Path) -> None:
    dropped(page, face)
    page.get_by_label("Other").check(force=True)
    page.get_by_label("Scale", exact=True).fill("-3")
    upscale(page)
    expect(row(page, "face.jpg").locator(".detail")).to_contain_text("it must be a number above 0")


def test_a_busy_server_gets_the_picture_later(page: Page, face: Path) -> None:
    tries: list[Request] = []

    def busy_once(route: Route) -> None:
        tries.append(route.request)
        if len(tries) > 1:
            route.continue_()
            return
        detail = '{"detail": "the queue is full"}'
        route.fulfill(status=503, headers={"Retry-After": "1"}, body=detail)

    page.route("**/api/upscale", busy_once)
    page.evaluate(RECORD, "#list .detail")
    dropped(page, face)
    upscale(page)
    expect(row(page, "face.jpg")).to_have_class(re.compile("done"))
    assert "the queue is full; next try in 1 s" in page.evaluate("() => window.seen")


def test_a_server_that_is_gone(page: Page, face: Path) -> None:
    page.route("**/api/upscale", lambda route: route.abort())
    dropped(page, face)
    upscale(page)
    expect(row(page, "face.jpg").locator(".detail")).to_have_text(
        "The server does not answer. Is waifu2x serve still running?"
    )
    page.unroute("**/api/upscale")
    page.get_by_role("button", name="Try face.jpg again").click()
    expect(row(page, "face.jpg")).to_have_class(re.compile("done"))


def test_a_job_that_the_server_has_forgotten(page: Page, face: Path) -> None:
    def forget(route: Route) -> None:
        page.request.delete(route.request.url.removesuffix("/events"))
        route.continue_()

    page.route("**/api/jobs/*/events", forget)
    dropped(page, face)
    upscale(page)
    expect(row(page, "face.jpg").locator(".detail")).to_contain_text("there is no such job")


def test_a_file_above_the_limit(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(65 << 20)
    page.locator("#files").set_input_files(path)
    upscale(page)
    detail = row(page, "huge.png").locator(".detail")
    expect(detail).to_have_text("the request is larger than 64 MiB, the limit of this server")


def test_a_picture_before_the_settings_have_come(page: Page, server: str, face: Path) -> None:
    held: list[Route] = []
    page.route("**/api/options", lambda route: held.append(route))
    page.goto(server)
    dropped(page, face)
    expect(row(page, "face.jpg").locator(".detail")).to_contain_text(size(120, 96))
    held[0].continue_()
    expect(page.locator("#command code")).to_have_text("waifu2x face.jpg --model upconv_7")
    upscale(page)
    expect(row(page, "face.jpg")).to_have_class(re.compile("done"))


def test_settings_that_do_not_come(page: Page, server: str) -> None:
    page.route("**/api/models", lambda route: route.abort())
    page.goto(server)
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer.")
    page.get_by_role("alert").get_by_role("button", name="Close").click()
    expect(page.locator("#trouble")).to_be_hidden()


def test_a_format_that_no_browser_shows(page: Page, face: Path, tmp_path: Path) -> None:
    comic = tmp_path / "comic.cbz"
    with zipfile.ZipFile(comic, "w") as archive:
        archive.write(face, "001.jpg")
    dropped(page, comic)
    expect(page.locator("#placeholder")).to_contain_text("cannot show this CBZ file")
    upscale(page)
    expect(page.locator("#placeholder")).to_contain_text("The result is complete")
    found = saved(page, page.locator("#save"), tmp_path / "downloads")
    run_shown(page, tmp_path)
    assert found.read_bytes() == (tmp_path / "comic_waifu2x.cbz").read_bytes()


def clip(page: Page, image: str) -> str:
    return str(page.locator(image).evaluate("image => image.style.clipPath"))


def test_the_divider_shows_before_and_after(page: Page, face: Path) -> None:
    dropped(page, face)
    upscale(page)
    divider = page.get_by_role("slider", name="Divider between before and after")
    expect(divider).to_have_attribute("aria-valuenow", "50")
    # The picture is 240 px wide, in the middle of the canvas.
    assert clip(page, "#before") == "inset(0px 120px 0px 0px)"
    box = divider.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 60, y, steps=4)
    page.mouse.up()
    expect(divider).to_have_attribute("aria-valuenow", "25")
    assert clip(page, "#after") == "inset(0px 0px 0px 60px)"
    # Both pictures are drawn: left of the divider that before, right of it the result.
    for image in ("#before", "#after"):
        assert page.locator(image).evaluate("image => image.complete && image.naturalWidth > 0")


def test_zoom_and_pan_with_the_mouse(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    art.manga_page(350, 250).resize((700, 500)).save(path)
    dropped(page, path)
    upscale(page)
    level, after = page.locator("#zoom-level"), page.locator("#after")
    page.get_by_role("button", name="1:1").click()
    expect(level).to_have_text("100%")
    assert after.evaluate("image => image.offsetWidth") == 1400
    start = after.evaluate("image => image.style.transform")
    canvas = page.locator("#canvas").bounding_box()
    assert canvas is not None
    page.mouse.move(canvas["x"] + 200, canvas["y"] + 100)
    page.mouse.down()
    page.mouse.move(canvas["x"] + 150, canvas["y"] + 60, steps=3)
    page.mouse.up()
    moved = after.evaluate("image => image.style.transform")
    numbers = [[float(n) for n in re.findall(r"-?[\d.]+", text)] for text in (start, moved)]
    assert [b - a for a, b in zip(*numbers, strict=True)] == [-50, -40]
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    expect(level).to_have_text("200%")
    page.get_by_role("button", name="Zoom out").click()
    expect(level).to_have_text("100%")
    page.get_by_role("button", name="Fit").click()
    assert after.evaluate("image => image.offsetWidth <= image.parentElement.clientWidth")


def test_everything_works_by_keys(page: Page, face: Path, manga: Path, tmp_path: Path) -> None:
    dropped(page, face, manga)
    page.locator("#model").focus()
    for key in ("Tab", "ArrowRight", "Tab", "ArrowRight", "Tab", "Tab", "Tab"):
        page.keyboard.press(key)
    # Auto to None, 2x to 3x; then the format, more options, and the button.
    expect(page.locator("#upscale")).to_be_focused()
    expect(page.locator("#command code")).to_contain_text("--noise none --scale 3")
    page.keyboard.press("Enter")
    expect(page.locator("#cancel-all")).to_be_hidden()
    expect(page.locator("#list li.done")).to_have_count(2)
    page.locator("#canvas").focus()
    for key, level in (("+", "200%"), ("-", "100%"), ("+", "200%"), ("1", "100%")):
        page.keyboard.press(key)
        expect(page.locator("#zoom-level")).to_have_text(level)
    for key in ("+", "+", "+"):
        page.keyboard.press(key)
    before = page.locator("#after").evaluate("image => image.style.transform")
    page.keyboard.press("ArrowRight")
    assert page.locator("#after").evaluate("image => image.style.transform") != before
    page.keyboard.press("0")
    page.keyboard.press("Tab")
    divider = page.get_by_role("slider")
    expect(divider).to_be_focused()
    for key, value in (("ArrowRight", 52), ("Shift+ArrowLeft", 42), ("Home", 0), ("End", 100)):
        page.keyboard.press(key)
        expect(divider).to_have_attribute("aria-valuenow", str(value))
    page.keyboard.press("b")
    expect(divider).to_have_attribute("aria-valuenow", "0")
    page.keyboard.press("PageDown")
    expect(page.locator("#canvas")).to_have_accessible_name("it's page 1.png, before and after")
    # The hint about keys goes without a move of the button below the pointer.
    expect(page.locator("#keys")).to_contain_text("Arrow keys pan.")
    saved(page, page.get_by_role("button", name="Download all as ZIP"), tmp_path)


def test_every_control_has_a_name(page: Page, face: Path) -> None:
    dropped(page, face)
    upscale(page)
    page.get_by_label("Other").check(force=True)
    page.get_by_text("More options").click()
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "link", "slider", "checkbox", "radio", "combobox", "textbox", "img")
    found = [node for node in tree if node.get("role", {}).get("value") in roles]
    assert len(found) > 25
    nameless = [node for node in found if not node.get("name", {}).get("value")]
    assert not nameless


def test_400_pixels(page: Page, face: Path, manga: Path) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    dropped(page, face, manga)
    expect(page.locator("#upscale")).to_be_in_viewport(ratio=1)
    upscale(page)
    page.get_by_label("Other").check(force=True)
    page.get_by_text("More options").click()
    assert page.evaluate("() => document.documentElement.scrollWidth") == 400
    for control in page.locator("button:visible, a:visible, input:visible, select:visible").all():
        box = control.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 400
        assert box["height"] >= 18
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("() => document.documentElement.scrollWidth") == 320


def test_one_to_one_means_pixels_of_the_screen(
    browser: Browser, server: str, face: Path, problems: list[str]
) -> None:
    with browser.new_context(
        viewport={"width": 400, "height": 800},
        device_scale_factor=2,
        is_mobile=True,
        has_touch=True,
    ) as context:
        page = watched(context, problems)
        open_page(page, server)
        dropped(page, face)
        upscale(page)
        # A pixel of the result is at most as large as a pixel of style sheets.
        width = "image => image.offsetWidth"
        assert page.locator("#after").evaluate(width) == 240
        page.get_by_role("button", name="1:1").tap()
        assert page.locator("#after").evaluate(width) == 120


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(page: Page, face: Path, tmp_path: Path, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    dropped(page, face, broken)
    upscale(page)
    page.get_by_text("More options").click()
    background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", background)[0]) < 64) is (scheme == "dark")
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 20
    assert [(text, ratio) for ratio, text in contrasts if ratio < 4.5] == []


def test_nothing_moves_for_those_who_prefer_that(page: Page) -> None:
    moving = (
        "() => [...document.querySelectorAll('*')].filter(each => "
        "parseFloat(getComputedStyle(each).transitionDuration) > 0).length"
    )
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(moving) == 0


def test_nothing_comes_from_another_host(
    browser: Browser, server: str, face: Path, problems: list[str]
) -> None:
    with browser.new_context() as context:
        page = watched(context, problems)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        open_page(page, server)
        dropped(page, face)
        upscale(page)
    assert all(url.startswith((server, f"blob:{server}")) for url in asked)


def test_a_token_is_sent_with_everything(
    browser: Browser, face: Path, tmp_path: Path, problems: list[str]
) -> None:
    with (
        process("--quiet", "--token", "secret-token", cwd=tmp_path) as (url, _),
        browser.new_context(
            http_credentials={"username": "me", "password": "secret-token"}
        ) as context,
    ):
        page = watched(context, problems)
        open_page(page, url)
        dropped(page, face)
        upscale(page)
        expect(row(page, "face.jpg")).to_have_class(re.compile("done"))


def test_the_page_ships_in_the_wheel(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    source = ROOT / "waifu2x/server/page"
    names = {each.name for each in source.iterdir()}
    assert names >= {"index.html", "style.css", "page.js"}
    for name in names:
        built = tmp_path / "waifu2x/server/page" / name
        assert built.read_bytes() == (source / name).read_bytes()
