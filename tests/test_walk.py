import itertools
import json
import tracemalloc
from collections import Counter

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from kaleidoscope import ops
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.errors import KaleidoscopeError, OpError, RecipeError, StoreError
from kaleidoscope.ops.base import Geometric, Op, op
from kaleidoscope.ops.combine import as_recipe
from kaleidoscope.ops.interpolate import BORDER, INTERPOLATION
from kaleidoscope.plan import make_plan
from kaleidoscope.randomness import stream
from kaleidoscope.record import MAX_VALUE, Frame
from kaleidoscope.tree import count_leaves, grow
from kaleidoscope.walk import as_failure, walk

KEY, SEED = "cat/001.jpg", 7
FLIP, BLUR, NOISE = ops.HorizontalFlip(), ops.GaussianBlur(), ops.GaussNoise()
HSV, BRIGHTNESS = ops.HueSaturationValue(), ops.RandomBrightnessContrast()
SIX = [FLIP, ops.Rotate(15), HSV, BRIGHTNESS, BLUR, NOISE]


def image(shape=(24, 33, 3), dtype="uint8", seed=0):
    """Return smooth random pixels that nobody may write to."""
    values = np.random.default_rng(seed).random(shape) * MAX_VALUE[dtype]
    pixels = cv2.blur(values, (3, 3)).reshape(shape).astype(dtype)
    pixels.flags.writeable = False
    return pixels


def plan_of(recipe):
    return make_plan(grow(as_recipe(recipe)))


def walked(recipe, pixels, *, backend=None, key=KEY, seed=SEED, **more):
    """Return every outcome, by variant, with a copy of its pixels."""
    outcomes = {}
    for outcome in walk(plan_of(recipe), pixels, key=key, seed=seed, backend=backend or Cv2Backend(), **more):
        copy = None if outcome.pixels is None else outcome.pixels.copy()
        assert outcome.variant not in outcomes
        outcomes[outcome.variant] = (copy, outcome)
    return outcomes


def same(one, other):
    """Whether two walks made the same variants, bit for bit, in the same order."""
    pairs = zip(one.items(), other.items(), strict=True)
    return all(v == w and np.array_equal(a, b) and a.dtype == b.dtype for (v, (a, _)), (w, (b, _)) in pairs)


class Taking(Cv2Backend):
    """A backend that counts how often a buffer is taken."""

    taken = 0

    def take(self, frame):
        self.taken += 1
        return super().take(frame)


def kinds_of(kind):
    """Yield the classes under one."""
    for each in kind.__subclasses__():
        yield each
        yield from kinds_of(each)


@pytest.mark.parametrize(
    "recipe",
    [
        [ops.RandomCrop(12, 17), FLIP, BLUR, HSV],
        [BLUR, ops.RandomCrop(12, 17), ops.Rotate(15), ops.CenterCrop(5, 6), NOISE],
        ops.Sequential(ops.SomeOf(FLIP, ops.CenterCrop(20, 20), BLUR, n=2), ops.Split(2, 2), ops.PowerSet(FLIP, HSV)),
        ops.Sequential(ops.Rotate(15), ops.Crop(2, 3, 30, 20), ops.RandomCrop(9, 9), ops.Repeat(ops.Rotate(15), 3)),
    ],
    ids=["crop first", "crops between", "tiles", "crop of a crop"],
)
def test_crops_that_are_views_change_nothing(recipe, monkeypatch):
    backend = Taking()
    with_views = walked(recipe, image(), backend=backend)
    assert not backend._windows, "all were handed back"
    assert all(outcome.error is None for _, outcome in with_views.values())
    for kind in kinds_of(Op):
        if "window" in vars(kind):
            monkeypatch.setattr(kind, "window", Op.window)
    copied = Taking()
    assert same(walked(recipe, image(), backend=copied), with_views)
    assert copied.taken > backend.taken, "views take no buffer"
    assert copied.counts["kernel"] == backend.counts["kernel"]


# ---- the same thing, made the long way: every leaf from the image, step by step, nothing shared, no buffers


def one_by_one(recipe, pixels, key=KEY, seed=SEED):
    tree = grow(as_recipe(recipe))
    leaves = [node for node in tree.nodes if node.leaf]
    return {leaf.name: way_down([node for node in leaf.chain() if node.op], pixels, key, seed) for leaf in leaves}


