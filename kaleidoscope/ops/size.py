"""Ops that make an image of another size out of the whole of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from kaleidoscope.errors import RecipeError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Params, op
from kaleidoscope.ops.sized import WholeSized

if TYPE_CHECKING:
    from numpy.random import Generator

    from kaleidoscope.record import Frame


@op
class Resize(WholeSized):
    """Make the image `height` x `width` pixels large, whatever its proportions.

    Edges stay edges, so the pixel centre at (x, y) of an image of W x H pixels moves to ::

        x' = (x + 0.5) * width / W - 0.5
        y' = (y + 0.5) * height / H - 0.5

    Any dtype and number of channels. Where it is the first op of an image, takes means (``area``) and halves both sides
    or more, a JPEG is decoded at 1/2, from 8 times on at 1/4, from 16 times on at 1/8, if its sides can be divided so:
    many times as fast, and on average within 2 levels of decoding it in full.

    Parameters
    ----------
    height, width : int, pixels
        The new size.
    interpolation : {"linear", "nearest", "cubic", "area", "lanczos4"}
        How values between pixels are made. OpenCV's integers are accepted. All but ``area``, the mean of what a new
        pixel covers, look at few pixels however much the image shrinks: fine patterns turn into coarse ones.
    area_for_downscale : {None, "image", "image_mask"}
        ``"image"``: take ``area`` wherever a side becomes shorter, and `interpolation` elsewhere. ``"image_mask"``: for
        masks, too.
    mask_interpolation : as interpolation
        The same for masks. All but ``nearest`` make values up.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> row = np.array([[[10], [20], [60], [70]]], dtype="uint8")
    >>> out = np.empty((1, 2, 1), dtype="uint8")
    >>> ops.Resize(height=1, width=2, area_for_downscale="image").kernel(row, {}, out)
    >>> out.ravel().tolist()
    [15, 65]
    """

    height: int
    width: int
    interpolation: str | int = "linear"
    area_for_downscale: str | None = None
    mask_interpolation: str | int = "nearest"

    short_name = "resize"

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        for name in ("height", "width"):
            fields.whole(self, name, low=1, expected="whole pixels, at least 1")
        self._check_interpolation()

    def _largest(self, frame: Frame) -> tuple[int, int]:
        return self.height, self.width

    def size_of(self, params: Params) -> tuple[int, int]:
        return self.height, self.width


@op
class _MaxSize(WholeSized):
    """Keeps the proportions; what remains to be said is which side has to fit."""

    max_size: int | tuple[int, ...] | None = None
    max_size_hw: tuple[int | None, int | None] | None = None
    interpolation: str | int = "linear"
    mask_interpolation: str | int = "nearest"
    area_for_downscale: str | None = None

    def _pick(self, scales: list[float]) -> float:
        """Return which of the scales of the sides holds for both."""
        raise RecipeError(f"{type(self).__name__} does not say which side has to fit")

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        name = type(self).__name__
        if (self.max_size is None) == (self.max_size_hw is None):
            raise RecipeError(
                f"{name}(max_size={self.max_size!r}, max_size_hw={self.max_size_hw!r}): expected one of the two"
            )
        if self.max_size is not None:
            sizes = _sizes(self.max_size)
            if not sizes or None in sizes:
                raise fields.refuse(
                    self, "max_size", self.max_size, "whole pixels, at least 1, or a list of sizes to draw from"
                )
            fields.set_field(self, "max_size", sizes if isinstance(self.max_size, list | tuple) else sizes[0])
        if self.max_size_hw is not None:
            sides = _sizes(self.max_size_hw)
            if len(sides) != 2 or sides == (None, None):
                raise fields.refuse(
                    self, "max_size_hw", self.max_size_hw, "(height, width) in whole pixels, one of them may be None"
                )
            fields.set_field(self, "max_size_hw", sides)
        self._check_interpolation()

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Choose ``height`` and ``width``, from a list of sizes by drawing one of them."""
        size = self.max_size
        if isinstance(size, tuple):
            size = size[int(rng.integers(len(size)))]
        height, width = self._fitted(frame, size)
        return {"height": height, "width": width}

    def _largest(self, frame: Frame) -> tuple[int, int]:
        return self._fitted(frame, max(self.max_size) if isinstance(self.max_size, tuple) else self.max_size)

    def _fitted(self, frame: Frame, size: int | None) -> tuple[int, int]:
        limits = self.max_size_hw or (size, size)
        sides = (frame.height, frame.width)
        scale = self._pick([limit / side for limit, side in zip(limits, sides, strict=True) if limit is not None])
        height, width = (max(1, round(side * scale)) for side in sides)
        return height, width


def _sizes(value: object) -> tuple[int | None, ...]:
    """Return a size, or a list of them, as a tuple of whole numbers of at least 1 and None; empty if it is none."""
    several = value if isinstance(value, list | tuple) else (value,)
    for one in several:
        whole = isinstance(one, int | float) and not isinstance(one, bool) and one >= 1 and one % 1 == 0
        if one is not None and not whole:
            return ()
    return tuple(None if one is None else int(one) for one in several)


