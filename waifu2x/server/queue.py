"""A bounded queue with a fair order between clients, for any number of threads."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

_Item = TypeVar("_Item")

#: Share of the places that one client may hold.
_SHARE: Final = 0.5

#: Clients without a place whose work is remembered.
_REMEMBERED: Final = 1024


class QueueFullError(Exception):
    """No place is free, for anybody or for this client; or the queue has stopped."""


@dataclass(slots=True)
class _Client(Generic[_Item]):
    """A client that holds a place.

    places: held, uploads included. used: work given to threads since the client arrived, on the
    clock of the queue.
    """

    places: int = 0
    used: float = 0.0
    waiting: deque[tuple[_Item, float]] = field(default_factory=deque)


class FairQueue(Generic[_Item]):
    """A queue that gives each client the same share of the work.

    Start-time fair queueing: the next item is that of the client with the least work so far. A
    client that arrives starts at the least work of the others, so that pauses earn no credit.
    Source: P. Goyal, H. M. Vin and H. Cheng, "Start-time Fair Queueing: A Scheduling Algorithm for
    Integrated Services Packet Switching Networks", IEEE/ACM Transactions on Networking 5 (1997).

    An item needs a place before it exists, so that an upload without a place is refused before
    its body is read.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        #: Places that one client may hold.
        self.most = max(1, int(places * _SHARE))
        self._changed = threading.Condition()
        self._clients: dict[str, _Client[_Item]] = {}
        self._clock = 0.0
        self._left: dict[str, float] = {}
        self._stopped = False

    def __len__(self) -> int:
        """The number of items that wait."""
        with self._changed:
            return sum(len(each.waiting) for each in self._clients.values())

    @property
    def held(self) -> int:
        """The number of places that are held."""
        with self._changed:
            return sum(each.places for each in self._clients.values())

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def reserve(self, client: str, count: int = 1) -> None:
        """Hold ``count`` places for ``client``; raises `QueueFullError`."""
        with self._changed:
            held = sum(each.places for each in self._clients.values())
            own = self._clients[client].places if client in self._clients else 0
            if self._stopped or held + count > self.places or own + count > self.most:
                raise QueueFullError
            self._client(client).places += count

    def release(self, client: str, count: int = 1) -> None:
        """Free places that hold no item."""
        with self._changed:
            self._free(client, count)

    def put(self, client: str, item: _Item, cost: float) -> None:
        """Put ``item`` on a place of ``client``.

        cost: the work that it needs, in any unit above 0.

        Raises `QueueFullError` if the queue has stopped; the place is free then.
        """
        with self._changed:
            if self._stopped:
                self._free(client, 1)
                raise QueueFullError
            self._clients[client].waiting.append((item, cost))
            self._changed.notify()

    def take(self) -> _Item | None:
        """Wait for the next item and free its place; None once the queue has stopped."""
        with self._changed:
            while not self._stopped:
                ready = [name for name, each in self._clients.items() if each.waiting]
                if ready:
                    # The first of equals arrived first: dictionaries keep their order.
                    name = min(ready, key=lambda each: self._clients[each].used)
                    client = self._clients[name]
                    item, cost = client.waiting.popleft()
                    self._clock = max(self._clock, client.used)
                    client.used += cost
                    self._free(name, 1)
                    return item
                self._changed.wait()
            return None

    def charge(self, client: str, cost: float) -> None:
        """Add ``cost`` to the work of ``client``, for an item that needs more than it was put with.

        Nothing changes for a cost below 0: the work of a client never shrinks.
        """
        with self._changed:
            if client in self._clients:
                self._clients[client].used += max(0.0, cost)
            elif client in self._left:
                self._left[client] += max(0.0, cost)

    def remove(self, client: str, item: _Item) -> bool:
        """Remove an item that waits and free its place; returns whether it waited."""
        with self._changed:
            owner = self._clients.get(client)
            for entry in owner.waiting if owner else ():
                if entry[0] is item:
                    assert owner is not None
                    owner.waiting.remove(entry)
                    self._free(client, 1)
                    return True
            return False

    def position(self, item: _Item) -> int | None:
        """How many items will be taken before ``item`` as things stand; None if it is not here."""
        with self._changed:
            used = {name: each.used for name, each in self._clients.items()}
            left = {name: list(each.waiting) for name, each in self._clients.items()}
            before = 0
            while ready := [name for name, waiting in left.items() if waiting]:
                name = min(ready, key=lambda each: used[each])
                found, cost = left[name].pop(0)
                if found is item:
                    return before
                used[name] += cost
                before += 1
            return None

    def stop(self) -> list[_Item]:
        """Refuse further items, end all waits, and return the items that waited."""
        with self._changed:
            self._stopped = True
            items = [item for each in self._clients.values() for item, _ in each.waiting]
            self._clients.clear()
            self._changed.notify_all()
            return items

    def _client(self, name: str) -> _Client[_Item]:
        client = self._clients.get(name)
        if client is None:
            used = max(self._clock, self._left.pop(name, 0.0))
            client = self._clients[name] = _Client(used=used)
        return client

    def _free(self, name: str, count: int) -> None:
        client = self._clients.get(name)
        if client is None:  # the queue has stopped
            return
        client.places -= count
        if client.places <= 0:
            del self._clients[name]
            if len(self._left) >= _REMEMBERED:
                self._left = {each: used for each, used in self._left.items() if used > self._clock}
            if len(self._left) < _REMEMBERED:
                self._left[name] = client.used
