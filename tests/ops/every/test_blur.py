"""The published suite, for what smooths, smears and sharpens."""

from kaleidoscope import ops
from kaleidoscope.testing import OpTests


class TestBlur(OpTests):
    instances = (
        ops.Blur(),
        ops.Blur((11, 15)),
    )


class TestBilateralBlur(OpTests):
    instances = (
        ops.BilateralBlur(),
        ops.BilateralBlur(3, sigma_color=20, sigma_space=1),
    )


class TestUpDownSampling(OpTests):
    instances = (
        ops.UpDownSampling(),
        ops.UpDownSampling(0.3, {"downscale": "nearest", "upscale": "cubic"}),
        ops.UpDownSampling((0.6, 0.9), ("lanczos4", "nearest")),
    )
    identity = tuple((one, {"scale": 1.0}) for one in instances)


class TestMotionBlur(OpTests):
    # Lines about the middle, or nearly so: others move the picture by up to half their length, and labels stay.
    instances = (
        ops.MotionBlur((3, 9), allow_shifted=False, direction_range=(0, 0)),
        ops.MotionBlur((13, 17), allow_shifted=False, angle_range=(0, 10), direction_range=(0, 0)),
        ops.MotionBlur((3, 3), angle_range=(10, 50)),
    )
    identity = ((ops.MotionBlur(), {"ksize": 1, "angle": 30.0, "direction": 0.3, "shift": [0.5, 0.5]}),)


class TestDefocus(OpTests):
    instances = (
        ops.Defocus((1, 8)),
        ops.Defocus((9, 10), alias_blur=1),
    )


class TestZoomBlur(OpTests):
    instances = (
        ops.ZoomBlur(),
        ops.ZoomBlur((1.2, 1.2), (0.1, 0.1)),
    )
    identity = ((ops.ZoomBlur(), {"factor": 1.01, "step": 0.01}),)


class TestGlassBlur(OpTests):
    # Not by the 4 pixels that are the default: spots as small as the suite's fall apart.
    instances = (
        ops.GlassBlur(max_delta=1),
        ops.GlassBlur(sigma=1.5, max_delta=1, iterations=1, mode="exact"),
    )


class TestSharpen(OpTests):
    instances = (
        ops.Sharpen(),
        ops.Sharpen(method="gaussian"),
        ops.Sharpen((0, 1), method="gaussian", kernel_size=7, sigma=2),
    )
    keeps_alpha = True
    identity = tuple((one, {"alpha": 0.0, "lightness": 0.5}) for one in instances)


class TestUnsharpMask(OpTests):
    instances = (
        ops.UnsharpMask(),
        ops.UnsharpMask((5, 9), sigma_limit=(1, 3), alpha=1, threshold=0),
    )
    keeps_alpha = True
    identity = (
        (ops.UnsharpMask(threshold=255), {"ksize": 5, "sigma": 1.0, "alpha": 0.5}),
        *((one, {"ksize": 3, "sigma": 1.0, "alpha": 0.0}) for one in instances),
    )


class TestEmboss(OpTests):
    # Faint ones: of a disc a relief leaves the lit side and the shadow.
    instances = (
        ops.Emboss((0.05, 0.1), (0.2, 0.7)),
        ops.Emboss(0.15, 0.0),
    )
    keeps_alpha = True
    identity = tuple((one, {"alpha": 0.0, "strength": 0.5}) for one in instances)
