"""What ops have in common that bend an image: each pixel of the outcome comes from a place of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import cv2
import numpy as np

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, Resampling
from kaleidoscope.ops.interpolate import interpolate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

    Floats = NDArray[np.float64]
    #: Where pixels come from: x and y, each of shape (H, W).
    Places = tuple[NDArray[np.float32], NDArray[np.float32]]

#: Fields that say how the outcome is made of the places, and not where these are.
_HOW = {"interpolation", "mask_interpolation", "border_mode", "fill", "fill_mask", "keypoint_remapping_method"}
#: The last places of a thread: pixels, masks and points of one draw need the same. Those of more bytes, of images of
#: more than 16 megapixels, are made again.
_last = threading.local()
_MOST_KEPT = 2**27


class Distortion(Op):
    """An op that says for each pixel of the outcome from where in the source it comes, by `places`.

    It is a dataclass with the fields of `_HOW`, which `check_how` checks.
    """

    interpolation: str | int
    mask_interpolation: str | int
    keypoint_remapping_method: str
    border_mode: str | int
    fill: float | tuple[float, ...]
    fill_mask: float

    def places(self, height: int, width: int, params: Params) -> Places:
        """Return where pixels come from, x and y at pixel centres, each ``float32`` of shape (height, width)."""
        raise NotImplementedError

    def check_how(self) -> None:
        """Check the fields that all distortions have, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.interpolation(self)
        fields.interpolation(self, "mask_interpolation")
        fields.choice(self, "keypoint_remapping_method", ("mask", "direct"))
        fields.border(self)
        fields.fill_mask(self)

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If pixels cannot have the `fill`.
        """
        fields.refuse_fill(self, self.fill, frame)
        return frame

    def for_masks(self) -> Self:
        """Return the same distortion, with `mask_interpolation` and `fill_mask`."""
        return type(self)(**self.settings() | {"interpolation": self.mask_interpolation, "fill": self.fill_mask})

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), each pixel from its place."""
        x, y = self._places(src.shape[0], src.shape[1], params)
        resampling = Resampling(str(self.interpolation), str(self.border_mode), self.fill)
        interpolate(lambda some, flags, **how: cv2.remap(some, x, y, flags, **how), src, out, resampling)

    def move_points(self, points: Floats, frame: Frame, params: Params) -> Floats:
        """Return where the pixels at `points`, shape (N, 2), are seen: the inverse of `places`."""
        return _seen_at(points, self._places(frame.height, frame.width, params))

    def _places(self, height: int, width: int, params: Params) -> Places:
        where = {name: value for name, value in self.settings().items() if name not in _HOW}
        key = (type(self), repr(where), json.dumps(dict(params)), height, width)
        if getattr(_last, "key", None) == key:
            kept: Places = _last.places
            return kept
        _last.key = _last.places = None  # gone before the next ones are made: they may be large
        places = self.places(height, width, params)
        if 2 * places[0].nbytes <= _MOST_KEPT:
            _last.key, _last.places = key, places
        return places


#: Steps towards where a point is seen, and how many of them are whole ones. Half ones do not swing to and fro.
_STEPS, _WHOLE = 60, 20
#: Pixels: what is near enough, and what was not found.
_CLOSE, _LOST = 0.01, 0.25


def _seen_at(points: Floats, places: Places) -> Floats:
    """Return for each point, shape (N, 2), the place q where it is seen: that with ``places(q) = point``.

    By fixed-point iteration of ``q = point - (places(q) - q)``, where what lies beyond the frame is moved like its
    nearest pixel. That has a solution for every point, as the shifts are bounded; the iteration finds it where they
    change by less than a pixel from pixel to pixel. Where the image is folded, the pixel that shows the point best is
    taken.
    """
    seen = points.astype(np.float64)
    left = np.arange(len(points))
    for step in range(_STEPS):
        missed = points[left] - seen[left] - _shifts(places, seen[left])
        far = np.abs(missed).max(axis=1, initial=0) > _CLOSE
        left, missed = left[far], missed[far]
        if not len(left):
            break
        seen[left] += missed if step < _WHOLE else missed / 2
    missed = np.abs(points - seen - _shifts(places, seen)).max(axis=1) > _LOST
    if (np.diff(places[0], axis=1) <= 0).any() or (np.diff(places[1], axis=0) <= 0).any():
        # It is folded: what was found beyond the frame may be seen in it as well.
        missed |= ((seen < 0) | (seen > np.subtract(places[0].shape[::-1], 1))).any(axis=1)
    for i in np.flatnonzero(missed):
        away = (places[0] - points[i, 0]) ** 2 + (places[1] - points[i, 1]) ** 2
        best = int(np.argmin(away))
        if away.flat[best] < 1:
            seen[i] = best % away.shape[1], best // away.shape[1]
    return seen


def _shifts(places: Places, at: Floats) -> Floats:
    """Return ``places(at) - at``, shape (N, 2), between pixels linearly and beyond the frame as at its border."""
    height, width = places[0].shape
    at = np.clip(at, 0.0, [width - 1, height - 1])
    first = np.floor(at).astype(int)
    part = at - first
    (x1, y1), (x2, y2) = first.T, np.minimum(first + 1, [width - 1, height - 1]).T
    found: Floats = np.empty((len(at), 2), np.float64)
    for axis, plane in enumerate(places):
        upper = plane[y1, x1] * (1 - part[:, 0]) + plane[y1, x2] * part[:, 0]
        lower = plane[y2, x1] * (1 - part[:, 0]) + plane[y2, x2] * part[:, 0]
        found[:, axis] = upper * (1 - part[:, 1]) + lower * part[:, 1]
    found -= at
    return found


def node_places(step: int, length: int) -> Floats:
    """Return where, in pixels, the nodes of a coarse grid lie along a side: one each `step` pixels, and one beyond."""
    count = -(-length // step)
    return (np.arange(-1.0, count + 1.0) + 0.5) * step - 0.5


def shifted_places(nodes: Iterable[NDArray[Any]], step: int, height: int, width: int) -> Places:
    """Return places from the shifts of a coarse grid's nodes, shape (2, rows, columns), as `node_places` has them.

    Between the nodes they are interpolated linearly.
    """
    made = []
    for plane, along in zip(nodes, (np.arange(width), np.arange(height)[:, np.newaxis]), strict=True):
        if step > 1:
            large = cv2.resize(plane, (plane.shape[1] * step, plane.shape[0] * step), interpolation=cv2.INTER_LINEAR)
            plane = large  # noqa: PLW2901
        inside = plane[step : step + height, step : step + width]
        made.append(np.add(inside, along.astype(np.float32)))
    return made[0], made[1]
