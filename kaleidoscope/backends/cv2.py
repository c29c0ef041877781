"""The CPU: OpenCV warps and the ops' own kernels, in buffers that are used again."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.backends.moves import Move, Warp
from kaleidoscope.errors import OpError
from kaleidoscope.ops.base import Resampling, into
from kaleidoscope.ops.interpolate import interpolate
from kaleidoscope.record import Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Buffers that are kept, unless more are in use: the main job's six ops take one each and the encoder one. With the
#: image itself that is 8 alive.
MOST_BUFFERS = 7


class Cv2Backend:
    """Applies ops to one image at a time.

    One per task: the pool of buffers belongs to one thread.

    Attributes
    ----------
    counts : Counter
        ``kernel``, ``warp`` and ``permutation`` applied, and ``buffer`` allocated.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._free: dict[Frame, list[NDArray[Any]]] = {}
        self._lent = 0

    def take(self, frame: Frame) -> NDArray[Any]:
        """Return a buffer of that frame, its content undefined; hand it back with `release`."""
        self._lent += 1
        free = self._free.get(frame)
        if free:
            return free.pop()
        if self._lent + sum(map(len, self._free.values())) > MOST_BUFFERS:
            self._free.clear()  # they are of other frames: images, or what is cut out of them, differ in size
        self.counts["buffer"] += 1
        return np.empty(frame.shape, frame.dtype)

    def release(self, pixels: NDArray[Any]) -> None:
        """Take a buffer back, to be used again."""
        self._lent -= 1
        self._free.setdefault(Frame.of(pixels), []).append(pixels)

    def apply(self, src: NDArray[Any], moves: Iterable[Move]) -> NDArray[Any]:
        """Return what some applications, one after another, make of `src`, in a new buffer."""
        now = src
        for move in list(moves):  # what cannot be done is refused before anything is
            try:
                made = self._apply_one(now, move)
            finally:
                if now is not src:
                    self.release(now)
            now = made
        if now is not src:
            return now
        out = self.take(Frame.of(src))  # nothing was drawn: the outcome is lent and taken back like any other
        np.copyto(out, src)
        return out

    def _apply_one(self, src: NDArray[Any], move: Move) -> NDArray[Any]:
        if isinstance(move, Warp):
            return self.warp(src, move.matrix, move.resampling, move.after)
        out = self.take(move.after)
        try:
            move.op.kernel(src, move.params, out)
        except BaseException:
            self.release(out)
            raise
        self.counts["kernel"] += 1
        return out

    def warp(
        self, src: NDArray[Any], matrix: NDArray[np.float64], resampling: Resampling | None, frame: Frame
    ) -> NDArray[Any]:
        """Return `src` moved by `matrix` (source to output) in a new buffer of that frame.

        Parameters
        ----------
        src : ndarray of shape (H, W, C)
        matrix : ndarray of shape (3, 3)
            In pixels with integers at pixel centres.
        resampling : Resampling or None
            None: the matrix permutes pixels, and none is interpolated.
        frame : Frame
            Of the outcome.
        """
        out = self.take(frame)
        try:
            warp_into(out, src, matrix, resampling)
        except BaseException:
            self.release(out)
            raise
        self.counts["warp" if resampling else "permutation"] += 1
        return out


def warp_into(out: NDArray[Any], src: NDArray[Any], matrix: NDArray[np.float64], resampling: Resampling | None) -> None:
    """Fill `out`, shape (H, W, C), with `src` moved by `matrix`; see `Cv2Backend.warp`."""
    if resampling is None:
        _permute(src, matrix, out)
    else:
        _warp(src, matrix, resampling, out)


def _warp(src: NDArray[Any], matrix: NDArray[np.float64], resampling: Resampling, out: NDArray[Any]) -> None:
    size = (out.shape[1], out.shape[0])
    if (matrix[2] == (0, 0, 1)).all():
        interpolate(lambda some, **how: cv2.warpAffine(some, matrix[:2], size, **how), src, out, resampling)
    else:
        interpolate(lambda some, **how: cv2.warpPerspective(some, matrix, size, **how), src, out, resampling)


#: By how much a matrix that permutes pixels may be off: products of several are, in the last bits.
_ROUNDING = 1e-6
#: OpenCV has no more channels than these.
_FLIPPED_CHANNELS = 128
#: ``cv2.flip``'s code for which axes run backwards: (across, down).
_FLIP_CODE = {(-1, 1): 1, (1, -1): 0, (-1, -1): -1}
#: OpenCV transposes no more channels than these.
_TRANSPOSED_CHANNELS = 4
#: ``cv2.rotate``'s code for the signs that remain after a transposition: (across, down).
_TURN_CODE = {(-1, 1): cv2.ROTATE_90_CLOCKWISE, (1, -1): cv2.ROTATE_90_COUNTERCLOCKWISE}


def _permute(src: NDArray[Any], matrix: NDArray[np.float64], out: NDArray[Any]) -> None:
    """Move whole pixels by one of the eight symmetries of a rectangle."""
    # In plain numbers: NumPy's allclose and sort took three times as long as the flip.
    signs = []
    for row, side in zip(matrix[:2].tolist(), (out.shape[1], out.shape[0]), strict=True):
        low = high = row[2]
        for factor, length in zip(row[:2], (src.shape[1] - 1, src.shape[0] - 1), strict=True):
            sign = round(factor)
            low, high = low + min(0, sign * length), high + max(0, sign * length)
            signs.append(sign)
            if abs(factor - sign) > _ROUNDING:
                low = math.inf
        if abs(low) > _ROUNDING or abs(high - (side - 1)) > _ROUNDING:
            raise OpError(f"expected a matrix that moves pixels onto pixels of {Frame.of(out)}, got {matrix.tolist()}")
    a, b, c, d = signs
    if (a, d) in _FLIP_CODE and src.shape[2] <= _FLIPPED_CHANNELS:
        into(out, cv2.flip(src, _FLIP_CODE[a, d], dst=out))  # 20 times as fast as a reversed copy by NumPy
    elif b == c == 0:
        np.copyto(out, src[::d, ::a])
    elif (b, c) in _TURN_CODE and src.shape[2] <= _TRANSPOSED_CHANNELS:
        into(out, cv2.rotate(src, _TURN_CODE[b, c], dst=out))  # a tenth of the time of NumPy, as is the next
    elif (b, c) == (1, 1) and src.shape[2] <= _TRANSPOSED_CHANNELS:
        into(out, cv2.transpose(src, dst=out))
    else:
        np.copyto(out, src.transpose(1, 0, 2)[::c, ::b])
