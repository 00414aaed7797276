"""The ranking: the maximum, the intervals, and a simulated rater whose preference is known."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest

from waifu2x.comparing.ranking import OUTCOMES, Comparison, Outcome, fit, probabilities, rank

NAMES = ("a", "b", "c")


def votes(
    strengths: dict[str, float], ties: float, per_pair: int, generator: np.random.Generator
) -> list[Comparison]:
    """Votes of a rater with these strengths, each on a crop of its own, sides in random order."""
    found = []
    for pair in combinations(strengths, 2):
        for number in range(per_pair):
            one, two = generator.permutation(pair)
            shares = probabilities(strengths[one], strengths[two], ties)
            outcome = OUTCOMES[generator.choice(3, p=shares)]
            found.append(Comparison(str(one), str(two), outcome, f"{pair} {number}"))
    return found


def test_probabilities_are_those_of_davidson() -> None:
    first, second, same = probabilities(1.0, -0.5, 0.3)
    assert first + second + same == pytest.approx(1)
    assert first / second == pytest.approx(np.exp(1.5))
    assert same / np.sqrt(first * second) == pytest.approx(np.exp(0.3))
    assert probabilities(0.2, 0.2, -1)[0] == probabilities(0.2, 0.2, -1)[1]


def test_two_methods_have_the_odds_of_their_votes() -> None:
    """With two methods the maximum is exact: odds of wins, and ties against their mean."""
    counts = {"first": 600, "second": 200, "same": 300}
    given = [
        Comparison("a", "b", outcome, str(number))  # type: ignore[arg-type]
        for outcome, count in counts.items()
        for number in range(count)
    ]
    found = fit(("a", "b"), given)
    assert found.strengths[0] - found.strengths[1] == pytest.approx(np.log(600 / 200), abs=2e-3)
    assert found.ties == pytest.approx(np.log(300 / np.sqrt(600 * 200)), abs=2e-3)
    assert found.strengths.sum() == pytest.approx(0, abs=1e-9)
    # The logarithm of the odds of two counts has a variance of 1 / 600 + 1 / 200.
    difference = np.array([1, -1])
    variance = difference @ found.covariance @ difference
    assert variance == pytest.approx(1 / 600 + 1 / 200, rel=0.02)


def test_the_order_of_a_pair_does_not_matter() -> None:
    given = votes({"a": 0.5, "b": 0, "c": -0.5}, 0, 30, np.random.default_rng(1))
    swapped = [
        Comparison(each.second, each.first, OUTCOMES[(1, 0, 2)[OUTCOMES.index(each.outcome)]],
                   each.cluster)
        for each in given
    ]  # fmt: skip
    assert rank(NAMES, given, resamples=50) == rank(NAMES, swapped, resamples=50)


def test_a_method_that_always_wins_has_a_finite_strength() -> None:
    given = [Comparison("a", "b", "first", str(number)) for number in range(50)]
    best, worst = rank(("a", "b"), given)
    assert (best.name, best.wins, best.losses, worst.losses) == ("a", 50, 0, 50)
    assert 1 < best.strength < 8
    assert best.low > worst.high


def test_votes_of_one_crop_do_not_narrow_the_interval() -> None:
    """The bootstrap draws crops: the same votes on fewer crops are worth less."""
    generator = np.random.default_rng(2)
    apart = votes({"a": 0.4, "b": -0.4}, -1, 60, generator)
    repeated = [
        Comparison(*each[:3], f"{number}") for number, each in enumerate(apart) for _ in range(4)
    ]
    alone = [Comparison(*each[:3], f"{number}") for number, each in enumerate(repeated)]

    def width(given: list[Comparison]) -> float:
        best = rank(("a", "b"), given)[0]
        return best.high - best.low

    assert width(repeated) == pytest.approx(width(apart), rel=0.15)
    assert width(alone) < 0.65 * width(repeated)


def test_the_intervals_hold_the_truth_as_often_as_they_state() -> None:
    truth = {"a": 0.9, "b": 0.1, "c": -1.0}
    generator = np.random.default_rng(3)
    held = []
    for _ in range(60):
        given = votes(truth, -0.5, 40, generator)
        held += [each.low <= truth[each.name] <= each.high for each in rank(NAMES, given)]
    # 180 intervals of 95%: 171 expected; 160 would be far outside chance for independent ones.
    assert np.mean(held) > 0.9


def coverage(share: float, intervals: list[tuple[float, float]]) -> float:
    """Return how often the interval of the winner holds the truth.

    share: probability that it wins a vote. intervals: for each number of votes that it won.
    """
    count = len(intervals) - 1
    truth = np.log(share / (1 - share)) / 2
    return sum(
        comb(count, won) * share**won * (1 - share) ** (count - won)
        for won, (low, high) in enumerate(intervals)
        if low <= truth <= high
    )


@pytest.mark.parametrize("count", [12, 20, 50])
def test_the_intervals_hold_strong_preferences(count: int) -> None:
    """Exact over all outcomes: when most sets of votes agree, an interval still has its width."""
    intervals = []
    for won in range(count + 1):
        given = [Comparison("a", "b", OUTCOMES[at >= won], str(at)) for at in range(count)]
        (found,) = (each for each in rank(("a", "b"), given) if each.name == "a")
        assert found.low < found.strength < found.high
        intervals.append((found.low, found.high))
    for share in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98):
        assert 0.93 < coverage(share, intervals) < 0.995, share


def test_the_intervals_hold_with_ties() -> None:
    truth = {"a": 1.0, "b": 0.0, "c": -1.0}
    generator = np.random.default_rng(4)
    held = []
    for _ in range(40):
        given = votes(truth, 1.5, 12, generator)
        found = rank(NAMES, given, resamples=300)
        held += [each.low <= truth[each.name] <= each.high for each in found]
    assert np.mean(held) > 0.92


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_votes_that_agree_have_an_interval(outcome: Outcome) -> None:
    given = [Comparison("a", "b", outcome, str(number)) for number in range(300)]
    for each in rank(("a", "b"), given):
        assert each.high - each.low > 0.2
        assert each.low < each.strength < each.high


def test_counts_and_order() -> None:
    given = [
        Comparison("a", "b", "second", "1"),
        Comparison("b", "c", "first", "2"),
        Comparison("c", "a", "same", "3"),
    ]
    ranks = rank(NAMES, given, resamples=20)
    assert next(each.name for each in ranks) == "b"
    assert {each.name: (each.wins, each.ties, each.losses) for each in ranks} == {
        "a": (0, 1, 1),
        "b": (2, 0, 0),
        "c": (0, 1, 1),
    }
    # Three crops say nothing about other crops.
    assert all((each.low, each.high) == (-np.inf, np.inf) for each in ranks)
