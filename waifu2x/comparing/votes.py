"""The votes of a rater: a file of JSON lines that grows by one line for each vote."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from .._record import record
from .._text import level_text, reason, shown
from ..errors import DecodeError, EncodeError
from ..pipeline.auto_noise import Noise
from .content import KINDS
from .crops import Crop
from .ranking import Comparison, Outcome

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
        given = json.loads(line)
        if not isinstance(given, dict) or given.keys() != set(cls.__dataclass_fields__):
            raise ValueError("the keys are not those of a vote")
        x, y, width, height = map(int, given["crop"])
        vote = cls(**{**given, "crop": Crop(x, y, width, height)})
        names = (vote.picture, vote.left, vote.right, vote.time)
        flags = (vote.face, vote.repeat)
        numbers = (vote.seconds, vote.scale)
        if (
            vote.answer not in ANSWERS
            or vote.kind not in KINDS
            or vote.left == vote.right
            or not all(isinstance(each, str) for each in names)
            or not all(isinstance(each, bool) for each in flags)
            or not all(isinstance(each, int | float) for each in numbers)
        ):
            raise ValueError("a value is not that of a vote")
        return vote


def read_votes(path: Path) -> list[Vote]:
    """Read a file of votes; a last line without an end, as after a crash, is left out.

    Raises `DecodeError` for a file that cannot be read or holds other lines.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DecodeError(f"votes {shown(path)} cannot be read: {reason(error)}") from error
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
        except (ValueError, TypeError, KeyError) as error:
            raise DecodeError(
                f"votes {shown(path)}, line {number}: {reason(error)}; choose another file"
            ) from error
    return votes


class VoteFile:
    """A file of votes that is continued; a vote is on disk before `append` returns.

    votes: all votes of the file, the oldest first.
    """

    def __init__(self, path: Path, *, scale: float, noise: Noise) -> None:
        """Open or create the file.

        Raises `DecodeError` for another file or for votes on results of another scale or noise
        level, and `EncodeError` if the file cannot be written.
        """
        self._path, self._lock = path, threading.Lock()
        self.votes: list[Vote] = read_votes(path) if path.exists() else []
        for vote in self.votes:
            if (vote.scale, vote.noise) != (scale, noise):
                raise DecodeError(
                    f"votes {shown(path)} are on results of scale {vote.scale:g}, noise "
                    f"{level_text(vote.noise)}, not {scale:g} and {level_text(noise)}; choose "
                    "another file, or the same options"
                )
        try:
            self._file = path.open("r+b" if path.exists() else "x+b", buffering=0)
            data = self._file.read()
            self._file.truncate(data.rfind(b"\n") + 1)
            self._file.seek(0, io.SEEK_END)
        except OSError as error:
            raise self._error(error) from error

    def append(self, vote: Vote) -> None:
        """Append a vote; raises `EncodeError` if it cannot be written."""
        values: dict[str, Any] = asdict(vote)
        line = json.dumps(values, separators=(", ", ": ")).encode("ascii") + b"\n"
        with self._lock:
            try:
                self._file.write(line)
                os.fsync(self._file.fileno())
            except OSError as error:
                raise self._error(error) from error
            self.votes.append(vote)

    def close(self) -> None:
        """Close the file."""
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
