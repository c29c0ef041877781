"""Affine maps that interpolate: rotation, and all of them at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    mask_interpolation, fill_mask
        The same for masks. All interpolations but ``nearest`` make values up.
    rotate_method : {"largest_box", "ellipse"}
        What the box of an object without a polygon becomes the bounds of: itself, turned, or the ellipse inside it.
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
    mask_interpolation: str | int = "nearest"
    fill_mask: float = 0.0
    rotate_method: str = "largest_box"

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
        fields.turned(self)

    @property
    def resampling(self) -> Resampling:
        """How the warp interpolates."""
        return resampling_of(self)

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
        return frame.of_size(height, width)

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the rotation and crop, shape (3, 3): source to output, in pixels at pixel centres."""
        # Centre on centre, also where the sizes differ by an odd number: half a pixel costs nothing, since
        # the warp interpolates anyway, and keeps the crop in the middle.
        return about_middle(turn_by(params["angle"]), frame, self.out_frame(frame, params))


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


#: The longest side that is worth a warp: OpenCV keeps its coordinates in 16 bits.
_LONGEST = 32767


@op
class Affine(Geometric):
    """Scale, rotate, shear and shift, in this order and about the image's centre, each by a draw of its own.

    With the centre c = ((width - 1) / 2, (height - 1) / 2) and y pointing down, the pixel at p moves to ::

        p' = c + translate + K @ R @ S @ (p - c)

        S = [[scale_x, 0], [0, scale_y]]
        R = [[cos(rotate), sin(rotate)], [-sin(rotate), cos(rotate)]]
        K = [[1, -tan(shear_x)], [-tan(shear_y), 1]]

    Any dtype and number of channels. Neighbours of equal interpolation, border and fill are one warp.

    Parameters
    ----------
    scale : float, (float, float), a pair of them or a mapping; factors above 0
        A number x stands for (x, x), a range is drawn from for each axis anew. Axes of their own:
        ``{"x": (0.8, 1.2), "y": 1.0}``, or ``((0.8, 1.2), (1.0, 1.0))``, which is how it is kept. An axis that a
        mapping leaves out stays as it is. The same holds for the next two and for `shear`.
    translate_percent : as scale, or None; fractions of the width (x) and of the height (y)
        What is drawn is cut to whole pixels, towards 0. Positive is right and down.
    translate_px : as scale, or None; whole pixels
        Instead of `translate_percent`.
    rotate : float or (float, float), degrees
        A number x stands for (x, x). Positive is counter-clockwise.
    shear : as scale; degrees in (-90, 90)
    interpolation : {"linear", "nearest", "cubic", "area", "lanczos4"}
        How values between pixels are made. OpenCV's integers are accepted.
    fit_output : bool
        Make the frame the smallest that holds the whole outcome, in its middle; `translate` is without effect.
    keep_ratio : bool
        One scale for both axes.
    balanced_scale : bool
        Reduce as often as enlarge: half of the draws from the part of `scale` below 1, half from that above.
    border_mode : {"constant", "replicate", "reflect", "wrap", "reflect_101"}
        What lies beyond the border. OpenCV's integers are accepted.
    fill : float or tuple of float, in the pixels' own range
        The value beyond the border (``constant`` only): one for all channels, or one for each.
    mask_interpolation, fill_mask
        The same for masks. All interpolations but ``nearest`` make values up.
    rotate_method : {"largest_box", "ellipse"}
        What the box of an object without a polygon becomes the bounds of: itself, moved, or the ellipse inside it.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> frame = Frame(height=101, width=201, channels=3, dtype="uint8")
    >>> drawn = {"scale": [2.0, 1.0], "translate": [0, 5], "rotate": 0.0, "shear": [0.0, 0.0]}
    >>> (ops.Affine(scale={"x": 2}, translate_px={"y": 5}).matrix(frame, drawn) @ [110, 50, 1]).tolist()
    [120.0, 55.0, 1.0]
    >>> print(ops.Affine(fit_output=True).out_frame(frame, drawn))
    402x101x3 uint8
    """

    scale: fields.Axes = (1.0, 1.0)
    translate_percent: fields.Axes | None = None
    translate_px: fields.Axes | None = None
    rotate: fields.Range = (0.0, 0.0)
    shear: fields.Axes = (0.0, 0.0)
    interpolation: str | int = "linear"
    fit_output: bool = False
    keep_ratio: bool = False
    balanced_scale: bool = False
    border_mode: str | int = "constant"
    fill: float | tuple[float, ...] = 0.0
    mask_interpolation: str | int = "nearest"
    fill_mask: float = 0.0
    rotate_method: str = "largest_box"

    short_name = "affine"

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be, or two exclude each other.
        """
        ways = "a number, a pair (least, greatest), or a mapping of 'x' and 'y' to these"
        # The least number above 0 stands for "above 0"; the greatest below 90 likewise.
        fields.axes(self, "scale", rest=1.0, low=math.ulp(0.0), expected=f"factors above 0: {ways}")
        if self.translate_percent is not None:
            fields.axes(self, "translate_percent", rest=0.0, expected=f"fractions of the image's size: {ways}")
        if self.translate_px is not None:
            fields.axes(self, "translate_px", rest=0, whole=True, expected=f"whole pixels: {ways}")
        fields.pair(self, "rotate", expected="degrees: a number, or a pair (least, greatest)")
        steepest = math.nextafter(90, 0)
        expected = f"degrees between -90 and 90: {ways}"
        fields.axes(self, "shear", rest=0.0, low=-steepest, high=steepest, expected=expected)
        fields.interpolation(self)
        for name in ("fit_output", "keep_ratio", "balanced_scale"):
            fields.flag(self, name)
        fields.border(self)
        fields.turned(self)
        if self.translate_percent is not None and self.translate_px is not None:
            raise fields.refuse(self, "translate_px", self.translate_px, "None beside translate_percent: give one")
        across, down = fields.per_axis(self.scale)
        if self.keep_ratio and across != down:
            raise fields.refuse(self, "scale", self.scale, "one range for both axes, as keep_ratio is True")

    @property
    def resampling(self) -> Resampling:
        """How the warp interpolates."""
        return resampling_of(self)

    @property
    def fuses(self) -> bool:
        """Whether the op keeps the frame: not if it is fitted to the outcome."""
        return not self.fit_output

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``scale``, ``translate`` (pixels) and ``shear`` (degrees), each [x, y], and ``rotate`` (degrees)."""
        scale = [self._draw_scale(rng, *ends) for ends in fields.per_axis(self.scale)]
        translate = [0, 0]
        if self.translate_px is not None:
            translate = [int(rng.integers(int(a), int(b) + 1)) for a, b in fields.per_axis(self.translate_px)]
        elif self.translate_percent is not None:
            parts = [fields.draw(rng, ends) for ends in fields.per_axis(self.translate_percent)]
            translate = [int(parts[0] * frame.width), int(parts[1] * frame.height)]
        return {
            "scale": [scale[0]] * 2 if self.keep_ratio else scale,
            "translate": translate,
            "rotate": fields.draw(rng, self.rotate),
            "shear": [fields.draw(rng, ends) for ends in fields.per_axis(self.shear)],
        }

    def _draw_scale(self, rng: Generator, least: float, greatest: float) -> float:
        if self.balanced_scale and least < 1 < greatest:
            least, greatest = ((least, 1.0), (1.0, greatest))[int(rng.integers(2))]
        return fields.draw(rng, (least, greatest))

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame, or with `fit_output` the one that holds the outcome.

        Raises
        ------
        OpError
            If pixels cannot have the `fill`, if the shears press the image onto a line, or if the fitted frame
            has a side of more than 32767 pixels.
        """
        fields.refuse_fill(self, self.fill, frame)
        (a, b), (c, d) = _scaled_turned_sheared(params)
        if abs(a * d - b * c) <= 1e-9 * (a * a + b * b + c * c + d * d):
            raise OpError(
                f"Affine: expected a map that can be undone; shear={list(params['shear'])} and "
                f"scale={list(params['scale'])} press the image onto a line: shear by other angles in x or y"
            )
        if not self.fit_output:
            return frame
        # The sides of the box around the outcome of a width x height box. Rounding must not add a pixel.
        width, height = (math.ceil(abs(x) * frame.width + abs(y) * frame.height - 1e-6) for x, y in ((a, b), (c, d)))
        if max(width, height) > _LONGEST:
            raise OpError(
                f"Affine(fit_output=True): expected an outcome of at most {_LONGEST} pixels a side, got "
                f"{width}x{height} from {frame}: scale or shear less"
            )
        return frame.of_size(max(1, height), max(1, width))

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the whole map, shape (3, 3): source to output, in pixels at pixel centres."""
        linear = _scaled_turned_sheared(params)
        if self.fit_output:
            return about_middle(linear, frame, self.out_frame(frame, params))
        return about_middle(linear, frame, frame, params["translate"])


