"""Ops that give an image another tint: jitter, shifts of channels, sepia, the light of another temperature."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.errors import OpError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, into, op
from kaleidoscope.ops.channels import RGBA
from kaleidoscope.ops.colour import linear, shift_hsv
from kaleidoscope.ops.histogram import grey_or_rgb
from kaleidoscope.ops.levels import keep_alpha
from kaleidoscope.ops.scratch import scratch
from kaleidoscope.ops.tables import look_up_in_place, shift_channels

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

GREY, RGB = 1, 3
#: What red, green and blue weigh in luma (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)
SEPIA = np.array([(0.393, 0.769, 0.189), (0.349, 0.686, 0.168), (0.272, 0.534, 0.131)])


@op
class ColorJitter(Op):
    """Change brightness, contrast, saturation and hue, in an order drawn for each image.

    ::

        brightness: out = factor * pixel
        contrast:   out = factor * pixel + (1 - factor) * mean of the luma
        saturation: out = factor * pixel + (1 - factor) * luma of the pixel
        hue:        turned by factor * 360 degrees in the hexcone model, as by `HueSaturationValue`,
                    of ``uint8`` by whole steps of 2 degrees, rounded down, in which it is held

    each clipped to the range of the dtype (the steps of torchvision's ``ColorJitter``); luma is
    ``0.299 R + 0.587 G + 0.114 B``. Grey, RGB and RGBA; on grey brightness and contrast only.

    Each step rounds to the nearest. Albumentations cuts fractions off at brightness and contrast, and so comes out up
    to a level darker a step, which turning the hue can make more of where it is dark (0.8 levels on average).

    Parameters
    ----------
    brightness : float or (float, float), factors of at least 0
        A single number x stands for (max(0, 1 - x), 1 + x), here and below.
    contrast : float or (float, float), factors of at least 0
    saturation : float or (float, float), factors of at least 0
    hue : float or (float, float), turns of the colour circle in [-0.5, 0.5]
        A single number x stands for (-x, x).

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> red = np.array([[[100, 50, 50]]], dtype="uint8")
    >>> out = np.empty_like(red)
    >>> draw = {"brightness": 2.0, "contrast": 1.0, "saturation": 0.0, "hue": 0.0, "order": [0, 1, 2, 3]}
    >>> ops.ColorJitter().kernel(red, draw, out)
    >>> out.tolist()  # the luma of (200, 100, 100)
    [[[130, 130, 130]]]
    """

    brightness: fields.Range = (0.8, 1.2)
    contrast: fields.Range = (0.8, 1.2)
    saturation: fields.Range = (0.8, 1.2)
    hue: fields.Range = (-0.5, 0.5)

    short_name = "jitter"

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        expected = "a number x of at least 0 for (1 - x, 1 + x), or a pair (least, greatest) of factors of at least 0"
        for name in STEPS[:3]:
            given = getattr(self, name)
            fields.pair(self, name, low=0, expected=expected)
            if not isinstance(given, list | tuple):
                fields.set_field(self, name, (max(0.0, 1.0 - given), 1.0 + given))
        expected = "a number x in [0, 0.5] for (-x, x), or a pair (least, greatest) of turns within [-0.5, 0.5]"
        if not isinstance(self.hue, list | tuple):
            fields.number(self, "hue", low=0, high=0.5, expected=expected)
        fields.pair(self, "hue", symmetric=True, low=-0.5, high=0.5, expected=expected)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw a factor for each, and ``order``, in which they come: 0 is brightness, 3 is hue."""
        drawn: dict[str, Any] = {name: fields.draw(rng, getattr(self, name)) for name in STEPS}
        return drawn | {"order": rng.permutation(len(STEPS)).tolist()}

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If it is neither grey, RGB nor RGBA.
        """
        return grey_or_rgb(self, frame)

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, 1), (H, W, 3) or (H, W, 4), after all steps."""
        pixels = src  # then `out`, which the later steps change in its place
        for name in (STEPS[place] for place in params["order"]):
            factor = params[name]
            if factor == (0 if name == "hue" else 1) or (src.shape[2] == GREY and name in ("saturation", "hue")):
                continue
            if name == "brightness":
                linear(pixels, factor, 0.0, out)
            elif name == "contrast":
                linear(pixels, factor, (1 - factor) * _mean_luma(pixels), out)
            elif name == "saturation":
                mix_channels(pixels, factor * np.eye(RGB) + (1 - factor) * np.tile(LUMA, (RGB, 1)), out)
            else:
                _turn_hue(pixels, factor, out)
            pixels = out
        if pixels is src:
            np.copyto(out, src)
        keep_alpha(src, out)


STEPS = ("brightness", "contrast", "saturation", "hue")


@op
class RGBShift(Op):
    """Shift red, green and blue, each by an amount drawn uniformly from its range.

    ``out = clip(pixel + shift)``. RGB and RGBA.

    Parameters
    ----------
    r_shift_limit, g_shift_limit, b_shift_limit : float or (float, float), 255ths of the full range in [-255, 255]
        A single number x stands for (-x, x). A range within [-1, 1] is in fractions of the full range instead, as
        Albumentations has it for ``float32`` pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> dark = np.array([[[10, 10, 10]]], dtype="uint8")
    >>> out = np.empty_like(dark)
    >>> ops.RGBShift().kernel(dark, {"shift": [0.2, 0.0, -0.2]}, out)
    >>> out.tolist()
    [[[61, 10, 0]]]
    """

    r_shift_limit: fields.Range = (-20.0, 20.0)
    g_shift_limit: fields.Range = (-20.0, 20.0)
    b_shift_limit: fields.Range = (-20.0, 20.0)

    short_name = "rgbshift"

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        expected = "a shift x for (-x, x), or a pair (least, greatest), within [-255, 255]"
        for name in ("r_shift_limit", "g_shift_limit", "b_shift_limit"):
            fields.pair(self, name, symmetric=True, low=-255, high=255, expected=expected)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``shift``: one for each of red, green and blue, in fractions of the full range."""
        return {
            "shift": [_fraction(rng, ends) for ends in (self.r_shift_limit, self.g_shift_limit, self.b_shift_limit)]
        }

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If it is neither RGB nor RGBA.
        """
        return _rgb(self, frame)

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with the shifted colours of `src`, shape (H, W, 3) or (H, W, 4)."""
        shift_channels(src, params["shift"] + [0.0] * (src.shape[2] - RGB), out)
        keep_alpha(src, out)


def _fraction(rng: Generator, ends: Any) -> float:
    """Draw a shift in fractions of the full range."""
    return fields.draw(rng, ends) / (255 if max(map(abs, ends)) > 1 else 1)


@op
class ToSepia(Op):
    """Tint the image like an old photograph.

    ::

        R' = 0.393 R + 0.769 G + 0.189 B
        G' = 0.349 R + 0.686 G + 0.168 B
        B' = 0.272 R + 0.534 G + 0.131 B

    clipped. RGB and RGBA; grey stays as it is, since one channel holds no tint.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> grey = np.array([[[100, 100, 100]]], dtype="uint8")
    >>> out = np.empty_like(grey)
    >>> ops.ToSepia().kernel(grey, {}, out)
    >>> out.tolist()
    [[[135, 120, 94]]]
    """

    short_name = "sepia"

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If it is neither grey, RGB nor RGBA.
        """
        return grey_or_rgb(self, frame)

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with the tinted `src`, shape (H, W, 1), (H, W, 3) or (H, W, 4)."""
        if src.shape[2] == GREY:
            np.copyto(out, src)
        else:
            mix_channels(src, SEPIA, out)
            keep_alpha(src, out)


@op
class PlanckianJitter(Op):
    """Light the image as by a black body, or by daylight, of a temperature that is drawn.

    ``out = clip(pixel * (R / G, 1, B / G))``, where (R, G, B) is the colour of the light (S. Zini, A. Gomez-Villa,
    M. Buzzelli, B. Twardowski, A. D. Bagdanov and J. van de Weijer, "Planckian Jitter: countering the color-crippling
    effects of color jitter on self-supervised training", ICLR 2023). The ratios are polynomials that follow their
    table to 0.005, at multiples of 500 K, and in between are on a line. RGB and RGBA.

    Parameters
    ----------
    mode : {"blackbody", "cied"}
        Planck's law, or the daylight series D of the CIE.
    temperature_limit : (float, float), kelvin, or None
        Within [3000, 15000], or [4000, 15000] for ``cied``, 6000 inside of it; None is all of that. Low is reddish,
        high is bluish.
    sampling_method : {"uniform", "gaussian"}
        Four draws of ten lie below 6000 K, the others above; ``uniform`` all over each part, ``gaussian`` mostly near
        6000 K, with a standard deviation of a third of each part.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> grey = np.array([[[100, 100, 100]]], dtype="uint8")
    >>> out = np.empty_like(grey)
    >>> ops.PlanckianJitter().kernel(grey, {"temperature": 4000}, out)
    >>> out.tolist()
    [[[135, 100, 57]]]
    """

    mode: str = "blackbody"
    temperature_limit: tuple[float, float] | None = None
    sampling_method: str = "uniform"

    short_name = "planckian"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.choice(self, "mode", tuple(_COOLEST))
        fields.choice(self, "sampling_method", ("uniform", "gaussian"))
        if self.temperature_limit is not None:
            given, low = self.temperature_limit, _COOLEST[self.mode]
            expected = f"a pair (least, greatest) within [{low:.0f}, {_HOTTEST:.0f}] kelvin, with 6000 inside of it"
            fields.pair(self, "temperature_limit", low=low, high=_HOTTEST, expected=expected)
            if not self.temperature_limit[0] <= _WHITE <= self.temperature_limit[1]:
                raise fields.refuse(self, "temperature_limit", given, expected)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``temperature``, whole kelvin."""
        low, high = self.temperature_limit or (_COOLEST[self.mode], _HOTTEST)
        far = low if rng.random() < _BELOW_WHITE else high
        share = rng.random() if self.sampling_method == "uniform" else min(abs(rng.normal(0, 1 / 3)), 1.0)
        return {"temperature": int(_WHITE + share * (far - _WHITE))}

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If it is neither RGB nor RGBA.
        """
        return _rgb(self, frame)

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, 3) or (H, W, 4), in that light."""
        mix_channels(src, np.diag(self.light(params)), out)
        keep_alpha(src, out)

    def light(self, params: Params) -> tuple[float, float, float]:
        """Return what red, green and blue are multiplied by."""
        temperatures = np.arange(_COOLEST[self.mode], _HOTTEST + 1, 500)
        red, blue = (
            float(np.interp(params["temperature"], temperatures, ratios))
            for ratios in _light(1000 / temperatures, *_LIGHTS[self.mode])
        )
        return red, 1.0, blue


_HOTTEST, _WHITE, _BELOW_WHITE = 15000.0, 6000.0, 0.4
_COOLEST = {"blackbody": 3000.0, "cied": 4000.0}
#: By powers of 1000 K / temperature, the highest first: R / G; B / G to the power that follows; that power.
_LIGHTS = {
    "blackbody": ((16.767, -8.785, 4.656, 0.477), (-40.316, 56.273, -25.986, 3.902), 2.2),
    "cied": ((31.091, -16.152, 5.988, 0.346), (8.992, -2.586, -5.065, 1.806), 1.0),
}


def _light(
    mireds: NDArray[np.float64], red: tuple[float, ...], blue: tuple[float, ...], power: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return R / G and B / G of the light of temperatures, given as 1000 K / temperature."""
    return np.polyval(red, mireds), np.maximum(np.polyval(blue, mireds), 0) ** (1 / power)


def mix_channels(src: NDArray[Any], matrix: NDArray[np.float64], out: NDArray[Any]) -> None:
    """Fill `out` with ``clip(matrix @ pixel)``, the matrix (3, 3), pixels RGB or RGBA; they may be in one place."""
    whole = matrix
    if src.shape[2] != RGB:
        whole = np.eye(src.shape[2])  # alpha as it is
        whole[:RGB, :RGB] = matrix
    if np.may_share_memory(src, out):
        # OpenCV does not say that it may write where it reads. A band of rows stays in the processor's cache.
        rows = max(1, 2**15 // src.shape[1])
        for top in range(0, len(src), rows):
            band = out[top : top + rows]
            into(band, cv2.transform(band.copy(), whole, dst=band))
    else:
        into(out, cv2.transform(np.ascontiguousarray(src), whole, dst=out))
    if out.dtype == np.float32:
        np.clip(out, 0, 1, out=out)


def _mean_luma(pixels: NDArray[Any]) -> float:
    """Return the mean of the luma, which is the luma of the mean, or the mean of grey."""
    means = cv2.mean(np.ascontiguousarray(pixels))
    return means[0] if pixels.shape[2] == GREY else float(np.dot(means[:RGB], LUMA))


def _turn_hue(pixels: NDArray[Any], turns: float, out: NDArray[Any]) -> None:
    """Fill `out` with RGB or RGBA turned on the colour circle; it may be where they are."""
    if pixels.dtype != np.uint8:
        shift_hsv(pixels, turns * 180, 0.0, 0.0, out)  # it takes units of 2 degrees
        return
    # By OpenCV's 180 steps of hue, as Albumentations: with the 256 that `HueSaturationValue` counts, one value in 14
    # of a photograph was more than 2 levels off its outcome.
    hsv = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2HSV)
    hues = cv2.extractChannel(hsv, 0, dst=scratch("plane", hsv.shape[:2], hsv.dtype))
    look_up_in_place(hues, ((np.arange(256) + math.floor(turns * 180)) % 180).astype(np.uint8))
    cv2.insertChannel(hues, hsv, 0)
    into(out, cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=out, dstCn=out.shape[2]))


def _rgb(part: Op, frame: Frame) -> Frame:
    """Return the frame of an op that does RGB and RGBA.

    Raises
    ------
    OpError
        If it is another.
    """
    if frame.channels not in (RGB, RGBA):
        raise OpError(f"{type(part).__name__}: expected RGB or RGBA (3 or 4 channels), got {frame.channels} ({frame})")
    return frame
