"""The order of the queue, and its bounds."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waifu2x.server.queue import FairQueue, QueueFullError


def filled(queue: FairQueue[str], *items: str, cost: float = 1) -> None:
    """Put items such as "a1" of client "a"."""
    for item in items:
        queue.reserve(item[0])
        queue.put(item[0], item, cost)


def order(queue: FairQueue[str]) -> list[str]:
    found = []
    while len(queue):
        item = queue.take()
        assert item is not None
        found.append(item)
    return found


def test_clients_take_turns() -> None:
    queue: FairQueue[str] = FairQueue(100)
    filled(queue, "a1", "a2", "a3", "b1", "c1", "c2")
    assert order(queue) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_a_late_client_does_not_wait_for_all_others() -> None:
    queue: FairQueue[str] = FairQueue(100)
    filled(queue, *(f"a{i}" for i in range(9)))
    assert [queue.take() for _ in range(4)] == ["a0", "a1", "a2", "a3"]
    filled(queue, "b1")
    assert queue.position("b1") == 0
    assert queue.take() == "b1"


def test_large_work_counts_more() -> None:
    queue: FairQueue[str] = FairQueue(100)
    filled(queue, "a1", "a2", cost=10)
    filled(queue, *(f"b{i}" for i in range(12)), cost=1)
    found = order(queue)
    assert found.index("a2") == 11


def test_work_that_is_known_late_counts() -> None:
    queue: FairQueue[str] = FairQueue(100)
    filled(queue, "a1", "a2")
    filled(queue, "b1", "b2", "b3")
    assert queue.take() == "a1"
    queue.charge("a", 1.5)
    queue.charge("a", -10)
    queue.charge("unknown", 5)
    assert order(queue) == ["b1", "b2", "b3", "a2"]
    filled(queue, "c1", "c2", cost=1)
    assert queue.take() == "c1"
    queue.charge("b", 10)
    filled(queue, "b4")
    assert order(queue) == ["c2", "b4"]


def test_a_client_without_places_keeps_its_share() -> None:
    queue: FairQueue[str] = FairQueue(100)
    filled(queue, "a1", "a2", "a3")
    taken = []
    for turn in range(3):
        filled(queue, f"b{turn}")
        taken += [queue.take(), queue.take()]
    assert Counter(str(each)[0] for each in taken) == {"a": 3, "b": 3}


@given(st.lists(st.sampled_from("abcd"), max_size=40))
def test_nobody_is_ahead_by_more_than_one_item(clients: list[str]) -> None:
    queue: FairQueue[str] = FairQueue(1000)
    filled(queue, *(f"{client}{i}" for i, client in enumerate(clients)))
    left, served = Counter(clients), Counter[str]()
    for item in order(queue):
        assert queue.position(item) is None
        waiting = [client for client in left if left[client]]
        served[item[0]] += 1
        assert served[item[0]] <= min(served[client] for client in waiting) + 1
        left[item[0]] -= 1


@given(st.lists(st.sampled_from("abc"), max_size=20))
def test_a_position_is_the_number_of_items_before(clients: list[str]) -> None:
    queue: FairQueue[str] = FairQueue(1000)
    items = [f"{client}{i}" for i, client in enumerate(clients)]
    filled(queue, *items)
    positions = {item: queue.position(item) for item in items}
    assert {item: index for index, item in enumerate(order(queue))} == positions


def test_places_are_bounded() -> None:
    queue: FairQueue[str] = FairQueue(4)
    queue.reserve("a", 2)
    with pytest.raises(QueueFullError):
        queue.reserve("a")
    queue.reserve("b")
    queue.reserve("c")
    with pytest.raises(QueueFullError):
        queue.reserve("d")
    queue.release("a")
    queue.reserve("d")
    assert queue.held == 4


def test_removing_an_item_frees_its_place() -> None:
    queue: FairQueue[str] = FairQueue(2)
    filled(queue, "a1", "b1")
    assert queue.remove("a", "a1")
    assert not queue.remove("a", "a1")
    queue.reserve("c")
    assert queue.take() == "b1"


def test_memory_does_not_grow_with_clients_that_have_gone() -> None:
    queue: FairQueue[str] = FairQueue(10)
    for number in range(5000):
        queue.reserve(f"{number}")
        queue.put(f"{number}", "x", 1)
        queue.take()
    assert len(queue._clients) == 0
    assert len(queue._left) <= 1024


def test_stopping_ends_all_waits() -> None:
    queue: FairQueue[str] = FairQueue(10)
    found: list[str | None] = []
    threads = [threading.Thread(target=lambda: found.append(queue.take())) for _ in range(3)]
    for thread in threads:
        thread.start()
    queue.reserve("a")
    assert queue.stop() == []
    for thread in threads:
        thread.join()
    assert found == [None] * 3
    with pytest.raises(QueueFullError):
        queue.put("a", "a1", 1)
    with pytest.raises(QueueFullError):
        queue.reserve("a")
    assert queue.held == 0
