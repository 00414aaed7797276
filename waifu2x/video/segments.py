"""Finished segments of a video, kept in a folder until the result is joined.

A segment starts at a keyframe of the source and is encoded on its own, so its bytes do not depend
on other segments, nor on when a run was killed. A segment is a file that appears by renaming. It
holds the packets, and at its end a list of them with a checksum:

    the magic line, the packets, a JSON object, its length as 8 bytes, a digest of all before
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, TypeVar

from .._record import record
from .._text import listed, plural, reason, shown
from ..atomic import remove_stale, write_file
from ..errors import EncodeError
from .demux import SourceFrame
from .encode import EncodedPacket

_MAGIC: Final = b"waifu2x segment 1\n"
_DIGEST: Final = 16
_BLOCK: Final = 1 << 20

_PLAN: Final = "plan.json"
_ENDING: Final = "ending.json"
_SUFFIX: Final = ".segment"

#: Seconds after which a segment ends at the next keyframe, and at the next frame.
LEAST: Final = Fraction(2)
MOST: Final = Fraction(10)

_T = TypeVar("_T")


@record
class Segment:
    """What a finished segment holds.

    frames: (timestamp, duration) of each frame in order of display. packets: (frame, size, key) of
    each packet in order of decoding. extradata: the header of the codec. saved: statistics of
    repeated frames.
    """

    path: Path
    frames: tuple[tuple[int, int], ...]
    packets: tuple[tuple[int, int, bool], ...]
    extradata: bytes
    saved: Mapping[str, int]

    def read(self) -> Iterator[EncodedPacket]:
        """Yield the packets in order of decoding."""
        with self.path.open("rb") as file:
            file.seek(len(_MAGIC))
            for frame, size, key in self.packets:
                yield EncodedPacket(file.read(size), frame, key)

    @property
    def size(self) -> int:
        """Bytes of all packets."""
        return sum(size for _, size, _ in self.packets)


@record
class Ending:
    """What is known once the end of the source has been reached.

    count: number of segments. notes: remarks on the frames of the source. damage: what is wrong
    with the source; empty for nothing.
    """

    count: int
    notes: tuple[str, ...] = ()
    damage: str = ""


class Cut(NamedTuple):
    """A frame and the number of its segment."""

    segment: int
    frame: SourceFrame


def cut(frames: Iterable[SourceFrame], time_base: Fraction) -> Iterator[Cut]:
    """Number the segments: each starts at a keyframe 2 s or more after the last, or after 10 s."""
    index = -1
    began = Fraction(0)
    for each in frames:
        moment = each.pts * time_base
        if index < 0 or moment - began >= (LEAST if each.key else MOST):
            index, began = index + 1, moment
        yield Cut(index, each)


@dataclass(slots=True)
class SegmentFolder:
    """The folder of the finished segments of one result.

    path: the folder; it is created with its first file. identity: what decides the bytes of the
    segments, as JSON. Its key "source" describes the source: segments of another source are
    deleted, and ``restarted`` is True. Those of other settings are never deleted.
    """

    path: Path
    identity: Mapping[str, Any]
    restarted: bool = False

    def prepare(self) -> None:
        """Create the folder, or check the folder of an earlier run.

        Raises `EncodeError` if the folder cannot be written, or holds segments of other settings.
        """
        plan = json.dumps(self.identity, sort_keys=True, indent=1).encode()
        try:
            found = (self.path / _PLAN).read_bytes()
        except FileNotFoundError:
            found = b""
        except OSError as error:
            raise EncodeError(f"{shown(self.path)} cannot be read: {reason(error)}") from error
        remove_stale(self.path)
        if found == plan:
            return
        # Another process may prepare the folder at the same time, so the folder stays.
        self._refuse_other_settings(found)
        self.restarted = self.finished() > 0
        self._empty()
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise EncodeError(f"{shown(self.path)} cannot be created: {reason(error)}") from error
        write_file(self.path / _PLAN, lambda file: file.write(plan), overwrite=True, durable=True)

    def _refuse_other_settings(self, plan: bytes) -> None:
        """Raise `EncodeError` if finished segments of this source have other settings."""
        finished = self.finished()
        try:
            other = json.loads(plan)
            if other["source"] != self.identity["source"] or not finished:
                return
            differing = [key for key in other if other[key] != self.identity.get(key)]
        except (ValueError, KeyError, TypeError):
            return
        raise EncodeError(
            f"{shown(self.path)} holds {plural(finished, 'finished segment')} made with another "
            f"{listed(differing, 'and')}; give the same options, or delete the folder"
        )

    def segment_path(self, index: int) -> Path:
        """The file of a segment."""
        return self.path / f"{index:06d}{_SUFFIX}"

    def holds(self, index: int) -> bool:
        """Whether there is a file of a segment."""
        return self.segment_path(index).exists()

    def load(self, index: int) -> Segment | None:
        """Read and check a finished segment; None if it is missing or damaged."""
        path = self.segment_path(index)
        try:
            with path.open("rb") as file:
                return _read(path, file)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(
        self,
        index: int,
        packets: Iterable[EncodedPacket],
        describe: Mapping[str, Any],
    ) -> Segment:
        """Write a segment as its packets arrive.

        describe: filled by the time that ``packets`` ends: frames, extradata as hexadecimal digits,
            and saved.

        Raises `EncodeError`.
        """

        def write(file: BinaryIO) -> None:
            state = hashlib.blake2b(digest_size=_DIGEST)
            listed = []

            def put(data: bytes) -> None:
                state.update(data)
                file.write(data)

            put(_MAGIC)
            for packet in packets:
                put(packet.data)
                listed.append((packet.frame, len(packet.data), packet.key))
            facts = json.dumps({**describe, "packets": listed}, sort_keys=True).encode()
            put(facts)
            put(len(facts).to_bytes(8, "big"))
            file.write(state.digest())

        path = self.segment_path(index)
        write_file(path, write, overwrite=True, durable=True)
        made = self.load(index)
        if made is None:
            raise EncodeError(f"{shown(path)} cannot be read back; check the disk")
        return made

    def finish(self, ending: Ending) -> None:
        """Record what a run has found, once it has reached the end of the source."""
        data = json.dumps(asdict(ending)).encode()
        write_file(self.path / _ENDING, lambda file: file.write(data), overwrite=True)

    @property
    def ending(self) -> Ending | None:
        """What a run has found that has reached the end of the source, or None."""
        try:
            facts = json.loads((self.path / _ENDING).read_bytes())
            return Ending(
                int(facts["count"]), tuple(map(str, facts["notes"])), str(facts["damage"])
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def complete(self, numbers: Iterable[int]) -> tuple[Segment, ...] | None:
        """Read and check the segments with these numbers; None if one is missing or damaged."""
        found = []
        for number in numbers:
            segment = self.load(number)
            if segment is None:
                return None
            found.append(segment)
        return tuple(found)

    def finished(self) -> int:
        """How many segments are finished."""
        with contextlib.suppress(OSError):
            return sum(1 for each in self.path.iterdir() if each.suffix == _SUFFIX)
        return 0

    def remove(self) -> None:
        """Delete the folder with its segments."""
        shutil.rmtree(self.path, ignore_errors=True)

    def remove_if_empty(self) -> None:
        """Delete the folder unless it holds a segment, finished or in progress of another run."""
        with contextlib.suppress(OSError):
            if {each.name for each in self.path.iterdir()} <= {_PLAN, _ENDING}:
                self.remove()

    def _empty(self) -> None:
        """Delete the finished segments."""
        with contextlib.suppress(OSError):
            for each in list(self.path.iterdir()):
                if each.suffix == _SUFFIX or each.name == _ENDING:
                    each.unlink(missing_ok=True)


def _read(path: Path, file: BinaryIO) -> Segment:
    """Parse a segment; raises ValueError if it is damaged."""
    length = file.seek(0, 2)
    tail = _DIGEST + 8
    if length < len(_MAGIC) + tail:
        raise ValueError
    file.seek(0)
    state = hashlib.blake2b(digest_size=_DIGEST)
    left = length - _DIGEST
    while left > 0:
        block = file.read(min(_BLOCK, left))
        if not block:
            raise ValueError
        state.update(block)
        left -= len(block)
    if file.read(_DIGEST) != state.digest():
        raise ValueError
    file.seek(length - tail)
    size = int.from_bytes(file.read(8), "big")
    file.seek(length - tail - size)
    facts = json.loads(file.read(size))
    return Segment(
        path=path,
        frames=tuple((int(pts), int(duration)) for pts, duration in facts["frames"]),
        packets=tuple((int(frame), int(size), bool(key)) for frame, size, key in facts["packets"]),
        extradata=bytes.fromhex(facts["extradata"]),
        saved={str(key): int(value) for key, value in facts["saved"].items()},
    )
