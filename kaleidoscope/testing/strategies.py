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
        What they are made of; by default the whole catalogue, but for `Apply`, which needs a function.
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
    leaves = list(ops) or _every_op()
    drawn = st.composite(_draw_part)(st, leaves, max_depth, one_leaf=False)
    return drawn.filter(lambda recipe: _grows(recipe, most_leaves))


_SIZE = {"height": 9, "width": 12}
#: What some ops need, or take for images of a few pixels.
_SMALL: dict[str, dict[str, Any]] = {
    "CenterCrop": {**_SIZE, "pad_if_needed": True},
    "CropAndPad": {"percent": (-0.2, 0.2)},
    "CropNonEmptyMaskIfExists": _SIZE,
    "LongestMaxSize": {"max_size": 14},
    "Pad": {"padding": 2},
    "PadIfNeeded": {"min_height": 20, "min_width": 16},
    "RandomCrop": {**_SIZE, "pad_if_needed": True},
    "RandomResizedCrop": {"size": (9, 12)},
    "RandomSizedCrop": {"min_max_height": (4, 8), "size": (9, 12)},
    "Resize": {"height": 11, "width": 8},
    "SmallestMaxSize": {"max_size": 10},
}
#: What is made of something else: a function, a tile of `Split`.
_NO_EXAMPLES = {"Apply", "Tile"}
_MORE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Rotate", {"fill": (1, 2, 3), "border_mode": "wrap"}),
    ("Affine", {"scale": (0.5, 2), "shear": {"y": 5}}),
)

#: Of one variant, and of several; the sequence is of as many as its parts are.
_CHOICES = ("Sequential", "OneOf", "SomeOf", "Sometimes")
_SPREADS = ("PowerSet", "Branch", "Repeat", "Split")


def _draw_part(draw: Any, st: Any, leaves: Sequence[Op], depth: int, *, one_leaf: bool) -> Part:
    """Draw an op, or a combinator of parts of one depth less; with `one_leaf` nothing that makes several variants."""
    kinds = ("op", "op", *_CHOICES) if one_leaf else ("op", *_CHOICES, *_SPREADS)
    kind = draw(st.sampled_from(kinds)) if depth else "op"
    if kind == "op":
        found: Part = draw(st.sampled_from(leaves))
        return found
    if kind == "Split":
        return Split(draw(st.integers(1, 2)), draw(st.integers(1, 3)))
    one_leaf = one_leaf or kind in _CHOICES[1:]
    count = 1 if kind in {"Repeat", "Sometimes"} else draw(st.integers(1, 3))
    parts = [_draw_part(draw, st, leaves, depth - 1, one_leaf=one_leaf) for _ in range(count)]
    return _draw_around(draw, st, kind, parts)


def _draw_around(draw: Any, st: Any, kind: str, parts: list[Part]) -> Part:
    """Draw the settings of a combinator of that kind."""
    least, most = sorted(draw(st.tuples(*[st.integers(0, len(parts))] * 2)))
    if kind == "OneOf":
        weights = st.lists(st.integers(1, 5), min_size=len(parts), max_size=len(parts))
        made: Part = OneOf(*parts, weights=draw(st.none() | weights))
    elif kind == "SomeOf":
        made = SomeOf(*parts, n=(least, most))
    elif kind == "Sometimes":
        made = Sometimes(parts[0], p=draw(st.floats(0, 1, allow_subnormal=False)))
    elif kind == "PowerSet":
        made = PowerSet(*parts, sizes=draw(st.sampled_from([None, (least, most)])))
    elif kind == "Branch":
        label = st.text("abcxyz0123456789", min_size=1, max_size=3)
        labels = draw(st.lists(label, min_size=len(parts), max_size=len(parts), unique=True))
        made = Branch(**dict(zip(labels, parts, strict=True)))
    elif kind == "Repeat":
        made = Repeat(parts[0], draw(st.integers(1, 3)))
    else:
        made = Sequential(*parts)
    return made


def _every_op() -> list[Op]:
    """Return each op of the catalogue, those that resize or crop for images of a few pixels."""
    kinds = {name: registry.find_op(name) for name in registry.builtin_names()}
    made = [kind(**_SMALL.get(name, {})) for name, kind in kinds.items() if _is_leaf(kind) and name not in _NO_EXAMPLES]
    return [*made, *(kinds[name](**settings) for name, settings in _MORE)]


def _is_leaf(kind: type[Part]) -> bool:
    return issubclass(kind, Op) and not issubclass(kind, OneOf | SomeOf | Sometimes)


def _grows(recipe: Part, most_leaves: int) -> bool:
    if count_leaves(recipe) > most_leaves:
        return False
    try:
        grow(recipe)
    except RecipeError:  # two branches are named alike
        return False
    return True
