"""Ops that mix up pixels that are near each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import Philox

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, op
from kaleidoscope.ops.blur import GaussianBlur, size_of
from kaleidoscope.ops.convolve import keep_range

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame


@op
class GlassBlur(Op):
    """Swap each pixel with one near it, again and again, between two Gaussian blurs: seen through frosted glass.

    In each of the iterations every pixel that is more than `max_delta` from the top and left, and at least `max_delta`
    from the bottom and right, is swapped with one that is across and down by whole numbers drawn evenly from
    -`max_delta` to `max_delta` - 1. Around that, and in images that have no such pixels, the border is only smoothed.
    Any dtype and number of channels, which stay together, alpha included. Labels stay where they are.

    The offsets are drawn from a ``seed`` that is one of the op's params.

    Hendrycks and Dietterich, 2019, "Benchmarking neural network robustness to common corruptions and perturbations",
    arXiv:1903.12261.

    Parameters
    ----------
    sigma : float, pixels
        The standard deviation of the blurs, at least 0.
    max_delta : int, pixels
        How far a pixel goes across and down in one iteration, at least 1.
    iterations : int
        At least 1.
    mode : {"fast", "exact"}
        ``fast``: the pixels of an iteration are swapped all at once; one that several are swapped with goes to the
        last of them, and the others are lost. ``exact``: one after another, from the bottom right; none is lost,
        and it takes seven times as long.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> row = np.arange(81, dtype="uint8").reshape(9, 9, 1)
    >>> out = np.empty_like(row)
    >>> ops.GlassBlur(sigma=0, max_delta=1, iterations=1, mode="exact").kernel(row, {"seed": 3}, out)
    >>> sorted(out.ravel().tolist()) == row.ravel().tolist(), bool((out == row).all())
    (True, False)
    """

    sigma: float = 0.7
    max_delta: int = 4
    iterations: int = 2
    mode: str = "fast"

    short_name = "glass"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.number(self, "sigma", low=0, expected="pixels, at least 0")
        fields.whole(self, "max_delta", low=1, expected="whole pixels, at least 1")
        fields.whole(self, "iterations", low=1, expected="a whole number, at least 1")
        fields.choice(self, "mode", ("fast", "exact"))

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw the ``seed`` of the offsets."""
        return {"seed": int(rng.integers(2**53))}  # what JSON's readers keep exactly

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), scattered."""
        height, width, channels = src.shape
        blur = GaussianBlur()
        softly = {"sigma": self.sigma, "ksize": size_of(self.sigma)}
        places = np.arange(height * width, dtype=np.intp)
        # From the bottom right, row by row.
        rows, columns = (np.arange(side - self.max_delta, self.max_delta, -1) for side in (height, width))
        here = (rows[:, None] * width + columns).reshape(-1)
        for offsets in _offsets(self.iterations, len(here), self.max_delta, width, params["seed"]):
            if self.mode == "fast":
                _swap_at_once(places, here, here + offsets)
            else:
                places = _swap_in_turn(places, here, here + offsets)
        blur.kernel(src, softly, out)
        mixed = out.reshape(-1, channels)[places].reshape(out.shape)
        blur.kernel(mixed, softly, out)
        keep_range(src, out)


def _offsets(iterations: int, count: int, most: int, width: int, seed: int) -> NDArray[np.intp]:
    """Return how far away in memory each pixel's partner is, shape (iterations, count)."""
    words = Philox(key=seed).random_raw((iterations * count + 1) // 2)
    # 16 bits for each axis: for 2 * most steps of them no step is drawn more often than another by 1 in 2000 (`most`
    # up to 16).
    drawn = words.astype("<u8", copy=False).view("<u2")[: 2 * iterations * count].reshape(2, iterations, count)
    down, across = (drawn.astype(np.intp) * (2 * most) >> 16) - most
    offsets: NDArray[np.intp] = down * width + across
    return offsets


def _swap_at_once(places: NDArray[np.intp], here: NDArray[np.intp], there: NDArray[np.intp]) -> None:
    ours, theirs = places[here], places[there]
    places[here] = theirs
    places[there] = ours  # of one that is there more than once the last stays


def _swap_in_turn(places: NDArray[np.intp], here: NDArray[np.intp], there: NDArray[np.intp]) -> NDArray[np.intp]:
    swapped = places.tolist()  # a list's items are read in a fifth of the time of an array's
    for one, other in zip(here.tolist(), there.tolist(), strict=True):
        swapped[one], swapped[other] = swapped[other], swapped[one]
    return np.array(swapped, dtype=np.intp)
