"""How OpenCV is told to interpolate between pixels and beyond the border, and what it has to be spared."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.errors import OpError
from kaleidoscope.ops.base import Resampling, into
from kaleidoscope.ops.channels import by_groups
from kaleidoscope.ops.scratch import scratch
from kaleidoscope.record import Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

INTERPOLATION = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos4": cv2.INTER_LANCZOS4,
}
BORDER = {
    "constant": cv2.BORDER_CONSTANT,
    "replicate": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT,
    "wrap": cv2.BORDER_WRAP,
    "reflect_101": cv2.BORDER_REFLECT_101,
}
#: ``cv2.remap``, which warps go through, keeps coordinates in 16 bits.
MAX_SIDE = 32767
#: Channels.
RGB = 3


def interpolate(
    step: Callable[..., NDArray[Any]], src: NDArray[Any], out: NDArray[Any], resampling: Resampling
) -> None:
    """Fill `out` by a call of OpenCV that takes each pixel from somewhere in `src`.

    Parameters
    ----------
    step : callable
        ``step(some of src, dst=some of out, flags=..., borderMode=..., borderValue=...)`` returns what OpenCV returned.
    src : ndarray of shape (H, W, C)
    out : ndarray of shape (H', W', C)
    resampling : Resampling

    Raises
    ------
    OpError
        If `src` is larger than OpenCV can take.
    """
    if max(src.shape[:2]) > MAX_SIDE:
        raise OpError(f"OpenCV warps images of at most {MAX_SIDE} pixels a side, got {Frame.of(src)}")
    if resampling.border_mode == "reflect_101":
        # OpenCV 5.0 looks for ever for the mirror image of a single row, by cubic interpolation. Two that are alike do.
        for axis in (0, 1):
            src = np.repeat(src, 2, axis=axis) if src.shape[axis] == 1 else src
    channels = src.shape[2]
    fill = resampling.fill if isinstance(resampling.fill, tuple) else (resampling.fill,) * channels

    def some_by_step(some: NDArray[Any], made: NDArray[Any] | None, which: slice) -> NDArray[Any]:
        return step(
            some,
            dst=made,
            flags=INTERPOLATION[resampling.interpolation],
            borderMode=BORDER[resampling.border_mode],
            borderValue=fill[which],
        )

    if channels == RGB and resampling.interpolation == "linear" and out.dtype != np.float32:
        # OpenCV 5.0 interpolates four channels in half the time of three, to the same values.
        wanted, given = ((*pixels.shape[:2], channels + 1) for pixels in (out, src))
        four = cv2.cvtColor(src, cv2.COLOR_RGB2RGBA, dst=scratch("source", given, src.dtype))
        made = some_by_step(four, scratch("outcome", wanted, out.dtype), np.s_[:])
        into(out, cv2.cvtColor(made, cv2.COLOR_RGBA2RGB, dst=out))
        return

    by_groups(some_by_step, src, out)
    if out.dtype == np.float32 and resampling.interpolation in {"cubic", "lanczos4"}:
        # They overshoot at edges, which integers saturate by themselves; normalized pixels keep their own range.
        np.clip(out, min(0.0, src.min()), max(1.0, src.max()), out=out)
