"""Holes: rectangles of a batch that are filled with a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from kaleidoscope.ops.device.border import fill_values
from kaleidoscope.ops.device.values import moved, sent

if TYPE_CHECKING:
    from torch import Tensor

    from kaleidoscope.ops.base import Params
    from kaleidoscope.ops.holes import Occlusion


def fill_holes(op: Occlusion, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Fill the holes that each image drew."""
    covered = _covered(batch, [op.holes(each) for each in params])
    fill = fill_values(batch, op.fill).view(1, -1, 1, 1)  # type: ignore[arg-type]  # names of ways stay on the CPU
    return moved(batch, lambda pixels: torch.where(covered, fill, pixels))


def _covered(batch: Tensor, holes: Sequence[Sequence[Sequence[int]]]) -> Tensor:
    """Return which pixels lie in a hole, shape (N, 1, H, W).

    Each hole is four numbers at its corners, summed along rows and columns: a grid of a thousand holes takes as long as
    one.
    """
    _, _, height, width = batch.shape
    corners = []
    for place, mine in enumerate(holes):
        for left, top, right, bottom in mine:
            if left < right and top < bottom:
                corners += [(place, top, left, 1), (place, bottom, right, 1)]
                corners += [(place, top, right, -1), (place, bottom, left, -1)]
    counts = torch.zeros((len(batch), height + 1, width + 1), dtype=torch.int32, device=batch.device)
    if corners:
        image, row, across, step = sent(batch, np.array(corners)).unbind(1)
        counts.index_put_((image, row, across), step.to(torch.int32), accumulate=True)
    inside = counts.cumsum(1, dtype=torch.int32).cumsum(2, dtype=torch.int32)
    return inside[:, None, :height, :width] > 0
