"""Ops that look at the pixels around each: sums of the batch, moved and weighted.

Not by torch's convolutions: which way they go, and so how they round, depends on the device and on how many images
there are; these sums are the same for one image and for a hundred.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from kaleidoscope.ops.device.border import surrounded
from kaleidoscope.ops.device.values import (
    as_float,
    clipped,
    drawn,
    kept_in_range,
    max_value_of,
    movable,
    one_by_one,
    sent,
    with_alpha_of,
)
from kaleidoscope.ops.lens import line_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from kaleidoscope.ops.base import Op, Params
    from kaleidoscope.ops.sharpen import Sharpen, UnsharpMask


def summed(pixels: Tensor, weights: NDArray[Any]) -> Tensor:
    """Return the weighted sums of the pixels around each.

    Beyond the border the image is mirrored about its outermost pixels (``reflect_101``).

    Parameters
    ----------
    pixels : Tensor of shape (N, C, H, W), ``float32``
    weights : ndarray of shape (N, rows, columns), both odd
        At row i and column j that of the pixel i - rows // 2 below and j - columns // 2 to the right.
    """
    height, width = pixels.shape[2:]
    rows, columns = weights.shape[1:]
    around = surrounded(pixels, rows // 2, columns // 2)
    each = sent(pixels, weights.astype(np.float32))[:, None, :, :, None, None]
    total = torch.zeros_like(pixels)
    for row, column in np.argwhere(weights.any(axis=0)).tolist():
        total.addcmul_(around[:, :, row : row + height, column : column + width], each[:, :, row, column])
    return total


def smoothed(pixels: Tensor, kernels: Sequence[NDArray[Any]]) -> Tensor:
    """Return ``float32`` pixels filtered along columns and rows, each image by its own odd kernel."""
    most = max(len(kernel) for kernel in kernels)
    weights = np.stack([np.pad(kernel.ravel(), (most - len(kernel)) // 2) for kernel in kernels])
    return summed(summed(pixels, weights[:, np.newaxis]), weights[..., np.newaxis])


def gaussian_blur(op: Op, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Convolve with a Gaussian."""
    return kept_in_range(smoothed(as_float(batch), [_gaussian(each) for each in params]), batch)


def _gaussian(params: Params) -> NDArray[Any]:
    if params["sigma"] == 0 or params["ksize"] == 1:
        return np.ones(1)
    return cv2.getGaussianKernel(params["ksize"], params["sigma"])


def box_blur(op: Op, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Take the mean of a square."""
    kernels = [np.full(each["ksize"], 1 / each["ksize"]) for each in params]
    return kept_in_range(smoothed(as_float(batch), kernels), batch)


def motion_blur(op: Op, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Take the mean over a line, its sum exact."""

    def smeared(place: int, image: Tensor) -> Tensor:
        reach, line = params[place]["ksize"] // 2, line_of(params[place])
        weights = np.zeros((1, 2 * reach + 1, 2 * reach + 1))
        for across, down in line:
            weights[0, down + reach, across + reach] = 1
        return kept_in_range(summed(as_float(image), weights) / len(line), image)

    return one_by_one(batch, smeared).view(batch.dtype)


def median_blur(op: Op, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Take the median of a square; beyond the border the outermost pixels go on."""

    def median(place: int, image: Tensor) -> Tensor:
        size = params[place]["ksize"]
        reach, (height, width) = size // 2, image.shape[2:]
        around = surrounded(as_float(image) if image.dtype == torch.uint16 else image, reach, reach, "replicate")
        square = [
            around[:, :, row : row + height, column : column + width] for row in range(size) for column in range(size)
        ]
        return clipped_as(torch.stack(square).median(dim=0).values, image)

    return one_by_one(batch, median).view(batch.dtype)


def clipped_as(pixels: Tensor, image: Tensor) -> Tensor:
    """Return some of the values of an image as its type, unchanged."""
    return pixels.to(torch.int32).to(torch.int16).view(torch.uint16) if image.dtype == torch.uint16 else pixels


def sharpen(op: Sharpen, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Add what sets a pixel apart from its neighbours."""
    pixels = as_float(batch)
    if op.method == "kernel":
        weights = np.stack([op.weights(each) for each in params])
        made = summed(pixels, weights)
    else:
        kernel = cv2.getGaussianKernel(op.kernel_size, op.sigma)
        alpha = drawn(batch, params, "alpha")
        made = (1 + alpha) * pixels - alpha * smoothed(pixels, [kernel] * len(batch))
    return with_alpha_of(batch, clipped(made, batch))


def sharpness(op: Op, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Blend with a smoothed image; the outermost pixels stay."""
    if min(batch.shape[2:]) <= 2:
        return batch.clone()
    middle = np.zeros((3, 3))
    middle[1, 1] = 1
    smooth = (1 + 4 * middle) / 13
    weights = np.stack([each["factor"] * middle + (1 - each["factor"]) * smooth for each in params])
    made = movable(clipped(summed(as_float(batch), weights), batch)).clone()
    for border in (np.s_[:, :, [0, -1]], np.s_[:, :, :, [0, -1]]):
        made[border] = movable(batch)[border]
    return with_alpha_of(batch, made.view(batch.dtype))


def emboss(op: Any, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Light as a relief."""
    made = summed(as_float(batch), np.stack([op.weights(each) for each in params]))
    return with_alpha_of(batch, clipped(made, batch))


def unsharp_mask(op: UnsharpMask, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Add differences to the smoothed image that are more than a threshold."""
    pixels, most = as_float(batch), max_value_of(batch)
    kernels = [cv2.getGaussianKernel(each["ksize"], each["sigma"]) for each in params]
    difference = pixels - smoothed(pixels, kernels)
    soft = smoothed((difference.abs() > op.threshold / 255 * most).to(torch.float32), kernels)
    sharp = (pixels + drawn(batch, params, "alpha") * difference).clamp(0, most)
    return with_alpha_of(batch, clipped(pixels + soft * (sharp - pixels), batch))
