"""Affine maps that interpolate: rotation, and all of them at once."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope.errors import OpError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Geometric, Params, Resampling, op

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

@op
class Rotate(Geometric):
    """Rotate about the image's centre by an angle drawn uniformly from `limit`.

    With the centre (cx, cy) = ((width - 1) / 2, (height - 1) / 2) and y pointing down, the pixel at (x, y)
    moves to ::

        x' = cx + cos(angle) * (x - cx) + sin(angle) * (y - cy)
        y' = cy - sin(angle) * (x - cx) + cos(angle) * (y - cy)

    Any dtype and number of channels.

    Parameters
    ----------
    limit : float or (float, float), degrees
        The least and the greatest angle; a single number x stands for (-x, x). Positive is counter-clockwise.
    interpolation : {"linear", "nearest", "cubic", "area", "lanczos4"}
        How values between pixels are made. OpenCV's integers are accepted.
    border_mode : {"constant", "replicate", "reflect", "wrap", "reflect_101"}
        What lies beyond the border. OpenCV's integers are accepted.
    fill : float or tuple of float, in the pixels' own range
        The value beyond the border (``constant`` only): one for all channels, or one for each.
    crop_border : bool
        Keep only the largest upright rectangle that the border does not reach, not larger than the image in
        either direction. The output's size then depends on the angle.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> frame = Frame(height=101, width=201, channels=3, dtype="uint8")
    >>> quarter = ops.Rotate(limit=(90, 90)).matrix(frame, {"angle": 90.0})
    >>> [round(float(z)) for z in quarter @ [110, 50, 1]]  # right of the centre goes above it
    [100, 40, 1]
    >>> print(ops.Rotate(crop_border=True).out_frame(frame, {"angle": 10.0}))
    191x68x3 uint8
    """

    limit: fields.Range = (-90.0, 90.0)
    interpolation: str | int = "linear"
    border_mode: str | int = "constant"
    fill: float | tuple[float, ...] = 0.0
    crop_border: bool = False

    short_name = "rotate"

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        fields.pair(
            self,
            "limit",
            symmetric=True,
            expected="degrees: a number x for (-x, x), or a pair (least, greatest)",
        )
        fields.interpolation(self)
        fields.border(self)
        fields.flag(self, "crop_border")

    @property
    def resampling(self) -> Resampling:
        """How the warp interpolates."""
        return Resampling(str(self.interpolation), str(self.border_mode), self.fill)

    @property
    def fuses(self) -> bool:
        """Whether the op keeps the frame: not if it crops."""
        return not self.crop_border

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw the angle, in degrees."""
        return {"angle": fields.draw(rng, self.limit)}

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame, or what `crop_border` leaves of it.

        Raises
        ------
        OpError
            If `fill` has a value for each channel, but of another number of channels, or more than pixels can have.
        """
        fields.refuse_fill(self, self.fill, frame)
        if not self.crop_border:
            return frame
        width, height = _borderless(frame.width, frame.height, params["angle"])
        return replace(frame, height=height, width=width)

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the rotation and crop, shape (3, 3): source to output, in pixels at pixel centres."""
        out = self.out_frame(frame, params)
        angle = math.radians(params["angle"])
        cos, sin = math.cos(angle), math.sin(angle)
        x, y = (frame.width - 1) / 2, (frame.height - 1) / 2
        # Centre on centre, also where the sizes differ by an odd number: half a pixel costs nothing, since
        # the warp interpolates anyway, and keeps the crop in the middle.
        new_x, new_y = (out.width - 1) / 2, (out.height - 1) / 2
        return np.array(
            [
                [cos, sin, new_x - cos * x - sin * y],
                [-sin, cos, new_y + sin * x - cos * y],
                [0.0, 0.0, 1.0],
            ]
        )


def _borderless(width: int, height: int, angle: float) -> tuple[int, int]:
    """Return width and height of the largest upright rectangle inside a rotated one, within the old frame.

    Of all a x b with ``a cos + b sin <= width`` and ``a sin + b cos <= height`` (absolute values of both
    functions) it is the one of the largest area. Either both conditions bind, or, for a long and narrow
    image, only that of the short side; the largest rectangle under one line touches it halfway.
    """
    cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    short, long = sorted((width, height))
    if short <= 2 * sin * cos * long:  # also wherever cos == sin, and the other case would divide by zero
        along, across = short / (2 * sin), short / (2 * cos)
        a, b = (along, across) if width >= height else (across, along)
    else:
        a = (width * cos - height * sin) / (cos**2 - sin**2)
        b = (height * cos - width * sin) / (cos**2 - sin**2)
    # Half turns must keep every pixel although the sine of pi is 1e-16.
    return (
        min(width, max(1, math.floor(a + 1e-6))),
        min(height, max(1, math.floor(b + 1e-6))),
    )
