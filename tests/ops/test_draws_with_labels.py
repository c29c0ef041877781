"""Ops that look at labels when they draw: what they are shown, and that nothing else enters."""

from dataclasses import dataclass

import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.backends.follow import draw_params
from kaleidoscope.ops.base import Geometric, Op
from kaleidoscope.plan import make_plan
from kaleidoscope.randomness import stream
from kaleidoscope.record import Frame
from kaleidoscope.targets import Targets
from kaleidoscope.tree import grow
from kaleidoscope.walk import walk

SHAPE = (40, 60, 3)
BOX = [4.0, 6.0, 20.0, 16.0]
FLIPPED = [40.0, 6.0, 56.0, 16.0]


@dataclass(frozen=True, repr=False)
class Look(Op):
    """Keeps what it was shown in its draw."""

    short_name = "look"

    def sample_params(self, rng, frame):
        return {"seen": None, "drawn": rng.uniform()}

    def sample_params_for(self, rng, frame, targets):
        seen = None if targets is None else [targets.boxes.tolist(), [m.tolist() for m in targets.masks.values()]]
        return {"seen": seen, "size": [frame.width, frame.height], "drawn": rng.uniform()}

    def kernel(self, src, params, out):
        np.copyto(out, src)


@dataclass(frozen=True, repr=False)
class LookAndTurn(Look, Geometric):
    """Moves pixels by a matrix that neighbours could share."""

    short_name = "lookandturn"
    kernel = Op.kernel

    def matrix(self, frame, params):
        return np.array([[-1.0, 0.0, frame.width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def boxes():
    mask = np.zeros(SHAPE[:2], np.uint8)
    mask[6:16, 4:20] = 5
    return Targets(boxes=[BOX], masks={"class": mask})


def outcomes(recipe, targets, *, seed=0, key="a.jpg", draws=None):
    pixels = np.random.default_rng(1).integers(0, 256, SHAPE, dtype=np.uint8)
    backend = Cv2Backend()
    found = walk(make_plan(grow(recipe)), pixels, key=key, seed=seed, backend=backend, targets=targets, draws=draws)
    made = []
    for one in found:
        assert one.error is None, one.error
        made.append((one.pixels.copy(), one.lineage, one.targets))
    assert backend._lent == 0
    return made


def drawn(recipe, targets, **how):
    """Return what the last step of the only outcome drew, or the last of its steps."""
    ((_, lineage, _),) = outcomes(recipe, targets, **how)
    params = lineage[-1].params
    while "steps" in params:
        params = params["steps"][-1][1]
    return params


BEFORE = [ops.HorizontalFlip(), ops.Pad((5, 0, 0, 0)), ops.GaussianBlur(), ops.Resize(80, 120), ops.Crop(2, 1, 58, 30)]
WANTED = [FLIPPED, [9.0, 6.0, 25.0, 16.0], BOX, [8.0, 12.0, 40.0, 32.0], [2.0, 5.0, 18.0, 15.0]]
IN_A_CHOICE = [
    lambda *parts: ops.Sometimes(ops.Sequential(*parts), p=1.0),
    lambda *parts: ops.OneOf(ops.Sequential(*parts)),
    lambda *parts: ops.SomeOf(*parts, n=len(parts)),
    lambda *parts: ops.Sometimes(ops.Sequential(*parts[:-1], ops.OneOf(parts[-1])), p=1.0),
    lambda *parts: ops.Sequential(*parts[:-1], ops.Sometimes(parts[-1], p=1.0)),
    lambda *parts: ops.SomeOf(ops.Sometimes(ops.Sequential(*parts[:-1]), p=1.0), parts[-1], n=2),
]


@pytest.mark.parametrize("look", [Look(), LookAndTurn()], ids=lambda op: op.short_name)
@pytest.mark.parametrize("make", [ops.Sequential, *IN_A_CHOICE])
class TestWhatTheyAreShown:
    @pytest.mark.parametrize(("before", "box"), list(zip(BEFORE, WANTED, strict=True)), ids=str)
    def test_is_what_the_ops_before_have_left(self, make, look, before, box):
        recipe = make(before, look)
        seen = drawn(recipe, boxes())["seen"]
        np.testing.assert_allclose(seen[0], [box])
        ((_, _, moved),) = outcomes(make(before, ops.MedianBlur(3)), boxes())
        assert seen[1] == [moved.masks["class"].tolist()]
        assert drawn(recipe, None)["seen"] is None

    def test_is_there_for_the_first_op(self, make, look):
        np.testing.assert_allclose(drawn(make(look), boxes())["seen"][0], [BOX])

    def test_is_there_after_several(self, make, look):
        recipe = make(ops.HorizontalFlip(), ops.VerticalFlip(), ops.GaussianBlur(), ops.HorizontalFlip(), look)
        np.testing.assert_allclose(drawn(recipe, boxes())["seen"][0], [[4, 24, 20, 34]])


def test_neighbouring_warps_are_followed_once_and_frames_with_them():
    turns = ops.Sequential(ops.Rotate((45, 45)), ops.Rotate((-45, -45)))  # nothing is lost in between
    inside = drawn(ops.Sometimes(ops.Sequential(*turns.parts, Look()), p=1.0), boxes())
    outside = drawn(ops.Sequential(*turns.parts, Look()), boxes())
    np.testing.assert_allclose(inside["seen"][0], [BOX], atol=1e-6)
    np.testing.assert_allclose(outside["seen"][0], [BOX], atol=1e-6)
    size = drawn(ops.Sometimes(ops.Sequential(ops.Resize(7, 9), Look()), p=1.0), boxes())["size"]
    assert size == [9, 7]


def test_pixels_follow_what_was_drawn_from_a_warp_that_is_not_shared():
    recipe = ops.Sequential(ops.HorizontalFlip(), LookAndTurn(), ops.VerticalFlip())
    ((pixels, _, targets),) = outcomes(recipe, boxes())
    ((wanted, _, _),) = outcomes(ops.VerticalFlip(), None)
    np.testing.assert_array_equal(pixels, wanted)
    np.testing.assert_allclose(targets.boxes, [[4, 24, 20, 34]])


def test_only_what_looks_at_labels_says_so():
    assert Look().needs_targets
    assert not ops.RandomCrop(3, 3).needs_targets
    assert ops.BBoxSafeRandomCrop().needs_targets
    assert ops.OneOf(ops.RandomCrop(3, 3), ops.Sequential(ops.HorizontalFlip(), ops.Sometimes(Look()))).needs_targets
    assert not ops.OneOf(ops.RandomCrop(3, 3), ops.HorizontalFlip()).needs_targets


LOOKING = [
    ops.Sequential(ops.HorizontalFlip(), ops.BBoxSafeRandomCrop(0.3)),
    ops.SomeOf(ops.Rotate(20), ops.BBoxSafeRandomCrop(0.3), ops.CropNonEmptyMaskIfExists(8, 9), n=(1, 3)),
]


@pytest.mark.parametrize("recipe", LOOKING, ids=repr)
class TestDraws:
    def test_depend_on_seed_key_and_labels(self, recipe):
        def said(targets, **how):
            ((pixels, lineage, _),) = outcomes(recipe, targets, **how)
            return [step.params for step in lineage], pixels.shape

        assert said(boxes()) == said(boxes())
        assert len({str(said(boxes(), seed=seed)) for seed in range(5)}) == 5
        assert len({str(said(boxes(), key=key)) for key in "abcde"}) == 5
        other = Targets(boxes=[(0, 0, 60, 40)], masks={"class": np.zeros(SHAPE[:2], np.uint8)})
        assert any(said(boxes(), seed=seed) != said(other, seed=seed) for seed in range(5))

    def test_are_made_again_without_labels(self, recipe):
        ((pixels, lineage, _),) = outcomes(recipe, boxes(), seed=3)
        ((again, _, _),) = outcomes(recipe, None, seed=9, draws={step.node: step.params for step in lineage})
        np.testing.assert_array_equal(pixels, again)

    def test_work_without_labels(self, recipe):
        assert len({str(outcomes(recipe, None, seed=seed)[0][1]) for seed in range(5)}) == 5


@pytest.mark.parametrize("op", [ops.RandomCrop(9, 9), ops.SomeOf(ops.Rotate(20), ops.RandomCrop(9, 9), n=(1, 2))])
def test_labels_change_no_draw_that_does_not_look_at_them(op):
    frame = Frame(*SHAPE, "uint8")
    with_labels, without = (draw_params(op, stream(3, "a", "n"), frame, targets) for targets in (boxes(), None))
    assert with_labels == without == op.sample_params(stream(3, "a", "n"), frame)


def test_every_box_survives_a_safe_crop_after_a_turn():
    recipe = ops.Sequential(ops.Affine(scale=(0.4, 0.6), rotate=(-90, 90)), ops.BBoxSafeRandomCrop())
    targets = Targets(boxes=[(10, 10, 20, 20), (30, 12, 50, 30)])
    for seed in range(30):
        ((_, lineage, moved),) = outcomes(recipe, targets, seed=seed)
        assert len(moved) == 2
        assert lineage[-1].targets == {}  # nothing is clipped
