"""The catalogue: every op and combinator by name, each loaded when it is first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kaleidoscope import registry
from kaleidoscope.errors import RecipeError

#: What is no op but makes some, and its modules.
_CONVERTERS = {
    "from_albumentations": "kaleidoscope.ops.albumentations",
    "from_torchvision": "kaleidoscope.ops.torchvision",
}

if TYPE_CHECKING:
    from kaleidoscope.ops.affine import Affine as Affine
    from kaleidoscope.ops.affine import Rotate as Rotate
    from kaleidoscope.ops.albumentations import from_albumentations as from_albumentations
    from kaleidoscope.ops.apply import Apply as Apply
    from kaleidoscope.ops.blur import GaussianBlur as GaussianBlur
    from kaleidoscope.ops.blur import MedianBlur as MedianBlur
    from kaleidoscope.ops.choose import OneOf as OneOf
    from kaleidoscope.ops.choose import SomeOf as SomeOf
    from kaleidoscope.ops.choose import Sometimes as Sometimes
    from kaleidoscope.ops.colour import HueSaturationValue as HueSaturationValue
    from kaleidoscope.ops.colour import RandomBrightnessContrast as RandomBrightnessContrast
    from kaleidoscope.ops.combine import Branch as Branch
    from kaleidoscope.ops.combine import PowerSet as PowerSet
    from kaleidoscope.ops.combine import Repeat as Repeat
    from kaleidoscope.ops.combine import Sequential as Sequential
    from kaleidoscope.ops.crop import CenterCrop as CenterCrop
    from kaleidoscope.ops.crop import Pad as Pad
    from kaleidoscope.ops.crop import RandomCrop as RandomCrop
    from kaleidoscope.ops.flip import HorizontalFlip as HorizontalFlip
    from kaleidoscope.ops.flip import RandomRotate90 as RandomRotate90
    from kaleidoscope.ops.flip import Transpose as Transpose
    from kaleidoscope.ops.flip import VerticalFlip as VerticalFlip
    from kaleidoscope.ops.noise import GaussNoise as GaussNoise
    from kaleidoscope.ops.normalize import Normalize as Normalize
    from kaleidoscope.ops.size import Resize as Resize
    from kaleidoscope.ops.split import Split as Split
    from kaleidoscope.ops.split import Tile as Tile
    from kaleidoscope.ops.torchvision import from_torchvision as from_torchvision


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    if name in _CONVERTERS:
        return getattr(importlib.import_module(_CONVERTERS[name]), name)
    try:
        return registry.find_op(name)
    except RecipeError as error:
        raise AttributeError(error.message) from None


def __dir__() -> list[str]:
    return sorted([*registry.op_names(), *_CONVERTERS])
