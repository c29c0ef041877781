"""Mirror images: every pixel lands on a pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kaleidoscope.ops.base import Geometric, Params, op

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame


@op
class HorizontalFlip(Geometric):
    """Mirror the image left to right: x becomes width - 1 - x.

    Exact, for any dtype and number of channels: nothing is interpolated.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> ops.HorizontalFlip().matrix(Frame(480, 640, 3, "uint8"), {}) @ [0, 7, 1]
    array([639.,   7.,   1.])
    """

    short_name = "hflip"

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the map of the mirror, shape (3, 3), source to output, in pixels at pixel centres."""
        return np.array([[-1.0, 0.0, frame.width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
