"""The catalogue on tensors: which ops have a kernel for batches of images on a device, and where it is.

Loads no torch: a plan is made where there is none.

>>> from kaleidoscope import ops
>>> runs_on_device(ops.GaussianBlur()), runs_on_device(ops.CLAHE())
(True, False)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kaleidoscope.ops.base import Geometric, Op, Params, Resampling
from kaleidoscope.ops.choose import Choice

if TYPE_CHECKING:
    from torch import Tensor

#: ``kernel(batch, params)``: a tensor of shape (N, C, H, W), in the pixels' own type, only read, and what each image
#: drew; returns another tensor.
DeviceKernel = Callable[["Tensor", Sequence[Params]], "Tensor"]

#: How warps interpolate there.
INTERPOLATIONS = frozenset({"nearest", "linear", "cubic"})

#: Ops of the catalogue, by the room here that has their kernels and what these are called in it.
_ROOMS = {
    "tones": {
        "ChannelDropout": "drop_channels",
        "ChannelShuffle": "shuffle",
        "FromFloat": "from_float",
        "InvertImg": "invert",
        "Normalize": "normalize",
        "Posterize": "posterize",
        "RGBShift": "shift",
        "RandomBrightnessContrast": "brightness",
        "RandomGamma": "gamma",
        "RandomToneCurve": "tone_curve",
        "Solarize": "solarize",
        "ToFloat": "to_float",
    },
    "colours": {
        "ColorJitter": "jitter",
        "HueSaturationValue": "hue_saturation_value",
        "PlanckianJitter": "planckian",
        "ToGray": "grey",
        "ToSepia": "sepia",
    },
    "counts": {
        "AutoContrast": "by_counts",
        "Equalize": "by_counts",
        "_Equalize": "by_counts_of_256",
    },
    "neighbours": {
        "Blur": "box_blur",
        "Emboss": "emboss",
        "GaussianBlur": "gaussian_blur",
        "MedianBlur": "median_blur",
        "MotionBlur": "motion_blur",
        "Sharpen": "sharpen",
        "UnsharpMask": "unsharp_mask",
        "_Sharpness": "sharpness",
    },
    "grain": {
        "GaussNoise": "gauss_noise",
        "MultiplicativeNoise": "multiplicative_noise",
        "PixelDropout": "pixel_dropout",
        "SaltAndPepper": "salt_and_pepper",
    },
    "holes": {
        "CoarseDropout": "fill_holes",
        "Erasing": "fill_holes",
        "GridDropout": "fill_holes",
    },
    "resize": {
        "LongestMaxSize": "whole",
        "RandomResizedCrop": "part",
        "RandomScale": "whole",
        "RandomSizedCrop": "part",
        "Resize": "whole",
        "SmallestMaxSize": "whole",
    },
    "windows": {
        "BBoxSafeRandomCrop": "window",
        "CenterCrop": "window",
        "Crop": "window",
        "CropAndPad": "crop_and_pad",
        "CropNonEmptyMaskIfExists": "window",
        "Pad": "window",
        "PadIfNeeded": "window",
        "RandomCrop": "window",
        "Tile": "window",
    },
}
_KERNELS = {op: (room, name) for room, kernels in _ROOMS.items() for op, name in kernels.items()}

#: What of an op is done on the CPU all the same.
_LEFT_OUT: dict[str, Callable[[Any], bool]] = {
    "Equalize": lambda op: not op.by_channels,
    "ToGray": lambda op: op.method in ("from_lab", "pca"),
    **dict.fromkeys(_ROOMS["holes"], lambda op: isinstance(op.fill, str)),  # noise, and what is made up from around
}


def runs_on_device(op: Op) -> bool:
    """Whether an op, with the settings it has, has all it needs on a device: of a choice, each of its parts."""
    if isinstance(op, Choice):
        return all(map(runs_on_device, op.ops()))
    if isinstance(op, Geometric) and not op.has_kernel:
        return warps_on_device(op.resampling)
    if hasattr(type(op), "device_kernel"):
        return True
    left_out = _LEFT_OUT.get(type(op).__name__, lambda _: False)
    return _is_ours(op) and type(op).__name__ in _KERNELS and not left_out(op)


def warps_on_device(resampling: Resampling | None) -> bool:
    """Whether a warp of that resampling, or a permutation of pixels (None), can be done on a device."""
    return resampling is None or resampling.interpolation in INTERPOLATIONS


def kernel_of(op: Op) -> DeviceKernel:
    """Return the kernel of an op that `runs_on_device`; loads torch."""
    own: DeviceKernel | None = getattr(op, "device_kernel", None)
    if own is not None:
        return own
    room, name = _KERNELS[type(op).__name__]
    kernel = getattr(importlib.import_module(f"{__name__}.{room}"), name)
    return lambda batch, params: kernel(op, batch, params)


def _is_ours(op: Op) -> bool:
    """Whether it is of the catalogue: a subclass from elsewhere may do something else."""
    return type(op).__module__.startswith("kaleidoscope.ops.")
