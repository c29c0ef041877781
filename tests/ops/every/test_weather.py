"""The published suite, for ops of weather and light."""

import cv2
import numpy as np

from kaleidoscope import ops
from kaleidoscope.testing import OpTests


class ColoursOnly(OpTests):
    keeps_alpha = True

    def takes(self, op, frame):
        return frame.channels in (1, 3, 4)


class TestRandomRain(ColoursOnly):
    instances = (
        ops.RandomRain(),
        ops.RandomRain(slant_range=4, drop_width=3, drop_color=(20, 40, 60), blur_value=1, rain_type="drizzle"),
        ops.RandomRain(drop_length=9, brightness_coefficient=1, rain_type="torrential", drop_color=(90, 30, 30)),
    )


class TestRandomFog(ColoursOnly):
    instances = (
        ops.RandomFog(),
        ops.RandomFog(alpha_coef=0.3, fog_coef_range=0.1),
    )


class TestRandomSnow(ColoursOnly):
    instances = (
        ops.RandomSnow(),
        ops.RandomSnow(1.4, 0.9),
        ops.RandomSnow(0.5, (0.1, 0.6), "texture"),
    )

    def _difference(self, op, mark, params):
        # A sparkle is white whatever was there: the median of its neighbourhood looks past it.
        return cv2.medianBlur(super()._difference(op, mark, params).astype(np.float32), 3)


class TestRandomShadow(OpTests):
    instances = (
        # Off the middle, or so light that marks are still seen.
        ops.RandomShadow((0.0, 0.8, 1.0, 1.0)),
        ops.RandomShadow((0.2, 0.1, 0.8, 0.9), (2, 3), 3, (0.1, 0.2)),
        ops.RandomShadow((1.0, 1.0, 1.0, 1.0)),
    )
    keeps_alpha = True
    identity = ((ops.RandomShadow(), {"vertices": [[[0, 0], [3, 0], [3, 3]]], "intensities": [0.0]}),)


class TestRandomSunFlare(ColoursOnly):
    instances = (
        ops.RandomSunFlare((0.0, 0.0, 1.0, 0.1), src_radius=30, angle_range=0.0),
        ops.RandomSunFlare((0.1, 0.1, 0.2, 0.2), 5, (250, 100, 0), 0.1, 2),
        ops.RandomSunFlare((0.0, 0.0, 0.2, 0.2), 20, (200, 150, 80), method="physics_based"),
    )
