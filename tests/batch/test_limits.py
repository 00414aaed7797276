"""The limits of a batch: files in each stage, memory, order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from waifu2x.batch.limits import BusyTime, Limits
from waifu2x.errors import CancelledError
from waifu2x.pipeline.pipeline import Footprint

MB = 1 << 20


def make_limits(
    memory: int = 1000 * MB, threads: int = 2, decoders: int = 2, shares: bool = True
) -> Limits:
    small, large = (2 * threads, 2) if shares else (1, 1)
    return Limits(memory=memory, decoders=decoders, small=small, large=large)


class Watch:
    """Counts concurrent visitors.

    together: each visitor waits until this many are inside, or fails.
    """

    def __init__(self, together: int = 1) -> None:
        self._all_inside = threading.Barrier(together)
        self._lock = threading.Lock()
        self.inside = self.most = 0
        self.order: list[int] = []

    def visit(self, number: int = 0, seconds: float = 0.01) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.order.append(number)
        self._all_inside.wait(30)
        time.sleep(seconds)
        with self._lock:
            self.inside -= 1


def run_all(count: int, carry: Callable[[int], None]) -> None:
    errors: list[BaseException] = []

    def guarded(i: int) -> None:
        try:
            carry(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "stuck"
    if errors:
        raise errors[0]


@pytest.mark.parametrize(
    ("footprint", "shares", "expected"),
    [
        (Footprint(8 * MB, MB), True, 2),
        (Footprint(1000, 1000), True, 4),
        (Footprint(8 * MB, MB), False, 1),
        (Footprint(1000, 1000), False, 1),
    ],
    ids=["large", "small", "large, not shared", "small, not shared"],
)
def test_how_many_compute_at_once(footprint: Footprint, shares: bool, expected: int) -> None:
    limits, watch = make_limits(shares=shares), Watch(together=expected)

    def carry(i: int) -> None:
        with limits.file(i, threading.Event()) as file:
            with file.decoding(1000):
                pass
            with file.computing(footprint):
                watch.visit()

    run_all(12, carry)
    assert watch.most == expected
    assert len(watch.order) == 12


def test_how_many_are_decoded_at_once() -> None:
    limits, watch = make_limits(decoders=3), Watch(together=3)

    def carry(i: int) -> None:
        with limits.file(i, threading.Event()) as file, file.decoding(1000):
            watch.visit()

    run_all(12, carry)
    assert watch.most == 3


def test_memory_is_never_exceeded_and_everybody_gets_through() -> None:
    limits = make_limits(memory=100 * MB, decoders=8)
    sizes = [1, 30, 5, 60, 2, 90, 1, 1, 40, 10, 3, 70]

    def carry(i: int) -> None:
        with limits.file(i, threading.Event()) as file:
            footprint = Footprint(sizes[i] * MB // 2, sizes[i] * MB // 4)
            with file.decoding(sizes[i] * MB // 4, footprint):
                time.sleep(0.002)
            with file.computing(footprint):
                time.sleep(0.002)
            time.sleep(0.002)

    run_all(len(sizes), carry)
    # The largest file holds a quarter of its size decoded, a half as the result and a quarter as
    # working memory.
    assert 90 * MB <= limits.peak_held <= 100 * MB


def test_what_needs_more_than_all_memory_goes_alone() -> None:
    limits, watch = make_limits(memory=10 * MB, decoders=8), Watch()

    def carry(i: int) -> None:
        with limits.file(i, threading.Event()) as file:
            with file.decoding(50 * MB):
                pass
            with file.computing(Footprint(100 * MB, 100 * MB)):
                watch.visit()
            watch.visit()

    run_all(5, carry)
    assert watch.most == 1


def test_turns_go_by_order_so_that_large_ones_are_not_passed_by_for_ever() -> None:
    """The second picture is large; not all later small pictures may overtake it."""
    limits, watch = make_limits(memory=100 * MB, decoders=20), Watch()
    all_decoded, large_waits = threading.Barrier(12), threading.Event()

    class LargeCancel(threading.Event):
        """Signals that the large file is queued: every wait begins with this check."""

        def is_set(self) -> bool:
            large_waits.set()
            return False

    def carry(i: int) -> None:
        size = 45 if i == 1 else 1
        with limits.file(i, LargeCancel() if i == 1 else threading.Event()) as file:
            with file.decoding(1000):
                all_decoded.wait(30)
                large_waits.clear()
                all_decoded.wait(30)
            if i > 1:
                assert large_waits.wait(30)
            with file.computing(Footprint(size * MB, size * MB)):
                watch.visit(i, 0.05)

    run_all(12, carry)
    assert watch.order.index(1) <= 3


def test_frames_of_an_animation_take_turns_again_and_again() -> None:
    limits, watch = make_limits(shares=False), Watch()

    def carry(i: int) -> None:
        with limits.file(i, threading.Event()) as file:
            with file.decoding(1000):
                pass
            for _ in range(5):
                with file.computing(Footprint(MB, MB)):
                    watch.visit(i, 0.002)
            assert file.seconds.compute >= 0.01

    run_all(3, carry)
    assert watch.most == 1
    assert len(watch.order) == 15


def test_a_failure_gives_everything_back() -> None:
    limits = make_limits(memory=10 * MB)

    def fail_while_decoding() -> None:
        with limits.file(0, threading.Event()) as file, file.decoding(8 * MB):
            raise ValueError("damaged")

    def fail_while_computing() -> None:
        with limits.file(0, threading.Event()) as file:
            with file.decoding(MB):
                pass
            with file.computing(Footprint(8 * MB, MB)):
                raise ValueError("damaged")

    for fail in (fail_while_decoding, fail_while_computing) * 3:
        with pytest.raises(ValueError, match="damaged"):
            fail()
    assert limits.peak_held <= 10 * MB


def test_cancelling_ends_the_waiting() -> None:
    limits, cancel, begun = make_limits(shares=False), threading.Event(), threading.Event()
    caught: list[bool] = []

    def holder() -> None:
        with limits.file(0, cancel) as file, file.computing(Footprint(1, 1)):
            begun.set()
            cancel.wait(10)

    def waiter() -> None:
        begun.wait(10)
        with (
            pytest.raises(CancelledError),
            limits.file(1, cancel) as file,
            file.computing(Footprint(1, 1)),
        ):
            pass
        caught.append(True)

    threads = [threading.Thread(target=target) for target in (holder, waiter)]
    for thread in threads:
        thread.start()
    begun.wait(10)
    time.sleep(0.05)
    cancel.set()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert caught == [True]


def test_the_time_in_which_something_was_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    busy = BusyTime()
    assert busy.seconds == 0, "nothing has run yet"
    events = [(0, "in"), (1, "in"), (2, "out"), (3, "out"), (5, "in"), (7, "out"), (9, "")]
    for second, what in events:
        now = 100.0 + second
        if what == "in":
            busy.enter()
        elif what == "out":
            busy.leave()
    assert busy.seconds == pytest.approx(5)
