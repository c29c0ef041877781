"""Combinators: how ops are put together into variants. They hold parts; `kaleidoscope.tree` expands them."""

from __future__ import annotations

import keyword
import re
from typing import Any

from kaleidoscope.errors import RecipeError
from kaleidoscope.ops.base import Op, Part

_LABEL = re.compile(r"[a-z0-9]+")


class Combinator(Part):
    """A part made of parts."""

    parts: tuple[Part, ...]

    def __eq__(self, other: object) -> bool:
        """Compare by what they are made of."""
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        """Hash by what they are made of."""
        return hash((type(self), self.parts))

    def __repr__(self) -> str:
        """Write it as it would be typed."""
        words = [*map(repr, self.parts), *(f"{name}={value!r}" for name, value in self.settings().items())]
        return f"{type(self).__name__}({', '.join(words)})"

    def settings(self) -> dict[str, Any]:
        """Return what there is beside the parts."""
        return {}


def as_part(value: object) -> Part:
    """Return `value` if it is an op or a combinator.

    Raises
    ------
    RecipeError
        If it is a nested list, an op's class instead of an op, or anything else.
    """
    if isinstance(value, Op | Combinator):
        return value
    if isinstance(value, list | tuple):
        raise RecipeError(
            "only the outermost list is a power set: write PowerSet(...) or Sequential(...) "
            f"for the inner one, got {value!r}"
        )
    if isinstance(value, type) and issubclass(value, Part):
        raise RecipeError(f"expected an op, got the class {value.__name__}: write {value.__name__}()")
    raise RecipeError(f"expected an op or a combinator, got {value!r} ({type(value).__name__})")


def as_recipe(ops: object) -> Part:
    """Return what `ks.augment` was given as one part: a list is the power set of its ops.

    Raises
    ------
    RecipeError
        If it is neither a list, an op nor a combinator.
    """
    return PowerSet(*ops) if isinstance(ops, list | tuple) else as_part(ops)


class Sequential(Combinator):
    """Every part, one after the other. Without parts: the image as it is.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> ops.Sequential(ops.HorizontalFlip(), ops.GaussianBlur())
    Sequential(HorizontalFlip(), GaussianBlur())
    """

    def __init__(self, *parts: Part) -> None:
        self.parts = tuple(map(as_part, parts))


class PowerSet(Combinator):
    """Every part on or off, in order: n ops give 2**n variants.

    Parameters
    ----------
    *parts : Op or combinator
        A combinator among them is off, or on in each of its own ways.
    sizes : (int, int), optional
        The least and the most parts that are on. ``(0, 2)``: at most two.

    Examples
    --------
    >>> from kaleidoscope import ops, tree
    >>> tree.grow(ops.PowerSet(ops.HorizontalFlip(), ops.Rotate(), sizes=(0, 1))).variants
    ['original', 'hflip', 'rotate']
    """

    def __init__(self, *parts: Part, sizes: tuple[int, int] | None = None) -> None:
        self.parts = tuple(map(as_part, parts))
        if sizes is not None:
            whole = isinstance(sizes, list | tuple) and len(sizes) == 2 and all(type(n) is int for n in sizes)
            if not whole or not 0 <= sizes[0] <= sizes[1] or sizes[0] > len(parts):
                raise RecipeError(
                    f"PowerSet(sizes={sizes!r}): expected the least and the most of its {len(parts)} parts "
                    "that are on, as two whole numbers such as (0, 2)"
                )
            sizes = (sizes[0], min(sizes[1], len(parts)))
        self.sizes = sizes

    def settings(self) -> dict[str, Any]:
        """Return ``sizes`` if it was given."""
        return {} if self.sizes is None else {"sizes": self.sizes}


class Branch(Combinator):
    """Each of the named parts, side by side; the names go into the variants' names.

    Examples
    --------
    >>> from kaleidoscope import ops, tree
    >>> tree.grow(ops.Branch(weak=ops.Rotate(5), strong=ops.Rotate(45))).variants
    ['weak-rotate', 'strong-rotate2']
    """

    def __init__(self, /, *unnamed: Part, **branches: Part) -> None:
        if unnamed:
            raise RecipeError(f"Branch: expected named parts, such as Branch(a={unnamed[0]!r}, ...), got unnamed ones")
        if not branches:
            raise RecipeError("Branch(): expected at least one named part, such as Branch(weak=..., strong=...)")
        for label in branches:
            if not _LABEL.fullmatch(label):
                raise RecipeError(
                    f"Branch({label}=...): expected a name of lower-case letters and digits, got {label!r}: "
                    "it becomes a part of file names"
                )
        self.labels = tuple(branches)
        self.parts = tuple(map(as_part, branches.values()))

    def __repr__(self) -> str:
        """Write it as it would be typed."""
        branches = dict(zip(self.labels, self.parts, strict=True))
        if all(label.isidentifier() and not keyword.iskeyword(label) for label in branches):
            return f"Branch({', '.join(f'{label}={part!r}' for label, part in branches.items())})"
        return f"Branch(**{branches!r})"


class Repeat(Combinator):
    """The part `n` times side by side, each with draws of its own; variants are named ``1-...`` to ``n-...``.

    Examples
    --------
    >>> from kaleidoscope import ops, tree
    >>> tree.grow(ops.Repeat(ops.Rotate(), 2)).variants
    ['1-rotate', '2-rotate']
    """

    def __init__(self, part: Part, n: int) -> None:
        if type(n) is not int or n < 1:
            raise RecipeError(f"Repeat(n={n!r}): expected how often, a whole number of at least 1, got {n!r}")
        self.parts = (as_part(part),)
        self.n = n

    def settings(self) -> dict[str, Any]:
        """Return how often."""
        return {"n": self.n}
