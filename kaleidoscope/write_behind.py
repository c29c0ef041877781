"""Writes that go on behind a task's back."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from kaleidoscope.settings import DEFAULTS

if TYPE_CHECKING:
    from kaleidoscope.storage import Buffer, Store

#: Writes under way behind a task's back where nobody sets another number.
WRITES_AT_ONCE: int = DEFAULTS["writes-at-once"]


class WriteBehind:
    """Writes while the caller goes on computing; at most `at_once` objects wait.

    On the machine's own disk a write is cheaper than handing it to a thread, and happens at once. Leaving the
    block waits until every write is confirmed, and raises the first error there was.
    """

    def __init__(self, store: Store, at_once: int = WRITES_AT_ONCE) -> None:
        self.store = store
        self.at_once = at_once
        self._pool: ThreadPoolExecutor | None = None
        self._under_way: list[Future[None]] = []

    def __enter__(self) -> Self:
        """Start; threads are made with the first write that needs them."""
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Wait for the writes; let their first error out, unless another one is on its way."""
        try:
            if kind is None:
                self.wait()
        finally:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)

    def write(self, name: str, data: Buffer) -> None:
        """Write an object, now or soon."""
        if self.store.local:
            self.store.write(name, data)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.at_once, thread_name_prefix="kaleidoscope-write")
        if len(self._under_way) >= self.at_once:
            self._under_way.pop(0).result()
        self._under_way.append(self._pool.submit(self.store.write, name, data))

    def wait(self) -> None:
        """Return once every write so far is confirmed."""
        while self._under_way:
            self._under_way.pop(0).result()
