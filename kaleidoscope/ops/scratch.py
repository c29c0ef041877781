"""Arrays to work in: where the processor likes them, and kept by a thread for the next image."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

#: Where an array begins: at a line of the processor's cache. From there OpenCV inverts or flips 512 x 512 x 3 in 0.02
#: ms, and in 0.03 from where NumPy would put it.
_LINE = 64
#: Bytes of an array that a thread keeps: new memory costs as much as what is done with it.
_KEPT = 2**24
_kept = threading.local()


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return a new array, its content undefined.

    Examples
    --------
    >>> pixels = aligned((5, 7, 3), "uint16")
    >>> pixels.shape, pixels.dtype.name, pixels.ctypes.data % 64
    ((5, 7, 3), 'uint16', 0)
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    plain = np.empty(size + _LINE, np.uint8)
    start = -plain.ctypes.data % _LINE
    return plain[start : start + size].view(dtype).reshape(shape)


def scratch(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array, its content undefined: what this thread had last by that name, if it fits.

    It is of use until the next call by that name.

    Examples
    --------
    >>> scratch("planes", (2, 3), "uint8") is scratch("planes", (2, 3), "uint8")
    True
    """
    last: NDArray[Any] | None = getattr(_kept, name, None)
    if last is None or last.shape != shape or last.dtype != dtype:
        last = aligned(shape, dtype)
        setattr(_kept, name, last if last.nbytes <= _KEPT else None)
    return last
