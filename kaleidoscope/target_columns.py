"""What the columns of targets may be given as, and the one form they are stored in."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope.coordinates import bounds
from kaleidoscope.errors import RecipeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: A mask's name becomes a part of a file's.
_MASK_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,63})")


def length_of(name: str, value: Any) -> int:
    """Return how many objects a column has."""
    try:
        return len(value)
    except TypeError:
        raise RecipeError(f"Targets({name}={value!r}): expected a sequence with one for each object") from None


def as_name(value: Any) -> Any:
    """Return a class or an id as a JSON value; NaN, which a table has where there is none, as None."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        value = None if math.isnan(value) else int(value) if value.is_integer() else value
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return value
    raise RecipeError(f"expected a name or a number as an object's class or id, got {value!r} ({type(value).__name__})")


def _array(what: str, value: Any, widths: tuple[int, ...]) -> Floats:
    """Return numbers as an array of shape (K, one of the widths)."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim != 2 or array.shape[1] not in widths:
        shapes = " or ".join(f"(K, {width})" for width in widths)
        raise RecipeError(f"{what}: expected numbers of shape {shapes}, got {value!r}")
    return array


def as_boxes(value: Any, polygons: Sequence[tuple[Floats, ...]]) -> Floats:
    """Return boxes, checked; where none are given, those around the polygons."""
    around = np.full((len(polygons), 4), np.nan)
    for i, rings in enumerate(polygons):
        if rings:
            around[i] = bounds(np.concatenate(rings))
    boxes = around
    if value is not None and len(value):
        rows = [(np.nan,) * 4 if row is None else row for row in value]
        boxes = _array("Targets(boxes=...)", rows, (4,))
        boxes = np.where(np.isnan(boxes), around, boxes)
    wrong = ~np.isnan(boxes).all(axis=1) & ~((boxes[:, :2] < boxes[:, 2:]).all(axis=1) & np.isfinite(boxes).all(axis=1))
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise RecipeError(
            f"object {i}: expected a box as x1 < x2, y1 < y2 in (x1, y1, x2, y2), got {tuple(boxes[i].tolist())}"
        )
    return boxes


def as_rings(index: int, value: Any) -> tuple[Floats, ...]:
    """Return the rings of an object's polygon, which may be given as one, and flat: x, y, x, y, ..."""
    if value is None:
        return ()
    try:
        several = list(value)
        depth = np.ndim(several[0]) if several else 2
    except (TypeError, ValueError):  # no sequence, or a ragged one
        raise RecipeError(f"object {index}, polygon: expected numbers of shape (K, 2), got {value!r}") from None
    # Numbers are a flat ring; pairs of them a ring; longer runs of them flat rings.
    if depth == 0 or (depth == 1 and len(several[0]) == 2):
        several = [several]
    rings = tuple(_array(f"object {index}, polygon", _paired(ring), (2,)) for ring in several)
    for ring in rings:
        if len(ring) < 3 or not np.isfinite(ring).all():
            raise RecipeError(f"object {index}: expected a polygon of at least 3 points, got {ring.tolist()}")
    return rings


def _paired(ring: Any) -> Any:
    """Return a flat ring, x, y, x, y, ..., as pairs; what is none as it is."""
    flat = hasattr(ring, "__len__") and len(ring) % 2 == 0 and all(np.ndim(number) == 0 for number in ring)
    return np.reshape(ring, (-1, 2)) if flat else ring


def as_keypoints(index: int, value: Any) -> Floats:
    """Return an object's keypoints, shape (K, 3): x, y, visibility."""
    if value is None or (hasattr(value, "__len__") and len(value) == 0):
        return np.empty((0, 3))
    if isinstance(value, list | tuple | np.ndarray) and np.ndim(value[0]) == 0 and len(value) % 3 == 0:
        value = np.reshape(value, (-1, 3))  # flat, as COCO has them
    points = _array(f"object {index}, keypoints", value, (2, 3))
    if points.shape[1] == 2:
        points = np.concatenate([points, np.full((len(points), 1), 2.0)], axis=1)
    points[~np.isfinite(points).all(axis=1) | (points[:, 2] == 0)] = 0.0  # what is not there is nowhere
    if not np.isin(points[:, 2], (0, 1, 2)).all():
        raise RecipeError(f"object {index}: expected a keypoint's visibility as 0, 1 or 2, got {points[:, 2].tolist()}")
    return points


def as_shares(value: Any, count: int) -> Floats:
    """Return how much of each object is left, shape (N,); all of it where nothing is given."""
    if value is None:
        return np.ones(count)
    try:
        shares = np.array([1.0 if share is None else share for share in value], dtype=np.float64)
    except (TypeError, ValueError):
        shares = np.empty(0)
    if shares.shape != (count,) or not ((shares >= 0) & (shares <= 1)).all():
        raise RecipeError(f"Targets(visible=...): expected a share, 0 to 1, for each object, got {value!r}")
    return shares


def as_mask(name: str, mask: Any) -> NDArray[Any]:
    """Return a mask, shape (H, W), as uint8 or uint16."""
    if not isinstance(name, str) or not _MASK_NAME.fullmatch(name):
        raise RecipeError(f"expected a mask's name of letters, digits, _ and - as it becomes a file's, got {name!r}")
    array = np.array(mask)  # the caller's own may change later
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.ndim != 2 or array.dtype not in (np.uint8, np.uint16) or 0 in array.shape:
        raise RecipeError(
            f"the mask {name!r}: expected shape (H, W) as uint8, uint16 or bool, got {array.shape} as {array.dtype}"
        )
    return np.ascontiguousarray(array)
