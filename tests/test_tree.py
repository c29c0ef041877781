import itertools
import pickle
import re
from collections import Counter
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaleidoscope import ops
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.errors import RecipeError
from kaleidoscope.ops.base import Op, op
from kaleidoscope.ops.combine import Combinator, as_recipe
from kaleidoscope.plan import make_plan
from kaleidoscope.recipe import from_spec, to_spec
from kaleidoscope.testing import recipes
from kaleidoscope.tree import MAX_LEAVES, count_leaves, grow
from kaleidoscope.walk import walk

FLIP, ROTATE, BLUR, NOISE = ops.HorizontalFlip(), ops.Rotate(limit=15), ops.GaussianBlur(), ops.GaussNoise()


def names_of(part, seen=None):
    """Spell out the variants of a recipe the long way: every choice, one after the other.

    Yields the path of each, in words with the place of the part that they come from.
    """
    seen = Counter() if seen is None else seen
    if isinstance(part, Op):
        seen[part.short_name] += 1
        number = seen[part.short_name]
        return [((part.short_name + (str(number) if number > 1 else ""), (part.short_name, number)),)]
    if isinstance(part, ops.Split):
        seen["split"] += 1
        word = "split" + (str(seen["split"]) if seen["split"] > 1 else "")
        return [((word + tile, (word, tile)),) for tile in part.tiles()]
    seen["combinator"] += 1
    place = seen["combinator"]
    inner = [names_of(one, seen) for one in part.parts]
    if isinstance(part, ops.Sequential):
        found = [sum(ways, ()) for ways in itertools.product(*inner)]
    elif isinstance(part, ops.PowerSet):
        least, most = part.sizes or (0, len(inner))
        found = [
            sum(ways, ())
            for size in range(least, most + 1)
            for chosen in itertools.combinations(inner, size)
            for ways in itertools.product(*chosen)
        ]
    elif isinstance(part, ops.Branch):
        pairs = zip(part.labels, inner, strict=True)
        found = [((label, (place, label)), *way) for label, ways in pairs for way in ways]
    else:
        found = [((str(i), (place, i)), *way) for i in range(1, part.n + 1) for way in inner[0]]
    return list(dict.fromkeys(found))


def spelled(path):
    return "-".join(word for word, _ in path) or "original"


def grown(recipe):
    """Return the tree, and its variants as they are spelled the long way."""
    return grow(recipe), names_of(recipe)


@given(recipes())
@settings(deadline=None, max_examples=50)
def test_variants_are_every_choice_once(recipe):
    tree, wanted = grown(recipe)
    assert len(tree) == len(tree.variants) == count_leaves(recipe)
    assert sorted(tree.variants) == sorted(map(spelled, wanted))


@given(recipes())
@settings(deadline=None, max_examples=50)
def test_names_are_unique_and_parts_of_file_names(recipe):
    tree, _ = grown(recipe)
    names = [node.name for node in tree.nodes]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z0-9-]+", name) for name in names)


@given(recipes())
@settings(deadline=None, max_examples=50)
def test_a_tree_travels_as_its_recipe(recipe):
    tree, _ = grown(recipe)
    arrived = pickle.loads(pickle.dumps(tree))
    assert arrived.recipe == tree.recipe
    assert [node.name for node in arrived.nodes] == [node.name for node in tree.nodes]
    assert arrived.variants == tree.variants


@given(recipes())
@settings(deadline=None, max_examples=50)
def test_a_recipe_comes_back_from_its_spec(recipe):
    copy = from_spec(to_spec(recipe))
    assert copy == recipe
    assert hash(copy) == hash(recipe)


@given(recipes())
@settings(deadline=None, max_examples=50)
def test_the_repr_of_a_recipe_evaluates_back(recipe):
    assert eval(repr(recipe), {name: getattr(ops, name) for name in dir(ops)}) == recipe


@given(recipes())
@settings(deadline=None, max_examples=50)
def test_nodes_know_their_way(recipe):
    tree, _ = grown(recipe)
    assert tree.nodes[0] is tree.root
    assert [node.name for node in tree.nodes if node.leaf] == tree.variants
    for node in tree.nodes[1:]:
        chain = node.chain()
        assert chain[-1] is node
        assert "-".join(one.name.rpartition("-")[2] for one in chain) == node.name
        assert all(after.parent is before for before, after in itertools.pairwise([tree.root, *chain]))


@given(recipes(2, most_leaves=20), st.sampled_from([FLIP, ROTATE, BLUR]))
@settings(deadline=None, max_examples=50)
def test_an_op_appended_leaves_the_earlier_names(recipe, op):
    parts = (recipe,) if isinstance(recipe, Op) else recipe.parts
    before, _ = grown(ops.PowerSet(*parts))
    after, _ = grown(ops.PowerSet(*parts, op))
    assert [name for name in after.variants if name in set(before.variants)] == before.variants
    assert len(after) == 2 * len(before)


