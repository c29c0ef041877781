"""Ops that cut out a window which what is labelled in the image lies in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from kaleidoscope.errors import OpError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Geometric, Params, op
from kaleidoscope.ops.crop import check_window, shift, window_of
from kaleidoscope.ops.resized_crop import placed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame
    from kaleidoscope.targets import Targets

#: A union of boxes that erosion has made thinner than this, as a share of the image's side, is none.
_THINNEST = 1e-6


class _LabelledCrop(Geometric):
    """Cuts a drawn window out: ``left``, ``top``, ``width`` and ``height``."""

    def for_masks(self) -> Self:
        """Return itself: nothing is interpolated or padded."""
        return self

    @property
    def fuses(self) -> bool:
        """Whether the op keeps the frame: no."""
        return False

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the frame of the window.

        Raises
        ------
        OpError
            If the window was drawn for an image of another size.
        """
        check_window(self, frame, params)
        return frame.of_size(params["height"], params["width"])

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the shift of the window's corner to (0, 0), shape (3, 3), in pixels at pixel centres."""
        return shift(-params["left"], -params["top"])

    def window(self, src: NDArray[Any], params: Params) -> NDArray[Any]:
        """Return the window of `src`, shape (H, W, C)."""
        return window_of(src, params)

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out`, shape (height, width, C), with the window of `src`, shape (H, W, C)."""
        np.copyto(out, window_of(src, params))


@op
class BBoxSafeRandomCrop(_LabelledCrop):
    """Cut out a window that all boxes lie in.

    Each side of the window is drawn uniformly between that of the image and that of the smallest box around all boxes,
    the left and upper one cut to whole pixels, the others filled up. Of an image without boxes a window of its own
    proportions is cut out anywhere, as high as a whole number drawn from ``floor(H * (1 - erosion_rate))`` to H pixels.
    Any dtype and number of channels.

    Parameters
    ----------
    erosion_rate : float, 0 to 1
        By which share the box around several boxes is narrowed first, half on either side: windows may then cut boxes.
        A single box is kept whole. With 1, boxes are not looked at.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> from kaleidoscope.targets import Targets
    >>> crop, whole = ops.BBoxSafeRandomCrop(), Targets(boxes=[(0, 0, 32, 24)])
    >>> crop.sample_params_for(np.random.default_rng(), Frame(24, 32, 3, "uint8"), whole)
    {'left': 0, 'top': 0, 'width': 32, 'height': 24}
    """

    erosion_rate: float = 0.0

    short_name = "bboxsafecrop"

    def __post_init__(self) -> None:
        """Check the field.

        Raises
        ------
        RecipeError
            If it is no share.
        """
        fields.number(self, "erosion_rate", expected="a share, 0 to 1", low=0, high=1)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw the window in an image without boxes: ``left``, ``top``, ``width`` and ``height``."""
        least = max(1, int(frame.height * (1 - self.erosion_rate)))
        height = int(rng.integers(least, frame.height, endpoint=True))
        return placed(rng, frame, max(1, height * frame.width // frame.height), height)

    def sample_params_for(self, rng: Generator, frame: Frame, targets: Targets | None) -> dict[str, Any]:
        """Draw the window around the boxes: ``left``, ``top``, ``width`` and ``height``."""
        union = None if targets is None else self._union(targets.boxes, frame)
        if union is None:
            return self.sample_params(rng, frame)
        x1, y1, x2, y2 = union
        left, top = int(x1 * rng.uniform()), int(y1 * rng.uniform())
        # Albumentations cuts these to whole pixels, too, and so loses the last column or row of a box now and then.
        right = min(frame.width, math.ceil(x2 + (frame.width - x2) * rng.uniform()))
        bottom = min(frame.height, math.ceil(y2 + (frame.height - y2) * rng.uniform()))
        return {"left": left, "top": top, "width": right - left, "height": bottom - top}

    def _union(self, boxes: NDArray[np.float64], frame: Frame) -> tuple[float, float, float, float] | None:
        """Return what the window has to hold, xyxy at edges; None if that is nothing."""
        boxes = boxes[~np.isnan(boxes[:, 0])]  # some objects are points alone
        if not len(boxes) or self.erosion_rate == 1:
            return None
        size = (frame.width, frame.height)
        low, high = np.clip(boxes[:, :2].min(axis=0), 0, size), np.clip(boxes[:, 2:].max(axis=0), 0, size)
        if len(boxes) > 1:
            eroded = (high - low) * self.erosion_rate / 2
            low, high = low + eroded, high - eroded
        if ((high - low) < _THINNEST * np.array(size)).any():
            return None
        return (*low.tolist(), *high.tolist())


@op
class CropNonEmptyMaskIfExists(_LabelledCrop):
    """Cut out a window that something masked lies in, or any window if nothing is.

    A pixel is drawn from those that are not 0 in some mask, and the window from those that hold it, then moved into the
    image. Of an image without such pixels, or without masks, all windows are equally likely. Any dtype and number of
    channels.

    Parameters
    ----------
    height, width : int, pixels
        The window's size. A smaller image fails.
    ignore_values : list of int, optional
        Values of masks that do not count, beside 0.
    ignore_masks : list of str, optional
        Names of masks that do not count. Here masks have names, where Albumentations has ``ignore_channels``.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> from kaleidoscope.targets import Targets
    >>> mask = np.zeros((24, 32), np.uint8)
    >>> mask[23, 31] = 7
    >>> crop = ops.CropNonEmptyMaskIfExists(height=1, width=1)
    >>> crop.sample_params_for(np.random.default_rng(), Frame(24, 32, 3, "uint8"), Targets(masks={"class": mask}))
    {'left': 31, 'top': 23, 'width': 1, 'height': 1}
    """

    height: int
    width: int
    ignore_values: tuple[int, ...] | None = None
    ignore_masks: tuple[str, ...] | None = None

    short_name = "maskcrop"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        for name in ("height", "width"):
            fields.whole(self, name, low=1, expected="whole pixels, at least 1")
        self._check_list("ignore_values", int, "a list of whole numbers, the values")
        self._check_list("ignore_masks", str, "a list of names of masks")

    def _check_list(self, name: str, kind: type, expected: str) -> None:
        value = getattr(self, name)
        if value is None:
            return
        is_list = isinstance(value, list | tuple)
        if not is_list or any(not isinstance(one, kind) or isinstance(one, bool) for one in value):
            raise fields.refuse(self, name, value, expected)
        fields.set_field(self, name, tuple(value))

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw any window: ``left``, ``top``, ``width`` and ``height``."""
        self._check_fits(frame)
        return placed(rng, frame, self.width, self.height)

    def sample_params_for(self, rng: Generator, frame: Frame, targets: Targets | None) -> dict[str, Any]:
        """Draw a window that something masked lies in: ``left``, ``top``, ``width`` and ``height``."""
        self._check_fits(frame)
        places = self._masked({} if targets is None else targets.masks)
        if not len(places):
            return placed(rng, frame, self.width, self.height)
        y, x = divmod(int(places[int(rng.integers(len(places)))]), frame.width)
        left, top = x - int(rng.integers(self.width)), y - int(rng.integers(self.height))
        left, top = max(0, min(left, frame.width - self.width)), max(0, min(top, frame.height - self.height))
        return {"left": left, "top": top, "width": self.width, "height": self.height}

    def _masked(self, masks: Mapping[str, NDArray[Any]]) -> NDArray[np.intp]:
        """Return the places of the pixels that count, row by row."""
        found: NDArray[np.bool_] | None = None
        for name, mask in masks.items():
            if name not in (self.ignore_masks or ()):
                counts = mask != 0
                for value in self.ignore_values or ():
                    counts &= mask != value
                found = counts if found is None else found | counts
        return np.flatnonzero(found) if found is not None else np.empty(0, np.intp)

    def _check_fits(self, frame: Frame) -> None:
        if self.height > frame.height or self.width > frame.width:
            raise OpError(
                f"CropNonEmptyMaskIfExists(height={self.height}, width={self.width}): expected an image of at least "
                f"{self.width}x{self.height} pixels, got {frame}; PadIfNeeded pads it, Resize enlarges it"
            )
