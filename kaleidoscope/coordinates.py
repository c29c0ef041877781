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
#: Of the depth w that a projective matrix gives: what is no more than this is not in front of the camera.
_HORIZON = 1e-9
#: Where outlines are cut that reach behind the camera: what is nearer is drawn out to a thousand times its size.
_CUT = 1e-3
#: Where what is behind the camera goes, in pixels: outside of every frame, and far from any overflow.
_FAR = 1e7


def move_points(points: Floats, matrix: Floats) -> Floats:
    """Return `points`, shape (N, 2), moved by `matrix`, shape (3, 3); both at pixel centres.

    By a projective one, ``(x, y, w)`` becomes ``(x / w, y / w)``. What is behind the camera (w is not above 0) is seen
    nowhere: it goes far away from every frame.

    Examples
    --------
    >>> move_points(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0, 5.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]])).tolist()
    [[6.0, 4.0]]
    """
    moved: Floats = points @ matrix[:2, :2].T + matrix[:2, 2]
    if matrix[2, 0] or matrix[2, 1] or matrix[2, 2] != 1:
        depth = points @ matrix[2, :2] + matrix[2, 2]
        seen = depth > _HORIZON
        moved[seen] /= depth[seen, np.newaxis]
        moved[~seen] = -_FAR
    return moved


def cut_behind(ring: Floats, matrix: Floats) -> Floats:
    """Return what of a polygon, shape (K, 2), lies in front of the camera of a projective `matrix`; all of it if none.

    Examples
    --------
    >>> cut_behind(np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 2.0]]), np.diag([1.0, 1.0, 1.0])).shape
    (4, 2)
    """
    depth = ring @ matrix[2, :2] + matrix[2, 2]
    behind = depth < _CUT
    if not behind.any():
        return ring
    # Points on each side that crosses the horizon, shortly before it: from where it comes, and to where it goes.
    kept: list[Floats] = []
    for i in range(len(ring)):
        if behind[i] != behind[i - 1]:
            share = (_CUT - depth[i - 1]) / (depth[i] - depth[i - 1])
            kept.append(ring[i - 1] + share * (ring[i] - ring[i - 1]))
        if not behind[i]:
            kept.append(ring[i])
    return np.array(kept).reshape(-1, 2)


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


def clip_polygon(ring: Floats, width: float, height: float) -> list[Floats]:
    """Return what of a polygon, shape (K, 2), lies in a frame: several where it falls apart, none outside of it.

    It is cut by one side of the frame after the other, as Sutherland and Hodgman (1974) do, but what falls apart does
    not stay connected along the border: once it is moved on, that connection would lie anywhere.

    Examples
    --------
    >>> [part.tolist() for part in clip_polygon(np.array([[-2.0, 1.0], [2.0, 1.0], [2.0, 3.0], [-2.0, 3.0]]), 10, 10)]
    [[[0.0, 1.0], [2.0, 1.0], [2.0, 3.0], [0.0, 3.0]]]
    """
    parts = [ring] if len(ring) else []
    for axis, limit in ((0, width), (1, height)):
        parts = [cut for part in parts for cut in _cut(part, axis, 0.0, np.greater)]
        parts = [cut for part in parts for cut in _cut(part, axis, float(limit), np.less)]
    return parts


def _cut(ring: Floats, axis: int, limit: float, inside: Callable[..., Any]) -> list[Floats]:
    """Keep the parts of a polygon where `inside(coordinate, limit)` holds, those that have an area."""
    # A side that lies on the limit is none of what is left: beyond it the polygon may go on elsewhere.
    kept = inside(ring[:, axis], limit)
    if (kept | (ring[:, axis] == limit)).all():
        return [ring]
    if not kept.any():
        return []
    before, was_kept = np.roll(ring, 1, axis=0), np.roll(kept, 1)
    crosses = kept != was_kept
    span = np.where(crosses, ring[:, axis] - before[:, axis], 1.0)
    crossing = before + (ring - before) * ((limit - before[:, axis]) / span)[:, np.newaxis]
    crossing[:, axis] = limit
    # From where it comes in, so that each way through the inside is one piece, from a crossing to a crossing.
    start = int(np.flatnonzero(crosses & kept)[0])
    ways: list[list[Floats]] = []
    for i in range(start - len(ring), start):
        if crosses[i] and kept[i]:
            ways.append([])
        if crosses[i]:
            ways[-1].append(crossing[i])
        if kept[i]:
            ways[-1].append(ring[i])
    return [part for part in _joined(list(map(np.array, ways)), 1 - axis) if polygon_area(part) > 0]


def _joined(ways: list[Floats], along: int) -> list[Floats]:
    """Join ways through the inside to rings: between one crossing and the next along the border lies the polygon."""
    if len(ways) == 1:
        return ways
    order = np.argsort([way[end, along] for way in ways for end in (0, -1)], kind="stable").tolist()
    partner = {a: b for pair in zip(order[::2], order[1::2], strict=True) for a, b in (pair, pair[::-1])}
    left, rings = set(range(len(ways))), []
    while left:
        end, ring = 2 * min(left), []
        while end // 2 in left:
            left.remove(end // 2)
            way = ways[end // 2]
            ring.append(way[::-1] if end % 2 else way)
            end = partner[end ^ 1]
        rings.append(np.concatenate(ring))
    return rings