def resampling_of(op: Any) -> Resampling:
    """Return how an op's warp interpolates, from fields of the names that they all have."""
    return Resampling(
        str(op.interpolation),
        str(op.border_mode),
        op.fill,
        str(op.mask_interpolation),
        op.fill_mask,
        op.rotate_method,
    )


#: Rows of a linear map, in plain numbers: NumPy takes ten times as long for so few.
Linear = tuple[tuple[float, float], tuple[float, float]]


def turn_by(degrees: float) -> Linear:
    """Return a rotation, counter-clockwise where y points down."""
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    return ((cos, sin), (-sin, cos))


def about_middle(linear: Linear, frame: Frame, out: Frame, shift: Sequence[float] = (0, 0)) -> NDArray[np.float64]:
    """Return the map, shape (3, 3), that takes the middle of one frame to that of another, and a shift from there.

    Examples
    --------
    >>> from kaleidoscope.record import Frame
    >>> frame = Frame(3, 5, 1, "uint8")
    >>> (about_middle(((2, 0), (0, 1)), frame, frame, (0, 1)) @ [3, 0, 1]).tolist()
    [4.0, 1.0, 1.0]
    """
    (a, b), (c, d) = linear
    x, y = (frame.width - 1) / 2, (frame.height - 1) / 2
    across = (out.width - 1) / 2 + shift[0] - a * x - b * y
    down = (out.height - 1) / 2 + shift[1] - c * x - d * y
    return np.array([[a, b, across], [c, d, down], [0.0, 0.0, 1.0]])


def scaled_and_turned(scale: Sequence[float], degrees: float) -> Linear:
    """Return a scale for each axis, and a rotation after it."""
    (a, b), (c, d) = turn_by(degrees)
    return ((a * scale[0], b * scale[1]), (c * scale[0], d * scale[1]))


def _scaled_turned_sheared(params: Params) -> Linear:
    """Return K @ R @ S of `Affine`."""
    (a, b), (c, d) = scaled_and_turned(params["scale"], params["rotate"])
    across, down = (-math.tan(math.radians(angle)) for angle in params["shear"])
    return ((a + across * c, b + across * d), (down * a + c, down * b + d))
