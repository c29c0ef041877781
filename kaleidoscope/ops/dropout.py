"""Ops that cut rectangular holes into images and fill them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from kaleidoscope.errors import OpError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Params, op
from kaleidoscope.ops.holes import Fill, Hole, Occlusion

if TYPE_CHECKING:
    from numpy.random import Generator

    from kaleidoscope.record import Frame


@op
class CoarseDropout(Occlusion):
    """Fill rectangular holes, of a number, sizes and places drawn uniformly.

    ::

        out[y, x] = fill    for top <= y < top + height, left <= x < left + width of a hole
                    pixel   elsewhere

    The number is drawn first; of each hole the height and width, and then its place among all at which it lies within
    the image. Holes may overlap. Any dtype and number of channels. Boxes, polygons and keypoints under a hole stay:
    an object that is hidden is still counted. Masks stay, too, unless there is a `fill_mask`.
    After DeVries and Taylor, 2017, "Improved regularization of convolutional neural networks with cutout".

    Parameters
    ----------
    num_holes_range : int or (int, int)
        The least and the greatest number of holes, at least 1; a single number x stands for (x, x), here and below.
    hole_height_range : (int, int), pixels, or (float, float), fractions of the height in [0, 1]
        Whole numbers are pixels. What is more than the image has is what it has; fractions of a pixel are cut off.
    hole_width_range : (int, int), pixels, or (float, float), fractions of the width in [0, 1]
    fill : float, tuple of float or str
        The pixels' own value, for all channels (alpha too) or one each; or ``random``, a value of its own
        for each pixel and channel; ``random_uniform``, a colour for each hole; ``inpaint_telea`` (Telea, 2004) or
        ``inpaint_ns`` (Bertalmio et al., 2001), what is around the hole, continued.
    fill_mask : float, optional
        What masks are filled with; without it they stay.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> row = np.array([[[10], [20], [30], [40]]], dtype="uint8")
    >>> out = np.empty_like(row)
    >>> ops.CoarseDropout(fill=99).kernel(row, {"holes": [[1, 0, 3, 1]]}, out)
    >>> out.ravel().tolist()
    [10, 99, 99, 40]
    """

    num_holes_range: int | tuple[int, int] = (1, 2)
    hole_height_range: fields.Range = (0.1, 0.2)
    hole_width_range: fields.Range = (0.1, 0.2)
    fill: Fill = 0.0
    fill_mask: float | None = None

    short_name = "coarsedropout"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        expected = "a number of holes, at least 1, or a pair (least, greatest)"
        fields.pair(self, "num_holes_range", low=1, whole=True, expected=expected)
        for name in ("hole_height_range", "hole_width_range"):
            expected = "whole pixels, or fractions of the image in [0, 1]: a number, or a pair (least, greatest)"
            if _in_pixels(getattr(self, name)):
                fields.pair(self, name, low=0, whole=True, expected=expected)
            else:
                fields.pair(self, name, low=0, high=1, expected=expected)
        self.check_fill()

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``holes``: of each x and y of its first pixel, x and y behind its last one; and perhaps a ``seed``."""
        least, greatest = cast("tuple[int, int]", self.num_holes_range)
        holes = []
        for _ in range(int(rng.integers(least, greatest + 1))):
            height = _draw_length(rng, self.hole_height_range, frame.height)
            width = _draw_length(rng, self.hole_width_range, frame.width)
            holes.append(_draw_place(rng, height, width, frame))
        return {"holes": holes} | self.draw_seed(rng)


def _in_pixels(given: object) -> bool:
    """Tell lengths in pixels from fractions: they are whole numbers, or more than 1."""
    ends = given if isinstance(given, list | tuple) else (given,)
    return all(isinstance(end, int) for end in ends) or any(isinstance(end, float) and end > 1 for end in ends)


def _draw_length(rng: Generator, ends: fields.Range, side: int) -> int:
    low, high = cast("tuple[float, float]", ends)
    if isinstance(high, int):
        return int(rng.integers(min(int(low), side), min(high, side) + 1))
    return int(side * rng.uniform(low, high))


def _draw_place(rng: Generator, height: int, width: int, frame: Frame) -> Hole:
    # All places in one draw: a quarter of the time of two by rng.integers.
    across, down = frame.width - width + 1, frame.height - height + 1
    top, left = divmod(int(rng.random() * (across * down)), across)
    return [left, top, left + width, top + height]


