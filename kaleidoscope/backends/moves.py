"""An op as the applications it takes: what is done to the pixels, and after them to their targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from kaleidoscope.ops.base import Geometric, Op, Params, Resampling
from kaleidoscope.ops.choose import Choice
from kaleidoscope.record import Frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Kernel(NamedTuple):
    """One op that fills its outcome itself, with what it drew."""

    op: Op
    params: Params
    before: Frame
    after: Frame


class Warp(NamedTuple):
    """One map, of one op or of neighbours, and one interpolation.

    Parameters
    ----------
    matrix : ndarray of shape (3, 3)
        Source to output, in pixels with integers at pixel centres.
    resampling : Resampling or None
        None: the matrix permutes pixels, and none is interpolated.
    before, after : Frame
        Of source and output.
    """

    matrix: NDArray[np.float64]
    resampling: Resampling | None
    before: Frame
    after: Frame


Move = Kernel | Warp


def moves_of(op: Op, params: Params, frame: Frame) -> list[Move]:
    """Return the applications of an op to an image of that frame: of a choice, those that were drawn, or none.

    Neighbouring geometry inside a choice is one warp, here too.
    """
    if isinstance(op, Choice):
        return list(_moves_of_choice(op, params, frame))
    after = op.out_frame(frame, params)
    if isinstance(op, Geometric) and not op.has_kernel:
        return [Warp(op.matrix(frame, params), op.resampling, frame, after)]
    return [Kernel(op, params, frame, after)]


def _moves_of_choice(choice: Choice, params: Params, frame: Frame) -> Iterator[Move]:
    warp: Warp | None = None
    for each, its_params in choice.steps(params):
        after = each.out_frame(frame, its_params)
        if isinstance(each, Geometric) and each.fuses:
            matrix = each.matrix(frame, its_params)
            if warp is not None and _join(warp.resampling, each.resampling):
                warp = Warp(matrix @ warp.matrix, each.resampling or warp.resampling, warp.before, after)
            else:
                if warp is not None:
                    yield warp
                warp = Warp(matrix, each.resampling, frame, after)
        else:
            if warp is not None:
                yield warp
                warp = None
            yield from moves_of(each, its_params, frame)
        frame = after
    if warp is not None:
        yield warp


def _join(before: Resampling | None, after: Resampling | None) -> bool:
    return None in (before, after) or before == after
