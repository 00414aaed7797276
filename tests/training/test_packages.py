"""Unpacking: checksums, exclusions by name, safe extraction, and the readers of each kind."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from waifu2x.training import packages
from waifu2x.training.packages import Package, TrainingDataError, is_excluded, unpack

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle r="{}"/></svg>'

#: What the evaluation set was made from, as its packages name the files.
EVALUATION = (
    "people/manga_girl_dirk_struve_01.svg",
    "people/blue_girl_dirk_struve_.svg",
    "people/woman_reading_gerald_g._01.svg",
    "people/busy_mom_with_child_and_01.svg",
)
RELATIVES = (
    "people/busy_mom_with_child_and_02.svg",
    "unsorted/manga_girl_other.svg",
    "people/MANGA_GIRL_2.svg",
    "people/blue-girl.svg",
    "signs/woman_reading_.svg",
    "computer/icons/kcmdrkonqi.svg",
)


def tar_of(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return stream.getvalue()


def debian(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": b"odd",
        "data.tar.gz": tar_of(files, links),
    }
    archive = b"!<arch>\n"
    for name, content in parts.items():
        archive += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        archive += content + b"\n" * (len(content) % 2)
    return archive


def wheel(styles: dict[str, dict]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, definition in styles.items():
            archive.writestr(f"dicebear_styles/{name}.json", json.dumps(definition))
    return stream.getvalue()


def style(terms: str = "CC0 1.0") -> dict:
    return {
        "meta": {"license": {"name": terms}},
        "canvas": {
            "width": 10,
            "height": 10,
            "elements": [
                {"type": "component", "name": "eyes", "attributes": {"transform": "scale(2)"}},
                {"type": "component", "name": "copy"},
                {"type": "element", "name": "style", "children": [{"type": "text", "value": "x"}]},
            ],
        },
        "colors": {"ink": {"values": ["#102030", "#405060"]}},
        "components": {
            "eyes": {
                "width": 4,
                "height": 4,
                "variants": {
                    f"v{number}": {
                        "elements": [
                            {
                                "type": "element",
                                "name": "circle",
                                "attributes": {
                                    "r": number,
                                    "class": 'a<"&',
                                    "fill": {"type": "color", "name": "ink"},
                                },
                            }
                        ]
                    }
                    for number in range(1, 6)
                },
            },
            "copy": {"extends": "eyes"},
        },
    }


def icons(names: list[str]) -> bytes:
    content = {
        "width": 36,
        "height": 36,
        "icons": {name: {"body": f'<circle r="{len(name)}"/>'} for name in names},
    }
    return tar_of({"package/icons.json": json.dumps(content).encode(), "package/info.json": b"{}"})


@pytest.fixture
def downloads(tmp_path, monkeypatch):
    """A folder of packages; call it with (file name, kind, content) to add one."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    known: list[Package] = []
    monkeypatch.setattr(packages, "PACKAGES", known)

    def add(file: str, kind: str, content: bytes, name: str | None = None) -> Path:
        (folder / file).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        known.append(Package(name or kind, file, "1", digest, "free", kind, "here"))
        return folder

    return add


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# --- exclusions ----------------------------------------------------------------------------------


def test_drawings_of_the_evaluation_set_and_their_relatives_are_left_out(downloads, tmp_path):
    kept = "people/woman_doctor_gerald_g._01.svg"
    files = {
        f"./usr/share/openclipart/svg/{name}": SVG.format(number).encode()
        for number, name in enumerate((*EVALUATION, *RELATIVES, kept), 1)
    }
    folder = downloads("openclipart.deb", "openclipart", debian(files))
    assert unpack(folder, tmp_path / "out") == {"openclipart": 1}
    assert names_in(tmp_path / "out") == {"openclipart/people+woman_doctor_gerald_g._01.svg"}


