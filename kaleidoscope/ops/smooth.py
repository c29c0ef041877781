"""Ops that smooth in other ways: by squares, by likeness, and by way of a smaller image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, into, op
from kaleidoscope.ops.channels import by_groups
from kaleidoscope.ops.convolve import draw_size, keep_range, odd_sizes
from kaleidoscope.ops.size import Resize
from kaleidoscope.record import max_value_of

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame


@op
class Blur(Op):
    """Replace each value by the mean of the square around it, of a size drawn evenly from the odd ones of a range.

    Beyond the border the image is mirrored about its outermost pixels (``reflect_101``). Any dtype and number of
    channels, alpha included: its edges move with the picture's.

    Parameters
    ----------
    blur_limit : int or (int, int), pixels
        The least and the greatest size of the square, at least 3; a single number x stands for (3, x). An even end is
        taken for the next odd number.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> point = np.array([[[0], [90], [0], [0]]], dtype="uint8")
    >>> out = np.empty_like(point)
    >>> ops.Blur().kernel(point, {"ksize": 3}, out)
    >>> out.ravel().tolist()  # 60: mirrored, the 90 is on both sides of the first pixel
    [60, 30, 30, 0]
    """

    blur_limit: int | tuple[int, int] = (3, 7)

    short_name = "boxblur"

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
        """Fill `out` with the means of `src`, shape (H, W, C)."""
        size = (params["ksize"], params["ksize"])
        by_groups(lambda some, made, _: cv2.blur(some, size, dst=made, borderType=cv2.BORDER_REFLECT_101), src, out)
        keep_range(src, out)


@op
class BilateralBlur(Op):
    """Replace each value by the mean of a disc around it, in which a pixel weighs the less the more it differs.

    Of a pixel at a distance of s pixels, ``s <= d // 2``, whose channels differ by c levels in sum, the weight is ::

        exp(-(c**2) / (2 * sigma_color**2) - s**2 / (2 * sigma_space**2))

    so that noise goes and edges stay. Beyond the border the image is mirrored about its outermost pixels
    (``reflect_101``). Any dtype and number of channels: colours are compared three channels at a time, and what is
    more by itself, as is the alpha of RGBA. ``uint16`` is filtered as ``float32``, and both compare differences by a
    table of 4096 steps a channel, from the darkest to the brightest pixel.

    The time grows with the square of `d`: 3 ms for 512 x 512 x 3 ``uint8`` at 5, 20 ms at 9.

    Tomasi and Manduchi, 1998, "Bilateral filtering for gray and color images", ICCV.

    Parameters
    ----------
    d : int or (int, int), pixels
        The least and the greatest diameter of the disc, at least 3; a single number x stands for (3, x). Drawn evenly
        from the odd numbers of the range; an even end is taken for the next odd number.
    sigma_color : float or (float, float), levels of 255
        Of ``uint16`` and ``float32`` so many 255ths of their largest value. Above 0; a single number x stands for
        (x, x), here and below.
    sigma_space : float or (float, float), pixels
        Above 0.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> edge = np.array([[[10], [14], [10], [200], [204], [200]]], dtype="uint8")
    >>> out = np.empty_like(edge)
    >>> ops.BilateralBlur().kernel(edge, {"d": 3, "sigma_color": 20.0, "sigma_space": 10.0}, out)
    >>> out.ravel().tolist()  # noise is less, the edge is where it was
    [12, 12, 11, 201, 202, 202]
    """

    d: int | tuple[int, int] = (3, 9)
    sigma_color: fields.Range = (10.0, 250.0)
    sigma_space: fields.Range = (10.0, 250.0)

    short_name = "bilateral"

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        odd_sizes(self, "d")
        for name, unit in (("sigma_color", "levels of 255"), ("sigma_space", "pixels")):
            # The least number above 0 stands for "above 0".
            expected = f"{unit}, above 0, or a pair (least, greatest) of them"
            fields.pair(self, name, low=math.ulp(0.0), expected=expected)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``d`` and ``sigma_space``, in pixels, and ``sigma_color``, in levels of 255."""
        d, color = draw_size(rng, self.d), fields.draw(rng, self.sigma_color)
        return {"d": d, "sigma_color": color, "sigma_space": fields.draw(rng, self.sigma_space)}

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), smoothed between its edges."""
        channels = src.shape[2]
        threes = channels // 3 * 3
        for first in (*range(0, threes, 3), *range(threes, channels)):
            some = slice(first, first + (3 if first < threes else 1))
            _bilateral(src[..., some], params, out[..., some])
        keep_range(src, out)


def _bilateral(src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
    # OpenCV takes 1 or 3 channels of uint8 or float32.
    whole = src.dtype == np.uint8
    exact = np.ascontiguousarray(src) if whole else src.astype(np.float32, order="C")
    color = params["sigma_color"] / 255 * max_value_of(src)
    smooth = np.empty_like(exact)
    made = cv2.bilateralFilter(
        exact, params["d"], color, params["sigma_space"], dst=smooth, borderType=cv2.BORDER_REFLECT_101
    )
    into(smooth, made)
    np.copyto(out, np.rint(smooth) if src.dtype == np.uint16 else smooth, casting="unsafe")


@op
class UpDownSampling(Op):
    """Shrink the image by a drawn factor, and enlarge it to its size again: detail is lost.

    It is `Resize` twice, by way of max(1, round(H * scale)) x max(1, round(W * scale)) pixels. Any dtype and number of
    channels, alpha included: its edges move with the picture's. A `scale` of 1 changes nothing.

    Parameters
    ----------
    scale_range : float or (float, float), above 0, at most 1
        The least and the greatest factor; a single number x stands for (x, x).
    interpolation_pair : mapping or (str, str)
        How values between pixels are made on the way down and up: with the keys ``downscale`` and ``upscale``, or in
        this order. Each is one of ``nearest``, ``linear``, ``cubic``, ``area`` and ``lanczos4``, or OpenCV's
        integer. A key that is left out stands for ``area`` and ``linear``.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> row = np.array([[[10], [20], [60], [70]]], dtype="uint8")
    >>> out = np.empty_like(row)
    >>> ops.UpDownSampling(interpolation_pair={"upscale": "nearest"}).kernel(row, {"scale": 0.5}, out)
    >>> out.ravel().tolist()
    [15, 15, 65, 65]
    """

    scale_range: fields.Range = (0.25, 0.5)
    interpolation_pair: tuple[str | int, str | int] | Mapping[str, str | int] = ("area", "linear")

    short_name = "updown"

    def __post_init__(self) -> None:
        """Check the fields, and store the interpolations as a pair of names.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        # The least number above 0 stands for "above 0".
        expected = "a factor above 0, at most 1, or a pair (least, greatest) of them"
        fields.pair(self, "scale_range", low=math.ulp(0.0), high=1, expected=expected)
        given: Any = self.interpolation_pair
        if isinstance(given, Mapping) and set(given) <= {"downscale", "upscale"}:
            given = (given.get("downscale", "area"), given.get("upscale", "linear"))
        known: dict[Any, str] = {name: name for name in fields.INTERPOLATIONS} | dict(enumerate(fields.INTERPOLATIONS))
        ways = given if isinstance(given, list | tuple) and len(given) == 2 else (None, None)
        if not all(isinstance(way, str | int) and not isinstance(way, bool) and way in known for way in ways):
            expected = (
                f"a mapping with the keys 'downscale' and 'upscale', or a pair of them, each one of "
                f"{', '.join(map(repr, fields.INTERPOLATIONS))}"
            )
            raise fields.refuse(self, "interpolation_pair", self.interpolation_pair, expected)
        fields.set_field(self, "interpolation_pair", tuple(known[way] for way in ways))

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``scale``."""
        return {"scale": fields.draw(rng, self.scale_range)}

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), less its detail."""
        height, width, channels = src.shape
        rows, columns = (max(1, round(size * params["scale"])) for size in (height, width))
        down, up = self.interpolation_pair
        small = np.empty((rows, columns, channels), src.dtype)
        Resize(rows, columns, interpolation=down).kernel(src, {}, small)
        Resize(height, width, interpolation=up).kernel(small, {}, out)
