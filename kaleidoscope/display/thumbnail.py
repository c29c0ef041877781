"""One picture of a contact sheet: any pixels made 8-bit RGB, and small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

_SQUARE = 8
_LIGHT, _DARK = 255, 232
_FAILED_FILL, _FAILED_LINE = "#fef2f2", "#fca5a5"


def thumbnail_of(pixels: NDArray[Any], size: int) -> Image:
    """Return `pixels` as an RGB picture that fits into a square, in its own proportions.

    Larger ones are reduced by a Lanczos filter, smaller ones enlarged pixel by pixel. What is transparent
    shows a light checkerboard.

    Parameters
    ----------
    pixels : ndarray of shape (H, W, C)
        ``uint8``, ``uint16``, or ``float32`` in [0, 1] (beyond it: clipped). One channel is grey, three are
        RGB, four RGBA; of two the first is shown, of more than four the first three.
    size : int
        Side of the square, in pixels.
    """
    from PIL import Image

    height, width, channels = pixels.shape
    shown = {1: 1, 2: 1, 4: 4}.get(channels, 3)
    values = _eight_bit(pixels[..., :shown])
    image = Image.fromarray(np.ascontiguousarray(values[..., 0] if shown == 1 else values))
    scale = min(size / width, size / height)
    fitted = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    image = image.resize(fitted, how, reducing_gap=3.0)
    if shown == 4:
        image = Image.alpha_composite(_checkerboard(fitted), image)
    return image.convert("RGB")


def placeholder(size: tuple[int, int]) -> Image:
    """Return what stands for a variant that could not be made: a crossed-out field of (width, height)."""
    from PIL import Image, ImageDraw

    # Drawn at four times the size and reduced, because ImageDraw's lines have no smooth edges.
    width, height = 4 * size[0], 4 * size[1]
    image = Image.new("RGB", (width, height), _FAILED_FILL)
    draw = ImageDraw.Draw(image)
    for line in ((0, 0, width, height), (0, height, width, 0)):
        draw.line(line, fill=_FAILED_LINE, width=6)
    return image.resize(size, Image.Resampling.LANCZOS)


def _eight_bit(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint16:
        pixels = pixels >> 8
    elif pixels.dtype == np.float32:
        pixels = np.nan_to_num(pixels).clip(0, 1) * 255 + 0.5
    return pixels.astype(np.uint8, copy=False)


def _checkerboard(size: tuple[int, int]) -> Image:
    from PIL import Image

    rows, columns = np.ogrid[: size[1], : size[0]]
    odd = (rows // _SQUARE + columns // _SQUARE) % 2 == 1
    return Image.fromarray(np.where(odd, _DARK, _LIGHT).astype(np.uint8)).convert("RGBA")
