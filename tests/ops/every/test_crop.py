"""The published suite, for crops, pads and sizes."""

from kaleidoscope import ops
from kaleidoscope.testing import OpTests


class TestLongestMaxSize(OpTests):
    instances = (
        ops.LongestMaxSize(50),
        ops.LongestMaxSize([40, 120], interpolation="cubic"),
        ops.LongestMaxSize(max_size_hw=(45, None), area_for_downscale="image"),
        ops.LongestMaxSize(max_size_hw=(100, 120), interpolation="nearest"),
    )


class TestSmallestMaxSize(OpTests):
    instances = (
        ops.SmallestMaxSize(40),
        ops.SmallestMaxSize([30, 90], interpolation="lanczos4"),
        ops.SmallestMaxSize(max_size_hw=(None, 60), area_for_downscale="image"),
        ops.SmallestMaxSize(max_size_hw=(40, 50), interpolation="area"),
    )


class TestRandomScale(OpTests):
    instances = (
        ops.RandomScale(),
        ops.RandomScale((-0.5, 0.9), interpolation="cubic"),
        ops.RandomScale((-0.6, -0.4), area_for_downscale="image"),
    )
