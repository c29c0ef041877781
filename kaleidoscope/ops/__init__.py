"""The catalogue: every op and combinator by name, each loaded when it is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kaleidoscope import registry
from kaleidoscope.errors import RecipeError

if TYPE_CHECKING:
    from kaleidoscope.ops.affine import Affine as Affine
    from kaleidoscope.ops.affine import Rotate as Rotate
    from kaleidoscope.ops.apply import Apply as Apply
    from kaleidoscope.ops.augmix import AugMix as AugMix
    from kaleidoscope.ops.blur import GaussianBlur as GaussianBlur
    from kaleidoscope.ops.blur import MedianBlur as MedianBlur
    from kaleidoscope.ops.channel_ops import ChannelDropout as ChannelDropout
    from kaleidoscope.ops.channel_ops import ChannelShuffle as ChannelShuffle
    from kaleidoscope.ops.channel_ops import ToGray as ToGray
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
    from kaleidoscope.ops.depth import FromFloat as FromFloat
    from kaleidoscope.ops.depth import ToFloat as ToFloat
    from kaleidoscope.ops.flip import HorizontalFlip as HorizontalFlip
    from kaleidoscope.ops.flip import RandomRotate90 as RandomRotate90
    from kaleidoscope.ops.flip import Transpose as Transpose
    from kaleidoscope.ops.flip import VerticalFlip as VerticalFlip
    from kaleidoscope.ops.histogram import CLAHE as CLAHE
    from kaleidoscope.ops.histogram import AutoContrast as AutoContrast
    from kaleidoscope.ops.histogram import Equalize as Equalize
    from kaleidoscope.ops.levels import InvertImg as InvertImg
    from kaleidoscope.ops.levels import Posterize as Posterize
    from kaleidoscope.ops.levels import RandomGamma as RandomGamma
    from kaleidoscope.ops.levels import RandomToneCurve as RandomToneCurve
    from kaleidoscope.ops.levels import Solarize as Solarize
    from kaleidoscope.ops.light import RandomShadow as RandomShadow
    from kaleidoscope.ops.light import RandomSunFlare as RandomSunFlare
    from kaleidoscope.ops.noise import GaussNoise as GaussNoise
    from kaleidoscope.ops.normalize import Normalize as Normalize
    from kaleidoscope.ops.policies import AutoAugment as AutoAugment
    from kaleidoscope.ops.policies import RandAugment as RandAugment
    from kaleidoscope.ops.policies import TrivialAugmentWide as TrivialAugmentWide
    from kaleidoscope.ops.principal import FancyPCA as FancyPCA
    from kaleidoscope.ops.size import Resize as Resize
    from kaleidoscope.ops.snow import RandomSnow as RandomSnow
    from kaleidoscope.ops.split import Split as Split
    from kaleidoscope.ops.split import Tile as Tile
    from kaleidoscope.ops.tints import ColorJitter as ColorJitter
    from kaleidoscope.ops.tints import PlanckianJitter as PlanckianJitter
    from kaleidoscope.ops.tints import RGBShift as RGBShift
    from kaleidoscope.ops.tints import ToSepia as ToSepia
    from kaleidoscope.ops.weather import RandomFog as RandomFog
    from kaleidoscope.ops.weather import RandomRain as RandomRain


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        return registry.find_op(name)
    except RecipeError as error:
        raise AttributeError(error.message) from None


def __dir__() -> list[str]:
    return registry.op_names()
