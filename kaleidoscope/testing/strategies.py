"""Hypothesis strategies: recipes of all kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kaleidoscope import registry
from kaleidoscope.errors import RecipeError
from kaleidoscope.ops.base import Op, Part
from kaleidoscope.ops.choose import OneOf, SomeOf, Sometimes
from kaleidoscope.ops.combine import Branch, PowerSet, Repeat, Sequential
from kaleidoscope.ops.split import Split
from kaleidoscope.tree import count_leaves, grow

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def recipes(max_depth: int = 4, *, ops: Sequence[Op] = (), most_leaves: int = 40) -> SearchStrategy[Part]:
    """Return a hypothesis strategy of recipes: ops and all combinators in one another, at most `max_depth` of them.

    Parameters
    ----------
    max_depth : int
        Combinators around an op.
    ops : sequence of Op, optional
        What they are made of; by default ops of every kind that do images of any size.
    most_leaves : int
        Recipes of more variants are left out, and those whose branches are named alike.

    Raises
    ------
    ImportError
        Without hypothesis, which the extra ``test`` has.
    """
    try:
        from hypothesis import strategies as st
    except ImportError as error:
        raise ImportError(
            "recipes() makes strategies for hypothesis: pip install 'kaleidoscope[test]'", name=error.name
        ) from error
    leaf = st.sampled_from(list(ops) or _small_ops())

    def at(depth: int) -> SearchStrategy[Part]:
        if depth == 0:
            return leaf
        return leaf | st.lists(at(depth - 1), min_size=1, max_size=3).flatmap(_several) | _choice(st, leaf, depth)

    def _several(parts: list[Part]) -> SearchStrategy[Part]:
        labels = st.lists(
            st.from_regex("[a-z0-9]{1,3}", fullmatch=True), min_size=len(parts), max_size=len(parts), unique=True
        )
        ends = st.integers(0, len(parts))
        sizes = st.none() | st.tuples(ends, ends).map(lambda two: (min(two), max(two)))
        return (
            st.just(Sequential(*parts))
            | sizes.map(lambda two: PowerSet(*parts, sizes=two))
            | labels.map(lambda names: Branch(**dict(zip(names, parts, strict=True))))
            | st.integers(1, 3).map(lambda n: Repeat(parts[0], n))
            | st.tuples(st.integers(1, 2), st.integers(1, 2)).map(lambda grid: Sequential(*parts[:2], Split(*grid)))
        )

    return at(max_depth).filter(lambda recipe: _grows(recipe, most_leaves))


def _choice(st: Any, leaf: SearchStrategy[Op], depth: int) -> SearchStrategy[Part]:
    """Return a strategy of choices, which hold ops, sequences of ops, and choices."""
    inner = leaf if depth == 1 else leaf | _choice(st, leaf, depth - 1)
    one = inner | st.lists(inner, max_size=2).map(lambda parts: Sequential(*parts))
    chance = st.floats(0, 1, allow_subnormal=False)
    several = st.lists(st.tuples(one, st.integers(0, 5)), min_size=1, max_size=3)
    choice: SearchStrategy[Part] = (
        several.map(lambda pairs: OneOf(*(part for part, _ in pairs)))
        | several.map(lambda pairs: OneOf(*(part for part, _ in pairs), weights=[1 + weight for _, weight in pairs]))
        | several.map(lambda pairs: SomeOf(*(part for part, _ in pairs), n=(min(pairs[0][1], len(pairs)), len(pairs))))
        | st.tuples(one, chance).map(lambda pair: Sometimes(pair[0], p=pair[1]))
    )
    return choice


def _small_ops() -> list[Op]:
    made: list[tuple[str, dict[str, Any]]] = [
        ("HorizontalFlip", {}),
        ("RandomRotate90", {}),
        ("Rotate", {"limit": 15}),
        ("Rotate", {"fill": (1, 2, 3), "border_mode": "wrap"}),
        ("Affine", {"scale": (0.5, 2), "shear": {"y": 5}}),
        ("RandomCrop", {"height": 9, "width": 12, "pad_if_needed": True}),
        ("Resize", {"height": 11, "width": 8}),
        ("RandomBrightnessContrast", {}),
        ("GaussianBlur", {}),
        ("GaussNoise", {}),
    ]
    return [registry.find_op(name)(**settings) for name, settings in made]


def _grows(recipe: Part, most_leaves: int) -> bool:
    if count_leaves(recipe) > most_leaves:
        return False
    try:
        grow(recipe)
    except RecipeError:  # two branches are named alike
        return False
    return True
