"""Ops that add a camera's noise: how much depends on the picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.random import PCG64DXSM, Generator

from kaleidoscope.errors import OpError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, into, op
from kaleidoscope.ops.noise import standard_normal
from kaleidoscope.record import max_value_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

GREY, RGB, RGBA = 1, 3, 4
#: Values that are worked on at a time, so that what is made in between stays in the processor's cache.
_BAND = 2**16


@op
class ISONoise(Op):
    """Add the noise of a sensitive sensor: hues that vary, and pixels that are too bright.

    In the double hexcone (OpenCV's ``COLOR_RGB2HLS``), independently for each pixel::

        hue' = hue + 360 * color_shift * intensity * z                        degrees; z standard normal
        lightness' = min(1, lightness + k * intensity * (1 - lightness))      k ~ Poisson(intensity * s)

    where `s` is the standard deviation of the image's lightness, which is (max + min) / 2 of a pixel's colours. Grey,
    RGB and RGBA, of every dtype; on grey only the lightness changes, and alpha stays.

    Parameters
    ----------
    color_shift : float or (float, float), fractions of a full turn in [0, 1]
        A single number x stands for (x, x), here and below.
    intensity : float or (float, float), at least 0

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> half = np.repeat(np.uint8([51, 204]), 32768).reshape(256, 256, 1)  # s = 0.3
    >>> out = np.empty_like(half)
    >>> ops.ISONoise().kernel(half, {"color_shift": 0.0, "intensity": 0.5, "seed": 7}, out)
    >>> round(float((out != half).mean()), 2), round(float(1 - np.exp(-0.5 * 0.3)), 2)
    (0.14, 0.14)
    """

    color_shift: fields.Range = (0.01, 0.05)
    intensity: fields.Range = (0.1, 0.5)

    short_name = "isonoise"

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        expected = "a fraction of a full turn in [0, 1], or a pair (least, greatest) of them"
        fields.pair(self, "color_shift", low=0, high=1, expected=expected)
        fields.pair(self, "intensity", low=0, expected="a number of at least 0, or a pair (least, greatest)")

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``color_shift``, a fraction of a turn, ``intensity``, and the ``seed`` of the noise."""
        return {
            "color_shift": fields.draw(rng, self.color_shift),
            "intensity": fields.draw(rng, self.intensity),
            "seed": int(rng.integers(2**53)),
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
                f"ISONoise: expected grey, RGB or RGBA (1, 3 or 4 channels), got {frame.channels} ({frame}); "
                "ShotNoise does any number"
            )
        return frame

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, 1), (H, W, 3) or (H, W, 4), and noise."""
        intensity = params["intensity"]
        if intensity == 0:
            np.copyto(out, src)
            return
        # A band of rows at a time, in buffers made once: to get arrays of the whole image from the operating system
        # at each step takes longer than to compute.
        height, width, channels = src.shape
        rows = max(1, min(height, _BAND // width))
        bands = [slice(top, min(top + rows, height)) for top in range(0, height, rows)]
        pixel_band = np.empty((rows, width, channels), np.float32)
        made = np.empty((height, width, GREY if channels == GREY else RGB), np.float32)
        moments = np.zeros(2)
        for band in bands:
            pixels, hls = pixel_band[: band.stop - band.start], made[band]
            _to_floats(src[band], pixels)
            if channels == GREY:
                np.copyto(hls, pixels)
            else:
                into(hls, cv2.cvtColor(pixels, cv2.COLOR_RGB2HLS, dst=hls))
            mean, deviation = (float(each[min(channels, 2) - 1, 0]) for each in cv2.meanStdDev(hls))
            moments += np.array([mean, deviation**2 + mean**2]) * (len(hls) / height)
        spread = math.sqrt(max(0.0, moments[1] - moments[0] ** 2))

        seed = params["seed"]
        rise = _poisson_field(Generator(PCG64DXSM([seed, 1])), intensity * spread, (height, width))
        # Times 360: a whole turn is 1, as Albumentations says, though 2.0.8 adds turns as if they were degrees.
        turn = 360 * params["color_shift"] * intensity
        turns = standard_normal((height, width, 1), seed)[..., 0] if turn and channels > GREY else None
        plane_band = np.empty((RGB, rows, width), np.float32)
        for band in bands:
            pixels, hls = pixel_band[: band.stop - band.start], made[band]
            if channels == GREY:
                _lighten(hls[..., 0], rise[band], intensity)
                _from_floats(hls, out[band])
                continue
            planes = hues, lightness, _ = list(plane_band[:, : len(hls)])
            cv2.split(hls, planes)
            if turns is not None:
                turned = turns[band]
                turned *= np.float32(turn)
                turned -= 360 * np.floor(turned / 360)  # OpenCV turns back what is beyond 360, not what is below 0
                hues += turned
            _lighten(lightness, rise[band], intensity)
            cv2.merge(planes, dst=hls)
            into(pixels, cv2.cvtColor(hls, cv2.COLOR_HLS2RGB, dst=pixels, dstCn=channels))
            _from_floats(pixels, out[band])
        if channels == RGBA:
            out[..., 3] = src[..., 3]


def _lighten(lightness: NDArray[np.float32], counts: NDArray[np.float32], intensity: float) -> None:
    """Bring lightness closer to 1, in place, for each of the counts, which it is computed in."""
    counts *= np.float32(intensity)
    counts *= 1 - lightness
    lightness += counts
    np.minimum(lightness, 1, out=lightness)


def _to_floats(src: NDArray[Any], out: NDArray[np.float32]) -> None:
    """Fill `out` with pixels in [0, 1]."""
    if src.dtype == np.float32:
        np.clip(src, 0, 1, out=out)
        return
    # Contiguous, as OpenCV computes what lies apart without the processor's fused steps: the last bit differs.
    plain, filled = np.ascontiguousarray(src).reshape(len(src), -1), out.reshape(len(out), -1)
    into(out, cv2.addWeighted(plain, 1 / max_value_of(src), plain, 0.0, 0.0, dst=filled, dtype=cv2.CV_32F))


def _from_floats(pixels: NDArray[np.float32], out: NDArray[Any]) -> None:
    """Fill `out` with pixels, clipped to [0, 1] and spread over the range of its dtype."""
    if out.dtype == np.float32:
        np.clip(pixels, 0, 1, out=out)
        return
    plain, filled = pixels.reshape(len(pixels), -1), out.reshape(len(out), -1)
    depth = cv2.CV_8U if out.dtype == np.uint8 else cv2.CV_16U
    into(out, cv2.addWeighted(plain, max_value_of(out), plain, 0.0, 0.0, dst=filled, dtype=depth))


def _poisson_field(rng: Generator, rate: float, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return independent Poisson values, shape (H, W): as many events as all have together, thrown on at random."""
    size = math.prod(shape)
    if rate > 1:
        return rng.poisson(rate, shape).astype(np.float32)
    places = rng.integers(size, size=rng.poisson(rate * size))
    return np.bincount(places, minlength=size).astype(np.float32).reshape(shape)


