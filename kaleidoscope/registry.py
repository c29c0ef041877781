"""Names to classes: ours by a table that imports nothing, third parties' by entry points.

A package adds an op with, in its ``pyproject.toml``::

    [project.entry-points."kaleidoscope.ops"]
    Solarize = "their_package.ops:Solarize"
"""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from kaleidoscope.errors import RecipeError, did_you_mean

OPS_GROUP = "kaleidoscope.ops"

#: Modules of `kaleidoscope.ops`, and the ops and combinators that each holds.
_FAMILIES = {
    "flip": "HorizontalFlip VerticalFlip Transpose RandomRotate90 D4",
    "affine": "Rotate Affine",
    "size": "Resize LongestMaxSize SmallestMaxSize RandomScale",
    "turn": "ShiftScaleRotate SafeRotate",
    "perspective": "Perspective",
    "distort": "GridDistortion OpticalDistortion",
    "elastic": "ElasticTransform",
    "spline": "ThinPlateSpline",
    "shuffle": "RandomGridShuffle",
    "crop": "CenterCrop RandomCrop Pad",
    "crop_to": "Crop PadIfNeeded",
    "crop_and_pad": "CropAndPad",
    "labelled_crop": "BBoxSafeRandomCrop CropNonEmptyMaskIfExists",
    "resized_crop": "RandomResizedCrop RandomSizedCrop",
    "colour": "HueSaturationValue RandomBrightnessContrast",
    "levels": "RandomGamma Solarize InvertImg Posterize RandomToneCurve",
    "histogram": "CLAHE Equalize AutoContrast",
    "tints": "ColorJitter RGBShift ToSepia PlanckianJitter",
    "principal": "FancyPCA",
    "channel_ops": "ToGray ChannelShuffle ChannelDropout",
    "blur": "GaussianBlur MedianBlur",
    "smooth": "Blur BilateralBlur UpDownSampling",
    "lens": "MotionBlur Defocus ZoomBlur",
    "scatter": "GlassBlur",
    "sharpen": "Sharpen UnsharpMask Emboss",
    "noise": "GaussNoise",
    "grain": "ISONoise ShotNoise",
    "speckle": "MultiplicativeNoise PixelDropout SaltAndPepper",
    "quality": "Downscale ImageCompression",
    "dropout": "CoarseDropout Erasing GridDropout",
    "mask_dropout": "MaskDropout",
    "weather": "RandomRain RandomFog",
    "snow": "RandomSnow",
    "light": "RandomShadow RandomSunFlare",
    "policies": "RandAugment TrivialAugmentWide AutoAugment",
    "augmix": "AugMix",
    "normalize": "Normalize",
    "depth": "ToFloat FromFloat",
    "combine": "Sequential PowerSet Branch Repeat",
    "choose": "OneOf SomeOf Sometimes",
    "split": "Split Tile",
    "apply": "Apply",
}
_BUILTIN_OPS = {name: f"kaleidoscope.ops.{family}" for family, names in _FAMILIES.items() for name in names.split()}


@cache
def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=OPS_GROUP)}


def builtin_names() -> list[str]:
    """Return Kaleidoscope's own ops and combinators, by family; nothing is imported."""
    return [*_BUILTIN_OPS]


def op_names() -> list[str]:
    """Return every op and combinator there is, sorted; nothing is imported."""
    return sorted({*_BUILTIN_OPS, *_plugins()})


def find_op(name: str) -> Any:
    """Return the class of the op or combinator called `name`.

    Raises
    ------
    RecipeError
        If there is none; the nearest name is suggested.
    """
    if name in _BUILTIN_OPS:
        return getattr(importlib.import_module(_BUILTIN_OPS[name]), name)
    if name in _plugins():
        return _plugins()[name].load()
    hint = did_you_mean(name, op_names()) or f" There are {', '.join(op_names())}."
    raise RecipeError(f"there is no op called {name!r}.{hint}")
