"""What ops share that make an image of another size: how values are made, and of which part of the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, cast

import cv2
import numpy as np

from kaleidoscope.errors import RecipeError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Geometric, Params, Resampling
from kaleidoscope.ops.channels import by_groups
from kaleidoscope.record import Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CODES = {
    # Not INTER_NEAREST, which takes the pixel up to a whole output pixel to the left of and above the nearest.
    "nearest": cv2.INTER_NEAREST_EXACT,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos4": cv2.INTER_LANCZOS4,
}
#: Pixels that are left for a mean, across and down, of an image that is decoded at 1/4 or 1/8. With 1 to 2 of them new
#: pixels get parts of means that reach beyond them: 5 levels from the mean of the image itself on average, in a
#: photograph full of detail, and 2 with these. At 1/2 it is 1.6 at most.
_LEFT = 2


class Sized(Geometric):
    """Makes an image of another size; what remains to be said is which, and of which part of the source."""

    # Fields of the ops: a dataclass would put them before theirs.
    interpolation: str | int
    mask_interpolation: str | int
    area_for_downscale: str | None

    def _check_interpolation(self) -> None:
        """Check the fields that say how values are made, and store names instead of OpenCV's integers."""
        fields.interpolation(self)
        fields.interpolation(self, "mask_interpolation")
        if self.area_for_downscale is not None:
            fields.choice(self, "area_for_downscale", ("image", "image_mask"))

    def for_masks(self) -> Self:
        """Return the same size, interpolated by `mask_interpolation`."""
        area = "image" if self.area_for_downscale == "image_mask" else None
        made: Self = replace(cast("Any", self), interpolation=self.mask_interpolation, area_for_downscale=area)
        return made

    @property
    def resampling(self) -> Resampling:
        """How it interpolates; beyond the border the outermost pixels go on."""
        return Resampling(str(self.interpolation), "replicate")

    @property
    def fuses(self) -> bool:
        """Whether the op keeps the frame: no."""
        return False

    def _resize(self, src: NDArray[Any], out: NDArray[Any]) -> None:
        """Fill `out`, shape (H', W', C), with the whole of `src`, shape (H, W, C)."""
        resize_into(out, src, self.way(src.shape[:2], out.shape[:2]))

    def way(self, before: Sequence[int], after: Sequence[int]) -> str:
        """Return the name of the interpolation from a height and a width to others."""
        shrinks = after[0] < before[0] or after[1] < before[1]
        return "area" if shrinks and self.area_for_downscale else str(self.interpolation)


class WholeSized(Sized):
    """Makes an image of another size of the whole of it."""

    def _largest(self, frame: Frame) -> tuple[int, int]:
        """Return the most height and width that it may make of that frame."""
        raise RecipeError(f"{type(self).__name__} does not say how large its image is")

    def size_of(self, params: Params) -> tuple[int, int]:
        """Return the new height and width: those that were drawn."""
        return params["height"], params["width"]

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the frame of the new size."""
        height, width = self.size_of(params)
        return frame.of_size(height, width)

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the scaling, shape (3, 3): source to output, in pixels at pixel centres."""
        height, width = self.size_of(params)
        return scaling(width / frame.width, height / frame.height)

    def reduction(self, frame: Frame) -> int:
        """Return half of how much it shrinks, at least 2 where it does, if it takes means; 1 if it takes few pixels."""
        if self.interpolation != "area" and self.area_for_downscale is None:
            return 1
        height, width = self._largest(frame)
        shrinks = min(frame.height // height, frame.width // width)
        return max(1, min(shrinks, 2), shrinks // _LEFT)

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out`, shape (height, width, C), with the whole of `src`, shape (H, W, C)."""
        self._resize(src, out)


def scaling(across: float, down: float) -> NDArray[np.float64]:
    """Return the map that scales an image and leaves its edges edges, shape (3, 3), in pixels at pixel centres."""
    return np.array([[across, 0.0, across / 2 - 0.5], [0.0, down, down / 2 - 0.5], [0.0, 0.0, 1.0]])


def resize_into(out: NDArray[Any], src: NDArray[Any], interpolation: str) -> None:
    """Fill `out`, shape (H', W', C), with the whole of `src`, shape (H, W, C); interpolation by its name."""
    size, code = (out.shape[1], out.shape[0]), _CODES[interpolation]
    by_groups(lambda some, made, _: cv2.resize(some, size, dst=made, interpolation=code), src, out)
    if out.dtype == np.float32 and interpolation != "nearest":
        # Cubic and lanczos4 overshoot at edges, which integers saturate by themselves, and weights add up to 1
        # but for rounding; normalized pixels keep their own range.
        np.clip(out, min(0.0, src.min()), max(1.0, src.max()), out=out)
