"""Ops that bring an image to a given place or size by cutting or padding."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Geometric, Params, op
from kaleidoscope.ops.crop import POSITIONS, check_window, shift, surround, window_of

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame


def _before(rng: Generator, spare: int, position: str, near: str) -> int:
    """Return how much of the padding of an axis lies before the image, by where in the padded one it shall be."""
    if position == "random":
        return int(rng.integers(spare + 1))
    if position == "center":
        return spare // 2
    return 0 if near in position else spare


@op
class Crop(Geometric):
    """Cut out the pixels from `x_min` up to `x_max`, and from `y_min` up to `y_max`, neither of the latter included.

    What lies beyond the image is left out, or padded. Any dtype and number of channels.

    Parameters
    ----------
    x_min, y_min, x_max, y_max : int, pixels
        The window, in an image that is padded to `x_max` x `y_max` pixels first if it is to be and smaller.
    pad_if_needed : bool
        Pad such an image; otherwise what comes out is smaller.
    pad_position : {"center", "top_left", "top_right", "bottom_left", "bottom_right", "random"}
        Where a smaller image lies in the padded one, in which the window is cut. With ``"top_left"`` places remain
        those of the image.
    border_mode : {"constant", "replicate", "reflect", "wrap", "reflect_101"}
        What the padding is. OpenCV's integers are accepted.
    fill : float or tuple of float, in the pixels' own range
        The padding's value (``constant`` only): one for all channels, or one for each.
    fill_mask : float
        That of masks.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> crop, row = ops.Crop(x_min=1, x_max=4), np.arange(6, dtype="uint8").reshape(1, 6, 1)
    >>> window = crop.sample_params(np.random.default_rng(), Frame.of(row))
    >>> out = np.empty((1, 3, 1), dtype="uint8")
    >>> crop.kernel(row, window, out)
    >>> window, out.ravel().tolist()
    ({'left': 1, 'top': 0, 'width': 3, 'height': 1}, [1, 2, 3])
    """

    x_min: int = 0
    y_min: int = 0
    x_max: int = 1024
    y_max: int = 1024
    pad_if_needed: bool = False
    pad_position: str = "center"
    border_mode: str | int = "constant"
    fill: float | tuple[float, ...] = 0.0
    fill_mask: float = 0.0

    short_name = "cropat"

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        for name in ("x_min", "y_min"):
            fields.whole(self, name, low=0, expected="whole pixels, at least 0")
        for name, least in (("x_max", self.x_min), ("y_max", self.y_min)):
            fields.whole(self, name, low=least + 1, expected=f"whole pixels, more than {least}")
        fields.flag(self, "pad_if_needed")
        fields.choice(self, "pad_position", POSITIONS)
        fields.border(self)
        fields.fill_mask(self)

    def for_masks(self) -> Self:
        """Return the same window, padded by `fill_mask`."""
        return replace(self, fill=self.fill_mask)

    @property
    def fuses(self) -> bool:
        """Whether the op keeps the frame: no."""
        return False

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Choose the window in the image: ``left``, ``top``, ``width`` and ``height``; it may reach beyond, if padded.

        Nothing is left to chance but where a smaller image lies, by ``"random"``.
        """
        left, top, right, bottom = self.x_min, self.y_min, self.x_max, self.y_max
        if not self.pad_if_needed:
            width, height = min(right, frame.width) - left, min(bottom, frame.height) - top
            return {"left": left, "top": top, "width": width, "height": height}
        before = _before(rng, max(0, right - frame.width), self.pad_position, "left")
        above = _before(rng, max(0, bottom - frame.height), self.pad_position, "top")
        return {"left": left - before, "top": top - above, "width": right - left, "height": bottom - top}

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the frame of the window.

        Raises
        ------
        OpError
            If nothing of the image lies in the window and it is not to be padded, if pixels cannot have the `fill`, or
            if the window was chosen for an image of another size.
        """
        width, height = params["width"], params["height"]
        if self.pad_if_needed:
            fields.refuse_fill(self, self.fill, frame)
        elif width < 1 or height < 1:
            raise OpError(
                f"{self!r}: expected an image that reaches into the window, got {frame}; pad_if_needed=True pads it"
            )
        else:
            check_window(self, frame, params)
        return frame.of_size(height, width)

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the shift of the window's corner to (0, 0), shape (3, 3), in pixels at pixel centres."""
        return shift(-params["left"], -params["top"])

    def window(self, src: NDArray[Any], params: Params) -> NDArray[Any] | None:
        """Return the window of `src`, shape (H, W, C), unless it is padded."""
        return None if self.pad_if_needed else window_of(src, params)

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out`, shape (height, width, C), with the window of `src`, shape (H, W, C)."""
        left, top = params["left"], params["top"]
        height, width = out.shape[:2]
        if left < 0 or top < 0 or left + width > src.shape[1] or top + height > src.shape[0]:
            # All of the image first: what a border repeats may lie outside of the window.
            before = max(0, -left), max(0, -top)
            after = max(0, left + width - src.shape[1]), max(0, top + height - src.shape[0])
            sides = (src.shape[1 - i] + before[i] + after[i] for i in (1, 0))
            padded = np.empty((*sides, src.shape[2]), src.dtype)
            surround(src, *before, str(self.border_mode), self.fill, padded)
            src, left, top = padded, left + before[0], top + before[1]
        np.copyto(out, src[top : top + height, left : left + width])


@op
class PadIfNeeded(Geometric):
    """Put a border around the image where it is smaller than asked for, or no multiple of what is asked for.

    Any dtype and number of channels.

    Parameters
    ----------
    min_height, min_width : int or None, pixels
        What the image has to have at least.
    pad_height_divisor, pad_width_divisor : int or None, pixels
        Instead of the above, of which None has to be given: what the new side has to be a multiple of.
    position : {"center", "top_left", "top_right", "bottom_left", "bottom_right", "random"}
        Where the image lies in the padded one.
    border_mode : {"constant", "replicate", "reflect", "wrap", "reflect_101"}
        What the border is. OpenCV's integers are accepted.
    fill : float or tuple of float, in the pixels' own range
        The border's value (``constant`` only): one for all channels, or one for each.
    fill_mask : float
        The value of a mask's border.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> pad = ops.PadIfNeeded(min_height=300, min_width=None, pad_width_divisor=32)
    >>> pad.sample_params(np.random.default_rng(), Frame(200, 250, 3, "uint8"))
    {'left': 3, 'top': 50, 'right': 3, 'bottom': 50}
    """

    min_height: int | None = 1024
    min_width: int | None = 1024
    pad_height_divisor: int | None = None
    pad_width_divisor: int | None = None
    position: str = "center"
    border_mode: str | int = "constant"
    fill: float | tuple[float, ...] = 0.0
    fill_mask: float = 0.0

    short_name = "padifneeded"

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        for names in (("min_height", "pad_height_divisor"), ("min_width", "pad_width_divisor")):
            given = [name for name in names if getattr(self, name) is not None]
            if len(given) != 1:
                said = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
                raise RecipeError(f"PadIfNeeded({said}): expected one of the two, and None for the other")
            fields.whole(self, given[0], low=1, expected="whole pixels, at least 1")
        fields.choice(self, "position", POSITIONS)
        fields.border(self)
        fields.fill_mask(self)

    def for_masks(self) -> Self:
        """Return the same border, of `fill_mask`."""
        return replace(self, fill=self.fill_mask)

    @property
    def fuses(self) -> bool:
        """Whether the op keeps the frame: no."""
        return False

    def _missing(self, frame: Frame) -> tuple[int, int]:
        """Return how many pixels are missing across and down."""
        across, down = (
            max(0, least - length) if least is not None else -length % cast("int", divisor)
            for length, least, divisor in (
                (frame.width, self.min_width, self.pad_width_divisor),
                (frame.height, self.min_height, self.pad_height_divisor),
            )
        )
        return across, down

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Choose how wide the border is: ``left``, ``top``, ``right`` and ``bottom``; by chance for ``"random"``."""
        across, down = self._missing(frame)
        left, top = _before(rng, across, self.position, "left"), _before(rng, down, self.position, "top")
        return {"left": left, "top": top, "right": across - left, "bottom": down - top}

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the larger frame.

        Raises
        ------
        OpError
            If pixels cannot have the `fill`, or if the border was chosen for an image of another size.
        """
        fields.refuse_fill(self, self.fill, frame)
        across, down = params["left"] + params["right"], params["top"] + params["bottom"]
        if (across, down) != self._missing(frame):
            raise OpError(
                f"PadIfNeeded: {params} is not what {frame} needs; was it drawn for an image of another size?"
            )
        return frame.of_size(frame.height + down, frame.width + across)

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the shift by the left and the upper border, shape (3, 3), in pixels at pixel centres."""
        return shift(params["left"], params["top"])

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), and the border."""
        surround(src, params["left"], params["top"], str(self.border_mode), self.fill, out)