def way_down(steps, pixels, key, seed):
    made, matrix, resampling, flips = pixels, np.eye(3), None, 0
    frame = Frame.of(pixels)
    for node in steps:
        params = node.op.sample_params(stream(seed, key, node.name), frame)
        geometric = isinstance(node.op, Geometric)
        new = node.op.resampling if geometric else None
        fits = geometric and node.op.fuses and (None in (new, resampling) or new == resampling)
        if not fits:
            made = settle(made, matrix, resampling, flips, Frame.of(made))
            matrix, resampling, flips = np.eye(3), None, 0
        if geometric and node.op.fuses:
            matrix = node.op.matrix(frame, params) @ matrix
            flips += new is None
            resampling = resampling or new
        elif geometric:
            out = node.op.out_frame(frame, params)
            made = settle(made, node.op.matrix(frame, params), new, 0, out)
        else:
            out = np.empty(node.op.out_frame(frame, params).shape, made.dtype)
            node.op.kernel(made, params, out)
            made = out
        frame = node.op.out_frame(frame, params)
    return settle(made, matrix, resampling, flips, frame)


def settle(pixels, matrix, resampling, flips, frame):
    """Apply a run of geometric steps to pixels of up to four channels."""
    if resampling is None:
        return pixels[:, ::-1] if flips % 2 else pixels  # a mirror is the only exact step there is
    fill = resampling.fill if isinstance(resampling.fill, tuple) else (resampling.fill,) * frame.channels
    moved = cv2.warpAffine(
        pixels,
        matrix[:2],
        (frame.width, frame.height),
        flags=INTERPOLATION[resampling.interpolation],
        borderMode=BORDER[resampling.border_mode],
        borderValue=fill,
    )
    return moved.reshape(frame.shape)


ROTATIONS = [
    ops.Rotate(15),
    ops.Rotate(limit=(20, 80), border_mode="reflect_101"),
    ops.Rotate(5, interpolation="nearest", fill=1),
    ops.Rotate(30, crop_border=True),
]


@st.composite
def recipes(draw, depth=3):
    kind = draw(st.sampled_from(["op", "op", "sequential", "powerset", "branch", "repeat"])) if depth else "op"
    if kind == "op":
        return draw(st.sampled_from([FLIP, *ROTATIONS, HSV, BRIGHTNESS, BLUR, NOISE]))
    parts = draw(st.lists(recipes(depth - 1), min_size=1, max_size=3))
    if kind == "sequential":
        return ops.Sequential(*parts)
    if kind == "powerset":
        return ops.PowerSet(*parts)
    if kind == "branch":
        return ops.Branch(**{"abc"[i]: part for i, part in enumerate(parts)})
    return ops.Repeat(parts[0], 2)


def few_leaves(recipe):
    assume(count_leaves(recipe) <= 40)
    try:
        grow(recipe)
    except RecipeError:
        reject()  # two branches of the same names, whose variants would merge
    return recipe


class TestOutcomes:
    @given(recipes(), st.sampled_from(["uint8", "uint16", "float32"]), st.sampled_from([1, 3]))
    @settings(deadline=None, max_examples=60)
    def test_are_those_of_every_leaf_made_alone(self, recipe, dtype, channels):
        pixels = image((24, 33, channels), dtype)
        before = pixels.copy()
        outcomes, wanted = walked(few_leaves(recipe), pixels), one_by_one(recipe, pixels)
        assert list(outcomes) == list(wanted)
        for variant, (made, outcome) in outcomes.items():
            assert outcome.error is None
            assert made.dtype == pixels.dtype
            np.testing.assert_array_equal(made, wanted[variant], err_msg=variant)
        np.testing.assert_array_equal(pixels, before)

    @given(recipes())
    @settings(deadline=None, max_examples=40)
    def test_take_as_many_applications_as_the_plan_says(self, recipe):
        # A crop is a warp, whatever else it is: see test_plan.
        backend, plan = Cv2Backend(), plan_of(few_leaves(recipe))
        walked(recipe, image(), backend=backend)
        counts = Counter(backend.counts)
        del counts["buffer"]
        assert counts == plan.applications

    def test_of_six_ops_are_64_by_63_applications(self):
        backend, pixels = Cv2Backend(), image()
        outcomes = walked(SIX, pixels, backend=backend)
        wanted = one_by_one(SIX, pixels)
        assert len(outcomes) == 64
        for variant, (made, _) in outcomes.items():
            np.testing.assert_array_equal(made, wanted[variant], err_msg=variant)
        assert len({made.tobytes() for made, _ in outcomes.values()}) == 64
        assert backend.counts == {"buffer": 6, "kernel": 60, "warp": 2, "permutation": 1}

    def test_say_how_they_came_to_be(self):
        _, outcome = walked(SIX, image())["hflip-rotate-noise"]
        assert [step.node for step in outcome.lineage] == ["hflip", "hflip-rotate", "hflip-rotate-noise"]
        assert [dict(step.op) for step in outcome.lineage] == [
            {"HorizontalFlip": {}},
            {"Rotate": {"limit": [-15.0, 15.0]}},
            {"GaussNoise": {}},
        ]
        for step in outcome.lineage:
            assert json.loads(step.text) == {"node": step.node, "op": step.op, "params": step.params}
        drawn = stream(SEED, KEY, "hflip-rotate").uniform(-15, 15)
        assert outcome.lineage[1].params == {"angle": drawn}

    def test_go_on_from_what_was_applied_before(self):
        _, first = walked(FLIP, image())["hflip"]
        _, outcome = walked(ops.Rotate(15), image(), lineage=first.lineage)["rotate"]
        assert [step.node for step in outcome.lineage] == ["hflip", "rotate"]

    @pytest.mark.parametrize("shape", [(1, 1, 3), (1, 40, 1), (37, 1, 4), (5, 5, 6)], ids=str)
    def test_come_of_any_size(self, shape):
        pixels = image(shape)
        recipe = [FLIP, ops.Rotate(15), BRIGHTNESS, BLUR, NOISE]
        assert all(made.shape == shape for made, _ in walked(recipe, pixels).values())


