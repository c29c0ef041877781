"""Ops that add noise."""

from __future__ import annotations

import math
import threading
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.random import Generator, Philox

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, into, op
from kaleidoscope.record import max_value_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

_DEPTH = {np.dtype("uint8"): cv2.CV_8U, np.dtype("uint16"): cv2.CV_16U, np.dtype("float32"): cv2.CV_32F}


@op
class GaussNoise(Op):
    """Add Gaussian noise, its standard deviation and mean drawn uniformly from their ranges.

    ::

        out = clip(pixel + max_value * (mean + std * z)),  z standard normal, independent from value to value

    clipped to the range of the dtype, whose largest value (255, 65535, 1.0) is `max_value`. Any dtype and
    number of channels; of four the last is alpha, and stays.

    z is not computed for each image (2 to 7 ms for 512 x 512 x 3) but read from a table of 4,194,304 normal
    values that a process makes once: passages of 131,072 values, in an order, from a starting point
    and with signs drawn for the image. Nothing is read twice for an image of up to 4,194,304 values; two
    images may hold the same passage at different places. For ``uint8``, whose values are whole anyway, z is a
    multiple of 1/32 within -4 and 4 (4 MiB); for the others it is a ``float32`` (16 MiB).

    Parameters
    ----------
    std_range : float or (float, float), fractions of `max_value` in [0, 1]
        A single number x stands for (x, x), here and below.
    mean_range : float or (float, float), fractions of `max_value` in [-1, 1]
    per_channel : bool
        Noise of its own for each channel; otherwise the same for all.
    noise_scale_factor : float in (0, 1]
        Below 1 the noise is made for an image smaller by this factor and enlarged (linearly): it is coarser,
        and weaker between the points where it was drawn.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> flat = np.full((256, 256, 3), 128, dtype="uint8")
    >>> noisy = np.empty_like(flat)
    >>> ops.GaussNoise().kernel(flat, {"std": 0.1, "mean": 0.0, "seed": 7}, noisy)
    >>> abs(float(noisy.std()) - 0.1 * 255) < 0.2
    True
    """

    std_range: fields.Range = (0.2, 0.44)
    mean_range: fields.Range = (0.0, 0.0)
    per_channel: bool = True
    noise_scale_factor: float = 1.0

    short_name = "noise"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        for name, least in (("std_range", 0), ("mean_range", -1)):
            expected = f"a fraction of the largest pixel value in [{least}, 1], or a pair (least, greatest) of them"
            fields.pair(self, name, low=least, high=1, expected=expected)
        fields.flag(self, "per_channel")
        # The least number above 0 stands for "above 0".
        fields.number(self, "noise_scale_factor", low=math.ulp(0.0), high=1, expected="a factor above 0, at most 1")

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``std`` and ``mean``, fractions of `max_value`, and the ``seed`` of the noise."""
        return {
            "std": fields.draw(rng, self.std_range),
            "mean": fields.draw(rng, self.mean_range),
            "seed": int(rng.integers(2**53)),  # what JSON's readers keep exactly
        }

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), and noise."""
        height, width, channels = src.shape
        kinds = channels if self.per_channel else 1  # of noise
        copies = channels // kinds
        scale = params["std"] * max_value_of(src)
        shift = params["mean"] * max_value_of(src)
        if self.noise_scale_factor == 1:
            # Passage by passage, while it is in the processor's cache, and without a noise image in between.
            pixels, filled = src.reshape(-1), out.reshape(-1)
            table, middle, unit = normal_steps() if src.dtype == np.uint8 else (normal_table(), 0, 1.0)
            for part, first, sign in passages(height * width * kinds, params["seed"]):
                values = table[first : first + part.stop - part.start]
                here = slice(part.start * copies, part.stop * copies)
                factor = sign * scale * unit
                _add(pixels[here], _repeat(values, copies), factor, shift - middle * factor, filled[here])
        else:
            smaller = self.noise_scale_factor
            shape = (max(1, int(height * smaller)), max(1, int(width * smaller)), kinds)
            noise = _enlarge(standard_normal(shape, params["seed"]), height, width)
            _add(src.reshape(-1), _repeat(noise.reshape(-1), copies), scale, shift, out.reshape(-1))
        if channels == 4:
            out[..., 3] = src[..., 3]


def _add(src: NDArray[Any], noise: NDArray[Any], scale: float, shift: float, out: NDArray[Any]) -> None:
    """Fill `out` with ``clip(src + scale * noise + shift)``, all of one dimension."""
    depth = _DEPTH[out.dtype]
    into(out, cv2.addWeighted(src[None], 1.0, noise[None], scale, shift, dst=out[None], dtype=depth))
    if out.dtype == np.float32:
        np.clip(out, 0, 1, out=out)


