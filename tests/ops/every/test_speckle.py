"""The published suite, for the ops that change pixels at random places, or by random factors."""

from kaleidoscope import ops
from kaleidoscope.testing import OpTests


class TestMultiplicativeNoise(OpTests):
    instances = (
        ops.MultiplicativeNoise((0.5, 2)),
        ops.MultiplicativeNoise(per_channel=True),
        ops.MultiplicativeNoise(elementwise=True),
        ops.MultiplicativeNoise(per_channel=True, elementwise=True),
    )
    keeps_alpha = True
    identity = (
        (ops.MultiplicativeNoise(), {"factors": [1.0]}),
        (ops.MultiplicativeNoise(1, elementwise=True), {"seed": 5}),
    )


class TestPixelDropout(OpTests):
    instances = (
        ops.PixelDropout(0.001),
        ops.PixelDropout(0.001, per_channel=True, drop_value=None),
        ops.PixelDropout(0.05, drop_value=None, mask_drop_value=0),
        ops.PixelDropout(0.01, drop_value=1, mask_drop_value=0),
    )
    identity = ((ops.PixelDropout(0), {"seed": 5}),)


class TestSaltAndPepper(OpTests):
    instances = (
        ops.SaltAndPepper((0.0002, 0.001)),
        ops.SaltAndPepper(0.0005, salt_vs_pepper=1),
    )
    keeps_alpha = True
    identity = ((ops.SaltAndPepper(), {"amount": 0.0, "salt_vs_pepper": 0.5, "seed": 5}),)
