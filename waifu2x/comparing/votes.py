"""The votes of a rater: a file of JSON lines that grows by one line for each vote.

The rater who appends holds a lock on the file, so that two raters do not mix their votes. The
system releases the lock when the process dies.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import stat
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, TypeAlias

from .._record import record
from .._text import level_text, reason, shown
from ..errors import DecodeError, EncodeError
from ..pipeline.auto_noise import Noise
from ..pipeline.options import PictureOptions
from .content import KINDS
from .crops import Crop
from .ranking import Comparison, Outcome

try:
    import fcntl
except ImportError:  # Windows; appended lines stay whole, and only their order is left to chance
    fcntl = None  # type: ignore[assignment]

Answer: TypeAlias = Literal["left", "right", "same"]

ANSWERS: Final[tuple[Answer, ...]] = ("left", "right", "same")

#: How each line begins.
_BEGIN: Final = b'{"picture": '

#: The content of a crop that a rater has tagged.
FACES: Final = "faces"


@record
class Vote:
    """One vote on two results of one crop.

    picture: path below the folder. crop: in pixels of the results. left, right: the methods.
    kind: of the content (`content.Kind`). face: whether the rater tagged the crop as a face.
    repeat: whether the same pair had a vote on the same crop before. seconds: until the vote.
    scale, noise: of all results. time: UTC, ISO 8601.
    """

    picture: str
    crop: Crop
    left: str
    right: str
    answer: Answer
    kind: str
    face: bool
    repeat: bool
    seconds: float
    scale: float
    noise: Noise
    time: str

    @property
    def methods(self) -> frozenset[str]:
        """Both methods."""
        return frozenset((self.left, self.right))

    @property
    def place(self) -> tuple[str, Crop]:
        """The picture and the crop."""
        return self.picture, self.crop

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of content that the vote counts for."""
        return (self.kind, FACES) if self.face else (self.kind,)

    @property
    def winner(self) -> str | None:
        """The preferred method; None for a tie."""
        return {"left": self.left, "right": self.right, "same": None}[self.answer]

    def comparison(self) -> Comparison:
        """The vote for `ranking.rank`; votes on one crop are a cluster."""
        outcomes: dict[Answer, Outcome] = {"left": "first", "right": "second", "same": "same"}
        return Comparison(
            self.left, self.right, outcomes[self.answer], f"{self.picture} {self.crop}"
        )

    @classmethod
    def parse(cls, line: bytes) -> Vote:
        """Parse a line of the file; raises ValueError for a line that is no vote."""
        try:
            given = json.loads(line, parse_constant=_refuse_constant)
        except RecursionError:
            raise ValueError("the line is nested too deeply for a vote") from None
        if not isinstance(given, dict) or given.keys() != set(cls.__dataclass_fields__):
            raise ValueError("the keys are not those of a vote")
        place = given["crop"]
        if (
            not isinstance(place, list)
            or [type(side) for side in place] != [int] * 4
            or min(place[:2]) < 0
            or min(place[2:]) < 1
        ):
            raise ValueError("the crop is not x, y, width and height in pixels")
        vote = cls(**{**given, "crop": Crop(*place)})
        names = (vote.picture, vote.left, vote.right, vote.time)
        flags = (vote.face, vote.repeat)
        if (
            vote.answer not in ANSWERS
            or vote.kind not in KINDS
            or vote.left == vote.right
            or not all(isinstance(each, str) for each in names)
            or not all(isinstance(each, bool) for each in flags)
            or not all(map(_is_finite, (vote.seconds, vote.scale)))
        ):
            raise ValueError("a value is not that of a vote")
        PictureOptions(scale=vote.scale, noise=vote.noise)
        return vote


