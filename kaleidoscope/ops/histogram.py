"""Ops that spread the tones of an image by how often each occurs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.errors import OpError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, into, op
from kaleidoscope.ops.channels import RGBA, colour_count, split
from kaleidoscope.ops.levels import keep_alpha
from kaleidoscope.ops.tables import look_up_in_place
from kaleidoscope.record import max_value_of

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

GREY, RGB = 1, 3
#: From how many pixels have each value to what each becomes.
TableOf = Callable[["NDArray[np.float64]"], "NDArray[np.float64]"]


@op
class CLAHE(Op):
    """Equalize the lightness tile by tile, its contrast limited by a draw from a range.

    Contrast limited adaptive histogram equalization (K. Zuiderveld, "Graphics Gems IV", 1994; OpenCV's ``CLAHE``): of
    grey images the pixels, of RGB and RGBA the L of CIE L*a*b*. ``uint16`` and ``float32`` gain what their nearest
    of 256 steps of L gain.

    Parameters
    ----------
    clip_limit : float or (float, float), at least 1
        How often a tone may occur in a tile, in multiples of the mean; the surplus is spread over all. A single
        number x stands for (1, x).
    tile_grid_size : (int, int), rows and columns, at least 1
        How many tiles there are. (Albumentations documents this order, and takes columns and rows.)

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> dim = (np.arange(64 * 64).reshape(64, 64, 1) // 64 + 90).astype("uint8")
    >>> out = np.empty_like(dim)
    >>> ops.CLAHE(tile_grid_size=(1, 1)).kernel(dim, {"clip_limit": 40.0}, out)
    >>> int(dim.min()), int(dim.max()), int(out.min()), int(out.max())
    (90, 153, 4, 255)
    """

    clip_limit: fields.Range = 4.0
    tile_grid_size: tuple[int, int] = (8, 8)

    short_name = "clahe"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        expected = "a number x of at least 1 for (1, x), or a pair (least, greatest)"
        fields.pair(self, "clip_limit", low=1, start=1, expected=expected)
        expected = "how many (rows, columns) of tiles, each at least 1"
        fields.counts(self, "tile_grid_size", sizes=(2,), expected=expected)
        if not isinstance(self.tile_grid_size, tuple) or min(self.tile_grid_size) < 1:
            raise fields.refuse(self, "tile_grid_size", self.tile_grid_size, expected)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``clip_limit``."""
        return {"clip_limit": fields.draw(rng, self.clip_limit)}

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If it is neither grey, RGB nor RGBA.
        """
        return grey_or_rgb(self, frame)

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, 1), (H, W, 3) or (H, W, 4), its tones spread."""
        rows, columns = self.tile_grid_size
        clahe = cv2.createCLAHE(params["clip_limit"], (columns, rows))  # of its own: it keeps what it computes
        if src.dtype == np.uint8:
            if src.shape[2] == GREY:
                out[..., 0] = clahe.apply(np.ascontiguousarray(src[..., 0]))
                return
            lab = cv2.cvtColor(np.ascontiguousarray(src), cv2.COLOR_RGB2LAB)
            planes = split(lab)
            clahe.apply(planes[0], dst=planes[0])
            cv2.merge(planes, dst=lab)
            into(out, cv2.cvtColor(lab, cv2.COLOR_LAB2RGB, dst=out, dstCn=src.shape[2]))
        else:
            most = np.float32(max_value_of(src))
            pixels = src / most
            if src.shape[2] == GREY:
                pixels[..., 0] = _by_steps(clahe, pixels[..., 0], 1.0)
            else:
                lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
                lab = cv2.insertChannel(_by_steps(clahe, cv2.extractChannel(lab, 0), 100.0), lab, 0)
                pixels = np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1)
            out[..., :RGB] = pixels if src.dtype == np.float32 else np.rint(pixels * most)
        keep_alpha(src, out)


def _by_steps(clahe: cv2.CLAHE, lightness: NDArray[Any], most: float) -> NDArray[Any]:
    """Return lightness in [0, most] plus what becomes of it in 256 steps.

    OpenCV's CLAHE of 16 bits counts 65,536 of them, of which a tile has next to none twice: it limits nothing.
    """
    steps = np.rint(lightness * np.float32(255 / most)).astype(np.uint8)
    gain = np.subtract(clahe.apply(steps), steps, dtype=np.float32) * np.float32(most / 255)
    return np.asarray(np.clip(lightness + gain, 0, most))


@op
class Equalize(Op):
    """Spread the tones so that each part of the range is used as often as any other.

    With ``sums``, how many pixels have at most a value, and `max_value`, the largest of the dtype, a value becomes

    ======  ==========================================================================================
    mode    value
    ======  ==========================================================================================
    cv      ``max_value * (sums - first) / (total - first)``, `first` of the darkest value (OpenCV)
    pil     ``(sums + step // 2) // step``, ``step = (total - last) // max_value``, `last` of the brightest
    ======  ==========================================================================================

    rounded and clipped. A channel of one value stays as it is, and ``pil`` leaves one alone that has fewer pixels
    than values. ``float32`` is taken in 65,536 steps. By channels, any number of them is taken; of four the last is
    alpha, and stays. Otherwise grey, RGB and RGBA, by their luma (ITU-R BT.601). The mask that Albumentations takes
    is an array, which a recipe cannot hold, and is not there.

    Parameters
    ----------
    mode : {"cv", "pil"}
    by_channels : bool
        Each channel by itself, which changes colours; otherwise the luma.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> dim = np.array([[[50], [51], [52], [52]]], dtype="uint8")
    >>> out = np.empty_like(dim)
    >>> ops.Equalize().kernel(dim, {}, out)
    >>> out.ravel().tolist()
    [0, 85, 255, 255]
    """

    mode: str = "cv"
    by_channels: bool = True

    short_name = "equalize"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.choice(self, "mode", ("cv", "pil"))
        fields.flag(self, "by_channels")

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If it is neither grey, RGB nor RGBA, and not done by channels.
        """
        return frame if self.by_channels else grey_or_rgb(self, frame)

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), its tones spread."""
        if self.by_channels or src.shape[2] == GREY:
            _by_planes(src, self.table, out)
            return
        luma = cv2.cvtColor(_whole_numbers(src), cv2.COLOR_RGB2YCrCb)
        plane = cv2.extractChannel(luma, 0)
        _spread(plane, self.table)
        luma = cv2.insertChannel(plane, luma, 0)
        if out.dtype == np.float32:
            _as_before(cv2.cvtColor(luma, cv2.COLOR_YCrCb2RGB, dstCn=out.shape[2]), out)
        else:
            into(out, cv2.cvtColor(luma, cv2.COLOR_YCrCb2RGB, dst=out, dstCn=out.shape[2]))
        keep_alpha(src, out)

    def table(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what each value of a channel becomes, by how often each occurs."""
        return (_equal_cv if self.mode == "cv" else _equal_pil)(counts)


@op
class AutoContrast(Op):
    """Spread the tones of each colour until its darkest is black and its brightest is full.

    ::

        pil: out = max_value * (pixel - low) / (high - low)
        cdf: out = max_value * (share of the pixels above low up to this one)

    rounded and clipped. `low` and `high` are the least and the greatest value there is; with a cutoff, `low` is the
    least value with as many percent of the pixels below it, and `high` the greatest with as many from it on. Where
    `low` is not below `high` the channel stays. Any number of channels; of four the last is alpha, and stays.
    ``float32`` is taken in 65,536 steps.

    Two slips of Albumentations are not followed: it does not count pixels of the largest value, and takes `ignore`
    for the number of a channel too.

    Parameters
    ----------
    cutoff : float, percent in [0, 100]
    ignore : int, 255ths of the full range in [0, 255], or None
        A value that is not counted, and stays.
    method : {"cdf", "pil"}
        ``cdf`` spreads by how often each tone occurs, ``pil`` evenly.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> dim = np.array([[[50], [60], [100], [100]]], dtype="uint8")
    >>> out = np.empty_like(dim)
    >>> ops.AutoContrast(method="pil").kernel(dim, {}, out)
    >>> out.ravel().tolist()
    [0, 51, 255, 255]
    """

    cutoff: float = 0.0
    ignore: int | None = None
    method: str = "cdf"

    short_name = "autocontrast"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.number(self, "cutoff", low=0, high=100, expected="percent of the pixels in [0, 100]")
        if self.ignore is not None:
            given = self.ignore
            fields.whole(self, "ignore", low=0, expected="a value in [0, 255], or None")
            if self.ignore > 255:
                raise fields.refuse(self, "ignore", given, "a value in [0, 255], or None")
        fields.choice(self, "method", ("cdf", "pil"))

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), its tones spread."""
        _by_planes(src, self.table, out)

    def table(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what each value becomes, for a channel with so many pixels of each."""
        most = len(counts) - 1
        kept = None if self.ignore is None else self.ignore * most // 255
        if kept is not None:
            counts[kept] = 0
        sums, values = counts.cumsum(), np.arange(most + 1.0)
        lows = highs = counts > 0
        if cut := sums[-1] * self.cutoff / 100:
            lows, highs = sums - counts >= cut, sums[-1] - sums + counts >= cut  # of the second this value is a part
        if not lows.any() or not highs.any():
            return values
        low, high = lows.argmax(), most - highs[::-1].argmax()
        shares = sums if self.method == "cdf" else values
        if high <= low or shares[high] <= shares[low]:
            return values
        table = (shares - shares[low]) / (shares[high] - shares[low])
        table = np.minimum(np.maximum(table, 0), 1) * most
        if kept is not None:
            table[kept] = kept
        return np.asarray(np.rint(table))


def grey_or_rgb(part: Op, frame: Frame) -> Frame:
    """Return the frame of an op that does grey, RGB and RGBA.

    Raises
    ------
    OpError
        If it is another.
    """
    if frame.channels not in (GREY, RGB, RGBA):
        raise OpError(
            f"{type(part).__name__}: expected grey, RGB or RGBA (1, 3 or 4 channels), got {frame.channels} ({frame})"
        )
    return frame


def _equal_cv(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    sums, most = counts.cumsum(), len(counts) - 1
    first = counts[(counts > 0).argmax()]
    if first == sums[-1]:
        return np.arange(most + 1.0)
    return np.asarray(np.rint(np.maximum(sums - first, 0) * (most / (sums[-1] - first))))


def _equal_pil(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    sums, most = np.cumsum(counts), len(counts) - 1
    step = (sums[-1] - counts[np.flatnonzero(counts)[-1]]) // most
    if step == 0:
        return np.arange(most + 1.0)
    return np.asarray(np.minimum((sums + step // 2) // step, most))


def _whole_numbers(src: NDArray[Any]) -> NDArray[Any]:
    """Return the pixels, contiguous, ``float32`` in 65,536 steps: what can be counted."""
    if src.dtype != np.float32:
        return np.ascontiguousarray(src)
    return np.asarray(np.rint(src * np.float32(65535)).astype(np.uint16))


def _histogram(plane: NDArray[Any]) -> NDArray[np.float64]:
    """Return how many pixels of one channel have each of the values of a whole-number type."""
    levels = int(max_value_of(plane)) + 1
    return cv2.calcHist([plane], [0], None, [levels], (0, levels)).ravel().astype(np.float64)


def _spread(plane: NDArray[Any], table: TableOf) -> None:
    """Spread the tones of one channel of whole numbers, shape (H, W), in its place."""
    look_up_in_place(plane, table(_histogram(plane)).astype(plane.dtype))


def _by_planes(src: NDArray[Any], table: TableOf, out: NDArray[Any]) -> None:
    """Fill `out` with `src`, the tones of each colour spread by itself; alpha is copied."""
    channels = src.shape[2]
    if out.dtype == np.float32 or channels > RGBA:  # OpenCV refuses more than 128 channels
        pixels = _whole_numbers(src)
        for channel in range(colour_count(channels)):
            plane = pixels[..., channel].copy()
            _spread(plane, table)
            _as_before(plane, out[..., channel])
        keep_alpha(src, out)
        return
    planes = split(src)
    for plane in planes[: colour_count(channels)]:
        _spread(plane, table)
    into(out, cv2.merge(planes, dst=out))


def _as_before(pixels: NDArray[Any], out: NDArray[Any]) -> None:
    """Fill `out`, of the dtype that `_whole_numbers` was given, with what it made."""
    if out.dtype == np.float32:
        np.multiply(pixels, np.float32(1 / 65535), out=out)
        np.clip(out, 0, 1, out=out)  # 65535 times the float nearest to 1 / 65535 may be more than 1
    else:
        np.copyto(out, pixels)
