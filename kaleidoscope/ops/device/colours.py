"""Ops on colours, in which the channels of a pixel meet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kaleidoscope.ops.device import values
from kaleidoscope.ops.device.values import RGBA, as_float, clipped, column, drawn, max_value_of, with_alpha_of
from kaleidoscope.ops.tints import LUMA, SEPIA, STEPS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from kaleidoscope.ops.base import Op, Params
    from kaleidoscope.ops.channel_ops import ToGray
    from kaleidoscope.ops.tints import PlanckianJitter

GREY, RGB = 1, 3
#: Bits behind the point of OpenCV's 8-bit conversion to hue and saturation.
_BITS = 12
#: And of its weights of red, green and blue.
_MIXTURE_BITS = 10


# ---- hue, saturation, value


def hue_saturation_value(op: Op, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Shift hue, saturation and value."""
    if batch.shape[1] == GREY:
        shifts = column(batch, [each["val_shift"] / 255 * max_value_of(batch) for each in params])
        return clipped(as_float(batch) + shifts, batch)
    hues, saturations, brightness = (drawn(batch, params, f"{name}_shift")[:, 0] for name in ("hue", "sat", "val"))
    made = shifted_hsv(batch, hues, saturations, brightness)
    still = [not any(each[f"{name}_shift"] for name in ("hue", "sat", "val")) for each in params]
    if any(still):  # without a shift pixels are copied, and not taken there and back
        keep = values.sent(batch, np.array(still)).view(-1, 1, 1, 1)
        made = torch.where(keep, values.movable(batch), values.movable(made)).view(batch.dtype)
    return with_alpha_of(batch, made)


def shifted_hsv(batch: Tensor, hue: Tensor, sat: Tensor, val: Tensor) -> Tensor:
    """Return the formula of `HueSaturationValue`, shifts of shape (N, 1, 1); alpha is that of the batch."""
    if batch.dtype == torch.uint8:
        hues, saturations, brightness = _hsv_8bit(batch, 256)
        steps = (((hues / 256 + hue / 180) % 1) * 255).round() % 255
        colours = _saturated(saturations, sat / 255, 255)
        lights = (brightness + val).round().clamp(0, 255)
        made = _rgb(steps * (6 / 255), colours / 255, lights / 255)
    else:
        turned, saturations, brightness = _hsv(as_float(batch[:, :RGB]) / max_value_of(batch))
        turned = (turned + (2 * hue % 360) / 60) % 6
        made = _rgb(turned, _saturated(saturations, sat / 255, 1), (brightness + val / 255).clamp(0, 1))
    return _with_rest(batch, clipped(made * max_value_of(batch), batch))


def _saturated(saturations: Tensor, shift: Tensor, most: float) -> Tensor:
    """Return saturations shifted, in whole steps if there are many of them; grey stays grey."""
    made = saturations + shift * most
    made = (made.round() if most > 1 else made).clamp(0, most)
    return torch.where(saturations == 0, 0.0, made)


def _with_rest(batch: Tensor, colours: Tensor) -> Tensor:
    """Return colours, and what channels the batch has beside them."""
    rest = batch[:, RGB:]
    if not rest.shape[1]:
        return colours
    return torch.cat([values.movable(colours), values.movable(rest)], dim=1).view(batch.dtype)


