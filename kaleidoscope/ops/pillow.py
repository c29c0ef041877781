"""Two ops as Pillow does them, which the policies of automatic augmentation were made of; not in the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.ops.base import Op, Params, into, op
from kaleidoscope.ops.channels import colour_count
from kaleidoscope.ops.levels import keep_alpha
from kaleidoscope.ops.tables import look_up
from kaleidoscope.record import max_value_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


@op
class Sharpness(Op):
    """Blend with a smoothed image: ``out = factor * pixel + (1 - factor) * smooth``, clipped.

    Smooth are weighted means of the 3 x 3 pixels around, a 13th each and five of the pixel itself; the outermost pixels
    stay (``ImageEnhance.Sharpness``). Up to four channels; of four the last is alpha, and stays.
    """

    short_name = "sharpness"

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), sharper by ``factor`` above 1, smoother below."""
        smooth = 1 - params["factor"]
        src = np.ascontiguousarray(src)
        if min(src.shape[:2]) > 2:
            # Of the 13ths 9 are a mean of 3 x 3 pixels, which OpenCV has in a fifth of the time of a filter.
            mean = cv2.blur(src, (3, 3)).reshape(len(src), -1)
            plain, filled = src.reshape(len(src), -1), out.reshape(len(out), -1)
            into(filled, cv2.addWeighted(plain, 1 - smooth * 9 / 13, mean, smooth * 9 / 13, 0.0, dst=filled))
            out[[0, -1]], out[:, [0, -1]] = src[[0, -1]], src[:, [0, -1]]
        else:
            np.copyto(out, src)
        if out.dtype == np.float32:
            np.clip(out, 0, 1, out=out)
        keep_alpha(src, out)


@op
class PillowEqualize(Op):
    """Spread the tones of each channel so that each part of the range is used as often as any other.

    ``out = (below + step // 2) // step``, where `below` is how many pixels of the channel have a lower value and
    ``step = (total - those of the brightest value) // max_value`` (``ImageOps.equalize``). `Equalize` of mode
    ``pil`` counts the pixel's own value too, as Albumentations does. ``float32`` is taken in 256 steps, and so is
    ``uint16``: with 65,536 of them most images have fewer pixels than values, and would stay. Of four channels the
    last is alpha, and stays.
    """

    short_name = "pilequalize"

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), its tones spread."""
        most = max_value_of(src)
        pixels = np.ascontiguousarray(src)
        if src.dtype != np.uint8:
            pixels = np.rint(pixels * np.float32(255 / most)).astype(np.uint8)
        tables = np.tile(np.arange(256), (src.shape[2], 1))
        for channel in range(colour_count(src.shape[2])):
            counts = cv2.calcHist([pixels], [channel], None, [256], (0, 256)).ravel().astype(np.int64)
            step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
            if step:
                tables[channel] = np.minimum((np.cumsum(counts) - counts + step // 2) // step, 255)
        if src.dtype == np.uint8:
            look_up(pixels, tables.astype(np.uint8), out)
        else:
            look_up(pixels, (tables * (most / 255)).astype(out.dtype), out)
        keep_alpha(src, out)
