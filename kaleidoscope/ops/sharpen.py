"""Ops that bring edges out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, op
from kaleidoscope.ops.channels import by_groups
from kaleidoscope.ops.convolve import convolve, draw_size, odd_sizes
from kaleidoscope.record import max_value_of

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

_MIDDLE = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32)
_BORDER = cv2.BORDER_REFLECT_101


def _finish(src: NDArray[Any], out: NDArray[Any]) -> None:
    """Clip float pixels to [0, 1], as integers are by themselves, and put alpha back."""
    if out.dtype == np.float32:
        np.clip(out, 0, 1, out=out)
    if src.shape[2] == 4:
        out[..., 3] = src[..., 3]


@op
class Sharpen(Op):
    """Add to each pixel some of what sets it apart from its neighbours.

    ``kernel``: the image, and its difference to its eight neighbours and a little of itself::

        out = clip((1 - alpha) * pixel + alpha * ((8 + lightness) * pixel - the sum of its neighbours))

    which multiplies an area of one colour by ``1 - alpha + alpha * lightness``. ``gaussian``: ::

        out = clip(pixel + alpha * (pixel - smooth))

    where `smooth` is the image smoothed by a Gaussian, `kernel_size` pixels wide. Both are clipped to the range of the
    dtype; beyond the border the image is mirrored about its outermost pixels (``reflect_101``). Any dtype and number of
    channels; of four the last is alpha, and stays. ``uint8`` by ``gaussian`` is within a level of the formula.

    Albumentations 2.0.8 adds 256 wherever ``pixel - smooth`` is negative in 8-bit images; this is not followed.

    Parameters
    ----------
    alpha : float or (float, float), in [0, 1]
        How much; a single number x stands for (x, x), here and below.
    lightness : float or (float, float), at least 0
        For ``kernel``: below 1 it darkens, above it brightens.
    method : {"kernel", "gaussian"}
    kernel_size : int, pixels
        For ``gaussian``: at least 3; an even one is taken for the next odd one.
    sigma : float, pixels
        For ``gaussian``: the standard deviation, above 0.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> edge = np.array([[[100], [100], [120], [120]]], dtype="uint8")
    >>> out = np.empty_like(edge)
    >>> ops.Sharpen().kernel(edge, {"alpha": 0.5, "lightness": 1.0}, out)
    >>> out.ravel().tolist()  # 3 of its 8 neighbours are 20 darker or brighter
    [100, 70, 150, 120]
    """

    alpha: fields.Range = (0.2, 0.5)
    lightness: fields.Range = (0.5, 1.0)
    method: str = "kernel"
    kernel_size: int = 5
    sigma: float = 1.0

    short_name = "sharpen"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.pair(self, "alpha", low=0, high=1, expected=_PART)
        expected = "a number of at least 0, or a pair (least, greatest) of them"
        fields.pair(self, "lightness", low=0, expected=expected)
        fields.choice(self, "method", ("kernel", "gaussian"))
        fields.whole(self, "kernel_size", low=3, expected="pixels, at least 3")
        fields.set_field(self, "kernel_size", self.kernel_size | 1)
        # The least number above 0 stands for "above 0".
        fields.number(self, "sigma", low=math.ulp(0.0), expected="pixels, above 0")

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``alpha`` and, for ``kernel``, ``lightness``."""
        alpha = fields.draw(rng, self.alpha)
        return {"alpha": alpha} | ({"lightness": fields.draw(rng, self.lightness)} if self.method == "kernel" else {})

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), sharpened."""
        alpha = params["alpha"]
        if self.method == "kernel":
            convolve(src, self.weights(params), out)
        else:
            weights = cv2.getGaussianKernel(self.kernel_size, self.sigma)
            by_groups(lambda some, made, _: _add_difference(some, weights, alpha, made), src, out)
        _finish(src, out)

    def weights(self, params: Params) -> NDArray[np.float32]:
        """Return what a pixel and its neighbours weigh by ``kernel``, shape (3, 3)."""
        alpha = params["alpha"]
        weights: NDArray[np.float32] = (1 + alpha * (8 + params["lightness"])) * _MIDDLE - np.float32(alpha)
        return weights


_PART = "a part in [0, 1], or a pair (least, greatest) of them"


def _add_difference(src: NDArray[Any], weights: NDArray[Any], alpha: float, out: NDArray[Any]) -> NDArray[Any]:
    # uint16 by way of float32, as in `blur`.
    exact = src if src.dtype != np.uint16 else src.astype(np.float32)
    smooth = np.empty(src.shape, exact.dtype)
    cv2.sepFilter2D(exact, -1, weights, weights, dst=smooth, borderType=_BORDER)
    depth = cv2.CV_16U if src.dtype == np.uint16 else -1
    return cv2.addWeighted(exact, 1 + alpha, smooth, -alpha, 0, dst=out, dtype=depth)


@op
class UnsharpMask(Op):
    """Add to each pixel some of its difference to the smoothed image, where that is more than a threshold.

    ::

        difference = pixel - smooth
        mask = 1 where |difference| > threshold / 255 * max_value, else 0
        sharp = clip(pixel + alpha * difference)
        out = pixel + smooth(mask) * (sharp - pixel)

    where `smooth` is a Gaussian, and `max_value` the largest value of the dtype (255, 65535, 1.0), to which `sharp` is
    clipped. Beyond the border the image is mirrored about its outermost pixels (``reflect_101``). Any dtype and number
    of channels; of four the last is alpha, and stays.

    Parameters
    ----------
    blur_limit : int or (int, int), pixels
        The least and the greatest size of the Gaussian, at least 3; a single number x stands for (3, x). Drawn evenly
        from the odd numbers of the range; an even end is taken for the next odd number.
    sigma_limit : float or (float, float), pixels
        Its least and greatest standard deviation; a single number x stands for (0, x). 0 takes it from the size, as
        OpenCV does: ``0.3 * ((ksize - 1) / 2 - 1) + 0.8``, or 1 2 1, 1 4 6 4 1 and 8 28 56 72 56 28 8 for up to
        7 pixels.
    alpha : float or (float, float), in [0, 1]
        How much; a single number x stands for (0, x).
    threshold : int, levels of 255, in [0, 255]
        Differences up to this stay: noise, and what is smooth.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> edge = np.array([[[100], [100], [100], [180], [180], [180]]], dtype="uint8")
    >>> out = np.empty_like(edge)
    >>> ops.UnsharpMask().kernel(edge, {"ksize": 3, "sigma": 0.0, "alpha": 0.4}, out)
    >>> out.ravel().tolist()  # a difference of 20, 0.4 of it, and 3/4 of the mask
    [100, 100, 94, 186, 180, 180]
    """

    blur_limit: int | tuple[int, int] = (3, 7)
    sigma_limit: fields.Range = (0.0, 0.0)
    alpha: fields.Range = (0.2, 0.5)
    threshold: int = 10

    short_name = "unsharp"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        odd_sizes(self, "blur_limit")
        expected = "pixels, at least 0: a number x for (0, x), or a pair (least, greatest)"
        fields.pair(self, "sigma_limit", start=0.0, low=0.0, expected=expected)
        expected = "a part in [0, 1]: a number x for (0, x), or a pair (least, greatest)"
        fields.pair(self, "alpha", start=0.0, low=0, high=1, expected=expected)
        expected = "a whole number of levels, 0 to 255"
        fields.whole(self, "threshold", low=0, expected=expected)
        if self.threshold > 255:
            raise fields.refuse(self, "threshold", self.threshold, expected)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``ksize`` and ``sigma``, in pixels, and ``alpha``."""
        ksize = draw_size(rng, self.blur_limit)
        return {"ksize": ksize, "sigma": fields.draw(rng, self.sigma_limit), "alpha": fields.draw(rng, self.alpha)}

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), sharpened."""
        weights = cv2.getGaussianKernel(params["ksize"], params["sigma"])
        threshold = self.threshold / 255 * max_value_of(src)
        by_groups(lambda some, made, _: _unsharp(some, weights, params["alpha"], threshold, made), src, out)
        _finish(src, out)


def _unsharp(
    src: NDArray[Any], weights: NDArray[Any], alpha: float, threshold: float, out: NDArray[Any]
) -> NDArray[Any]:
    # In float32: whether a difference is above the threshold shows when it is rounded before.
    exact = src.astype(np.float32, order="C")
    difference, soft = np.empty_like(exact), np.empty_like(exact)
    cv2.sepFilter2D(exact, -1, weights, weights, dst=difference, borderType=_BORDER)
    np.subtract(exact, difference, out=difference)
    mask = (np.abs(difference, out=soft) > threshold).astype(np.float32)
    cv2.sepFilter2D(mask, -1, weights, weights, dst=soft, borderType=_BORDER)
    sharp = cv2.addWeighted(exact, 1.0, difference, alpha, 0, dst=mask)
    np.clip(sharp, 0, max_value_of(src), out=sharp)
    np.subtract(sharp, exact, out=sharp)
    np.multiply(sharp, soft, out=sharp)
    np.add(exact, sharp, out=exact)
    if out.dtype == np.float32:
        np.copyto(out, exact)
    else:
        np.copyto(out, np.rint(exact, out=exact), casting="unsafe")
    return out


@op
class Emboss(Op):
    """Light the image from the top left as if it were a relief.

    Adds `alpha` times the weighted sum of the neighbours, ::

        -1 - strength   -strength   0
        -strength        0          strength
         0               strength   1 + strength

    and clips to the range of the dtype; areas of one colour stay. Beyond the border the image is mirrored about its
    outermost pixels (``reflect_101``). Any dtype and number of channels; of four the last is alpha, and stays.

    Parameters
    ----------
    alpha : float or (float, float), in [0, 1]
        How much; a single number x stands for (x, x), here and below.
    strength : float or (float, float), at least 0
        How steep the relief is.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> edge = np.array([[[100], [100], [120], [120]]], dtype="uint8")
    >>> out = np.empty_like(edge)
    >>> ops.Emboss().kernel(edge, {"alpha": 0.5, "strength": 0.5}, out)
    >>> out.ravel().tolist()  # the three to the right weigh 0 + 0.5 + 1.5
    [100, 120, 140, 120]
    """

    alpha: fields.Range = (0.2, 0.5)
    strength: fields.Range = (0.2, 0.7)

    short_name = "emboss"

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.pair(self, "alpha", low=0, high=1, expected=_PART)
        expected = "a number of at least 0, or a pair (least, greatest) of them"
        fields.pair(self, "strength", low=0, expected=expected)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``alpha`` and ``strength``."""
        return {"alpha": fields.draw(rng, self.alpha), "strength": fields.draw(rng, self.strength)}

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), as a relief."""
        convolve(src, self.weights(params), out)
        _finish(src, out)

    def weights(self, params: Params) -> NDArray[np.float32]:
        """Return what a pixel and its neighbours weigh, shape (3, 3)."""
        alpha, strength = params["alpha"], params["strength"]
        slope = np.array(
            [[-1 - strength, -strength, 0], [-strength, 0, strength], [0, strength, 1 + strength]], np.float32
        )
        weights: NDArray[np.float32] = _MIDDLE + np.float32(alpha) * slope
        return weights
