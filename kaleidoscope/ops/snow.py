"""An op that makes snow."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.random import PCG64, Generator

from kaleidoscope.ops import fields, painting
from kaleidoscope.ops.base import Op, Params, into, op
from kaleidoscope.ops.histogram import grey_or_rgb
from kaleidoscope.ops.scratch import scratch
from kaleidoscope.ops.tables import look_up_in_place
from kaleidoscope.record import max_value_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame


@op
class RandomSnow(Op):
    """Make what is dark bright, as if snow lay on it, or let snow fall over the picture.

    ``bleach``, in the hexcone model of lightness (OpenCV's ``COLOR_RGB2HLS``; after Automold, Saxena, 2018)::

        lightness' = min(1, brightness_coeff * lightness)     where lightness < 1 / 3 + snow_point / 2

    ``texture``, with the brightest of a pixel's colours as `value`::

        bright = pixel * min(1 + brightness_coeff * snow_point, 1 / value)
        out = clip(0.85 * (bright + snow_point * depth * flakes) + 0.15 * snow_point * blue)

    all in fractions of the full range: `flakes` is noise of mean 0.5 and standard deviation 0.3, smoothed by a Gaussian
    of sigma sqrt(2) pixels, `depth` falls from 1 in the first row to 0.2 in the last, and `blue` is (0.6, 0.75, 1). A
    hundredth of the pixels sparkles: it is white.

    Grey, RGB and RGBA, of every dtype; alpha stays, and targets do.

    Albumentations adds flakes and tint of ``texture`` to hue and saturation as well, and scales hues by 0.85, so that a
    blue sky turns to cyan. Here hue is kept, and snow is white with a little blue.

    Parameters
    ----------
    brightness_coeff : float
        Above 0; by how much snow is brighter.
    snow_point_range : float or (float, float), in [0, 1]
        How much snow there is; a single number x stands for (x, x).
    method : str
        ``bleach`` or ``texture``.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> grey = np.array([[[40], [110], [112]]], dtype="uint8")
    >>> out = np.empty_like(grey)
    >>> ops.RandomSnow(brightness_coeff=2).kernel(grey, {"snow_point": 0.2}, out)
    >>> out.ravel().tolist()  # below 255 * (1 / 3 + 0.1) = 110.5
    [80, 220, 112]
    """

    brightness_coeff: float = 2.5
    snow_point_range: fields.Range = (0.1, 0.3)
    method: str = "bleach"

    short_name = "snow"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        # The least number above 0 stands for "above 0".
        fields.number(self, "brightness_coeff", low=math.ulp(0.0), expected="a factor above 0")
        expected = "a fraction in [0, 1], or a pair (least, greatest) of them"
        fields.pair(self, "snow_point_range", low=0, high=1, expected=expected)
        fields.choice(self, "method", ("bleach", "texture"))

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw the ``snow_point``, and for ``texture`` the ``seed`` of flakes and sparkles."""
        drawn: dict[str, Any] = {"snow_point": fields.draw(rng, self.snow_point_range)}
        return drawn if self.method == "bleach" else drawn | {"seed": int(rng.integers(2**53))}

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If it is neither grey, RGB nor RGBA.
        """
        return grey_or_rgb(self, frame)

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, 1), (H, W, 3) or (H, W, 4), in the snow."""
        point = params["snow_point"]
        if self.method == "bleach":
            painting.on_colours(partial(self._bleach, point), src, out)
            return
        rng = Generator(PCG64(params["seed"]))
        flakes = _flakes(rng, src.shape[:2])
        sparkles = rng.integers(src.shape[0] * src.shape[1], size=round(0.01 * src.shape[0] * src.shape[1]))
        painting.on_colours(partial(self._fall, point, flakes, sparkles), src, out)

    def _bleach(self, point: float, src: NDArray[Any], out: NDArray[Any]) -> None:
        """Fill `out` with `src`, grey or RGB, whose dark parts are bright."""
        below = 1 / 3 + point / 2
        if src.dtype == np.uint8:
            levels = np.arange(256)
            brighter = np.minimum(self.brightness_coeff * levels, 255)
            table = np.rint(np.where(levels < 255 * below, brighter, levels)).astype(np.uint8)
            if src.shape[2] == painting.GREY:
                into(out, cv2.LUT(src, table, dst=out))
                return
            hls = cv2.cvtColor(src, cv2.COLOR_RGB2HLS)
            lightness = cv2.extractChannel(hls, 1, dst=scratch("plane", src.shape[:2], src.dtype))
            look_up_in_place(lightness, table)
            cv2.insertChannel(lightness, hls, 1)
            into(out, cv2.cvtColor(hls, cv2.COLOR_HLS2RGB, dst=out))
            return
        pixels = src.astype(np.float32) / np.float32(max_value_of(src))
        changed = pixels if src.shape[2] == painting.GREY else cv2.cvtColor(pixels, cv2.COLOR_RGB2HLS)
        lightness = changed[..., -1 if src.shape[2] == painting.GREY else 1]
        brighter = np.minimum(lightness * np.float32(self.brightness_coeff), 1)
        np.copyto(lightness, brighter, where=lightness < below)
        if src.shape[2] == painting.RGB:
            changed = cv2.cvtColor(changed, cv2.COLOR_HLS2RGB)
        _store(changed, out)

    def _fall(
        self,
        point: float,
        flakes: NDArray[np.uint8],
        sparkles: NDArray[np.int64],
        src: NDArray[Any],
        out: NDArray[Any],
    ) -> None:
        """Fill `out` with `src`, grey or RGB, under falling snow."""
        gain, most = 1 + self.brightness_coeff * point, max_value_of(src)
        depth = np.linspace(1, 0.2, len(src), dtype=np.float32)[:, np.newaxis]
        tint = painting.in_range_of(src, tuple(0.15 * point * share * 255 for share in _BLUE))  # type: ignore[arg-type]
        value = src[..., 0] if src.shape[2] == painting.GREY else cv2.max(cv2.max(*cv2.split(src)[:2]), src[..., 2])
        if src.dtype == np.uint8:
            # The factor in 255ths of the gain, so that OpenCV multiplies bytes.
            share = np.rint(255 * np.minimum(1, 255 / (gain * np.arange(1, 257)))).astype(np.uint8)
            share[1:] = share[:-1].copy()  # of a value v, not of v + 1; nothing is too bright at 0
            factor = cv2.LUT(np.ascontiguousarray(value), share)
            fading = np.rint(255 * depth).astype(np.uint8) + np.zeros_like(flakes)
            snow = cv2.multiply(flakes, fading, scale=0.85 * point / 255)
            tinted = cv2.merge([cv2.addWeighted(snow, 1.0, snow, 0.0, shade) for shade in tint])
            factor = factor if src.shape[2] == painting.GREY else cv2.cvtColor(factor, cv2.COLOR_GRAY2RGB)
            into(out, cv2.multiply(src, factor.reshape(src.shape), dst=out, scale=0.85 * gain / 255))
            into(out, cv2.add(out, tinted.reshape(src.shape), dst=out))
        else:
            pixels = src.astype(np.float32)
            factor = np.minimum(gain, most / np.maximum(value, most / 2**16).astype(np.float32))
            snow = np.float32(most * point / 255) * depth * flakes
            pixels *= np.float32(0.85) * factor[..., np.newaxis].astype(np.float32)
            pixels += np.float32(0.85) * snow[..., np.newaxis] + np.array(tint, np.float32)
            _store(pixels / np.float32(most), out)
        out.reshape(-1, src.shape[2])[sparkles] = out.dtype.type(most)


#: The tint of snow in the shade.
_BLUE = (0.6, 0.75, 1.0)


def _flakes(rng: Generator, size: tuple[int, int]) -> NDArray[Any]:
    """Return smoothed noise of mean 127.5, shape (H, W).

    Of evenly distributed bytes, stretched to the standard deviation that it should have: smoothed over some 25 pixels
    they are as normal as normal ones, which take 20 times as long to draw.
    """
    noise = np.frombuffer(rng.bytes(size[0] * size[1]), np.uint8).reshape(size)
    stretched = 0.3 * np.sqrt(12)
    # Smoothed first: stretched bytes would be clipped.
    smooth = cv2.GaussianBlur(noise, (0, 0), np.sqrt(2))
    return cv2.convertScaleAbs(smooth, alpha=stretched, beta=127.5 * (1 - stretched))


def _store(pixels: NDArray[Any], out: NDArray[Any]) -> None:
    """Fill `out` with fractions of the full range, clipped."""
    scaled = np.clip(pixels, 0, 1) * np.float32(max_value_of(out))
    if out.dtype != np.float32:
        np.rint(scaled, out=scaled)
    np.copyto(out, scaled.reshape(out.shape), casting="unsafe")