def _repeat(values: NDArray[Any], copies: int) -> NDArray[Any]:
    """Return each value `copies` times in a row: once for each channel."""
    if copies == 1:
        return values
    if copies > 4:
        return np.repeat(values, copies)
    return cv2.merge([values[None]] * copies).reshape(-1)  # a seventh of the time of np.repeat


# ---- standard normal values, read instead of made

_PASSAGE = 2**18  # values; smaller ones cost calls, larger ones leave the cache
_PASSAGES = 4  # 1 MiB as uint8, which stays in the cache: 32 took 0.15 ms longer for 512 x 512 x 3
#: Steps of a standard deviation that the table for uint8 holds, and what stands for 0 in it.
_STEPS, _MIDDLE = 32, 128
_KEY = 0x6B616C6569646F  # any fixed number: the table is the same in every process
_one_at_a_time = threading.Lock()  # `cache` alone would let each thread of a worker make the table


def normal_table() -> NDArray[np.float32]:
    """Return the standard normal values, made on the first call; the first passage once more at the end."""
    with _one_at_a_time:
        return _make_table()


def normal_steps() -> tuple[NDArray[np.uint8], int, float]:
    """Return the same values as whole steps, what stands for 0, and what a step is.

    OpenCV adds them to ``uint8`` in 0.15 ms for 512 x 512 x 3, where floats take 0.25 and four times the cache.
    """
    with _one_at_a_time:
        return _make_steps(), _MIDDLE, 1 / _STEPS


def _make_values() -> NDArray[np.float32]:
    values = Generator(Philox(key=_KEY)).standard_normal(_PASSAGE * _PASSAGES, dtype=np.float32)
    return np.concatenate([values, values[:_PASSAGE]])


@cache
def _make_table() -> NDArray[np.float32]:
    # float32, not int16 at half the size: OpenCV adds it to uint16 in a third of the time.
    table = _make_values()
    table.flags.writeable = False
    return table


@cache
def _make_steps() -> NDArray[np.uint8]:
    steps = np.clip(np.rint(_make_values() * _STEPS), 1 - _MIDDLE, _MIDDLE - 1)  # as many below 0 as above
    table: NDArray[np.uint8] = (steps + _MIDDLE).astype(np.uint8)
    table.flags.writeable = False
    return table


def passages(count: int, seed: int) -> Iterator[tuple[slice, int, float]]:
    """Cut `count` values into parts, and yield each with where in the table it is read from, and its sign.

    What is drawn comes from a hash of the seed: a generator of its own would take as long as the adding. All
    passages of a round through the table share one phase, so that they do not overlap: with offsets drawn one by one
    a 512 x 512 x 3 image would hold about two stretches twice.
    """
    for start in range(0, count, _PASSAGE):
        round_, turn = divmod(start // _PASSAGE, _PASSAGES)
        if turn == 0:
            drawn = int.from_bytes(blake2b(b"%d %d" % (seed, round_), digest_size=16).digest(), "little")
            drawn, phase = divmod(drawn, _PASSAGE)
            drawn, place = divmod(drawn, _PASSAGES)
            signs, stride = divmod(drawn, _PASSAGES // 2)
            stride = 2 * stride + 1  # odd: it visits every passage once
        stop = min(start + _PASSAGE, count)
        first = phase + _PASSAGE * ((place + turn * stride) % _PASSAGES)
        yield slice(start, stop), first, 1.0 if signs >> turn & 1 else -1.0


def standard_normal(shape: tuple[int, int, int], seed: int) -> NDArray[np.float32]:
    """Return independent standard normal values of a shape (H, W, C), from the table: the same for the same seed."""
    field = np.empty(shape, np.float32)
    flat = field.reshape(-1)
    table = normal_table()
    for part, first, sign in passages(field.size, seed):
        np.multiply(table[first : first + part.stop - part.start], np.float32(sign), out=flat[part])
    return field


def _enlarge(noise: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Return the noise, shape (h, w, C), stretched to (height, width, C)."""
    large = np.empty((height, width, noise.shape[2]), np.float32)
    # OpenCV refuses more than 128 channels.
    for first in range(0, noise.shape[2], 4):
        some = np.ascontiguousarray(noise[..., first : first + 4])
        made = cv2.resize(some, (width, height), interpolation=cv2.INTER_LINEAR)
        large[..., first : first + 4] = made.reshape(height, width, -1)
    return large
