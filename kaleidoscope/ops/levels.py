"""Ops on tones: every value of a colour becomes another, whatever is beside it."""

from __future__ import annotations

import math
from numbers import Integral
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.errors import OpError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, into, op
from kaleidoscope.ops.channels import RGBA, colour_count
from kaleidoscope.ops.tables import Curve, by_curve, by_curves, look_up
from kaleidoscope.record import max_value_of

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

#: So many numbers are a range; more are one for each colour.
_PAIR = 2


@op
class RandomGamma(Op):
    """Raise the pixels to a power drawn uniformly from a range.

    ``out = pixel ** gamma``, pixels scaled to [0, 1]: above 1 it darkens, below 1 it brightens; black and white stay.
    Any dtype and number of channels; of four the last is alpha, and stays. Whole numbers are rounded to the nearest,
    where Albumentations cuts the fraction off: up to one level brighter.

    Parameters
    ----------
    gamma_limit : float or (float, float), percent, at least 1
        100 is a gamma of 1. A single number x stands for (1, x).

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> grey = np.array([[[0], [51], [255]]], dtype="uint8")
    >>> out = np.empty_like(grey)
    >>> ops.RandomGamma().kernel(grey, {"gamma": 2.0}, out)
    >>> out.ravel().tolist()  # 51 / 255 is 0.2
    [0, 10, 255]
    """

    gamma_limit: fields.Range = (80.0, 120.0)

    short_name = "gamma"

    def __post_init__(self) -> None:
        """Check the range.

        Raises
        ------
        RecipeError
            If it is not what it should be.
        """
        expected = "percent, a number x of at least 1 for (1, x), or a pair (least, greatest)"
        fields.pair(self, "gamma_limit", low=1, start=1, expected=expected)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``gamma``, the power."""
        return {"gamma": fields.draw(rng, self.gamma_limit) / 100}

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with powers of `src`, shape (H, W, C)."""
        by_curve(src, lambda values: values ** params["gamma"], out)
        keep_alpha(src, out)


@op
class Solarize(Op):
    """Invert what is not darker than a threshold drawn uniformly from a range.

    ``out = max_value - pixel where pixel >= threshold * max_value, else pixel``, for each channel by itself;
    `max_value` is the largest of the dtype. Any dtype and number of channels; of four the last is alpha, and stays.

    Parameters
    ----------
    threshold_range : float or (float, float), fractions of `max_value` in [0, 1]
        A single number x stands for (x, x).

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> grey = np.array([[[0], [127], [128], [255]]], dtype="uint8")
    >>> out = np.empty_like(grey)
    >>> ops.Solarize().kernel(grey, {"threshold": 0.5}, out)
    >>> out.ravel().tolist()
    [0, 127, 127, 0]
    """

    threshold_range: fields.Range = (0.5, 0.5)

    short_name = "solarize"

    def __post_init__(self) -> None:
        """Check the range.

        Raises
        ------
        RecipeError
            If it is not what it should be.
        """
        expected = "a fraction of the largest pixel value in [0, 1], or a pair (least, greatest) of them"
        fields.pair(self, "threshold_range", low=0, high=1, expected=expected)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``threshold``, a fraction of `max_value`."""
        return {"threshold": fields.draw(rng, self.threshold_range)}

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), and the negative of its bright parts."""
        threshold = params["threshold"] * max_value_of(src)
        if src.dtype == np.float32:
            np.subtract(1, src, out=out)
            np.copyto(out, src, where=src < threshold)
        elif src.dtype == np.uint8:
            # A mask of the bits to invert, 0 or 255: 0.05 ms for 512 x 512 x 3, where a table takes 0.2.
            plain, mask = np.ascontiguousarray(src).reshape(len(src), -1), out.reshape(len(out), -1)
            into(mask, cv2.threshold(plain, math.ceil(threshold) - 1, 255, cv2.THRESH_BINARY, dst=mask)[1])
            np.bitwise_xor(plain, mask, out=mask)
        else:
            levels = np.arange(int(max_value_of(src)) + 1)
            look_up(src, np.where(levels >= threshold, levels[::-1], levels).astype(src.dtype), out)
        keep_alpha(src, out)


