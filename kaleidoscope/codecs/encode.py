"""Pixels to bytes: the same pixels always give the same bytes, and nothing is converted on the way."""

from __future__ import annotations

import io
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import simplejpeg

from kaleidoscope.codecs.png import encode_png
from kaleidoscope.errors import OpError, RecipeError, did_you_mean
from kaleidoscope.record import Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Format(NamedTuple):
    """What a format can hold: pixel types, channel counts (none given: any), the longest side in pixels."""

    dtypes: tuple[str, ...]
    channels: tuple[int, ...]
    longest: int
    lossy: bool = False


_FORMATS: Mapping[str, _Format] = {
    "jpg": _Format(("uint8",), (1, 3), 65_500, lossy=True),  # libjpeg's own limit, below the format's 65,535
    "png": _Format(("uint8", "uint16"), (1, 3, 4), 1_000_000),  # libpng's
    "webp": _Format(("uint8",), (3, 4), 16_383, lossy=True),
    "tiff": _Format(("uint8", "uint16", "float32"), (1, 3, 4), 2**31 - 1),
    "npy": _Format(("uint8", "uint16", "float32"), (), 2**31 - 1),
}
_ALIASES = {"jpeg": "jpg", "tif": "tiff"}


@dataclass(frozen=True)
class Encoder:
    r"""Writes pixels in one format.

    Parameters
    ----------
    format : str
        ``jpg`` (8-bit grey, RGB), ``png`` (8 and 16 bit, grey, RGB, RGBA), ``webp`` (8-bit RGB, RGBA; lossy),
        ``tiff`` (8 and 16 bit, float; grey, RGB, RGBA) or ``npy`` (anything). ``jpeg`` is ``jpg``, ``tif`` is
        ``tiff``.
    quality : int
        1 to 100, for ``jpg`` and ``webp``; the others lose nothing. 100 still loses a little.

    Raises
    ------
    RecipeError
        For an unknown format, or another quality.

    Examples
    --------
    >>> Encoder("jpeg").extension
    'jpg'
    >>> Encoder("png").encode(np.zeros((1, 1, 3), np.uint8))[:4]
    b'\x89PNG'
    """

    format: str
    quality: int = 95

    def __post_init__(self) -> None:
        """Bring `format` and `quality` to one spelling, or refuse them."""
        name = self.format.lower().removeprefix(".") if isinstance(self.format, str) else self.format
        name = _ALIASES.get(name, name) if isinstance(name, str) else name
        if not isinstance(name, str) or name not in _FORMATS:
            guess = did_you_mean(str(name), [*_FORMATS, *_ALIASES])
            raise RecipeError(f"expected one of the formats {', '.join(_FORMATS)}; got {self.format!r}.{guess}")
        whole = isinstance(self.quality, numbers.Integral) and not isinstance(self.quality, bool)
        if not whole or not 1 <= self.quality <= 100:
            raise RecipeError(f"expected a quality from 1 to 100, a whole number; got {self.quality!r}")
        object.__setattr__(self, "format", name)
        object.__setattr__(self, "quality", int(self.quality))

    @property
    def extension(self) -> str:
        """The extension of the files, without the dot."""
        return self.format

    def needs_scratch(self, pixels: NDArray[Any]) -> bool:
        """Whether `encode` has a use for a scratch buffer: to swap channels, or to put together what lies apart."""
        return self.format in {"webp", "tiff"} or (self.format == "jpg" and not pixels.flags.c_contiguous)

    def spec(self) -> dict[str, Any]:
        """Return, as JSON values, what the bytes depend on beside the pixels.

        Examples
        --------
        >>> Encoder("jpg", quality=90).spec(), Encoder("png", quality=90).spec()
        ({'format': 'jpg', 'quality': 90}, {'format': 'png'})
        """
        if _FORMATS[self.format].lossy:
            return {"format": self.format, "quality": self.quality}
        return {"format": self.format}

    def check(self, frame: Frame) -> None:
        """Refuse what the format cannot hold; nothing is converted silently.

        Raises
        ------
        RecipeError
            For a pixel type, a number of channels or a size that the format does not have.
        """
        known = _FORMATS[self.format]
        if frame.dtype not in known.dtypes or (known.channels and frame.channels not in known.channels):
            able = [
                name
                for name, other in _FORMATS.items()
                if frame.dtype in other.dtypes and (not other.channels or frame.channels in other.channels)
            ]
            channels = " or ".join(map(str, known.channels)) or "any number of"
            raise RecipeError(
                f"{self.format} holds {' or '.join(known.dtypes)} in {channels} channels, and nothing is "
                f"converted silently; got {frame}: write {' or '.join(able)}"
            )
        if max(frame.height, frame.width) > known.longest:
            raise RecipeError(f"{self.format} holds at most {known.longest} pixels a side; got {frame}")

    def encode(self, pixels: NDArray[Any], scratch: NDArray[Any] | None = None) -> bytes:
        """Return `pixels` encoded, with no metadata.

        Parameters
        ----------
        pixels : ndarray of shape (H, W, C)
            RGB (grey, RGBA); left as they are.
        scratch : ndarray, optional
            A contiguous buffer of the shape and type of `pixels` to work in; saves an allocation. Used if it fits.

        Returns
        -------
        bytes
            The file.

        Raises
        ------
        RecipeError
            If the format cannot hold these pixels.
        OpError
            If the encoder fails.
        """
        self.check(Frame.of(pixels))
        if self.format == "jpg":
            return _jpeg(_contiguous(pixels, scratch), self.quality)
        if self.format == "png":
            return _png(pixels)
        if self.format == "npy":
            target = io.BytesIO()
            np.lib.format.write_array(target, np.ascontiguousarray(pixels), version=(1, 0), allow_pickle=False)
            return target.getvalue()
        try:
            done, encoded = cv2.imencode(f".{self.format}", _to_bgr(pixels, scratch), self._settings(pixels.dtype))
        except (cv2.error, MemoryError) as error:
            raise OpError(f"{self.format} encoder: {error}", step="encode") from error
        if not done:
            raise OpError(f"the {self.format} encoder gave no bytes for {Frame.of(pixels)}", step="encode")
        return encoded.tobytes()

    def _settings(self, dtype: np.dtype[Any]) -> list[int]:
        # Said in full, also where it is OpenCV's default today: another default would be other bytes.
        if self.format == "webp":
            return [cv2.IMWRITE_WEBP_QUALITY, self.quality]
        # LZW halves a photograph in floats, and takes 45 ms instead of 2.
        packed = dtype != np.float32
        method = cv2.IMWRITE_TIFF_COMPRESSION_LZW if packed else cv2.IMWRITE_TIFF_COMPRESSION_NONE
        return [cv2.IMWRITE_TIFF_COMPRESSION, method]


