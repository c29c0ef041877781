"""Ops that make rain and fog."""

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
from kaleidoscope.record import max_value_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

#: Drops for each row of pixels, by the type of rain.
_DROPS_PER_ROW = {"drizzle": 1 / 4, "default": 1 / 3, "heavy": 1, "torrential": 2}


@op
class RandomRain(Op):
    """Draw blurred streaks of rain, and darken the picture.

    ::

        out = brightness_coefficient * min(pixel + streak, max_value)

    `streak` is drop_color along lines from (x, y) to (x + slant, y + drop_length), averaged over squares of
    blur_value x blur_value; x and y are drawn uniformly, for as many drops as rain_type says: a quarter of the image's
    height in pixels (``drizzle``), a third (``default``), once (``heavy``) or twice (``torrential``). After Automold
    (Saxena, 2018).

    Grey, RGB and RGBA, of every dtype; alpha stays, and targets do. Where the drops fall is drawn from a seed:
    there are more of them than a manifest wants to hold.

    Parameters
    ----------
    slant_range : float or (float, float), pixels in [-20, 20]
        By how much a streak drifts to the right from its top to its bottom; a single number x stands for (x, x).
        Albumentations calls them degrees and takes them for pixels, too.
    drop_length : int, optional
        From the top to the bottom of a streak in pixels; an eighth of the image's height by default.
    drop_width : int
        Of a streak, in pixels.
    drop_color : (float, float, float)
        Red, green and blue in 255ths of the full range, in [0, 255]. On grey images, what ITU-R BT.601 makes of them.
    blur_value : int
        Side of the squares over which streaks are averaged, in pixels; 1 keeps them sharp.
    brightness_coefficient : float in (0, 1]
        What is left of the brightness.
    rain_type : str
        ``drizzle``, ``default``, ``heavy`` or ``torrential``.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> grey = np.full((64, 64, 1), 100, dtype="uint8")
    >>> out = np.empty_like(grey)
    >>> ops.RandomRain(blur_value=1).kernel(grey, {"slant": 2.0, "seed": 7}, out)
    >>> np.unique(out).tolist()  # 0.7 * 100, and 0.7 * min(100 + 200, 255)
    [70, 178]
    """

    slant_range: fields.Range = (-10.0, 10.0)
    drop_length: int | None = None
    drop_width: int = 1
    drop_color: painting.Colour = (200.0, 200.0, 200.0)
    blur_value: int = 7
    brightness_coefficient: float = 0.7
    rain_type: str = "default"

    short_name = "rain"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        expected = "a drift in pixels within [-20, 20], or a pair (least, greatest) of them"
        fields.pair(self, "slant_range", low=-20, high=20, expected=expected)
        if self.drop_length is not None:
            fields.whole(self, "drop_length", low=1, expected="a whole number of pixels, at least 1, or None")
        for name in ("drop_width", "blur_value"):
            fields.whole(self, name, low=1, expected="a whole number of pixels, at least 1")
        if self.drop_width > _WIDEST:
            raise fields.refuse(self, "drop_width", self.drop_width, f"pixels, at most {_WIDEST}")
        painting.colour(self, "drop_color")
        # The least number above 0 stands for "above 0".
        fields.number(self, "brightness_coefficient", low=math.ulp(0.0), high=1, expected="a factor above 0, at most 1")
        fields.choice(self, "rain_type", tuple(_DROPS_PER_ROW))

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``slant``, in pixels, and the ``seed`` of where drops fall."""
        return {"slant": fields.draw(rng, self.slant_range), "seed": int(rng.integers(2**53))}

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If it is neither grey, RGB nor RGBA.
        """
        return grey_or_rgb(self, frame)

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, 1), (H, W, 3) or (H, W, 4), in the rain."""
        height, width = src.shape[:2]
        length = max(1, height // 8) if self.drop_length is None else self.drop_length
        count = int(height * _DROPS_PER_ROW[self.rain_type])
        tops = Generator(PCG64(params["seed"])).integers((0, 0), (width, max(1, height - length)), size=(count, 2))
        painting.on_colours(partial(self._rain, tops, params["slant"], length), src, out)

    def _rain(self, tops: NDArray[np.int64], slant: float, length: int, src: NDArray[Any], out: NDArray[Any]) -> None:
        """Fill `out` with `src`, grey or RGB, and streaks that begin at `tops`, shape (N, 2), xy."""
        paint = painting.in_range_of(src, self.drop_color)
        grey = len(set(paint)) == 1  # as they are by default: one channel to draw and to blur
        layer = np.zeros(src.shape[:2] if grey else src.shape, src.dtype)
        if len(tops):
            lines = np.stack([tops, tops + np.array([slant, length])], axis=1).astype(np.int32)
            cv2.polylines(
                layer, list(lines), isClosed=False, color=paint, thickness=self.drop_width, lineType=cv2.LINE_4
            )
        if self.blur_value > 1:
            layer = cv2.blur(layer, (self.blur_value, self.blur_value))
        if grey and src.shape[2] == painting.RGB:
            layer = cv2.cvtColor(layer, cv2.COLOR_GRAY2RGB)
        # c * min(a + b, most) = min(c * a + c * b, c * most), which needs one pass less.
        left, most = self.brightness_coefficient, max_value_of(src)
        plain, filled = src.reshape(len(src), -1), out.reshape(len(out), -1)
        into(filled, cv2.addWeighted(plain, left, layer.reshape(plain.shape), left, 0.0, dst=filled))
        most = left * most if out.dtype == np.float32 else round(left * most)
        # Not cv2.min: OpenCV may take a number beside an image of a single pixel for four.
        into(filled, cv2.threshold(filled, most, 0, cv2.THRESH_TRUNC, dst=filled)[1])


#: OpenCV draws no wider lines.
_WIDEST = 32767


@op
class RandomFog(Op):
    """Lay discs of thin fog over the picture, most of them in its middle, and smooth it.

    ::

        out = smoothed(white - (white - pixel) * (1 - alpha_coef * intensity) ** n)

    n is how many discs cover the pixel. Their radii are between a 20th and a 10th of the shorter side, times the
    intensity; they lie in up to ten regions about the middle, each 0.9 times the size of the one before, and are as
    many as cover it a number of times that grows with the intensity. Smoothed is by a Gaussian of about a 30th of the
    shorter side (``cv2.GaussianBlur`` without a sigma).

    Grey, RGB and RGBA, of every dtype; alpha stays, and targets do. Where the discs lie is drawn from a seed: there are
    hundreds.

    Albumentations blends and rounds the whole image once for each disc, where nearly white pixels get stuck at 10 to
    20 levels below white; here it is done once, and exactly.

    Parameters
    ----------
    alpha_coef : float in [0, 1]
        How much of the light a disc at intensity 1 takes away.
    fog_coef_range : float or (float, float), in [0, 1]
        The intensity; a single number x stands for (x, x).

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> black = np.zeros((64, 64, 1), dtype="uint8")
    >>> out = np.empty_like(black)
    >>> ops.RandomFog().kernel(black, {"intensity": 0.8, "seed": 7}, out)
    >>> bool(out[24:40, 24:40].mean() > 2 * out[:16, :16].mean())  # denser in the middle
    True
    """

    alpha_coef: float = 0.08
    fog_coef_range: fields.Range = (0.3, 1.0)

    short_name = "fog"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.number(self, "alpha_coef", low=0, high=1, expected="a fraction in [0, 1]")
        expected = "an intensity in [0, 1], or a pair (least, greatest) of them"
        fields.pair(self, "fog_coef_range", low=0, high=1, expected=expected)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw the ``intensity``, and the ``seed`` of where discs lie."""
        return {"intensity": fields.draw(rng, self.fog_coef_range), "seed": int(rng.integers(2**53))}

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If it is neither grey, RGB nor RGBA.
        """
        return grey_or_rgb(self, frame)

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, 1), (H, W, 3) or (H, W, 4), in the fog."""
        centres, radii = _discs(src.shape[:2], params["intensity"], params["seed"])
        times = _times_covered(src.shape[:2], centres, radii)
        painting.on_colours(partial(self._veil, times, params["intensity"]), src, out)

    def _veil(self, times: NDArray[np.uint8], intensity: float, src: NDArray[Any], out: NDArray[Any]) -> None:
        """Fill `out` with `src`, grey or RGB, behind what covers it so many times."""
        table = (1 - self.alpha_coef * intensity) ** np.arange(256)
        whole = src.dtype == np.uint8
        seen = cv2.LUT(times, np.rint(255 * table).astype(np.uint8) if whole else table.astype(np.float32))
        veiled = np.empty_like(src)
        painting.veil(src, seen, (max_value_of(src),) * src.shape[2], veiled)
        ksize = max(3, min(src.shape[:2]) // 30) | 1
        into(out, cv2.GaussianBlur(veiled, (ksize, ksize), 0, dst=out))


#: Regions of fog, and how much smaller each is than the one before.
_REGIONS, _SHRINK = 10, 0.9


def _discs(size: tuple[int, int], intensity: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return centres, shape (N, 2), xy, and radii, shape (N,), of fog over an image of height and width `size`."""
    rng = Generator(PCG64(seed))
    down, across = size
    middle = np.array([(across - 1) // 2, (down - 1) // 2])
    unit = max(1, int(across // 3 * intensity))
    centres = [np.empty((0, 2), np.int64)]
    for _ in range(_REGIONS):
        if min(across, down) <= unit:
            break
        count = int(across * down / unit**2 * intensity * 10)
        reach = np.array([across // 2, down // 2])
        centres.append(rng.integers(middle - reach, middle + reach, size=(count, 2), endpoint=True))
        across, down = int(across * _SHRINK), int(down * _SHRINK)
    everywhere = np.concatenate(centres)
    largest = max(2, int(min(size) * 0.1 * intensity))
    return everywhere, rng.integers(max(1, largest // 2), largest, size=len(everywhere))


def _times_covered(size: tuple[int, int], centres: NDArray[np.int64], radii: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return how many discs cover each pixel, shape (H, W), at most 255.

    Each row of a disc is 1 where it begins and -1 behind its end; sums along the rows of the image are the answer. A
    call for each of them would take four times as long, and seconds where a flat image has a hundred thousand.
    """
    height, width = size
    begins, ends = [], []
    for radius in np.unique(radii).tolist():
        disc = np.zeros((2 * radius + 1, 2 * radius + 1), np.uint8)
        cv2.circle(disc, (radius, radius), radius, 1, -1)
        half = disc.sum(axis=1, dtype=np.int64) // 2  # to the left and to the right of the middle
        x, y = centres[radii == radius].T[..., np.newaxis]
        rows = y + np.arange(-radius, radius + 1)
        inside = (rows >= 0) & (rows < height)
        first = rows * (width + 1)
        begins.append((first + (x - half).clip(0, width))[inside])
        ends.append((first + (x + half + 1).clip(0, width))[inside])
    if not begins:
        return np.zeros(size, np.uint8)
    places = height * (width + 1)
    steps = np.bincount(np.concatenate(begins), minlength=places) - np.bincount(np.concatenate(ends), minlength=places)
    counts: NDArray[np.int64] = steps.reshape(height, width + 1).cumsum(axis=1)[:, :width]
    return counts.clip(0, 255).astype(np.uint8)
