"""Ops on colours: each pixel by itself, alpha left as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.errors import OpError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, into, op
from kaleidoscope.ops.tables import look_up
from kaleidoscope.record import max_value_of

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

GREY, RGB, RGBA = 1, 3, 4
#: The values of ``uint8``.
_LEVELS = np.arange(256, dtype=np.uint8)
_LEVELS.flags.writeable = False


@op
class HueSaturationValue(Op):
    """Shift hue, saturation and value, each by an amount drawn uniformly from its range.

    In the hexcone model (Smith, 1978, "Color gamut transform pairs"; OpenCV's ``COLOR_RGB2HSV``)::

        hue' = (hue + 2 * hue_shift) mod 360                  degrees
        saturation' = clip(saturation + sat_shift / 255)      0 stays 0: grey has no colour to strengthen
        value' = clip(value + val_shift / 255)                clip to [0, 1]

    Grey, RGB and RGBA, of every dtype. On grey only the value moves. ``uint8`` holds hue in 256 steps in
    between, which costs up to 2 levels on photographs and 6 on random colours; ``uint16`` and ``float32`` are
    computed in ``float32``. Without a shift the pixels are copied.

    Parameters
    ----------
    hue_shift_limit : float or (float, float), units of 2 degrees in [-180, 180]
        A single number x stands for (-x, x), here and below.
    sat_shift_limit : float or (float, float), 255ths of the full range in [-255, 255]
    val_shift_limit : float or (float, float), 255ths of the full range in [-255, 255]

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> red = np.array([[[255, 0, 0]]], dtype="uint8")
    >>> out = np.empty_like(red)
    >>> ops.HueSaturationValue().kernel(red, {"hue_shift": 60.0, "sat_shift": 0.0, "val_shift": -55.0}, out)
    >>> out.tolist()  # 120 degrees on: green; and darker
    [[[0, 200, 0]]]
    """

    hue_shift_limit: fields.Range = (-20.0, 20.0)
    sat_shift_limit: fields.Range = (-30.0, 30.0)
    val_shift_limit: fields.Range = (-20.0, 20.0)

    short_name = "hsv"

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        for name, most in (("hue_shift_limit", 180), ("sat_shift_limit", 255), ("val_shift_limit", 255)):
            expected = f"a shift x for (-x, x), or a pair (least, greatest), within [-{most}, {most}]"
            fields.pair(self, name, symmetric=True, low=-most, high=most, expected=expected)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw the three shifts, in the units of their ranges."""
        return {
            "hue_shift": fields.draw(rng, self.hue_shift_limit),
            "sat_shift": fields.draw(rng, self.sat_shift_limit),
            "val_shift": fields.draw(rng, self.val_shift_limit),
        }

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If it is neither grey, RGB nor RGBA.
        """
        if frame.channels not in (GREY, RGB, RGBA):
            raise OpError(
                f"HueSaturationValue: expected grey, RGB or RGBA (1, 3 or 4 channels), got {frame.channels} "
                f"({frame}); RandomBrightnessContrast does any number"
            )
        return frame

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with the shifted colours of `src`, shape (H, W, 1), (H, W, 3) or (H, W, 4)."""
        hue, sat, val = params["hue_shift"], params["sat_shift"], params["val_shift"]
        channels = src.shape[2]
        if channels == GREY:
            linear(src, 1.0, val / 255 * max_value_of(src), out)
        elif hue == sat == val == 0:
            np.copyto(out, src)
        else:
            shift_hsv(src, hue, sat, val, out)
        if channels == RGBA:
            out[..., 3] = src[..., 3]


def shift_hsv(src: NDArray[Any], hue: float, sat: float, val: float, out: NDArray[Any]) -> None:
    """Fill `out` with the formula of `HueSaturationValue`; the last of four channels is left undefined."""
    (_shift_hsv_8bit if src.dtype == np.uint8 else _shift_hsv_float)(src, hue, sat, val, out)


def _shift_hsv_8bit(src: NDArray[Any], hue: float, sat: float, val: float, out: NDArray[Any]) -> None:
    levels = np.arange(256.0)
    tables = np.empty((3, 256), np.uint8)
    # The full-range conversions keep hue at half the error of the common 0..179. They count 256 steps to the
    # circle on the way there but 255 on the way back (OpenCV 5.0); the table also mends that.
    tables[0] = np.rint((levels / 256 + hue / 180) % 1 * 255) % 255
    for row, shift in ((1, sat), (2, val)):
        tables[row] = np.rint(np.minimum(np.maximum(levels + shift, 0), 255))
    tables[1, 0] = 0
    hsv = cv2.cvtColor(src, cv2.COLOR_RGB2HSV_FULL)
    look_up(hsv, tables, hsv)
    into(out, cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL, dst=out, dstCn=src.shape[2]))


