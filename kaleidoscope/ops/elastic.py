"""Elastic distortion: each pixel is shifted a little, much like its neighbours."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Params, op
from kaleidoscope.ops.distortion import Distortion, node_places, shifted_places
from kaleidoscope.ops.noise import standard_normal

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.ops.distortion import Places
    from kaleidoscope.record import Frame

#: Pixels that the Gaussian of `approximate` is cut to.
_WINDOW = 17
#: Nodes of the coarse grid within `sigma`: between 3 of them shifts are as good as linear.
_NODES = 3
#: Standard deviations that a Gaussian reaches.
_REACH = 4


@op
class ElasticTransform(Distortion):
    """Shift each pixel by random values that were smoothed: like a drawing on rubber.

    The outcome's pixel at q shows the source's at ``q + alpha * smoothed(noise)(q)``. The noise, its own for x and y,
    is standard normal over the largest value that is expected among so many (about 4.9 for 512 x 512), or uniform in
    [-1, 1]; it is smoothed by a Gaussian of `sigma` pixels, to a standard deviation of about
    ``noise_std / (2 * sqrt(pi) * sigma)``. Simard, Steinkraus and Platt, Best practices for convolutional neural
    networks, ICDAR 2003.

    What is smooth to 6 pixels and more is made on a coarser grid, of noise that is weaker as a mean of so many values
    is; its statistics are the same, in a hundredth of the time. Any dtype and number of channels.

    Parameters
    ----------
    alpha : float, pixels, at least 0
        How much the smoothed noise is multiplied by.
    sigma : float, pixels, at least 1
        Standard deviation of the Gaussian. Much larger than shifts are, or the image is folded.
    interpolation : {"linear", "nearest", "cubic", "area", "lanczos4"}
        How values between pixels are made. OpenCV's integers are accepted.
    approximate : bool
        Cut the Gaussian to 17 x 17 pixels, by which shifts get larger and less smooth where `sigma` is above 4.
    same_dxdy : bool
        The same noise for x and y: everything is shifted along one diagonal.
    mask_interpolation, fill_mask
        As `interpolation` and `fill`, for masks. All interpolations but ``nearest`` make values up.
    noise_distribution : {"gaussian", "uniform"}
        Of the noise. Smoothed, uniform noise is normal, too: it is stronger, by a factor of 2.8 for 512 x 512.
    keypoint_remapping_method : {"mask", "direct"}
        Without effect, and here for recipes that name it: points are moved exactly, and fast, in either case.
    border_mode : {"constant", "replicate", "reflect", "wrap", "reflect_101"}
        What lies beyond the border. OpenCV's integers are accepted.
    fill : float or tuple of float, in the pixels' own range
        The value beyond the border (``constant`` only): one for all channels, or one for each.

    Notes
    -----
    In Albumentations 2.0.8 shifts get many times as large in the outermost pixels, which it repeats beyond the border
    before it smooths. Here they are of one strength everywhere.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> wavy = ops.ElasticTransform(alpha=300, sigma=8).places(512, 512, {"seed": 7})
    >>> shift = wavy[0] - range(512)
    >>> abs(float(shift.std()) - 300 / 4.88 / (2 * 3.1416**0.5 * 8)) < 0.2  # 2.17 pixels
    True
    """

    alpha: float = 1.0
    sigma: float = 50.0
    interpolation: str | int = "linear"
    approximate: bool = False
    same_dxdy: bool = False
    mask_interpolation: str | int = "nearest"
    noise_distribution: str = "gaussian"
    keypoint_remapping_method: str = "mask"
    border_mode: str | int = "constant"
    fill: float | tuple[float, ...] = 0.0
    fill_mask: float = 0.0

    short_name = "elastic"

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        fields.number(self, "alpha", low=0, expected="a factor, at least 0")
        fields.number(self, "sigma", low=1, expected="pixels, at least 1")
        for name in ("approximate", "same_dxdy"):
            fields.flag(self, name)
        fields.choice(self, "noise_distribution", ("gaussian", "uniform"))
        self.check_how()

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw the ``seed`` of the noise."""
        return {"seed": int(rng.integers(2**53))}  # what JSON's readers keep exactly

    def places(self, height: int, width: int, params: Params) -> Places:
        """Return where pixels come from, x and y at pixel centres, each of shape (height, width)."""
        # Shifts that are smooth over many times the image are all but the same everywhere.
        sigma = self.sigma if self.approximate else min(self.sigma, _NODES * max(height, width))
        step = 1 if self.approximate else max(1, int(sigma / _NODES))
        kernel = _gaussian(sigma / step, _WINDOW if self.approximate else None)
        beyond = len(kernel) // 2  # noise that is smoothed into the frame's outermost pixels
        rows, columns = (len(node_places(step, size)) for size in (height, width))
        shape = (1 if self.same_dxdy else 2, rows + 2 * beyond, columns + 2 * beyond)
        strength = self.alpha * _deviation(self.noise_distribution, height * width * shape[0]) / step
        strength *= sigma / self.sigma
        smooth: list[NDArray[Any]] = [
            cv2.sepFilter2D(plane, cv2.CV_32F, kernel, kernel * strength)[
                beyond : beyond + rows, beyond : beyond + columns
            ]
            for plane in standard_normal(shape, params["seed"])
        ]
        return shifted_places((smooth[0], smooth[-1]), step, height, width)


def _gaussian(sigma: float, size: int | None) -> NDArray[np.float64]:
    """Return the weights of a Gaussian, as far as it reaches or as many as `size`, their sum 1."""
    reach = math.ceil(_REACH * sigma) if size is None else size // 2
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    return weights


def _deviation(distribution: str, count: int) -> float:
    """Return the standard deviation of `count` values of noise that is at most about 1."""
    if distribution == "uniform":
        return 1 / math.sqrt(3)
    # The largest of n values lies where exp(-Euler's constant) / n are beyond, on average.
    return 1 / NormalDist().inv_cdf(1 - math.exp(-np.euler_gamma) / (2 * count))