class TestDraws:
    def test_of_the_same_op_on_two_paths_differ(self):
        recipe = [FLIP, ops.Rotate(15), ops.Rotate(15)]
        outcomes = walked(recipe, image())
        angles = {v: [s.params["angle"] for s in o.lineage if s.params] for v, (_, o) in outcomes.items()}
        drawn = [angles[v][-1] for v in ("rotate", "hflip-rotate", "rotate2", "hflip-rotate2", "rotate-rotate2")]
        assert len(set(drawn)) == 5

    def test_of_a_repeat_differ(self):
        outcomes = walked(ops.Repeat(ops.Rotate(15), 8), image())
        assert len({made.tobytes() for made, _ in outcomes.values()}) == 8

    def test_belong_to_key_and_seed(self):
        pixels = image()
        recipe = ops.Rotate(15)
        assert same(walked(recipe, pixels), walked(recipe, pixels))
        assert not same(walked(recipe, pixels), walked(recipe, pixels, seed=8))
        assert not same(walked(recipe, pixels), walked(recipe, pixels, key="cat/002.jpg"))

    def test_are_shared_by_the_leaves_below_a_node(self):
        outcomes = walked(SIX, image())
        angles = {o.lineage[1].params["angle"] for v, (_, o) in outcomes.items() if v.startswith("hflip-rotate")}
        assert len(angles) == 1

    def test_of_an_op_appended_leave_the_first_64_as_they_were(self):
        pixels = image()
        before, after = walked(SIX, pixels), walked([*SIX, ops.Rotate(45)], pixels)
        assert len(after) == 128
        assert same(before, {variant: after[variant] for variant in before})

    def test_are_used_again_where_they_are_given(self):
        pixels = image()
        first = walked(SIX, pixels)
        draws = {step.node: json.loads(step.text)["params"] for _, o in first.values() for step in o.lineage}
        assert same(first, walked(SIX, pixels, seed=99, draws=draws))

    def test_that_are_not_given_are_a_failure_of_that_node(self):
        draws = {"hflip": {}}
        outcomes = walked([FLIP, ops.Rotate(15)], image(), draws=draws)
        assert [v for v, (made, _) in outcomes.items() if made is None] == ["hflip-rotate", "rotate"]
        assert outcomes["rotate"][1].error.step == "rotate"


