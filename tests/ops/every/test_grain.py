"""The published suite, for the ops that add a camera's noise: so little of it that marks are still found."""

from kaleidoscope import ops
from kaleidoscope.testing import OpTests


class TestISONoise(OpTests):
    instances = (
        ops.ISONoise(intensity=(0.1, 0.2)),
        ops.ISONoise(0.5, (0.05, 0.1)),
    )
    keeps_alpha = True
    identity = ((ops.ISONoise(), {"color_shift": 0.5, "intensity": 0.0, "seed": 5}),)

    def takes(self, op, frame):
        return frame.channels in (1, 3, 4)


class TestShotNoise(OpTests):
    instances = (
        ops.ShotNoise((0.002, 0.004)),
        ops.ShotNoise((0.0002, 0.0004)),
        ops.ShotNoise(0.0),
    )
    keeps_alpha = True
    identity = ((ops.ShotNoise(), {"scale": 0.0, "seed": 5}),)