@op
class ShotNoise(Op):
    """Replace each value by a count of photons, whose expectation it is.

    Photons come in proportion to linear light (a gamma of 2.2), and ``1 / scale`` of them make full white::

        x = (pixel / max_value)**2.2
        out = max_value * min(1, scale * k)**(1 / 2.2)        k ~ Poisson(x / scale + 1e-6)

    independently for each pixel and channel (Schottky, 1918). Any dtype and number of channels; of four the last is
    alpha, and stays. For ``uint8``, whose 256 distributions are tabled in 2,048 equal parts, it takes a tenth of the
    time of drawing: the parts begin at a place drawn for each level and image, so that each value has exactly its
    distribution, and those of a level in one image only depend on each other in which 2,048th they came from.

    Parameters
    ----------
    scale_range : float or (float, float), white by photon, at least 0
        A single number x stands for (x, x). 0.1 means 10 photons for white; 0 changes nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> flat = np.full((256, 256, 1), 0.5, dtype="float32")
    >>> out = np.empty_like(flat)
    >>> ops.ShotNoise().kernel(flat, {"scale": 0.02, "seed": 7}, out)
    >>> light = out**2.2  # as is the flat image's: 0.218, with a variance of 0.02 times that
    >>> round(float(light.mean()), 3), round(float(light.var()) / 0.02, 2)
    (0.218, 0.22)
    """

    scale_range: fields.Range = (0.1, 0.3)

    short_name = "shotnoise"

    def __post_init__(self) -> None:
        """Check the range.

        Raises
        ------
        RecipeError
            If it is not what it should be.
        """
        fields.pair(self, "scale_range", low=0, expected="a number of at least 0, or a pair (least, greatest)")

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``scale``, what a photon adds to linear light, and the ``seed`` of the counts."""
        return {"scale": fields.draw(rng, self.scale_range), "seed": int(rng.integers(2**53))}

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with what was counted of `src`, shape (H, W, C)."""
        scale = params["scale"]
        if scale < _NO_NOISE:
            np.copyto(out, src)
            return
        rng = Generator(PCG64DXSM(params["seed"]))
        if src.dtype == np.uint8 and scale >= _TABLED:
            _count_by_table(src.reshape(-1), scale, rng, out.reshape(-1))
        elif src.shape[2] == RGBA:  # how much randomness a count takes depends on what is counted: not alpha
            colours = src[..., :RGB].copy()
            _count_one_by_one(colours.reshape(-1), scale, rng, colours.reshape(-1))
            out[..., :RGB] = colours
        else:
            _count_one_by_one(src.reshape(-1), scale, rng, out.reshape(-1))
        if src.shape[2] == RGBA:
            out[..., 3] = src[..., 3]