def test_styles_of_the_evaluation_set_and_those_without_a_license_are_left_out(downloads, tmp_path):
    styles = {
        name: style()
        for name in (
            "adventurer",
            "adventurer-neutral",
            "lorelei",
            "lorelei-neutral",
            "avataaars",
            "bottts-neutral",
            "micah",
        )
    }
    styles["secret"] = style("All rights reserved")
    folder = downloads("styles.whl", "dicebear", wheel(styles))
    counts = unpack(folder, tmp_path / "out")
    stems = {name.split("/")[1].rsplit("-", 1)[0] for name in names_in(tmp_path / "out")}
    assert stems == {"micah"}
    assert counts == {"dicebear": len(names_in(tmp_path / "out"))}
    assert 2 <= counts["dicebear"] <= 48


@pytest.mark.parametrize(
    "file",
    [
        "renpy-demo_8.0.3_all.deb",
        "renpy-thequestion_8.0.3_all.deb",
        "warmux-data_11.04.1_all.deb",
        "wesnoth-1.16-data_1.16.8_all.deb",
        "plasma-workspace-wallpapers_5.27.5_all.deb",
        "fonts-vlgothic_20141206_all.deb",
        "iconify-json-openmoji-1.2.0.tgz",
        "supertux-data_0.6_all.deb",
        "gcompris-qt-data_3.1_all.deb",
    ],
)
def test_excluded_packages_are_not_read_even_if_a_table_named_them(downloads, tmp_path, file):
    files = {"./usr/share/openclipart/svg/people/nice.svg": SVG.format(1).encode()}
    downloads(file, "openclipart", debian(files), name="bad")
    folder = downloads("good.tgz", "iconify", icons(["cat"]))
    assert unpack(folder, tmp_path / "out") == {"iconify": 1}
    assert names_in(tmp_path / "out") == {"iconify/cat.svg"}


def test_the_table_of_packages_names_nothing_excluded():
    for package in packages.PACKAGES:
        assert not packages.is_excluded_package(package.file)
        assert not packages.is_excluded_package(package.origin)
        assert len(package.sha256) == 64
        assert package.license
    assert len({package.name for package in packages.PACKAGES}) == len(packages.PACKAGES)


@pytest.mark.parametrize(
    "name",
    [
        "01_renpy_concert_drummer.png",
        "03_renpy_concert_left.png",
        "05_renpy_lucy.png",
        "07_question_sylvie_green.png",
        "09_question_bg_club.png",
        "11_question_vn_scene.png",
        "13_oc_manga_girl.png",
        "15_oc_blue_girl.png",
        "17_oc_woman_reading.png",
        "19_oc_busy_mom.png",
        "21_db_adventurer.png",
        "23_warmux_arbre.png",
        "25_wesnoth_druid.png",
        "27_kde_konqui.png",
        "29_manga_page.png",
    ],
)
def test_evaluation_pictures_are_excluded_from_folders_of_the_user(name):
    assert is_excluded("picture", name)
    assert not is_excluded("picture", "my drawing.png")


# --- checks and safety ---------------------------------------------------------------------------


def test_a_package_with_another_checksum_is_refused(downloads, tmp_path):
    folder = downloads("icons.tgz", "iconify", icons(["cat"]))
    (folder / "icons.tgz").write_bytes(icons(["dog"]))
    with pytest.raises(TrainingDataError, match=r"icons\.tgz has sha256 .* expected .* again"):
        unpack(folder, tmp_path / "out")
    assert not names_in(tmp_path / "out")


def test_a_folder_without_packages_is_refused(downloads, tmp_path):
    with pytest.raises(TrainingDataError, match=r"docs/training\.md"):
        unpack(tmp_path / "downloads", tmp_path / "out")


def test_nothing_is_written_outside_the_folder(downloads, tmp_path):
    files = {
        name: SVG.format(number).encode()
        for number, name in enumerate(
            [
                "./usr/share/openclipart/svg/../../../../escape.svg",
                "/absolute/svg/root.svg",
                "../../up.svg",
                "./usr/share/openclipart/svg/a/..svg",
                "./usr/share/openclipart/svg/a/.hidden.svg",
                "./usr/share/openclipart/svg/a/sp ace\nline.svg",
            ],
            1,
        )
    }
    links = {"./usr/share/openclipart/svg/link.svg": "/etc/passwd"}
    downloads("openclipart.deb", "openclipart", debian(files, links))
    folder = downloads("icons.tgz", "iconify", icons(["../../../evil", "a/b"]))
    unpack(folder, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"downloads", "out"}
    written = names_in(tmp_path / "out")
    assert len(written) == 8
    assert all(name.count("/") == 1 and ".." not in name.split("/") for name in written)
    assert not any("passwd" in (tmp_path / "out" / name).read_text() for name in written)


