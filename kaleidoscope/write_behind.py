"""Writes that go on behind a task's back."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Self

from kaleidoscope.flow import Bounds, Flow
from kaleidoscope.pieces import size_of

if TYPE_CHECKING:
    from kaleidoscope.pieces import Content
    from kaleidoscope.storage import Store


class WriteBehind:
    """Writes while the caller goes on computing, within bounds.

    On the machine's own disk a write is cheaper than handing it to a thread, and happens at once. Leaving the
    block waits until every write is confirmed, and raises the first error there was.

    Parameters
    ----------
    store : Store
        Where to.
    bounds : Bounds
        Of what is on its way.
    """

    def __init__(self, store: Store, bounds: Bounds = Flow().writes) -> None:  # noqa: B008 - frozen
        self.store = store
        self.bounds = bounds
        self._pool: ThreadPoolExecutor | None = None
        self._under_way: deque[Future[None]] = deque()
        self._changed = threading.Condition()
        self._number = self._size = 0
        self._error: BaseException | None = None

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

    def write(self, name: str, data: Content) -> None:
        """Write an object, now or soon.

        Raises
        ------
        StoreError
            If this one, or one before, cannot be written.
        """
        if self.store.local:
            self.store.write(name, data)
        else:
            self._begin(partial(self.store.write, name, data), size_of(data))

    def then(self, call: Callable[[], None], size: int = 0) -> None:
        """Call something once every write and call so far is confirmed, now or soon; it counts as a write.

        If one of them fails it is not called.

        Parameters
        ----------
        call : callable
            What to do.
        size : int
            Bytes that it holds.
        """
        if self.store.local:
            call()
        else:
            self._begin(partial(_after, tuple(self._under_way), call), size)

    def wait(self) -> None:
        """Return once every write so far is confirmed; raise the first error there was."""
        while self._under_way and self._error is None:
            self._under_way.popleft().result()
        if self._error is not None:
            raise self._error

    def _begin(self, call: Callable[[], None], size: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._error or self.bounds.admit(self._number, self._size, size))
            if self._error is not None:
                raise self._error
            self._number += 1
            self._size += size
        while self._under_way and self._under_way[0].done():
            self._under_way.popleft()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.bounds.number, thread_name_prefix="kaleidoscope-write")
        # First in, first out: what one of them waits for is never behind it.
        future = self._pool.submit(call)
        self._under_way.append(future)
        future.add_done_callback(partial(self._ended, size))

    def _ended(self, size: int, future: Future[None]) -> None:
        with self._changed:
            self._number -= 1
            self._size -= size
            if not future.cancelled():
                self._error = self._error or future.exception()
            self._changed.notify()


def _after(writes: Sequence[Future[None]], call: Callable[[], None]) -> None:
    for one in writes:
        one.result()
    call()
