import pickle
from collections import Counter

import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.errors import RecipeError
from kaleidoscope.plan import make_plan
from kaleidoscope.randomness import stream
from kaleidoscope.recipe import canonical, from_spec, to_spec
from kaleidoscope.record import Frame
from kaleidoscope.tree import grow
from kaleidoscope.walk import walk

FRAME = Frame(8, 10, 3, "uint8")
FLIP, ROTATE, BLUR, NOISE = ops.HorizontalFlip(), ops.Rotate(limit=(20, 40)), ops.GaussianBlur(), ops.GaussNoise()


def image(seed=0, shape=(16, 24, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def outcome(recipe, pixels, *, key="a", seed=7, backend=None, draws=None):
    found = walk(make_plan(grow(recipe)), pixels, key=key, seed=seed, backend=backend or Cv2Backend(), draws=draws)
    (one,) = ((o.pixels.copy(), o.lineage) for o in found)
    return one


CHOICES = [
    ops.OneOf(FLIP, ROTATE, BLUR),
    ops.OneOf(FLIP, ROTATE, weights=[1, 3]),
    ops.SomeOf(FLIP, ROTATE, BLUR, n=(0, 3)),
    ops.Sometimes(ops.Sequential(FLIP, ROTATE)),
    ops.Sometimes(ops.OneOf(BLUR, ops.Sequential(NOISE, ops.SomeOf(FLIP, ROTATE, n=1))), p=1.0),
]


@pytest.mark.parametrize("choice", CHOICES, ids=repr)
class TestEvery:
    def test_is_one_leaf_whose_name_does_not_tell_the_draw(self, choice):
        assert grow(choice).variants == [choice.short_name]

    def test_travels_as_recipe_repr_and_pickle(self, choice):
        assert from_spec(to_spec(choice)) == choice
        assert eval(repr(choice), vars(ops) | {n: getattr(ops, n) for n in dir(ops)}) == choice
        assert pickle.loads(pickle.dumps(choice)) == choice
        assert hash(pickle.loads(pickle.dumps(choice))) == hash(choice)

    def test_draws_json_from_its_own_stream_alone(self, choice):
        first, second = (choice.sample_params(stream(1, "a", "n"), FRAME) for _ in range(2))
        assert canonical(first) == canonical(second)

    def test_is_replayed_by_what_it_drew(self, choice):
        pixels = image()
        made, (step,) = outcome(choice, pixels)
        again, _ = outcome(choice, pixels, seed=8, draws={choice.short_name: step.params})
        np.testing.assert_array_equal(made, again)

    def test_leaves_its_input_and_no_buffer_behind(self, choice):
        pixels, backend = image(), Cv2Backend()
        before = pixels.copy()
        for seed in range(10):
            outcome(choice, pixels, seed=seed, backend=backend)
        np.testing.assert_array_equal(pixels, before)
        assert backend._lent == 0


def test_one_of_applies_exactly_the_op_it_drew():
    pixels = image()
    seen = set()
    for seed in range(30):
        made, (step,) = outcome(ops.OneOf(FLIP, BLUR), pixels, seed=seed)
        ((place, params),) = step.params["steps"]
        seen.add(place[0])
        if place == [0]:
            np.testing.assert_array_equal(made, pixels[:, ::-1])
        else:
            wanted = np.empty_like(pixels)
            BLUR.kernel(pixels, params, wanted)
            np.testing.assert_array_equal(made, wanted)
    assert seen == {0, 1}


def test_one_of_draws_by_weight():
    choice = ops.OneOf(FLIP, BLUR, NOISE, weights=[1, 3, 0])
    drawn = Counter(choice.draw(stream(0, str(i), "n"))[0] for i in range(4000))
    assert drawn[2] == 0
    assert drawn[1] / 4000 == pytest.approx(0.75, abs=0.03)  # four standard deviations


def test_some_of_draws_each_at_most_once_in_the_recipes_order():
    choice = ops.SomeOf(FLIP, ROTATE, BLUR, NOISE, n=(1, 3))
    drawn = [tuple(choice.draw(stream(0, str(i), "n"))) for i in range(600)]
    assert all(list(d) == sorted(set(d)) for d in drawn)
    assert {len(d) for d in drawn} == {1, 2, 3}
    assert {index for d in drawn for index in d} == {0, 1, 2, 3}


def test_sometimes_happens_as_often_as_it_says():
    times = sum(bool(ops.Sometimes(FLIP, p=0.25).draw(stream(0, str(i), "n"))) for i in range(4000))
    assert times / 4000 == pytest.approx(0.25, abs=0.03)


def test_nothing_drawn_is_the_image_as_it_is():
    pixels = image()
    np.testing.assert_array_equal(outcome(ops.Sometimes(BLUR, p=0.0), pixels)[0], pixels)


def test_neighbouring_geometry_inside_is_one_warp():
    backend = Cv2Backend()
    outcome(ops.Sometimes(ops.Sequential(FLIP, ROTATE, ops.Rotate(5)), p=1.0), image(), backend=backend)
    assert (backend.counts["warp"], backend.counts["permutation"]) == (1, 0)


def test_geometry_around_is_not_fused_with_what_was_drawn():
    backend = Cv2Backend()
    outcome(ops.Sequential(ROTATE, ops.Sometimes(ROTATE, p=1.0), ROTATE), image(), backend=backend)
    assert backend.counts["warp"] == 3


def test_other_borders_inside_are_warps_of_their_own():
    backend = Cv2Backend()
    inner = ops.Sequential(ROTATE, ops.Rotate((5, 6), border_mode="wrap"))
    outcome(ops.Sometimes(inner, p=1.0), image(), backend=backend)
    assert backend.counts["warp"] == 2


def test_frames_follow_what_was_drawn():
    crop = ops.Rotate(limit=(30, 30), crop_border=True)
    made, (step,) = outcome(ops.Sometimes(ops.Sequential(crop, FLIP), p=1.0), image())
    assert Frame.of(made) == crop.out_frame(Frame.of(image()), step.params["steps"][0][1])


@pytest.mark.parametrize(
    "part", [ops.PowerSet(FLIP), ops.Repeat(FLIP, 2), ops.Branch(a=FLIP), ops.Split(2, 2)], ids=repr
)
@pytest.mark.parametrize("owner", [ops.OneOf, ops.Sometimes, lambda part: ops.SomeOf(part, n=1)])
def test_parts_of_several_variants_are_refused(owner, part):
    with pytest.raises(RecipeError, match="depend on the draw"):
        owner(part)
    with pytest.raises(RecipeError, match="depend on the draw"):
        owner(ops.Sequential(FLIP, part))


@pytest.mark.parametrize(
    "make",
    [
        ops.OneOf,
        lambda: ops.OneOf(FLIP, weights=[1, 2]),
        lambda: ops.OneOf(FLIP, BLUR, weights=[0, 0]),
        lambda: ops.OneOf(FLIP, BLUR, weights=[-1, 2]),
        lambda: ops.OneOf(FLIP, BLUR, weights="ab"),
        lambda: ops.SomeOf(FLIP, n=2),
        lambda: ops.SomeOf(FLIP, BLUR, n=(2, 1)),
        lambda: ops.SomeOf(FLIP, BLUR, n=0.5),
        lambda: ops.Sometimes(FLIP, p=1.5),
        lambda: ops.Sometimes(FLIP, p="often"),
        lambda: ops.Sometimes([FLIP]),
    ],
)
def test_what_makes_no_sense_is_refused(make):
    with pytest.raises(RecipeError, match=r"expected|nested|outermost"):
        make()
