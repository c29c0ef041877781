"""Pixels as another type: fractions of the largest value, and whole numbers again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.errors import OpError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, into, op
from kaleidoscope.record import MAX_VALUE, max_value_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

_ABOVE_0 = 2.0**-1022  # the least normal number stands for "above 0"
_DEPTHS = {"uint8": cv2.CV_8U, "uint16": cv2.CV_16U}


@op
class ToFloat(Op):
    """Make the pixels ``float32`` in [0, 1].

    ``out = min(pixel / max_value, 1)``, of any number of channels, alpha among them. (Albumentations does not stop
    at 1, where the range of ``float32`` pixels ends.) Pixels that are ``float32`` already are copied. Only ``npy`` and
    ``tiff`` hold what comes out.

    Parameters
    ----------
    max_value : float, above 0, or None
        What becomes 1; None: the largest value of the dtype (255, 65535). 4095 for 12 bits in ``uint16``.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> grey = np.array([[[0], [51], [255]]], dtype="uint8")
    >>> out = np.empty(grey.shape, dtype="float32")
    >>> ops.ToFloat().kernel(grey, {}, out)
    >>> [round(value, 3) for value in out.ravel().tolist()]
    [0.0, 0.2, 1.0]
    """

    max_value: float | None = None

    short_name = "tofloat"

    def __post_init__(self) -> None:
        """Check the field.

        Raises
        ------
        RecipeError
            If it is not what it should be.
        """
        if self.max_value is not None:
            fields.number(self, "max_value", low=_ABOVE_0, expected="a number above 0, or None")

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame, as ``float32``."""
        return replace(frame, dtype="float32")

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out`, ``float32``, with the scaled `src`, both of shape (H, W, C)."""
        if src.dtype == np.float32:
            np.copyto(out, src)
            return
        most = max_value_of(src) if self.max_value is None else self.max_value
        rows = out.reshape(len(out), -1)
        np.divide(src.reshape(rows.shape), np.float32(most), out=rows)
        if most < max_value_of(src):
            np.minimum(rows, 1, out=rows)


@op
class FromFloat(Op):
    """Make whole numbers of ``float32`` pixels in [0, 1].

    ``out = clip(round(pixel * max_value))``, clipped to the range of `dtype`, of any number of channels, alpha among
    them.

    Parameters
    ----------
    dtype : {"uint8", "uint16"}
    max_value : float, above 0, or None
        What 1 becomes; None: the largest value of `dtype`.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> grey = np.array([[[0], [0.2], [1]]], dtype="float32")
    >>> out = np.empty(grey.shape, dtype="uint8")
    >>> ops.FromFloat().kernel(grey, {}, out)
    >>> out.ravel().tolist()
    [0, 51, 255]
    """

    dtype: str = "uint8"
    max_value: float | None = None

    short_name = "fromfloat"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.choice(self, "dtype", tuple(_DEPTHS))
        if self.max_value is not None:
            fields.number(self, "max_value", low=_ABOVE_0, expected="a number above 0, or None")

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame, of the dtype wanted.

        Raises
        ------
        OpError
            If its pixels are no ``float32``.
        """
        if frame.dtype != "float32":
            raise OpError(f"FromFloat: expected float32 pixels, got {frame}; ToFloat makes them")
        return replace(frame, dtype=self.dtype)

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out`, of the dtype wanted, with the scaled `src`, both of shape (H, W, C)."""
        most = MAX_VALUE[self.dtype] if self.max_value is None else self.max_value
        plain, rows = np.ascontiguousarray(src).reshape(len(src), -1), out.reshape(len(out), -1)
        into(rows, cv2.addWeighted(plain, most, plain, 0.0, 0.0, dst=rows, dtype=_DEPTHS[self.dtype]))
