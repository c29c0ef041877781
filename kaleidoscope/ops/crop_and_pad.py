"""An op that cuts off or puts around, side by side: pixels, or shares of the image."""

from __future__ import annotations

from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Geometric, Params, Resampling, op
from kaleidoscope.ops.crop import shift, surround
from kaleidoscope.ops.sized import resize_into, scaling

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

#: How much of one side: an amount, a range to draw from, or three and more to choose from.
Side = float | tuple[float, ...]
#: How much of all sides: one `Side` for all, or top, right, bottom, left.
Sides = Side | tuple[Side, Side, Side, Side]


@op
class CropAndPad(Geometric):
    """Cut pixels off or put some around, side by side: negative amounts are cut off, positive ones put around.

    At least one pixel is left, across and down: what is cut off too much is given back, half by either side. Any dtype
    and number of channels.

    Parameters
    ----------
    px : int, (int, int), or four of them, pixels
        How much: of every side; a range, both ends included; or (top, right, bottom, left), each of them a number, a
        range, or a list of three and more to choose from.
    percent : float, (float, float), or four of them
        Instead of `px`: the same as shares of the height and of the width, 0.1 being a tenth; pixels are cut to whole
        ones.
    keep_size : bool
        Resize what comes out to the size of the image.
    sample_independently : bool
        Draw from a single range for each side, not once for all of them.
    interpolation : {"linear", "nearest", "cubic", "area", "lanczos4"}
        How values between pixels are made, to keep the size. OpenCV's integers are accepted.
    mask_interpolation : as interpolation
        The same for masks. All but ``nearest`` make values up.
    border_mode : {"constant", "replicate", "reflect", "wrap", "reflect_101"}
        What is put around. OpenCV's integers are accepted.
    fill : float or tuple of float, in the pixels' own range
        Its value (``constant`` only): one for all channels, or one for each.
    fill_mask : float
        That of masks.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> op, frame = ops.CropAndPad(percent=(0.1, 0, -0.2, 0), keep_size=False), Frame(200, 300, 3, "uint8")
    >>> sides = op.sample_params(np.random.default_rng(), frame)
    >>> sides, print(op.out_frame(frame, sides))
    300x180x3 uint8
    ({'top': 20, 'right': 0, 'bottom': -40, 'left': 0}, None)
    """

    px: Sides | None = None
    percent: Sides | None = None
    keep_size: bool = True
    sample_independently: bool = True
    interpolation: str | int = "linear"
    mask_interpolation: str | int = "nearest"
    border_mode: str | int = "constant"
    fill: float | tuple[float, ...] = 0.0
    fill_mask: float = 0.0

    short_name = "cropandpad"

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        if (self.px is None) == (self.percent is None):
            raise RecipeError(f"CropAndPad(px={self.px!r}, percent={self.percent!r}): expected one of the two")
        for name, unit in (("px", "whole pixels"), ("percent", "shares of the sides")):
            value = getattr(self, name)
            if value is not None:
                checked = _sides(value, whole=name == "px")
                if checked is None:
                    wanted = f"{unit}: a number, (low, high), or (top, right, bottom, left), each of them one of these"
                    raise fields.refuse(self, name, value, f"{wanted}, or a list to choose from")
                fields.set_field(self, name, checked)
        fields.flag(self, "keep_size")
        fields.flag(self, "sample_independently")
        fields.interpolation(self)
        fields.interpolation(self, "mask_interpolation")
        fields.border(self)
        fields.fill_mask(self)

    def for_masks(self) -> Self:
        """Return the same sides, interpolated by `mask_interpolation` and of `fill_mask`."""
        return replace(self, fill=self.fill_mask, interpolation=self.mask_interpolation)

    @property
    def resampling(self) -> Resampling | None:
        """How it interpolates where it keeps the size; otherwise every pixel lands on a pixel."""
        return Resampling(str(self.interpolation), "replicate") if self.keep_size else None

    @property
    def fuses(self) -> bool:
        """Whether it may share a warp: no, not even where it keeps the frame."""
        return False

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw by how many pixels the image grows: ``top``, ``right``, ``bottom`` and ``left``, negative if cut off."""
        amounts = self._amounts(rng)
        if self.percent is not None:
            amounts = [amount * (frame.height, frame.width)[i % 2] for i, amount in enumerate(amounts)]
        top, right, bottom, left = map(int, amounts)
        top, bottom = _leaving_one(top, bottom, frame.height)
        left, right = _leaving_one(left, right, frame.width)
        return {"top": top, "right": right, "bottom": bottom, "left": left}

    def _amounts(self, rng: Generator) -> list[float]:
        given: Any = self.percent if self.px is None else self.px
        if isinstance(given, tuple) and len(given) == 4:
            return [self._amount(rng, side) for side in given]
        if isinstance(given, tuple) and self.sample_independently:
            return [self._amount(rng, given) for _ in range(4)]
        return [self._amount(rng, given)] * 4

    def _amount(self, rng: Generator, side: Side) -> float:
        if not isinstance(side, tuple):
            return side
        if len(side) != 2:
            return side[int(rng.integers(len(side)))]
        if self.px is not None:
            return int(rng.integers(int(side[0]), int(side[1]), endpoint=True))
        return fields.draw(rng, side)

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the frame of what is left and put around, or the same if the size is kept.

        Raises
        ------
        OpError
            If pixels cannot have the `fill`, or if more was cut off than there is: for an image of another size.
        """
        fields.refuse_fill(self, self.fill, frame)
        height, width = self._uncut(frame, params)
        if height < 1 or width < 1:
            raise OpError(f"CropAndPad: {params} leaves nothing of {frame}; was it drawn for an image of another size?")
        return frame if self.keep_size else _grown(frame, params)

    def _uncut(self, frame: Frame, params: Params) -> tuple[int, int]:
        top, right, bottom, left = (min(0, params[name]) for name in ("top", "right", "bottom", "left"))
        return frame.height + top + bottom, frame.width + left + right

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the shift by the upper and left side, and the scaling where the size is kept, shape (3, 3)."""
        moved = shift(params["left"], params["top"])
        if not self.keep_size:
            return moved
        grown = _grown(frame, params)
        return scaling(frame.width / grown.width, frame.height / grown.height) @ moved

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with what is left of `src`, shape (H, W, C), and what is put around."""
        top, right, bottom, left = (params[name] for name in ("top", "right", "bottom", "left"))
        height, width = src.shape[0] + min(0, bottom), src.shape[1] + min(0, right)
        made = src[max(0, -top) : height, max(0, -left) : width]
        if not self.keep_size:
            surround(made, max(0, left), max(0, top), str(self.border_mode), self.fill, out)
            return
        if max(top, right, bottom, left) > 0:
            inner = made
            height, width = src.shape[0] + top + bottom, src.shape[1] + left + right
            made = np.empty((height, width, src.shape[2]), src.dtype)
            surround(inner, max(0, left), max(0, top), str(self.border_mode), self.fill, made)
        resize_into(out, made, str(self.interpolation))


