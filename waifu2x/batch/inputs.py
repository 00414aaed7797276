"""Which files a batch is made of: files, directories, patterns and lists, as one list of files."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path, PurePath, PurePosixPath
from typing import BinaryIO, NamedTuple, Protocol, TypeVar

from .. import codec
from .._text import folded, natural_key, reason, shown
from ..errors import ArgumentError

#: Extensions of the files that are taken in directories, in lower case.
PICTURE_SUFFIXES = codec.FOLDER_SUFFIXES | {".cbz"}

_SEPARATORS = os.sep + (os.altsep or "")
_WILD = re.compile(r"[*?]|\[[^\]]+\]")

#: The end of a pattern that says which extension is meant.
_OWN_SUFFIX = re.compile(r"\.[^*?\[\].]+\Z")


@dataclass(frozen=True, slots=True)
class Found:
    """One file of a batch.

    source: the file to read.
    relative: its place in the tree that is kept, without ".."; results are named by it and shards
        chosen.
    """

    source: Path
    relative: PurePosixPath


@dataclass(frozen=True, slots=True)
class Listing:
    """What `find` has found.

    found: the files, each once. Those that were named and do not exist are among them.
    ignored: how many files in directories are no pictures by their names.
    unreadable: directories below an input that cannot be read and links that lead nowhere, with
        the reason.
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
) -> Listing:
    """The files that ``inputs`` stand for, in their order, and within each in natural order.

    inputs: each of them one of these.

        - A directory: the files in it whose names are those of pictures. If there are several
          directories, the tree that is kept begins with their own names.
        - A pattern with ``*``, ``?``, ``[...]`` or, for any number of directories, ``**``: its
          matches, as in a shell. If it does not end in an extension, only those that are pictures
          by their names. The tree that is kept begins behind the part without wildcards.
        - ``@list.txt`` or ``@-``: a file, or ``stdin``, that names a file or directory on each
          line, in UTF-8; empty lines and those that begin with ``#`` do not count. The whole path
          is kept, from behind the last "..". A path object is never a list.
        - Anything else is a file, which need not exist.

    recursive: take the directories in a directory too.
    include: patterns of the files to take in directories and by patterns, instead of those with the
        extensions of pictures. They are matched without regard to case, against the name, or, if
        there is a "/" in them, against the path below the input; ``**`` stands for directories.
    exclude: patterns of files and directories to pass over there.
    leave_out: a directory in which nothing is found, unless it is the only input or the input lies
        in it. So `*` and the output directory in it may be the inputs.

    Hidden files and directories, whose names begin with a dot, are passed over, as are links to
    directories and what is no file (pipes, devices). Files that are named, by themselves or in a
    list, are taken whatever they are.

    Raises ArgumentError for an input other than a file that does not exist, cannot be read or
    stands for nothing.
    """
    search = _Search(
        recursive,
        _Patterns(include, "include"),
        _Patterns(exclude, "exclude"),
        None if leave_out is None else _status(os.fspath(leave_out)),
    )
    kinds = [_recognized(given) for given in inputs]
    if not kinds:
        raise ArgumentError("there is no input; name files, directories, patterns or an @list")
    kinds = [
        one for one in kinds if one[1] != "directory" or not search.leaves_out(one[0])
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
    """Those of ``files`` that are in shard ``index`` (from 1) of ``count``.

    Which shard a file is in depends on its relative path alone: not on the other files, nor on the
    machine. What a result is called does depend on the other files, so names come first.

    Raises ArgumentError for an index that is not from 1 to ``count``.
    """
    if not 1 <= index <= count:
        raise ArgumentError(f"shard is {index}/{count}; {_SHARDS}")
    return [one for one in files if _bucket(one.relative) % count == index - 1]


def _bucket(relative: PurePosixPath) -> int:
    # macOS may hand out the same name decomposed; bytes that are not UTF-8 are lone surrogates.
    text = unicodedata.normalize("NFC", str(relative)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


_SHARDS = "it must be K/N, part K of N, with K from 1 to N, for example 3/16"


def parse_shard(text: str) -> tuple[int, int]:
    """The numbers in "3/16"; raises ArgumentError for anything else."""
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    index, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= index <= count:
        raise ArgumentError(f"shard is {shown(text)!r}; {_SHARDS}")
    return index, count


# --- patterns ---------------------------------------------------------------------------------


class _Step(NamedTuple):
    """What a pattern says about one part of a path.

    deep: it stands for any number of directories. hidden: it may take names with a dot in front.
    """

    regex: re.Pattern[str]
    deep: bool
    hidden: bool

    def takes(self, name: str) -> bool:
        return (self.hidden or not name.startswith(".")) and self.regex.match(name) is not None


_Steps = tuple[_Step, ...]

#: Where one is on the way through a pattern: the steps that the next part of a path may be.
_States = tuple[int, ...]


def _step(text: str, *, hidden: bool) -> _Step:
    return _Step(re.compile(translate(text)), text == "**", hidden)


_ANY = _step("*", hidden=False)
_ANY_DEPTH = _step("**", hidden=False)


def _settled(steps: _Steps, states: Iterable[int]) -> _States:
    """``states``, and those reached because ``**`` may stand for nothing."""
    settled = set()
    for state in states:
        settled.add(state)
        while steps[state].deep and state + 1 < len(steps):
            state += 1
            settled.add(state)
    return tuple(sorted(settled))


def _entered(steps: _Steps, states: _States, name: str) -> _States:
    """Where one is in the directory ``name``."""
    after = []
    for state in states:
        step = steps[state]
        if step.takes(name):
            if step.deep:
                after.append(state)
            elif state + 1 < len(steps):
                after.append(state + 1)
    return _settled(steps, after)


def _final(steps: _Steps, states: _States) -> list[_Step]:
    """What takes a file here: the last step, if one is there."""
    return [steps[state] for state in states if state + 1 == len(steps)]


class _Patterns:
    """Include or exclude patterns, of which those with a "/" are followed down the tree."""

    def __init__(self, patterns: Sequence[str], what: str) -> None:
        self.names: list[_Step] = []
        self.paths: list[_Steps] = []
        for pattern in patterns:
            text = folded(pattern.replace(os.sep, "/"))
            parts = [part for part in text.split("/") if part not in ("", ".")]
            if "/" in text and parts:
                if text.endswith("/"):
                    parts.append("**")
                self.paths.append(tuple(_step(part, hidden=True) for part in parts))
            elif parts:
                self.names.append(_step(text, hidden=True))
            else:
                raise ArgumentError(
                    f"{what} {shown(pattern)!r} matches no name; "
                    'it must be a pattern such as "*.png" or "drafts/**"'
                )

    def __bool__(self) -> bool:
        return bool(self.names or self.paths)

    def start(self, prefix: str) -> tuple[_States, ...]:
        """Where one is at the top of an input that is kept as ``prefix``, "" or "a/b/"."""
        starts = []
        for steps in self.paths:
            # With the prefix and without it: "drafts/**" means the same beside another directory.
            states = top = _settled(steps, [0])
            for part in filter(None, folded(prefix).split("/")):
                states = _entered(steps, states, part)
            starts.append(_settled(steps, {*top, *states} if prefix else top))
        return tuple(starts)

    def enter(self, states: tuple[_States, ...], name: str) -> tuple[_States, ...]:
        """Where one is in the directory ``name``."""
        return tuple(
            _entered(steps, each, name) for steps, each in zip(self.paths, states, strict=True)
        )

    def here(self, states: tuple[_States, ...]) -> list[_Step]:
        """What takes a name here."""
        finals = [_final(steps, each) for steps, each in zip(self.paths, states, strict=True)]
        return [*self.names, *(step for final in finals for step in final)]

    def take_all(self, states: tuple[_States, ...]) -> bool:
        """Whether everything here is taken, however deep."""
        return any(step.deep for step in self.here(states))


# --- the search -------------------------------------------------------------------------------


class _Directory(NamedTuple):
    """A directory to search.

    path: with a separator at its end, or "" for the current one. absolute: the same, absolute.
    relative: its place in the tree that is kept, "" or with "/" at its end.
    states, include, exclude: how far the patterns have been followed.
    """

    path: str
    absolute: str
    relative: str
    states: _States
    include: tuple[_States, ...]
    exclude: tuple[_States, ...]


class _Entry(NamedTuple):
    """A file, or a directory to search, in an order that only looks at the first two."""

    key: list[tuple[int, str]]
    name: str
    directory: _Directory | None


@dataclass(slots=True)
class _Tally:
    """What came out of one directory or pattern, for the message if that is nothing.

    passed: files that are no pictures by their names. closed: there are directories that were not
        searched. unreadable: the first thing that cannot be read. failure: why the directory itself
    cannot be read.
    """

    taken: int = 0
    passed: int = 0
    closed: bool = False
    unreadable: str = ""
    failure: str | None = None


class _Search:
    """Gathers what the inputs stand for."""

    def __init__(
        self,
        recursive: bool,
        include: _Patterns,
        exclude: _Patterns,
        leave_out: os.stat_result | None,
    ) -> None:
        self._steps = (_ANY_DEPTH if recursive else _ANY,)
        self._include = include
        self._exclude = exclude
        self._leave_out = leave_out
        self._found: list[Found] = []
        self._seen: set[str] = set()
        self._ignored: set[str] = set()
        self._unreadable: dict[str, tuple[Path, str]] = {}

    def listing(self) -> Listing:
        return Listing(
            found=tuple(self._found),
            ignored=len(self._ignored - self._seen),
            unreadable=tuple(self._unreadable.values()),
        )

    def leaves_out(self, path: str) -> bool:
        """Whether the directory ``path`` is the one to leave out, by whatever name."""
        if self._leave_out is None:
            return False
        status = _status(path)
        return status is not None and os.path.samestat(status, self._leave_out)

    def add_file(self, path: str, relative: PurePosixPath) -> None:
        """A file that was named."""
        if not relative.name or relative.name == "..":
            raise ArgumentError(f"input {shown(path)} does not exist; name a file or a directory")
        self._add(_absolute(path), path, relative)

    def add_directory(self, path: str, prefix: str) -> None:
        tally = self._walk(path, prefix, self._steps, any_suffix=False)
        if tally.failure is not None:
            raise ArgumentError(f"directory {shown(path)} cannot be read: {tally.failure}")
        if not tally.taken:
            more = ""
            if tally.closed:
                more = "; the directories in it are only searched with --recursive (recursive=True)"
            raise ArgumentError(f"directory {shown(path)} holds no {self._wanted(tally)}{more}")

    def add_pattern(self, pattern: str) -> None:
        base, parts = _split_pattern(pattern)
        steps = tuple(_step(os.path.normcase(part), hidden=part.startswith(".")) for part in parts)
        own_suffix = _OWN_SUFFIX.search(parts[-1]) is not None
        tally = self._walk(base, "", steps, any_suffix=own_suffix)
        if tally.failure is not None:
            raise ArgumentError(
                f"pattern {shown(pattern)}: directory {shown(Path(base))} "
                f"cannot be read: {tally.failure}"
            )
        if not tally.taken:
            raise ArgumentError(f"pattern {shown(pattern)} matches no {self._wanted(tally)}")

    def _wanted(self, tally: _Tally) -> str:
        """What an input has none of, with what was there instead."""
        what = "file" if self._include else "picture"
        if self._include or self._exclude:
            what += " that include and exclude let through"
        if tally.passed:
            files = "1 other file" if tally.passed == 1 else f"{tally.passed:,} other files"
            what += f" (it has {files}; --include (include=) takes files by other names)"
        return what + (tally.unreadable and f"; {tally.unreadable}")

    def add_list(self, argument: str, stdin: BinaryIO | None) -> None:
        name = f"list {shown(argument)}"
        lines = taken = 0
        for number, line in _lines(_list_text(argument, stdin, name), name):
            lines += 1
            status = _status(line)
            relative = _kept(line)
            if status is not None and stat.S_ISDIR(status.st_mode):
                prefix = f"{relative}/" if relative.name else ""
                tally = self._walk(line, prefix, self._steps, any_suffix=False)
                taken += tally.taken
                if tally.failure is not None:
                    self._unreadable.setdefault(_absolute(line), (Path(line), tally.failure))
            elif line[-1] in _SEPARATORS or not relative.name:
                raise ArgumentError(
                    f"{name}, line {number}: directory {shown(line)} does not exist; "
                    "correct the line or take it out"
                )
            else:
                taken += 1
                self._add(_absolute(line), line, relative)
        if not lines:
            raise ArgumentError(f"{name} names no files; it must have one path on each line")
        if not taken:
            raise ArgumentError(
                f"{name} names only directories, and no pictures can be found in them"
            )

    def _add(self, absolute: str, path: str, relative: PurePosixPath) -> None:
        if absolute not in self._seen:
            self._seen.add(absolute)
            self._found.append(Found(Path(path), relative))

    def _walk(self, base: str, prefix: str, steps: _Steps, *, any_suffix: bool) -> _Tally:
        """Take what ``steps`` match below ``base``, in natural order.

        prefix: what the relative paths begin with. any_suffix: not only files that are pictures by
            their names.
        """
        tally = _Tally()
        top = _Directory(
            path=_with_separator(base) if base else "",
            absolute=_with_separator(_absolute(base or os.curdir)),
            relative=prefix,
            states=_settled(steps, [0]),
            include=self._include.start(prefix),
            exclude=self._exclude.start(prefix),
        )
        if self._exclude.take_all(top.exclude):
            return tally
        try:
            levels = [iter(self._entries(top, steps, tally, any_suffix))]
        except (OSError, ValueError) as error:
            tally.failure = reason(error)
            return tally
        within = [top]
        while levels:
            entry = next(levels[-1], None)
            if entry is None:
                levels.pop()
                within.pop()
            elif entry.directory is None:
                place = within[-1]
                tally.taken += 1
                self._add(
                    os.path.normcase(place.absolute + entry.name),
                    place.path + entry.name,
                    PurePosixPath(place.relative + entry.name),
                )
            else:
                try:
                    entries = self._entries(entry.directory, steps, tally, any_suffix)
                except OSError as error:
                    self._note(entry.directory.path, entry.directory.absolute, error, tally)
                else:
                    levels.append(iter(entries))
                    within.append(entry.directory)
        return tally

    def _entries(
        self, place: _Directory, steps: _Steps, tally: _Tally, any_suffix: bool
    ) -> list[_Entry]:
        """What is taken in a directory, files and directories to search, in natural order."""
        final = _final(steps, place.states)
        include = self._include.here(place.include)
        exclude = self._exclude.here(place.exclude)
        filtered = bool(self._include or self._exclude)
        chosen = []
        with os.scandir(place.path or os.curdir) as entries:
            for entry in entries:
                name = entry.name
                own = os.path.normcase(name)
                plain = folded(name) if filtered else name
                try:
                    if entry.is_dir(follow_symlinks=False):
                        below = self._below(entry, place, steps, own, plain, tally)
                        if below is not None and not any(step.takes(plain) for step in exclude):
                            chosen.append(_Entry(natural_key(name), name, below))
                        continue
                    if not any(step.takes(own) for step in final):
                        continue
                    if any(step.takes(plain) for step in exclude):
                        continue
                    if self._include:
                        wanted = any(step.takes(plain) for step in include)
                    elif any_suffix:
                        wanted = True
                    else:
                        stem, dot, suffix = name.rpartition(".")
                        wanted = bool(stem) and (dot + suffix).casefold() in PICTURE_SUFFIXES
                    if entry.is_file():
                        if wanted:
                            chosen.append(_Entry(natural_key(name), name, None))
                        elif not self._include:
                            tally.passed += 1
                            self._ignored.add(os.path.normcase(place.absolute + name))
                    elif wanted and entry.is_symlink():
                        entry.stat()  # fails for a link that leads nowhere
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
        """The directory ``entry`` as one to search, or None if there is nothing to be taken."""
        states = _entered(steps, place.states, own)
        if not states:
            tally.closed |= not own.startswith(".")
            return None
        # A link to a directory by another name, on Windows; known since Python 3.12.
        if getattr(entry, "is_junction", bool)():
            return None
        exclude = self._exclude.enter(place.exclude, plain)
        if self._exclude.take_all(exclude):
            return None
        path = place.path + entry.name
        if self.leaves_out(path):
            return None
        return _Directory(
            path=path + os.sep,
            absolute=place.absolute + entry.name + os.sep,
            relative=f"{place.relative}{entry.name}/",
            states=states,
            include=self._include.enter(place.include, plain),
            exclude=exclude,
        )

    def _note(self, path: str, absolute: str, error: OSError, tally: _Tally) -> None:
        """Remember what cannot be read."""
        why = reason(error)
        tally.unreadable = tally.unreadable or f"{shown(Path(path))} cannot be read: {why}"
        self._unreadable.setdefault(os.path.normcase(absolute), (Path(path), why))


# --- inputs and lists -------------------------------------------------------------------------


def _recognized(given: str | os.PathLike[str]) -> tuple[str, str]:
    """An input, and whether it is a "list", "directory", "pattern" or "file"."""
    path = os.fspath(given)
    if not path or "\0" in path:
        raise ArgumentError(
            f"input {shown(path)!r} is no path; name a file, a directory, a pattern or an @list"
        )
    # pathlib drops the "./" by which a file that begins with "@" is told from a list.
    if isinstance(given, str) and path.startswith("@"):
        return path, "list"
    status = _status(path)
    if status is not None:
        return path, "directory" if stat.S_ISDIR(status.st_mode) else "file"
    if path[-1] in _SEPARATORS:
        raise ArgumentError(
            f"input {shown(path)} is not a directory; name one that exists, or leave out the "
            f"{path[-1]} at the end"
        )
    wild = not os.path.lexists(path) and any(map(_WILD.search, _split_pattern(path)[1]))
    return path, "pattern" if wild else "file"


def _split_pattern(pattern: str) -> tuple[str, list[str]]:
    """The directory in which a pattern is searched, "" for the current, and its parts below that.

    A part that exists under just this name is no wildcard: "[Group] Title/*.png" works.
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
                raise ArgumentError(f"{name}: there is no standard input here; name a file")
            return stdin.read()
        return Path(argument[1:]).read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(
            f"{name} cannot be read: {reason(error)}; "
            f"a file of this name is given as ./{shown(argument)}"
        ) from error


def _lines(data: bytes, name: str) -> Iterator[tuple[int, str]]:
    """The paths in a list, with the numbers of their lines."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ArgumentError(f"{name} is UTF-16; save it as UTF-8, one path on each line")
    if b"\0" in data:
        raise ArgumentError(
            f"{name} holds NUL characters; it must be text in UTF-8, one path on each line"
        )
    # Not splitlines(): a name may hold what else that takes for the end of a line.
    text = data.decode("utf-8-sig", "surrogateescape")
    for number, line in enumerate(text.split("\n"), 1):
        path = line.removesuffix("\r")
        if path.strip() and not path.startswith("#"):
            yield number, path


def _kept(line: str) -> PurePosixPath:
    """What is kept of a path in a list: all, but for its anchor, from behind the last ".."."""
    path = PurePath(line)
    parts = path.parts[1:] if path.anchor else path.parts
    for index in reversed(range(len(parts))):
        if parts[index] == os.pardir:
            parts = parts[index + 1 :]
            break
    return PurePosixPath(*parts)


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116  (tens of thousands of lines: no objects)
    except (OSError, ValueError):
        return None


def _absolute(path: str) -> str:
    return os.path.normcase(os.path.abspath(path))  # noqa: PTH100  (Path keeps "..")


def _with_separator(path: str) -> str:
    return path if path[-1] in _SEPARATORS else path + os.sep