def _shift_hsv_float(src: NDArray[Any], hue: float, sat: float, val: float, out: NDArray[Any]) -> None:
    # A band of rows at a time, in buffers made once: arrays of the whole image, made and dropped at each
    # step, take longer to get from the operating system than to compute (uint16: 11 ms, not 3.2).
    height, width, channels = src.shape
    rows = max(1, min(height, 2**16 // width))
    pixel_band = np.empty((rows, width, channels), np.float32)
    hsv_band = np.empty((rows, width, RGB), np.float32)
    plane_band = np.empty((RGB, rows, width), np.float32)
    for top in range(0, height, rows):
        part, filled = src[top : top + rows], out[top : top + rows]
        pixels, hsv = pixel_band[: len(part)], hsv_band[: len(part)]
        planes = hues, saturations, values = list(plane_band[:, : len(part)])
        if src.dtype == np.uint16:
            part = cv2.addWeighted(part, 1 / 65535, part, 0.0, 0.0, dst=pixels, dtype=cv2.CV_32F)
        into(hsv, cv2.cvtColor(part, cv2.COLOR_RGB2HSV, dst=hsv))
        cv2.split(hsv, planes)
        # OpenCV turns hues beyond 360 back on the circle, but not negative ones.
        hues += np.float32(2 * hue % 360)
        grey = saturations == 0
        saturations += np.float32(sat / 255)
        np.clip(saturations, 0, 1, out=saturations)
        np.copyto(saturations, 0, where=grey)
        values += np.float32(val / 255)
        np.clip(values, 0, 1, out=values)
        cv2.merge(planes, dst=hsv)
        if out.dtype == np.float32:
            into(filled, cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=filled, dstCn=channels))
        else:
            into(pixels, cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=pixels, dstCn=channels))
            into(filled, cv2.addWeighted(pixels, 65535.0, pixels, 0.0, 0.0, dst=filled, dtype=cv2.CV_16U))


@op
class RandomBrightnessContrast(Op):
    """Change contrast, then brightness, by amounts drawn uniformly from their ranges.

    ::

        out = clip(alpha * pixel + beta * unit)
        alpha = 1 + (a draw from contrast_limit),  beta = (a draw from brightness_limit)

    clipped to the range of the dtype; `unit` is its largest value (255, 65535, 1.0), or the mean of the
    image's colours. Any dtype and number of channels; of four the last is alpha, and stays.

    Parameters
    ----------
    brightness_limit : float or (float, float), fractions of `unit`
        A single number x stands for (-x, x), here and below.
    contrast_limit : float or (float, float), fractions of the present contrast
    brightness_by_max : bool
        `unit` is the largest value of the dtype; otherwise the mean of the image.
    ensure_safe_range : bool
        Reduce alpha and beta until no pixel value of the dtype can need clipping.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> grey = np.array([[[0], [100], [200]]], dtype="uint8")
    >>> out = np.empty_like(grey)
    >>> ops.RandomBrightnessContrast().kernel(grey, {"alpha": 1.2, "beta": 0.1}, out)
    >>> out.ravel().tolist()  # 1.2 * 100 + 0.1 * 255 = 145.5
    [26, 146, 255]
    """

    brightness_limit: fields.Range = (-0.2, 0.2)
    contrast_limit: fields.Range = (-0.2, 0.2)
    brightness_by_max: bool = True
    ensure_safe_range: bool = False

    short_name = "brightness"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        for name in ("brightness_limit", "contrast_limit"):
            expected = "a fraction x for (-x, x), or a pair (least, greatest)"
            fields.pair(self, name, symmetric=True, expected=expected)
        fields.flag(self, "brightness_by_max")
        fields.flag(self, "ensure_safe_range")

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``alpha``, the factor, and ``beta``, the summand in fractions of `unit`."""
        return {
            "alpha": 1.0 + fields.draw(rng, self.contrast_limit),
            "beta": fields.draw(rng, self.brightness_limit),
        }

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with the line through `src`, shape (H, W, C)."""
        max_value = max_value_of(src)
        alpha, shift = self.line(params, max_value if self.brightness_by_max else _colour_mean(src), max_value)
        linear(src, alpha, shift, out)
        if src.shape[2] == RGBA:
            out[..., 3] = src[..., 3]

    def line(self, params: Params, unit: float, max_value: float) -> tuple[float, float]:
        """Return slope and shift of the line through the pixels, which have values from 0 to `max_value`."""
        alpha, shift = params["alpha"], params["beta"] * unit
        if self.ensure_safe_range:
            # Both ends of the range, 0 and max_value, must stay inside it.
            shift = min(max(shift, 0.0), max_value)
            room = (max_value - shift) / max_value
            alpha = min(alpha, room) if alpha > 0 else max(alpha, -shift / max_value)
        return alpha, shift


def linear(src: NDArray[Any], slope: float, shift: float, out: NDArray[Any]) -> None:
    """Fill `out` with ``clip(slope * src + shift)``, rounded where the dtype is an integer."""
    if src.dtype == np.uint8:
        look_up(src, cv2.addWeighted(_LEVELS, slope, _LEVELS, 0.0, shift).reshape(-1), out)
        return
    # As rows of plain numbers, since OpenCV refuses more than 128 channels. A table takes four times as long as uint16.
    # Contiguous, as OpenCV computes what lies apart without the processor's fused steps: the last bit differs.
    plain, filled = np.ascontiguousarray(src).reshape(len(src), -1), out.reshape(len(out), -1)
    into(out, cv2.addWeighted(plain, slope, plain, 0.0, shift, dst=filled))
    if out.dtype == np.float32:
        np.clip(out, 0, 1, out=out)


def _colour_mean(src: NDArray[Any]) -> float:
    """Return the mean of all values but alpha's."""
    src = np.ascontiguousarray(src)  # in one order of summation, whatever it is a view of
    if src.shape[2] == RGBA:
        return sum(cv2.mean(src)[:RGB]) / RGB
    return float(cv2.mean(src.reshape(len(src), -1))[0])
