"""Ranks methods by votes on pairs: the model of Bradley-Terry with ties, and 95% intervals.

R. R. Davidson, "On extending the Bradley-Terry model to accommodate ties in paired comparison
experiments" (1970, https://doi.org/10.1080/01621459.1970.10481082): of two methods with strengths
s and t, the first wins, the second wins, or they tie in the proportions exp(s) : exp(t) :
exp(e + (s + t) / 2), with one e for all pairs. The log-likelihood is concave, so Newton's method
finds the maximum. choix, the usual library, has no ties, so this module needs only NumPy.

A normal prior with a standard deviation of 4 keeps strengths finite if a method wins every vote.

An interval is the wider of two at each end:

- The Bayesian bootstrap over clusters (D. B. Rubin, 1981, https://doi.org/10.1214/aos/1176345338):
  each resample weights the clusters by gamma variates. Pseudo-votes of half a vote per outcome,
  weighted alike, keep a width if all votes agree. With two methods and without ties, the resamples
  follow the posterior of Jeffreys for a proportion, whose intervals L. D. Brown, T. T. Cai and
  A. DasGupta recommend (2001, https://doi.org/10.1214/ss/1009213286).
- The normal interval of the fit's covariance, which contains the prior.

Exact coverage with two methods, 12, 20 or 50 votes and winning probabilities of 0.5 to 0.98: 94.0%
to 98.9%. Percentiles of the ordinary bootstrap cover 21% to 95%.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from .._record import record

Outcome: TypeAlias = Literal["first", "second", "same"]
_Array: TypeAlias = npt.NDArray[np.float64]

OUTCOMES: Final[tuple[Outcome, ...]] = ("first", "second", "same")

_PRIOR: Final = 1 / 4**2
_MOST_STEPS: Final = 60
_PRECISE: Final = 1e-9

#: Resamples of the votes for the intervals, the bounds that 95% of the resamples lie in, and those
#: of a normal distribution in standard deviations.
RESAMPLES: Final = 4000
#: With fewer clusters, resamples of them vary too little, and there are no intervals.
LEAST_CLUSTERS: Final = 10
_BOUNDS: Final = (2.5, 97.5)
_DEVIATIONS: Final = 1.96
#: Pseudo-votes for each outcome among the pairs of a method, in each resample.
_PSEUDO: Final = 0.5


class Comparison(NamedTuple):
    """One vote on two methods; cluster: votes of one cluster depend on each other."""

    first: str
    second: str
    outcome: Outcome
    cluster: str


@record
class Rank:
    """The strength of a method, with its 95% interval, and the counts of its votes.

    strength: in natural logarithms of odds, the mean over all methods is 0. A method that is 1
        stronger than another wins e = 2.7 times as often as it loses.
    low, high: the interval; infinite if there are votes on fewer than `LEAST_CLUSTERS` clusters.
    """

    name: str
    strength: float
    low: float
    high: float
    wins: int
    ties: int
    losses: int


@record
class Fit:
    """The most probable strengths, in the order of the methods.

    ties: the logarithm e. covariance: of the strengths, (methods, methods).
    """

    strengths: _Array
    ties: float
    covariance: _Array


def fit(methods: Sequence[str], comparisons: Sequence[Comparison]) -> Fit:
    """Fit the model to all comparisons, which name only ``methods``."""
    features = _features(len(methods))
    counts = _counts(methods, comparisons, [each.cluster for each in comparisons])
    (values,), (information,) = _maximum(features, counts.sum(axis=0, keepdims=True))
    covariance = np.linalg.inv(information)[:-1, :-1]
    return Fit(values[:-1], float(values[-1]), covariance)


def rank(
    methods: Sequence[str], comparisons: Sequence[Comparison], *, resamples: int = RESAMPLES
) -> list[Rank]:
    """Rank the methods, the strongest first, with the intervals of the module.

    The random numbers are those of seed 0, so a report can be repeated.
    """
    found = fit(methods, comparisons)
    strengths = found.strengths
    counts = _counts(methods, comparisons, [each.cluster for each in comparisons])
    low, high = np.full(len(methods), -np.inf), np.full(len(methods), np.inf)
    if len(counts) >= LEAST_CLUSTERS:
        drawn = _resampled(counts, len(methods), resamples)
        values = _maximum(_features(len(methods)), drawn)[0][:, :-1]
        low, high = np.percentile(values, _BOUNDS, axis=0)
        # Only differences have a meaning, so the variance of the mean does not count.
        centered = np.eye(len(methods)) - 1 / len(methods)
        variances = np.diagonal(centered @ found.covariance @ centered)
        reach = _DEVIATIONS * np.sqrt(variances)
        low, high = np.minimum(low, strengths - reach), np.maximum(high, strengths + reach)
    ranks = [
        Rank(
            name, float(strengths[at]), float(low[at]), float(high[at]), *_tally(name, comparisons)
        )
        for at, name in enumerate(methods)
    ]
    return sorted(ranks, key=lambda each: -each.strength)


def _resampled(counts: _Array, methods: int, resamples: int) -> _Array:
    """Return counts with random weights of the clusters, and with pseudo-votes.

    counts: (clusters, pairs, 3). Returns (resamples, pairs, 3).
    """
    generator = np.random.default_rng(0)
    weights = generator.gamma(1.0, size=(resamples, len(counts)))
    # Each method takes part in methods - 1 pairs, and gets the same pseudo-votes in all.
    pseudo = generator.gamma(_PSEUDO / (methods - 1), size=(resamples, *counts.shape[1:]))
    drawn: _Array = (weights @ counts.reshape(len(counts), -1)).reshape(pseudo.shape) + pseudo
    return drawn


def _tally(name: str, comparisons: Sequence[Comparison]) -> tuple[int, int, int]:
    """Return how often a method won, tied and lost."""
    wins = ties = losses = 0
    for each in comparisons:
        if name in (each.first, each.second):
            won = each.outcome == ("first" if name == each.first else "second")
            ties += each.outcome == "same"
            wins += won
            losses += each.outcome != "same" and not won
    return wins, ties, losses


def probabilities(first: float, second: float, ties: float) -> tuple[float, float, float]:
    """Return the probabilities of `OUTCOMES` for two strengths."""
    logits = np.array([first, second, ties + (first + second) / 2])
    shares = np.exp(logits - logits.max())
    one, two, same = shares / shares.sum()
    return float(one), float(two), float(same)


def _features(methods: int) -> _Array:
    """Return the linear predictor of each outcome of each pair, (pairs, 3, methods + 1)."""
    pairs = list(combinations(range(methods), 2))
    features = np.zeros((len(pairs), 3, methods + 1))
    for at, (first, second) in enumerate(pairs):
        features[at, 0, first] = features[at, 1, second] = features[at, 2, methods] = 1
        features[at, 2, [first, second]] = 0.5
    return features


def _counts(
    methods: Sequence[str], comparisons: Sequence[Comparison], clusters: Sequence[str]
) -> _Array:
    """Return how often each outcome of each pair occurred in each cluster, (clusters, pairs, 3)."""
    pairs = {pair: at for at, pair in enumerate(combinations(methods, 2))}
    rows = {name: at for at, name in enumerate(dict.fromkeys(clusters))}
    counts = np.zeros((max(1, len(rows)), len(pairs), 3))
    for each in comparisons:
        at = pairs.get((each.first, each.second))
        column = OUTCOMES.index(each.outcome)
        if at is None:
            at, column = pairs[each.second, each.first], (1, 0, 2)[column]
        counts[rows[each.cluster], at, column] += 1
    return counts


def _maximum(features: _Array, counts: _Array) -> tuple[_Array, _Array]:
    """Maximize the posterior of each of several sets of votes by Newton's method.

    features: from `_features`. counts: (sets, pairs, 3).

    Returns the parameters (sets, methods + 1) and the information (sets, methods + 1, methods + 1).
    """
    size = features.shape[2]
    values = np.zeros((len(counts), size))
    totals = counts.sum(axis=2, keepdims=True)
    prior = _PRIOR * np.eye(size)
    for _ in range(_MOST_STEPS):
        logits = np.einsum("pod,rd->rpo", features, values)
        shares = np.exp(logits - logits.max(axis=2, keepdims=True))
        shares /= shares.sum(axis=2, keepdims=True)
        slope = np.einsum("rpo,pod->rd", counts - totals * shares, features) - _PRIOR * values
        mean = np.einsum("rpo,pod->rpd", shares, features)
        information = np.einsum("rpo,pod,poe->rde", totals * shares, features, features)
        information -= np.einsum("rpd,rpe->rde", totals * mean, mean)
        information += prior
        step = np.linalg.solve(information, slope[:, :, None])[:, :, 0]
        # Far from the maximum, a full step may overshoot.
        values += np.clip(step, -1, 1)
        if np.abs(step).max() < _PRECISE:
            break
    return values, information
