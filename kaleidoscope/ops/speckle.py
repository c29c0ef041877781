"""Ops that change pixels at random places, or by random factors."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, cast

import cv2
import numpy as np
from numpy.random import PCG64DXSM, Generator

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, into, op
from kaleidoscope.ops.channels import by_groups
from kaleidoscope.ops.holes import InPlace
from kaleidoscope.record import max_value_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

RGB, RGBA = 3, 4
#: Values that are worked on at a time, so that what is made in between stays in the processor's cache.
_BAND = 2**16


@op
class PixelDropout(InPlace):
    """Replace single pixels, each with the same probability.

    ::

        out = drop_value    with the probability dropout_prob, independently for each pixel
              pixel         otherwise

    Any dtype and number of channels. Boxes, polygons and keypoints stay; so do masks, unless there is a
    `mask_drop_value`: then they lose the same pixels.

    Parameters
    ----------
    dropout_prob : float in [0, 1]
    per_channel : bool
        Drop the values of each channel by themselves; otherwise all of a pixel.
    drop_value : float, tuple of float or None
        The pixels' own value, for all channels (alpha too) or one each; None: a colour, drawn uniformly.
    mask_drop_value : float, optional
        What masks are filled with; without it they stay. Not together with `per_channel`, by which no pixel is lost.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> flat = np.full((256, 256, 1), 9, dtype="uint8")
    >>> out = np.empty_like(flat)
    >>> ops.PixelDropout(dropout_prob=0.25).kernel(flat, {"seed": 7}, out)
    >>> np.unique(out).tolist(), round(float((out == 0).mean()), 1)
    ([0, 9], 0.2)
    """

    dropout_prob: float = 0.01
    per_channel: bool = False
    drop_value: float | tuple[float, ...] | None = 0.0
    mask_drop_value: float | None = None

    short_name = "pixeldropout"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.number(self, "dropout_prob", low=0, high=1, expected="a probability in [0, 1]")
        fields.flag(self, "per_channel")
        if self.drop_value is not None:
            expected = "a pixel value, a list with one for each channel, or None"
            fields.numbers(self, "drop_value", low=0, expected=expected)
        if self.mask_drop_value is not None:
            fields.number(self, "mask_drop_value", low=0, high=65535, expected="a mask's value, 0 to 65535, or None")
            if self.per_channel:
                expected = "None beside per_channel=True, which drops values and no pixels"
                raise fields.refuse(self, "mask_drop_value", self.mask_drop_value, expected)

    @property
    def moves_pixels(self) -> bool:
        """Whether masks lose pixels, too."""
        return self.mask_drop_value is not None

    def for_masks(self) -> Self:
        """Return the same places, filled with `mask_drop_value`."""
        return self if self.mask_drop_value is None else replace(self, drop_value=self.mask_drop_value)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw the ``seed`` of the places, and the ``value`` of each channel unless `drop_value` says it."""
        params: dict[str, Any] = {"seed": int(rng.integers(2**53))}
        if self.drop_value is None:
            if frame.dtype == "float32":
                params["value"] = rng.random(frame.channels).tolist()
            else:
                params["value"] = rng.integers(int(frame.max_value) + 1, size=frame.channels).tolist()
        return params

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If `drop_value` has values for another number of channels, or more than pixels can have.
        """
        if self.drop_value is not None:
            fields.refuse_fill(self, self.drop_value, frame, "drop_value")
        return frame

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), but for the places that were drawn."""
        height, width, channels = src.shape
        np.copyto(out, src)
        value = np.asarray(params["value"] if self.drop_value is None else self.drop_value)
        value = (value if out.dtype == np.float32 else np.rint(value)).astype(out.dtype)
        places = self.places(height, width, channels, params)
        if not self.per_channel:
            out.reshape(-1, channels)[places] = value
        else:
            out.reshape(-1)[places] = value if value.ndim == 0 else value[places % channels]

    def places(self, height: int, width: int, channels: int, params: Params) -> NDArray[np.intp]:
        """Return which pixels are dropped, counted row by row, or which values, counted channel by channel in each."""
        count = height * width * (channels if self.per_channel else 1)
        return _places(Generator(PCG64DXSM(params["seed"])), count, self.dropout_prob)


def _places(rng: Generator, count: int, chance: float) -> NDArray[np.intp]:
    """Return which of so many places have what each has by that chance, in order.

    From the gaps between them, which are geometric: rounded exponential values. One draw for each place that is
    returned, instead of one for each that there is.
    """
    if chance in (0.0, 1.0):
        return np.arange(count if chance else 0)
    rate = -math.log1p(-chance)
    found = []
    last = -1
    while last < count:
        left = (count - last) * chance
        gaps = rng.standard_exponential(int(left + 4 * math.sqrt(left)) + 8) / rate
        places = last + np.cumsum(np.minimum(gaps, count).astype(np.intp) + 1)
        found.append(places)
        last = int(places[-1])
    places = np.concatenate(found)
    return places[: np.searchsorted(places, count)]