def test_a_list_is_the_power_set_in_order():
    assert grow(as_recipe([FLIP, ROTATE, BLUR])).variants == [
        "original",
        "hflip",
        "hflip-rotate",
        "hflip-rotate-blur",
        "hflip-blur",
        "rotate",
        "rotate-blur",
        "blur",
    ]


def test_six_ops_share_63_steps():
    six = [FLIP, ROTATE, ops.HueSaturationValue(), ops.RandomBrightnessContrast(), BLUR, NOISE]
    tree = grow(as_recipe(six))
    assert len(tree) == 64
    assert len(tree.nodes) == 1 + 63


@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        (FLIP, ["hflip"]),
        ([], ["original"]),
        (ops.Sequential(), ["original"]),
        (ops.Sequential(FLIP, ROTATE), ["hflip-rotate"]),
        (ops.PowerSet(FLIP, ROTATE, sizes=(1, 1)), ["hflip", "rotate"]),
        (ops.PowerSet(FLIP, ROTATE, sizes=(2, 2)), ["hflip-rotate"]),
        (ops.PowerSet(FLIP, ROTATE, sizes=(0, 9)), ["original", "hflip", "hflip-rotate", "rotate"]),
        (ops.Branch(weak=ops.Rotate(5), strong=ops.Rotate(45)), ["weak-rotate", "strong-rotate2"]),
        (ops.Branch(as1=ops.Sequential(), flipped=FLIP), ["as1", "flipped-hflip"]),
        (ops.Repeat(ROTATE, 3), ["1-rotate", "2-rotate", "3-rotate"]),
        (ops.Sequential(FLIP, ops.Repeat(ROTATE, 2)), ["hflip-1-rotate", "hflip-2-rotate"]),
        (ops.Repeat([FLIP][0], 1), ["1-hflip"]),
        (ops.PowerSet(ops.Sequential(FLIP, ROTATE), BLUR), ["original", "hflip-rotate", "hflip-rotate-blur", "blur"]),
        (ops.PowerSet(ops.PowerSet(FLIP), ROTATE), ["original", "hflip", "hflip-rotate", "rotate"]),
        (ops.PowerSet(ops.PowerSet(FLIP), ROTATE, sizes=(1, 1)), ["original", "hflip", "rotate"]),
        (
            ops.PowerSet(ops.PowerSet(ops.PowerSet(FLIP), ROTATE, sizes=(1, 1)), BLUR),
            ["original", "hflip", "hflip-blur", "rotate", "rotate-blur", "blur"],
        ),
        (
            ops.Sequential(ops.PowerSet(FLIP), ops.Branch(a=ROTATE, b=BLUR)),
            ["hflip-a-rotate", "hflip-b-blur", "a-rotate", "b-blur"],
        ),
        (ops.Repeat(ops.PowerSet(FLIP), 2), ["1", "1-hflip", "2", "2-hflip"]),
    ],
    ids=repr,
)
def test_names_and_their_order(recipe, names):
    recipe = as_recipe(recipe)
    assert grow(recipe).variants == names
    assert count_leaves(recipe) == len(names)


def test_the_second_op_of_a_class_is_numbered_by_its_place_in_the_recipe():
    tree = grow(as_recipe([ops.Rotate(5), FLIP, ops.Rotate(45)]))
    assert tree.variants == [
        "original",
        "rotate",
        "rotate-hflip",
        "rotate-hflip-rotate2",
        "rotate-rotate2",
        "hflip",
        "hflip-rotate2",
        "rotate2",
    ]


def test_the_same_object_twice_is_two_steps():
    tree = grow(as_recipe([ROTATE, ROTATE]))
    assert tree.variants == ["original", "rotate", "rotate-rotate2", "rotate2"]
    assert [node.op for node in tree.nodes] == [None, ROTATE, ROTATE, ROTATE]


def test_a_longer_repeat_keeps_the_shorter_ones_names():
    assert grow(ops.Repeat(ROTATE, 5)).variants[:3] == grow(ops.Repeat(ROTATE, 3)).variants


def test_sizes_count_as_many_as_choosing_does():
    flips = [FLIP] * 7
    for least, most in itertools.combinations_with_replacement(range(8), 2):
        wanted = sum(len(list(itertools.combinations(flips, size))) for size in range(least, most + 1))
        recipe = ops.PowerSet(*flips, sizes=(least, most))
        assert count_leaves(recipe) == len(grow(recipe)) == wanted


@pytest.mark.parametrize("nested", [[FLIP, [ROTATE]], [[FLIP]], [(FLIP, ROTATE)]])
def test_a_nested_list_is_refused(nested):
    with pytest.raises(RecipeError, match=r"only the outermost list is a power set.*Rotate|HorizontalFlip"):
        as_recipe(nested)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([ops.Rotate], r"got the class Rotate: write Rotate\(\)"),
        (ops.PowerSet, r"got the class PowerSet: write PowerSet\(\)"),
        ([FLIP, "Rotate"], r"got 'Rotate' \(str\)"),
        (None, r"got None \(NoneType\)"),
        ({"Rotate": {}}, r"\(dict\)"),
        ([lambda image: image], r"\(function\)"),
    ],
)
def test_what_is_no_op_is_refused(given, message):
    with pytest.raises(RecipeError, match=message):
        as_recipe(given)


