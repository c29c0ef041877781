"""Where things are: pixel centres and edges, and what maps and frames do to points, boxes and polygons.

Two conventions are in use, and both are the field's. *Centres*: the middle of the first pixel is (0, 0); matrices and
keypoints have them. *Edges*: the first pixel covers [0, 1] x [0, 1], so that an image of W x H pixels is the box
(0, 0, W, H); boxes and polygons have them. ``edge = centre + 0.5``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: From centres to edges.
HALF = 0.5
#: Points that stand for the ellipse in a box: its bounds are found to 0.04% of its size.
_AROUND = 180
#: What a matrix holds of this size, of 1, is rounding: the sine of pi is 1e-16.
_ROUNDING = 1e-12


def move_points(points: Floats, matrix: Floats) -> Floats:
    """Return `points`, shape (N, 2), moved by `matrix`, shape (3, 3); both at pixel centres.

    Examples
    --------
    >>> move_points(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0, 5.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]])).tolist()
    [[6.0, 4.0]]
    """
    moved: Floats = points @ matrix[:2, :2].T + matrix[:2, 2]
    if matrix[2, 0] or matrix[2, 1] or matrix[2, 2] != 1:
        moved /= (points @ matrix[2, :2] + matrix[2, 2])[:, np.newaxis]
    return moved


def keeps_upright(matrix: Floats) -> bool:
    """Whether boxes stay boxes: no rotation but by quarter turns, no shear, no perspective.

    Examples
    --------
    >>> keeps_upright(np.array([[0, 1, 3], [-1, 0, 9], [0, 0, 1]])), keeps_upright(np.array([[1, 0.1, 0], [0, 1, 0]]))
    (True, False)
    """
    (a, b), (c, d) = np.abs(matrix[:2, :2])
    along, across = max(a, d), max(b, c)
    upright = across <= _ROUNDING * along or along <= _ROUNDING * across
    return bool(upright and (len(matrix) < 3 or (matrix[2] == (0, 0, 1)).all()))


def outlines(boxes: Floats, *, method: str = "largest_box", per_side: int = 1) -> Floats:
    """Return points on the outlines of boxes, shape (N, P, 2), of which the bounds are taken once they have been moved.

    Parameters
    ----------
    boxes : ndarray of shape (N, 4)
        xyxy.
    method : str
        ``largest_box``: the box itself. ``ellipse``: the ellipse inside it.
    per_side : int
        Points on each side of the box, a corner among them: more than one where straight lines get bent.
    """
    if method == "ellipse":
        angle = np.linspace(0, 2 * np.pi, _AROUND, endpoint=False)
        unit = (np.stack([np.cos(angle), np.sin(angle)], axis=1) + 1) / 2
    else:
        along = np.arange(per_side) / per_side
        zero, one = np.zeros(per_side), np.ones(per_side)
        xs = np.concatenate([along, one, 1 - along, zero])
        ys = np.concatenate([zero, along, one, 1 - along])
        unit = np.stack([xs, ys], axis=1)
    corner, size = boxes[:, np.newaxis, :2], (boxes[:, 2:] - boxes[:, :2])[:, np.newaxis]
    points: Floats = corner + size * unit
    return points


def bounds(points: Floats) -> Floats:
    """Return the boxes around points, shape (..., P, 2), as xyxy, shape (..., 4).

    Examples
    --------
    >>> bounds(np.array([[3.0, 1.0], [0.0, 2.0]])).tolist()
    [0.0, 1.0, 3.0, 2.0]
    """
    found: Floats = np.concatenate([points.min(axis=-2), points.max(axis=-2)], axis=-1)
    return found


def clip_boxes(boxes: Floats, width: float, height: float) -> Floats:
    """Return what of boxes, shape (N, 4), lies in a frame; of one outside of it, a box without an area."""
    clipped: Floats = np.clip(boxes, 0.0, [width, height, width, height])
    return clipped


def box_areas(boxes: Floats) -> Floats:
    """Return the areas of boxes, shape (N, 4), in square pixels; NaN where a box is not known.

    Examples
    --------
    >>> box_areas(np.array([[1.0, 1.0, 4.0, 3.0]])).tolist()
    [6.0]
    """
    areas: Floats = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def polygon_area(ring: Floats) -> float:
    """Return the area of a polygon, shape (K, 2), in square pixels, whichever way round it goes (shoelace formula).

    Examples
    --------
    >>> polygon_area(np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]]))
    6.0
    """
    if len(ring) < 3:
        return 0.0
    x, y = (ring - ring[0]).T
    return float(abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))) / 2


def clip_polygon(ring: Floats, width: float, height: float) -> Floats:
    """Return what of a polygon, shape (K, 2), lies in a frame; shape (0, 2) if nothing does.

    Sutherland and Hodgman, 1974: cut by one side of the frame after the other. The parts of a polygon that falls apart
    stay connected along the frame's border, which changes neither its area nor its filling.

    Examples
    --------
    >>> clip_polygon(np.array([[-2.0, 1.0], [2.0, 1.0], [2.0, 3.0], [-2.0, 3.0]]), 10, 10).tolist()
    [[0.0, 1.0], [2.0, 1.0], [2.0, 3.0], [0.0, 3.0]]
    """
    for axis, limit in ((0, width), (1, height)):
        ring = _cut(ring, axis, 0.0, np.greater_equal)
        ring = _cut(ring, axis, float(limit), np.less_equal)
    return ring


def clipped_bounds(ring: Floats, clipped: Floats, width: float, height: float) -> Floats:
    """Return the box, xyxy, around what `clip_polygon` left of a polygon.

    Not around all of its points: where a polygon goes around a corner outside of the frame, the way that connects its
    parts along the border reaches the corner, and nothing of the polygon does.

    Examples
    --------
    >>> fork = np.array([[2.0, 2], [14, 2], [14, 14], [8, 14], [8, 13], [13, 13], [13, 3], [2, 3]])
    >>> clipped_bounds(fork, clip_polygon(fork, 10, 10), 10, 10).tolist()
    [2.0, 2.0, 10.0, 3.0]
    """
    after = np.roll(clipped, -1, axis=0)
    on_the_border = np.zeros(len(clipped), dtype=bool)
    for axis, limit in ((0, 0.0), (0, width), (1, 0.0), (1, height)):
        on_the_border |= (clipped[:, axis] == limit) & (after[:, axis] == limit)
    corners = np.array([(0.0, 0.0), (width, 0.0), (0.0, height), (width, height)])
    covered = np.array([_covers(ring, corner + (1 - 2 * (corner > 0)) * _NEAR) for corner in corners])
    own = np.concatenate([clipped[~on_the_border], after[~on_the_border], corners[covered]])
    return bounds(own if len(own) else clipped)


#: How far inside of the frame a polygon has to cover a corner, in pixels.
_NEAR = 1e-6


def _covers(ring: Floats, point: Floats) -> bool:
    """Whether a point lies inside a polygon (even-odd rule)."""
    (x1, y1), (x2, y2) = ring.T, np.roll(ring, -1, axis=0).T
    passes = (y1 > point[1]) != (y2 > point[1])
    at = x1 + (x2 - x1) * (point[1] - y1) / np.where(passes, y2 - y1, 1.0)
    return bool(np.count_nonzero(passes & (point[0] < at)) % 2)


def _cut(ring: Floats, axis: int, limit: float, inside: Callable[..., Any]) -> Floats:
    """Keep the part of a polygon where `inside(coordinate, limit)` holds."""
    kept = inside(ring[:, axis], limit)
    if kept.all():
        return ring
    if not kept.any():
        return np.empty((0, 2))
    before, was_kept = np.roll(ring, 1, axis=0), np.roll(kept, 1)
    crosses = kept != was_kept
    span = np.where(crosses, ring[:, axis] - before[:, axis], 1.0)
    crossing = before + (ring - before) * ((limit - before[:, axis]) / span)[:, np.newaxis]
    crossing[:, axis] = limit
    both: Floats = np.stack([crossing, ring], axis=1).reshape(-1, 2)[np.stack([crosses, kept], axis=1).ravel()]
    return both
