"""Windows: parts of a batch, and batches with something put around them. Nothing is interpolated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kaleidoscope.ops.device.border import cut
from kaleidoscope.ops.device.resize import Size, resized
from kaleidoscope.ops.device.values import NAMES, one_by_one
from kaleidoscope.record import Frame

if TYPE_CHECKING:
    from torch import Tensor

    from kaleidoscope.ops.base import Geometric, Params
    from kaleidoscope.ops.crop_and_pad import CropAndPad


def frame_of(batch: Tensor) -> Frame:
    """Return the frame of each image of a batch."""
    _, channels, height, width = batch.shape
    return Frame(height, width, channels, NAMES[batch.dtype])


def window(op: Geometric, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Take the window that an op's matrix shifts to the frame's corner: it crops, or pads, or both."""
    frame = frame_of(batch)
    around: Any = (getattr(op, "border_mode", "constant"), getattr(op, "fill", 0.0))

    def one(place: int, image: Tensor) -> Tensor:
        out, (x, y) = op.out_frame(frame, params[place]), op.matrix(frame, params[place])[:2, 2]
        return cut(image, -round(x), -round(y), out.width, out.height, *around)

    return one_by_one(batch, one).view(batch.dtype)


def crop_and_pad(op: CropAndPad, batch: Tensor, params: Sequence[Params]) -> Tensor:
    """Cut sides off, put others around what is left, and perhaps resize that to what there was."""
    height, width = batch.shape[2:]

    def one(place: int, image: Tensor) -> Tensor:
        top, right, bottom, left = (params[place][side] for side in ("top", "right", "bottom", "left"))
        inner = (width + min(0, left) + min(0, right), height + min(0, top) + min(0, bottom))
        made = cut(image, max(0, -left), max(0, -top), *inner)
        outer = (width + left + right, height + top + bottom)
        made = cut(made, min(0, -left), min(0, -top), *outer, str(op.border_mode), op.fill)
        return resized(made, Size(height, width), str(op.interpolation)) if op.keep_size else made

    return one_by_one(batch, one).view(batch.dtype)
