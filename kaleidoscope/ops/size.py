"""Ops that make an image of another size out of the whole of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import cv2
import numpy as np

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Geometric, Params, Resampling, op
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


@op
class Resize(Geometric):
    """Make the image `height` x `width` pixels large, whatever its proportions.

    Edges stay edges, so the pixel centre at (x, y) of an image of W x H pixels moves to ::

        x' = (x + 0.5) * width / W - 0.5
        y' = (y + 0.5) * height / H - 0.5

    Any dtype and number of channels. Where it is the first op of an image, takes means (``area``) and halves both sides
    or more, a JPEG is decoded at 1/2, from 8 times on at 1/4, from 16 times on at 1/8, if its sides can be divided so:
    many times as fast, and on average within 2 levels of decoding it in full.

    Parameters
    ----------
    height, width : int, pixels
        The new size.
    interpolation : {"linear", "nearest", "cubic", "area", "lanczos4"}
        How values between pixels are made. OpenCV's integers are accepted. All but ``area``, the mean of what a new
        pixel covers, look at few pixels however much the image shrinks: fine patterns turn into coarse ones.
    area_for_downscale : {None, "image", "image_mask"}
        ``"image"``: take ``area`` wherever a side becomes shorter, and `interpolation` elsewhere. ``"image_mask"``: for
        masks, too.
    mask_interpolation : as interpolation
        The same for masks. All but ``nearest`` make values up.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> row = np.array([[[10], [20], [60], [70]]], dtype="uint8")
    >>> out = np.empty((1, 2, 1), dtype="uint8")
    >>> ops.Resize(height=1, width=2, area_for_downscale="image").kernel(row, {}, out)
    >>> out.ravel().tolist()
    [15, 65]
    """

    height: int
    width: int
    interpolation: str | int = "linear"
    area_for_downscale: str | None = None
    mask_interpolation: str | int = "nearest"

    short_name = "resize"

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        for name in ("height", "width"):
            fields.whole(self, name, low=1, expected="whole pixels, at least 1")
        fields.interpolation(self)
        fields.interpolation(self, "mask_interpolation")
        if self.area_for_downscale is not None:
            fields.choice(self, "area_for_downscale", ("image", "image_mask"))

    def for_masks(self) -> Self:
        """Return the same size, interpolated by `mask_interpolation`."""
        area = "image" if self.area_for_downscale == "image_mask" else None
        return replace(self, interpolation=self.mask_interpolation, area_for_downscale=area)

    @property
    def resampling(self) -> Resampling:
        """How it interpolates; beyond the border the outermost pixels go on."""
        return Resampling(str(self.interpolation), "replicate")

    @property
    def fuses(self) -> bool:
        """Whether the op keeps the frame: no."""
        return False

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the frame of the new size."""
        return replace(frame, height=self.height, width=self.width)

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the scaling, shape (3, 3): source to output, in pixels at pixel centres."""
        across, down = self.width / frame.width, self.height / frame.height
        return np.array([[across, 0.0, across / 2 - 0.5], [0.0, down, down / 2 - 0.5], [0.0, 0.0, 1.0]])

    def reduction(self, frame: Frame) -> int:
        """Return half of how much it shrinks, at least 2 where it does, if it takes means; 1 if it takes few pixels."""
        if self.interpolation != "area" and self.area_for_downscale is None:
            return 1
        shrinks = min(frame.height // self.height, frame.width // self.width)
        return max(1, min(shrinks, 2), shrinks // _LEFT)

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out`, shape (height, width, C), with the whole of `src`, shape (H, W, C)."""
        shrinks = self.height < src.shape[0] or self.width < src.shape[1]
        name = "area" if shrinks and self.area_for_downscale else str(self.interpolation)
        size, code = (self.width, self.height), _CODES[name]
        by_groups(lambda some, made, _: cv2.resize(some, size, dst=made, interpolation=code), src, out)
        if out.dtype == np.float32 and name != "nearest":
            # Cubic and lanczos4 overshoot at edges, which integers saturate by themselves, and weights add up to 1
            # but for rounding; normalized pixels keep their own range.
            np.clip(out, min(0.0, src.min()), max(1.0, src.max()), out=out)
