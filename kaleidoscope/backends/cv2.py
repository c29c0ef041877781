"""The CPU: OpenCV warps and the ops' own kernels, in buffers that are used again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.backends.moves import Move, Warp
from kaleidoscope.errors import OpError
from kaleidoscope.ops.base import Resampling, into
from kaleidoscope.ops.interpolate import interpolate
from kaleidoscope.ops.scratch import aligned
from kaleidoscope.record import Frame, name_of

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
        self._free: dict[tuple[tuple[int, ...], str], list[NDArray[Any]]] = {}
        self._lent = 0
        #: Views that are lent, by their `id`, and the buffer that each is a part of, if it is one of these.
        self._windows: dict[int, tuple[NDArray[Any], NDArray[Any] | None]] = {}

    def take(self, frame: Frame) -> NDArray[Any]:
        """Return a buffer of that frame, its content undefined; hand it back with `release`."""
        self._lent += 1
        free = self._free.get((frame.shape, frame.dtype))
        if free:
            return free.pop()
        if self._lent + sum(map(len, self._free.values())) > MOST_BUFFERS:
            self._free.clear()  # they are of other frames: images, or what is cut out of them, differ in size
        self.counts["buffer"] += 1
        return aligned(frame.shape, frame.dtype)

    def release(self, pixels: NDArray[Any]) -> None:
        """Take a buffer back, to be used again, or a window, with the buffer that was kept for it."""
        if (lent := self._windows.pop(id(pixels), None)) is not None:
            if lent[1] is not None:
                self.release(lent[1])
            return
        self._lent -= 1
        self._free.setdefault((pixels.shape, name_of(pixels)), []).append(pixels)

    def apply(self, src: NDArray[Any], moves: Sequence[Move]) -> NDArray[Any]:
        """Return what some applications, one after another, make of `src`, in a new buffer.

        Where they only cut a part out it is a view of that part, of use as long as `src` stays as it is.
        """
        now = src
        for move in moves:
            try:
                made, window = self._apply_one(now, move)
            except BaseException:
                if now is not src:
                    self.release(now)
                raise
            if window:
                self._windows[id(made)] = (made, None if now is src else now)
            elif now is not src:
                self.release(now)
            now = made
        if now is not src:
            return now
        out = self.take(Frame.of(src))  # nothing was drawn: the outcome is lent and taken back like any other
        np.copyto(out, src)
        return out

    def _apply_one(self, src: NDArray[Any], move: Move) -> tuple[NDArray[Any], bool]:
        """Return the outcome, and whether it is a window of `src`."""
        if isinstance(move, Warp):
            return self.warp(src, move.matrix, move.resampling, move.after), False
        part = move.op.window(src, move.params)
        if part is not None:
            if Frame.of(part) != move.after:
                raise OpError(f"{type(move.op).__name__} announced {move.after}, and its window is {Frame.of(part)}")
            self.counts["kernel"] += 1
            return part.view(), True  # an array of its own, also where the window is all of `src`
        out = self.take(move.after)
        try:
            move.op.kernel(src, move.params, out)
        except BaseException:
            self.release(out)
            raise
        self.counts["kernel"] += 1
        return out, False

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
    if matrix[2].tolist() == [0, 0, 1]:
        interpolate(lambda some, **how: cv2.warpAffine(some, matrix[:2], size, **how), src, out, resampling)
    else:
        interpolate(lambda some, **how: cv2.warpPerspective(some, matrix, size, **how), src, out, resampling)


#: The symmetries of a rectangle, by the corner of their matrix, row by row: how OpenCV makes each, many times as fast
#: as a copy by NumPy, and for how many channels.
_SYMMETRIES: dict[tuple[float, ...], tuple[Callable[..., NDArray[Any]] | None, int]] = {
    (1, 0, 0, 1): (None, 0),
    (-1, 0, 0, 1): (partial(cv2.flip, flipCode=1), 128),
    (1, 0, 0, -1): (partial(cv2.flip, flipCode=0), 128),
    (-1, 0, 0, -1): (partial(cv2.flip, flipCode=-1), 128),
    (0, -1, 1, 0): (partial(cv2.rotate, rotateCode=cv2.ROTATE_90_CLOCKWISE), 4),
    (0, 1, -1, 0): (partial(cv2.rotate, rotateCode=cv2.ROTATE_90_COUNTERCLOCKWISE), 4),
    (0, 1, 1, 0): (cv2.transpose, 4),
    (0, -1, -1, 0): (None, 0),
}
#: By how much a matrix that permutes pixels may be off: sines and cosines are, in the last bits.
_ROUNDING = 1e-6


def _permute(src: NDArray[Any], matrix: NDArray[np.float64], out: NDArray[Any]) -> None:
    """Move whole pixels by one of the eight symmetries of a rectangle."""
    (a, b, x), (c, d, y), _ = matrix.tolist()  # in plain numbers: NumPy's comparisons take as long as the flip
    exact = (a, b, c, d) in _SYMMETRIES and x.is_integer() and y.is_integer()
    if not exact and np.abs(matrix - np.rint(matrix)).max() <= _ROUNDING:
        (a, b, x), (c, d, y), _ = np.rint(matrix).tolist()  # a product of sines and cosines
    across, down = (a, d) if a else (b, c)
    moved = src if a else src.transpose(1, 0, 2)
    last = (out.shape[1] - 1 if across < 0 else 0, out.shape[0] - 1 if down < 0 else 0)
    if (a, b, c, d) not in _SYMMETRIES or (x, y) != last or moved.shape != out.shape:
        raise OpError(f"expected a matrix that moves pixels onto pixels of {Frame.of(out)}, got {matrix.tolist()}")
    call, most = _SYMMETRIES[a, b, c, d]
    if call is not None and src.shape[2] <= most:
        into(out, call(src, dst=out))
    else:
        np.copyto(out, moved[:: int(down), :: int(across)])
