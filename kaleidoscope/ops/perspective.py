"""Images seen from another place: projective maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope.coordinates import HALF, move_points
from kaleidoscope.errors import OpError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Geometric, Params, Resampling, op
from kaleidoscope.ops.interpolate import MAX_SIDE

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

#: No corner moves further, in fractions of the width and of the height: beyond a half they could pass one another.
_FURTHEST = 0.32
#: Of the image's middle. A corner of the image that is nearer to the camera than this is drawn out without bounds.
_NEAREST = 0.25
#: The corners: upper left, upper right, lower right, lower left.
_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
#: What is less than this, of a pixel, is rounding.
_ROUNDING = 1e-6
#: Pixels. Smaller images have corners within a few pixels of each other.
_SMALL = 32
#: The ways into the image from each.
_INWARDS = 1 - 2 * _CORNERS


@op
class Perspective(Geometric):
    """Look at the image from another place: four corners drawn inside of it become the corners of the frame.

    Each corner lies ``|normal(0, std)|`` inside of the image's own, in fractions of the width and of the height, modulo
    0.32, for a standard deviation drawn from `scale`. The map is the one of the form ::

        x' = (a x + b y + c) / (g x + h y + i),  y' = (d x + e y + f) / (g x + h y + i)

    that takes them to the corners of the frame. All of the image stays in front of the camera: draws of extreme
    corners are halved until it does.

    Any dtype and number of channels. Where it keeps the frame, it and its neighbours of equal interpolation, border
    and fill are one warp.

    Parameters
    ----------
    scale : float or (float, float), fractions of the image's size, at least 0
        Standard deviation of the distance of the corners; a single number x stands for (0, x).
    keep_size : bool
        Keep the frame. Otherwise it has the size of what is looked at: the longer of the sides between the drawn
        corners in each direction; with `fit_output`, the size of the outcome.
    fit_output : bool
        Show all of the image, not only what lies between the drawn corners; the border is seen around it.
    interpolation : {"linear", "nearest", "cubic", "area", "lanczos4"}
        How values between pixels are made. OpenCV's integers are accepted.
    mask_interpolation, fill_mask
        As `interpolation` and `fill`, for masks. All interpolations but ``nearest`` make values up.
    border_mode : {"constant", "replicate", "reflect", "wrap", "reflect_101"}
        What lies beyond the border. OpenCV's integers are accepted.
    fill : float or tuple of float, in the pixels' own range
        The value beyond the border (``constant`` only): one for all channels, or one for each.

    Notes
    -----
    Albumentations 2.0.8 maps the drawn corners onto the frame and, without `fit_output`, enlarges once more by the
    frame over the size of what is looked at: the right and lower parts of what lies between the corners are lost. Here
    they are seen. It also takes pixel centres for pixel edges, by which the image moves by up to a tenth of a pixel.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> frame, drawn = Frame(100, 200, 3, "uint8"), {"corners": [[0.1, 0], [0.1, 0], [0, 0], [0, 0]]}
    >>> looked = ops.Perspective().matrix(frame, drawn)
    >>> x, y, w = looked @ [20 - 0.5, 0 - 0.5, 1]  # the drawn upper left corner, at pixel centres
    >>> round(float(x / w), 6), round(float(y / w), 6)
    (-0.5, -0.5)
    >>> print(ops.Perspective(keep_size=False).out_frame(frame, drawn))
    200x101x3 uint8
    """

    scale: fields.Range = (0.05, 0.1)
    keep_size: bool = True
    fit_output: bool = False
    interpolation: str | int = "linear"
    mask_interpolation: str | int = "nearest"
    border_mode: str | int = "constant"
    fill: float | tuple[float, ...] = 0.0
    fill_mask: float = 0.0

    short_name = "perspective"

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        expected = "fractions of the image's size, at least 0: a number x for (0, x), or a pair (least, greatest)"
        fields.pair(self, "scale", start=0.0, low=0, expected=expected)
        for name in ("keep_size", "fit_output"):
            fields.flag(self, name)
        fields.interpolation(self)
        fields.interpolation(self, "mask_interpolation")
        fields.border(self)
        fields.fill_mask(self)

    @property
    def resampling(self) -> Resampling:
        """How the warp interpolates."""
        return Resampling(
            str(self.interpolation), str(self.border_mode), self.fill, str(self.mask_interpolation), self.fill_mask
        )

    @property
    def fuses(self) -> bool:
        """Whether the op keeps the frame."""
        return self.keep_size

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``corners``: how far inside each lies, [x, y] from upper left to lower left, clockwise."""
        inside = np.abs(rng.normal(0, fields.draw(rng, self.scale), (4, 2))) % _FURTHEST
        while True:
            matrix = _projection(_CORNERS + _INWARDS * inside)
            near = _CORNERS @ matrix[2, :2] + matrix[2, 2]
            if near.min() >= _NEAREST * (matrix[2, 0] / 2 + matrix[2, 1] / 2 + matrix[2, 2]):
                return {"corners": inside.tolist()}
            inside = inside / 2

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame, or without `keep_size` one of the size of what is looked at.

        Raises
        ------
        OpError
            If pixels cannot have the `fill`, or if the outcome has a side of more than 32767 pixels.
        """
        fields.refuse_fill(self, self.fill, frame)
        if self.keep_size:
            return frame
        if self.fit_output:
            sides = _outcome(frame, params).max(axis=0) + _ROUNDING
        else:
            corners = _drawn(params) * [frame.width, frame.height]
            lengths = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1)  # left, upper, right, lower
            sides = np.array([max(lengths[1::2]), max(lengths[::2])]) + _ROUNDING
        if max(sides) > MAX_SIDE:
            raise OpError(
                f"Perspective(fit_output=True): expected an outcome of at most {MAX_SIDE} pixels a side, got "
                f"{sides[0]:.0f}x{sides[1]:.0f} from {frame}: use a smaller scale"
            )
        width, height = (max(1, int(side)) for side in sides)
        return frame.of_size(height, width)

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the whole map, shape (3, 3): source to output, in pixels at pixel centres."""
        out = self.out_frame(frame, params)
        if not np.any(params["corners"]):
            return np.eye(3)  # exactly: what is rounded below would be interpolated
        matrix: NDArray[Any] = _projection(_drawn(params))
        if self.fit_output:
            outcome = _outcome(frame, params)
            matrix = np.linalg.inv(_projection(outcome / outcome.max(axis=0)))
        # From pixel centres to edges in fractions of the frame, and back.
        there = np.array(
            [[1 / frame.width, 0, HALF / frame.width], [0, 1 / frame.height, HALF / frame.height], [0, 0, 1]]
        )
        back = np.array([[out.width, 0, -HALF], [0, out.height, -HALF], [0, 0, 1]])
        moved: NDArray[np.float64] = back @ matrix @ there
        moved /= moved[2, 2]
        return moved