def _hsv_8bit(batch: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return hue in so many steps, saturation and value in 255, as OpenCV counts them in whole numbers."""
    red, green, blue = (plane.to(torch.int32) for plane in batch[:, :RGB].unbind(1))
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    levels = np.arange(1, 256)
    by_value, by_spread = (
        values.sent(batch, np.concatenate([[0], np.rint((whole << _BITS) / (parts * levels))]).astype(np.int32))
        for whole, parts in ((255, 1.0), (steps, 6.0))
    )
    saturation = (spread * by_value.index_select(0, value.view(-1)).view(value.shape) + (1 << _BITS - 1)) >> _BITS
    around = torch.where(
        value == red, green - blue, torch.where(value == green, blue - red + 2 * spread, red - green + 4 * spread)
    )
    hue = (around * by_spread.index_select(0, spread.view(-1)).view(value.shape) + (1 << _BITS - 1)) >> _BITS
    return torch.where(hue < 0, hue + steps, hue), saturation, value


def _hsv(colours: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return hue in sixths of the circle, saturation and value of RGB in [0, 1], shape (N, 3, H, W)."""
    red, green, blue = colours.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    tiny = torch.finfo(torch.float32).eps
    part = 1 / (spread + tiny)
    around = torch.where(
        value == red,
        (green - blue) * part,
        torch.where(value == green, (blue - red) * part + 2, (red - green) * part + 4),
    )
    return torch.where(around < 0, around + 6, around), spread / (value.abs() + tiny), value


def _rgb(sixths: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Return RGB, shape (N, 3, H, W), of hue in sixths of the circle and of saturation and value in [0, 1]."""
    floor = sixths.floor()
    part, sector = sixths - floor, floor % 6
    chroma = value * saturation
    least, falling, rising = value - chroma, value - chroma * part, value - chroma * (1 - part)
    around = (value, falling, least, least, rising, value)  # red, sector by sector; the others come later
    made = []
    for turned in (0, 4, 2):
        colour = around[turned]
        for place in range(1, 6):
            colour = torch.where(sector == place, around[(place + turned) % 6], colour)
        made.append(colour)
    return torch.stack(made, dim=1)


# ---- mixtures


def mixed(batch: Tensor, matrices: NDArray[Any]) -> Tensor:
    """Return ``clip(matrix @ pixel)`` of RGB or RGBA, the matrices (N, 3, 3) or one for all; alpha as it is."""
    every = np.broadcast_to(matrices, (len(batch), RGB, RGB))
    if batch.dtype == torch.uint8 and batch.shape[1] == RGB and np.any(every * (1 - np.eye(RGB))):
        # OpenCV's way with 8 bits: the level by which a float differs is 17 degrees of hue where it is dark.
        weights = values.sent(batch, np.rint(every * 2**_MIXTURE_BITS).astype(np.int32))
        made = _products(weights, values.as_whole(batch))
        return ((made + (1 << _MIXTURE_BITS - 1)) >> _MIXTURE_BITS).clamp(0, 255).to(torch.uint8)
    made = _products(values.sent(batch, every.astype(np.float32)), as_float(batch[:, :RGB]))
    return _with_rest(batch, clipped(made, batch))


def _products(matrices: Tensor, colours: Tensor) -> Tensor:
    """Return ``matrix @ pixel``, both whole numbers or both floats."""
    red, green, blue = colours.unbind(1)
    made = []
    for row in matrices.unbind(1):
        weights = row[:, :, None, None].unbind(1)
        made.append(weights[0] * red + weights[1] * green + weights[2] * blue)
    return torch.stack(made, dim=1)


def sepia(op: Op, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Tint like an old photograph."""
    return batch.clone() if batch.shape[1] == GREY else mixed(batch, SEPIA)


def planckian(op: PlanckianJitter, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Light as by a temperature."""
    return mixed(batch, np.stack([np.diag(op.light(each)) for each in params]))


def jitter(op: Op, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Change brightness, contrast, saturation and hue, each image in its own order."""
    return values.one_by_one(batch, lambda place, image: _jittered(image, params[place])).view(batch.dtype)


def _jittered(image: Tensor, params: Params) -> Tensor:
    made = image
    for name in (STEPS[place] for place in params["order"]):
        factor = params[name]
        if factor == (0 if name == "hue" else 1) or (image.shape[1] == GREY and name in ("saturation", "hue")):
            continue
        if name == "brightness":
            made = clipped(as_float(made) * factor, made)
        elif name == "contrast":
            made = clipped(as_float(made) * factor + (1 - factor) * _mean_luma(made), made)
        elif name == "saturation":
            made = mixed(made, factor * np.eye(RGB) + (1 - factor) * np.tile(LUMA, (RGB, 1)))
        else:
            made = _turned(made, factor)
    return with_alpha_of(image, made)


def _mean_luma(image: Tensor) -> float:
    """Return the mean luma of one image, shape (1, C, H, W), or of grey its mean."""
    means = as_float(image[0]).mean(dim=(1, 2), dtype=torch.float64).tolist()
    return means[0] if image.shape[1] == GREY else float(np.dot(means[:RGB], LUMA))


def _turned(image: Tensor, turns: float) -> Tensor:
    """Return RGB or RGBA turned on the colour circle."""
    none = column(image, [0.0])[:, 0]
    if image.dtype != torch.uint8:
        return shifted_hsv(image, none + turns * 180, none, none)
    hues, saturations, brightness = _hsv_8bit(image, 180)
    hues = (hues + math.floor(turns * 180)) % 180
    # With 180 steps, unlike with 256, OpenCV cuts fractions off, but for what is left of a row after its blocks.
    cut = (_rgb(hues * (6 / 180), saturations * (1 / 255), brightness * (1 / 255)) * 255).floor()
    return _with_rest(image, clipped(cut, image))


def grey(op: ToGray, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Make one value of a pixel's colours, and as many equal channels of it as wanted."""
    colours = as_float(values.colours_of(batch))
    if batch.shape[1] == GREY:
        made = colours
    elif op.method == "weighted_average":
        made = sum(weight * colours[:, place, None] for place, weight in enumerate(LUMA))  # type: ignore[assignment]
    elif op.method == "average":
        made = colours.sum(dim=1, keepdim=True) / colours.shape[1]
    else:
        made = colours.amax(dim=1, keepdim=True)
        if op.method == "desaturation":
            made = (made + colours.amin(dim=1, keepdim=True)) / 2
    count = batch.shape[1] if batch.shape[1] == RGBA else op.num_output_channels
    pixels = values.as_pixels(made, batch.dtype)
    made = values.moved(pixels, lambda plane: plane.expand(-1, count, -1, -1))
    return with_alpha_of(batch, made) if batch.shape[1] == RGBA else made
