"""One value for another: each pixel's by a table where there are few values, by computing where there are many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import stringzilla as sz

from kaleidoscope.ops.base import into
from kaleidoscope.ops.channels import split
from kaleidoscope.record import max_value_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What makes of values in [0, 1] others; they are clipped to [0, 1] afterwards.
Curve = Callable[[Any], Any]
#: Values computed at a time: they and what is made on the way stay in the processor's cache.
_BAND = 2**16


def look_up(src: NDArray[Any], table: NDArray[Any], out: NDArray[Any]) -> None:
    """Fill `out`, shape (H, W, C), with what a table says of each value of `src`, ``uint8`` or ``uint16``.

    Parameters
    ----------
    src : ndarray of shape (H, W, C)
    table : ndarray of shape (levels,) or (C, levels)
        One for all channels or one for each; `levels` is 256 or 65,536.
    out : ndarray of shape (H, W, C), dtype of the table

    Examples
    --------
    >>> src, out = np.array([[[1, 2]]], "uint8"), np.empty((1, 1, 2), "uint8")
    >>> look_up(src, np.arange(256, dtype="uint8")[::-1].copy(), out)
    >>> out.tolist()
    [[[254, 253]]]
    """
    src = np.ascontiguousarray(src)
    channels = src.shape[2]
    if table.ndim == 1 and src.dtype == table.dtype == np.uint8 and out.flags.c_contiguous:
        # 0.03 ms for 512 x 512 x 3, where cv2.LUT takes 0.2.
        sz.translate(src.reshape(-1).data, table.data, out=out.reshape(-1).data)
    elif table.ndim == 1:
        # As rows of plain numbers: OpenCV is twice as fast with one channel, and refuses more than 128.
        filled = out.reshape(len(out), -1)
        into(filled, cv2.LUT(src.reshape(len(src), -1), table, dst=filled))
    elif channels <= 4 and src.dtype == table.dtype == np.uint8:
        planes = split(src)
        for plane, row in zip(planes, table, strict=True):
            look_up_in_place(plane, row)
        into(out, cv2.merge(planes, dst=out))
    else:
        for channel in range(channels):
            plane = np.ascontiguousarray(src[..., channel])
            out[..., channel] = cv2.LUT(plane, np.ascontiguousarray(table[channel]))


def look_up_in_place(plane: NDArray[Any], table: NDArray[Any]) -> None:
    """Put what a table says in place of each value of one channel, ``uint8`` or ``uint16``, shape (H, W), contiguous.

    Examples
    --------
    >>> plane = np.array([[1, 2]], "uint8")
    >>> look_up_in_place(plane, np.arange(256, dtype="uint8")[::-1])
    >>> plane.tolist()
    [[254, 253]]
    """
    table = np.ascontiguousarray(table)
    if plane.dtype == np.uint8:
        sz.translate(plane.reshape(-1).data, table.data, inplace=True)
    else:
        into(plane, cv2.LUT(plane, table, dst=plane))


def by_curve(src: NDArray[Any], curve: Curve, out: NDArray[Any]) -> None:
    """Fill `out` with ``clip(curve(src))``, both scaled to [0, 1]; whole numbers are rounded to the nearest.

    Examples
    --------
    >>> src, out = np.array([[[51], [255]]], "uint8"), np.empty((1, 2, 1), "uint8")
    >>> by_curve(src, lambda values: values**2, out)
    >>> out.ravel().tolist()  # 51 / 255 is 0.2
    [10, 255]
    """
    if src.dtype == np.float32:
        pixels, filled = np.ascontiguousarray(src).reshape(-1), out.reshape(-1)
        for start in range(0, pixels.size, _BAND):
            part = slice(start, start + _BAND)
            np.clip(curve(pixels[part]), 0, 1, out=filled[part])
    else:
        look_up(src, table_of(curve, src), out)


def by_curves(src: NDArray[Any], curves: Sequence[Curve], out: NDArray[Any]) -> None:
    """Fill the first channels of `out` by a curve for each; further ones (alpha) are copied."""
    if src.dtype == np.float32:
        np.copyto(out, src)
        for channel, curve in enumerate(curves):
            plane = np.ascontiguousarray(src[..., channel : channel + 1])
            made = np.empty_like(plane)
            by_curve(plane, curve, made)
            out[..., channel : channel + 1] = made
    else:
        tables = [table_of(curve, src) for curve in curves]
        tables += [np.arange(len(tables[0])).astype(src.dtype)] * (src.shape[2] - len(tables))
        look_up(src, np.stack(tables), out)


def table_of(curve: Curve, src: NDArray[Any]) -> NDArray[Any]:
    """Return what a curve makes of each value that the whole-number type of `src` has, in that type."""
    most = int(max_value_of(src))
    values = np.minimum(np.maximum(curve(_levels(most)), 0.0), 1.0)  # np.clip takes three times as long for 256
    made: NDArray[Any] = np.rint(values * most).astype(src.dtype)
    return made


@cache
def _levels(most: int) -> NDArray[np.float64]:
    """Return the values of a whole-number type, scaled to [0, 1], read-only."""
    levels = np.arange(most + 1) / most
    levels.flags.writeable = False
    return levels


def shift_channels(src: NDArray[Any], shifts: Sequence[float], out: NDArray[Any]) -> None:
    """Fill `out` with ``clip(src + shift)``, a shift for each channel in fractions of the largest value.

    Examples
    --------
    >>> src, out = np.array([[[50, 50, 250]]], "uint8"), np.empty((1, 1, 3), "uint8")
    >>> shift_channels(src, [0.1, -0.4, 0.1], out)
    >>> out.tolist()  # by 26, -102 and 26
    [[[76, 0, 255]]]
    """
    most, width = max_value_of(src), src.shape[1]
    # As rows of plain numbers, with a row of shifts: over the few channels of a pixel NumPy is slow.
    plain, filled = np.ascontiguousarray(src).reshape(len(src), -1), out.reshape(len(out), -1)
    if src.dtype == np.float32:
        np.add(plain, np.tile(np.array(shifts, np.float32), width), out=filled)
        np.clip(filled, 0, 1, out=filled)
        return
    # Clipped first, to what stays in range, the sum may wrap around: 0.08 ms for 512 x 512 x 3, and 0.18 by cv2.add.
    levels = np.rint(np.clip(shifts, -1, 1) * most).astype(np.int64)
    least, greatest, steps = (
        np.tile(row.astype(src.dtype), width)
        for row in (np.maximum(0, -levels), np.minimum(most, most - levels), levels)
    )
    np.minimum(plain, greatest, out=filled)
    np.maximum(filled, least, out=filled)
    np.add(filled, steps, out=filled)
