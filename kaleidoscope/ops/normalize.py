"""Pixels as a network wants them: centred, and in units of their spread."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.errors import OpError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, op
from kaleidoscope.ops.channels import channel_groups, colour_count
from kaleidoscope.record import max_value_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

NORMALIZATIONS = ("standard", "image", "image_per_channel", "min_max", "min_max_per_channel")
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
#: Keeps an image of one colour from a division by zero; in the units of the pixels.
LEAST_SPREAD = 1e-4
#: Values computed at a time.
_BAND = 2**17


@op
class Normalize(Op):
    """Shift and scale the colours, and make them ``float32``.

    ``out = (pixel - centre) / spread``, not clipped, where

    ======================  ==========================  ===================================
    normalization           centre                      spread
    ======================  ==========================  ===================================
    standard                ``mean * max_pixel_value``  ``std * max_pixel_value``
    image                   mean of the image           its standard deviation + 0.0001
    image_per_channel       mean of each channel        its standard deviation + 0.0001
    min_max                 least value of the image    greatest - least value
    min_max_per_channel     least value of each         greatest - least value of each
    ======================  ==========================  ===================================

    The outcome of the last two lies in [0, 1]; where all values are equal it is 0. Any dtype and number of
    channels; of four the last is alpha: it is no part of the statistics, and only scaled to [0, 1]. Only ``npy``
    and ``tiff`` hold what comes out.

    Parameters
    ----------
    mean : float or tuple of float, fractions of `max_pixel_value`
        One for all colours, or one for each; by default that of ImageNet's photographs, R, G and B.
    std : float or tuple of float, fractions of `max_pixel_value`, above 0
        As `mean`.
    max_pixel_value : float, above 0, or None
        None: the largest value of the dtype (255, 65535, 1.0).
    normalization : {"standard", "image", "image_per_channel", "min_max", "min_max_per_channel"}
        Where centre and spread come from; `mean`, `std` and `max_pixel_value` are for ``standard`` only.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> grey = np.array([[[0], [51], [255]]], dtype="uint8")
    >>> out = np.empty(grey.shape, dtype="float32")
    >>> ops.Normalize(mean=0.5, std=0.25).kernel(grey, {}, out)
    >>> [round(value, 3) for value in out.ravel().tolist()]
    [-2.0, -1.2, 2.0]
    """

    mean: float | tuple[float, ...] = _IMAGENET_MEAN
    std: float | tuple[float, ...] = _IMAGENET_STD
    max_pixel_value: float | None = None
    normalization: str = "standard"

    short_name = "normalize"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        above = 2.0**-1022  # the least normal number stands for "above 0"
        fields.numbers(self, "mean", expected="a number, or a list with one for each colour")
        fields.numbers(self, "std", low=above, expected="a number above 0, or a list with one for each colour")
        if self.max_pixel_value is not None:
            fields.number(self, "max_pixel_value", low=above, expected="a number above 0, or None")
        fields.choice(self, "normalization", NORMALIZATIONS)

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame, as ``float32``.

        Raises
        ------
        OpError
            If `mean` or `std` has a value for each colour, but of another number of colours.
        """
        colours = colour_count(frame.channels)
        for name, value in (("mean", self.mean), ("std", self.std)):
            if self.normalization == "standard" and isinstance(value, tuple) and len(value) != colours:
                raise OpError(
                    f"Normalize({name}={value!r}): expected one number or one for each of the {colours} colours of "
                    f"{frame} (alpha is none), got {len(value)}"
                )
        return replace(frame, dtype="float32")

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out`, ``float32``, with the normalized `src`, both of shape (H, W, C)."""
        height, width, channels = src.shape
        centre = np.zeros(channels)
        spread = np.full(channels, max_value_of(src))  # of alpha; the others follow
        colours = np.s_[: colour_count(channels)]
        centre[colours], spread[colours] = self._measure(src, colours)
        # As rows of plain numbers, with a row of centres: over the few channels of a pixel NumPy is slow. A band of
        # rows stays in the processor's cache.
        # Rows that depend on the image are of no use to the next.
        rows_of = _kept_rows if self.normalization == "standard" else _rows_of
        centres, factors = (rows_of(tuple(values.tolist()), width) for values in (centre, 1 / spread))
        pixels, filled, rows = src.reshape(height, -1), out.reshape(height, -1), max(1, _BAND // centres.size)
        for top in range(0, height, rows):
            band = np.subtract(pixels[top : top + rows], centres, out=filled[top : top + rows])
            np.multiply(band, factors, out=band)

    def _measure(self, src: NDArray[Any], colours: slice) -> tuple[Any, Any]:
        """Return centre and spread: numbers, or arrays with one for each colour."""
        if self.normalization == "standard":
            most = max_value_of(src) if self.max_pixel_value is None else self.max_pixel_value
            return np.multiply(self.mean, most), np.multiply(self.std, most)
        if self.normalization.startswith("image"):
            means, deviations = _moments(src)
            means, deviations = means[colours], deviations[colours]
            if self.normalization == "image":
                # The variance of all is the mean of the variances and the variance of the means.
                return means.mean(), np.sqrt(np.mean(deviations**2) + means.var()) + LEAST_SPREAD
            return means, deviations + LEAST_SPREAD
        channels = range(src.shape[2])[colours]
        least = np.array([src[..., channel].min() for channel in channels], float)
        greatest = np.array([src[..., channel].max() for channel in channels], float)
        if self.normalization == "min_max":
            least, greatest = least.min(keepdims=True), greatest.max(keepdims=True)
        return least, np.where(greatest > least, greatest - least, 1.0)


def _rows_of(values: tuple[float, ...], width: int) -> NDArray[np.float32]:
    """Return a value for each channel, as often as there are pixels in a row, read-only."""
    row = np.tile(np.array(values, np.float32), width)
    row.flags.writeable = False
    return row


_kept_rows = lru_cache(maxsize=16)(_rows_of)


def _moments(src: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the standard deviation of each channel."""
    groups = [np.ascontiguousarray(src[..., group]) for group in channel_groups(src.shape[2])]
    means, deviations = zip(*map(cv2.meanStdDev, groups), strict=True)
    return np.concatenate(means)[:, 0], np.concatenate(deviations)[:, 0]
