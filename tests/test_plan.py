import pickle

import pytest

from kaleidoscope import ops
from kaleidoscope.ops.combine import as_recipe
from kaleidoscope.plan import MAX_LINES, make_plan
from kaleidoscope.tree import grow

FLIP, BLUR, NOISE = ops.HorizontalFlip(), ops.GaussianBlur(), ops.GaussNoise()
SIX = [FLIP, ops.Rotate(15), ops.HueSaturationValue(), ops.RandomBrightnessContrast(), BLUR, NOISE]


def planned(recipe):
    """Return the plan and its nodes by name."""
    plan = make_plan(grow(as_recipe(recipe)))
    return plan, {one.node.name: one for one in plan.root.below()}


def test_neighbouring_rotations_and_flips_are_one_warp():
    plan, nodes = planned(ops.Sequential(ops.Rotate(5), FLIP, ops.Rotate(45)))
    assert plan.applications == {"warp": 1}
    last = nodes["rotate-hflip-rotate2"]
    assert last.run == ("rotate", "rotate-hflip", "rotate-hflip-rotate2")
    assert last.resampling == ops.Rotate().resampling
    assert not nodes["rotate"].settles


def test_a_flip_takes_the_resampling_of_its_neighbour_on_either_side():
    for chain in [(FLIP, ops.Rotate(fill=7)), (ops.Rotate(fill=7), FLIP)]:
        plan, nodes = planned(ops.Sequential(*chain))
        assert plan.applications == {"warp": 1}
        assert nodes[plan.tree.variants[0]].resampling.fill == 7


@pytest.mark.parametrize(
    "other",
    [ops.Rotate(border_mode="reflect"), ops.Rotate(interpolation="cubic"), ops.Rotate(fill=1)],
    ids=repr,
)
def test_rotations_that_fill_pixels_in_different_ways_are_two_warps(other):
    plan, nodes = planned(ops.Sequential(ops.Rotate(), other))
    assert plan.applications == {"warp": 2}
    assert not nodes["rotate-rotate2"].joins
    assert nodes["rotate-rotate2"].run == ("rotate-rotate2",)
    assert nodes["rotate-rotate2"].resampling == other.resampling


def test_a_flip_between_different_borders_joins_the_first():
    plan, nodes = planned(ops.Sequential(ops.Rotate(), FLIP, ops.Rotate(border_mode="reflect")))
    assert plan.applications == {"warp": 2}
    assert nodes["rotate-hflip"].run == ("rotate", "rotate-hflip")
    assert nodes["rotate-hflip-rotate2"].run == ("rotate-hflip-rotate2",)


def test_flips_alone_are_permutations():
    plan, _ = planned(ops.Sequential(FLIP, FLIP, FLIP))
    assert plan.applications == {"permutation": 1}
    plan, _ = planned([FLIP, FLIP])
    assert plan.applications == {"permutation": 3}


def test_a_kernel_ends_a_run():
    plan, nodes = planned(ops.Sequential(ops.Rotate(), BLUR, ops.Rotate()))
    assert plan.applications == {"warp": 2, "kernel": 1}
    assert nodes["rotate-blur-rotate2"].run == ("rotate-blur-rotate2",)
    assert nodes["rotate-blur-rotate2"].joins  # nothing is pending after a kernel


def test_a_crop_ends_a_run_on_both_sides():
    plan, nodes = planned(ops.Sequential(ops.Rotate(), ops.Rotate(crop_border=True), ops.Rotate(), FLIP))
    assert plan.applications.total() == 3
    assert nodes["rotate"].settles
    assert nodes["rotate-rotate2"].settles
    assert nodes["rotate-rotate2-rotate3-hflip"].run == ("rotate-rotate2-rotate3", "rotate-rotate2-rotate3-hflip")


def test_a_crop_is_counted_as_the_warp_that_it_is():
    plan, nodes = planned(ops.Rotate(crop_border=True))
    assert nodes["rotate"].how == "warp"
    assert plan.applications == {"warp": 1}


