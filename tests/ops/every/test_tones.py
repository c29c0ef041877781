"""The published suite, for the ops on tones and colours."""

from kaleidoscope import ops
from kaleidoscope.record import Frame
from kaleidoscope.testing import OpTests


class OfGreyOrRgb(OpTests):
    instances = (ops.ToSepia(),)
    keeps_alpha = True

    def takes(self, op, frame):
        return frame.channels in (1, 3, 4)


class OfRgb(OpTests):
    instances = (ops.RGBShift(),)
    keeps_alpha = True

    def takes(self, op, frame):
        return frame.channels in (3, 4)


class TestColorJitter(OfGreyOrRgb):
    instances = (
        ops.ColorJitter(),
        ops.ColorJitter(0.5, 0.5, 0.9, 0.1),
    )
    identity = (
        (
            ops.ColorJitter(),
            {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0, "order": [2, 0, 3, 1]},
        ),
    )


class TestRGBShift(OfRgb):
    instances = (
        ops.RGBShift(),
        ops.RGBShift(255, (-0.3, 0.3), 0),
    )
    identity = ((ops.RGBShift(), {"shift": [0.0, 0.0, 0.0]}),)


class TestToSepia(OfGreyOrRgb):
    pass


class TestPlanckianJitter(OfRgb):
    instances = (
        ops.PlanckianJitter(),
        ops.PlanckianJitter("cied", (4500, 9000), "gaussian"),
    )


class TestFancyPCA(OpTests):
    instances = (ops.FancyPCA(), ops.FancyPCA(1.0))
    keeps_alpha = True


class TestRandomGamma(OpTests):
    instances = (ops.RandomGamma(), ops.RandomGamma((30, 300)))
    keeps_alpha = True
    identity = ((ops.RandomGamma(), {"gamma": 1.0}),)


class TestSolarize(OpTests):
    instances = (ops.Solarize(), ops.Solarize((0.1, 0.9)))
    keeps_alpha = True


class TestInvertImg(OpTests):
    instances = (ops.InvertImg(),)
    keeps_alpha = True


class TestPosterize(OpTests):
    instances = (
        ops.Posterize(),
        ops.Posterize((2, 5)),
        ops.Posterize([3, (2, 5), 4]),
    )
    keeps_alpha = True

    def takes(self, op, frame):
        several = isinstance(op.num_bits, tuple) and len(op.num_bits) == 3
        return not several or frame.channels in (3, 4)


class TestRandomToneCurve(OpTests):
    instances = (
        ops.RandomToneCurve(),
        ops.RandomToneCurve(0.3, per_channel=True),
    )
    keeps_alpha = True


class TestCLAHE(OfGreyOrRgb):
    instances = (
        ops.CLAHE(),
        ops.CLAHE((2, 3), (2, 5)),
    )


class TestEqualize(OpTests):
    instances = (
        ops.Equalize(),
        ops.Equalize("pil"),
        ops.Equalize(by_channels=False),
        ops.Equalize("pil", by_channels=False),
    )
    keeps_alpha = True

    def takes(self, op, frame):
        return op.by_channels or frame.channels in (1, 3, 4)


class TestAutoContrast(OpTests):
    instances = (
        ops.AutoContrast(),
        ops.AutoContrast(method="pil"),
        ops.AutoContrast(2.5, ignore=200),
    )
    keeps_alpha = True


class TestToGray(OpTests):
    instances = (
        ops.ToGray(),
        ops.ToGray(1),
        ops.ToGray(7, "max"),
        *(ops.ToGray(method=method) for method in ("from_lab", "desaturation", "average", "pca")),
    )
    keeps_alpha = True

    def takes(self, op, frame):
        if frame.channels == 4:
            return op.num_output_channels == 3
        return frame.channels in (1, 3) or op.method not in ("weighted_average", "from_lab")


class TestChannelShuffle(OpTests):
    instances = (ops.ChannelShuffle(),)
    keeps_alpha = True


class TestChannelDropout(OpTests):
    instances = (
        ops.ChannelDropout(),
        ops.ChannelDropout((1, 2), fill=1),
        ops.ChannelDropout(3, fill=0.5),
    )
    keeps_alpha = True
    scene = Frame(65, 90, 7, "uint8")

    def takes(self, op, frame):
        return frame.channels - (frame.channels == 4) > op.channel_drop_range[1]


class TestToFloat(OpTests):
    instances = (ops.ToFloat(), ops.ToFloat(100))


class TestFromFloat(OpTests):
    instances = (ops.FromFloat(), ops.FromFloat("uint16", 4095))
    scene = Frame(65, 90, 3, "float32")

    def takes(self, op, frame):
        return frame.dtype == "float32"
