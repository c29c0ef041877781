"""Ops that make one value of another, each channel by itself: whole numbers by the very tables of the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kaleidoscope.ops.device import values
from kaleidoscope.ops.device.values import column, drawn, is_whole, max_value_of, with_alpha_of
from kaleidoscope.ops.normalize import LEAST_SPREAD
from kaleidoscope.record import Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from kaleidoscope.ops.base import Op, Params
    from kaleidoscope.ops.colour import RandomBrightnessContrast
    from kaleidoscope.ops.depth import FromFloat
    from kaleidoscope.ops.levels import Posterize

#: What an op does to ``float32`` pixels, before they are clipped.
_Formula = Callable[["Tensor", Sequence["Params"]], "Tensor"]


def look_up(batch: Tensor, tables: NDArray[Any]) -> Tensor:
    """Return what tables say of each value of a batch of whole numbers.

    Parameters
    ----------
    batch : Tensor of shape (N, C, H, W)
    tables : ndarray of shape (N, C, levels)
        `levels` is 256 or 65,536.
    """
    narrow = tables.view(np.int16) if tables.dtype == np.uint16 else tables
    images, channels, levels = tables.shape
    first = torch.arange(images * channels, dtype=torch.int32, device=batch.device).view(images, channels, 1, 1)
    places = values.as_whole(batch) + levels * first
    made = values.sent(batch, narrow).view(-1).index_select(0, places.view(-1)).view(batch.shape)
    return made.view(torch.uint16) if tables.dtype == np.uint16 else made


def tables_of(op: Op, batch: Tensor, params: Sequence[Params]) -> NDArray[Any]:
    """Return what an op's own kernel makes of each value that pixels of this type have, shape (N, C, levels)."""
    channels, name = batch.shape[1], values.NAMES[batch.dtype]
    levels = int(max_value_of(batch)) + 1
    side = 256  # no row is longer than an image's
    ramp = np.arange(levels, dtype=name).reshape(-1, side, 1).repeat(channels, axis=2)
    made = []
    for each in params:
        out = np.empty(ramp.shape, op.out_frame(Frame.of(ramp), each).dtype)
        op.kernel(ramp, each, out)
        made.append(out.reshape(levels, channels).T)
    return np.stack(made)


def by_tables(op: Op, batch: Tensor, params: Sequence[Params], formula: _Formula) -> Tensor:
    """Return a batch by the CPU's tables if its pixels are whole numbers, by a formula if they are ``float32``."""
    if is_whole(batch):
        return look_up(batch, tables_of(op, batch, params))
    return with_alpha_of(batch, formula(batch, params).clamp(0, 1))


