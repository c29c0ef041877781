"""Ops that smooth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, op
from kaleidoscope.ops.channels import by_groups

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
    A `sigma` of 0 or a `ksize` of 1 changes nothing.

    Parameters
    ----------
    blur_limit : int or (int, int), pixels
        The least and the greatest kernel size, each odd, or 0; a single number x stands for (0, x). Drawn
        uniformly from 0 (if in the range) and the odd numbers of the range; 0 takes the size from sigma:
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
            If one is not what it should be; kernel sizes must be 0 or odd.
        """
        expected = "kernel sizes in pixels, each 0 or odd: a number x for (0, x), or a pair (least, greatest)"
        given = self.blur_limit
        fields.pair(self, "blur_limit", start=0, low=0, whole=True, expected=expected)
        if any(end and end % 2 == 0 for end in self._sizes):
            raise fields.refuse(self, "blur_limit", given, expected)
        expected = "pixels, at least 0: a number x for (0, x), or a pair (least, greatest)"
        fields.pair(self, "sigma_limit", start=0.0, low=0.0, expected=expected)

    @property
    def _sizes(self) -> tuple[int, int]:
        return cast("tuple[int, int]", self.blur_limit)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``sigma`` and ``ksize``, both in pixels."""
        sigma = fields.draw(rng, self.sigma_limit)
        least, greatest = self._sizes
        sizes = [size for size in range(least, greatest + 1) if size % 2 or size == 0]
        ksize = sizes[int(rng.integers(len(sizes)))]
        return {"sigma": sigma, "ksize": ksize or 2 * int(3.5 * sigma) + 1}

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), smoothed."""
        sigma, ksize = params["sigma"], params["ksize"]
        if sigma == 0 or ksize == 1:
            np.copyto(out, src)
        else:
            by_groups(lambda some, made, _: _smooth(some, sigma, ksize, made), src, out)
        if out.dtype == np.float32:
            np.clip(out, 0, 1, out=out)  # the weights add up to 1 but for rounding


def _smooth(src: NDArray[Any], sigma: float, ksize: int, out: NDArray[Any]) -> NDArray[Any]:
    # Not cv2.GaussianBlur: it rounds the weights of integer images, is up to 0.7 levels off for uint8 and 2.4
    # for uint16, and slower at most sizes (uint8, 21 x 21: 2.6 ms, not 1.7).
    weights = cv2.getGaussianKernel(ksize, sigma)
    border = cv2.BORDER_REFLECT_101
    if src.dtype != np.uint16:
        return cv2.sepFilter2D(src, -1, weights, weights, dst=out, borderType=border)
    # By way of float32: OpenCV filters uint16 itself in twice the time.
    exact = cv2.addWeighted(src, 1.0, src, 0.0, 0.0, dtype=cv2.CV_32F)
    smooth = cv2.sepFilter2D(exact, -1, weights, weights, borderType=border)
    return cv2.addWeighted(smooth, 1.0, smooth, 0.0, 0.0, dst=out, dtype=cv2.CV_16U)
