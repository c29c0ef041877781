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


class TestRandomResizedCrop(OpTests):
    instances = (
        ops.RandomResizedCrop((40, 50), scale=(0.6, 1.0)),
        ops.RandomResizedCrop((97, 60), scale=(0.5, 0.9), ratio=(0.5, 2), interpolation="cubic"),
        ops.RandomResizedCrop((30, 30), scale=(0.7, 0.8), area_for_downscale="image"),
    )


class TestRandomSizedCrop(OpTests):
    instances = (
        ops.RandomSizedCrop((50, 60), (40, 50)),
        ops.RandomSizedCrop((40, 90), (70, 60), w2h_ratio=1.5, interpolation="lanczos4"),
    )
