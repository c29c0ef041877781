"""OpenCV's decoders, kept from printing: what goes wrong is raised."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.codecs.header import describe
from kaleidoscope.errors import DecodeError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def opencv(data: bytes, flags: int) -> NDArray[Any]:
    """Decode as (H, W, C), as it lies: never turned by OpenCV, which reads EXIF only of some formats."""
    if flags != cv2.IMREAD_UNCHANGED:  # that one is -1, all bits set, and implies it
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    with _silent_opencv():
        pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise DecodeError(f"cut short or corrupt: {describe(data)}, of which OpenCV makes no picture")
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


class _Silence:
    """Holds OpenCV's log back while any of our decodes runs: what goes wrong is raised, not printed.

    A counter, because decodes overlap: the last one out would else restore what the first one in had set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._level = 0

    def enter(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                cv2.utils.logging.setLogLevel(self._level)


_silence = _Silence()


@contextmanager
def _silent_opencv() -> Iterator[None]:
    _silence.enter()
    try:
        yield
    finally:
        _silence.leave()
