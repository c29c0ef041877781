"""Rotations with something to them: with a shift and a scale, or with all of the image kept in view."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from kaleidoscope.ops import fields
from kaleidoscope.ops.affine import about_middle, resampling_of, scaled_and_turned, turn_by
from kaleidoscope.ops.base import Geometric, Params, Resampling, op

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame


@op
class ShiftScaleRotate(Geometric):
    """Scale, rotate and shift about the image's centre, each by a draw of its own.

    It is `Affine` without a shear, with limits about what changes nothing. With the centre
    c = ((width - 1) / 2, (height - 1) / 2) and y pointing down, the pixel at p moves to ::

        p' = c + shift + R @ S @ (p - c)

        S = [[scale_x, 0], [0, scale_y]]
        R = [[cos(rotate), sin(rotate)], [-sin(rotate), cos(rotate)]]

    Any dtype and number of channels. Neighbours of equal interpolation, border and fill are one warp.

    Parameters
    ----------
    shift_limit : float or (float, float), fractions of the width (x) and of the height (y) in [-1, 1]
        A single number x stands for (-x, x), here and in all limits. What is drawn, for each axis anew, is cut to whole
        pixels, towards 0. Positive is right and down.
    scale_limit : float or (float, float), above -1
        What is added to 1: 0.1 enlarges by a tenth. Drawn for each axis anew.
    rotate_limit : float or (float, float), degrees
        Positive is counter-clockwise.
    interpolation : {"linear", "nearest", "cubic", "area", "lanczos4"}
        How values between pixels are made. OpenCV's integers are accepted.
    border_mode : {"constant", "replicate", "reflect", "wrap", "reflect_101"}
        What lies beyond the border. OpenCV's integers are accepted.
    shift_limit_x, shift_limit_y : as shift_limit, or None
        For one axis, instead of `shift_limit`.
    rotate_method : {"largest_box", "ellipse"}
        What the box of an object without a polygon becomes the bounds of: itself, moved, or the ellipse inside it.
    mask_interpolation, fill_mask
        As `interpolation` and `fill`, for masks. All interpolations but ``nearest`` make values up.
    fill : float or tuple of float, in the pixels' own range
        The value beyond the border (``constant`` only): one for all channels, or one for each.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> drawn = {"shift": [20, 0], "scale": [1.0, 0.5], "rotate": 0.0}
    >>> (ops.ShiftScaleRotate().matrix(Frame(101, 201, 3, "uint8"), drawn) @ [100, 60, 1]).tolist()
    [120.0, 55.0, 1.0]
    """

    shift_limit: fields.Range = (-0.0625, 0.0625)
    scale_limit: fields.Range = (-0.1, 0.1)
    rotate_limit: fields.Range = (-45.0, 45.0)
    interpolation: str | int = "linear"
    border_mode: str | int = "constant"
    shift_limit_x: fields.Range | None = None
    shift_limit_y: fields.Range | None = None
    rotate_method: str = "largest_box"
    mask_interpolation: str | int = "nearest"
    fill: float | tuple[float, ...] = 0.0
    fill_mask: float = 0.0

    short_name = "shiftscalerotate"

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        ways = "a number x for (-x, x), or a pair (least, greatest)"
        for name in ("shift_limit", "shift_limit_x", "shift_limit_y"):
            if name == "shift_limit" or getattr(self, name) is not None:
                expected = f"fractions of the image's size in [-1, 1]: {ways}"
                fields.pair(self, name, low=-1, high=1, symmetric=True, expected=expected)
        fields.pair(self, "scale_limit", symmetric=True, low=math.nextafter(-1, 0), expected=f"above -1: {ways}")
        fields.pair(self, "rotate_limit", symmetric=True, expected=f"degrees: {ways}")
        fields.interpolation(self)
        fields.border(self)
        fields.turned(self)

    @property
    def resampling(self) -> Resampling:
        """How the warp interpolates."""
        return resampling_of(self)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``shift`` (pixels) and ``scale``, each [x, y], and ``rotate`` (degrees)."""
        limits = (self.shift_limit_x or self.shift_limit, self.shift_limit_y or self.shift_limit)
        sizes = (frame.width, frame.height)
        return {
            "shift": [int(fields.draw(rng, ends) * size) for ends, size in zip(limits, sizes, strict=True)],
            "scale": [1 + fields.draw(rng, self.scale_limit) for _ in sizes],
            "rotate": fields.draw(rng, self.rotate_limit),
        }

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If pixels cannot have the `fill`.
        """
        fields.refuse_fill(self, self.fill, frame)
        return frame

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the whole map, shape (3, 3): source to output, in pixels at pixel centres."""
        return about_middle(scaled_and_turned(params["scale"], params["rotate"]), frame, frame, params["shift"])


