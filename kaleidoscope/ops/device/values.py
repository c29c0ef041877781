"""Values of batches: as numbers to compute with, and as pixels again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kaleidoscope.record import MAX_VALUE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from kaleidoscope.ops.base import Params

#: Pixels as NumPy and as torch call them.
DTYPES = {"uint8": torch.uint8, "uint16": torch.uint16, "float32": torch.float32}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
#: Of so many channels the last is alpha.
RGBA = 4


def max_value_of(batch: Tensor) -> float:
    """Return the largest value that pixels of this type have: 255, 65535 or 1.0."""
    return MAX_VALUE[NAMES[batch.dtype]]


def is_whole(batch: Tensor) -> bool:
    """Whether its pixels are whole numbers."""
    return batch.dtype != torch.float32


def movable(batch: Tensor) -> Tensor:
    """Return the same memory as a type that can be indexed, flipped and put together: torch knows little of uint16."""
    return batch.view(torch.int16) if batch.dtype == torch.uint16 else batch


def moved_back(moved: Tensor, batch: Tensor) -> Tensor:
    """Return what was made of `movable(batch)` as the type that it was."""
    return moved.view(batch.dtype)


def moved(batch: Tensor, move: Callable[[Tensor], Tensor]) -> Tensor:
    """Return what a function makes of a batch that puts pixels elsewhere and computes nothing."""
    return move(movable(batch)).contiguous().view(batch.dtype)


def as_whole(batch: Tensor) -> Tensor:
    """Return whole-number pixels as ``int32``."""
    if batch.dtype == torch.uint16:
        return batch.view(torch.int16).to(torch.int32) & 0xFFFF
    return batch.to(torch.int32)


def as_float(batch: Tensor) -> Tensor:
    """Return the pixels as ``float32``, in their own range; of ``float32`` the same tensor."""
    if batch.dtype == torch.uint16:
        return as_whole(batch).to(torch.float32)
    return batch.to(torch.float32)


def as_pixels(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return values as pixels: rounded to the nearest, half to the even one, and clipped to the range of the type.

    Values of ``float32`` stay as they are.
    """
    if dtype == torch.float32:
        return values.to(torch.float32)
    whole = values.round().clamp(0, MAX_VALUE[NAMES[dtype]])
    if dtype == torch.uint16:
        return whole.to(torch.int32).to(torch.int16).view(torch.uint16)
    return whole.to(dtype)


def clipped(values: Tensor, batch: Tensor) -> Tensor:
    """Return values as pixels of the type of `batch`, ``float32`` clipped to [0, 1]."""
    return values.clamp(0, 1) if batch.dtype == torch.float32 else as_pixels(values, batch.dtype)


def kept_in_range(values: Tensor, batch: Tensor) -> Tensor:
    """Return means as pixels of the type of `batch`: ``float32`` clipped to [0, 1], or to the range that it had."""
    if batch.dtype != torch.float32:
        return as_pixels(values, batch.dtype)
    least = batch.amin(dim=(1, 2, 3), keepdim=True).clamp(max=0)
    return torch.minimum(torch.maximum(values, least), batch.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1))


def with_alpha_of(batch: Tensor, made: Tensor) -> Tensor:
    """Return `made`, of four channels with the last one of `batch`; of another number as it is."""
    if batch.shape[1] != RGBA:
        return made
    return moved(batch, lambda pixels: torch.cat([movable(made)[:, :3], pixels[:, 3:]], dim=1))


def colours_of(batch: Tensor) -> Tensor:
    """Return the channels that are colours: all but the fourth of four, alpha."""
    return batch[:, :3] if batch.shape[1] == RGBA else batch


def column(batch: Tensor, values: Sequence[float] | NDArray[Any]) -> Tensor:
    """Return a number for each image, to be computed with the batch: shape (N, 1, 1, 1), ``float32``."""
    return sent(batch, np.asarray(values, np.float32)).view(-1, 1, 1, 1)


def drawn(batch: Tensor, params: Sequence[Params], name: str) -> Tensor:
    """Return what each image drew under a name: shape (N, 1, 1, 1), ``float32``."""
    return column(batch, [each[name] for each in params])


def sent(batch: Tensor, values: NDArray[Any]) -> Tensor:
    """Return an array as a tensor where the batch is."""
    return torch.tensor(np.ascontiguousarray(values), device=batch.device)


def one_by_one(batch: Tensor, make: Callable[[int, Tensor], Tensor]) -> Tensor:
    """Return what a function makes of each image, shape (1, C, H, W), by its number.

    For what differs in kind from image to image, and for sums: how a device adds depends on how much it is given, and
    an image's outcome must not depend on those beside it.
    """
    return torch.cat([movable(make(place, batch[place : place + 1])) for place in range(len(batch))])
