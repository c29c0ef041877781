"""Rectangular holes in images, and what fills them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import cv2
import numpy as np

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Geometric, Params
from kaleidoscope.record import max_value_of

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

#: A value, one for each channel, or the name of a way to make some.
Fill = float | tuple[float, ...] | str
#: A hole: x and y of its first pixel, x and y behind its last one.
Hole = list[int]

#: Ways to inpaint, and how far around a pixel known ones are looked for.
_INPAINTING = {"inpaint_telea": cv2.INPAINT_TELEA, "inpaint_ns": cv2.INPAINT_NS}
_INPAINT_RADIUS = 3.0
#: How far from holes pixels may lie that inpainting looks at: with 4 the outcome is the same.
_MARGIN = 8
#: What fills a hole, unless a value does.
FILLS = ("random", "random_uniform", *_INPAINTING)


class InPlace(Geometric):
    """Replaces pixels and moves nothing: boxes, polygons and keypoints stay, masks may change by its kernel.

    Geometric all the same, with the identity as its matrix, so that boxes are kept as they are, and not taken anew from
    polygons.
    """

    @property
    def fuses(self) -> bool:
        """Whether it is a warp that could be shared: no."""
        return False

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the identity, shape (3, 3): everything stays where it is."""
        return np.eye(3)


class Occlusion(InPlace):
    """Fills holes; what remains to be said is where they are.

    An occlusion does not change how many objects there are: boxes, polygons and keypoints under it stay.
    """

    fill: Fill
    fill_mask: float | None

    def check_fill(self) -> None:
        """Check the fields ``fill`` and ``fill_mask``.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        if isinstance(self.fill, str):
            fields.choice(self, "fill", FILLS)
        else:
            fields.numbers(self, "fill", low=0, expected="a pixel value, a list with one for each channel, or a name")
        if self.fill_mask is not None:
            fields.fill_mask(self)

    def draw_seed(self, rng: Generator) -> dict[str, int]:
        """Draw the seed of what is random in the holes, where something is."""
        return {"seed": int(rng.integers(2**53))} if self.fill in ("random", "random_uniform") else {}

    def holes(self, params: Params) -> list[Hole]:
        """Return the holes that were drawn."""
        holes: list[Hole] = params["holes"]
        return holes

    @property
    def moves_pixels(self) -> bool:
        """Whether masks are filled, too."""
        return self.fill_mask is not None

    def for_masks(self) -> Self:
        """Return the same holes, filled with `fill_mask`."""
        return self if self.fill_mask is None else replace(self, fill=self.fill_mask)  # type: ignore[type-var]

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If `fill` has values for another number of channels, or more than pixels can have.
        """
        if not isinstance(self.fill, str):
            fields.refuse_fill(self, self.fill, frame)
        return frame

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), but for the holes."""
        np.copyto(out, src)
        holes = self.holes(params)
        if self.fill in _INPAINTING:
            _inpaint(out, holes, _INPAINTING[self.fill])
        elif isinstance(self.fill, str):
            _fill_at_random(out, holes, params["seed"], alike=self.fill == "random_uniform")
        else:
            value = np.asarray(self.fill)
            value = (value if out.dtype == np.float32 else np.rint(value)).astype(out.dtype)
            for left, top, right, bottom in holes:
                out[top:bottom, left:right] = value


def _fill_at_random(out: NDArray[Any], holes: list[Hole], seed: int, *, alike: bool) -> None:
    """Fill holes of `out` with values from the whole range of its dtype, one colour a hole or independent ones."""
    rng = np.random.default_rng(seed)
    for left, top, right, bottom in holes:
        hole = out[top:bottom, left:right]
        shape = (out.shape[2],) if alike else hole.shape
        if out.dtype == np.float32:
            hole[...] = rng.random(shape, dtype=np.float32)
        else:
            hole[...] = rng.integers(int(max_value_of(out)) + 1, size=shape, dtype=out.dtype)


def _inpaint(out: NDArray[Any], holes: list[Hole], method: int) -> None:
    """Fill holes of `out` from what is around them."""
    missing = np.zeros(out.shape[:2], np.uint8)
    for left, top, right, bottom in holes:
        missing[top:bottom, left:right] = 1
    if not missing.any() or missing.all():
        return  # around nothing, or from nothing
    # Beyond that margin nothing counts: to take the whole image with a small hole would double the time.
    left, top = (max(0, first - _MARGIN) for first in np.min(holes, axis=0)[:2].tolist())
    right, bottom = (last + _MARGIN for last in np.max(holes, axis=0)[2:].tolist())
    part, missing = out[top:bottom, left:right], missing[top:bottom, left:right]
    # Of a single row or column OpenCV 5.0 reads beyond the array, and makes another outcome each time. Two alike do.
    rows, columns = (2 if side == 1 else 1 for side in part.shape[:2])
    missing = np.ascontiguousarray(missing.repeat(rows, axis=0).repeat(columns, axis=1))
    # OpenCV takes three channels as uint8 only, and makes of each what it would by itself, in half the time.
    together = 3 if out.dtype == np.uint8 and out.shape[2] >= 3 else 1
    for channels in (slice(0, together), *(slice(i, i + 1) for i in range(together, out.shape[2]))):
        known = np.ascontiguousarray(part[..., channels].repeat(rows, axis=0).repeat(columns, axis=1))
        part[..., channels] = _inpainted(known, missing, method)[::rows, ::columns]


def _inpainted(known: NDArray[Any], missing: NDArray[np.uint8], method: int) -> NDArray[Any]:
    """Return some channels of an image, one or three, with what is missing made up."""
    if known.dtype != np.float32:
        return cv2.inpaint(known, missing, _INPAINT_RADIUS, method).reshape(known.shape)
    # In 65,536 levels: OpenCV's Telea adds 0.5 to each value, also where that rounds nothing.
    seen = known[missing == 0]
    low, high = float(seen.min()), float(seen.max())
    step = (high - low) / 65535 or 1.0
    levels = np.rint(np.clip((known - low) / step, 0, 65535)).astype(np.uint16)
    made = cv2.inpaint(levels, missing, _INPAINT_RADIUS, method).reshape(known.shape)
    filled: NDArray[np.float32] = np.where(missing[..., np.newaxis], low + made * step, known).astype(np.float32)
    return filled
