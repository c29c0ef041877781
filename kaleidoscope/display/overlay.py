"""What is labelled, drawn over a picture: masks tinted, boxes and polygons outlined, keypoints dotted."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope.coordinates import HALF
from kaleidoscope.targets import Targets

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

#: Told apart also by those who see fewer colours (Okabe and Ito, 2008), bright ones first.
_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#cc79a7", "#0072b2")
_TINT = 0.4
_EDGE = "#111827"
_DOT = 2


def with_targets(picture: Image, targets: Targets, width: int, height: int) -> Image:
    """Return a picture of an image of `width` x `height` pixels with what is labelled in it.

    An object's colour is that of its class; a mask's values have one each, and 0 none.
    """
    from PIL import Image, ImageDraw

    scale = np.array([picture.width / width, picture.height / height])
    for mask in targets.masks.values():
        small = Image.fromarray(mask).resize(picture.size, Image.Resampling.NEAREST)
        picture = Image.fromarray(_tinted(np.asarray(picture), np.asarray(small)))
    draw = ImageDraw.Draw(picture)
    for i in range(len(targets)):
        row = targets.kept(np.arange(len(targets)) == i)
        colour = _colour(row.classes[0] if row.classes else None)
        lines = [ring * scale for ring in row.polygons[0]]
        if not lines and not np.isnan(row.boxes[0, 0]):
            x1, y1, x2, y2 = row.boxes[0]
            lines = [np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)]) * scale]
        for line in lines:
            inside = np.minimum(line, (picture.width - 1, picture.height - 1))  # an edge at W has no pixel W
            corners = [tuple(corner) for corner in [*inside, inside[0]]]
            draw.line(corners, fill=_EDGE, width=3)
            draw.line(corners, fill=colour, width=1)
        for x, y, visibility in row.keypoints[0]:
            if visibility:
                across, down = (np.array([x, y]) + HALF) * scale
                draw.ellipse((across - _DOT, down - _DOT, across + _DOT, down + _DOT), fill=colour, outline=_EDGE)
    return picture


def _tinted(picture: NDArray[Any], mask: NDArray[Any]) -> NDArray[np.uint8]:
    """Lay a colour over every pixel where a mask is not 0."""
    from PIL import ImageColor

    table = np.array([ImageColor.getrgb(colour) for colour in _COLOURS], dtype=np.float32)
    colours = table[(mask.astype(np.int64) - 1) % len(table)]
    tinted = picture * (1 - _TINT) + colours * _TINT
    shown: NDArray[np.uint8] = np.where(mask[..., np.newaxis] > 0, tinted, picture).astype(np.uint8)
    return shown


def _colour(kind: object) -> str:
    """Return a class's colour: the same on every sheet."""
    return _COLOURS[zlib.crc32(str(kind).encode()) % len(_COLOURS)]
