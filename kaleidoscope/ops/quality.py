"""Ops that lose detail as files and small pictures do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
import simplejpeg

from kaleidoscope.errors import OpError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, op
from kaleidoscope.ops.size import Resize

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

#: How many pixels a side may have: what libjpeg and WebP write.
_LONGEST = {"jpeg": 65500, "webp": 16383}


@op
class ImageCompression(Op):
    """Encode as JPEG or WebP, of a quality drawn uniformly, and decode.

    What comes is what a file of that quality would have kept. JPEG is that of libjpeg-turbo, with colours at half the
    resolution (4:2:0); WebP is lossy at 100, too. Any dtype and number of channels: ``uint16`` and ``float32`` go by
    way of ``uint8``, as files of these kinds hold nothing else, and lose their other bits. Of four channels the last
    is alpha, and stays; of others the first three are encoded as RGB, and those beyond or fewer one by one, as grey.

    Parameters
    ----------
    compression_type : {"jpeg", "webp"}
    quality_range : int or (int, int), 1 to 100
        The least and the greatest quality; a single number x stands for (x, x).

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> checks = np.indices((16, 16)).sum(axis=0)[..., np.newaxis].astype("uint8") % 2 * 20
    >>> out = np.empty_like(checks)
    >>> ops.ImageCompression(quality_range=10).kernel(checks, {"quality": 10}, out)
    >>> np.unique(out).size
    1
    """

    compression_type: str = "jpeg"
    quality_range: int | tuple[int, int] = (99, 100)

    short_name = "compression"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.choice(self, "compression_type", tuple(_LONGEST))
        expected = "a quality from 1 to 100, or a pair (least, greatest)"
        fields.pair(self, "quality_range", low=1, high=100, whole=True, expected=expected)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``quality``, 1 to 100."""
        least, greatest = cast("tuple[int, int]", self.quality_range)
        return {"quality": int(rng.integers(least, greatest + 1))}

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If an image of that size cannot be encoded.
        """
        most = _LONGEST[self.compression_type]
        if max(frame.height, frame.width) > most:
            raise OpError(f"ImageCompression: {self.compression_type} has at most {most} pixels a side, got {frame}")
        return frame

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with what is left of `src`, shape (H, W, C)."""
        quality, channels = params["quality"], src.shape[2]
        colours = 3 if channels >= 3 else 0
        parts = [slice(0, 3)] if colours else []
        if channels != 4:
            parts += [slice(i, i + 1) for i in range(colours, channels)]
        else:
            out[..., 3] = src[..., 3]
        for part in parts:
            _fill(out[..., part], np.ascontiguousarray(src[..., part]), self.compression_type, quality)


def _fill(out: NDArray[Any], src: NDArray[Any], kind: str, quality: int) -> None:
    """Fill some channels of an image, 1 or 3, with what was encoded as ``uint8`` and decoded."""
    if src.dtype == np.uint8:
        made = _coded(src, kind, quality, out if out.flags.c_contiguous else None)
        if not np.may_share_memory(made, out):
            np.copyto(out, made)
    elif src.dtype == np.uint16:
        # 257 = 65535 / 255: nothing is rounded on the way back.
        levels = ((src.astype(np.uint32) + 128) // 257).astype(np.uint8)
        np.multiply(_coded(levels, kind, quality), np.uint16(257), out=out)
    else:
        levels = np.rint(np.clip(src, 0, 1) * 255).astype(np.uint8)
        np.multiply(_coded(levels, kind, quality), np.float32(1 / 255), out=out)


def _coded(pixels: NDArray[np.uint8], kind: str, quality: int, buffer: NDArray[np.uint8] | None = None) -> NDArray[Any]:
    """Return grey or RGB pixels as they come out of a file, perhaps in a buffer of their shape."""
    # In OpenCV's order of channels: Albumentations leaves RGB as it is, so that red is coded as blue would be.
    # Encoded by OpenCV, as simplejpeg has a coarser transform below a quality of 96: up to 0.9 levels off on average.
    colours = pixels.shape[2] == 3
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if colours else pixels
    made: NDArray[Any] | None = None
    done, data = cv2.imencode(*_settings(kind, quality, bgr))
    if done and kind == "jpeg":  # decoded by simplejpeg, to the same pixels in half the time
        space = "RGB" if colours else "GRAY"
        made = simplejpeg.decode_jpeg(data, space, fastdct=False, fastupsample=False, buffer=buffer)
    elif done:
        made = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB if colours else cv2.IMREAD_GRAYSCALE)
    if made is None:
        raise OpError(f"ImageCompression: the {kind} codec made nothing of pixels of shape {pixels.shape}")
    return made.reshape(pixels.shape)


