"""Which runs are captured and evicted; only capturing needs a GPU."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from waifu2x.engines import cuda_graphs
from waifu2x.engines.cuda_graphs import CudaGraphCache


class Twice:
    """A network of one operation."""

    pixel = 3
    dtype = torch.float32

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, batch: torch.Tensor, means: Sequence[torch.Tensor]) -> torch.Tensor:
        self.runs += 1
        return batch * 2 + sum(means, start=torch.zeros(()))


class Replay:
    def __init__(self, run: object) -> None:
        self.replay = run


class Recorder(CudaGraphCache):
    """Runs the network again instead of replaying a captured run."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.captured: list[tuple[int, ...]] = []
        self.fails = False

    def _capture(self, runner, batch, means):  # type: ignore[no-untyped-def]
        self.captured.append(tuple(batch.shape))
        if self.fails:
            return None
        static, given = batch.clone(), [mean.clone() for mean in means]
        output = torch.empty_like(batch)

        def replay() -> None:
            output.copy_(runner(static, given))

        return cuda_graphs.Captured(Replay(replay), static, given, output)


def batch(side: int, value: float = 1.0) -> torch.Tensor:
    return torch.full((1, side, side, 3), value)


def run(
    graphs: CudaGraphCache, network: Twice, side: int, value: float, memory: bool = True
) -> float:
    made = graphs.run(network, batch(side, value), [torch.tensor(1.0)], has_memory=lambda: memory)
    assert made.shape == (1, side, side, 3)
    return float(made.max())


def test_a_repeated_shape_is_captured() -> None:
    graphs, network = Recorder(), Twice()
    assert [run(graphs, network, 4, value) for value in (1, 2, 3)] == [3, 5, 7]
    assert graphs.captured == [(1, 4, 4, 3)]
    assert run(graphs, network, 5, 1) == 3
    assert run(graphs, Twice(), 4, 1) == 3  # another network needs its own capture
    assert len(graphs.captured) == 1


def test_nothing_is_captured_without_memory_or_after_a_failure() -> None:
    graphs, network = Recorder(), Twice()
    for _ in range(3):
        assert run(graphs, network, 4, 2, memory=False) == 5
    assert graphs.captured == []
    graphs.fails = True
    for _ in range(4):
        assert run(graphs, network, 4, 2) == 5
    assert len(graphs.captured) == 1  # captured only once


def test_more_shapes_than_entries_do_not_evict_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cuda_graphs, "_MOST_GRAPHS", 2)
    graphs, network = Recorder(), Twice()
    for _ in range(10):
        for side in (4, 5, 6):
            assert run(graphs, network, side, 2) == 5
    assert graphs.captured == [(1, 4, 4, 3), (1, 5, 5, 3)]
    # A shape that is no longer used is evicted.
    for _ in range(cuda_graphs._PROTECTED_RUNS + 2):
        run(graphs, network, 5, 2)
        run(graphs, network, 6, 2)
    assert graphs.captured[2:] == [(1, 6, 6, 3)]
    assert run(graphs, network, 5, 3) == 7


def test_a_closed_cache_holds_no_graph_and_captures_none() -> None:
    graphs, network = Recorder(), Twice()
    for _ in range(2):
        run(graphs, network, 4, 2)
    graphs.close()
    assert not graphs._captured
    for _ in range(3):
        assert run(graphs, network, 4, 3) == 7
        assert run(graphs, network, 5, 3) == 7
    assert graphs.captured == [(1, 4, 4, 3)]
