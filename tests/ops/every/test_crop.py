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


class TestCrop(OpTests):
    instances = (
        ops.Crop(),
        ops.Crop(7, 0, 80, 60),
        ops.Crop(2, 3, 100, 60, pad_if_needed=True, fill=1, fill_mask=9),
        ops.Crop(0, 10, 70, 80, pad_if_needed=True, pad_position="random", border_mode="reflect"),
    )

    def takes(self, op, frame):
        return op.pad_if_needed or (frame.width > op.x_min and frame.height > op.y_min)


class TestPadIfNeeded(OpTests):
    instances = (
        ops.PadIfNeeded(50, 120),
        ops.PadIfNeeded(None, 40, 32, position="random", fill=1, fill_mask=9),
        ops.PadIfNeeded(70, None, None, 7, position="bottom_right", border_mode="reflect_101"),
    )
    identity = ((ops.PadIfNeeded(1, 1), {"left": 0, "top": 0, "right": 0, "bottom": 0}),)


class TestCropAndPad(OpTests):
    instances = (
        ops.CropAndPad(px=3),
        ops.CropAndPad(px=(-8, 8), keep_size=False, fill=1, fill_mask=9),
        ops.CropAndPad(percent=(-0.2, 0.2), interpolation="cubic", border_mode="reflect"),
        ops.CropAndPad(percent=(0.1, (-0.1, 0.1), [0.0, 0.1, -0.1], -0.1), sample_independently=False),
    )
    identity = tuple((one, {"top": 0, "right": 0, "bottom": 0, "left": 0}) for one in instances)


class TestBBoxSafeRandomCrop(OpTests):
    instances = (
        ops.BBoxSafeRandomCrop(),
        ops.BBoxSafeRandomCrop(0.3),
    )


class TestCropNonEmptyMaskIfExists(OpTests):
    instances = (
        ops.CropNonEmptyMaskIfExists(50, 60),
        ops.CropNonEmptyMaskIfExists(31, 80, ignore_values=[3], ignore_masks=["class"]),
    )

    def takes(self, op, frame):
        return frame.height >= op.height and frame.width >= op.width
