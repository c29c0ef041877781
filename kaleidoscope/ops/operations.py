"""The operations that policies of automatic augmentation draw, and the op that does each.

They are Pillow's, which the policies were tuned with. Two of them no op of the catalogue does; they are below.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.errors import RecipeError
from kaleidoscope.ops.affine import Affine
from kaleidoscope.ops.base import Op, Params, into, op
from kaleidoscope.ops.channels import colour_count
from kaleidoscope.ops.histogram import AutoContrast
from kaleidoscope.ops.levels import InvertImg, Posterize, Solarize, keep_alpha
from kaleidoscope.ops.policy_tables import SIGNED, Space
from kaleidoscope.ops.tables import look_up
from kaleidoscope.ops.tints import ColorJitter
from kaleidoscope.record import max_value_of

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

#: An operation as it was drawn: its name, its magnitude, and the params of the op that does it; None if none needs to.
Drawn = list[Any]


def ops_of(drawn: Iterable[Drawn], known: dict[str, Op]) -> Iterator[tuple[Op, Params]]:
    """Yield the op of each operation that was drawn and changes something, with its params.

    Raises
    ------
    RecipeError
        If there is no such operation.
    """
    for name, _, params in drawn:
        if name not in known and name != "Identity":
            raise RecipeError(f"there is no operation {name!r} among {', '.join(known)}")
        if params is not None:
            yield known[name], params


@cache
def known_ops(interpolation: str, fill: float | tuple[float, ...], fill_mask: float) -> dict[str, Op]:
    """Return the op that does each operation; what it does to an image is in its params alone."""
    affine = Affine(interpolation=interpolation, fill=fill, fill_mask=fill_mask)
    moving = dict.fromkeys(("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"), affine)
    tints = dict.fromkeys(("Brightness", "Color", "Contrast"), ColorJitter())
    return {
        **moving,
        **tints,
        "Sharpness": _Sharpness(),
        "Posterize": Posterize(),
        "Solarize": Solarize(),
        "AutoContrast": AutoContrast(method="pil"),
        "Equalize": _Equalize(),
        "Invert": InvertImg(),
    }


def draw_operation(rng: Generator, space: Space, name: str, strength: float, frame: Frame) -> Drawn:
    """Return an operation of that strength, its sign drawn."""
    magnitude = space.magnitude(name, strength, frame)
    if name in SIGNED and rng.uniform() < 0.5:
        magnitude = -magnitude
    if name in ("TranslateX", "TranslateY"):
        magnitude = int(magnitude)
    changes_nothing = name == "Identity" or (name in SIGNED and magnitude == 0) or (name, magnitude) == ("Posterize", 8)
    return [name, magnitude, None if changes_nothing else params_of(name, magnitude, frame)]


#: The field of `ColorJitter` that an operation sets, and its place among the steps.
_TINTS = {"Brightness": ("brightness", 0), "Contrast": ("contrast", 1), "Color": ("saturation", 2)}


def params_of(name: str, magnitude: float, frame: Frame) -> dict[str, Any]:
    """Return the params of the op that does an operation."""
    if name in _TINTS:
        field, place = _TINTS[name]
        return {field: 1.0 + magnitude, "order": [place]}
    if name == "Sharpness":
        return {"factor": 1.0 + magnitude}
    if name == "Posterize":
        return {"num_bits": int(magnitude)}
    if name == "Solarize":
        return {"threshold": magnitude}
    if name not in ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"):
        return {}
    drawn: dict[str, Any] = {"scale": [1.0, 1.0], "translate": [0, 0], "rotate": 0.0, "shear": [0.0, 0.0]}
    axis = 0 if name.endswith("X") else 1
    if name == "Rotate":
        drawn["rotate"] = magnitude
    elif name.startswith("Translate"):
        drawn["translate"][axis] = magnitude
    else:
        # Policies shear about the frame's upper left corner, Affine about its middle.
        drawn["shear"][axis] = math.degrees(math.atan(magnitude))
        drawn["translate"][axis] = -magnitude * (frame.height if axis == 0 else frame.width) / 2
    return drawn


@op
class _Sharpness(Op):
    """Blend with a smoothed image: ``out = factor * pixel + (1 - factor) * smooth``, clipped.

    Smooth are weighted means of the 3 x 3 pixels around, a 13th each and five of the pixel itself; the outermost pixels
    stay (``ImageEnhance.Sharpness``). Up to four channels; of four the last is alpha, and stays.
    """

    short_name = "sharpness"

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), sharper by ``factor`` above 1, smoother below."""
        smooth = 1 - params["factor"]
        src = np.ascontiguousarray(src)
        if min(src.shape[:2]) > 2:
            # Of the 13ths 9 are a mean of 3 x 3 pixels, which OpenCV has in a fifth of the time of a filter.
            mean = cv2.blur(src, (3, 3)).reshape(len(src), -1)
            plain, filled = src.reshape(len(src), -1), out.reshape(len(out), -1)
            into(filled, cv2.addWeighted(plain, 1 - smooth * 9 / 13, mean, smooth * 9 / 13, 0.0, dst=filled))
            out[[0, -1]], out[:, [0, -1]] = src[[0, -1]], src[:, [0, -1]]
        else:
            np.copyto(out, src)
        if out.dtype == np.float32:
            np.clip(out, 0, 1, out=out)
        keep_alpha(src, out)


@op
class _Equalize(Op):
    """Spread the tones of each channel so that each part of the range is used as often as any other.

    ``out = (below + step // 2) // step``, where `below` is how many pixels of the channel have a lower value and
    ``step = (total - those of the brightest value) // max_value`` (``ImageOps.equalize``). `Equalize` of mode
    ``pil`` counts the pixel's own value too, as Albumentations does. ``float32`` is taken in 256 steps, and so is
    ``uint16``: with 65,536 of them most images have fewer pixels than values, and would stay. Of four channels the
    last is alpha, and stays.
    """

    short_name = "pilequalize"

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with `src`, shape (H, W, C), its tones spread."""
        most = max_value_of(src)
        pixels = np.ascontiguousarray(src)
        if src.dtype != np.uint8:
            pixels = np.rint(pixels * np.float32(255 / most)).astype(np.uint8)
        tables = np.tile(np.arange(256), (src.shape[2], 1))
        for channel in range(colour_count(src.shape[2])):
            counts = cv2.calcHist([pixels], [channel], None, [256], (0, 256)).ravel().astype(np.float64)
            tables[channel] = self.table(counts)
        if src.dtype == np.uint8:
            look_up(pixels, tables.astype(np.uint8), out)
        else:
            look_up(pixels, (tables * (most / 255)).astype(out.dtype), out)
        keep_alpha(src, out)

    def table(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what each of the 256 steps of a channel becomes, by how often each occurs."""
        step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
        if not step:
            return np.arange(256.0)
        return np.asarray(np.minimum((np.cumsum(counts) - counts + step // 2) // step, 255))