_GAMMA = 2.2
#: Photons that come in the dark: a number above 0 that makes no difference.
_DARK = 1e-6
#: Less is no noise: it is lost in the last bit of ``float32``, and larger counts have no place in an integer.
_NO_NOISE = 1e-15
#: With more photons than a thousand the tables would take as long as drawing.
_TABLED = 1e-3
#: Parts of equal probability, a power of 2, that a level's distribution is tabled in: 512 KiB for all levels.
_PART_BITS = 11
_PARTS = 2**_PART_BITS


def _seen(counts: NDArray[Any], scale: float) -> NDArray[np.float64]:
    """Return what so many photons look like, in [0, 1]."""
    seen: NDArray[np.float64] = np.minimum(scale * counts, 1.0) ** (1 / _GAMMA)
    return seen


def _count_one_by_one(pixels: NDArray[Any], scale: float, rng: Generator, out: NDArray[Any]) -> None:
    """Fill `out`, which `pixels` may be, by drawing each count, both of shape (N,)."""
    most = max_value_of(pixels)
    for start in range(0, pixels.size, _BAND):
        part = np.clip(pixels[start : start + _BAND] / most, 0, 1)
        values = most * _seen(rng.poisson(part**_GAMMA / scale + _DARK), scale)
        out[start : start + _BAND] = values if out.dtype == np.float32 else np.rint(values)


def _count_by_table(pixels: NDArray[np.uint8], scale: float, rng: Generator, out: NDArray[np.uint8]) -> None:
    """Fill `out` from a table of what each of 256 levels may become, both of shape (N,)."""
    table = _table_of_levels(scale, rng)
    bits = rng.bit_generator.random_raw(-(-pixels.size // 4)).view(np.uint16)
    bits &= _PARTS - 1
    for start in range(0, pixels.size, _BAND):
        places = np.left_shift(pixels[start : start + _BAND], _PART_BITS, dtype=np.intp)
        places |= bits[start : start + places.size]
        np.take(table, places, out=out[start : start + _BAND], mode="clip")  # "raise" would work in a copy of `out`


def _table_of_levels(scale: float, rng: Generator) -> NDArray[np.uint8]:
    """Return of each level the outcomes at evenly spaced quantiles, the first of them drawn, shape (256 * _PARTS,)."""
    rates = (np.arange(256) / 255) ** _GAMMA / scale + _DARK
    enough = math.ceil(1 / scale)  # photons for white; more are no brighter
    counts = np.arange(enough + 1)
    log_factorials = np.cumsum(np.log(np.maximum(counts, 1)))
    chances = np.exp(counts[:-1] * np.log(rates)[:, np.newaxis] - rates[:, np.newaxis] - log_factorials[:-1])
    # Of a level, the outcome of a part is the first count whose cumulated chance is beyond the part's quantile.
    ends = np.ceil(_PARTS * np.cumsum(chances, axis=1) - rng.random((256, 1))).clip(0, _PARTS).astype(np.intp)
    lengths = np.diff(ends, axis=1, prepend=0, append=_PARTS)
    outcomes = np.rint(255 * _seen(counts, scale)).astype(np.uint8)
    return np.repeat(np.tile(outcomes, 256), lengths.reshape(-1))
