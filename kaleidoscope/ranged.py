"""Files that are read by ranges, as few as may be: where each costs a request, near ones are one."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from typing import Any

from kaleidoscope.errors import StoreError
from kaleidoscope.objects import objects_of
from kaleidoscope.storage import filesystem

#: Bytes read at a time where the last ones were near. What 30 ms of waiting for an answer cost is about that many at
#: 100 MB/s, so that what is smaller is read through, and what is larger passed over.
WINDOW = 2**22
#: Bytes read where something was passed over: a header, and room for a longer one.
FAR_WINDOW = 2**14


def read_range(url: str, storage_options: Mapping[str, Any], start: int, end: int) -> bytes:
    """Return some bytes of a file; fewer where it ends before."""
    if "://" not in url:
        with open(url, "rb", buffering=0) as file:  # noqa: PTH123 - Path.open costs twice the time
            file.seek(start)
            return file.read(end - start)
    fs, path = filesystem(url, storage_options)
    found = objects_of(fs, url, storage_options).get_range(path, start, end)
    return found if len(found) <= end - start else found[start:end]  # a server that knows no ranges sends it all


class RangedFile(io.RawIOBase):
    """A file of which ranges are read, for `zipfile` and `tarfile`: near ones in one go, and none between far ones.

    Parameters
    ----------
    read_range : callable
        Returns the bytes from a place to another.
    size : int
        Bytes.
    window : int
        Bytes that are read at a time where the last ones were near; a disk has no need of many.
    """

    def __init__(self, read_range: Callable[[int, int], bytes], size: int, window: int) -> None:
        self._read_range = read_range
        self._size = size
        self._window = window
        self._at = self._first = self._last = 0
        self._held = b""

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return where it is."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if self._at < 0:
            raise OSError(f"there is nothing before the start, at {self._at}")
        return self._at

    def fetch(self, start: int, length: int) -> None:
        """Read and hold a part of it."""
        end = min(start + length, self._size)
        held = self._read_range(start, end) if start < end else b""
        if len(held) != max(end - start, 0):
            raise StoreError(f"it has changed while it was read: expected {end - start:,} bytes, got {len(held):,}")
        self._first, self._held = start, held

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as there is something."""
        wanted = min(len(buffer), max(self._size - self._at, 0))
        if not self._first <= self._at <= self._at + wanted <= self._first + len(self._held):
            far = abs(self._at - self._last) > WINDOW // 2
            self.fetch(self._at, max(wanted, FAR_WINDOW if far else self._window))
        place = self._at - self._first
        buffer[:wanted] = self._held[place : place + wanted]
        self._at = self._last = self._at + wanted
        return wanted