def _png(pixels: NDArray[Any]) -> bytes:
    try:
        return encode_png(pixels)
    except MemoryError as error:
        raise OpError(f"png encoder: {error}", step="encode") from error


def _jpeg(pixels: NDArray[Any], quality: int) -> bytes:
    """Encode by libjpeg-turbo from RGB: OpenCV would want a copy with the channels swapped first, 7% of a whole job."""
    kinds = {"colorspace": "RGB", "colorsubsampling": "420"}
    if pixels.shape[2] == 1:
        kinds = {"colorspace": "GRAY", "colorsubsampling": "Gray"}
    try:
        data: bytes = simplejpeg.encode_jpeg(pixels, quality=quality, fastdct=False, **kinds)
    except (ValueError, MemoryError) as error:
        raise OpError(f"jpg encoder: {error}", step="encode") from error
    return data


def _to_bgr(pixels: NDArray[Any], scratch: NDArray[Any] | None) -> NDArray[Any]:
    channels = pixels.shape[2]
    if channels == 1:
        return pixels
    # Of another shape or type, OpenCV passes over it by itself.
    swap = cv2.COLOR_RGB2BGR if channels == 3 else cv2.COLOR_RGBA2BGRA
    return cv2.cvtColor(pixels, swap, dst=scratch if _usable(scratch, pixels) else None)


def _contiguous(pixels: NDArray[Any], scratch: NDArray[Any] | None) -> NDArray[Any]:
    if pixels.flags.c_contiguous:
        return pixels
    fits = scratch is not None and (scratch.shape, scratch.dtype) == (pixels.shape, pixels.dtype)
    if scratch is None or not fits or not _usable(scratch, pixels):
        return np.ascontiguousarray(pixels)
    np.copyto(scratch, pixels)
    return scratch


def _usable(scratch: NDArray[Any] | None, pixels: NDArray[Any]) -> bool:
    return (
        scratch is not None
        and scratch.flags.c_contiguous
        and scratch.flags.writeable
        and not np.may_share_memory(scratch, pixels)
    )
