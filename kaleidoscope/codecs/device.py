"""Pixels on a device to JPEGs, without a way back to the CPU, where something installed can do that."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from kaleidoscope.codecs.encode import Encoder
from kaleidoscope.errors import OpError

if TYPE_CHECKING:
    from torch import Tensor

#: Kinds of devices that have an encoder, by nvJPEG; it takes RGB only.
SERVED = frozenset({"cuda"})
RGB = 3


def encode_there(batch: Tensor, encoder: Encoder) -> list[bytes] | None:
    """Return the images of a batch encoded where they lie; None if that is for the CPU to do.

    That is so for what is no RGB of 8 bits to be JPEG, on other devices, and where torchvision with CUDA is not
    installed. The bytes are not those of the CPU's encoder: the device is part of an output's id.

    Parameters
    ----------
    batch : Tensor of shape (N, C, H, W)
    encoder : Encoder

    Raises
    ------
    OpError
        If the device's encoder fails.
    """
    if encoder.format != "jpg" or batch.shape[1] != RGB or batch.element_size() > 1 or batch.device.type not in SERVED:
        return None
    encode = _torchvision()
    if encode is None:
        return None
    try:
        made = encode(list(batch), quality=encoder.quality)
    except (RuntimeError, ValueError) as error:
        if "out of memory" in str(error):
            raise  # the batch goes on in halves
        raise OpError(f"the device's JPEG encoder failed: {error}", step="encode") from error
    return [one.cpu().numpy().tobytes() for one in made]


@cache
def _torchvision() -> Callable[..., Any] | None:
    """Return torchvision's encoder, if it is there."""
    try:
        encode: Callable[..., Any] = importlib.import_module("torchvision.io").encode_jpeg
    except (ImportError, AttributeError, RuntimeError):  # built for another torch, it raises what it likes
        return None
    return encode