class TestWanted:
    @given(recipes(), st.data())
    @settings(deadline=None, max_examples=50)
    def test_variants_come_as_they_do_among_all(self, recipe, data):
        pixels = image()
        everything = walked(few_leaves(recipe), pixels)
        wanted = data.draw(st.sets(st.sampled_from(list(everything))))
        some = walked(recipe, pixels, wanted=wanted)
        assert same(some, {variant: made for variant, made in everything.items() if variant in wanted})

    @pytest.mark.parametrize(
        ("wanted", "counts"),
        [
            ((), {}),
            (["original"], {}),
            (["hflip"], {"permutation": 1}),
            (["hflip-rotate"], {"warp": 1}),
            (["hflip", "hflip-rotate"], {"permutation": 1, "warp": 1}),
            (["hflip-rotate-hsv-brightness-blur-noise"], {"warp": 1, "kernel": 4}),
            (["noise", "blur-noise"], {"kernel": 3}),
        ],
    )
    def test_variants_take_only_what_leads_to_them(self, wanted, counts):
        backend = Cv2Backend()
        assert list(walked(SIX, image(), backend=backend, wanted=wanted)) == sorted(
            wanted, key=plan_of(SIX).tree.variants.index
        )
        del backend.counts["buffer"]
        assert backend.counts == counts

    @pytest.mark.parametrize(
        ("wanted", "counts"),
        [
            (["rotate-a-hflip"], {"warp": 1}),  # the blur would need the rotated pixels; nobody asked for it
            (["rotate-a"], {"warp": 1}),
            (["rotate-a-blur"], {"warp": 1, "kernel": 1}),
            (["rotate-b"], {"warp": 1}),
            (["rotate-b", "rotate-a-blur"], {"warp": 1, "kernel": 1}),
            (["rotate-c-hflip2"], {"warp": 1}),
        ],
    )
    def test_variants_beyond_a_branch_take_only_what_leads_to_them(self, wanted, counts):
        backend = Cv2Backend()
        branch = ops.Branch(a=ops.PowerSet(BLUR, FLIP), b=ops.Sequential(), c=FLIP)
        recipe = ops.Sequential(ops.Rotate(15), branch)
        everything = walked(recipe, image())
        some = walked(recipe, image(), backend=backend, wanted=wanted)
        assert same(some, {variant: made for variant, made in everything.items() if variant in wanted})
        assert all(outcome.error is None for _, outcome in some.values())
        del backend.counts["buffer"]
        assert backend.counts == counts

    def test_nothing_reads_no_stream(self, monkeypatch):
        monkeypatch.setattr("kaleidoscope.randomness.Streams.at", None)
        assert list(walked(SIX, image(), wanted=["original", "hflip"])) == ["original", "hflip"]


@op
class Fails(Op):
    """Fails in one of its methods, for one image."""

    where: str = "kernel"
    short_name = "fails"

    def maybe(self, where):
        if where == self.where:
            raise ValueError(f"no {where}")

    def sample_params(self, rng, frame):
        self.maybe("sample_params")
        return {"x": float(rng.uniform())}

    def out_frame(self, frame, params):
        self.maybe("out_frame")
        return frame

    def kernel(self, src, params, out):
        np.copyto(out, 0)  # half done
        self.maybe("kernel")


@op
class FailsToMove(Geometric):
    short_name = "failsm"

    def matrix(self, frame, params):
        raise ValueError("no matrix")


@op
class FailsOnceMoved(Geometric):
    """Its matrix is well; that it cannot be applied shows where pixels are made."""

    short_name = "fails"

    def matrix(self, frame, params):
        return np.full((3, 3), np.nan)


