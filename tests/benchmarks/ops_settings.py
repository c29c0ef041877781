"""With which settings ops are compared, where their defaults will not do: one line each, for both libraries.

What decides the time is not left to chance: a median over kernels of 3 to 7 pixels says little.
"""

from __future__ import annotations

from typing import Any

SETTINGS: dict[str, dict[str, Any]] = {
    "Affine": {"scale": (0.8, 1.2), "rotate": (-30, 30), "shear": (-5, 5), "translate_percent": (-0.1, 0.1)},
    "BilateralBlur": {"d": (5, 5)},
    "Blur": {"blur_limit": (5, 5)},
    "CenterCrop": {"height": 400, "width": 400},
    "ColorJitter": {},
    "Crop": {"x_min": 50, "y_min": 60, "x_max": 450, "y_max": 460},
    "CropAndPad": {"percent": 0.1},
    "Defocus": {"radius": (5, 5), "alias_blur": (0.3, 0.3)},
    "ElasticTransform": {"alpha": 100, "sigma": 10},
    "GaussianBlur": {"sigma_limit": (1.5, 1.5)},
    "LongestMaxSize": {"max_size": 300},
    "MedianBlur": {"blur_limit": (5, 5)},
    "MotionBlur": {"blur_limit": (7, 7)},
    "Pad": {"padding": 32},
    "PadIfNeeded": {"min_height": 600, "min_width": 600},
    "RandomCrop": {"height": 400, "width": 400},
    "RandomResizedCrop": {"size": (256, 256)},
    "RandomSizedCrop": {"min_max_height": (300, 400), "size": (256, 256)},
    "Resize": {"height": 256, "width": 256},
    "SmallestMaxSize": {"max_size": 300},
    "UnsharpMask": {"blur_limit": (5, 5)},
    "ZoomBlur": {"max_factor": (1.2, 1.2), "step_factor": (0.02, 0.02)},
}