def _grown(frame: Frame, params: Params) -> Frame:
    """Return the frame of what is left and put around."""
    height = frame.height + params["top"] + params["bottom"]
    return frame.of_size(height, frame.width + params["left"] + params["right"])


def _leaving_one(before: int, after: int, length: int) -> tuple[int, int]:
    """Return by how much an axis of that length grows at both ends if at least one pixel is left of it.

    Albumentations gives back as much as the image is long, so that next to nothing is cut off; this gives back what
    is too much.
    """
    excess = 1 - length - min(0, before) - min(0, after)
    if excess <= 0:
        return before, after
    first = min(-min(0, before), (excess + 1) // 2)
    second = min(-min(0, after), excess - first)
    return before + excess - second if before < 0 else before, after + second if after < 0 else after


def _sides(value: object, *, whole: bool) -> Sides | None:
    """Return how much of all sides in its stored form, or None if it is nothing of the kind."""
    if isinstance(value, list | tuple) and len(value) == 4:
        sides = tuple(_side(one, whole=whole) for one in value)
        return None if None in sides else cast("Sides", sides)
    side = _side(value, whole=whole)
    return None if isinstance(side, tuple) and len(side) != 2 else side


def _side(value: object, *, whole: bool) -> Side | None:
    kind = int if whole else float
    several = value if isinstance(value, list | tuple) else (value,)
    for one in several:
        if not isinstance(one, Real) or isinstance(one, bool) or not np.isfinite(float(one)):
            return None
        if whole and one != int(one):  # type: ignore[call-overload]  # it is a finite number
            return None
    made = tuple(kind(one) for one in several)
    if several is not value:
        return made[0]
    return None if not made or (len(made) == 2 and made[0] > made[1]) else made
