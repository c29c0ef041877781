"""Batches of another size: each new row and column is a weighted sum of old ones, as OpenCV weighs them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import torch

from kaleidoscope.ops.device.border import cut
from kaleidoscope.ops.device.values import as_float, as_pixels, kept_in_range, moved, one_by_one, sent

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from kaleidoscope.ops.base import Params
    from kaleidoscope.ops.sized import WholeSized


class Size(NamedTuple):
    """Height and width, in pixels."""

    height: int
    width: int


class Taps(NamedTuple):
    """What a side is made of: for each new pixel the places of old ones, and their weights; both (taps, new length)."""

    places: NDArray[np.int64]
    weights: NDArray[Any]


def whole(op: WholeSized, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Make an image of another size of the whole of it; all of a batch become equally large."""
    size = Size(*op.size_of(params[0]))
    return resized(batch, size, op.way(batch.shape[2:], size))


def part(op: Any, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Make an image of another size of a window of it."""

    def one(place: int, image: Tensor) -> Tensor:
        each = params[place]
        window = cut(image, each["left"], each["top"], each["width"], each["height"])
        size = Size(*op.size)
        return resized(window, size, op.way(window.shape[2:], size))

    return one_by_one(batch, one).view(batch.dtype)


def resized(batch: Tensor, size: Size, interpolation: str) -> Tensor:
    """Return a batch, shape (N, C, H, W), of another size; edges stay edges.

    Parameters
    ----------
    batch : Tensor of shape (N, C, H, W)
    size : Size
    interpolation : {"nearest", "linear", "cubic", "area", "lanczos4"}
    """
    before = Size(*batch.shape[2:])
    if interpolation == "area" and (size.height > before.height or size.width > before.width):
        interpolation = "enlarged area"
    down, across = (taps_of(old, new, interpolation) for old, new in zip(before, size, strict=True))
    if interpolation == "nearest":
        rows, columns = sent(batch, down.places[0]), sent(batch, across.places[0])
        return moved(batch, lambda pixels: pixels.index_select(2, rows).index_select(3, columns))
    made = as_float(batch)
    # First what shrinks more: the less there is to do afterwards.
    axes = (
        [(2, down), (3, across)]
        if size.height * before.width < size.width * before.height
        else [(3, across), (2, down)]
    )
    for axis, taps in axes:
        made = _along(made, axis, taps)
    return kept_in_range(made, batch) if batch.dtype == torch.float32 else as_pixels(made, batch.dtype)


def _along(pixels: Tensor, axis: int, taps: Taps) -> Tensor:
    total = None
    shape = [-1 if each == axis else 1 for each in range(4)]
    for places, weights in zip(taps.places, taps.weights, strict=True):
        some = pixels.index_select(axis, sent(pixels, places)) * sent(pixels, weights).view(shape)
        total = some if total is None else total.add_(some)
    return pixels if total is None else total


@lru_cache(maxsize=64)
def taps_of(old: int, new: int, interpolation: str) -> Taps:
    """Return what a side of `new` pixels is made of, of one of `old` pixels."""
    scale, places = old / new, np.arange(new)
    middle = (places + 0.5) * scale - 0.5
    if interpolation == "nearest":
        # OpenCV says it best: where two are equally near, which one it takes is no simple rule.
        numbers = np.arange(old, dtype=np.float32)[np.newaxis]
        nearest = cv2.resize(numbers, (new, 1), interpolation=cv2.INTER_NEAREST_EXACT)
        return Taps(nearest.astype(np.int64), np.ones((1, new), np.float32))
    if interpolation == "area":
        return _areas(old, scale, places)
    if interpolation == "enlarged area":  # OpenCV's: hard pixels, softened at their edges over a new one
        first = np.floor(places * scale)
        share = places + 1 - (first + 1) / scale
        share = np.where(share <= 0, 0, share - np.floor(share))
    else:
        first = np.floor(middle)
        share = middle - first
    weights = _WEIGHTS[interpolation](share)
    around = np.arange(len(weights)) - (len(weights) // 2 - 1)
    return Taps(np.clip(first + around[:, np.newaxis], 0, old - 1).astype(np.int64), weights.astype(np.float32))


def _areas(old: int, scale: float, places: NDArray[Any]) -> Taps:
    """Return the shares of old pixels that lie under each new one."""
    start, end = places * scale, (places + 1) * scale
    first = np.floor(start)
    under = first + np.arange(int(np.ceil(scale)) + 1)[:, np.newaxis]
    shares = np.clip(np.minimum(under + 1, end) - np.maximum(under, start), 0, None)
    return Taps(np.clip(under, 0, old - 1).astype(np.int64), (shares / shares.sum(axis=0)).astype(np.float32))


def _linear(share: NDArray[Any]) -> NDArray[Any]:
    return np.stack([1 - share, share])


def _cubic(share: NDArray[Any]) -> NDArray[Any]:
    """Return Keys' weights (1981) with a slope of -0.75, as OpenCV has them."""
    a = -0.75
    near, far = (np.stack([1 + share, share]), np.stack([1 - share, 2 - share]))
    outer = [((a * x - 5 * a) * x + 8 * a) * x - 4 * a for x in (near[0], far[1])]
    inner = [((a + 2) * x - (a + 3)) * x * x + 1 for x in (near[1], far[0])]
    return np.stack([outer[0], inner[0], inner[1], outer[1]])


def _lanczos(share: NDArray[Any]) -> NDArray[Any]:
    """Return the weights of a sinc in the window of another, four pixels wide to each side."""
    away = share + 3 - np.arange(8)[:, np.newaxis]
    weights = np.sinc(away) * np.sinc(away / 4)
    made: NDArray[Any] = weights / weights.sum(axis=0)
    return made


_WEIGHTS = {"linear": _linear, "enlarged area": _linear, "cubic": _cubic, "lanczos4": _lanczos}
