"""The published suite, for the ops that everybody uses first."""

import numpy as np

from kaleidoscope import ops
from kaleidoscope.testing import OpTests

STILL = {"scale": [1.0, 1.0], "translate": [0, 0], "rotate": 0.0, "shear": [0.0, 0.0]}


class TestHorizontalFlip(OpTests):
    instances = (ops.HorizontalFlip(),)


class TestVerticalFlip(OpTests):
    instances = (ops.VerticalFlip(),)


class TestTranspose(OpTests):
    instances = (ops.Transpose(),)


class TestRandomRotate90(OpTests):
    instances = (ops.RandomRotate90(),)
    identity = ((ops.RandomRotate90(), {"factor": 0}),)


class TestRotate(OpTests):
    instances = (
        ops.Rotate(),
        ops.Rotate(15, interpolation="cubic", border_mode="reflect_101"),
        ops.Rotate((20, 40), interpolation="nearest", fill=1, fill_mask=3, rotate_method="ellipse"),
        ops.Rotate(30, crop_border=True),
    )
    identity = (
        (ops.Rotate(), {"angle": 0.0}),
        (ops.Rotate(crop_border=True), {"angle": 0.0}),
    )


class TestAffine(OpTests):
    instances = (
        ops.Affine(),
        ops.Affine(scale=(0.6, 1.4), translate_percent=(-0.1, 0.1), rotate=(-40, 40), shear=(-10, 10)),
        ops.Affine(translate_px=(-5, 5), keep_ratio=True, balanced_scale=True, interpolation="lanczos4"),
        ops.Affine(rotate=(-180, 180), fit_output=True, border_mode="replicate"),
    )
    identity = tuple((ops.Affine(fit_output=fit), STILL) for fit in (False, True))


class TestResize(OpTests):
    instances = (
        ops.Resize(97, 45),
        ops.Resize(40, 50, interpolation="nearest"),
        ops.Resize(33, 140, interpolation="cubic"),
        ops.Resize(130, 181, interpolation="lanczos4"),
        ops.Resize(33, 50, area_for_downscale="image"),
    )


class TestCenterCrop(OpTests):
    instances = (
        ops.CenterCrop(30, 41),
        ops.CenterCrop(70, 50, pad_if_needed=True, fill=1),
    )

    def takes(self, op, frame):
        return op.pad_if_needed or (frame.height >= op.height and frame.width >= op.width)


class TestRandomCrop(TestCenterCrop):
    instances = (
        ops.RandomCrop(50, 60),
        ops.RandomCrop(80, 99, pad_if_needed=True, pad_position="random", fill_mask=9),
    )


class TestPad(OpTests):
    instances = (
        ops.Pad(),
        ops.Pad(3, fill=1, fill_mask=200),
        ops.Pad((0, 4, 7, 1), border_mode="replicate"),
    )
    identity = ((ops.Pad(), {}),)


class TestTile(OpTests):
    instances = (
        ops.Tile(0, 0, 1, 1),
        ops.Tile(0, 1, 1, 2),
        ops.Tile(2, 1, 4, 3),
    )
    identity = ((ops.Tile(0, 0, 1, 1), {}),)

    def takes(self, op, frame):
        rows, cols = (np.arange(n + 1) * size // n for n, size in ((op.rows, frame.height), (op.cols, frame.width)))
        return rows[op.row] < rows[op.row + 1] and cols[op.col] < cols[op.col + 1]


class TestHueSaturationValue(OpTests):
    instances = (
        ops.HueSaturationValue(),
        ops.HueSaturationValue(180, 90, 40),
    )
    keeps_alpha = True
    identity = ((ops.HueSaturationValue(), {"hue_shift": 0.0, "sat_shift": 0.0, "val_shift": 0.0}),)

    def takes(self, op, frame):
        return frame.channels in (1, 3, 4)


class TestRandomBrightnessContrast(OpTests):
    instances = (
        ops.RandomBrightnessContrast(),
        ops.RandomBrightnessContrast(0.5, 0.5, ensure_safe_range=True),
        ops.RandomBrightnessContrast(brightness_by_max=False),
    )
    keeps_alpha = True
    identity = tuple((one, {"alpha": 1.0, "beta": 0.0}) for one in instances)


class TestGaussianBlur(OpTests):
    instances = (
        ops.GaussianBlur(),
        ops.GaussianBlur(blur_limit=(3, 5), sigma_limit=1),
    )
    identity = (
        (ops.GaussianBlur(), {"sigma": 0.0, "ksize": 7}),
        (ops.GaussianBlur(), {"sigma": 1.0, "ksize": 1}),
    )


class TestMedianBlur(OpTests):
    instances = (
        ops.MedianBlur(),
        ops.MedianBlur((3, 3)),
        ops.MedianBlur((7, 7)),
    )


class TestGaussNoise(OpTests):
    instances = (
        ops.GaussNoise((0.02, 0.1)),
        ops.GaussNoise(0.05, mean_range=(-0.1, 0.1), per_channel=False),
        ops.GaussNoise(0.05, noise_scale_factor=0.4),
    )
    keeps_alpha = True
    identity = tuple((one, {"std": 0.0, "mean": 0.0, "seed": 5}) for one in instances)


class TestNormalize(OpTests):
    instances = (
        ops.Normalize(mean=0.5, std=0.25),
        ops.Normalize(),
        *(ops.Normalize(normalization=how) for how in ("image", "image_per_channel", "min_max", "min_max_per_channel")),
    )
    keeps_range = False

    def takes(self, op, frame):
        return isinstance(op.mean, float) or op.normalization != "standard" or frame.channels in (3, 4)


class TestApply(OpTests):
    instances = (ops.Apply(np.positive),)


GEOMETRY = ops.Sequential(ops.HorizontalFlip(), ops.Rotate(30))


class TestOneOf(OpTests):
    instances = (
        ops.OneOf(ops.GaussianBlur(), GEOMETRY, ops.Pad(3)),
        ops.OneOf(ops.Transpose(), GEOMETRY, weights=[1, 3]),
    )


class TestSomeOf(OpTests):
    instances = (ops.SomeOf(GEOMETRY, ops.GaussianBlur(), ops.Resize(50, 60), ops.Rotate(10), n=(0, 3)),)


class TestSometimes(OpTests):
    instances = (
        ops.Sometimes(GEOMETRY),
        ops.Sometimes(ops.OneOf(ops.RandomRotate90(), ops.GaussNoise(0.05)), p=1.0),
    )
    identity = ((ops.Sometimes(GEOMETRY), {"steps": []}),)
