"""Ops that take light away in places, or send it into the lens."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from kaleidoscope.ops import fields, painting
from kaleidoscope.ops.base import Op, Params, into, op
from kaleidoscope.ops.histogram import grey_or_rgb
from kaleidoscope.ops.levels import keep_alpha
from kaleidoscope.record import max_value_of

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame


@op
class RandomShadow(Op):
    """Darken random polygons of the picture.

    ``out = pixel * (1 - intensity)`` inside of a polygon, which crosses itself as its corners happen to lie (what is
    inside an even number of times is outside); where several lie over each other, each darkens. After Automold (Saxena,
    2018).
    Any dtype and number of channels; of four the last is alpha, and stays. Targets stay.

    Parameters
    ----------
    shadow_roi : (float, float, float, float), fractions of the frame
        (x_min, y_min, x_max, y_max), where corners lie.
    num_shadows_limit : int or (int, int)
        How many polygons; a single number x stands for (x, x).
    shadow_dimension : int
        Corners of a polygon, at least 3.
    shadow_intensity_range : float or (float, float), in [0, 1]
        The part of the light that a shadow takes away, drawn for each; a single number x stands for (x, x).

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> grey = np.full((3, 5, 1), 100, dtype="uint8")
    >>> out = np.empty_like(grey)
    >>> left = [[0, 0], [1, 0], [1, 2], [0, 2]]
    >>> ops.RandomShadow().kernel(grey, {"vertices": [left], "intensities": [0.5]}, out)
    >>> out[1].ravel().tolist()
    [50, 50, 100, 100, 100]
    """

    shadow_roi: painting.Region = (0.0, 0.5, 1.0, 1.0)
    num_shadows_limit: int | tuple[int, int] = (1, 2)
    shadow_dimension: int = 5
    shadow_intensity_range: fields.Range = (0.5, 0.5)

    short_name = "shadow"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        painting.region(self, "shadow_roi", empty=True)
        expected = "how many, at least 1: a whole number, or a pair (least, greatest)"
        fields.pair(self, "num_shadows_limit", low=1, whole=True, expected=expected)
        fields.whole(self, "shadow_dimension", low=3, expected="corners, at least 3")
        expected = "a fraction in [0, 1], or a pair (least, greatest) of them"
        fields.pair(self, "shadow_intensity_range", low=0, high=1, expected=expected)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``vertices``, the corners [x, y] of each polygon, in pixels, and ``intensities``, one for each."""
        count = _count(rng, self.num_shadows_limit)
        size = np.array([frame.width, frame.height])
        low, high = (np.multiply(corner, size).astype(int) for corner in (self.shadow_roi[:2], self.shadow_roi[2:]))
        low = np.minimum(low, size - 1)  # of a region that is the last edge
        high = np.maximum(high, low + 1)
        return {
            "vertices": rng.integers(low, high, size=(count, self.shadow_dimension, 2)).tolist(),
            "intensities": [fields.draw(rng, self.shadow_intensity_range) for _ in range(count)],
        }

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), and shadows."""
        np.copyto(out, src)
        for vertices, intensity in zip(params["vertices"], params["intensities"], strict=True):
            corners = np.array(vertices, np.int32)
            (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0) + 1
            part = out[top:bottom, left:right]
            inside = np.zeros(part.shape[:2], np.uint8)
            cv2.fillPoly(inside, [corners - (left, top)], 255)
            self._darken(np.ascontiguousarray(part), inside, 1 - intensity, part)
        keep_alpha(src, out)

    def _darken(self, part: NDArray[Any], inside: NDArray[np.uint8], left: float, out: NDArray[Any]) -> None:
        """Replace `out` by a part of what it was, where `inside`, shape (H, W), is not 0."""
        plain = part.reshape(len(part), -1)
        dark = cv2.addWeighted(plain, left, plain, 0.0, 0.0).reshape(part.shape)
        if part.shape[2] <= painting.RGBA:
            into(out, cv2.copyTo(dark, inside, dst=out))
        else:
            np.copyto(out, dark, where=inside[..., np.newaxis] != 0)


@op
class RandomSunFlare(Op):
    """Add the sun and its reflections in the lens.

    The sun stands at a point drawn uniformly from a region. Along a line through it, in a drawn direction, lie as many
    reflections as are drawn: discs of radius r**3 pixels, r drawn evenly from 1 to a 100th of the height (at least
    2), whose colours are up to a fifth of the full range darker than the sun's.

    ``overlay``: the reflections, one after another, are laid over what is there, each with an opacity from 0.05 to 0.2,
    and the earlier ones again with those of the later. Then the sun: discs of radii from 1 pixel to `src_radius`, one
    for every 10 pixels, with opacities that fall with the third power to 0 at the largest.

    ``physics_based``: sun, four rays and small discs on black, smoothed by a Gaussian of 15 pixels, fading linearly to
    0 at 0.7 times the longer side; red and blue smoothed once more by 3 and 5 pixels, as lenses do; then ::

        out = max_value - (max_value - pixel) * (max_value - flare) / max_value

    Grey, RGB and RGBA, of every dtype; alpha stays, and targets do.

    Parameters
    ----------
    flare_roi : (float, float, float, float), fractions of the frame
        (x_min, y_min, x_max, y_max), where the sun is.
    src_radius : int, pixels
        Of the sun, at least 2.
    src_color : (float, float, float)
        Red, green and blue in 255ths of the full range, in [0, 255]. On grey images, what ITU-R BT.601 makes of them.
    angle_range : float or (float, float), whole turns in [0, 1]
        The line's direction, clockwise from the right; a single number x stands for (x, x), here and below.
    num_flare_circles_range : int or (int, int)
        How many reflections, at least 1.
    method : str
        ``overlay`` or ``physics_based``.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> black = np.zeros((32, 32, 1), dtype="uint8")
    >>> out = np.empty_like(black)
    >>> drawn = {"center": [16, 16], "circles": [[0.2, [5, 5], 1, [255, 255, 255]]]}
    >>> ops.RandomSunFlare(src_radius=60).kernel(black, drawn, out)
    >>> [int(value) for value in (out[5, 5, 0], out[16, 16, 0], out[16, 31, 0])]
    [106, 255, 69]
    """

    flare_roi: painting.Region = (0.0, 0.0, 1.0, 0.5)
    src_radius: int = 400
    src_color: painting.Colour = (255.0, 255.0, 255.0)
    angle_range: fields.Range = (0.0, 1.0)
    num_flare_circles_range: int | tuple[int, int] = (6, 10)
    method: str = "overlay"

    short_name = "sunflare"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        painting.region(self, "flare_roi", empty=False)
        fields.whole(self, "src_radius", low=2, expected="a whole number of pixels, at least 2")
        painting.colour(self, "src_color")
        expected = "whole turns in [0, 1], or a pair (least, greatest) of them"
        fields.pair(self, "angle_range", low=0, high=1, expected=expected)
        expected = "how many, at least 1: a whole number, or a pair (least, greatest)"
        fields.pair(self, "num_flare_circles_range", low=1, whole=True, expected=expected)
        fields.choice(self, "method", ("overlay", "physics_based"))

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``center``, of the sun, [x, y] in pixels, and ``circles``: [opacity, [x, y], radius, colour] of each."""
        angle = 2 * math.pi * fields.draw(rng, self.angle_range)
        x_min, y_min, x_max, y_max = self.flare_roi
        x = int(frame.width * fields.draw(rng, (x_min, x_max)))
        y = int(frame.height * fields.draw(rng, (y_min, y_max)))
        step = max(1, int(math.hypot(frame.height, frame.width) * 0.01))
        distances = range(-x, frame.width - x, step)
        largest = max(2, int(frame.height * 0.01))
        shades = [(max(int(shade - max(self.src_color) // 5), 0), int(shade)) for shade in self.src_color]
        circles = []
        for _ in range(_count(rng, self.num_flare_circles_range)):
            away = distances[int(rng.integers(len(distances)))]
            circles.append(
                [
                    float(rng.uniform(0.05, 0.2)),
                    [int(x + away * math.cos(angle)), int(y + away * math.sin(angle))],
                    int(rng.integers(1, largest, endpoint=True)) ** 3,
                    [int(rng.integers(*ends, endpoint=True)) for ends in shades],
                ]
            )
        return {"center": [x, y], "circles": circles}

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If it is neither grey, RGB nor RGBA.
        """
        return grey_or_rgb(self, frame)

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, 1), (H, W, 3) or (H, W, 4), in the sun."""
        flare = self._overlay if self.method == "overlay" else self._shine
        painting.on_colours(partial(flare, params["center"], params["circles"]), src, out)

    def _overlay(self, center: list[int], circles: list[Any], src: NDArray[Any], out: NDArray[Any]) -> None:
        """Fill `out` with `src`, grey or RGB, reflections, and the sun."""
        np.copyto(out, src)
        painted = src.copy()
        left, top, right, bottom = src.shape[1], src.shape[0], 0, 0  # of all discs up to now
        for opacity, (x, y), radius, colour in circles:
            cv2.circle(painted, (x, y), radius, painting.in_range_of(src, colour), -1)
            left, top = max(0, min(left, x - radius)), max(0, min(top, y - radius))
            right, bottom = max(right, x + radius + 1), max(bottom, y + radius + 1)
            here = np.s_[top:bottom, left:right]
            if painted[here].size:
                into(out, cv2.addWeighted(painted[here], opacity, out[here], 1 - opacity, 0.0, dst=out[here]))
        strength = 5 * np.average([one[0] for one in circles], weights=[one[2] for one in circles])
        rings = self.src_radius // 10
        radii = np.linspace(1, self.src_radius, rings).astype(int)
        opacities = np.linspace(0, min(strength, 1), rings)[::-1] ** 3
        seen_through = np.cumprod(1 - opacities[::-1])[::-1]  # this ring and all larger ones
        whole = src.dtype == np.uint8
        seen = np.full(src.shape[:2], 255 if whole else 1, np.uint8 if whole else np.float32)
        for radius, part in zip(radii[::-1].tolist(), seen_through[::-1].tolist(), strict=True):
            cv2.circle(seen, center, radius, round(255 * part) if whole else part, -1)
        painting.veil(out, seen, painting.in_range_of(src, self.src_color), out)

    def _shine(self, center: list[int], circles: list[Any], src: NDArray[Any], out: NDArray[Any]) -> None:
        """Fill `out` with `src`, grey or RGB, and light in the lens."""
        height, width = src.shape[:2]
        longer = max(height, width)
        light = np.zeros((height, width, painting.RGB), np.uint8)
        cv2.circle(light, center, self.src_radius, self.src_color, -1)
        for angle in (0, 45, 90, 135):
            end = [int(at + turn(math.radians(angle)) * longer) for at, turn in zip(center, _TURNS, strict=True)]
            cv2.line(light, center, end, self.src_color, 2)
        for _, place, radius, colour in circles:
            cv2.circle(light, place, int(radius**0.33), colour, -1)
        # At a quarter of the size, where nothing is lost that is smoothed by 15 pixels: a tenth of the time.
        coarser = _COARSER if min(height, width) >= 16 * _COARSER else 1
        size = -(-width // coarser), -(-height // coarser)
        across, down = width / size[0], height / size[1]
        # The mirror stands on the outermost pixels; of coarser ones their edge is nearer to there than their middle.
        mirror = cv2.BORDER_REFLECT_101 if coarser == 1 else cv2.BORDER_REFLECT

        def smooth(light: NDArray[Any], sigma: float) -> NDArray[Any]:
            return cv2.GaussianBlur(light, (0, 0), sigma / across, sigmaY=sigma / down, borderType=mirror)

        flare = smooth(cv2.resize(light, size, interpolation=cv2.INTER_AREA).astype(np.float32), 15)
        x, y = (((np.arange(n) + 0.5) * step - 0.5) for n, step in zip(size, (across, down), strict=True))
        away = np.hypot(x - center[0], y[:, np.newaxis] - center[1])
        flare *= (1 - np.minimum(away / (longer * 0.7), 1))[..., np.newaxis].astype(np.float32)
        for channel, sigma in ((0, 3), (2, 5)):
            flare[..., channel] = smooth(np.ascontiguousarray(flare[..., channel]), sigma)
        seen = 255 - flare
        if src.shape[2] == painting.GREY:
            seen = cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY)
        seen = np.rint(seen).astype(np.uint8) if src.dtype == np.uint8 else seen / np.float32(255)
        seen = cv2.resize(seen, (width, height), interpolation=cv2.INTER_LINEAR)
        painting.veil(src, seen, (max_value_of(src),) * src.shape[2], out)


#: By how much smaller light is smoothed.
_COARSER = 4
#: Across and down.
_TURNS = (math.cos, math.sin)


def _count(rng: Generator, ends: int | tuple[int, int]) -> int:
    """Draw from the whole numbers of a range that `fields.pair` has checked."""
    least, most = cast("tuple[int, int]", ends)
    return int(rng.integers(least, most, endpoint=True))
