"""What holds for any recipe: drawn trees of all combinators, at most four in one another."""

import json
import pickle

import numpy as np
from dask import bag
from hypothesis import given, settings
from hypothesis import strategies as st

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.ops.combine import Combinator
from kaleidoscope.recipe import from_spec, to_spec
from kaleidoscope.record import ImageRecord
from kaleidoscope.targets import Targets
from kaleidoscope.testing import recipes
from kaleidoscope.tree import count_leaves, grow


def images(count=4):
    """Return labelled images of several sizes and kinds."""
    records = []
    for i in range(count):
        rng = np.random.default_rng(i)
        height, width, dtype = 13 + 2 * i, 17 - i, ("uint8", "uint16")[i % 2]
        pixels = rng.integers(0, np.iinfo(dtype).max, (height, width, 3), dtype=dtype)
        mask = rng.integers(0, 3, (height, width), dtype=np.uint8)
        targets = Targets(
            boxes=[(1, 2, 9, 11)], polygons=[[(1, 2), (9, 2), (6, 11)]], keypoints=[[(4, 5)]], masks={"m": mask}
        )
        records.append(ImageRecord(f"{'ab'[i % 2]}/{i}.png", pixels, targets))
    return records


def outcomes(recipe, records, parts):
    """Return everything that comes of images, by key and variant."""
    made = ks.augment(bag.from_sequence(records, npartitions=parts), recipe, seed=5).compute(scheduler="sync")
    found = {}
    for record in made:
        pixels = (
            None if record.pixels is None else (record.pixels.dtype.name, record.pixels.shape, record.pixels.tobytes())
        )
        targets = None if record.targets is None else record.targets.digest()
        steps = tuple(step.text for step in record.lineage)
        assert (record.key, record.variant) not in found
        found[record.key, record.variant] = (pixels, targets, steps, str(record.error))
    return found


@given(recipes(), st.randoms(use_true_random=False), st.integers(1, 4))
@settings(max_examples=25)
def test_outcomes_are_the_same_in_any_order_and_partitioning(recipe, random, parts):
    records = images()
    before = [(r.pixels.tobytes(), r.targets.digest()) for r in records]
    wanted = outcomes(recipe, records, 1)
    assert len(wanted) == len(records) * count_leaves(recipe)
    shuffled = random.sample(records, len(records))
    assert outcomes(recipe, shuffled, parts) == wanted
    few = outcomes(recipe, shuffled[:2], 2)
    assert few == {key: made for key, made in wanted.items() if key in few}
    assert [(r.pixels.tobytes(), r.targets.digest()) for r in records] == before


@given(recipes())
@settings(max_examples=25)
def test_a_recipe_that_travelled_makes_the_same(recipe):
    spec = json.loads(json.dumps(to_spec(recipe)))
    for copy in (pickle.loads(pickle.dumps(recipe)), from_spec(spec)):
        assert grow(copy).variants == grow(recipe).variants
        assert outcomes(copy, images(1), 1) == outcomes(recipe, images(1), 1)


@given(recipes(3))
@settings(max_examples=25)
def test_what_is_applied_is_the_chain_of_the_leaf(recipe):
    tree = grow(recipe)
    chains = {node.name: [one.name for one in node.chain() if one.op] for node in tree.nodes if node.leaf}
    for (_, variant), (_, _, steps, error) in outcomes(recipe, images(1), 1).items():
        applied = [json.loads(step)["node"] for step in steps]
        assert applied == chains[variant] or error != "None"


@given(recipes(2, ops=[ops.HorizontalFlip(), ops.GaussianBlur()], most_leaves=10))
@settings(max_examples=25)
def test_recipes_are_of_what_they_were_asked_for(recipe):
    def check(part, depth):
        assert depth >= 0
        for inner in getattr(part, "parts", ()):
            check(inner, depth - isinstance(inner, Combinator))
        assert isinstance(part, Combinator | ops.HorizontalFlip | ops.GaussianBlur)

    assert count_leaves(recipe) <= 10
    check(recipe, 2 - isinstance(recipe, Combinator))
