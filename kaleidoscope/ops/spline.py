"""Distortion by thin plates: bent smoothly between points that are moved."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Params, op
from kaleidoscope.ops.distortion import Distortion, node_places, shifted_places

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.ops.distortion import Places
    from kaleidoscope.record import Frame

    Floats = NDArray[np.float64]

#: Nodes between two points at least, and pixels between nodes at most: what is interpolated linearly in between is off
#: by 0.03 pixels at most in an image of 512 x 512, and takes a twentieth of the time.
_NODES, _APART = 32, 8
#: What has a logarithm; it is multiplied by 0.
_TINY = 1e-30


@op
class ThinPlateSpline(Distortion):
    """Move a grid of points, and bend everything between them as smoothly as possible.

    `num_control_points` x `num_control_points` points lie evenly over the image, in its corners and on its sides, too;
    each is shifted by ``normal(0, s / 10)`` of the width and of the height, s drawn uniformly from `scale_range`. The
    outcome's pixel at q shows the source's at q + f(q), where f is the function that takes the shifts at the points and
    bends least in between, ``f(q) = a + B q + sum of w_i |q - q_i|^2 log |q - q_i|`` (Bookstein, Principal warps, IEEE
    PAMI 11, 1989), in fractions of the width and of the height. Any dtype and number of channels.

    Parameters
    ----------
    scale_range : (float, float) or float in [0, 1]
        A single number x stands for (x, x).
    num_control_points : int, at least 2
        Of each row and column. 2: the corners, and the centre.
    interpolation : {"linear", "nearest", "cubic", "area", "lanczos4"}
        How values between pixels are made. OpenCV's integers are accepted.
    mask_interpolation, fill_mask
        As `interpolation` and `fill`, for masks. All interpolations but ``nearest`` make values up.
    keypoint_remapping_method : {"mask", "direct"}
        Without effect, and here for recipes that name it: points are moved exactly, and fast, in either case.
    border_mode : {"constant", "replicate", "reflect", "wrap", "reflect_101"}
        What lies beyond the border. OpenCV's integers are accepted.
    fill : float or tuple of float, in the pixels' own range
        The value beyond the border (``constant`` only): one for all channels, or one for each.

    Notes
    -----
    Albumentations 2.0.8 computes the weights for ``r^4 log(r^2)`` and applies them to ``r^2 log(r^2)``, so that its
    points do not go where they were drawn to. Here they do.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> shifts = [[0, 0], [0, 0], [0, 0], [0, 0], [0.1, 0]]  # of the corners, and of the centre
    >>> places = ops.ThinPlateSpline(num_control_points=2).places(101, 101, {"shifts": shifts})
    >>> round(float(places[0][50, 50]), 1)  # 50 + 0.1 * 101
    60.1
    """

    scale_range: fields.Range = (0.2, 0.4)
    num_control_points: int = 4
    interpolation: str | int = "linear"
    mask_interpolation: str | int = "nearest"
    keypoint_remapping_method: str = "mask"
    border_mode: str | int = "constant"
    fill: float | tuple[float, ...] = 0.0
    fill_mask: float = 0.0

    short_name = "thinplatespline"

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        fields.pair(self, "scale_range", low=0, high=1, expected="a pair (least, greatest) in [0, 1]")
        fields.whole(self, "num_control_points", low=2, expected="a whole number of points a row, at least 2")
        self.check_how()

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``shifts``, for each point [x, y] in fractions of the width and of the height."""
        spread = fields.draw(rng, self.scale_range) / 10
        return {"shifts": rng.normal(0, spread, _points(self.num_control_points).shape).tolist()}

    def places(self, height: int, width: int, params: Params) -> Places:
        """Return where pixels come from, x and y at pixel centres, each of shape (height, width)."""
        step = min(_APART, max(1, min(height, width) // (_NODES * self.num_control_points)))
        x, y = ((node_places(step, size) + 0.5) / size for size in (width, height))
        points = _points(self.num_control_points)
        weights = _weights(self.num_control_points) @ params["shifts"] * [width, height]
        bent = _bent(x, y, points) @ weights[: len(points)].astype(np.float32)
        constant, across, down = weights[len(points) :]
        bent += (constant + np.multiply.outer(x, across)).astype(np.float32)
        bent += np.multiply.outer(y, down).astype(np.float32)[:, np.newaxis]
        return shifted_places(np.ascontiguousarray(np.moveaxis(bent, -1, 0)), step, height, width)


@cache
def _points(count: int) -> Floats:
    """Return the points of a grid over the unit square, shape (N, 2)."""
    if count == 2:
        return np.array([[0, 0], [0, 1], [1, 0], [1, 1], [0.5, 0.5]])
    along = np.linspace(0, 1, count)
    return np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)


@cache
def _weights(count: int) -> Floats:
    """Return what makes weights of r^2 log r of each point, 1, x and y out of the points' shifts, shape (N + 3, N)."""
    points = _points(count)
    squared = ((points[:, np.newaxis] - points) ** 2).sum(axis=-1)
    plane = np.concatenate([np.ones((len(points), 1)), points], axis=1)
    system = np.zeros((len(points) + 3,) * 2)
    system[: len(points), : len(points)] = squared * np.log(np.maximum(squared, _TINY)) / 2
    system[: len(points), len(points) :], system[len(points) :, : len(points)] = plane, plane.T
    solved: NDArray[Any] = np.linalg.inv(system)
    return solved[:, : len(points)]


def _bent(x: Floats, y: Floats, points: Floats) -> NDArray[np.float32]:
    """Return r^2 log r of each point at the nodes of a grid, shape (len(y), len(x), N)."""
    across, down = (
        ((at[:, np.newaxis] - along) ** 2).astype(np.float32) for at, along in zip((x, y), points.T, strict=True)
    )
    squared = down[:, np.newaxis] + across
    bent: NDArray[Any] = cv2.log(np.maximum(squared, np.float32(_TINY)).reshape(-1)).reshape(squared.shape)
    bent *= squared
    bent /= 2
    return bent