def test_names_of_branches_cost_nothing():
    plan, nodes = planned(ops.Branch(a=ops.Sequential(), b=ops.Sequential(FLIP), c=BLUR))
    assert plan.applications == {"permutation": 1, "kernel": 1}
    assert [nodes[label].how for label in "abc"] == ["nothing"] * 3
    assert nodes["a"].spec == {}


def test_a_run_goes_on_through_the_name_of_a_branch():
    plan, nodes = planned(ops.Sequential(ops.Rotate(), ops.Branch(a=FLIP, b=ops.Rotate())))
    assert plan.applications == {"warp": 2}
    assert nodes["rotate-a-hflip"].run == ("rotate", "rotate-a-hflip")
    assert nodes["rotate-b-rotate2"].run == ("rotate", "rotate-b-rotate2")


def test_pixels_are_made_where_a_variant_or_a_kernel_needs_them():
    _, nodes = planned(ops.Sequential(ops.Rotate(), ops.Branch(a=BLUR, b=FLIP)))
    assert nodes["rotate"].settles  # for the blur, beyond the name of its branch
    _, nodes = planned(ops.Sequential(ops.Rotate(), ops.Branch(a=ops.Rotate(), b=FLIP)))
    assert not nodes["rotate"].settles
    _, nodes = planned([ops.Rotate(), FLIP])
    assert nodes["rotate"].settles  # a variant itself


def test_six_ops_take_63_applications():
    plan, _ = planned(SIX)
    assert plan.applications == {"permutation": 1, "warp": 2, "kernel": 60}
    assert plan.applications.total() == 63


def test_a_plan_depends_on_the_recipe_alone():
    one, other = (make_plan(grow(as_recipe(list(SIX)))) for _ in range(2))
    assert one.explain() == other.explain()


def test_a_plan_travels_as_its_recipe():
    plan, _ = planned([*SIX, *SIX])
    data = pickle.dumps(plan)
    assert len(data) < 10_000
    assert pickle.loads(data).explain() == plan.explain()


class TestExplain:
    def test_has_a_line_for_every_node_in_tree_order(self):
        plan, _ = planned(SIX)
        tree = plan.explain().split("\n\n", 1)[1].splitlines()
        names = [line.lstrip("│├└─ ").split()[0] for line in tree]
        assert names == [node.name for node in plan.tree.nodes]

    def test_says_what_is_counted(self):
        head = planned(SIX)[0].explain().split("\n\n")[0]
        assert "64 variants of each image" in head
        assert "63 applications" in head
        assert "60 kernels, 1 permutation, 2 warps" in head

    def test_says_how_each_step_gets_its_pixels(self):
        plan, _ = planned(ops.Sequential(ops.Rotate(5), FLIP, ops.Branch(soft=BLUR)))
        lines = plan.explain().split("\n\n", 1)[1].splitlines()
        remarks = [line.lstrip("│├└─ ").split(None, 1)[1] for line in lines]
        assert remarks == [
            "decoded · no variant",
            "Rotate {'limit': [-5.0, 5.0]} · part of the warps below · no variant",
            "HorizontalFlip · one warp of 2: rotate, rotate-hflip · no variant",
            "a name · no variant",
            "GaussianBlur · kernel",
        ]

    def test_lines_up_its_remarks(self):
        tree = planned([FLIP, BLUR])[0].explain().split("\n\n", 1)[1].splitlines()
        assert len({len(line) - len(line.split("  ")[-1].lstrip()) for line in tree}) == 1
        assert tree[1].startswith("├─ hflip ")
        assert tree[2].startswith("│  └─ hflip-blur ")
        assert tree[3].startswith("└─ blur ")

    def test_stops_after_a_hundred_lines(self):
        plan, _ = planned([*SIX, FLIP])
        *_, last_but_one, last = plan.explain().splitlines()
        assert last == f"... and {128 - MAX_LINES} more"
        assert last_but_one.lstrip("│├└─ ").startswith(plan.tree.nodes[MAX_LINES - 1].name)

    def test_of_one_variant_speaks_in_the_singular(self):
        head = planned(FLIP)[0].explain().split("\n\n")[0]
        assert "1 variant of" in head
        assert "1 permutation" in head

    def test_of_nothing_says_so(self):
        assert "0 applications (none)" in planned([])[0].explain()
