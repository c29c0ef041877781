"""What lies beyond the border of a batch: rows and columns taken once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kaleidoscope.ops.device.values import movable, moved, sent

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def mirrored(places: NDArray[Any], length: int, border_mode: str) -> NDArray[Any]:
    """Return which pixel of a row stands for each place, as ``cv2.borderInterpolate`` has it; not for ``constant``.

    Examples
    --------
    >>> {mode: mirrored(np.arange(-2, 5), 3, mode).tolist() for mode in ("replicate", "reflect", "wrap")}
    {'replicate': [0, 0, 0, 1, 2, 2, 2], 'reflect': [1, 0, 0, 1, 2, 2, 1], 'wrap': [1, 2, 0, 1, 2, 0, 1]}
    >>> mirrored(np.arange(-2, 5), 3, "reflect_101").tolist()
    [2, 1, 0, 1, 2, 1, 0]
    """
    made: NDArray[Any]
    if border_mode == "replicate" or length == 1:
        made = np.clip(places, 0, length - 1)
    elif border_mode == "wrap":
        made = np.mod(places, length)
    else:
        about_edges = border_mode == "reflect"
        period = 2 * length if about_edges else 2 * length - 2
        there = np.mod(places, period)
        made = np.minimum(there, period - about_edges - there)
    return made


def cut(
    batch: Tensor,
    left: int,
    top: int,
    width: int,
    height: int,
    border_mode: str = "constant",
    fill: float | tuple[float, ...] = 0.0,
) -> Tensor:
    """Return a window of a batch, shape (N, C, height, width), continued where it reaches beyond the border.

    Parameters
    ----------
    batch : Tensor of shape (N, C, H, W)
    left, top, width, height : int, pixels
    border_mode : {"constant", "replicate", "reflect", "wrap", "reflect_101"}
    fill : float or tuple of float, in the pixels' own range
        For ``constant``: one for all channels, or one for each.
    """
    rows_there, columns_there = batch.shape[2:]
    if min(left, top) >= 0 and left + width <= columns_there and top + height <= rows_there:
        return batch[:, :, top : top + height, left : left + width]
    if border_mode != "constant":
        rows = sent(batch, mirrored(np.arange(top, top + height), rows_there, border_mode))
        columns = sent(batch, mirrored(np.arange(left, left + width), columns_there, border_mode))
        return moved(batch, lambda pixels: pixels.index_select(2, rows).index_select(3, columns))
    made = movable(batch).new_empty((len(batch), batch.shape[1], height, width))
    made[...] = fill_values(batch, fill).view(1, -1, 1, 1)
    (y1, y2), (x1, x2) = (
        (max(0, start), min(start + length, side))
        for start, length, side in ((top, height, rows_there), (left, width, columns_there))
    )
    if y1 < y2 and x1 < x2:
        made[:, :, y1 - top : y2 - top, x1 - left : x2 - left] = movable(batch)[:, :, y1:y2, x1:x2]
    return made.view(batch.dtype)


def surrounded(batch: Tensor, above: int, sideways: int, border_mode: str = "reflect_101") -> Tensor:
    """Return a batch continued beyond its border by so many pixels above and below, and to both sides."""
    height, width = batch.shape[2:]
    return cut(batch, -sideways, -above, width + 2 * sideways, height + 2 * above, border_mode)


def fill_values(batch: Tensor, fill: float | tuple[float, ...]) -> Tensor:
    """Return a colour as `movable` values, one or one for each channel: rounded where pixels are whole numbers."""
    value = np.atleast_1d(np.asarray(fill, np.float64))
    if batch.dtype == torch.float32:
        return sent(batch, value.astype(np.float32))
    name = np.uint8 if batch.dtype == torch.uint8 else np.uint16
    whole = np.rint(value).astype(name)
    return sent(batch, whole if whole.dtype == np.uint8 else whole.view(np.int16))
