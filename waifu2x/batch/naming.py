"""Names the results of a batch: no two share a name, and no input is replaced."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from string import Formatter
from typing import Final, NamedTuple

from .._record import record
from .._text import folded, level_text, natural_key, reason, shown
from ..errors import ArgumentError, OutputExistsError
from ..files.naming import (
    MAX_NAME_BYTES,
    SUFFIX,
    digest,
    name_size,
    shortened_name,
    stem_suffix,
)
from .inputs import Found, with_separator

_FIELDS = ("stem", "ext", "scale", "model", "noise", "parent")

#: Characters that would leave the directory, or that Windows forbids in names.
_UNSAFE = re.compile(r'[/\\:*?"<>|]')

_MAX_TEMPLATE_BYTES = 96

#: An extension that may be added to a stem.
_PLAIN_SUFFIX = re.compile(r"[A-Za-z0-9]{1,16}")

_EXAMPLE = '"{stem}_{scale}x{ext}"'

_Pieces = tuple[tuple[str, str], ...]


@record
class Item:
    """One file of a batch.

    source: the file to read. relative: its path in the kept tree. target: the file to write.
    """

    source: Path
    relative: PurePosixPath
    target: Path


class Targets(NamedTuple):
    """The result of `name_targets`.

    items: the files to process, in the given order.
    results: files left out as results of an earlier run.
    """

    items: tuple[Item, ...]
    results: tuple[Found, ...]


@record
class NameTemplate:
    """A template for the names of results; see `parse`.

    text: the template as given.
    pieces: pairs of a text and the field after it: "stem", "ext" or "parent".
    """

    text: str
    pieces: _Pieces

    @classmethod
    def parse(
        cls, text: str, *, scale: float | None, model: str, noise: float | str | None
    ) -> NameTemplate:
        """Parse a template such as "{stem}_{scale}x{ext}".

        text: contains ``{stem}``, the name of the input without its last extension, and at its end
            ``{ext}``, the extension of the result with its dot. Optional fields are ``{scale}``,
            ``{model}``, ``{noise}`` and ``{parent}``, the name of the input's directory in the kept
            tree, or nothing at its top. ``{{`` and ``}}`` are braces.
        scale, model, noise: the values of these fields, equal for all files; ``scale`` is None if a
            width or height is given instead.

        Raises `ArgumentError` for any other template.
        """
        what = f"name {shown(text)!r}"
        pieces = _parsed(text, what)
        fields = [field for _, field in pieces if field]
        if fields.count("stem") != 1 or fields.count("parent") > 1 or fields.count("ext") != 1:
            raise ArgumentError(
                f"{what} must hold {{stem}} and {{ext}} once, and {{parent}} at most once, "
                f"for example {_EXAMPLE}"
            )
        if pieces[-1][1] != "ext":
            raise ArgumentError(f"{what} must end with {{ext}}, for example {_EXAMPLE}")
        if "scale" in fields and scale is None:
            raise ArgumentError(
                f"{what} holds {{scale}}, but a width or height is given; leave the field out"
            )
        known = {
            "scale": "" if scale is None else f"{scale:.10g}",
            "model": _UNSAFE.sub("_", model),
            "noise": level_text(noise),
        }
        pieces = _joined(pieces, known)
        size = name_size("".join(literal for literal, _ in pieces))
        if size > _MAX_TEMPLATE_BYTES:
            raise ArgumentError(
                f"{what} has {size} bytes in addition to {{stem}}, {{parent}} and {{ext}}; "
                f"{_MAX_TEMPLATE_BYTES} are allowed; shorten it"
            )
        return cls(text, pieces)

    def name(self, stem: str, ext: str, *, parent: str = "", mark: str = "") -> str:
        """The name of one result.

        stem, ext, parent: the values of the fields. mark: added to the stem and never shortened.

        If the name would exceed 255 bytes, the stem, and a long ``parent``, are shortened and get a
        checksum of the full text.
        """
        name = self._filled(stem + mark, ext, parent)
        # UTF-8 has at most four bytes per character.
        if 4 * len(name) > MAX_NAME_BYTES and name_size(name) > MAX_NAME_BYTES:
            room = MAX_NAME_BYTES - name_size(self._filled(mark, ext, ""))
            if any(field == "parent" for _, field in self.pieces):
                parent = shortened_name(parent, room // 2)
                room -= name_size(parent)
            name = self._filled(shortened_name(stem, room) + mark, ext, parent)
        return name

    def _filled(self, stem: str, ext: str, parent: str) -> str:
        values = {"stem": stem, "ext": ext, "parent": parent}
        return "".join([text + values[field] for text, field in self.pieces])


def name_targets(
    found: Iterable[Found],
    out: Path,
    template: NameTemplate | None,
    extension: Callable[[Path], str],
) -> Targets:
    """Name the results of ``found`` in ``out``, in the same tree as the inputs.

    template: None for the rule of `waifu2x.files.naming.stem_suffix`: a result in the folder of its
        input is called ``{stem}_waifu2x{ext}``, any other ``{stem}{ext}``.
    extension: returns the extension, with its dot, of a file's result; called once for each file.

    No two results share a name on a case-insensitive file system, and no result is named like a
    directory of other results. All files whose results would share a name get the extension of the
    input added to the stem: a.png and a.jpg become a_png.png and a_jpg.png. If that is not enough,
    they get a checksum of their relative path. So names depend neither on the order of the files
    nor on the machine.

    A file at the place of another file's result was made by an earlier run and is left out. In a
    chain of such files, the first is an input, the second its result, the third an input again. By
    the rule, a file whose own result would lie next to it and whose stem ends with ``_waifu2x`` is
    left out as well, unless its name was given.

    Raises `OutputExistsError` if a result would replace its own input.
    """
    files = _files(found, out, template, extension)
    inputs = [file for file in files if not file.is_result_by_rule()]
    for file in inputs:
        # Check the plain name, too: an added extension depends on the other files.
        _refuse_own(file, file.name())
    active = inputs
    while True:
        names = _distinct_names(active)
        sources = {file.path: file for file in active}
        followers = {}
        for file, name in zip(active, names, strict=True):
            _refuse_own(file, name)
            follower = sources.get(file.target_path(name))
            if follower is not None:
                followers[file] = follower
        if not followers:
            break
        # Name the remaining files as if the results had never been found.
        results = _results(followers)
        active = [file for file in active if file not in results]
    base = os.fspath(out)
    left = set(active)
    return Targets(
        items=tuple(
            Item(
                file.found.source,
                file.found.relative,
                Path(os.path.join(base, file.directory + name)),  # noqa: PTH118  (faster than Path)
            )
            for file, name in zip(active, names, strict=True)
        ),
        results=tuple(file.found for file in files if file not in left),
    )


# --- templates --------------------------------------------------------------------------------


def _parsed(text: str, what: str) -> _Pieces:
    """Split a template into texts and fields, and check both."""
    fields = ", ".join(f"{{{field}}}" for field in _FIELDS)
    pieces = []
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise ArgumentError(
            f"{what} has a brace outside a field ({reason(error)}); "
            f"the fields are {fields}, and braces themselves are written {{{{ and }}}}"
        ) from error
    for literal, field, spec, conversion in parsed:
        unsafe = _UNSAFE.search(literal)
        if unsafe or ".." in literal:
            raise ArgumentError(
                f"{what} holds {unsafe[0] if unsafe else '..'!r}; "
                "it must be a file name that is allowed everywhere, without directories"
            )
        if any(unicodedata.category(char) == "Cc" for char in literal):
            raise ArgumentError(f"{what} holds a control character; leave it out")
        if field is not None and field not in _FIELDS:
            raise ArgumentError(f"{what}: field {{{shown(field)}}} is unknown; use {fields}")
        if spec or conversion:
            raise ArgumentError(
                f"{what}: field {{{field}}} takes no format; write just {{{field}}}"
            )
        pieces.append((literal, field or ""))
    return tuple(pieces)


def _joined(pieces: _Pieces, known: Mapping[str, str]) -> _Pieces:
    """Replace the fields of ``known`` in ``pieces`` by their values; the last piece is a field."""
    joined = []
    before = ""
    for literal, field in pieces:
        before += literal + known.get(field, "")
        if field and field not in known:
            joined.append((before, field))
            before = ""
    return tuple(joined)


# --- collisions -------------------------------------------------------------------------------

#: The templates of the rule for names, by the text that `stem_suffix` returns.
_BY_RULE: Final = {
    suffix: NameTemplate.parse(f"{{stem}}{suffix}{{ext}}", scale=None, model="", noise=None)
    for suffix in ("", SUFFIX)
}


@record(eq=False)
class _File:
    """A file to be named.

    path: the absolute source. directory: its path in the tree, "" or with "/" at its end; ``place``
    is its case-folded form, ``parent`` its last component. stem, suffix: of the file's name; the
    suffix without its dot. extension: of the result. template: for the name of the result.
    folder: of the result, absolute and with "/" at its end. identity: a unique text.
    """

    found: Found
    path: str
    directory: str
    place: str
    parent: str
    stem: str
    suffix: str
    extension: str
    template: NameTemplate
    folder: str
    identity: str

    def is_result_by_rule(self) -> bool:
        """Whether the file is named like a result in the folder of its input."""
        own = self.template is _BY_RULE[SUFFIX] and not self.found.named
        return own and self.stem.endswith(SUFFIX)

    def name(self, mark: str = "") -> str:
        """The name of the result, with ``mark`` added to the stem."""
        return self.template.name(self.stem, self.extension, parent=self.parent, mark=mark)

    def target_path(self, name: str) -> str:
        """The absolute path of the result."""
        return os.path.normcase(self.folder + name)

    def mark(self, level: int) -> str:
        """The addition to the stem: nothing at level 0, then the suffix, then digits."""
        mark = ""
        if level and _PLAIN_SUFFIX.fullmatch(self.suffix):
            mark = f"_{self.suffix}"
            level -= 1
        if level:
            # After 64 digits, other checksums follow: a directory may have any of these names.
            more = max(0, level - 4)
            digits = digest(self.identity + "\0" * more)[: 8 << min(level - 1, 3)]
            mark += f"~{digits}"
        return mark


def _files(
    found: Iterable[Found],
    out: Path,
    template: NameTemplate | None,
    extension: Callable[[Path], str],
) -> list[_File]:
    """Prepare each file for naming; duplicates are dropped."""
    unique: dict[str, Found] = {}
    for each in found:
        path = os.path.normcase(os.path.abspath(each.source))  # noqa: PTH100  (keeps links)
        unique.setdefault(path, each)
    suffix_for = cache(stem_suffix)
    root = with_separator(os.path.normcase(os.path.abspath(out)))  # noqa: PTH100  (keeps links)
    alike = Counter(str(each.relative) for each in unique.values())
    places: dict[str, str] = {}
    files = []
    for path, each in unique.items():
        suffix = extension(each.source)
        if not re.fullmatch(r"\.[A-Za-z0-9]{1,16}", suffix):
            raise ArgumentError(f"extension {suffix!r} is not a dot with letters and digits")
        relative = str(each.relative)
        above, slash, name = relative.rpartition("/")
        if above not in places:
            places[above] = folded(above + slash)
        stem, own_suffix = _split(name)
        # The input's own folder keeps the name that leads to the input, even if `out` is a link.
        folder = with_separator(os.path.dirname(path))  # noqa: PTH120  (faster than Path)
        added = suffix_for(folder, root + above)
        files.append(
            _File(
                found=each,
                path=path,
                directory=above + slash,
                place=places[above],
                parent=above.rpartition("/")[2],
                stem=stem,
                suffix=own_suffix,
                extension=suffix,
                template=template or _BY_RULE[added],
                folder=folder if added else root + above + slash,
                identity=relative if alike[relative] == 1 else f"{relative}\0{path}",
            )
        )
    return files


def _split(name: str) -> tuple[str, str]:
    """The stem, and the extension without its dot; ".hidden" and "a." have no extension."""
    stem, _, suffix = name.rpartition(".")
    return (stem, suffix) if stem.strip(".") and suffix else (name, "")


def _distinct_names(files: Sequence[_File]) -> list[str]:
    """A distinct name for each file.

    Works in rounds: all files whose names collide get longer names at once, so the order of the
    files does not matter. A contested name stays unused, so its meaning does not change with other
    files.
    """
    taken = {
        place[: match.start()]
        for place in {file.place for file in files}
        for match in re.finditer("/", place)
    }
    levels = [0] * len(files)
    names = [""] * len(files)
    keys = [""] * len(files)
    holders: defaultdict[str, list[int]] = defaultdict(list)
    moved: Collection[int] = range(len(files))
    while moved:
        for index in moved:
            file = files[index]
            names[index] = file.name(file.mark(levels[index]))
            keys[index] = file.place + folded(names[index])
            holders[keys[index]].append(index)
        crowded = {
            key for key in {keys[index] for index in moved} if key in taken or len(holders[key]) > 1
        }
        taken |= crowded
        moved = [index for key in crowded for index in holders.pop(key)]
        for index in moved:
            levels[index] += 1
    return names


# --- inputs that are results ------------------------------------------------------------------


def _refuse_own(file: _File, name: str) -> None:
    # Without case: A.PNG and A.png are one file on some systems.
    if folded(file.target_path(name)) == folded(file.path):
        raise OutputExistsError(
            f"the result of {shown(file.found.source)} would replace it, and an input is never "
            f"replaced; choose another output directory, or `name='{{stem}}{SUFFIX}{{ext}}'`"
        )


def _results(followers: Mapping[_File, _File]) -> set[_File]:
    """The files that are results, given the file at the place of each key's result.

    Values are distinct, so the files form chains or cycles.
    """
    results = set()
    passed = set()
    followed = set(followers.values())
    firsts = [file for file in followers if file not in followed]
    cycles = sorted(followed, key=lambda file: (natural_key(file.identity), file.identity))
    for first in (*firsts, *cycles):
        file: _File | None = first
        is_result = False
        while file is not None and file not in passed:
            passed.add(file)
            if is_result:
                results.add(file)
            file, is_result = followers.get(file), not is_result
    return results
