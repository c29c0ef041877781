"""Noise: the same that the CPU adds, from the same draws."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from kaleidoscope.ops import noise
from kaleidoscope.ops.device import tones, values
from kaleidoscope.ops.device.resize import Size, resized
from kaleidoscope.ops.device.values import RGBA, as_float, column, max_value_of, with_alpha_of

if TYPE_CHECKING:
    from torch import Tensor

    from kaleidoscope.ops.base import Params
    from kaleidoscope.ops.noise import GaussNoise
    from kaleidoscope.ops.speckle import MultiplicativeNoise, PixelDropout, SaltAndPepper


@lru_cache(maxsize=8)
def _table(device: torch.device, *, steps: bool) -> Tensor:
    """Return the CPU's table of standard normal values, as it is used for ``uint8`` or for others, on a device."""
    if not steps:
        return torch.tensor(noise.normal_table(), device=device)
    table, middle, unit = noise.normal_steps()
    return (torch.tensor(table, device=device).to(torch.float32) - middle) * unit


def _standard_normal(batch: Tensor, shape: tuple[int, int, int], seed: int, *, steps: bool) -> Tensor:
    """Return values of a shape (H, W, C), in the order in which the CPU reads them."""
    table = _table(batch.device, steps=steps)
    parts = noise.passages(shape[0] * shape[1] * shape[2], seed)
    read = [sign * table[first : first + part.stop - part.start] for part, first, sign in parts]
    return torch.cat(read).view(shape)


def gauss_noise(op: GaussNoise, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Add Gaussian noise."""
    height, width = batch.shape[2:]
    kinds = batch.shape[1] if op.per_channel else 1
    smaller = op.noise_scale_factor
    shape = (max(1, int(height * smaller)), max(1, int(width * smaller)), kinds)
    steps = batch.dtype == torch.uint8 and smaller == 1
    read = [_standard_normal(batch, shape, each["seed"], steps=steps).permute(2, 0, 1) for each in params]
    grain = torch.stack(read)
    if smaller != 1:
        grain = resized(grain, Size(height, width), "linear")
    most = max_value_of(batch)
    scales, shifts = (column(batch, [each[name] * most for each in params]) for name in ("std", "mean"))
    return with_alpha_of(batch, values.clipped(as_float(batch) + scales * grain + shifts, batch))


def multiplicative_noise(op: MultiplicativeNoise, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Multiply by drawn factors."""
    if not op.elementwise:
        return tones.multiply(op, batch, params)
    _, count, height, width = batch.shape
    kinds = count if op.per_channel else 1
    least, greatest = cast("tuple[float, float]", op.multiplier)
    bits = [op.factor_bits(each["seed"], height * width * kinds) for each in params]
    drawn_bits = torch.stack(
        [values.as_float(values.sent(batch, one.view(np.int16)).view(torch.uint16)) for one in bits]
    )
    factors = (drawn_bits * ((greatest - least) / 65535) + least).view(-1, height, width, kinds).permute(0, 3, 1, 2)
    return with_alpha_of(batch, values.clipped(as_float(batch) * factors, batch))


def salt_and_pepper(op: SaltAndPepper, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Make some pixels white and some black."""
    return _replaced(batch, [_grains(op, batch, each) for each in params])


def _grains(op: SaltAndPepper, batch: Tensor, params: Params) -> tuple[Any, Any]:
    _, count, height, width = batch.shape
    places, salt = op.places(height * width, params)
    colours = range(3 if count == RGBA else count)
    where = np.concatenate([places + channel * height * width for channel in colours])
    values_there = np.where(np.arange(len(places)) < salt, max_value_of(batch), 0.0)
    return where, np.tile(values_there, len(colours))


def pixel_dropout(op: PixelDropout, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Replace single pixels."""
    return _replaced(batch, [_dropped(op, batch, each) for each in params])


def _dropped(op: PixelDropout, batch: Tensor, params: Params) -> tuple[Any, Any]:
    _, count, height, width = batch.shape
    value = np.broadcast_to(params["value"] if op.drop_value is None else op.drop_value, count)
    places = op.places(height, width, count, params)
    if op.per_channel:  # counted channel by channel within a pixel
        pixel, channel = np.divmod(places, count)
        return channel * height * width + pixel, np.asarray(value)[channel]
    where = places + height * width * np.arange(count)[:, np.newaxis]
    return where.ravel(), np.repeat(value, len(places))


def _replaced(batch: Tensor, each: Sequence[tuple[Any, Any]]) -> Tensor:
    """Return a batch with new values at some places of each image, counted in (C, H, W)."""
    size = batch[0].numel()
    where = np.concatenate([places + place * size for place, (places, _) in enumerate(each)]).astype(np.int64)
    there = np.concatenate([value for _, value in each])
    name = values.NAMES[batch.dtype]
    pixels = (there if name == "float32" else np.rint(there)).astype(name)
    fresh = values.sent(batch, pixels.view(np.int16) if name == "uint16" else pixels)
    return values.moved(batch, lambda old: old.reshape(-1).index_copy(0, values.sent(batch, where), fresh)).view(
        batch.shape
    )
