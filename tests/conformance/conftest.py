"""Makes `benchmarks` importable, and counts in the summary what no decoder compared."""

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))

_COUNTS = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_COUNTS] = Counter()


@pytest.fixture
def counts(request: pytest.FixtureRequest) -> "Counter[str]":
    """Counts of comparisons by decoder and outcome."""
    return request.config.stash.setdefault(_COUNTS, Counter())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    counts = config.stash.get(_COUNTS, Counter())
    if counts:
        told = ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
        terminalreporter.write_line(f"conformance: {told}")
