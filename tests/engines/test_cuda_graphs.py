"""Which runs are recorded, and which recorded ones are kept; recording itself needs a GPU."""

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
    """Records nothing, but runs the network again where a GPU would replay it."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.recorded: list[tuple[int, ...]] = []
        self.fails = False

    def _record(self, runner, batch, means):  # type: ignore[no-untyped-def]
        self.recorded.append(tuple(batch.shape))
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
    graphs: CudaGraphCache, network: Twice, side: int, value: float, room: bool = True
) -> float:
    made = graphs.run(network, batch(side, value), [torch.tensor(1.0)], room=lambda: room)
    assert made.shape == (1, side, side, 3)
    return float(made.max())


def test_a_shape_is_recorded_when_it_comes_again() -> None:
    graphs, network = Recorder(), Twice()
    assert [run(graphs, network, 4, value) for value in (1, 2, 3)] == [3, 5, 7]
    assert graphs.recorded == [(1, 4, 4, 3)]
    assert run(graphs, network, 5, 1) == 3
    assert run(graphs, Twice(), 4, 1) == 3  # another network is another run
    assert len(graphs.recorded) == 1


def test_not_where_there_is_no_room_or_it_failed() -> None:
    graphs, network = Recorder(), Twice()
    for _ in range(3):
        assert run(graphs, network, 4, 2, room=False) == 5
    assert graphs.recorded == []
    graphs.fails = True
    for _ in range(4):
        assert run(graphs, network, 4, 2) == 5
    assert len(graphs.recorded) == 1  # once, and not again


def test_more_shapes_than_places_do_not_push_each_other_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cuda_graphs, "_MOST_GRAPHS", 2)
    graphs, network = Recorder(), Twice()
    for _ in range(10):
        for side in (4, 5, 6):
            assert run(graphs, network, side, 2) == 5
    assert graphs.recorded == [(1, 4, 4, 3), (1, 5, 5, 3)]
    # One that is not used any more makes room.
    for _ in range(cuda_graphs._KEPT_FOR + 2):
        run(graphs, network, 5, 2)
        run(graphs, network, 6, 2)
    assert graphs.recorded[2:] == [(1, 6, 6, 3)]
    graphs.clear()
    assert run(graphs, network, 5, 3) == 7