def _drawn(params: Params) -> NDArray[np.float64]:
    """Return the drawn corners, shape (4, 2), in fractions of the image's size."""
    corners: NDArray[np.float64] = _CORNERS + _INWARDS * np.array(params["corners"])
    return corners


def _outcome(frame: Frame, params: Params) -> NDArray[np.float64]:
    """Return where the image's corners are seen, shape (4, 2), in pixels from the upper left of their bounds.

    They are whole pixels, as in Albumentations, but in images so small that two could become one.
    """
    seen = move_points(_CORNERS, _projection(_drawn(params))) * [frame.width, frame.height]
    seen -= seen.min(axis=0)
    return np.rint(seen) if min(frame.width, frame.height) >= _SMALL else seen


def _projection(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the projective map that takes four points, shape (4, 2), to the corners of the unit square.

    The inverse, from the square, has a closed form (Heckbert, Fundamentals of Texture Mapping and Image Warping, 1989).
    """
    (x0, y0), (x1, y1), _, (x3, y3) = corners
    (dx1, dy1), (dx2, dy2) = corners[1] - corners[2], corners[3] - corners[2]
    sx, sy = corners[0] - corners[1] + corners[2] - corners[3]
    area = dx1 * dy2 - dx2 * dy1
    g, h = (sx * dy2 - dx2 * sy) / area, (dx1 * sy - sx * dy1) / area
    from_square = np.array(
        [[x1 - x0 + g * x1, x3 - x0 + h * x3, x0], [y1 - y0 + g * y1, y3 - y0 + h * y3, y0], [g, h, 1.0]]
    )
    projection: NDArray[np.float64] = np.linalg.inv(from_square)
    return projection
