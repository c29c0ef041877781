"""Ops that cut a frame out or put one around: pixels are copied, and none is interpolated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import cv2
import numpy as np

from kaleidoscope.errors import OpError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Geometric, Params, op
from kaleidoscope.ops.channels import by_groups

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

POSITIONS = ("center", "top_left", "top_right", "bottom_left", "bottom_right", "random")


def _between(one: int, value: int, other: int) -> bool:
    """Return whether a value lies between two, of which either may be the greater, or is one of them."""
    return one <= value <= other or other <= value <= one


@op
class _Crop(Geometric):
    """Cuts a window of fixed size out; what remains to be said is where."""

    height: int
    width: int
    pad_if_needed: bool = False
    pad_position: str = "center"
    border_mode: str | int = "constant"
    fill: float | tuple[float, ...] = 0.0
    fill_mask: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        for name in ("height", "width"):
            fields.whole(self, name, low=1, expected="whole pixels, at least 1")
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
        """Choose ``left`` and ``top``: the source's pixel that becomes the first; negative where it is padded."""
        across, down = frame.width - self.width, frame.height - self.height
        return {
            "left": self._choose(rng, across) if across >= 0 else self._padded(rng, across, "left"),
            "top": self._choose(rng, down) if down >= 0 else self._padded(rng, down, "top"),
        }

    def _padded(self, rng: Generator, spare: int, near: str) -> int:
        """Return where the window starts in an image that lacks some pixels, `spare`, below 0."""
        if self.pad_position == "random":
            return -int(rng.integers(-spare + 1))
        if self.pad_position == "center":
            return -(-spare // 2)
        return 0 if near in self.pad_position else spare

    def _choose(self, rng: Generator, spare: int) -> int:
        """Return how much of the spare pixels lies before the window."""
        raise OpError(f"{type(self).__name__} does not say where its window lies")

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the frame of the window.

        Raises
        ------
        OpError
            If the image is smaller and not to be padded, if pixels cannot have the `fill`, or if the window was
            chosen for an image of another size.
        """
        across, down = frame.width - self.width, frame.height - self.height
        if self.pad_if_needed:
            fields.refuse_fill(self, self.fill, frame)
        elif across < 0 or down < 0:
            raise OpError(
                f"{type(self).__name__}(height={self.height}, width={self.width}): expected an image of at least "
                f"{self.width}x{self.height} pixels, got {frame}; pad_if_needed=True pads it, Resize enlarges it"
            )
        if not (_between(0, params["left"], across) and _between(0, params["top"], down)):
            raise OpError(
                f"{type(self).__name__}: expected a window inside of {frame}, got {self.width}x{self.height} pixels "
                f"from ({params['left']}, {params['top']}) on; was it drawn for an image of another size?"
            )
        return frame.of_size(self.height, self.width)

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the shift of the window's corner to (0, 0), shape (3, 3), in pixels at pixel centres."""
        return shift(-params["left"], -params["top"])

    def window(self, src: NDArray[Any], params: Params) -> NDArray[Any] | None:
        """Return the window of `src`, shape (H, W, C), unless it is padded."""
        height, width = src.shape[:2]
        if self.height > height or self.width > width:
            return None
        left, top = params["left"], params["top"]
        return src[top : top + self.height, left : left + self.width]

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out`, shape (height, width, C), with the window of `src`, shape (H, W, C)."""
        left, top = params["left"], params["top"]
        window = src[max(0, top) : top + self.height, max(0, left) : left + self.width]
        surround(window, max(0, -left), max(0, -top), str(self.border_mode), self.fill, out)


@op
class CenterCrop(_Crop):
    """Cut the middle out.

    The window starts at ``((W - width) // 2, (H - height) // 2)``. Any dtype and number of channels.

    Parameters
    ----------
    height, width : int, pixels
        The window's size.
    pad_if_needed : bool
        Pad an image that is smaller than the window; otherwise it fails.
    pad_position : {"center", "top_left", "top_right", "bottom_left", "bottom_right", "random"}
        Where a smaller image lies in the padded one.
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
    >>> crop, row = ops.CenterCrop(height=1, width=3), np.arange(6, dtype="uint8").reshape(1, 6, 1)
    >>> where = crop.sample_params(np.random.default_rng(), Frame.of(row))
    >>> out = np.empty((1, 3, 1), dtype="uint8")
    >>> crop.kernel(row, where, out)
    >>> where, out.ravel().tolist()
    ({'left': 1, 'top': 0}, [1, 2, 3])
    """

    short_name = "centercrop"

    def _choose(self, rng: Generator, spare: int) -> int:
        return spare // 2


@op
class RandomCrop(_Crop):
    """Cut a window out, every place of it as likely as the others.

    Any dtype and number of channels.

    Parameters
    ----------
    height, width : int, pixels
        The window's size.
    pad_if_needed : bool
        Pad an image that is smaller than the window; otherwise it fails.
    pad_position : {"center", "top_left", "top_right", "bottom_left", "bottom_right", "random"}
        Where a smaller image lies in the padded one.
    border_mode : {"constant", "replicate", "reflect", "wrap", "reflect_101"}
        What the padding is. OpenCV's integers are accepted.
    fill : float or tuple of float, in the pixels' own range
        The padding's value (``constant`` only): one for all channels, or one for each.
    fill_mask : float
        That of masks.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> crop, frame = ops.RandomCrop(height=100, width=200), Frame(480, 640, 3, "uint8")
    >>> print(crop.out_frame(frame, {"left": 30, "top": 8}))
    200x100x3 uint8
    >>> crop.matrix(frame, {"left": 30, "top": 8}) @ [30, 10, 1]
    array([0., 2., 1.])
    """

    short_name = "crop"

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``left`` and ``top``: the source's pixel that becomes the first; negative where it is padded."""
        across, down = frame.width - self.width, frame.height - self.height
        if across < 0 or down < 0:
            return super().sample_params(rng, frame)
        # One draw of all places there are, in a quarter of the time of two by rng.integers.
        top, left = divmod(int(rng.random() * ((across + 1) * (down + 1))), across + 1)
        return {"left": left, "top": top}

    def _choose(self, rng: Generator, spare: int) -> int:
        return int(rng.integers(spare + 1))


@op
class Pad(Geometric):
    """Put a border around the image.

    Any dtype and number of channels.

    Parameters
    ----------
    padding : int, (int, int) or (int, int, int, int), pixels
        How much on every side; left and right, and top and bottom; or (left, top, right, bottom), which is how it
        is kept.
    fill : float or tuple of float, in the pixels' own range
        The border's value (``constant`` only): one for all channels, or one for each.
    border_mode : {"constant", "replicate", "reflect", "wrap", "reflect_101"}
        What the border is. OpenCV's integers are accepted.
    fill_mask : float
        The value of a mask's border.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> pad, row = ops.Pad(padding=(2, 0), border_mode="reflect_101"), np.array([[[1], [2], [3]]], dtype="uint8")
    >>> out = np.empty((1, 7, 1), dtype="uint8")
    >>> pad.kernel(row, {}, out)
    >>> out.ravel().tolist()
    [3, 2, 1, 2, 3, 2, 1]
    """

    padding: int | tuple[int, int] | tuple[int, int, int, int] = (0, 0, 0, 0)
    fill: float | tuple[float, ...] = 0.0
    border_mode: str | int = "constant"
    fill_mask: float = 0.0

    short_name = "pad"

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        fields.counts(
            self,
            "padding",
            sizes=(2, 4),
            expected="whole pixels, at least 0: one number, (left and right, top and bottom) or "
            "(left, top, right, bottom)",
        )
        sides = self._sides
        fields.set_field(self, "padding", sides * (4 // len(sides)))
        fields.border(self)
        fields.fill_mask(self)

    def for_masks(self) -> Self:
        """Return the same border, of `fill_mask`."""
        return replace(self, fill=self.fill_mask)

    @property
    def _sides(self) -> tuple[int, ...]:
        return self.padding if isinstance(self.padding, tuple) else (self.padding,)

    @property
    def fuses(self) -> bool:
        """Whether the op keeps the frame: no."""
        return False

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the larger frame.

        Raises
        ------
        OpError
            If pixels cannot have the `fill`.
        """
        fields.refuse_fill(self, self.fill, frame)
        left, top, right, bottom = self._sides
        return frame.of_size(top + frame.height + bottom, left + frame.width + right)

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the shift by the left and the upper border, shape (3, 3), in pixels at pixel centres."""
        return shift(*self._sides[:2])

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), and the border."""
        left, top = self._sides[:2]
        surround(src, left, top, str(self.border_mode), self.fill, out)


def check_window(part: Geometric, frame: Frame, params: Params) -> None:
    """Refuse a drawn window, ``left``, ``top``, ``width`` and ``height``, that does not lie inside of an image.

    Raises
    ------
    OpError
        If it was drawn for an image of another size.
    """
    left, top, width, height = params["left"], params["top"], params["width"], params["height"]
    if not (0 <= left < left + width <= frame.width and 0 <= top < top + height <= frame.height):
        raise OpError(
            f"{type(part).__name__}: expected a window inside of {frame}, got {width}x{height} pixels from "
            f"({left}, {top}) on; was it drawn for an image of another size?"
        )


def window_of(src: NDArray[Any], params: Params) -> NDArray[Any]:
    """Return the drawn window of `src`, shape (H, W, C), as a view."""
    left, top = params["left"], params["top"]
    view: NDArray[Any] = src[top : top + params["height"], left : left + params["width"]]
    return view


def shift(x: float, y: float) -> NDArray[np.float64]:
    """Return the map that moves everything by (x, y) pixels, shape (3, 3)."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def surround(
    src: NDArray[Any], left: int, top: int, border_mode: str, fill: float | tuple[float, ...], out: NDArray[Any]
) -> None:
    """Fill `out` with `src`, its first pixel at (left, top), and a border around it."""
    if src.shape == out.shape:
        np.copyto(out, src)
        return
    right, bottom = out.shape[1] - src.shape[1] - left, out.shape[0] - src.shape[0] - top
    mode = fields.BORDER_MODES.index(border_mode)
    values = fill if isinstance(fill, tuple) else (fill,) * src.shape[2]
    by_groups(
        lambda some, made, which: cv2.copyMakeBorder(
            some, top, bottom, left, right, mode, dst=made, value=values[which]
        ),
        src,
        out,
    )
