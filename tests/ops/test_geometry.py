"""Every op that moves pixels says by its matrix where they went."""

import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.ops.combine import as_recipe
from kaleidoscope.plan import make_plan
from kaleidoscope.recipe import from_spec
from kaleidoscope.record import MAX_VALUE, Frame
from kaleidoscope.tree import grow
from kaleidoscope.walk import walk

RANDOM_AFFINE = ops.Affine(scale=(0.8, 1.3), translate_px=(-4, 4), rotate=(-180, 180), shear=(-15, 15))
ONE_BY_ONE = [
    ops.HorizontalFlip(),
    ops.VerticalFlip(),
    ops.Transpose(),
    ops.RandomRotate90(),
    ops.Rotate(90),
    RANDOM_AFFINE,
    ops.Affine(scale=(0.5, 2), rotate=(-180, 180), shear=(-20, 20), fit_output=True),
    ops.Affine(translate_percent={"x": (-0.1, 0.1), "y": 0.05}, interpolation="nearest"),
    *(ops.Resize(97, 45, interpolation=name) for name in ("nearest", "linear", "cubic", "area", "lanczos4")),
    ops.Resize(31, 160, area_for_downscale="image"),
    ops.CenterCrop(50, 71),
    ops.CenterCrop(90, 70, pad_if_needed=True),
    ops.RandomCrop(55, 80),
    ops.RandomCrop(101, 70, pad_if_needed=True, pad_position="random"),
    ops.Pad((3, 5, 11, 2)),
]
TOGETHER = [
    ops.Sequential(ops.VerticalFlip(), RANDOM_AFFINE, ops.HorizontalFlip(), ops.Rotate(20)),
    ops.Sequential(ops.Transpose(), RANDOM_AFFINE, ops.RandomRotate90(), ops.VerticalFlip()),
    ops.Sequential(ops.Pad(9), ops.RandomRotate90(), ops.Resize(100, 50), ops.Rotate(15), ops.CenterCrop(80, 40)),
    ops.Sequential(ops.RandomCrop(60, 80), ops.VerticalFlip(), ops.Resize(90, 90), ops.Transpose(), ops.Pad((1, 2))),
    ops.Sequential(ops.Rotate(30, crop_border=True), ops.Affine(rotate=20, fit_output=True), ops.MedianBlur(3)),
]
HEIGHT, WIDTH = 64, 90
MARKS = [(45, 32), (33, 25), (60, 28), (50, 41)]


def marked(x, y, dtype, channels):
    """Return a dark image with a soft bright spot at (x, y)."""
    down, across = np.mgrid[:HEIGHT, :WIDTH]
    spot = np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * 2.5**2))
    pixels = np.repeat(spot[..., None] * MAX_VALUE[dtype], channels, axis=-1).astype(dtype)
    pixels.flags.writeable = False
    return pixels


def middle_of(pixels):
    """Return where the bright spot is: the centre of mass."""
    weights = pixels.sum(axis=-1, dtype=float)
    down, across = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    return np.array([(across * weights).sum(), (down * weights).sum()]) / weights.sum()


def follow(outcome, frame, point):
    """Return the frame and the point after every step of the lineage, by what the ops say."""
    for step in outcome.lineage:
        op = from_spec(step.op)
        if hasattr(op, "matrix"):
            point = op.matrix(frame, step.params) @ point
        frame = op.out_frame(frame, step.params)
    return frame, point


def far_from_the_border(frame, point, margin=9):
    return margin <= point[0] <= frame.width - 1 - margin and margin <= point[1] <= frame.height - 1 - margin


@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 3), ("float32", 1), ("uint16", 7)])
@pytest.mark.parametrize("recipe", [*ONE_BY_ONE, *TOGETHER], ids=str)
def test_a_mark_is_where_the_matrix_says(recipe, dtype, channels):
    plan, found = make_plan(grow(as_recipe(recipe))), 0
    for seed, mark in enumerate(MARKS):
        pixels = marked(*mark, dtype, channels)
        (outcome,) = walk(plan, pixels, key="a.jpg", seed=seed, backend=Cv2Backend())
        assert outcome.error is None
        frame, point = follow(outcome, Frame.of(pixels), np.array([*mark, 1.0]))
        assert Frame.of(outcome.pixels) == frame
        if far_from_the_border(frame, point):  # else a part of it may be cut off
            np.testing.assert_allclose(middle_of(outcome.pixels), point[:2], atol=0.6)
            found += 1
    assert found >= 2


def test_a_flip_and_an_affine_are_one_warp_and_the_rest_kernels():
    recipe = ops.Sequential(ops.VerticalFlip(), RANDOM_AFFINE, ops.Rotate(5), ops.Pad(3), ops.Transpose())
    backend, plan = Cv2Backend(), make_plan(grow(recipe))
    list(walk(plan, marked(45, 32, "uint8", 3), key="a.jpg", seed=0, backend=backend))
    assert dict(plan.applications) == {"warp": 1, "kernel": 1, "permutation": 1}
    assert {kind: backend.counts[kind] for kind in plan.applications} == dict(plan.applications)
