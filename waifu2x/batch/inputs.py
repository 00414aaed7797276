"""Finds the files of a batch: expands files, directories, patterns and lists to one list."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import translate
from functools import cache
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path, PurePath, PurePosixPath
from typing import BinaryIO, Final, NamedTuple, Protocol, TypeVar

from .. import codec
from .._record import record
from .._text import folded, natural_key, reason, shown
from ..errors import ArgumentError, DecodeError
from ..video.containers import VIDEO_SUFFIXES, Y4M_SUFFIX

#: Extensions of videos that also belong to files of other kinds, such as TypeScript.
_AMBIGUOUS: Final = frozenset({".ts", ".rm", ".nut", ".qt"})


@cache
def picture_suffixes() -> frozenset[str]:
    """Extensions of the files to select in directories, in lower case; of videos with PyAV only."""
    videos = VIDEO_SUFFIXES - _AMBIGUOUS if find_spec("av") is not None else frozenset()
    return codec.FOLDER_SUFFIXES | {".cbz", Y4M_SUFFIX} | videos


_SEPARATORS = os.sep + (os.altsep or "")
_WILD = re.compile(r"[*?]|\[[^\]]+\]")

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")

#: The extension at the end of a pattern.
_OWN_SUFFIX = re.compile(r"\.[^*?\[\].]+\Z")


@record
class Found:
    """One file of a batch.

    source: the file to read.
    relative: its path in the kept tree, without ".."; decides the result's name and the shard.
    named: whether its own name was given, and not a directory or a pattern.
    """

    source: Path
    relative: PurePosixPath
    named: bool = False


@record
class Listing:
    """The result of `find`.

    found: the files, each once, including named files that do not exist.
    ignored: number of files in directories that are not pictures by their names.
    unreadable: unreadable directories below an input and dangling links, with the reason.
    """

    found: tuple[Found, ...]
    ignored: int
    unreadable: tuple[tuple[Path, str], ...]


def find(
    inputs: Sequence[str | os.PathLike[str]],
    *,
    recursive: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    leave_out: Path | None = None,
    stdin: BinaryIO | None = None,
    may_be_empty: bool = False,
) -> Listing:
    """Find the files of ``inputs``, in the order of the inputs, each in natural order.

    inputs: each of them one of these.

        - A directory: the files in it with extensions of pictures. With several directories, the
          kept tree begins with their names.
        - A pattern with ``*``, ``?``, ``[...]`` or, for any number of directories, ``**``: its
          matches, as in a shell. Without an extension at its end, only files with extensions of
          pictures. The kept tree begins after the part without wildcards.
        - ``@list.txt`` or ``@-``: a file, or ``stdin``, with one file or directory per line, in
          UTF-8. Empty lines and lines that begin with ``#`` are ignored. The whole path is kept,
          from after the last "..". A path object, or the name of an existing file, is no list.
        - Anything else is a file, which need not exist.

    recursive: search the subdirectories of directories.
    include: patterns of files to select in directories and by patterns, instead of the extensions
        of pictures. Matched without case against the name, or, if they hold a "/", against the path
        below the input; ``**`` matches any number of directories.
    exclude: patterns of files and directories to leave out.
    leave_out: a directory whose files are left out, unless it is the only input or contains the
        input. So `*` works with the output directory in the current one.
    may_be_empty: allow a directory without any file to select.

    Hidden files and directories, with a dot at the start of their names, are left out, as are
    links to directories and special files such as pipes. Named files are always taken, also those
    named in a list.

    Raises `ArgumentError` without inputs, and `DecodeError` for a URL and for a directory, pattern
    or list that is missing, unreadable or empty.
    """
    search = _Search(
        (_step("**" if recursive else "*", hidden=False),),
        _Patterns(include, "include"),
        _Patterns(exclude, "exclude"),
        None if leave_out is None else _status(os.fspath(leave_out)),
        may_be_empty,
    )
    kinds = [_recognized(given) for given in inputs]
    if not kinds:
        raise ArgumentError("there is no input; name files, directories, patterns or an @list")
    kinds = [
        each for each in kinds if each[1] != "directory" or not search.leaves_out(each[0])
    ] or kinds
    directories = {_absolute(path) for path, kind in kinds if kind == "directory"}
    for path, kind in kinds:
        if kind == "list":
            search.add_list(path, stdin)
        elif kind == "pattern":
            search.add_pattern(path)
        elif kind == "directory":
            name = Path(_absolute(path)).name if len(directories) > 1 else ""
            search.add_directory(path, f"{name}/" if name else "")
        else:
            search.add_file(path, PurePosixPath(PurePath(path).name))
    return search.listing()


class _Placed(Protocol):
    @property
    def relative(self) -> PurePosixPath: ...


_T = TypeVar("_T", bound=_Placed)


def shard(files: Iterable[_T], index: int, count: int) -> list[_T]:
    """Select the files of shard ``index`` (from 1) of ``count``.

    The shard of a file depends only on its relative path, not on other files or the machine. Names
    of results do depend on other files, so files are named before they are sharded.

    Raises `ArgumentError` for an index that is not from 1 to ``count``.
    """
    if not 1 <= index <= count:
        raise ArgumentError(f"shard is {index}/{count}; {_SHARDS}")
    return [each for each in files if _bucket(each.relative) % count == index - 1]


def _bucket(relative: PurePosixPath) -> int:
    # macOS may return the same name decomposed; bytes that are not UTF-8 are lone surrogates.
    text = unicodedata.normalize("NFC", str(relative)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


_SHARDS = "it must be K/N, part K of N, with K from 1 to N, for example 3/16"


def parse_shard(text: str) -> tuple[int, int]:
    """Parse "3/16" as two numbers; raises `ArgumentError` for anything else."""
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    index, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= index <= count:
        raise ArgumentError(f"shard is {shown(text)!r}; {_SHARDS}")
    return index, count


# --- patterns ---------------------------------------------------------------------------------


class _Step(NamedTuple):
    """The pattern for one component of a path.

    deep: matches any number of directories. hidden: matches names that begin with a dot.
    """

    regex: re.Pattern[str]
    deep: bool
    hidden: bool

    def matches(self, name: str) -> bool:
        return (self.hidden or not name.startswith(".")) and self.regex.match(name) is not None


_Steps = tuple[_Step, ...]

#: The state of a match: the steps that the next component of a path may match.
_States = tuple[int, ...]


def _step(text: str, *, hidden: bool) -> _Step:
    return _Step(re.compile(translate(text)), text == "**", hidden)


def _settled(steps: _Steps, states: Iterable[int]) -> _States:
    """``states`` and the states that follow because ``**`` may match nothing."""
    settled = set()
    for state in states:
        settled.add(state)
        while steps[state].deep and state + 1 < len(steps):
            state += 1
            settled.add(state)
    return tuple(sorted(settled))


def _entered(steps: _Steps, states: _States, name: str) -> _States:
    """The states after the directory ``name``."""
    after = []
    for state in states:
        step = steps[state]
        if step.matches(name):
            if step.deep:
                after.append(state)
            elif state + 1 < len(steps):
                after.append(state + 1)
    return _settled(steps, after)


def _final(steps: _Steps, states: _States) -> list[_Step]:
    """The last step if it is among ``states``: it selects files here."""
    return [steps[state] for state in states if state + 1 == len(steps)]


class _Patterns:
    """Include or exclude patterns, matched along the tree."""

    def __init__(self, patterns: Sequence[str], what: str) -> None:
        self._patterns: list[_Steps] = []
        for pattern in patterns:
            text = folded(pattern.replace(os.sep, "/"))
            parts = [part for part in text.split("/") if part not in ("", ".")]
            if not parts:
                raise ArgumentError(
                    f"{what} {shown(pattern)!r} matches no name; "
                    'it must be a pattern such as "*.png" or "drafts/**"'
                )
            if "/" not in text:
                parts.insert(0, "**")  # a name is matched at any depth
            elif text.endswith("/"):
                parts.append("**")
            self._patterns.append(tuple(_step(part, hidden=True) for part in parts))

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def start(self, prefix: str) -> tuple[_States, ...]:
        """The states at the top of an input that is kept as ``prefix``, "" or "a/b/"."""
        starts = []
        for steps in self._patterns:
            # With and without the prefix: "drafts/**" means the same with several directories.
            states = top = _settled(steps, [0])
            for part in filter(None, folded(prefix).split("/")):
                states = _entered(steps, states, part)
            starts.append(_settled(steps, {*top, *states} if prefix else top))
        return tuple(starts)

    def enter(self, states: tuple[_States, ...], name: str) -> tuple[_States, ...]:
        """The states after the directory ``name``."""
        return tuple(
            _entered(steps, each, name) for steps, each in zip(self._patterns, states, strict=True)
        )

    def here(self, states: tuple[_States, ...]) -> list[_Step]:
        """The steps that select names here."""
        return [
            step
            for steps, each in zip(self._patterns, states, strict=True)
            for step in _final(steps, each)
        ]

    def match_all(self, states: tuple[_States, ...]) -> bool:
        """Whether everything here is selected, at any depth."""
        return any(step.deep for step in self.here(states))


# --- the search -------------------------------------------------------------------------------


class _Directory(NamedTuple):
    """A directory to search.

    path: with a separator at its end, or "" for the current directory. absolute: the absolute path.
    relative: its path in the kept tree, "" or with "/" at its end.
    states, include, exclude: the states of the patterns.
    """

    path: str
    absolute: str
    relative: str
    states: _States
    include: tuple[_States, ...]
    exclude: tuple[_States, ...]


class _Entry(NamedTuple):
    """A file, or a directory to search; sorted by the first two fields."""

    key: list[tuple[int, str]]
    name: str
    directory: _Directory | None


@dataclass(slots=True)
class _Tally:
    """Counts for one directory or pattern, for the message if nothing was found.

    taken: files selected. passed: files that are not pictures by their names.
    closed: whether directories were not searched.
    unreadable: the first unreadable entry. failure: why the directory itself cannot be read.
    """

    taken: int = 0
    passed: int = 0
    closed: bool = False
    unreadable: str = ""
    failure: str | None = None


@dataclass(slots=True)
class _Search:
    """Collects the files of all inputs, each under its absolute path.

    steps: what to select in a directory that is an input.
    """

    steps: _Steps
    include: _Patterns
    exclude: _Patterns
    leave_out: os.stat_result | None
    may_be_empty: bool
    found: dict[str, Found] = field(default_factory=dict)
    ignored: set[str] = field(default_factory=set)
    unreadable: dict[str, tuple[Path, str]] = field(default_factory=dict)

    def listing(self) -> Listing:
        return Listing(
            found=tuple(self.found.values()),
            ignored=len(self.ignored - self.found.keys()),
            unreadable=tuple(self.unreadable.values()),
        )

    def leaves_out(self, path: str) -> bool:
        """Whether ``path`` is the directory to leave out, under any name."""
        if self.leave_out is None:
            return False
        status = _status(path)
        return status is not None and os.path.samestat(status, self.leave_out)

    def add_file(self, path: str, relative: PurePosixPath) -> None:
        """Add a named file."""
        if not relative.name or relative.name == "..":
            raise DecodeError(f"input {shown(path)} does not exist; name a file or a directory")
        self._add(_absolute(path), path, relative, named=True)

    def add_directory(self, path: str, prefix: str) -> None:
        tally = self._walk(path, prefix, self.steps, any_suffix=False)
        if tally.failure is not None:
            raise DecodeError(f"directory {shown(path)} cannot be read: {tally.failure}")
        if not tally.taken and not self.may_be_empty:
            more = ""
            if tally.closed:
                more = "; the directories in it are only searched with `recursive=True`"
            raise DecodeError(f"directory {shown(path)} holds no {self._wanted(tally)}{more}")

    def add_pattern(self, pattern: str) -> None:
        base, parts = _split_pattern(pattern)
        steps = tuple(_step(os.path.normcase(part), hidden=part.startswith(".")) for part in parts)
        own_suffix = _OWN_SUFFIX.search(parts[-1]) is not None
        tally = self._walk(base, "", steps, any_suffix=own_suffix)
        if tally.failure is not None:
            raise DecodeError(
                f"pattern {shown(pattern)}: directory {shown(Path(base))} "
                f"cannot be read: {tally.failure}"
            )
        if not tally.taken:
            raise DecodeError(f"pattern {shown(pattern)} matches no {self._wanted(tally)}")

    def _wanted(self, tally: _Tally) -> str:
        """Describe what an input has none of, and what was found instead."""
        what = "file" if self.include else "picture"
        if self.include or self.exclude:
            what += " that include and exclude let through"
        if tally.passed:
            files = "1 other file" if tally.passed == 1 else f"{tally.passed:,} other files"
            what += f" (it has {files}; `include=` takes files by other names)"
        return what + (tally.unreadable and f"; {tally.unreadable}")

    def add_list(self, argument: str, stdin: BinaryIO | None) -> None:
        name = f"list {shown(argument)}"
        lines = taken = 0
        for number, line in _lines(_list_text(argument, stdin, name), name):
            lines += 1
            status = _status(line)
            if status is None:
                refuse_url(line)
            relative = _kept(line)
            if status is not None and stat.S_ISDIR(status.st_mode):
                prefix = f"{relative}/" if relative.name else ""
                tally = self._walk(line, prefix, self.steps, any_suffix=False)
                taken += tally.taken
                if tally.failure is not None:
                    self.unreadable.setdefault(_absolute(line), (Path(line), tally.failure))
            elif line[-1] in _SEPARATORS or not relative.name:
                raise DecodeError(
                    f"{name}, line {number}: directory {shown(line)} does not exist; "
                    "correct the line or take it out"
                )
            else:
                taken += 1
                self._add(_absolute(line), line, relative, named=True)
        if not lines:
            raise DecodeError(f"{name} names no files; it must have one path on each line")
        if not taken:
            raise DecodeError(
                f"{name} names only directories, and no pictures can be found in them"
            )

    def _add(
        self, absolute: str, path: str, relative: PurePosixPath, *, named: bool = False
    ) -> None:
        found = self.found.setdefault(absolute, Found(Path(path), relative, named))
        if named and not found.named:
            self.found[absolute] = replace(found, named=True)

    def _walk(self, base: str, prefix: str, steps: _Steps, *, any_suffix: bool) -> _Tally:
        """Add the files that ``steps`` match below ``base``, in natural order.

        prefix: the start of the relative paths.
        any_suffix: select files that are not pictures by their names, too.
        """
        tally = _Tally()
        top = _Directory(
            path=with_separator(base) if base else "",
            absolute=with_separator(_absolute(base or os.curdir)),
            relative=prefix,
            states=_settled(steps, [0]),
            include=self.include.start(prefix),
            exclude=self.exclude.start(prefix),
        )
        if self.exclude.match_all(top.exclude):
            return tally
        try:
            levels = [(top, iter(self._entries(top, steps, tally, any_suffix)))]
        except (OSError, ValueError) as error:
            tally.failure = reason(error)
            return tally
        while levels:
            place, entries = levels[-1]
            entry = next(entries, None)
            if entry is None:
                levels.pop()
            elif entry.directory is None:
                tally.taken += 1
                self._add(
                    os.path.normcase(place.absolute + entry.name),
                    place.path + entry.name,
                    PurePosixPath(place.relative + entry.name),
                )
            else:
                try:
                    below = self._entries(entry.directory, steps, tally, any_suffix)
                except OSError as error:
                    self._note(entry.directory.path, entry.directory.absolute, error, tally)
                else:
                    levels.append((entry.directory, iter(below)))
        return tally

    def _entries(
        self, place: _Directory, steps: _Steps, tally: _Tally, any_suffix: bool
    ) -> list[_Entry]:
        """The files to add and directories to search in a directory, in natural order."""
        final = _final(steps, place.states)
        include = self.include.here(place.include)
        exclude = self.exclude.here(place.exclude)
        filtered = bool(self.include or self.exclude)
        chosen = []
        with os.scandir(place.path or os.curdir) as entries:
            for entry in entries:
                name = entry.name
                own = os.path.normcase(name)
                plain = folded(name) if filtered else name
                try:
                    if entry.is_dir(follow_symlinks=False):
                        below = self._below(entry, place, steps, own, plain, tally)
                        if below is not None and not any(step.matches(plain) for step in exclude):
                            chosen.append(_Entry(natural_key(name), name, below))
                        continue
                    if not any(step.matches(own) for step in final):
                        continue
                    if any(step.matches(plain) for step in exclude):
                        continue
                    if self.include:
                        wanted = any(step.matches(plain) for step in include)
                    elif any_suffix:
                        wanted = True
                    else:
                        stem, dot, suffix = name.rpartition(".")
                        wanted = bool(stem) and (dot + suffix).casefold() in picture_suffixes()
                    if entry.is_file():
                        if wanted:
                            chosen.append(_Entry(natural_key(name), name, None))
                        elif not self.include:
                            tally.passed += 1
                            self.ignored.add(os.path.normcase(place.absolute + name))
                    elif wanted and entry.is_symlink():
                        entry.stat()  # raises for a dangling link
                except OSError as error:
                    self._note(place.path + name, place.absolute + name, error, tally)
        chosen.sort()
        return chosen

    def _below(
        self,
        entry: os.DirEntry[str],
        place: _Directory,
        steps: _Steps,
        own: str,
        plain: str,
        tally: _Tally,
    ) -> _Directory | None:
        """The directory ``entry`` to search, or None if nothing in it can match."""
        states = _entered(steps, place.states, own)
        if not states:
            tally.closed |= not own.startswith(".")
            return None
        # A link to a directory on Windows; detected since Python 3.12.
        if getattr(entry, "is_junction", bool)():
            return None
        exclude = self.exclude.enter(place.exclude, plain)
        if self.exclude.match_all(exclude):
            return None
        path = place.path + entry.name
        if self.leaves_out(path):
            return None
        return _Directory(
            path=path + os.sep,
            absolute=place.absolute + entry.name + os.sep,
            relative=f"{place.relative}{entry.name}/",
            states=states,
            include=self.include.enter(place.include, plain),
            exclude=exclude,
        )

    def _note(self, path: str, absolute: str, error: OSError, tally: _Tally) -> None:
        """Record an unreadable entry."""
        why = reason(error)
        tally.unreadable = tally.unreadable or f"{shown(Path(path))} cannot be read: {why}"
        self.unreadable.setdefault(os.path.normcase(absolute), (Path(path), why))


# --- inputs and lists -------------------------------------------------------------------------


def _recognized(given: str | os.PathLike[str]) -> tuple[str, str]:
    """An input as text, and its kind: "list", "directory", "pattern" or "file"."""
    path = os.fspath(given)
    if not path or "\0" in path:
        raise ArgumentError(
            f"input {shown(path)!r} is not a path; name a file, a directory, a pattern or an @list"
        )
    status = _status(path)
    if status is None and isinstance(given, str) and path.startswith("@"):
        return path, "list"
    if status is None:
        refuse_url(path)
    else:
        return path, "directory" if stat.S_ISDIR(status.st_mode) else "file"
    if path[-1] in _SEPARATORS:
        if os.path.lexists(path.rstrip(_SEPARATORS)):
            raise DecodeError(
                f"input {shown(path)} is not a directory; leave out the {path[-1]} at the end"
            )
        raise DecodeError(f"input {shown(path)} does not exist; name a directory that does")
    return path, "pattern" if is_pattern(path) else "file"


def is_pattern(path: str) -> bool:
    """Whether ``path`` is a pattern and not the name of a file.

    A name with brackets, such as ``[Group] page.png``, is a pattern only if it matches a file.
    """
    if os.path.lexists(path) or not any(map(_WILD.search, _split_pattern(path)[1])):
        return False
    if not {"*", "?"}.isdisjoint(path):
        return True
    import glob  # loaded when needed

    return bool(glob.glob(path))  # noqa: PTH207


def refuse_url(path: str) -> None:
    """Raise `DecodeError` for a name that is the address of a file on the network."""
    if _URL.match(path):
        raise DecodeError(f"{shown(path)} is an address on the network; download it first")


def _split_pattern(pattern: str) -> tuple[str, list[str]]:
    """The directory in which to search a pattern, "" for the current one, and the other components.

    A component that exists literally is not a wildcard: "[Group] Title/*.png" works.
    """
    drive, rest = os.path.splitdrive(pattern)
    parts = re.split(f"([{re.escape(_SEPARATORS)}])", rest)
    base = drive
    while len(parts) > 1:
        longer = base + parts[0]
        if _WILD.search(parts[0]) and not os.path.lexists(longer):
            break
        base = longer + parts[1]
        del parts[:2]
    return base, [part for part in parts[::2] if part not in ("", os.curdir)]


def _list_text(argument: str, stdin: BinaryIO | None, name: str) -> bytes:
    try:
        if argument == "@-":
            if stdin is None:
                raise DecodeError(f"{name}: there is no standard input here; name a file")
            return stdin.read()
        return Path(argument[1:]).read_bytes()
    except (OSError, ValueError) as error:
        raise DecodeError(
            f"{name} cannot be read: {reason(error)}; "
            f"a file of this name is given as ./{shown(argument)}"
        ) from error


def _lines(data: bytes, name: str) -> Iterator[tuple[int, str]]:
    """Yield the paths in a list with their line numbers."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DecodeError(f"{name} is UTF-16; save it as UTF-8, one path on each line")
    if b"\0" in data:
        raise DecodeError(
            f"{name} holds NUL characters; it must be text in UTF-8, one path on each line"
        )
    # Not splitlines(): names may contain its other line separators.
    text = data.decode("utf-8-sig", "surrogateescape")
    for number, line in enumerate(text.split("\n"), 1):
        path = line.removesuffix("\r")
        if path.strip() and not path.startswith("#"):
            yield number, path


def _kept(line: str) -> PurePosixPath:
    """The kept part of a path in a list: without its anchor, from after the last ".."."""
    path = PurePath(line)
    parts = path.parts[1:] if path.anchor else path.parts
    kept = list(takewhile(lambda part: part != os.pardir, reversed(parts)))
    return PurePosixPath(*reversed(kept))


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116  (faster for tens of thousands of lines)
    except (OSError, ValueError):
        return None


def _absolute(path: str) -> str:
    return os.path.normcase(os.path.abspath(path))  # noqa: PTH100  (Path keeps "..")


def with_separator(path: str) -> str:
    """Add a separator to the end of ``path`` unless it has one."""
    return path if path[-1] in _SEPARATORS else path + os.sep
