"""Ops on whole channels: grey of them, another order, some without content."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from kaleidoscope.errors import OpError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, into, op
from kaleidoscope.ops.channels import RGBA, colour_count, split
from kaleidoscope.ops.histogram import grey_or_rgb
from kaleidoscope.ops.levels import keep_alpha
from kaleidoscope.ops.principal import principal_components
from kaleidoscope.record import max_value_of

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

GREY, RGB = 1, 3
GREY_METHODS = ("weighted_average", "from_lab", "desaturation", "average", "max", "pca")
#: In which unlike pixels differ at least along a component, as a part of the range: less is the error of float32.
_LEAST_SPREAD = 1e-5


@op
class ToGray(Op):
    """Make an image grey, and as many equal channels of it as wanted.

    ================  ========================================================  ==============================
    method            grey                                                      takes
    ================  ========================================================  ==============================
    weighted_average  ``0.299 R + 0.587 G + 0.114 B``                           grey, RGB, RGBA
    from_lab          L of CIE L*a*b*, scaled to the full range                 grey, RGB, RGBA
    desaturation      ``(greatest + least) / 2`` of the colours                 any number of channels
    average           mean of the colours                                       any number of channels
    max               greatest of the colours                                   any number of channels
    pca               along the first principal component, from 0 to full       any number of channels
    ================  ========================================================  ==============================

    Whole numbers are rounded. Of RGBA, alpha is no colour and follows as the fourth channel: with three of grey only.
    Grey stays what it is, with as many channels as any other image (Albumentations leaves it at one).

    Parameters
    ----------
    num_output_channels : int, at least 1
    method : {"weighted_average", "from_lab", "desaturation", "average", "max", "pca"}

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> red = np.array([[[200, 0, 100]]], dtype="uint8")
    >>> out = np.empty_like(red)
    >>> ops.ToGray(method="average").kernel(red, {}, out)
    >>> out.tolist()
    [[[100, 100, 100]]]
    """

    num_output_channels: int = 3
    method: str = "weighted_average"

    short_name = "gray"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.whole(self, "num_output_channels", low=1, expected="how many channels, at least 1")
        fields.choice(self, "method", GREY_METHODS)

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the frame with the channels wanted.

        Raises
        ------
        OpError
            If the method does not do as many channels, or alpha has no place.
        """
        if self.method in ("weighted_average", "from_lab"):
            grey_or_rgb(self, frame)
        if frame.channels != RGBA:
            return replace(frame, channels=self.num_output_channels)
        if self.num_output_channels != RGB:
            raise OpError(
                f"ToGray(num_output_channels={self.num_output_channels}): expected 3 for {frame}, whose fourth "
                "channel, alpha, is kept"
            )
        return frame

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out`, shape (H, W, num_output_channels), with the grey of `src`, shape (H, W, C)."""
        grey = np.ascontiguousarray(src[..., 0]) if src.shape[2] == GREY else self._grey(src)
        if out.shape[2] == GREY:
            out[..., 0] = grey
        elif out.shape[2] in (RGB, RGBA):
            into(out, cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB, dst=out, dstCn=out.shape[2]))
        else:
            out[...] = grey[..., np.newaxis]
        if src.shape[2] == RGBA:
            keep_alpha(src, out)

    def _grey(self, src: NDArray[Any]) -> NDArray[Any]:
        """Return the grey of colours, shape (H, W), of the same dtype."""
        if self.method == "weighted_average":
            return cv2.cvtColor(np.ascontiguousarray(src), cv2.COLOR_RGB2GRAY)
        if self.method == "from_lab":
            return _lightness(src)
        if self.method == "pca":
            return _along_component(src)
        planes = [np.ascontiguousarray(src[..., one]) for one in range(colour_count(src.shape[2]))]
        if self.method == "average":
            total = planes[0].astype(np.float32)  # whole numbers up to 2**24 are exact: 256 channels of 16 bits
            for plane in planes[1:]:
                cv2.add(total, plane, dst=total, dtype=cv2.CV_32F)
            return _rounded(np.multiply(total, np.float32(1 / len(planes)), out=total), src)
        greatest, least = planes[0], planes[0]
        for plane in planes[1:]:
            greatest, least = cv2.max(greatest, plane), cv2.min(least, plane)
        return greatest if self.method == "max" else cv2.addWeighted(greatest, 0.5, least, 0.5, 0.0)


def _lightness(src: NDArray[Any]) -> NDArray[Any]:
    """Return L of CIE L*a*b* of RGB or RGBA, scaled to the full range."""
    if src.dtype == np.uint8:
        return cv2.extractChannel(cv2.cvtColor(np.ascontiguousarray(src), cv2.COLOR_RGB2LAB), 0)
    # OpenCV has none of uint16.
    scaled = src * np.float32(1 / 65535) if src.dtype == np.uint16 else np.ascontiguousarray(src)
    lightness = cv2.extractChannel(cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB), 0)
    return _rounded(np.clip(lightness * np.float32(0.01), 0, 1) * np.float32(max_value_of(src)), src)


def _along_component(src: NDArray[Any]) -> NDArray[Any]:
    """Return where the colours lie along their first principal component, from 0 to the full range."""
    colours = colour_count(src.shape[2])
    first = principal_components(src)[1][:, 0].astype(np.float32)
    places = np.zeros(src.shape[:2], np.float32)
    for channel, weight in enumerate(first[:colours]):
        places += src[..., channel] * weight
    least, greatest = places.min(), places.max()
    most = max_value_of(src)
    if greatest - least < _LEAST_SPREAD * most:
        return np.zeros(src.shape[:2], src.dtype)  # of one colour
    return _rounded(np.clip((places - least) / (greatest - least), 0, 1) * np.float32(most), src)


def _rounded(values: NDArray[Any], src: NDArray[Any]) -> NDArray[Any]:
    """Return values in the range of the dtype of `src` in that dtype."""
    return values if src.dtype == np.float32 else np.rint(values).astype(src.dtype)


@op
class ChannelShuffle(Op):
    """Put the channels in an order drawn for each image.

    Any dtype and number of channels; of four the last is alpha, and stays. The order may be the one they had.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> colour = np.array([[[10, 20, 30]]], dtype="uint8")
    >>> out = np.empty_like(colour)
    >>> ops.ChannelShuffle().kernel(colour, {"channels_shuffled": [2, 0, 1]}, out)
    >>> out.tolist()
    [[[30, 10, 20]]]
    """

    short_name = "shuffle"

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``channels_shuffled``: for each channel that comes, the one it was; alpha is not among them."""
        return {"channels_shuffled": rng.permutation(colour_count(frame.channels)).tolist()}

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with the channels of `src`, shape (H, W, C), in that order."""
        order = params["channels_shuffled"] + list(range(colour_count(src.shape[2]), src.shape[2]))
        if len(order) <= RGBA:
            planes = split(src)
            into(out, cv2.merge([planes[channel] for channel in order], dst=out))
        else:
            for channel, source in enumerate(order):
                out[..., channel] = src[..., source]


@op
class ChannelDropout(Op):
    """Fill some channels with one value: how many is drawn from a range, and which.

    Two channels or more, any dtype; of four the last is alpha, and is none of them.

    Parameters
    ----------
    channel_drop_range : int or (int, int), at least 1
        How many; fewer than the image has. A single number n stands for (n, n).
    fill : float, a pixel value

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> colour = np.array([[[10, 20, 30]]], dtype="uint8")
    >>> out = np.empty_like(colour)
    >>> ops.ChannelDropout(fill=128).kernel(colour, {"channels_to_drop": [1]}, out)
    >>> out.tolist()
    [[[10, 128, 30]]]
    """

    channel_drop_range: int | tuple[int, int] = (1, 1)
    fill: float = 0.0

    short_name = "chdropout"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        expected = "how many channels, at least 1, or a pair (least, most)"
        fields.pair(self, "channel_drop_range", low=1, whole=True, expected=expected)
        fields.number(self, "fill", low=0, expected="a pixel value of at least 0")

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``channels_to_drop``, in ascending order."""
        least, most = cast("tuple[int, int]", self.channel_drop_range)
        colours, count = colour_count(frame.channels), int(rng.integers(least, most + 1))
        return {"channels_to_drop": sorted(rng.permutation(colours)[:count].tolist())}

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If no channel might be left, or `fill` is more than pixels can have.
        """
        _, most = cast("tuple[int, int]", self.channel_drop_range)
        colours = colour_count(frame.channels)
        if most >= colours:
            raise OpError(
                f"ChannelDropout(channel_drop_range={self.channel_drop_range!r}): expected fewer than the {colours} "
                f"colours of {frame} (alpha is none)"
            )
        fields.refuse_fill(self, self.fill, frame)
        return frame

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), and the channels drawn with `fill`."""
        # Bit by bit, a row at a time: 0.04 ms for 512 x 512 x 3 as uint8; channels one by one take 0.2 each.
        bits = np.dtype(f"u{src.itemsize}")
        kept, filled = np.full(src.shape[2], np.iinfo(bits).max, bits), np.zeros(src.shape[2], bits)
        value = self.fill if src.dtype == np.float32 else round(self.fill)
        kept[params["channels_to_drop"]] = 0
        filled[params["channels_to_drop"]] = np.array(value, src.dtype).view(bits)
        plain, rows = (np.ascontiguousarray(one).reshape(len(src), -1).view(bits) for one in (src, out))
        np.bitwise_and(plain, np.tile(kept, src.shape[1]), out=rows)
        if filled.any():
            np.bitwise_or(rows, np.tile(filled, src.shape[1]), out=rows)
