"""Means and sums over the neighbours of each pixel, for every dtype and number of channels; sizes of kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Part
from kaleidoscope.ops.channels import by_groups

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

#: How far to the right of and below a pixel another one lies.
Offset = tuple[int, int]


# ---- sizes


def odd_sizes(part: Part, name: str, *, least: int = 3) -> None:
    """Check a field that is a range of kernel sizes, and store it as odd ones: an even end becomes the next odd one.

    Raises
    ------
    RecipeError
        If it is no range of whole numbers from `least` on.
    """
    expected = (
        f"kernel sizes in pixels, at least {least} (an even one is taken for the next odd one): "
        f"a number x for ({least}, x), or a pair (least, greatest)"
    )
    fields.pair(part, name, start=least, low=least, whole=True, expected=expected)
    first, last = getattr(part, name)
    fields.set_field(part, name, (first | 1, last | 1))


def draw_size(rng: Generator, sizes: int | tuple[int, int]) -> int:
    """Draw evenly from the odd numbers of a range that `odd_sizes` has checked.

    Examples
    --------
    >>> draw_size(np.random.default_rng(), (5, 5))
    5
    """
    least, greatest = cast("tuple[int, int]", sizes)
    return least + 2 * int(rng.integers((greatest - least) // 2 + 1))


# ---- values


def keep_range(src: NDArray[Any], out: NDArray[Any]) -> None:
    """Clip float pixels to [0, 1], or, where they had left it (normalized ones), to the range that they had.

    For means, whose weights add up to 1 but for rounding; integers saturate by themselves.
    """
    if out.dtype == np.float32:
        np.clip(out, min(0.0, src.min()), max(1.0, src.max()), out=out)


def store(values: NDArray[Any], scale: float, out: NDArray[Any]) -> NDArray[Any]:
    """Fill `out` with ``scale * values``, for integers rounded and saturated; return what OpenCV returned.

    Values for integers are at least 0.
    """
    if out.dtype == np.uint8:
        return cv2.convertScaleAbs(values, dst=out, alpha=scale)
    if out.dtype == np.float32:
        np.multiply(values, np.float32(scale), out=out)
        return out
    return cv2.addWeighted(values, scale, values, 0.0, 0.0, dst=out, dtype=cv2.CV_16U)


def convolve(src: NDArray[Any], weights: NDArray[np.float32], out: NDArray[Any]) -> None:
    """Fill `out` with the sums of the pixels around each, shape (H, W, C), weighted by a small odd kernel.

    The weight at row i and column j is that of the pixel i - n // 2 below and j - n // 2 to the right. Beyond the
    border the image is mirrored about its outermost pixels (``reflect_101``).
    """
    border = cv2.BORDER_REFLECT_101
    by_groups(lambda some, made, _: cv2.filter2D(some, -1, weights, dst=made, borderType=border), src, out)


#: ``cv2.filter2D`` multiplies 8-bit images by kernels up to this size, and takes larger ones through a Fourier
#: transform: 20 ms for 512 x 512 x 3, of 15 pixels or 300.
_DIRECT = 11
#: Of an image whose sums of runs are made at a time; they stay in the processor's cache: of a disc of 9 pixels all at
#: once took three times as long.
_ROWS = 128


def mean_over(src: NDArray[Any], offsets: Iterable[Offset], out: NDArray[Any]) -> None:
    """Fill `out` with the means over the pixels at some offsets, (across, down), from each, shape (H, W, C).

    Exact for integers. Beyond the border the image is mirrored about its outermost pixels (``reflect_101``).
    """
    places = sorted(set(offsets), key=lambda place: place[::-1])
    reach = max(max(abs(across), abs(down)) for across, down in places)
    if 2 * reach + 1 <= _DIRECT and len(places) <= _DIRECT:
        weights = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
        for across, down in places:
            weights[down + reach, across + reach] = 1 / len(places)
        convolve(src, weights, out)
    else:
        by_groups(lambda some, made, _: _sum_runs(some, _runs(places), reach, made), src, out)
    keep_range(src, out)


#: A box filter takes as long as so many additions.
_BOX = 8


def _runs(places: list[Offset]) -> list[tuple[int, int, int]]:
    """Return neighbours in a row together: how far across and down the first is, and how many there are.

    Runs of a length that is not worth a box filter are returned pixel by pixel.

    Examples
    --------
    >>> _runs([(0, -1), *((across, 0) for across in range(-4, 5)), (0, 1), (1, 1)])
    [(0, -1, 1), (-4, 0, 9), (0, 1, 1), (1, 1, 1)]
    """
    numbered = groupby(enumerate(places), key=lambda item: (item[1][1], item[1][0] - item[0]))
    runs = [[place for _, place in run] for _, run in numbered]
    saved = Counter[int]()
    for run in runs:
        saved[len(run)] += len(run) - 1
    worth = [[run] if saved[len(run)] >= _BOX else [[place] for place in run] for run in runs]
    return [(*run[0], len(run)) for parts in worth for run in parts]


def _sum_runs(src: NDArray[Any], runs: list[tuple[int, int, int]], reach: int, out: NDArray[Any]) -> NDArray[Any]:
    """Fill `out` with the means: for each length of a run one box filter along the rows, and one addition a run."""
    count = sum(length for _, _, length in runs)
    # Whole numbers in 16 bits while they fit: half the memory of floats.
    narrow = src.dtype == np.uint8 and count <= 257
    kind, depth = (np.dtype("uint16"), cv2.CV_16U) if narrow else (np.dtype("float32"), cv2.CV_32F)
    height, width, channels = out.shape
    around = cv2.copyMakeBorder(src, reach, reach, reach, reach, cv2.BORDER_REFLECT_101)
    around = around.reshape(height + 2 * reach, width + 2 * reach, channels)
    for top in range(0, height, _ROWS):
        rows = min(_ROWS, height - top)
        part: NDArray[Any] = around[top : top + rows + 2 * reach]
        if not narrow:
            part = part.astype(kind)
        total: NDArray[Any] = np.zeros((rows, width, channels), kind)
        sums: dict[int, NDArray[Any]] = {1: part.astype(kind, copy=False)}
        for across, down, length in runs:
            if length not in sums:
                summed = cv2.boxFilter(part, depth, (length, 1), anchor=(0, 0), normalize=False)
                sums[length] = summed.reshape(part.shape)
            left, first = reach + across, reach + down
            cv2.add(total, sums[length][first : first + rows, left : left + width], dst=total)
        store(total, 1 / count, out[top : top + rows])
    return out