def _refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which JSON does not have."""
    raise ValueError(f"{name} is not a value of a vote")


def _is_finite(value: object) -> bool:
    """Whether ``value`` is a number that a float can hold; true and false are not numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def read_votes(path: Path) -> list[Vote]:
    """Read a file of votes; a last line without an end, as after a crash, is left out.

    Raises `DecodeError` for a file that cannot be read or holds other lines.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DecodeError(f"votes {shown(path)} cannot be read: {reason(error)}") from error
    return _parsed(path, data)


def _parsed(path: Path, data: bytes) -> list[Vote]:
    lines = data.split(b"\n")
    # A line that was cut off is replaced, so it must not be a line of another file.
    torn = lines[-1]
    if not (torn.startswith(_BEGIN) or _BEGIN.startswith(torn)):
        raise DecodeError(f"votes {shown(path)} is a file of another kind; choose another file")
    votes = []
    for number, line in enumerate(lines[:-1], 1):
        if not line.strip():
            continue
        try:
            votes.append(Vote.parse(line))
        except ValueError as error:
            raise DecodeError(
                f"votes {shown(path)}, line {number}: {reason(error)}; choose another file"
            ) from error
    return votes


class VoteFile:
    """A file of votes that is continued; a vote is on disk before `append` returns.

    votes: all votes of the file, the oldest first.
    """

    def __init__(self, path: Path, *, scale: float, noise: Noise) -> None:
        """Open or create the file, and lock it until `close`.

        Raises `DecodeError` for another file or for votes on results of another scale or noise
        level, and `EncodeError` if the file cannot be written or another process continues it.
        """
        self._path, self._lock = path, threading.Lock()
        try:
            # Each write goes to the end of the file, including lines that another process added.
            self._file = path.open("a+b", buffering=0)
        except OSError as error:
            raise self._error(error) from error
        try:
            self._claim()
            data = self._read()
            self.votes: list[Vote] = _parsed(path, data)
            self._check(scale, noise)
            self._cut(data.rfind(b"\n") + 1, len(data))
        except BaseException:
            self._file.close()
            raise

    def _claim(self) -> None:
        """Lock the file, if the system and the file system have locks."""
        if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            raise EncodeError(
                f"votes {shown(self._path)} are a device, pipe or socket; choose another file"
            )
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EncodeError(
                f"votes {shown(self._path)} are in use by another process; end that process, or "
                "choose another file"
            ) from error
        except OSError:  # a file system without locks
            pass

    def _read(self) -> bytes:
        try:
            self._file.seek(0)
            return self._file.read()
        except OSError as error:
            raise self._error(error) from error

    def _check(self, scale: float, noise: Noise) -> None:
        """Raise `DecodeError` for votes on results of another scale or noise level."""
        for vote in self.votes:
            if (vote.scale, vote.noise) != (scale, noise):
                raise DecodeError(
                    f"votes {shown(self._path)} are on results of scale {vote.scale:g}, noise "
                    f"{level_text(vote.noise)}, not {scale:g} and {level_text(noise)}; choose "
                    "another file, or the same options"
                )

    def _cut(self, whole: int, size: int) -> None:
        """Remove what follows the last whole line."""
        if whole < size:
            try:
                self._file.truncate(whole)
            except OSError as error:
                raise self._error(error) from error

    def append(self, vote: Vote) -> None:
        """Append a vote; raises `EncodeError` if it cannot be written, and then leaves no part."""
        values: dict[str, Any] = asdict(vote)
        line = json.dumps(values, separators=(", ", ": ")).encode("ascii") + b"\n"
        with self._lock:
            end = None
            try:
                end = self._file.seek(0, io.SEEK_END)
                rest = memoryview(line)
                while rest:  # a disk that is nearly full takes a part
                    rest = rest[self._file.write(rest) :]
                os.fsync(self._file.fileno())
            except OSError as error:
                if end is not None:
                    with contextlib.suppress(OSError):
                        self._file.truncate(end)
                raise self._error(error) from error
            self.votes.append(vote)

    def close(self) -> None:
        """Close the file and release its lock."""
        self._file.close()

    def _error(self, error: OSError) -> EncodeError:
        return EncodeError(
            f"votes {shown(self._path)} cannot be written: {reason(error)}; choose another file"
        )


@record
class Consistency:
    """How a rater answers pairs that are shown again, and which side the rater prefers.

    repeats, agreed: pairs shown again, and those with the same answer. left, right: answers.
    """

    repeats: int
    agreed: int
    left: int
    right: int


def consistency(votes: Sequence[Vote]) -> Consistency:
    """Compare each repeated vote with the first vote on the same pair and crop."""
    first: dict[tuple[str, Crop, frozenset[str]], str | None] = {}
    repeats = agreed = 0
    for vote in votes:
        key = (*vote.place, vote.methods)
        if key in first:
            repeats += 1
            agreed += first[key] == vote.winner
        else:
            first[key] = vote.winner
    answers = [vote.answer for vote in votes]
    return Consistency(repeats, agreed, answers.count("left"), answers.count("right"))
