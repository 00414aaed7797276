"""Chooses what to show next: the pair whose order is least sure, and sometimes a pair again."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Final

from .._record import record
from .content import Kind
from .crops import Crop
from .ranking import fit
from .votes import Vote

#: Share of questions that repeat an earlier one.
_REPEATED: Final = 0.1
#: Votes between a question and its repetition, at least, so that the rater has forgotten it.
_APART: Final = 10
#: Added to the probability that the order of a pair is wrong, so that no pair is left out.
_FLOOR: Final = 0.02


@record
class Sample:
    """A crop of a picture that can be shown; see `votes.Vote`."""

    picture: str
    crop: Crop
    kind: Kind


@record
class Question:
    """Two methods on one crop, at their sides."""

    sample: Sample
    left: str
    right: str
    repeat: bool


class Chooser:
    """Chooses questions; methods: the names, at least two."""

    def __init__(self, methods: Sequence[str], generator: random.Random) -> None:
        self._methods, self._random = tuple(methods), generator
        #: The number of votes, and whether the question after them is a repetition. Drawn once:
        #: the page polls for a question while crops are prepared.
        self._draw = (-1, False)

    def choose(self, samples: Sequence[Sample], votes: Sequence[Vote]) -> Question | None:
        """Return the next question; None if every pair has a vote on every sample.

        votes: all votes so far; those on other methods are ignored.
        """
        known = [vote for vote in votes if vote.methods <= set(self._methods)]
        if self._draw[0] != len(known):
            self._draw = len(known), self._random.random() < _REPEATED
        if self._draw[1]:
            again = self._repeatable(samples, known)
            if again:
                return self._question(*self._random.choice(again), repeat=True)
        done = {(*vote.place, vote.methods) for vote in known}
        doubts = self._doubts(known)
        while doubts:
            pair = self._random.choices(list(doubts), list(doubts.values()))[0]
            free = [
                sample
                for sample in samples
                if (sample.picture, sample.crop, frozenset(pair)) not in done
            ]
            if free:
                return self._question(self._rarest(free, pair, known), pair, repeat=False)
            del doubts[pair]
        return None

    def _repeatable(
        self, samples: Sequence[Sample], votes: Sequence[Vote]
    ) -> list[tuple[Sample, tuple[str, str]]]:
        """The questions before the last few that have been shown once."""
        shown = Counter((*vote.place, vote.methods) for vote in votes)
        at = {(sample.picture, sample.crop): sample for sample in samples}
        return [
            (at[vote.place], (vote.left, vote.right))
            for vote in votes[: max(0, len(votes) - _APART)]
            if vote.place in at and shown[(*vote.place, vote.methods)] == 1
        ]

    def _doubts(self, votes: Sequence[Vote]) -> dict[tuple[str, str], float]:
        """The probability that the present order of each pair is wrong."""
        found = fit(self._methods, [vote.comparison() for vote in votes])
        doubts = {}
        for one, two in combinations(range(len(self._methods)), 2):
            difference = float(found.strengths[one] - found.strengths[two])
            c = found.covariance
            deviation = math.sqrt(c[one, one] + c[two, two] - 2 * c[one, two])
            wrong = 0.5 * math.erfc(abs(difference) / deviation / math.sqrt(2))
            doubts[self._methods[one], self._methods[two]] = wrong + _FLOOR
        return doubts

    def _rarest(
        self, samples: Sequence[Sample], pair: tuple[str, str], votes: Sequence[Vote]
    ) -> Sample:
        """A sample of the kind with the fewest votes on the pair, of those seen least often."""
        kinds = Counter(vote.kind for vote in votes if vote.methods == set(pair))
        places = Counter(vote.place for vote in votes)
        return min(
            samples,
            key=lambda each: (
                kinds[each.kind],
                places[each.picture, each.crop],
                self._random.random(),
            ),
        )

    def _question(self, sample: Sample, pair: tuple[str, str], *, repeat: bool) -> Question:
        left, right = self._random.sample(pair, 2)
        return Question(sample, left, right, repeat)
