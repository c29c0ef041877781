"""Batches moved by matrices: OpenCV's warps and permutations, as torch does them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import grid_sample

from kaleidoscope.ops.device.border import cut
from kaleidoscope.ops.device.values import as_float, as_pixels, kept_in_range, moved, sent

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from kaleidoscope.ops.base import Resampling
    from kaleidoscope.record import Frame

_MODES = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}
#: Of a border mode: what torch calls it, and whether it takes the outermost centres, or edges, for the ends. OpenCV's
#: ``reflect_101`` is torch's reflection about centres, ``reflect`` the one about edges.
_BORDERS = {
    "constant": ("zeros", False),
    "replicate": ("border", False),
    "reflect": ("reflection", False),
    "reflect_101": ("reflection", True),
}
#: Pixels beyond the border that cubic interpolation looks at.
_REACH = 2


def permuted(batch: Tensor, matrix: NDArray[np.float64]) -> Tensor:
    """Return a batch moved by one of the eight symmetries of a rectangle, shape (3, 3), source to output."""
    a, b, c, d = (round(factor) for factor in matrix[:2, :2].ravel().tolist())
    if b == c == 0:
        axes = [axis for axis, sign in ((2, d), (3, a)) if sign < 0]
        return moved(batch, lambda pixels: pixels.flip(axes)) if axes else batch
    axes = [axis for axis, sign in ((2, c), (3, b)) if sign < 0]
    return moved(batch, lambda pixels: pixels.transpose(2, 3).flip(axes))


def warped(batch: Tensor, matrices: Sequence[NDArray[np.float64]], resampling: Resampling, after: Frame) -> Tensor:
    """Return a batch moved by a matrix for each image, with one interpolation.

    Parameters
    ----------
    batch : Tensor of shape (N, C, H, W)
    matrices : sequence of ndarray of shape (3, 3)
        Source to output, in pixels with integers at pixel centres.
    resampling : Resampling
    after : Frame
        Of the outcome.
    """
    x, y = _places(batch, matrices, after)
    if resampling.interpolation == "nearest":
        x, y = (x + 0.5).floor(), (y + 0.5).floor()
    pixels, border_mode = as_float(batch), resampling.border_mode
    if border_mode == "wrap":
        # Once around, and from there on in the picture.
        height, width = batch.shape[2:]
        pixels = cut(pixels, -_REACH, -_REACH, width + 2 * _REACH, height + 2 * _REACH, "wrap")
        x, y = x % width + _REACH, y % height + _REACH
        border_mode = "replicate"
    padding, about_centres = _BORDERS[border_mode]
    height, width = pixels.shape[2:]
    if about_centres:  # torch divides by one less than there are
        pixels = cut(pixels, 0, 0, max(2, width), max(2, height), "replicate")
        height, width = pixels.shape[2:]
        grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
    else:
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    # Beyond the border torch has 0: there and back by the fill.
    filled = border_mode == "constant" and np.any(resampling.fill)
    fill = sent(pixels, np.broadcast_to(np.asarray(resampling.fill, np.float32), pixels.shape[1])).view(1, -1, 1, 1)
    made = grid_sample(
        pixels - fill if filled else pixels,
        grid,
        mode=_MODES[resampling.interpolation],
        padding_mode=padding,
        align_corners=about_centres,
    )
    made = made + fill if filled else made
    if resampling.interpolation == "cubic":
        return kept_in_range(made, batch)
    return as_pixels(made, batch.dtype)


def _places(batch: Tensor, matrices: Sequence[NDArray[np.float64]], after: Frame) -> tuple[Tensor, Tensor]:
    """Return where each pixel of the outcome comes from: x and y, each of shape (N, H', W')."""
    back = np.stack([np.linalg.inv(matrix) for matrix in matrices])
    x, y = np.arange(after.width), np.arange(after.height)[:, np.newaxis]
    if all((matrix[2] == (0, 0, 1)).all() for matrix in matrices):
        # A row and a column, added there: as float64 all of it would be the largest thing in the device's memory.
        rows, columns = back[:, :2, :1, None] * x, back[:, :2, 1:2, None] * y + back[:, :2, 2:, None]
        made = sent(batch, rows.astype(np.float32)) + sent(batch, columns.astype(np.float32))
        return made[:, 0], made[:, 1]
    factors = sent(batch, back).view(-1, 9, 1, 1).unbind(1)
    there = sent(batch, x.astype(np.float64)), sent(batch, y.astype(np.float64))
    across, down, depth = (
        factors[row] * there[0] + factors[row + 1] * there[1] + factors[row + 2] for row in (0, 3, 6)
    )
    depth = torch.where(depth == 0, 1.0, depth)  # OpenCV: what is at infinity comes from the corner
    return (across / depth).to(torch.float32), (down / depth).to(torch.float32)
