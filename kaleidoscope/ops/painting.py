"""What is painted into a picture: the colours of paint, the region it goes to, and veils of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Part, into
from kaleidoscope.ops.levels import keep_alpha
from kaleidoscope.record import max_value_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

GREY, RGB, RGBA = 1, 3, 4
#: What a field of that kind may be given as, once it is checked.
Colour = tuple[float, float, float]
Region = tuple[float, float, float, float]
#: What red, green and blue give to a grey (ITU-R BT.601, which ``cv2.cvtColor`` uses too).
_GREY_OF = (0.299, 0.587, 0.114)


def colour(part: Part, name: str) -> None:
    """Check a field that is a colour, and store it as a tuple of float.

    Raises
    ------
    RecipeError
        If it is not three numbers from 0 to 255.
    """
    given, expected = getattr(part, name), "red, green and blue, three numbers from 0 to 255"
    if not isinstance(given, list | tuple) or len(given) != RGB:
        raise fields.refuse(part, name, given, expected)
    fields.numbers(part, name, expected=expected, low=0)
    if max(getattr(part, name)) > 255:
        raise fields.refuse(part, name, given, expected)


def region(part: Part, name: str, *, empty: bool) -> None:
    """Check a field that is a part of the frame, and store it as a tuple of float.

    Parameters
    ----------
    part, name
        The part and its field.
    empty : bool
        Whether it may be a line or a point.

    Raises
    ------
    RecipeError
        If it is not (x_min, y_min, x_max, y_max) in fractions of the frame.
    """
    given, expected = getattr(part, name), "(x_min, y_min, x_max, y_max) in [0, 1], the least before the greatest"
    if not isinstance(given, list | tuple) or len(given) != 4:
        raise fields.refuse(part, name, given, expected)
    fields.numbers(part, name, expected=expected, low=0)
    left, top, right, bottom = getattr(part, name)
    ordered = (left <= right and top <= bottom) if empty else (left < right and top < bottom)
    if not ordered or max(right, bottom) > 1:
        raise fields.refuse(part, name, given, expected)


def in_range_of(pixels: NDArray[Any], paint: Colour) -> tuple[float, ...]:
    """Return a colour, in 255ths, as grey or RGB pixels of that kind have it.

    Examples
    --------
    >>> in_range_of(np.zeros((1, 1, 3), np.uint16), (255.0, 128.0, 0.0))
    (65535, 32896, 0)
    >>> in_range_of(np.zeros((1, 1, 1), np.uint8), (200.0, 200.0, 200.0))
    (200,)
    """
    if pixels.shape[2] == GREY:
        paint = (sum(share * value for share, value in zip(_GREY_OF, paint, strict=True)),)  # type: ignore[assignment]
    scaled = (value * max_value_of(pixels) / 255 for value in paint)
    return tuple(scaled if pixels.dtype == np.float32 else map(round, scaled))


def on_colours(paint: Callable[[NDArray[Any], NDArray[Any]], None], src: NDArray[Any], out: NDArray[Any]) -> None:
    """Fill `out` by ``paint(src, out)``, which is given grey or RGB, contiguous; of RGBA alpha stays as it is."""
    if src.shape[2] != RGBA:
        paint(np.ascontiguousarray(src), out)
        return
    colours = cv2.cvtColor(src, cv2.COLOR_RGBA2RGB)
    made = np.empty_like(colours)
    paint(colours, made)
    into(out, cv2.cvtColor(made, cv2.COLOR_RGB2RGBA, dst=out))
    keep_alpha(src, out)


def veil(src: NDArray[Any], seen: NDArray[Any], paint: tuple[float, ...], out: NDArray[Any]) -> None:
    """Fill `out` with ``seen * src + (1 - seen) * paint``.

    Parameters
    ----------
    src : ndarray of shape (H, W, 1) or (H, W, 3)
    seen : ndarray of shape (H, W), or that of `src`
        How much of the pixels is seen: ``uint8``, 255 for all of it, or ``float32``, 1 for all of it.
    paint : tuple of float
        A value for each channel, in the range of the pixels.
    out : ndarray
        It may be `src`.
    """
    if seen.ndim == 2 and src.shape[2] == RGB:
        seen = cv2.cvtColor(seen, cv2.COLOR_GRAY2RGB)
    seen = seen.reshape(src.shape)
    if src.dtype == np.uint8 and seen.dtype == np.uint8:
        table = np.rint(np.multiply.outer(np.arange(255, -1, -1) / 255, paint)).astype(np.uint8)
        light = cv2.bitwise_not(seen) if min(paint) == 255 else cv2.LUT(seen, table[None])
        into(out, cv2.multiply(src, seen, dst=out, scale=1 / 255))
        into(out, cv2.add(out, light.reshape(src.shape), dst=out))
        return
    part = np.float32(1 / 255) if seen.dtype == np.uint8 else np.float32(1)
    shade = np.array(paint, np.float32)
    apart = (src.astype(np.float32) - shade) * (seen * part) + shade
    if out.dtype != np.float32:
        np.rint(apart, out=apart)
    np.copyto(out, np.clip(apart, 0, max_value_of(out), out=apart), casting="unsafe")