@op
class SafeRotate(Geometric):
    """Rotate about the image's centre, and shrink so that all of the image stays in view, in a frame of the same size.

    With the centre c = ((width - 1) / 2, (height - 1) / 2) and y pointing down, the pixel at p moves to ::

        p' = c + S @ R @ (p - c)

        R = [[cos(angle), sin(angle)], [-sin(angle), cos(angle)]]
        S = diag(width / w, height / h)
        w, h = width * |cos| + height * |sin|, width * |sin| + height * |cos|

    so that the bounds of the outcome are the frame; the image's proportions change where it is not square. Any dtype
    and number of channels. Neighbours of equal interpolation, border and fill are one warp.

    Parameters
    ----------
    limit : float or (float, float), degrees
        The least and the greatest angle; a single number x stands for (-x, x). Positive is counter-clockwise.
    interpolation : {"linear", "nearest", "cubic", "area", "lanczos4"}
        How values between pixels are made. OpenCV's integers are accepted.
    border_mode : {"constant", "replicate", "reflect", "wrap", "reflect_101"}
        What lies beyond the border. OpenCV's integers are accepted.
    rotate_method : {"largest_box", "ellipse"}
        What the box of an object without a polygon becomes the bounds of: itself, moved, or the ellipse inside it.
    mask_interpolation, fill_mask
        As `interpolation` and `fill`, for masks. All interpolations but ``nearest`` make values up.
    fill : float or tuple of float, in the pixels' own range
        The value beyond the border (``constant`` only): one for all channels, or one for each.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> turned = ops.SafeRotate().matrix(Frame(101, 201, 3, "uint8"), {"angle": 90.0})
    >>> [round(float(z), 1) for z in turned @ [200.5, 50, 1]]  # the middle of the right side is that of the upper one
    [100.0, -0.5, 1.0]
    """

    limit: fields.Range = (-90.0, 90.0)
    interpolation: str | int = "linear"
    border_mode: str | int = "constant"
    rotate_method: str = "largest_box"
    mask_interpolation: str | int = "nearest"
    fill: float | tuple[float, ...] = 0.0
    fill_mask: float = 0.0

    short_name = "saferotate"

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        expected = "degrees: a number x for (-x, x), or a pair (least, greatest)"
        fields.pair(self, "limit", symmetric=True, expected=expected)
        fields.interpolation(self)
        fields.border(self)
        fields.turned(self)

    @property
    def resampling(self) -> Resampling:
        """How the warp interpolates."""
        return resampling_of(self)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw the angle, in degrees."""
        return {"angle": fields.draw(rng, self.limit)}

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If pixels cannot have the `fill`.
        """
        fields.refuse_fill(self, self.fill, frame)
        return frame

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the rotation and scale, shape (3, 3): source to output, in pixels at pixel centres.

        Albumentations puts the centre of the pixels half a pixel right of and below that of the boxes, and so moves the
        image by an angle of 0; and cuts `w` and `h` to whole pixels. Here the centre stays, and all is in the frame.
        """
        (a, b), (c, d) = turn_by(params["angle"])
        width, height = frame.width, frame.height
        x, y = (size / (abs(one) * width + abs(two) * height) for size, one, two in ((width, a, b), (height, c, d)))
        return about_middle(((x * a, x * b), (y * c, y * d)), frame, frame)