@op
class LongestMaxSize(_MaxSize):
    """Scale the image until its longest side is `max_size` pixels long, or both sides fit `max_size_hw`.

    The proportions stay, but for rounding: of W x H pixels become ``max(1, round(W * s))`` x ``max(1, round(H * s))``
    with ::

        s = max_size / max(W, H)    or    s = min(max_height / H, max_width / W)

    Smaller images are enlarged. Any dtype and number of channels. Where it takes means and shrinks by half or more, a
    large JPEG is decoded smaller, as for `Resize`.

    Parameters
    ----------
    max_size : int or list of int, pixels
        How long the longest side becomes; of a list, one is drawn for each image.
    max_size_hw : (int or None, int or None), pixels
        Instead of `max_size`: the height and the width to fit; None: however much it becomes.
    interpolation : {"linear", "nearest", "cubic", "area", "lanczos4"}
        How values between pixels are made. OpenCV's integers are accepted.
    mask_interpolation : as interpolation
        The same for masks. All but ``nearest`` make values up.
    area_for_downscale : {None, "image", "image_mask"}
        ``"image"``: take ``area`` wherever the image becomes smaller, and `interpolation` elsewhere. ``"image_mask"``:
        for masks, too.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> ops.LongestMaxSize(max_size=256).sample_params(np.random.default_rng(), Frame(480, 640, 3, "uint8"))
    {'height': 192, 'width': 256}
    """

    short_name = "longestmax"

    def _pick(self, scales: list[float]) -> float:
        return min(scales)


@op
class SmallestMaxSize(_MaxSize):
    """Scale the image until its shortest side is `max_size` pixels long, or both sides reach `max_size_hw`.

    The proportions stay, but for rounding: of W x H pixels become ``max(1, round(W * s))`` x ``max(1, round(H * s))``
    with ::

        s = max_size / min(W, H)    or    s = max(max_height / H, max_width / W)

    Smaller images are enlarged. Any dtype and number of channels. Where it takes means and shrinks by half or more, a
    large JPEG is decoded smaller, as for `Resize`.

    Parameters
    ----------
    max_size : int or list of int, pixels
        How long the shortest side becomes; of a list, one is drawn for each image.
    max_size_hw : (int or None, int or None), pixels
        Instead of `max_size`: the height and the width to reach; None: however much it becomes.
    interpolation : {"linear", "nearest", "cubic", "area", "lanczos4"}
        How values between pixels are made. OpenCV's integers are accepted.
    mask_interpolation : as interpolation
        The same for masks. All but ``nearest`` make values up.
    area_for_downscale : {None, "image", "image_mask"}
        ``"image"``: take ``area`` wherever the image becomes smaller, and `interpolation` elsewhere. ``"image_mask"``:
        for masks, too.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> ops.SmallestMaxSize(max_size=240).sample_params(np.random.default_rng(), Frame(480, 640, 3, "uint8"))
    {'height': 240, 'width': 320}
    """

    short_name = "smallestmax"

    def _pick(self, scales: list[float]) -> float:
        return max(scales)


@op
class RandomScale(WholeSized):
    """Scale the image by a factor drawn from a range: both sides by the same.

    Of W x H pixels become ``max(1, floor(W * s))`` x ``max(1, floor(H * s))`` with ``s = 1 + u``, u drawn uniformly
    from `scale_limit`. Any dtype and number of channels. Where it takes means and always shrinks by half or more, a
    large JPEG is decoded smaller, as for `Resize`.

    Parameters
    ----------
    scale_limit : (float, float) or float, greater than -1
        By how much the image grows, as a share of its sides: -0.1 is a tenth smaller. A number x stands for (-x, x).
    interpolation : {"linear", "nearest", "cubic", "area", "lanczos4"}
        How values between pixels are made. OpenCV's integers are accepted.
    mask_interpolation : as interpolation
        The same for masks. All but ``nearest`` make values up.
    area_for_downscale : {None, "image", "image_mask"}
        ``"image"``: take ``area`` wherever the image becomes smaller, and `interpolation` elsewhere. ``"image_mask"``:
        for masks, too.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> ops.RandomScale((0.5, 0.5)).sample_params(np.random.default_rng(), Frame(480, 641, 3, "uint8"))
    {'height': 720, 'width': 961}
    """

    scale_limit: fields.Range = (-0.1, 0.1)
    interpolation: str | int = "linear"
    mask_interpolation: str | int = "nearest"
    area_for_downscale: str | None = None

    short_name = "scale"

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If a field is not what it should be.
        """
        expected, given = "shares of the sides by which the image grows, each greater than -1", self.scale_limit
        fields.pair(self, "scale_limit", expected=expected, symmetric=True)
        if self._limits[0] <= -1:
            raise fields.refuse(self, "scale_limit", given, expected)
        self._check_interpolation()

    @property
    def _limits(self) -> tuple[float, float]:
        return cast("tuple[float, float]", self.scale_limit)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``height`` and ``width``."""
        height, width = _scaled(frame, fields.draw(rng, self.scale_limit))
        return {"height": height, "width": width}

    def _largest(self, frame: Frame) -> tuple[int, int]:
        return _scaled(frame, self._limits[1])


def _scaled(frame: Frame, more: float) -> tuple[int, int]:
    return max(1, int(frame.height * (1 + more))), max(1, int(frame.width * (1 + more)))