@op
class InvertImg(Op):
    """Make the negative.

    ``out = max_value - pixel``; `max_value` is the largest of the dtype. Any dtype and number of channels; of four
    the last is alpha, and stays.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> grey = np.array([[[0], [100], [255]]], dtype="uint8")
    >>> out = np.empty_like(grey)
    >>> ops.InvertImg().kernel(grey, {}, out)
    >>> out.ravel().tolist()
    [255, 155, 0]
    """

    short_name = "invert"

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with the negative of `src`, shape (H, W, C)."""
        if src.dtype == np.float32:
            np.subtract(1, src, out=out)
        else:
            np.invert(src, out=out)  # of whole numbers without a sign the same, in one step
        keep_alpha(src, out)


@op
class Posterize(Op):
    """Keep only the first bits of each value: as many as drawn from a range.

    ``out = pixel - pixel mod 2 ** (depth - bits)``, with a depth of 8 bits for ``uint8`` and 16 for ``uint16``.
    ``float32`` pixels are first rounded to 255ths, and become what the same image as ``uint8`` would. Any number of
    channels; of four the last is alpha, and stays.

    Parameters
    ----------
    num_bits : int, (int, int), or a list of three or more of either; bits in [1, 7]
        A number stands for itself, a pair for the whole numbers from the first to the last. A list of three or more
        has one for each colour.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> grey = np.array([[[0], [63], [64], [255]]], dtype="uint8")
    >>> out = np.empty_like(grey)
    >>> ops.Posterize(2).kernel(grey, {"num_bits": 2}, out)
    >>> out.ravel().tolist()
    [0, 0, 64, 192]
    """

    num_bits: int | tuple[int, int] | tuple[int | tuple[int, int], ...] = 4

    short_name = "posterize"

    def __post_init__(self) -> None:
        """Check the numbers of bits.

        Raises
        ------
        RecipeError
            If they are not what they should be.
        """
        given = self.num_bits
        several = given if isinstance(given, list | tuple) and len(given) > _PAIR else (given,)
        ranges = tuple(map(_bit_range, several))
        if None in ranges:
            expected = "1 to 7 bits, a pair (least, most) of them, or a list of three or more of either"
            raise fields.refuse(self, "num_bits", given, expected)
        fields.set_field(self, "num_bits", ranges if several is given else ranges[0])

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``num_bits``: one number, or a list with one for each colour."""
        given: Any = self.num_bits
        if isinstance(given, tuple) and len(given) > _PAIR:
            return {"num_bits": [_whole(rng, one) for one in given]}
        return {"num_bits": _whole(rng, given)}

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If there are bits for each colour, but for another number of colours.
        """
        bits, colours = params["num_bits"], colour_count(frame.channels)
        if isinstance(bits, list) and len(bits) != colours:
            raise OpError(
                f"Posterize(num_bits={self.num_bits!r}): expected one number or one for each of the {colours} "
                f"colours of {frame} (alpha is none), got {len(bits)}"
            )
        return frame

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with the first bits of `src`, shape (H, W, C)."""
        bits, colours = params["num_bits"], colour_count(src.shape[2])
        each = bits if isinstance(bits, list) else [bits] * colours
        if src.dtype == np.float32:
            shades = [256 >> one for one in each]  # in 255ths
            row = np.tile(np.array(shades + [1] * (src.shape[2] - colours), np.float32), src.shape[1])
            rows = out.reshape(len(out), -1)
            np.multiply(src.reshape(rows.shape), np.float32(255), out=rows)
            np.rint(rows, out=rows)
            np.divide(rows, row, out=rows)
            np.floor(rows, out=rows)
            np.multiply(rows, row / np.float32(255), out=rows)
        else:
            # The bits that stay, as a row of masks: 0.02 ms for 512 x 512 x 3 as uint8, where a table takes 0.2.
            most = int(max_value_of(src))
            masks = [most ^ (most >> one) for one in each] + [most] * (src.shape[2] - colours)
            row = np.tile(np.array(masks, src.dtype), src.shape[1]) if len(set(masks)) > 1 else src.dtype.type(masks[0])
            np.bitwise_and(src.reshape(len(src), -1), row, out=out.reshape(len(out), -1))
        keep_alpha(src, out)


