"""Compressed tar files, unpacked once in a process into files that have no name: nothing of them is ever left behind.

What is compressed as a whole is read from its start, however little of it is wanted. A file without a name is gone with
the process that opened it, however that ends.
"""

from __future__ import annotations

import gzip
import tempfile
import threading
import weakref
import zlib
from collections import OrderedDict
from collections.abc import Callable
from typing import IO

from dask.utils import format_bytes

from kaleidoscope import settings
from kaleidoscope.errors import StoreError
from kaleidoscope.urls import public

_CHUNK = 2**20

#: Of this process, by URL and version, the one used last at the end.
_held: OrderedDict[tuple[str, int], Unpacked] = OrderedDict()
_lock = threading.Lock()
#: One for each that is being unpacked: who wants the same waits, who wants another does not.
_under_way: dict[tuple[str, int], threading.Lock] = {}


class Unpacked:
    """The content of a compressed file, on this machine's disk until nobody holds it any more.

    Parameters
    ----------
    packed : file
        The compressed one, at its start.
    most : int
        Bytes that it may come to.

    Raises
    ------
    StoreError
        If it is more.
    EOFError, OSError, zlib.error
        If the compressed file was cut off or is damaged, or the disk is full.
    """

    def __init__(self, packed: IO[bytes], most: int) -> None:
        self._file = tempfile.TemporaryFile(prefix="kaleidoscope-")  # noqa: SIM115 - it outlives this call
        self._lock = threading.Lock()
        self.size = 0
        weakref.finalize(self, self._file.close)
        with gzip.open(packed) as content:
            while chunk := content.read(_CHUNK):
                self.size += len(chunk)
                if self.size > most:
                    raise StoreError(
                        f"it unpacks to more than the {format_bytes(most)} of the setting kaleidoscope.unpacked-bytes: "
                        "raise it, or unpack the file yourself: a plain tar or zip file is read without a copy"
                    )
                self._file.write(chunk)
        self._file.flush()

    def read(self, start: int, end: int) -> bytes:
        """Return its bytes from a place to another."""
        with self._lock:
            self._file.seek(start)
            return self._file.read(end - start)


def unpacked(url: str, mark: int, open_packed: Callable[[], IO[bytes]]) -> Unpacked:
    """Return a compressed file's content, read from the store where this process does not hold it.

    Those that were used longest ago are given up as soon as all together take more than ``unpacked-bytes``.

    Parameters
    ----------
    url : str
        Where it lies.
    mark : int
        Of its version.
    open_packed : callable
        Opens it.

    Raises
    ------
    StoreError
        If it cannot be read, is damaged, or is larger than that.
    """
    key = (url, mark)
    with _lock:
        own = _under_way.setdefault(key, threading.Lock())
    try:
        with own:
            with _lock:
                if key in _held:
                    _held.move_to_end(key)
                    return _held[key]
            return _hold(key, _unpack(url, open_packed))
    finally:
        with _lock:
            _under_way.pop(key, None)


def _unpack(url: str, open_packed: Callable[[], IO[bytes]]) -> Unpacked:
    try:
        with open_packed() as packed:
            return Unpacked(packed, settings.value("unpacked-bytes"))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise StoreError(f"cannot unpack {public(url)}: it is damaged, was cut off, or is no gzip: {error}") from None
    except StoreError as error:
        raise StoreError(f"cannot unpack {public(url)}: {error.message}") from None


def _hold(key: tuple[str, int], one: Unpacked) -> Unpacked:
    with _lock:
        _held[key] = one
        total = sum(each.size for each in _held.values())
        while total > settings.value("unpacked-bytes"):
            _, oldest = _held.popitem(last=False)
            total -= oldest.size
    return one