def _settings(kind: str, quality: int, bgr: NDArray[Any]) -> tuple[str, NDArray[Any], list[int]]:
    """Return what ``cv2.imencode`` takes: in full, also where it is OpenCV's default today."""
    if kind == "webp":
        return ".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality]
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    return ".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality, *sampling]


@op
class Downscale(Op):
    """Make the image smaller by a factor drawn uniformly, and as large as it was again.

    The smaller image has ``max(1, round(scale * W)) x max(1, round(scale * H))`` pixels. Edges stay edges, so that
    nothing moves: of a block of pixels ``nearest`` takes the one in the middle, not the upper left one. Any dtype and
    number of channels, alpha included: its edges become as coarse as the picture's.

    Parameters
    ----------
    scale_range : float or (float, float), fractions of the size above 0, at most 1
        A single number x stands for (x, x). 1 changes nothing.
    interpolation_pair : mapping or (str, str)
        How pixels are made on the way down and up: a mapping with the keys ``downscale`` and ``upscale``, or a pair in
        that order, which is how it is stored; each ``nearest``, ``linear``, ``cubic``, ``area`` or ``lanczos4``, or
        OpenCV's integer. What a mapping leaves out is ``nearest``.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> row = np.array([[[10], [20], [60], [70]]], dtype="uint8")
    >>> out = np.empty_like(row)
    >>> coarse = ops.Downscale(interpolation_pair={"downscale": "area", "upscale": "nearest"})
    >>> coarse.kernel(row, {"scale": 0.5}, out)
    >>> out.ravel().tolist()
    [15, 15, 65, 65]
    """

    scale_range: fields.Range = (0.25, 0.25)
    interpolation_pair: tuple[str | int, str | int] | Mapping[str, str | int] = ("nearest", "nearest")

    short_name = "downscale"

    def __post_init__(self) -> None:
        """Check the fields, and store names instead of OpenCV's integers.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        expected = "fractions of the size above 0, at most 1: a number, or a pair (least, greatest)"
        # The least number above 0 stands for "above 0".
        fields.pair(self, "scale_range", low=np.nextafter(0.0, 1.0), high=1, expected=expected)
        given = self.interpolation_pair
        pair: Any = given
        if isinstance(given, Mapping) and set(given) <= {"downscale", "upscale"}:
            pair = tuple(given.get(way, "nearest") for way in ("downscale", "upscale"))
        names = dict(enumerate(fields.INTERPOLATIONS))
        two = isinstance(pair, list | tuple) and len(pair) == 2 and not any(isinstance(way, bool) for way in pair)
        ways = tuple(names.get(way, way) if isinstance(way, int) else way for way in pair) if two else ()
        if not ways or any(way not in fields.INTERPOLATIONS for way in ways):
            known = ", ".join(fields.INTERPOLATIONS)
            expected = f"a mapping with the keys downscale and upscale, or a pair, each one of {known}"
            raise fields.refuse(self, "interpolation_pair", given, expected)
        fields.set_field(self, "interpolation_pair", ways)

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``scale``, the size of the smaller image as a fraction."""
        return {"scale": fields.draw(rng, self.scale_range)}

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), made smaller and larger again."""
        height, width, channels = src.shape
        down, up = cast("tuple[str, str]", self.interpolation_pair)
        small_height, small_width = (max(1, round(params["scale"] * side)) for side in (height, width))
        if (small_height, small_width) == (height, width):
            np.copyto(out, src)
            return
        # By sizes, and by Resize's nearest: given a factor, OpenCV scales by that and not to the edges, and its nearest
        # is the upper left pixel. That shifts Albumentations' outcome, by up to half a block and a pixel or two.
        small = np.empty((small_height, small_width, channels), src.dtype)
        Resize(small_height, small_width, down).kernel(src, {}, small)
        if up == "nearest":
            # Row by row only what differs: half the time.
            wide = np.empty((small_height, width, channels), src.dtype)
            Resize(small_height, width, up).kernel(small, {}, wide)
            rows = np.empty((height, 1, 1), np.float32)
            Resize(height, 1, up).kernel(np.arange(small_height, dtype=np.float32)[:, np.newaxis, np.newaxis], {}, rows)
            np.take(wide, rows.ravel().astype(np.intp), axis=0, out=out, mode="clip")
        else:
            Resize(height, width, up).kernel(small, {}, out)