def _bit_range(value: object) -> int | tuple[int, int] | None:
    """Return a number of bits or a range of them in its checked form, or None if it is neither."""
    ends = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(ends) != _PAIR or not all(isinstance(one, Integral) and not isinstance(one, bool) for one in ends):
        return None
    least, most = map(int, ends)
    if not 1 <= least <= most <= 7:
        return None
    return least if least == most else (least, most)


def _whole(rng: Generator, ends: int | tuple[int, int]) -> int:
    """Draw a whole number, both ends included; a single one is itself."""
    least, most = (ends, ends) if isinstance(ends, int) else ends
    return int(rng.integers(least, most + 1))


@op
class RandomToneCurve(Op):
    """Bend the tones along a cubic Bezier curve whose two inner heights are drawn from normal distributions.

    ::

        out = 3 (1 - t)^2 t low_y + 3 (1 - t) t^2 high_y + t^3,   t = pixel scaled to [0, 1]

    with `low_y` drawn around 0.25 and `high_y` around 0.75, both clipped to [0, 1]; 1/3 and 2/3 change nothing. Any
    dtype and number of channels; of four the last is alpha, and stays.

    Parameters
    ----------
    scale : float in [0, 1]
        Standard deviation of the two heights.
    per_channel : bool
        A curve of its own for each colour; otherwise the same for all.

    References
    ----------
    M. Afifi and M. S. Brown, "What else can fool deep learning? Addressing color constancy errors on deep neural
    network performance", ICCV 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> grey = np.array([[[0], [51], [204], [255]]], dtype="uint8")
    >>> out = np.empty_like(grey)
    >>> ops.RandomToneCurve().kernel(grey, {"low_y": 0.0, "high_y": 1.0}, out)
    >>> out.ravel().tolist()  # darker shadows, brighter lights
    [0, 27, 228, 255]
    """

    scale: float = 0.1
    per_channel: bool = False

    short_name = "tonecurve"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.number(self, "scale", low=0, high=1, expected="a standard deviation in [0, 1]")
        fields.flag(self, "per_channel")

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``low_y`` and ``high_y``: numbers, or lists with one for each colour."""
        count = colour_count(frame.channels) if self.per_channel else 1
        low, high = ([self._height(rng, middle) for _ in range(count)] for middle in (0.25, 0.75))
        return {"low_y": low, "high_y": high} if self.per_channel else {"low_y": low[0], "high_y": high[0]}

    def _height(self, rng: Generator, middle: float) -> float:
        """Draw one inner height of a curve."""
        return min(max(middle + self.scale * rng.standard_normal(), 0.0), 1.0)

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), along the curve."""
        if isinstance(params["low_y"], list):
            by_curves(src, [_bezier(*ends) for ends in zip(params["low_y"], params["high_y"], strict=True)], out)
        else:
            by_curve(src, _bezier(params["low_y"], params["high_y"]), out)
        keep_alpha(src, out)


def _bezier(low: float, high: float) -> Curve:
    """Return the curve of the docstring, by powers of t."""
    return lambda t: t * (3 * low + t * (3 * high - 6 * low + t * (1 + 3 * low - 3 * high)))


def keep_alpha(src: NDArray[Any], out: NDArray[Any]) -> None:
    """Put alpha, the last of four channels, back to what it was."""
    if src.shape[2] == RGBA:
        out[..., 3] = src[..., 3]
