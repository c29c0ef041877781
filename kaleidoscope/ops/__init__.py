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
    from kaleidoscope.ops.crop_and_pad import CropAndPad as CropAndPad
    from kaleidoscope.ops.crop_to import Crop as Crop
    from kaleidoscope.ops.crop_to import PadIfNeeded as PadIfNeeded
    from kaleidoscope.ops.depth import FromFloat as FromFloat
    from kaleidoscope.ops.depth import ToFloat as ToFloat
    from kaleidoscope.ops.distort import GridDistortion as GridDistortion
    from kaleidoscope.ops.distort import OpticalDistortion as OpticalDistortion
    from kaleidoscope.ops.dropout import CoarseDropout as CoarseDropout
    from kaleidoscope.ops.dropout import Erasing as Erasing
    from kaleidoscope.ops.dropout import GridDropout as GridDropout
    from kaleidoscope.ops.elastic import ElasticTransform as ElasticTransform
    from kaleidoscope.ops.flip import D4 as D4
    from kaleidoscope.ops.flip import HorizontalFlip as HorizontalFlip
    from kaleidoscope.ops.flip import RandomRotate90 as RandomRotate90
    from kaleidoscope.ops.flip import Transpose as Transpose
    from kaleidoscope.ops.flip import VerticalFlip as VerticalFlip
    from kaleidoscope.ops.grain import ISONoise as ISONoise
    from kaleidoscope.ops.grain import ShotNoise as ShotNoise
    from kaleidoscope.ops.histogram import CLAHE as CLAHE
    from kaleidoscope.ops.histogram import AutoContrast as AutoContrast
    from kaleidoscope.ops.histogram import Equalize as Equalize
    from kaleidoscope.ops.labelled_crop import BBoxSafeRandomCrop as BBoxSafeRandomCrop
    from kaleidoscope.ops.labelled_crop import CropNonEmptyMaskIfExists as CropNonEmptyMaskIfExists
    from kaleidoscope.ops.lens import Defocus as Defocus
    from kaleidoscope.ops.lens import MotionBlur as MotionBlur
    from kaleidoscope.ops.lens import ZoomBlur as ZoomBlur
    from kaleidoscope.ops.levels import InvertImg as InvertImg
    from kaleidoscope.ops.levels import Posterize as Posterize
    from kaleidoscope.ops.levels import RandomGamma as RandomGamma
    from kaleidoscope.ops.levels import RandomToneCurve as RandomToneCurve
    from kaleidoscope.ops.levels import Solarize as Solarize
    from kaleidoscope.ops.light import RandomShadow as RandomShadow
    from kaleidoscope.ops.light import RandomSunFlare as RandomSunFlare
    from kaleidoscope.ops.mask_dropout import MaskDropout as MaskDropout
    from kaleidoscope.ops.noise import GaussNoise as GaussNoise
    from kaleidoscope.ops.normalize import Normalize as Normalize
    from kaleidoscope.ops.perspective import Perspective as Perspective
    from kaleidoscope.ops.policies import AutoAugment as AutoAugment
    from kaleidoscope.ops.policies import RandAugment as RandAugment
    from kaleidoscope.ops.policies import TrivialAugmentWide as TrivialAugmentWide
    from kaleidoscope.ops.principal import FancyPCA as FancyPCA
    from kaleidoscope.ops.quality import Downscale as Downscale
    from kaleidoscope.ops.quality import ImageCompression as ImageCompression
    from kaleidoscope.ops.resized_crop import RandomResizedCrop as RandomResizedCrop
    from kaleidoscope.ops.resized_crop import RandomSizedCrop as RandomSizedCrop
    from kaleidoscope.ops.scatter import GlassBlur as GlassBlur
    from kaleidoscope.ops.sharpen import Emboss as Emboss
    from kaleidoscope.ops.sharpen import Sharpen as Sharpen
    from kaleidoscope.ops.sharpen import UnsharpMask as UnsharpMask
    from kaleidoscope.ops.shuffle import RandomGridShuffle as RandomGridShuffle
    from kaleidoscope.ops.size import LongestMaxSize as LongestMaxSize
    from kaleidoscope.ops.size import RandomScale as RandomScale
    from kaleidoscope.ops.size import Resize as Resize
    from kaleidoscope.ops.size import SmallestMaxSize as SmallestMaxSize
    from kaleidoscope.ops.smooth import BilateralBlur as BilateralBlur
    from kaleidoscope.ops.smooth import Blur as Blur
    from kaleidoscope.ops.smooth import UpDownSampling as UpDownSampling
    from kaleidoscope.ops.snow import RandomSnow as RandomSnow
    from kaleidoscope.ops.speckle import MultiplicativeNoise as MultiplicativeNoise
    from kaleidoscope.ops.speckle import PixelDropout as PixelDropout
    from kaleidoscope.ops.speckle import SaltAndPepper as SaltAndPepper
    from kaleidoscope.ops.spline import ThinPlateSpline as ThinPlateSpline
    from kaleidoscope.ops.split import Split as Split
    from kaleidoscope.ops.split import Tile as Tile
    from kaleidoscope.ops.tints import ColorJitter as ColorJitter
    from kaleidoscope.ops.tints import PlanckianJitter as PlanckianJitter
    from kaleidoscope.ops.tints import RGBShift as RGBShift
    from kaleidoscope.ops.tints import ToSepia as ToSepia
    from kaleidoscope.ops.torchvision import from_torchvision as from_torchvision
    from kaleidoscope.ops.turn import SafeRotate as SafeRotate
    from kaleidoscope.ops.turn import ShiftScaleRotate as ShiftScaleRotate
    from kaleidoscope.ops.weather import RandomFog as RandomFog
    from kaleidoscope.ops.weather import RandomRain as RandomRain


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