def test_a_debian_package_without_content_is_refused():
    with pytest.raises(TrainingDataError, match="ar archive"):
        packages._ar_member(b"zip", "data.tar")
    with pytest.raises(TrainingDataError, match=r"data\.tar"):
        packages._ar_member(b"!<arch>\n", "data.tar")


# --- readers -------------------------------------------------------------------------------------


def test_drawings_are_kept_once_and_dull_or_large_ones_are_not(downloads, tmp_path):
    at = "./usr/share/openclipart/svg/"
    files = {
        f"{at}animals/cat.svg": SVG.format(1).encode(),
        f"{at}animals/again/cat.svg": SVG.format(1).encode(),
        f"{at}shapes/stars/star_1.svg": SVG.format(2).encode(),
        f"{at}animals/readme.txt": b"text",
        f"{at}animals/huge.svg": b"<svg>" + b" " * 500_000 + b"</svg>",
    }
    folder = downloads("openclipart.deb", "openclipart", debian(files))
    unpack(folder, tmp_path / "out")
    assert names_in(tmp_path / "out") == {"openclipart/animals+cat.svg"}


def test_drawings_that_state_other_terms_are_left_out(downloads, tmp_path):
    at = "./usr/share/openclipart/svg/computer/"
    terms = "<!-- http://creativecommons.org/licenses/{}/2.0/ -->"
    files = {
        f"{at}{name.replace('/', '')}.svg": (SVG.format(number) + terms.format(name)).encode()
        for number, name in enumerate(["GPL", "by", "by-sa", "publicdomain"], 1)
    }
    folder = downloads("openclipart.deb", "openclipart", debian(files))
    unpack(folder, tmp_path / "out")
    assert names_in(tmp_path / "out") == {"openclipart/computer+publicdomain.svg"}


def test_icons_become_svgs_and_skin_tones_are_left_out(downloads, tmp_path):
    folder = downloads("i.tgz", "iconify", icons(["elf", "elf-dark-skin-tone", "elf-medium-light"]))
    unpack(folder, tmp_path / "out")
    assert names_in(tmp_path / "out") == {"iconify/elf.svg"}
    text = (tmp_path / "out/iconify/elf.svg").read_text()
    assert text.startswith("<svg ")
    assert 'viewBox="0 0 36 36"><circle r="3"/></svg>' in text


def test_fonts_of_whole_scripts_are_unpacked(downloads, tmp_path):
    files = {
        f"package/files/{name}": b"font"
        for name in (
            "zen-japanese-400-normal.woff",
            "zen-japanese-400-normal.woff2",
            "zen-12-400-normal.woff",
            "zen-latin-700-normal.woff",
            "zen-latin-300-normal.woff",
            "vlgothic-japanese-400-normal.woff",
        )
    }
    folder = downloads("f.tgz", "font", tar_of(files))
    unpack(folder, tmp_path / "out")
    assert names_in(tmp_path / "out") == {
        "font/zen-japanese-400-normal.woff",
        "font/zen-latin-700-normal.woff",
    }


def test_unpacking_twice_gives_the_same_files(downloads, tmp_path):
    folder = downloads("styles.whl", "dicebear", wheel({"micah": style(), "dylan": style("MIT")}))
    unpack(folder, tmp_path / "one")
    unpack(folder, tmp_path / "two")
    assert names_in(tmp_path / "one") == names_in(tmp_path / "two")
    for name in names_in(tmp_path / "one"):
        text = (tmp_path / "one" / name).read_text()
        assert text == (tmp_path / "two" / name).read_text()
        assert "&lt;&quot;&amp;" in text
        assert "<style" not in text
        assert 'transform="scale(2)"' in text
        # A component that extends another has a variant of its own.
        assert text.count("<circle") == 2
