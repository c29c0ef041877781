"""Ops that make one value of another by how often each occurs in the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kaleidoscope.ops.device import values
from kaleidoscope.ops.device.tones import look_up
from kaleidoscope.ops.device.values import as_float, is_whole, max_value_of, with_alpha_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from kaleidoscope.ops.base import Params


def by_counts(op: Any, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Look each channel's values up in a table made of their counts; ``float32`` is taken in 65,536 steps."""
    if is_whole(batch):
        return look_up(batch, _tables(op, batch))
    steps = values.as_pixels(batch * 65535, torch.uint16)
    made = as_float(look_up(steps, _tables(op, steps))) * (1 / 65535)
    return with_alpha_of(batch, made.clamp(0, 1))


def by_counts_of_256(op: Any, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Do so for pixels taken in 256 steps, whatever their type."""
    if batch.dtype == torch.uint8:
        return look_up(batch, _tables(op, batch))
    most = max_value_of(batch)
    steps = values.as_pixels(as_float(batch) * (255 / most), torch.uint8)
    made = as_float(look_up(steps, _tables(op, steps))) * (most / 255)
    # From one of 256 steps to one of 65,536 the CPU cuts off; they are whole but for rounding.
    return with_alpha_of(batch, values.as_pixels(made, batch.dtype))


def _tables(op: Any, batch: Tensor) -> NDArray[Any]:
    """Return the tables of a batch of whole numbers, shape (N, C, levels); alpha stays."""
    images, channels = batch.shape[:2]
    levels, colours = int(max_value_of(batch)) + 1, values.colours_of(batch).shape[1]
    first = torch.arange(images * channels, dtype=torch.int32, device=batch.device).view(images, channels, 1, 1)
    places = (values.as_whole(batch) + levels * first).view(-1)
    found = torch.bincount(places, minlength=images * channels * levels).cpu().numpy()
    counts = found.reshape(images, channels, levels).astype(np.float64)
    tables = np.tile(np.arange(levels), (images, channels, 1)).astype(values.NAMES[batch.dtype])
    for image, channel in np.ndindex(images, colours):
        tables[image, channel] = op.table(counts[image, channel])
    return tables
