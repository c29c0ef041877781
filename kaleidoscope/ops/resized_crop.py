"""Ops that cut a drawn window out and make an image of a fixed size of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Params, op
from kaleidoscope.ops.crop import check_window, shift, window_of
from kaleidoscope.ops.sized import Sized, scaling

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

#: How often a window is drawn before the middle is taken.
_TRIES = 10


class _ResizedCrop(Sized):
    """Cuts a window out and resizes it; what remains to be said is how the window is drawn."""

    size: tuple[int, int]

    def _check_size(self) -> None:
        """Check the field ``size``.

        Raises
        ------
        RecipeError
            If it is not a height and a width.
        """
        expected = "(height, width) in whole pixels, at least 1"
        given = self.size
        fields.counts(self, "size", sizes=(2,), expected=expected)
        if not isinstance(self.size, tuple) or 0 in self.size:
            raise fields.refuse(self, "size", given, expected)

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the frame of `size`.

        Raises
        ------
        OpError
            If the window was drawn for an image of another size.
        """
        check_window(self, frame, params)
        return frame.of_size(*self.size)

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the shift of the window's corner to (0, 0) and the scaling after it, shape (3, 3)."""
        height, width = self.size
        scale = scaling(width / params["width"], height / params["height"])
        return scale @ shift(-params["left"], -params["top"])

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out`, shape (height, width, C), with the window of `src`, shape (H, W, C)."""
        self._resize(window_of(src, params), out)


@op
class RandomResizedCrop(_ResizedCrop):
    """Cut a window of drawn size, proportions and place out, and make an image of `size` of it.

    Of an image of W x H pixels the window has ::

        width = round(sqrt(a * W * H * r))      height = round(sqrt(a * W * H / r))

    pixels, with a drawn uniformly from `scale`, and the logarithm of r uniformly from those of `ratio`. One that is
    larger than the image is drawn again. After the tenth the largest one in the middle is taken that keeps to `ratio`.
    All places are equally likely. Any dtype and number of channels.

    Parameters
    ----------
    size : (int, int), pixels
        Height and width of what comes out.
    scale : (float, float), 0 to 1
        The window's area as a share of the image's.
    ratio : (float, float), greater than 0
        The window's width by its height.
    interpolation : {"linear", "nearest", "cubic", "area", "lanczos4"}
        How values between pixels are made. OpenCV's integers are accepted.
    mask_interpolation : as interpolation
        The same for masks. All but ``nearest`` make values up.
    area_for_downscale : {None, "image", "image_mask"}
        ``"image"``: take ``area`` wherever a side becomes shorter, and `interpolation` elsewhere. ``"image_mask"``: for
        masks, too.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> crop, frame = (
    ...     ops.RandomResizedCrop(size=(224, 224), scale=(0.25, 0.25), ratio=(1, 1)),
    ...     Frame(400, 400, 3, "uint8"),
    ... )
    >>> window = crop.sample_params(np.random.default_rng(), frame)
    >>> window["height"], window["width"]
    (200, 200)
    """

    size: tuple[int, int]
    scale: fields.Range = (0.08, 1.0)
    ratio: fields.Range = (0.75, 4 / 3)
    interpolation: str | int = "linear"
    mask_interpolation: str | int = "nearest"
    area_for_downscale: str | None = None

    short_name = "resizedcrop"

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        self._check_size()
        fields.pair(self, "scale", expected="shares of the image's area, 0 to 1", low=0, high=1)
        expected, given = "widths by heights, greater than 0", self.ratio
        fields.pair(self, "ratio", expected=expected, low=0)
        if self._ratios[0] == 0:
            raise fields.refuse(self, "ratio", given, expected)
        self._check_interpolation()

    @property
    def _ratios(self) -> tuple[float, float]:
        return cast("tuple[float, float]", self.ratio)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw the window: ``left``, ``top``, ``width`` and ``height``, in pixels."""
        low, high = map(math.log, self._ratios)
        for _ in range(_TRIES):
            area = fields.draw(rng, self.scale) * frame.height * frame.width
            ratio = math.exp(rng.uniform(low, high))
            width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < width <= frame.width and 0 < height <= frame.height:
                return placed(rng, frame, width, height)
        ratio = min(max(frame.width / frame.height, self._ratios[0]), self._ratios[1])
        width = max(1, min(frame.width, round(frame.height * ratio)))
        height = max(1, min(frame.height, round(frame.width / ratio)))
        left, top = (frame.width - width) // 2, (frame.height - height) // 2
        return {"left": left, "top": top, "width": width, "height": height}


@op
class RandomSizedCrop(_ResizedCrop):
    """Cut a window of drawn height and place and of fixed proportions out, and make an image of `size` of it.

    The window is as high as a whole number drawn from `min_max_height`, and ``floor(height * w2h_ratio)`` wide, but no
    larger than the image: a side that is gets the image's length. All places are equally likely. Any dtype and number
    of channels.

    Parameters
    ----------
    min_max_height : (int, int), pixels
        The least and the most height of the window, both included.
    size : (int, int), pixels
        Height and width of what comes out.
    w2h_ratio : float, greater than 0
        The window's width by its height.
    interpolation : {"linear", "nearest", "cubic", "area", "lanczos4"}
        How values between pixels are made. OpenCV's integers are accepted.
    mask_interpolation : as interpolation
        The same for masks. All but ``nearest`` make values up.
    area_for_downscale : {None, "image", "image_mask"}
        ``"image"``: take ``area`` wherever a side becomes shorter, and `interpolation` elsewhere. ``"image_mask"``: for
        masks, too.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> crop = ops.RandomSizedCrop(min_max_height=(100, 100), size=(64, 128), w2h_ratio=2)
    >>> window = crop.sample_params(np.random.default_rng(), Frame(400, 400, 3, "uint8"))
    >>> window["height"], window["width"]
    (100, 200)
    """

    min_max_height: fields.Range
    size: tuple[int, int]
    w2h_ratio: float = 1.0
    interpolation: str | int = "linear"
    mask_interpolation: str | int = "nearest"
    area_for_downscale: str | None = None

    short_name = "sizedcrop"

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        self._check_size()
        fields.pair(self, "min_max_height", expected="heights in whole pixels, at least 1", low=1, whole=True)
        expected, given = "a width by a height, greater than 0", self.w2h_ratio
        fields.number(self, "w2h_ratio", expected=expected, low=0)
        if self.w2h_ratio == 0:
            raise fields.refuse(self, "w2h_ratio", given, expected)
        self._check_interpolation()

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw the window: ``left``, ``top``, ``width`` and ``height``, in pixels."""
        least, most = cast("tuple[int, int]", self.min_max_height)
        height = int(rng.integers(least, most, endpoint=True))
        width = max(1, int(height * self.w2h_ratio))
        return placed(rng, frame, min(width, frame.width), min(height, frame.height))


def placed(rng: Generator, frame: Frame, width: int, height: int) -> dict[str, Any]:
    """Draw a place for a window that fits the frame, and return all of the window."""
    left = int(rng.integers(frame.width - width + 1))
    top = int(rng.integers(frame.height - height + 1))
    return {"left": left, "top": top, "width": width, "height": height}
