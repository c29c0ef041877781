"""What a task will need, fetched while it works on what comes before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from kaleidoscope.archives import read_file
from kaleidoscope.flow import Bounds, Flow
from kaleidoscope.members import place_of
from kaleidoscope.record import ImageRecord


@dataclass(frozen=True, slots=True)
class Wanted:
    """Something that will be asked for.

    Parameters
    ----------
    name : str
        What it is known by: a URL, or the name of an object.
    fetch : callable
        Returns its bytes, or None if there is nothing.
    size : int or None
        How many bytes that will be, where it is known.
    """

    name: str
    fetch: Callable[[], bytes | None]
    size: int | None = None


def images_ahead(records: Iterable[ImageRecord]) -> Iterator[Wanted]:
    """Yield those images that are read from a store: a file of this machine is read when its turn comes."""
    for record in records:
        source = record.source
        if record.pixels is None and record.error is None and source is not None and _far(source.url):
            yield _at(source.url, source.storage_options, source.size)


def _far(url: str) -> bool:
    return "://" in place_of(url)


def _at(url: str, storage_options: Mapping[str, Any], size: int | None) -> Wanted:
    return Wanted(url, partial(read_file, url, storage_options), size)


class ReadAhead:
    """Fetches what will be asked for, in the order of asking, while the caller works on what it got before.

    Parameters
    ----------
    wanted : iterable of Wanted
        In the order in which they will be asked for; some of them may not be. Looked at no sooner than there is room.
    bounds : Bounds
        Of what is fetched and was not asked for yet. Where nobody knows a size, it counts as the largest so far.

    Examples
    --------
    >>> first, second = Wanted("a", lambda: b"1"), Wanted("b", lambda: b"2")
    >>> with ReadAhead([first, second]) as ahead:
    ...     ahead.get(first), ahead.get(second)
    (b'1', b'2')
    """

    def __init__(self, wanted: Iterable[Wanted], bounds: Bounds = Flow().reads) -> None:  # noqa: B008 - frozen
        self.bounds = bounds
        self._wanted = iter(wanted)
        self._next = next(self._wanted, None)
        self._fetched: deque[tuple[Wanted, Future[bytes | None]]] = deque()
        self._largest = 0
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        """Begin with the first of them."""
        self._go_on()
        return self

    def __exit__(self, *_: object) -> None:
        """Give up what was not asked for, and end the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def get(self, wanted: Wanted) -> bytes | None:
        """Return what was fetched by this name, and raise what fetching it raised; what was to come before is dropped.

        What is not to come, or was dropped, is fetched now.
        """
        while self._fetched or self._next is not None:
            if not self._fetched:
                self._go_on()
            coming, future = self._fetched.popleft()
            if coming.name == wanted.name:
                self._go_on()
                found = future.result()
                self._largest = max(self._largest, len(found or b""))
                return found
            future.cancel()
        return wanted.fetch()

    def read(self, url: str, storage_options: Mapping[str, Any]) -> bytes:
        """Return the bytes at a URL, which were fetched if `images_ahead` had it.

        Raises
        ------
        StoreError
            If they cannot be read.
        """
        return self.get(_at(url, storage_options, None)) or b"" if _far(url) else read_file(url)

    def _go_on(self) -> None:
        while self._next is not None:
            size = self._size(self._next)
            if not self.bounds.admit(len(self._fetched), sum(self._size(one) for one, _ in self._fetched), size):
                return
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.bounds.number, thread_name_prefix="kaleidoscope-read")
            self._fetched.append((self._next, self._pool.submit(self._next.fetch)))
            self._next = next(self._wanted, None)

    def _size(self, wanted: Wanted) -> int:
        return self._largest if wanted.size is None else wanted.size
