"""The published suite, for automatic augmentation."""

from kaleidoscope import ops
from kaleidoscope.record import Frame
from kaleidoscope.testing import OpTests


class Policies(OpTests):
    # So large that shifts keep what is in the middle. Strengths below are such that marks are not solarized.
    scene = Frame(165, 190, 3, "uint8")

    def takes(self, op, frame):
        return frame.channels in (1, 3, 4)


class TestRandAugment(Policies):
    instances = (
        ops.RandAugment(magnitude=3),
        ops.RandAugment(1, 2, 9, fill=1, fill_mask=3),  # of two a few levels may be spread into marks
        ops.RandAugment(1, 1, 9, interpolation="linear"),
    )
    identity = ((ops.RandAugment(), {"steps": [["Identity", 0.0, None]]}),)


class TestTrivialAugmentWide(Policies):
    instances = (
        ops.TrivialAugmentWide(),
        ops.TrivialAugmentWide(5, fill=0.5, fill_mask=2),
    )


class TestAutoAugment(Policies):
    instances = tuple(ops.AutoAugment(policy) for policy in ("imagenet", "cifar10", "svhn"))


class TestAugMix(Policies):
    instances = (
        ops.AugMix(),
        ops.AugMix(1, 2, 1, 0.5, all_ops=False),
    )
    keeps_alpha = True