@op
class Erasing(Occlusion):
    """Fill one rectangular hole of an area and proportions drawn uniformly (random erasing).

    ::

        area ~ U(scale[0] * H * W, most)         r ~ U(max(ratio[0], area / H**2), min(ratio[1], W**2 / area))
        most = min(scale[1] * H * W, ratio[0] * H**2, W**2 / ratio[1])
        height = round(sqrt(area / r))           width = round(sqrt(area * r))

    `most` is what fits at any of the proportions; where it is less than the least area, as for very flat images,
    there is no hole. The place is drawn uniformly among all at which the hole lies within the image. Any dtype and
    number of channels. Boxes, polygons and keypoints under the hole stay; so do masks, unless there is a `fill_mask`.
    After Zhong et al., 2017, "Random erasing data augmentation".

    Parameters
    ----------
    scale : float or (float, float), fractions of the image's area in [0, 1]
        A single number x stands for (x, x), here and below.
    ratio : float or (float, float), width by height, above 0
    fill : float, tuple of float or str
        As `CoarseDropout`'s: a value, one for each channel, ``random``, ``random_uniform``, ``inpaint_telea`` or
        ``inpaint_ns``.
    fill_mask : float, optional
        What masks are filled with; without it they stay.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> op = ops.Erasing(scale=0.25, ratio=1)
    >>> ((left, top, right, bottom),) = op.sample_params(np.random.default_rng(), Frame(40, 60, 3, "uint8"))["holes"]
    >>> right - left, bottom - top
    (24, 24)
    """

    scale: fields.Range = (0.02, 0.33)
    ratio: fields.Range = (0.3, 3.3)
    fill: Fill = 0.0
    fill_mask: float | None = None

    short_name = "erasing"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        expected = "fractions of the image's area in [0, 1], a number or a pair (least, greatest)"
        fields.pair(self, "scale", low=0, high=1, expected=expected)
        expected = "width by height, above 0, a number or a pair (least, greatest)"
        fields.pair(self, "ratio", low=math.ulp(0.0), expected=expected)
        self.check_fill()

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``holes``, of which there are one or none: x and y of its first pixel, x and y behind its last one."""
        least, greatest = (end * frame.height * frame.width for end in cast("tuple[float, float]", self.scale))
        flattest, tallest = cast("tuple[float, float]", self.ratio)
        most = min(greatest, flattest * frame.height**2, frame.width**2 / tallest)
        if not 0 < most >= least:
            return {"holes": []} | self.draw_seed(rng)
        area = fields.draw(rng, (least, most)) or most
        low, high = max(flattest, area / frame.height**2), min(tallest, frame.width**2 / area)
        ratio = fields.draw(rng, (low, max(low, high)))
        height = min(round(math.sqrt(area / ratio)), frame.height)
        width = min(round(math.sqrt(area * ratio)), frame.width)
        return {"holes": [_draw_place(rng, height, width, frame)]} | self.draw_seed(rng)


@op
class GridDropout(Occlusion):
    """Fill a hole in each cell of a grid.

    The image is cut into rows and columns of cells, whose sizes differ by a pixel at most; which are the larger ones is
    drawn. Of a cell of `h` x `w` pixels the hole has ::

        max(1, floor(ratio * h)) x max(1, floor(ratio * w))

    but at least one row and column less than the cell; cells of a single pixel across or down have none.
    Any dtype and number of channels. Boxes, polygons and keypoints under a hole stay; so do masks, unless there is a
    `fill_mask`. After Chen et al., 2020, "GridMask data augmentation", but with a place of its own for each hole.

    Parameters
    ----------
    ratio : float in (0, 1]
        Height and width of a hole as fractions of those of its cell.
    random_offset : bool
        Draw the place of each hole within its cell; otherwise all lie at `shift_xy`.
    unit_size_range : int or (int, int), pixels, optional
        Height and width of the cells, at least 2, and at most the image's shorter side; drawn uniformly, both ends
        included. Without it and `holes_number_xy` the image has 10 x 10 cells, or fewer of 2 x 2 pixels.
    holes_number_xy : (int, int), optional
        How many cells there are across and down instead, at most one for two pixels.
    shift_xy : (int, int), pixels
        Of all holes from the upper left corners of their cells, right and down, within the image.
    fill : float, tuple of float or str
        As `CoarseDropout`'s: a value, one for each channel, ``random``, ``random_uniform``, ``inpaint_telea`` or
        ``inpaint_ns``.
    fill_mask : float, optional
        What masks are filled with; without it they stay.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> row = np.arange(12, dtype="uint8").reshape(2, 6, 1)
    >>> out = np.empty_like(row)
    >>> op = ops.GridDropout(random_offset=False, shift_xy=(1, 0), fill=99)
    >>> op.kernel(row, {"rows": [0, 2], "columns": [0, 3, 6]}, out)
    >>> out[..., 0].tolist()
    [[0, 99, 2, 3, 99, 5], [6, 7, 8, 9, 10, 11]]
    """

    ratio: float = 0.5
    random_offset: bool = True
    unit_size_range: int | tuple[int, int] | None = None
    holes_number_xy: tuple[int, int] | None = None
    shift_xy: tuple[int, int] = (0, 0)
    fill: Fill = 0.0
    fill_mask: float | None = None

    short_name = "griddropout"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.number(self, "ratio", low=math.ulp(0.0), high=1, expected="a fraction of a cell above 0, at most 1")
        fields.flag(self, "random_offset")
        if self.unit_size_range is not None:
            expected = "whole pixels, at least 2, a number or a pair (least, greatest)"
            fields.pair(self, "unit_size_range", low=2, whole=True, expected=expected)
        for name, least in (("holes_number_xy", 1), ("shift_xy", 0)):
            given = getattr(self, name)
            if given is None and name == "holes_number_xy":
                continue
            fields.counts(self, name, sizes=(2,), expected=f"two whole numbers, across and down, at least {least}")
            if isinstance(getattr(self, name), int) or min(getattr(self, name)) < least:
                raise fields.refuse(self, name, given, f"two whole numbers, across and down, at least {least}")
        self.check_fill()

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If it is too small for the cells, or cannot have the `fill`.
        """
        if self.holes_number_xy is not None:
            across, down = self.holes_number_xy
            if 2 * across > frame.width or 2 * down > frame.height:
                raise OpError(
                    f"GridDropout(holes_number_xy={self.holes_number_xy}): expected at most a cell for two pixels, "
                    f"{frame.width // 2} across and {frame.height // 2} down, got an image of {frame}"
                )
        elif self.unit_size_range is not None:
            _, most = cast("tuple[int, int]", self.unit_size_range)
            if most > min(frame.height, frame.width):
                raise OpError(
                    f"GridDropout(unit_size_range={self.unit_size_range}): expected cells no larger than the image's "
                    f"shorter side, got an image of {frame}"
                )
        return super().out_frame(frame, params)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw where the ``rows`` and ``columns`` of cells begin and end, and perhaps a ``seed``.

        The seed is of the holes' places and of what is random in them: a fine grid has more holes than a manifest
        should hold.
        """
        if self.holes_number_xy is not None:
            across, down = self.holes_number_xy
        elif self.unit_size_range is not None:
            least, greatest = cast("tuple[int, int]", self.unit_size_range)
            size = int(rng.integers(least, greatest + 1))
            across, down = frame.width // size, frame.height // size
        else:
            across, down = (side // max(2, side // 10) for side in (frame.width, frame.height))
        params: dict[str, Any] = {"rows": _cut(rng, frame.height, down), "columns": _cut(rng, frame.width, across)}
        return params | ({"seed": int(rng.integers(2**53))} if self.random_offset else self.draw_seed(rng))

    def holes(self, params: Params) -> list[Hole]:
        """Return the hole of each cell, row by row."""
        rows, columns = params["rows"], params["columns"]
        spans = []
        rng = np.random.default_rng([params["seed"], 1]) if self.random_offset else None
        shape = (len(rows) - 1, len(columns) - 1)
        for edges, shift, across in ((rows, self.shift_xy[1], False), (columns, self.shift_xy[0], True)):
            starts, sizes = np.array(edges[:-1]), np.diff(edges)
            if not across:
                starts, sizes = starts[:, np.newaxis], sizes[:, np.newaxis]
            lengths = np.minimum(np.maximum(1, (self.ratio * sizes).astype(int)), sizes - 1)
            first = starts + (shift if rng is None else rng.integers(sizes - lengths + 1, size=shape))
            first = np.broadcast_to(np.minimum(first, edges[-1] - lengths), shape)
            spans += [first, first + lengths]
        top, bottom, left, right = spans
        holes: list[Hole] = np.stack([left, top, right, bottom], axis=-1).reshape(-1, 4).tolist()
        return holes


def _cut(rng: Generator, side: int, parts: int) -> list[int]:
    """Return the edges of almost equal parts of a side, the longer ones in drawn places; at least one part."""
    parts = max(1, min(parts, side))
    sizes = np.full(parts, side // parts)
    sizes[: side % parts] += 1
    edges: list[int] = np.cumsum([0, *rng.permutation(sizes).tolist()]).tolist()
    return edges
