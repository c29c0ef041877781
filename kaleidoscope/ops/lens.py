"""Ops that smear as a camera does: one that moves, is out of focus, or zooms while the shutter is open."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, op
from kaleidoscope.ops.channels import by_groups
from kaleidoscope.ops.convolve import draw_size, keep_range, mean_over, odd_sizes, store

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.ops.convolve import Offset
    from kaleidoscope.record import Frame


@op
class MotionBlur(Op):
    """Take the mean over the pixels of a line of drawn length, angle and direction: the camera moved.

    With r = ksize // 2 and direction d, the line is made of the `ksize` points ::

        (x, y) = t * (cos(angle), sin(angle)) + (r / 2) * shift
        t evenly from -r * (1 - max(d, 0)) to r * (1 + min(d, 0))

    rounded to whole pixels (x + r and y + r, halves to the even one) and kept within r pixels from the middle; each
    pixel is taken once, and all weigh the same. Beyond the border the image is mirrored about its outermost pixels
    (``reflect_101``). Any dtype and number of channels, alpha included: its edges move with the picture's.

    A line that is not in the middle moves the picture by up to ``ksize // 2`` pixels. Labels stay where they are: of
    what is smeared along a line every point is as right as any other.

    Parameters
    ----------
    blur_limit : int or (int, int), pixels
        The least and the greatest length of the line, at least 3; a single number x stands for (3, x). Drawn evenly
        from the odd numbers of the range; an even end is taken for the next odd number.
    allow_shifted : bool
        Whether the line may lie off the middle, by up to a quarter of its length across and down.
    angle_range : float or (float, float), degrees in [0, 360]
        Clockwise from the row to the right, as y points down; a single number x stands for (x, x), here and below.
    direction_range : float or (float, float), in [-1, 1]
        0: the line reaches as far to both sides of the pixel; 1: to the side of the angle only; -1: to the other.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> point = np.zeros((1, 5, 1), dtype="uint8")
    >>> point[0, 2] = 90
    >>> out = np.empty_like(point)
    >>> ops.MotionBlur().kernel(point, {"ksize": 3, "angle": 0.0, "direction": 0.0, "shift": [0.0, 0.0]}, out)
    >>> out.ravel().tolist()
    [0, 30, 30, 30, 0]
    """

    blur_limit: int | tuple[int, int] = (3, 7)
    allow_shifted: bool = True
    angle_range: fields.Range = (0.0, 360.0)
    direction_range: fields.Range = (-1.0, 1.0)

    short_name = "motion"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        odd_sizes(self, "blur_limit")
        fields.flag(self, "allow_shifted")
        expected = "degrees in [0, 360], or a pair (least, greatest) of them"
        fields.pair(self, "angle_range", low=0, high=360, expected=expected)
        expected = "from -1, backward, to 1, forward, or a pair (least, greatest) of them"
        fields.pair(self, "direction_range", low=-1, high=1, expected=expected)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``ksize`` in pixels, ``angle`` in degrees, ``direction``, and ``shift``, across and down, in [-1, 1]."""
        ksize = draw_size(rng, self.blur_limit)
        angle, direction = fields.draw(rng, self.angle_range), fields.draw(rng, self.direction_range)
        shift = rng.uniform(-1, 1, 2).tolist() if self.allow_shifted else [0.0, 0.0]
        return {"ksize": ksize, "angle": angle, "direction": direction, "shift": shift}

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), smeared."""
        mean_over(src, line_of(params), out)


def line_of(params: Params) -> set[Offset]:
    """Return the pixels of the line, from its middle.

    Examples
    --------
    >>> sorted(line_of({"ksize": 3, "angle": 90.0, "direction": 1.0, "shift": [0.0, 0.0]}))
    [(0, 0), (0, 1)]
    """
    radius, direction = params["ksize"] // 2, params["direction"]
    angle = math.radians(params["angle"])
    along = np.linspace(-radius * (1 - max(direction, 0)), radius * (1 + min(direction, 0)), params["ksize"])
    ways = np.stack([math.cos(angle) * along, math.sin(angle) * along], axis=1)
    # From the middle of the kernel, as where halves go depends on it.
    places = np.rint(radius + ways + radius / 2 * np.array(params["shift"])).clip(0, 2 * radius) - radius
    return {(int(across), int(down)) for across, down in places}


@op
class Defocus(Op):
    """Take the mean over a disc of a drawn radius, its rim softened: the camera is out of focus.

    The image is smoothed by a Gaussian of standard deviation `alias_blur`, cut off at one pixel (two where the radius
    is more than 8), and each value replaced by the mean of the pixels at a distance of up to `radius`. Beyond the
    border the image is mirrored about its outermost pixels (``reflect_101``). Any dtype and number of channels, alpha
    included: its edges move with the picture's.

    Areas of one colour stay. In Albumentations 2.0.8 discs of a radius of 8 or more brighten the image by up to 1.3
    percent: their rim, smoothed in an array that ends at it, adds up to more than 1.

    Hendrycks and Dietterich, 2019, "Benchmarking neural network robustness to common corruptions and perturbations",
    arXiv:1903.12261.

    Parameters
    ----------
    radius : int or (int, int), pixels
        The least and the greatest radius, at least 1; a single number x stands for (1, x).
    alias_blur : float or (float, float), pixels
        The least and the greatest standard deviation; a single number x stands for (0, x).

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> point = np.zeros((5, 5, 1), dtype="uint8")
    >>> point[2, 2] = 100
    >>> out = np.empty_like(point)
    >>> ops.Defocus().kernel(point, {"radius": 1, "alias_blur": 0.0}, out)
    >>> out[..., 0].tolist()
    [[0, 0, 0, 0, 0], [0, 0, 20, 0, 0], [0, 20, 20, 20, 0], [0, 0, 20, 0, 0], [0, 0, 0, 0, 0]]
    """

    radius: int | tuple[int, int] = (3, 10)
    alias_blur: fields.Range = (0.1, 0.5)

    short_name = "defocus"

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        expected = "whole pixels, at least 1: a number x for (1, x), or a pair (least, greatest)"
        fields.pair(self, "radius", start=1, low=1, whole=True, expected=expected)
        expected = "pixels, at least 0: a number x for (0, x), or a pair (least, greatest)"
        fields.pair(self, "alias_blur", start=0.0, low=0.0, expected=expected)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``radius`` and ``alias_blur``, both in pixels."""
        least, greatest = self.radius  # type: ignore[misc] # a pair, since it was checked
        return {"radius": int(rng.integers(least, greatest + 1)), "alias_blur": fields.draw(rng, self.alias_blur)}

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), out of focus."""
        radius, sigma = params["radius"], params["alias_blur"]
        if sigma >= _SEEN:
            weights = cv2.getGaussianKernel(3 if radius <= _SMALL else 5, sigma)
            soft, border = np.empty(src.shape, src.dtype), cv2.BORDER_REFLECT_101
            by_groups(
                lambda some, made, _: cv2.sepFilter2D(some, -1, weights, weights, dst=made, borderType=border),
                src,
                soft,
            )
        else:
            soft = src
        reach = range(-radius, radius + 1)
        mean_over(soft, ((x, y) for y in reach for x in reach if x * x + y * y <= radius * radius), out)
        keep_range(src, out)


#: The softening of larger discs reaches a pixel further.
_SMALL = 8
#: Of a Gaussian that is any narrower a neighbour weighs less than 1/1000.
_SEEN = 0.27


@op
class ZoomBlur(Op):
    """Take the mean over the image and its enlargements: the camera zoomed.

    With n = max(1, ceil((factor - 1) / step)), the mean of the image itself and n enlargements about the middle, by
    1, 1 + step, ..., 1 + (n - 1) * step. An enlargement by z is made of the middle ceil(H / z) rows and
    ceil(W / z) columns, interpolated linearly. Any dtype and number of channels, alpha included: its edges move with
    the picture's. ``uint8`` is rounded for each enlargement.

    Hendrycks and Dietterich, 2019, "Benchmarking neural network robustness to common corruptions and perturbations",
    arXiv:1903.12261.

    Parameters
    ----------
    max_factor : float or (float, float)
        Where the zoom ends, at least 1; a single number x stands for (1, x).
    step_factor : float or (float, float)
        From enlargement to enlargement, at least 0; a single number x stands for (0, x). Steps that would make more
        than 100 enlargements are drawn, and made longer.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> row = np.array([[[0], [80], [80], [0]]], dtype="uint8")
    >>> out = np.empty_like(row)
    >>> ops.ZoomBlur().kernel(row, {"factor": 3.0, "step": 1.0}, out)  # itself, itself, and its middle
    >>> out.ravel().tolist()
    [27, 80, 80, 27]
    """

    max_factor: fields.Range = (1.0, 1.31)
    step_factor: fields.Range = (0.01, 0.03)

    short_name = "zoomblur"

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        expected = "a factor of at least 1: a number x for (1, x), or a pair (least, greatest)"
        fields.pair(self, "max_factor", start=1.0, low=1.0, expected=expected)
        expected = "a part of the size, at least 0: a number x for (0, x), or a pair (least, greatest)"
        fields.pair(self, "step_factor", start=0.0, low=0.0, expected=expected)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``step`` and ``factor``."""
        step = fields.draw(rng, self.step_factor)
        factor = max(1 + step, fields.draw(rng, self.max_factor))
        return {"factor": factor, "step": max(step, (factor - 1) / _MOST_ZOOMS)}

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), zoomed."""
        step = params["step"]
        # Less a trifle, so that 0.3 / 0.1 is 3.
        count = max(1, math.ceil((params["factor"] - 1) / step - 1e-9)) if step else 1
        zooms = [1 + step * number for number in range(1, count)]

        def mean(some: NDArray[Any], made: NDArray[Any], _: slice) -> NDArray[Any]:
            # Itself, and enlarged by 1; of bytes 16 bits hold the sum of 257.
            total = np.multiply(some, 2, dtype=np.uint16 if some.dtype == np.uint8 else np.float32, order="C")
            for zoom in zooms:
                np.add(total, _enlarged(some, zoom), out=total)
            return store(total, 1 / (count + 1), made)

        by_groups(mean, src, out)
        keep_range(src, out)


#: No more than 255, for the sum.
_MOST_ZOOMS = 100


def _enlarged(src: NDArray[Any], zoom: float) -> NDArray[Any]:
    """Return the middle of `src`, shape (H, W, C), enlarged to its own shape."""
    sizes = src.shape[:2]
    parts = [math.ceil(size / zoom) for size in sizes]
    wholes = [max(size, int(part * zoom)) for size, part in zip(sizes, parts, strict=True)]
    middle = tuple(_middle(part, size) for part, size in zip(parts, sizes, strict=True))
    large = cv2.resize(src[middle], wholes[::-1], interpolation=cv2.INTER_LINEAR)
    cut = tuple(_middle(size, whole) for size, whole in zip(sizes, wholes, strict=True))
    return large.reshape(*wholes, -1)[cut]


def _middle(part: int, whole: int) -> slice:
    first = (whole - part) // 2
    return slice(first, first + part)
