"""Ops that smooth."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, into, op
from kaleidoscope.ops.channels import by_groups
from kaleidoscope.ops.convolve import draw_size, keep_range, odd_sizes
from kaleidoscope.ops.scratch import scratch

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame


@op
class GaussianBlur(Op):
    """Convolve with a Gaussian of a width drawn uniformly from `sigma_limit`.

    The weights at whole distances x from the middle, |x| <= (ksize - 1) / 2, are ::

        w(x) = exp(-x**2 / (2 * sigma**2)) / (the sum of all of them)

    along rows and columns; beyond the border the image is mirrored about its outermost pixels
    (``reflect_101``). Any dtype and number of channels, alpha included: its edges move with the picture's.
    A `sigma` of 0 or a `ksize` of 1 changes nothing. ``uint8`` of a sigma of 2.2 or more is smoothed at half its size,
    between the two steps of a Gaussian pyramid (Burt and Adelson, 1983, "The Laplacian pyramid as a compact image
    code"): within 2 levels.

    Parameters
    ----------
    blur_limit : int or (int, int), pixels
        The least and the greatest kernel size, at least 0; a single number x stands for (0, x). Drawn uniformly from
        the whole numbers of the range, an even one for the next odd one; 0 takes the size from sigma:
        ``2 * floor(3.5 * sigma) + 1``.
    sigma_limit : float or (float, float), pixels
        The least and the greatest standard deviation; a single number x stands for (0, x).

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> point = np.zeros((1, 5, 1), dtype="uint8")
    >>> point[0, 2] = 200
    >>> out = np.empty_like(point)
    >>> ops.GaussianBlur().kernel(point, {"sigma": 0.5, "ksize": 3}, out)
    >>> out.ravel().tolist()  # exp(-2) / (1 + 2 * exp(-2)) = 0.107
    [0, 21, 157, 21, 0]
    """

    blur_limit: int | tuple[int, int] = (0, 0)
    sigma_limit: fields.Range = (0.5, 3.0)

    short_name = "blur"

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        expected = "kernel sizes in pixels, at least 0: a number x for (0, x), or a pair (least, greatest)"
        fields.pair(self, "blur_limit", start=0, low=0, whole=True, expected=expected)
        expected = "pixels, at least 0: a number x for (0, x), or a pair (least, greatest)"
        fields.pair(self, "sigma_limit", start=0.0, low=0.0, expected=expected)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``sigma`` and ``ksize``, both in pixels."""
        sigma = fields.draw(rng, self.sigma_limit)
        least, greatest = cast("tuple[int, int]", self.blur_limit)
        ksize = int(rng.integers(least, greatest + 1))
        return {"sigma": sigma, "ksize": ksize | 1 if ksize else size_of(sigma)}

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), smoothed."""
        sigma, ksize = params["sigma"], params["ksize"]
        if sigma == 0 or ksize == 1:
            np.copyto(out, src)
        else:
            by_groups(lambda some, made, _: _smooth(some, sigma, ksize, made), src, out)
        keep_range(src, out)


def _smooth(src: NDArray[Any], sigma: float, ksize: int, out: NDArray[Any]) -> NDArray[Any]:
    # Not cv2.GaussianBlur: it rounds the weights of integer images, is up to 0.7 levels off for uint8 and 2.4
    # for uint16, and slower at most sizes (uint8, 21 x 21: 2.6 ms, not 1.7).
    whole = ksize >= size_of(sigma)  # else the tails are missing on purpose
    if src.dtype == np.uint8 and sigma >= _WIDE and whole and min(src.shape[:2]) >= 4 * ksize:
        return _smooth_by_half(src, sigma, out)
    weights = cv2.getGaussianKernel(ksize, sigma)
    border = cv2.BORDER_REFLECT_101
    if src.dtype != np.uint16:
        return cv2.sepFilter2D(src, -1, weights, weights, dst=out, borderType=border)
    # By way of float32: OpenCV filters uint16 itself in twice the time.
    exact = scratch("exact", src.shape, np.float32)
    into(exact, cv2.addWeighted(src, 1.0, src, 0.0, 0.0, dst=exact, dtype=cv2.CV_32F))
    smooth = scratch("smooth", src.shape, np.float32)
    into(smooth, cv2.sepFilter2D(exact, -1, weights, weights, dst=smooth, borderType=border))
    return cv2.addWeighted(smooth, 1.0, smooth, 0.0, 0.0, dst=out, dtype=cv2.CV_16U)


def size_of(sigma: float) -> int:
    """Return the size of a kernel outside which next to nothing lies."""
    return 2 * int(3.5 * sigma) + 1


#: From this sigma on 8-bit images are smoothed at half their size; below, what aliases would show.
_WIDE = 2.2


def _smooth_by_half(src: NDArray[Any], sigma: float, out: NDArray[Any]) -> NDArray[Any]:
    """Smooth 8-bit pixels at half their size: half the time, and within 2 levels, 0.25 on average instead of 0.21.

    Burt and Adelson's binomial 1 4 6 4 1, which shrinks and which enlarges, has a variance of 1 each time; what is
    left of sigma is smoothed in between.
    """
    height, width = src.shape[:2]
    inner = math.sqrt(sigma * sigma - 2) / 2
    ksize = size_of(inner)
    margin = ksize // 2 + 2  # the enlarging looks two pixels beyond
    small = cv2.copyMakeBorder(cv2.pyrDown(src), margin, 0, margin, 0, cv2.BORDER_REFLECT_101)
    # The mirror stands on the last row and column, of which every second is left: on it, or half a pixel beyond.
    for (bottom, right), side in zip(((margin, 0), (0, margin)), (height, width), strict=True):
        mirror = cv2.BORDER_REFLECT_101 if side % 2 else cv2.BORDER_REFLECT
        small = cv2.copyMakeBorder(small, 0, bottom, 0, right, mirror)
    smooth = np.empty_like(small)
    into(smooth, _smooth(small, inner, ksize, smooth))
    edge = ksize // 2
    large = cv2.pyrUp(smooth[edge:-edge, edge:-edge])
    np.copyto(out, large[4 : 4 + height, 4 : 4 + width].reshape(out.shape))
    return out


@op
class MedianBlur(Op):
    """Replace each value by the median of the square around it, of a size drawn evenly from the odd ones of a range.

    The median of ksize x ksize values of the channel, exact for every dtype; beyond the border the outermost pixels
    are repeated (``replicate``). Any number of channels, alpha included: its edges move with the picture's.

    OpenCV finds medians of any size for ``uint8``, and up to 5 x 5 for ``uint16`` and ``float32``. Larger ones of
    these NumPy sorts out: 7 x 7 of 512 x 512 x 3 takes 0.10 and 0.15 s, not the 0.02 s of ``uint8``; 21 x 21 takes
    0.4 and 0.8 s.

    Parameters
    ----------
    blur_limit : int or (int, int), pixels
        The least and the greatest kernel size, at least 3; a single number x stands for (3, x). An even end is taken
        for the next odd number.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> speck = np.array([[[10], [255], [30], [40]]], dtype="uint8")
    >>> out = np.empty_like(speck)
    >>> ops.MedianBlur().kernel(speck, {"ksize": 3}, out)
    >>> out.ravel().tolist()
    [10, 30, 40, 40]
    """

    blur_limit: int | tuple[int, int] = (3, 7)

    short_name = "median"

    def __post_init__(self) -> None:
        """Check the range.

        Raises
        ------
        RecipeError
            If it is not one of sizes from 3.
        """
        odd_sizes(self, "blur_limit")

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``ksize``, in pixels."""
        return {"ksize": draw_size(rng, self.blur_limit)}

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with the medians of `src`, shape (H, W, C)."""
        ksize = params["ksize"]
        if src.dtype == np.uint8 or ksize <= _MEDIAN_OF_ANY_DTYPE:
            by_groups(lambda some, made, _: cv2.medianBlur(some, ksize, dst=made), src, out)
        else:
            for channel in range(src.shape[2]):
                _sort_out(np.ascontiguousarray(src[..., channel]), ksize, out[..., channel])


#: ``cv2.medianBlur`` takes uint16 and float32 up to this size.
_MEDIAN_OF_ANY_DTYPE = 5
#: Values that are sorted at a time: 16 MiB of float32.
_SORTED_AT_ONCE = 2**22


def _sort_out(src: NDArray[Any], ksize: int, out: NDArray[Any]) -> None:
    """Fill `out`, shape (H, W), with the medians of `src`, a part at a time."""
    margin, area = ksize // 2, ksize * ksize
    padded = cv2.copyMakeBorder(src, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    squares = np.lib.stride_tricks.sliding_window_view(padded, (ksize, ksize))
    width = min(src.shape[1], max(1, _SORTED_AT_ONCE // area))
    rows = max(1, _SORTED_AT_ONCE // (area * width))
    for top in range(0, src.shape[0], rows):
        for left in range(0, src.shape[1], width):
            here = np.s_[top : top + rows, left : left + width]
            values = squares[here].copy().reshape(*out[here].shape, area)  # not src's own: it is sorted in place
            values.partition(area // 2, axis=-1)
            out[here] = values[..., area // 2]
