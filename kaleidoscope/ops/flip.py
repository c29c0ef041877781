"""Mirror images and quarter turns: every pixel lands on a pixel."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope.ops.base import Geometric, Params, op

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame


@lru_cache(maxsize=64)
def _mirror_across(width: int) -> NDArray[np.float64]:
    """Return the map of the mirror, read-only: an array takes as long to make as a row to flip."""
    matrix = np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    matrix.flags.writeable = False
    return matrix


@lru_cache(maxsize=64)
def _mirror_down(height: int) -> NDArray[np.float64]:
    """Return the map of the mirror, read-only."""
    matrix = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, height - 1.0], [0.0, 0.0, 1.0]])
    matrix.flags.writeable = False
    return matrix


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
        return _mirror_across(frame.width)


@op
class VerticalFlip(Geometric):
    """Mirror the image top to bottom: y becomes height - 1 - y.

    Exact, for any dtype and number of channels: nothing is interpolated.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> ops.VerticalFlip().matrix(Frame(480, 640, 3, "uint8"), {}) @ [7, 0, 1]
    array([  7., 479.,   1.])
    """

    short_name = "vflip"

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the map of the mirror, shape (3, 3), source to output, in pixels at pixel centres."""
        return _mirror_down(frame.height)


@op
class Transpose(Geometric):
    """Mirror the image about its main diagonal: rows become columns, and width and height change places.

    Exact, for any dtype and number of channels: nothing is interpolated.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> print(ops.Transpose().out_frame(Frame(480, 640, 3, "uint8"), {}))
    480x640x3 uint8
    >>> ops.Transpose().matrix(Frame(480, 640, 3, "uint8"), {}) @ [600, 7, 1]
    array([  7., 600.,   1.])
    """

    short_name = "transpose"

    @property
    def fuses(self) -> bool:
        """Whether the op keeps the frame: not that of an image that is not square."""
        return False

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the frame with width and height exchanged."""
        return frame.of_size(frame.width, frame.height)

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the map of the mirror, shape (3, 3), source to output, in pixels at pixel centres."""
        return np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


@op
class RandomRotate90(Geometric):
    """Rotate by 0, 90, 180 or 270 degrees counter-clockwise, each as likely as the others.

    Exact, for any dtype and number of channels: nothing is interpolated. Odd quarter turns exchange width and
    height.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> frame = Frame(480, 640, 3, "uint8")
    >>> print(ops.RandomRotate90().out_frame(frame, {"factor": 1}))
    480x640x3 uint8
    >>> ops.RandomRotate90().matrix(frame, {"factor": 1}) @ [639, 0, 1]  # the upper right corner goes to the left
    array([0., 0., 1.])
    """

    short_name = "rot90"

    @property
    def fuses(self) -> bool:
        """Whether the op keeps the frame: not for odd quarter turns of an image that is not square."""
        return False

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``factor``, the number of quarter turns."""
        return {"factor": int(rng.integers(4))}

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the frame, lying on its side after an odd number of quarter turns."""
        if params["factor"] % 2 == 0:
            return frame
        return frame.of_size(frame.width, frame.height)

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the quarter turns, shape (3, 3), source to output, in pixels at pixel centres."""
        width, height = frame.width, frame.height
        turned = np.eye(3)
        for _ in range(params["factor"] % 4):
            turned = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, width - 1.0], [0.0, 0.0, 1.0]]) @ turned
            width, height = height, width
        return turned


#: The eight symmetries of a square: how often it is turned by a quarter, and whether it was mirrored before that.
_SYMMETRIES = {
    "e": (0, False),
    "r90": (1, False),
    "r180": (2, False),
    "r270": (3, False),
    "v": (2, True),
    "hvt": (3, True),
    "h": (0, True),
    "t": (1, True),
}


@op
class D4(Geometric):
    """Apply one of the eight symmetries of a square, each as likely as the others.

    As ``group_element`` names them: ``e`` nothing, ``r90``, ``r180`` and ``r270`` turns counter-clockwise in degrees,
    ``h`` left to right, ``v`` top to bottom, ``t`` the mirror image about the main diagonal, ``hvt`` about the other.

    Exact, for any dtype and number of channels: nothing is interpolated. ``r90``, ``r270``, ``t`` and ``hvt`` exchange
    width and height.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> frame = Frame(480, 640, 3, "uint8")
    >>> ops.D4().matrix(frame, {"group_element": "hvt"}) @ [639, 0, 1]  # the upper right corner goes to the lower left
    array([479.,   0.,   1.])
    """

    short_name = "d4"

    @property
    def fuses(self) -> bool:
        """Whether the op keeps the frame: not for every draw of an image that is not square."""
        return False

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``group_element``, the symmetry's name."""
        return {"group_element": list(_SYMMETRIES)[int(rng.integers(len(_SYMMETRIES)))]}

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the frame, lying on its side where columns become rows."""
        turns, _ = _SYMMETRIES[params["group_element"]]
        return _TURN.out_frame(frame, {"factor": turns})

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the symmetry, shape (3, 3), source to output, in pixels at pixel centres."""
        turns, mirrored = _SYMMETRIES[params["group_element"]]
        turned = _TURN.matrix(frame, {"factor": turns})
        return turned @ _MIRROR.matrix(frame, {}) if mirrored else turned


_TURN, _MIRROR = RandomRotate90(), HorizontalFlip()