@pytest.mark.parametrize("sizes", [(2, 1), (-1, 2), (3, 3), 2, (0,), (0, 1, 2), ("0", 2), (0.0, 2), (True, 2)])
def test_sizes_that_make_no_sense_are_refused(sizes):
    with pytest.raises(RecipeError, match=r"PowerSet\(sizes=.*of its 2 parts"):
        ops.PowerSet(FLIP, ROTATE, sizes=sizes)


@pytest.mark.parametrize("n", [0, -1, 2.0, "2", True, None])
def test_repeating_less_than_once_is_refused(n):
    with pytest.raises(RecipeError, match="at least 1"):
        ops.Repeat(FLIP, n)


@pytest.mark.parametrize("label", ["Weak", "very-weak", "", "a_b", "ä", "a.b", "..", "a/b"])
def test_labels_that_are_no_part_of_a_file_name_are_refused(label):
    with pytest.raises(RecipeError, match="lower-case letters and digits"):
        ops.Branch(**{label: FLIP})


def test_a_branch_without_branches_is_refused():
    with pytest.raises(RecipeError, match="at least one"):
        ops.Branch()


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        (ops.Branch(original=FLIP), "original"),
        (ops.PowerSet(ROTATE, ops.Branch(rotate=FLIP)), "rotate"),
        (ops.PowerSet(FLIP, ops.Branch(a=ROTATE), ops.Branch(hflip=BLUR)), "hflip"),
    ],
    ids=repr,
)
def test_a_label_that_is_a_steps_name_is_refused(recipe, name):
    with pytest.raises(RecipeError, match=f"both called '{name}'"):
        grow(recipe)


@pytest.mark.parametrize(
    "recipe",
    [
        ops.PowerSet(ops.Branch(a=ops.Sequential()), ops.Branch(a=ops.Sequential())),
        ops.PowerSet(ops.Branch(a=ops.PowerSet(FLIP)), ops.Branch(a=ops.PowerSet(ROTATE))),
        ops.PowerSet(ops.Repeat(ops.PowerSet(FLIP), 2), ops.Repeat(ops.PowerSet(ROTATE), 2)),
    ],
    ids=repr,
)
def test_labels_that_would_merge_two_variants_are_refused(recipe):
    # Both ways to "a" would be one leaf: fewer variants than were counted, and one of two that were asked for.
    with pytest.raises(RecipeError, match="another name"):
        grow(recipe)


@pytest.mark.parametrize("short", ["Rotate", "a-b", "../up", "", "ä", "a b"])
def test_an_op_whose_short_name_is_no_part_of_a_file_name_is_refused(short):
    @op
    class Odd(Op):
        short_name = short

    with pytest.raises(RecipeError, match="short_name"):
        grow(Odd())


def test_more_than_a_million_variants_are_refused_with_their_count():
    with pytest.raises(RecipeError, match="1,048,576 variants") as refused:
        grow(ops.PowerSet(*[FLIP] * 20))
    assert "sizes=" in refused.value.message
    with pytest.raises(RecipeError, match=f"{2**200:,}"):
        grow(ops.PowerSet(*[FLIP] * 200))
    assert count_leaves(ops.PowerSet(*[FLIP] * 19)) < MAX_LEAVES < count_leaves(ops.PowerSet(*[FLIP] * 20))


def test_counting_takes_no_growing():
    recipe = FLIP
    for _ in range(50):
        recipe = ops.Sequential(ops.PowerSet(recipe, ROTATE), ops.Repeat(BLUR, 10))
    assert count_leaves(recipe) > 10**50
    assert count_leaves(ops.Sequential(*[ops.Repeat(FLIP, 7)] * 9)) == prod([7] * 9)


def test_a_long_chain_grows():
    tree = grow(ops.Sequential(*[FLIP] * 300))
    assert tree.variants[0].endswith("-hflip300")
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    (outcome,) = walk(make_plan(tree), pixels, key="a", seed=0, backend=Cv2Backend())
    np.testing.assert_array_equal(outcome.pixels, pixels)


def test_a_longer_one_is_refused():
    with pytest.raises(RecipeError, match="301 steps"):
        grow(ops.Sequential(*[FLIP] * 301))


def test_a_combinator_of_a_newer_version_is_refused():
    class Sometimes(Combinator):
        def __init__(self, part):
            self.parts = (part,)

    with pytest.raises(RecipeError, match="Sometimes is no op and no combinator"):
        grow(Sometimes(FLIP))


def test_power_sets_of_power_sets_are_grown_once():
    # Each inner one may be on and change nothing: without remembering, 3**13 ways are tried for 2**13 variants.
    assert len(grow(ops.PowerSet(*[ops.PowerSet(FLIP)] * 13))) == 2**13
