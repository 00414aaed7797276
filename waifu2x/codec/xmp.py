"""Changes to an XMP packet, made in its bytes: the orientation, and promises that do not hold.

Like browsers and libvips, nothing here turns a picture by XMP: an editor that rotates pixels often
leaves the old value behind. A packet may promise parts of its file that a result does not have: a
gain map, a depth map, a video, or a second packet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

#: A larger packet is left out.
MAX_XMP = 16 << 20

# As an attribute and as an element. Bounded repeats keep hostile packets from quadratic time.
_ORIENTATION = (
    rb"""(\btiff:Orientation\s{0,20}=\s{0,20}["']|<tiff:Orientation(?:\s[^<>]{0,200})?>)"""
    rb"""(\s{0,20})(\d{1,5})(?=\s{0,20}(?:["']|</tiff:Orientation\s{0,20}>))"""
)

_GOOGLE = "http://ns.google.com/photos/1.0/"
_CONTAINER = f"{_GOOGLE}container/"

# Namespace -> what its properties promise. Of Google's containers, the items decide.
_PROMISES = {
    "http://ns.adobe.com/hdr-gain-map/1.0/": "gain map",
    "http://ns.apple.com/HDRGainMap/1.0/": "gain map",
    "http://ns.apple.com/pixeldatainfo/1.0/": "gain map",
    _CONTAINER: "",
    f"{_CONTAINER}item/": "",
    "http://ns.google.com/photos/dd/1.0/container/": "",
    "http://ns.google.com/photos/dd/1.0/item/": "",
    f"{_GOOGLE}depthmap/": "depth map",
    f"{_GOOGLE}image/": "depth map",
    "http://ns.google.com/photos/dd/1.0/device/": "depth map",
    "http://ns.apple.com/depthData/1.0/": "depth map",
}
# Properties of namespaces whose others hold for the result too.
_PROPERTIES = {
    (f"{_GOOGLE}camera/", "MicroVideo"): "video",
    (f"{_GOOGLE}camera/", "MotionPhoto"): "video",
    ("http://ns.adobe.com/xmp/note/", "HasExtendedXMP"): "",
}
_ITEMS = {b"GainMap": "gain map", b"MotionPhoto": "video", b"Depth": "depth map"}
# Hostile packets could cost quadratic time; no real one comes near.
_MAX_DEPTH, _MAX_NAMESPACES, _MAX_SEARCHED = 200, 100, 1 << 26
_SIGNS = tuple(space.encode() for space in (*_PROMISES, *(space for space, _ in _PROPERTIES)))


def reset_orientation(xmp: bytes) -> bytes:
    """Return ``xmp`` with every tiff:Orientation set to 1, at the same length."""
    return re.sub(_ORIENTATION, lambda m: m[1] + m[2] + b"1".rjust(len(m[3]), b"0"), xmp)


def promises(xmp: bytes) -> frozenset[str]:
    """Return what a packet promises, of "gain map", "depth map" and "video"."""
    if not any(sign in xmp for sign in _SIGNS):
        return frozenset()
    found = _Finder(xmp).promises
    # A container has no meaning but its items.
    if any(space.encode() in xmp for space in _PROMISES if not _PROMISES[space]):
        found |= {what for item, what in _ITEMS.items() if b'"' + item in xmp or b">" + item in xmp}
    return frozenset(found - {""})


def without_promises(xmp: bytes) -> bytes:
    """Return ``xmp`` without properties that promise other parts of the file.

    Every other byte stays, and so does a packet that is no well-formed XML.
    """
    if not any(sign in xmp for sign in _SIGNS):
        return xmp
    finder = _Finder(xmp)
    if not finder.complete:
        return xmp
    parts, at = [], 0
    for start, end in sorted(finder.spans):
        if start >= at:
            parts.append(xmp[at:start])
        at = max(at, end)
    return b"".join((*parts, xmp[at:]))


@dataclass(slots=True)
class _Open:
    """An element that is open: its namespaces, and where it begins if it is to be removed."""

    spaces: dict[str, str] = field(default_factory=dict)
    removed_from: int | None = None


class _Finder:
    """Finds the properties in a packet that promise something."""

    def __init__(self, xmp: bytes) -> None:
        self.promises: set[str] = set()
        self.spans: list[tuple[int, int]] = []
        self.complete = False
        self._xmp = xmp
        self._open: list[_Open] = [_Open()]
        self._searched = 0
        from xml.parsers import expat  # loaded when needed

        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        # A document type could declare entities that expand without bound.
        parser.StartDoctypeDeclHandler = self._refuse
        self._parser = parser
        try:
            parser.Parse(xmp.rstrip(b"\0"), True)
            self.complete = True
        except (expat.ExpatError, ValueError):
            pass

    def _refuse(self, *_: object) -> None:
        raise ValueError("document type")

    def _promised(self, name: str, spaces: dict[str, str]) -> str | None:
        """Return what a qualified name promises, "" for a promise without a name, or None."""
        prefix, _, local = name.rpartition(":")
        space = spaces.get(prefix, "")
        if space in _PROMISES and prefix:
            return _PROMISES[space]
        for (other, start), what in _PROPERTIES.items():
            if space == other and local.startswith(start):
                return what
        return None

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        spaces = self._open[-1].spaces
        declared = {
            key.removeprefix("xmlns").removeprefix(":"): value
            for key, value in attributes.items()
            if key == "xmlns" or key.startswith("xmlns:")
        }
        if declared:
            spaces = {**spaces, **declared}
        if len(self._open) > _MAX_DEPTH or len(spaces) > _MAX_NAMESPACES:
            raise ValueError("too deep")
        at = self._parser.CurrentByteIndex
        promised = self._promised(name, spaces)
        self._open.append(_Open(spaces, None if promised is None else at))
        if promised is not None:
            self.promises.add(promised)
            return
        for key, value in attributes.items():
            what = self._promised(key, spaces)
            if key.startswith("xmlns:") and value in _PROMISES:
                self.spans.extend(self._attribute(at, key))  # nothing uses it anymore
            elif what is not None:
                self.promises.add(what)
                self.spans.extend(self._attribute(at, key))

    def _attribute(self, at: int, name: str) -> Iterator[tuple[int, int]]:
        """Yield the place of the attribute ``name`` in the tag at ``at``."""
        pattern = rb"\s+" + re.escape(name.encode()) + rb"\s*=\s*(?:\"[^\"]*\"|'[^']*')"
        end = re.compile(_TAG).match(self._xmp, at)
        self._searched += 0 if end is None else end.end() - at
        if self._searched > _MAX_SEARCHED:
            raise ValueError("too many promises")
        found = None if end is None else re.compile(pattern).search(self._xmp, at, end.end())
        if found is not None:
            yield found.span()

    def _end(self, _: str) -> None:
        element = self._open.pop()
        if element.removed_from is not None:
            tag = re.compile(_TAG).match(self._xmp, element.removed_from)
            if tag is not None and tag[0].endswith(b"/>"):
                end = tag.end()
            else:
                end = self._xmp.find(b">", self._parser.CurrentByteIndex) + 1
            self.spans.append((element.removed_from, end))


_TAG = rb"<(?:[^\"'>]|\"[^\"]*\"|'[^']*')*>"
