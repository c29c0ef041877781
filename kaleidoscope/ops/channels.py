"""More channels than OpenCV takes at once: groups of them, one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.ops.base import into
from kaleidoscope.ops.scratch import scratch

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: All of OpenCV takes this many; some of it up to 128, more slowly.
_AT_ONCE = 4
#: Of so many channels the last is alpha, which is no colour.
RGBA = 4


def colour_count(channels: int) -> int:
    """Return how many of the channels are colours: all but the fourth of four, alpha.

    Examples
    --------
    >>> [colour_count(channels) for channels in (1, 3, 4, 7)]
    [1, 3, 3, 7]
    """
    return channels - 1 if channels == RGBA else channels


def channel_groups(channels: int) -> list[slice]:
    """Return which channels go together: four where there are as many, but never two.

    Two OpenCV treats in ways of their own: it warps them to a 32nd of a pixel only, resizes them to other values
    than one or three, and has no median of them beyond 5 x 5. The result would depend on how many channels there are.

    Examples
    --------
    >>> channel_groups(6)
    [slice(0, 4, None), slice(4, 5, None), slice(5, 6, None)]
    """
    groups = [slice(first, min(first + _AT_ONCE, channels)) for first in range(0, channels, _AT_ONCE)]
    last = groups[-1]
    if last.stop - last.start == 2:
        groups[-1:] = [slice(last.start, last.start + 1), slice(last.start + 1, last.stop)]
    return groups


def by_groups(
    step: Callable[[NDArray[Any], NDArray[Any], slice], NDArray[Any]], src: NDArray[Any], out: NDArray[Any]
) -> None:
    """Fill `out` by ``step(some of src, some of out, which channels)``, called once for each group.

    Parameters
    ----------
    step : callable
        An OpenCV call given ``dst``; it returns what OpenCV returned.
    src : ndarray of shape (H, W, C)
    out : ndarray of shape (H', W', C)

    Raises
    ------
    OpError
        If a step did not write where it should.
    """
    groups = channel_groups(src.shape[2])
    if len(groups) == 1:
        into(out, step(src, out, groups[0]))
        return
    for group in groups:
        some = np.ascontiguousarray(src[..., group])
        made = np.empty((*out.shape[:2], some.shape[2]), out.dtype)
        into(made, step(some, made, group))
        out[..., group] = made


def split(src: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the channels of `src`, shape (H, W, C), up to four, each of shape (H, W); of use until the next call.

    They may be written to: they are no views, but lie where this thread's last ones lay.
    """
    planes = list(scratch("planes", (src.shape[2], *src.shape[:2]), src.dtype))
    cv2.split(np.ascontiguousarray(src), planes)
    return planes
