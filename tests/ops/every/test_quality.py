"""The published suite, for the ops that lose detail."""

from kaleidoscope import ops
from kaleidoscope.testing import OpTests


class TestImageCompression(OpTests):
    instances = (
        ops.ImageCompression(),
        ops.ImageCompression("jpeg", (30, 60)),
        ops.ImageCompression("webp", (60, 90)),
    )
    keeps_alpha = True


class TestDownscale(OpTests):
    instances = (
        ops.Downscale((0.5, 0.7)),
        ops.Downscale((0.4, 0.6), {"downscale": "area", "upscale": "cubic"}),
        ops.Downscale(0.5, {"downscale": "linear", "upscale": "lanczos4"}),
    )
    identity = tuple((one, {"scale": 1.0}) for one in instances)
