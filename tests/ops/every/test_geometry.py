"""The published suite, for the ops that turn, tilt, bend and shuffle."""

import numpy as np

from kaleidoscope import ops
from kaleidoscope.testing import OpTests


class TestD4(OpTests):
    instances = (ops.D4(),)
    identity = ((ops.D4(), {"group_element": "e"}),)


class TestShiftScaleRotate(OpTests):
    instances = (
        ops.ShiftScaleRotate(),
        ops.ShiftScaleRotate(0.1, 0.3, 180, interpolation="cubic", border_mode="reflect_101"),
        ops.ShiftScaleRotate(shift_limit_x=0.2, shift_limit_y=(0, 0), interpolation="nearest", fill=1, fill_mask=3),
    )
    identity = ((ops.ShiftScaleRotate(), {"shift": [0, 0], "scale": [1.0, 1.0], "rotate": 0.0}),)


class TestSafeRotate(OpTests):
    instances = (
        ops.SafeRotate(),
        ops.SafeRotate((20, 40), interpolation="lanczos4", border_mode="wrap", rotate_method="ellipse"),
    )
    identity = ((ops.SafeRotate(), {"angle": 0.0}),)


class TestPerspective(OpTests):
    instances = (
        ops.Perspective(),
        ops.Perspective(0.3, interpolation="cubic", border_mode="replicate"),
        ops.Perspective((0.1, 0.2), fit_output=True, fill=1, fill_mask=2),
        ops.Perspective(fit_output=True, keep_size=False, interpolation="nearest"),
        ops.Perspective(keep_size=False),
    )
    identity = tuple(
        (ops.Perspective(fit_output=fit, keep_size=keep), {"corners": [[0.0, 0.0]] * 4})
        for fit in (False, True)
        for keep in (False, True)
    )


class TestElasticTransform(OpTests):
    instances = (
        ops.ElasticTransform(),
        ops.ElasticTransform(alpha=200, sigma=8, interpolation="cubic", border_mode="reflect_101"),
        ops.ElasticTransform(alpha=60, sigma=5, same_dxdy=True, fill=1, fill_mask=2),
        ops.ElasticTransform(alpha=40, sigma=9, approximate=True, noise_distribution="uniform"),
    )
    identity = ((ops.ElasticTransform(alpha=0), {"seed": 1}),)


class TestGridDistortion(OpTests):
    instances = (
        ops.GridDistortion(),
        ops.GridDistortion(4, 0.5, normalized=False, interpolation="lanczos4", border_mode="reflect"),
        ops.GridDistortion(7, (-0.2, 0.4), interpolation="nearest", fill=1, fill_mask=2),
    )
    identity = ((ops.GridDistortion(), {"steps_x": [1.0] * 6, "steps_y": [1.0] * 6}),)


class TestOpticalDistortion(OpTests):
    instances = (
        ops.OpticalDistortion(),
        ops.OpticalDistortion(0.4, mode="fisheye", interpolation="cubic", border_mode="wrap"),
        ops.OpticalDistortion((0.2, 0.5), fill=1, fill_mask=2),
    )
    identity = tuple((ops.OpticalDistortion(mode=mode), {"k": 0.0}) for mode in ("camera", "fisheye"))


class TestThinPlateSpline(OpTests):
    instances = (
        ops.ThinPlateSpline(),
        ops.ThinPlateSpline(0.5, 2, interpolation="cubic", border_mode="replicate"),
        ops.ThinPlateSpline((0, 0.2), 5, fill=1, fill_mask=2),
    )
    identity = ((ops.ThinPlateSpline(), {"shifts": np.zeros((16, 2)).tolist()}),)


class TestRandomGridShuffle(OpTests):
    instances = (ops.RandomGridShuffle((1, 1)), ops.RandomGridShuffle(), ops.RandomGridShuffle((2, 5)))
