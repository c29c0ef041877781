import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.errors import RecipeError
from kaleidoscope.ops.mask_dropout import _rectangles
from kaleidoscope.plan import make_plan
from kaleidoscope.record import Frame
from kaleidoscope.targets import Targets
from kaleidoscope.tree import grow
from kaleidoscope.walk import walk

FRAME = Frame(40, 50, 3, "uint8")


def mask_of_three():
    """Return a mask with two objects of one value, one of them touched at a corner, and one of another value."""
    mask = np.zeros((40, 50), np.uint8)
    mask[2:8, 3:10] = 1
    mask[20:30, 20:25] = 1
    mask[30:33, 25:27] = 1
    mask[20:30, 25:30] = 2
    return mask


def dropped(op, mask, seed=0):
    holes = op.sample_params_for(np.random.default_rng(seed), FRAME, Targets(masks={"mask": mask}))["holes"]
    region = np.zeros(mask.shape, bool)
    for left, top, right, bottom in holes:
        assert not region[top:bottom, left:right].any(), "rectangles do not overlap"
        region[top:bottom, left:right] = True
    return region


def test_one_object_is_dropped_and_each_as_often():
    mask = mask_of_three()
    sizes = [int(dropped(ops.MaskDropout(), mask, seed).sum()) for seed in range(600)]
    assert set(sizes) == {42, 50, 56}, "7 x 6, 10 x 5, and 10 x 5 with 3 x 2 at its corner"
    assert all(150 < sizes.count(size) < 250 for size in set(sizes))


def test_as_many_are_dropped_as_are_drawn_and_there():
    mask = mask_of_three()
    counts = {len(set(np.unique(mask[dropped(ops.MaskDropout((2, 9)), mask, seed)]))) for seed in range(50)}
    assert counts == {1, 2}
    everything = [dropped(ops.MaskDropout((3, 9)), mask, seed) for seed in range(5)]
    assert all(np.array_equal(region, mask > 0) for region in everything)


@pytest.mark.parametrize("seed", range(5))
def test_rectangles_cover_a_region_and_nothing_else(seed):
    region = np.random.default_rng(seed).random((17, 23)) < 0.5
    covered = np.zeros(region.shape, int)
    for left, top, right, bottom in _rectangles(region):
        covered[top:bottom, left:right] += 1
    np.testing.assert_array_equal(covered, region)


def walked(op, targets):
    pixels = np.full((40, 50, 3), 200, np.uint8)
    plan = make_plan(grow(op))
    (outcome,) = walk(plan, pixels, key="a", seed=0, backend=Cv2Backend(), targets=targets)
    assert outcome.error is None
    return outcome


def test_image_and_masks_lose_the_same_pixels_and_objects_stay():
    mask = mask_of_three()
    targets = Targets(boxes=[(3, 2, 10, 8)], masks={"mask": mask, "other": np.full((40, 50), 9, np.uint8)})
    outcome = walked(ops.MaskDropout((1, 2), fill=7, fill_mask=4), targets)
    region = (outcome.pixels == 7).all(axis=2)
    assert region.any()
    assert not (region & (mask == 0)).any()
    for name, before in targets.masks.items():
        np.testing.assert_array_equal(outcome.targets.masks[name], np.where(region, 4, before))
    assert outcome.targets.boxes.tolist() == targets.boxes.tolist()


def test_masks_stay_where_they_are_to():
    targets = Targets(masks={"mask": mask_of_three()})
    outcome = walked(ops.MaskDropout(fill_mask=None), targets)
    np.testing.assert_array_equal(outcome.targets.masks["mask"], targets.masks["mask"])
    assert (outcome.pixels == 0).any()


@pytest.mark.parametrize("targets", [None, Targets(), Targets(masks={"mask": np.zeros((40, 50), np.uint8)})], ids=repr)
def test_without_objects_the_image_stays(targets):
    assert (walked(ops.MaskDropout(5), targets).pixels == 200).all()


@pytest.mark.parametrize(
    "fields", [{"max_objects": 0}, {"fill": "random"}, {"fill": "no"}, {"fill_mask": -1}], ids=repr
)
def test_what_makes_no_sense_is_refused(fields):
    with pytest.raises(RecipeError, match=f"MaskDropout.*{next(iter(fields))}"):
        ops.MaskDropout(**fields)
