"""Distortions by a formula: of a grid whose lines are moved, and of a lens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Params, op
from kaleidoscope.ops.distortion import Distortion

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.ops.distortion import Places
    from kaleidoscope.record import Frame

    Floats = NDArray[np.float64]

#: The thinnest that a step gets: what is no wider than nothing could not be undone, and points in it went nowhere.
_THINNEST = 1e-3


@op
class GridDistortion(Distortion):
    """Stretch and squeeze the columns and rows of a grid, each by a factor of its own.

    The outcome is cut into `num_steps` columns of ``width // num_steps`` pixels, and one for what is left. Each shows
    its width times a factor of the source, one after the other from the left, linearly in between; the same with rows.
    A factor is 1 + u, u drawn uniformly from `distort_limit`, and at least 0.001.

    Any dtype and number of channels.

    Parameters
    ----------
    num_steps : int, at least 1
        Columns, and rows.
    distort_limit : float or (float, float) in [-1, 1]
        A single number x stands for (-x, x).
    interpolation : {"linear", "nearest", "cubic", "area", "lanczos4"}
        How values between pixels are made. OpenCV's integers are accepted.
    normalized : bool
        Scale the factors so that the outcome shows all of the source and nothing beyond.
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
    Albumentations 2.0.8 shows the last pixel of a column again as the first of the next, and a border after the last:
    factors of 1 change the image. Here they do not, and pixels are up to one apart from there.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> halves, drawn = ops.GridDistortion(num_steps=2), {"steps_x": [0.5, 1.5, 1.0], "steps_y": [1.0, 1.0, 1.0]}
    >>> halves.move_points(np.array([[49.5, 7.0]]), Frame(100, 200, 3, "uint8"), drawn).round(6).tolist()
    [[99.5, 7.0]]
    """

    num_steps: int = 5
    distort_limit: fields.Range = (-0.3, 0.3)
    interpolation: str | int = "linear"
    normalized: bool = True
    mask_interpolation: str | int = "nearest"
    keypoint_remapping_method: str = "mask"
    border_mode: str | int = "constant"
    fill: float | tuple[float, ...] = 0.0
    fill_mask: float = 0.0

    short_name = "griddistortion"

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        fields.whole(self, "num_steps", low=1, expected="a whole number of columns and rows, at least 1")
        expected = "a number x in [0, 1] for (-x, x), or a pair (least, greatest) in [-1, 1]"
        fields.pair(self, "distort_limit", symmetric=True, low=-1, high=1, expected=expected)
        fields.flag(self, "normalized")
        self.check_how()

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``steps_x`` and ``steps_y``, a factor for each column and row."""
        return {
            name: [1 + fields.draw(rng, self.distort_limit) for _ in range(self.num_steps + 1)]
            for name in ("steps_x", "steps_y")
        }

    def places(self, height: int, width: int, params: Params) -> Places:
        """Return where pixels come from, x and y at pixel centres, each of shape (height, width)."""
        x, y = (
            np.interp(np.arange(size) + 0.5, *self._lines(size, params[name])) - 0.5
            for size, name in ((width, "steps_x"), (height, "steps_y"))
        )
        across, down = np.empty((2, height, width), np.float32)
        across[:], down[:] = x, y[:, np.newaxis]
        return across, down

    def move_points(self, points: Floats, frame: Frame, params: Params) -> Floats:
        """Return where the pixels at `points`, shape (N, 2), are seen."""
        moved = []
        for edge, size, name in zip(points.T + 0.5, (frame.width, frame.height), ("steps_x", "steps_y"), strict=True):
            seen, shown = self._lines(size, params[name])
            beyond = np.minimum(edge, 0) + np.maximum(edge - shown[-1], 0)
            moved.append(np.interp(edge, shown, seen) + beyond - 0.5)
        return np.stack(moved, axis=1)

    def _lines(self, size: int, steps: list[float]) -> tuple[Floats, Floats]:
        """Return the lines of the grid along a side, in the outcome and in the source, at pixel edges."""
        cell = max(1, size // self.num_steps)
        seen = np.minimum(np.arange(self.num_steps + 2) * cell, size)
        seen[-1] = size  # the last column takes what is left
        wide = np.diff(seen)
        shown = np.cumsum([0.0, *(wide * np.maximum(steps, _THINNEST))])
        if self.normalized:
            shown *= size / shown[-1]
        some = np.append([True], wide > 0)
        return seen[some].astype(float), shown[some]


@op
class OpticalDistortion(Distortion):
    """Bend the image as a lens does, by a factor k drawn uniformly from `distort_limit`.

    The outcome's pixel at q shows the source's at p, with the centre c = ((width - 1) / 2, (height - 1) / 2) ::

        camera:   p = c + (q - c) * (1 + k r^2 + k r^4),  r^2 = ((qx - cx) / width)^2 + ((qy - cy) / height)^2
        fisheye:  p = c + (q - c) * (1 + k r^2),  r = |q - c| / (half of the diagonal)

    A positive k shows more of the source towards the corners (barrel), a negative one less (pincushion). The first is
    the model of Brown (Photogrammetric Engineering 32, 1966) with both radial terms equal. Any dtype and number of
    channels.

    Parameters
    ----------
    distort_limit : float or (float, float)
        A single number x stands for (-x, x).
    interpolation : {"linear", "nearest", "cubic", "area", "lanczos4"}
        How values between pixels are made. OpenCV's integers are accepted.
    mask_interpolation, fill_mask
        As `interpolation` and `fill`, for masks. All interpolations but ``nearest`` make values up.
    mode : {"camera", "fisheye"}
        The formula.
    keypoint_remapping_method : {"mask", "direct"}
        Without effect, and here for recipes that name it: points are moved exactly, and fast, in either case.
    border_mode : {"constant", "replicate", "reflect", "wrap", "reflect_101"}
        What lies beyond the border. OpenCV's integers are accepted.
    fill : float or tuple of float, in the pixels' own range
        The value beyond the border (``constant`` only): one for all channels, or one for each.

    Notes
    -----
    Albumentations 2.0.8 has the lens half a pixel beside the image's centre, so that a k of 0 moves the image by half a
    pixel (camera). Here it changes nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> places = ops.OpticalDistortion().places(101, 101, {"k": 0.4})
    >>> round(float(places[0][50, 100]), 2)  # 50 * (1 + 0.4 * 0.245 + 0.4 * 0.06), right of the centre
    106.1
    """

    distort_limit: fields.Range = (-0.05, 0.05)
    interpolation: str | int = "linear"
    mask_interpolation: str | int = "nearest"
    mode: str = "camera"
    keypoint_remapping_method: str = "mask"
    border_mode: str | int = "constant"
    fill: float | tuple[float, ...] = 0.0
    fill_mask: float = 0.0

    short_name = "opticaldistortion"

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        expected = "factors: a number x for (-x, x), or a pair (least, greatest)"
        fields.pair(self, "distort_limit", symmetric=True, expected=expected)
        fields.choice(self, "mode", ("camera", "fisheye"))
        self.check_how()

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``k``."""
        return {"k": fields.draw(rng, self.distort_limit)}

    def places(self, height: int, width: int, params: Params) -> Places:
        """Return where pixels come from, x and y at pixel centres, each of shape (height, width)."""
        k = params["k"]
        x, y = (np.arange(size) - (size - 1) / 2 for size in (width, height))
        across, down = (width, height) if self.mode == "camera" else (np.hypot(width, height) / 2,) * 2
        squared = np.add.outer(((y / down) ** 2).astype(np.float32), ((x / across) ** 2).astype(np.float32))
        factor = k * squared  # ... becomes k r^2 (1 + r^2), in the same array
        if self.mode == "camera":
            squared += 1
            factor *= squared
        # The shift is computed, and then added to where the pixel is: a k of 0 is nothing at all.
        places = []
        for along, where in ((x, np.arange(width)), (y[:, np.newaxis], np.arange(height)[:, np.newaxis])):
            place = factor * along.astype(np.float32)
            place += where.astype(np.float32)
            places.append(place)
        return places[0], places[1]