class TestFailures:
    @pytest.mark.parametrize("where", ["sample_params", "out_frame", "kernel"])
    def test_cost_the_leaves_below_and_no_others(self, where):
        pixels = image()
        recipe = [FLIP, Fails(where), BLUR, NOISE]
        backend = Cv2Backend()
        outcomes = walked(recipe, pixels, backend=backend)
        assert list(outcomes) == plan_of(recipe).tree.variants
        lost = {v for v, (made, _) in outcomes.items() if made is None}
        assert lost == {v for v in outcomes if "fails" in v}
        for variant in lost:
            error = outcomes[variant][1].error
            assert isinstance(error, OpError)
            assert error.key == KEY
            assert error.step == ("hflip-fails" if variant.startswith("hflip") else "fails")
            assert error.message == f"ValueError: no {where}"
        wanted = one_by_one([FLIP, BLUR, NOISE], pixels)
        for variant in set(outcomes) - lost:
            np.testing.assert_array_equal(outcomes[variant][0], wanted[variant])
        # What the failure had taken is there for the next image.
        before = backend.counts["buffer"]
        walked(recipe, pixels, backend=backend)
        assert backend.counts["buffer"] == before

    def test_of_a_map_cost_the_leaves_below_and_no_others(self):
        outcomes = walked([FLIP, FailsToMove(), BLUR], image())
        assert {v for v, (made, _) in outcomes.items() if made is None} == {v for v in outcomes if "failsm" in v}
        assert outcomes["hflip-failsm-blur"][1].error.step == "hflip-failsm"

    def test_where_a_run_is_applied_cost_the_leaves_below(self):
        recipe = [FLIP, FailsOnceMoved(), BLUR]
        outcomes = walked(recipe, image())
        assert {v for v, (made, _) in outcomes.items() if made is None} == {v for v in outcomes if "fails" in v}

    def test_keep_what_was_drawn_until_then(self):
        _, outcome = walked(ops.Sequential(ops.Rotate(15), Fails("kernel"), BLUR), image())["rotate-fails-blur"]
        assert [step.node for step in outcome.lineage] == ["rotate", "rotate-fails"]

    def test_are_yielded_for_wanted_leaves_only(self):
        outcomes = walked([FLIP, Fails(), BLUR], image(), wanted=["fails-blur", "blur"])
        assert [(v, made is None) for v, (made, _) in outcomes.items()] == [("fails-blur", True), ("blur", False)]

    def test_of_ours_keep_their_kind_and_step(self):
        error = as_failure(StoreError("gone", step="read"), "a.jpg", "hflip")
        assert (type(error), str(error)) == (StoreError, "a.jpg: read: gone")
        assert str(as_failure(OpError("no"), "a.jpg", "hflip")) == "a.jpg: hflip: no"

    def test_that_stop_the_process_are_not_caught(self):
        @op
        class Stops(Op):
            short_name = "stops"

            def kernel(self, src, params, out):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            walked([Stops()], image())

    @pytest.mark.parametrize("drawn", [np.int64(3), float("nan"), object, {1, 2}], ids=repr)
    def test_are_draws_that_are_no_json_values(self, drawn):
        @op
        class Odd(Op):
            short_name = "odd"

            def sample_params(self, rng, frame):
                return {"x": drawn}

        made, outcome = walked([Odd()], image())["odd"]
        assert made is None
        assert "JSON values from sample_params" in outcome.error.message

    def test_are_pixels_of_another_kind(self):
        with pytest.raises(KaleidoscopeError, match="expected pixels"):
            walked([FLIP], np.zeros((4, 4), np.uint8))


class TestMemory:
    def test_outcomes_are_lent(self):
        backend = Cv2Backend()
        places = {id(o.pixels) for o in walk(plan_of(SIX), image(), key=KEY, seed=SEED, backend=backend)}
        assert len(places) == 7  # the image, and a buffer for each level of the tree

    def test_the_next_image_of_that_size_allocates_nothing(self):
        backend = Cv2Backend()
        for seed in range(3):
            walked(SIX, image(seed=seed), backend=backend)
        assert backend.counts["buffer"] == 6

    def test_one_path_of_the_tree_is_alive_at_a_time(self):
        pixels = image((256, 256, 3))
        walked(SIX, pixels)  # whatever is made once in a process: the table of the noise, the modules
        plan, backend = plan_of(SIX), Cv2Backend()
        tracemalloc.start()
        try:
            for _ in walk(plan, pixels, key=KEY, seed=SEED, backend=backend):
                pass
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # Six buffers, one for each level, and what a kernel needs for itself: at most the image in HSV and its
        # LUT's outcome, which are two more. Of all 64 outcomes it would be ten times as much.
        assert peak < 8.1 * pixels.nbytes

    def test_a_deep_tree_takes_a_buffer_for_each_level(self):
        for depth in (2, 5, 9):
            backend = Cv2Backend()
            walked([BRIGHTNESS] * depth, image((4, 4, 3)), backend=backend)
            assert backend.counts["buffer"] == depth

    def test_pixels_are_only_read(self):
        pixels = image().copy()
        before = pixels.copy()
        for outcome in walk(plan_of(SIX), pixels, key=KEY, seed=SEED, backend=Cv2Backend()):
            assert outcome.variant == "original" or not np.may_share_memory(outcome.pixels, pixels)
        np.testing.assert_array_equal(pixels, before)

    def test_an_outcome_is_not_changed_before_the_next_is_asked_for(self):
        trip = walk(plan_of(SIX), image(), key=KEY, seed=SEED, backend=Cv2Backend())
        wanted = walked(SIX, image())
        for outcome in itertools.islice(trip, 20):
            np.testing.assert_array_equal(outcome.pixels, wanted[outcome.variant][0])