def gamma(op: Op, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Raise values to a power."""
    return by_tables(op, batch, params, lambda pixels, each: pixels ** drawn(pixels, each, "gamma"))


def solarize(op: Op, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Invert what is bright."""

    def formula(pixels: Tensor, each: Sequence[Params]) -> Tensor:
        return torch.where(pixels < drawn(pixels, each, "threshold"), pixels, 1 - pixels)

    return by_tables(op, batch, params, formula)


def invert(op: Op, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Make the negative."""
    return by_tables(op, batch, params, lambda pixels, _: 1 - pixels)


def posterize(op: Posterize, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Keep the first bits."""

    def formula(pixels: Tensor, each: Sequence[Params]) -> Tensor:
        colours = values.colours_of(pixels).shape[1]
        bits = [one["num_bits"] if isinstance(one["num_bits"], list) else [one["num_bits"]] * colours for one in each]
        shades = np.array([[256 >> bit for bit in row] + [1] * (pixels.shape[1] - colours) for row in bits], np.float32)
        step = values.sent(pixels, shades)[..., None, None]
        return ((pixels * 255).round() / step).floor() * (step / 255)

    return by_tables(op, batch, params, formula)


def tone_curve(op: Op, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Bend the line from black to white."""

    def formula(pixels: Tensor, each: Sequence[Params]) -> Tensor:
        colours = values.colours_of(pixels).shape[1]
        ends = np.array([[np.broadcast_to(one[name], colours) for name in ("low_y", "high_y")] for one in each])
        if colours < pixels.shape[1]:
            ends = np.pad(ends, [(0, 0), (0, 0), (0, 1)])  # alpha comes back afterwards
        low, high = (values.sent(pixels, ends[:, end].astype(np.float32))[..., None, None] for end in (0, 1))
        return pixels * (3 * low + pixels * (3 * high - 6 * low + pixels * (1 + 3 * low - 3 * high)))

    return by_tables(op, batch, params, formula)


def shift(op: Op, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Add to each colour."""

    def formula(pixels: Tensor, each: Sequence[Params]) -> Tensor:
        shifts = np.array([one["shift"] + [0.0] * (pixels.shape[1] - 3) for one in each], np.float32)
        return pixels + values.sent(pixels, shifts)[..., None, None]

    return by_tables(op, batch, params, formula)


def multiply(op: Any, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Multiply by factors, one for the image or one for each channel."""
    count = batch.shape[1]

    def formula(pixels: Tensor, each: Sequence[Params]) -> Tensor:
        factors = np.array([np.broadcast_to(one["factors"], count) for one in each], np.float32)
        return pixels * values.sent(pixels, factors)[..., None, None]

    return by_tables(op, batch, params, formula)


def drop_channels(op: Any, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Fill some channels."""
    if is_whole(batch):
        return look_up(batch, tables_of(op, batch, params))
    dropped = np.zeros(batch.shape[:2], bool)
    for place, each in enumerate(params):
        dropped[place, each["channels_to_drop"]] = True
    return batch.masked_fill(values.sent(batch, dropped)[..., None, None], op.fill)


def brightness(op: RandomBrightnessContrast, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Change contrast, then brightness."""
    if op.brightness_by_max and is_whole(batch):
        return look_up(batch, tables_of(op, batch, params))
    most = max_value_of(batch)
    lines = []
    for place, each in enumerate(params):
        unit = most if op.brightness_by_max else _mean(values.colours_of(batch)[place])
        lines.append(op.line(each, unit, most))
    slopes, shifts = zip(*lines, strict=True)
    made = values.as_float(batch) * column(batch, slopes) + column(batch, shifts)
    return with_alpha_of(batch, values.clipped(made, batch))


def _mean(image: Tensor) -> float:
    """Return the mean of all values of one image."""
    return float(values.as_float(image).mean(dtype=torch.float64))


def to_float(op: Op, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Make ``float32`` of whole numbers."""
    return look_up(batch, tables_of(op, batch, params)) if is_whole(batch) else batch.clone()


def from_float(op: FromFloat, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Make whole numbers of ``float32``."""
    dtype = values.DTYPES[op.dtype]
    most = 255.0 if dtype == torch.uint8 else 65535.0
    return values.as_pixels(batch * (most if op.max_value is None else op.max_value), dtype)


def normalize(op: Any, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Centre the colours, and measure them in units of their spread."""
    count, colours = batch.shape[1], values.colours_of(batch).shape[1]
    centres, spreads = np.zeros((len(batch), count)), np.full((len(batch), count), max_value_of(batch))
    for place in range(len(batch)):
        measured = _measured(op, values.colours_of(batch)[place])
        centres[place, :colours], spreads[place, :colours] = measured
    centre, spread = (values.sent(batch, each.astype(np.float32))[..., None, None] for each in (centres, 1 / spreads))
    return (values.as_float(batch) - centre) * spread


def _measured(op: Any, image: Tensor) -> tuple[Any, Any]:
    """Return centre and spread of the colours of one image, shape (C, H, W)."""
    most = max_value_of(image)
    if op.normalization == "standard":
        unit = most if op.max_pixel_value is None else op.max_pixel_value
        return np.multiply(op.mean, unit), np.multiply(op.std, unit)
    whole = op.normalization in ("image", "min_max")
    pixels = values.as_float(image).to(torch.float64)
    plain = pixels.reshape(1 if whole else len(pixels), -1)
    if op.normalization.startswith("image"):
        mean = plain.mean(dim=1)
        deviation = ((plain - mean[:, None]) ** 2).mean(dim=1).sqrt()
        return mean.cpu().numpy(), deviation.cpu().numpy() + LEAST_SPREAD
    least, greatest = plain.amin(dim=1).cpu().numpy(), plain.amax(dim=1).cpu().numpy()
    return least, np.where(greatest > least, greatest - least, 1.0)


def shuffle(op: Op, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Put channels in another order."""
    colours = values.colours_of(batch).shape[1]
    orders = np.array([each["channels_shuffled"] + list(range(colours, batch.shape[1])) for each in params])
    index = values.sent(batch, orders)[..., None, None].expand(batch.shape)
    return values.moved(batch, lambda pixels: pixels.gather(1, index))