@op
class SaltAndPepper(Op):
    """Make some pixels white and some black: salt and pepper.

    Of H * W pixels there are ::

        n = floor(H * W * amount),  floor(n * salt_vs_pepper) of them white, the others black

    at places drawn without replacement, in all channels alike. Any dtype and number of channels; of four the last is
    alpha, and stays.

    Parameters
    ----------
    amount : float or (float, float), fractions of the pixels in [0, 1]
        A single number x stands for (x, x), here and below.
    salt_vs_pepper : float or (float, float), fractions of those in [0, 1]

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> flat = np.full((10, 20, 1), 9, dtype="uint8")
    >>> out = np.empty_like(flat)
    >>> ops.SaltAndPepper().kernel(flat, {"amount": 0.1, "salt_vs_pepper": 0.25, "seed": 7}, out)
    >>> int((out == 255).sum()), int((out == 0).sum())
    (5, 15)
    """

    amount: fields.Range = (0.01, 0.06)
    salt_vs_pepper: fields.Range = (0.4, 0.6)

    short_name = "saltpepper"

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        for name in ("amount", "salt_vs_pepper"):
            expected = "a fraction in [0, 1], or a pair (least, greatest) of them"
            fields.pair(self, name, low=0, high=1, expected=expected)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``amount`` and ``salt_vs_pepper``, both fractions, and the ``seed`` of the places."""
        return {
            "amount": fields.draw(rng, self.amount),
            "salt_vs_pepper": fields.draw(rng, self.salt_vs_pepper),
            "seed": int(rng.integers(2**53)),
        }

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), but for the grains."""
        height, width, channels = src.shape
        np.copyto(out, src)
        places, salt = self.places(height * width, params)
        colours = out.reshape(-1, channels)[:, : RGB if channels == RGBA else channels]
        colours[places[:salt]] = max_value_of(out)
        colours[places[salt:]] = 0

    def places(self, count: int, params: Params) -> tuple[NDArray[np.intp], int]:
        """Return which of `count` pixels are grains, and how many of them, the first ones, are white."""
        grains = int(count * params["amount"])
        places = Generator(PCG64DXSM(params["seed"])).choice(count, grains, replace=False)
        return places, int(grains * params["salt_vs_pepper"])


@op
class MultiplicativeNoise(Op):
    """Multiply by factors drawn uniformly from a range: one for the image, or for each channel, pixel, or value.

    ::

        out = clip(pixel * factor)

    clipped to the range of the dtype. Any dtype and number of channels; of four the last is alpha, and stays.

    Parameters
    ----------
    multiplier : float or (float, float), at least 0
        The least and the greatest factor; a single number x stands for (x, x).
    per_channel : bool
        Factors of its own for each channel; otherwise the same for all.
    elementwise : bool
        A factor of its own for each pixel, one of 65,536 evenly spaced ones; otherwise the same for all.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> rgb = np.array([[[100, 100, 200]]], dtype="uint8")
    >>> out = np.empty_like(rgb)
    >>> ops.MultiplicativeNoise(per_channel=True).kernel(rgb, {"factors": [0.9, 1.0, 1.5]}, out)
    >>> out.tolist()
    [[[90, 100, 255]]]
    """

    multiplier: fields.Range = (0.9, 1.1)
    per_channel: bool = False
    elementwise: bool = False

    short_name = "multiplicativenoise"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.pair(self, "multiplier", low=0, expected="a factor of at least 0, or a pair (least, greatest)")
        fields.flag(self, "per_channel")
        fields.flag(self, "elementwise")

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``factors``, one or as many as channels, or the ``seed`` of one for each pixel."""
        if self.elementwise:
            return {"seed": int(rng.integers(2**53))}
        kinds = frame.channels if self.per_channel else 1
        return {"factors": [fields.draw(rng, self.multiplier) for _ in range(kinds)]}

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), times the factors."""
        if self.elementwise:
            self._multiply_each(src, params["seed"], out)
        elif self.per_channel:
            _multiply_channels(src, params["factors"], out)
        else:
            plain, filled = np.ascontiguousarray(src).reshape(len(src), -1), out.reshape(len(out), -1)
            into(out, cv2.addWeighted(plain, params["factors"][0], plain, 0.0, 0.0, dst=filled))
        if out.dtype == np.float32:
            np.clip(out, 0, 1, out=out)
        if src.shape[2] == RGBA:
            out[..., 3] = src[..., 3]

    def _multiply_each(self, src: NDArray[Any], seed: int, out: NDArray[Any]) -> None:
        height, width, channels = src.shape
        copies = 1 if self.per_channel else channels
        count = height * width * channels // copies
        least, greatest = cast("tuple[float, float]", self.multiplier)
        bits = self.factor_bits(seed, count)
        pixels, filled = src.reshape(1, -1), out.reshape(1, -1)
        depth = {np.dtype("uint8"): cv2.CV_8U, np.dtype("uint16"): cv2.CV_16U}.get(out.dtype, cv2.CV_32F)
        band = _BAND // copies or 1
        for start in range(0, count, band):
            steps = bits[np.newaxis, start : min(start + band, count)]
            factors: Any = cv2.addWeighted(steps, (greatest - least) / 65535, steps, 0.0, least, dtype=cv2.CV_32F)
            if copies > 1:
                factors = (
                    cv2.merge([factors] * copies).reshape(1, -1) if copies <= 4 else factors.repeat(copies, axis=1)
                )
            here = slice(start * copies, start * copies + factors.shape[1])
            part = filled[:, here]
            into(part, cv2.multiply(pixels[:, here], factors, dst=part, dtype=depth))

    def factor_bits(self, seed: int, count: int) -> NDArray[np.uint16]:
        """Return which of the 65,536 factors each pixel, or value, is multiplied by."""
        bits: NDArray[np.uint16] = PCG64DXSM(seed).random_raw(-(-count // 4)).view(np.uint16)[:count]
        return bits


def _multiply_channels(src: NDArray[Any], factors: list[float], out: NDArray[Any]) -> None:
    """Fill `out` with each channel of `src` times its factor."""
    # A third of the time of a table of three channels.
    weights = np.array(factors, np.float32)
    by_groups(lambda some, made, which: cv2.transform(some, np.diag(weights[which]), dst=made), src, out)
