"""The variant tree: which ops lead to which variant. Built from the recipe alone, before any image is seen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

from kaleidoscope.errors import RecipeError
from kaleidoscope.ops.base import Op, Part
from kaleidoscope.ops.combine import Branch, Combinator, PowerSet, Repeat, Sequential
from kaleidoscope.ops.split import Split, Tile

#: More variants of one image than this are a mistake, not a plan.
MAX_LEAVES = 1_000_000
#: Steps one after another; the walk down the tree is a recursion.
MAX_DEPTH = 300

ROOT = "original"
_WORD = re.compile(r"[a-z0-9]+")


@dataclass(slots=True, eq=False)
class Node:
    """One step of the tree; its `name` is its identity.

    Parameters
    ----------
    name : str
        The path of short names from the root, e.g. ``hflip-rotate``; the root is ``original``.
    op : Op or None
        What leads here from the parent. None at the root, and where a branch only gives a name.
    parent : Node or None
        None at the root.
    children : dict of str to Node
        In the recipe's order, by the last word of their names.
    leaf : bool
        Whether this is one of the variants.
    """

    name: str
    op: Op | None = None
    parent: Node | None = None
    children: dict[str, Node] = field(default_factory=dict)
    leaf: bool = False

    def child(self, word: str, op: Op | None) -> Node:
        """Return the child of that word, made if it is new: equal prefixes are one path."""
        if word not in self.children:
            name = word if self.parent is None else f"{self.name}-{word}"
            self.children[word] = Node(name, op, self)
        found = self.children[word]
        if found.op is not op or found.name == ROOT:
            raise RecipeError(
                f"two different steps of this recipe are both called {found.name!r}: give the branch another name"
            )
        return found

    def below(self) -> Iterator[Node]:
        """Yield this node and everything under it: parents first, in the recipe's order."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children.values()))

    def chain(self) -> list[Node]:
        """Return the nodes from the root's child down to this one."""
        nodes: list[Node] = []
        node: Node | None = self
        while node is not None and node.parent is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]

    def leaves(self) -> list[str]:
        """Return the names of the variants at and under this node, in tree order."""
        return [node.name for node in self.below() if node.leaf]


@dataclass(frozen=True)
class VariantTree:
    """A recipe, grown: every prefix that variants share is one node.

    Parameters
    ----------
    recipe : Op or combinator
        What it was grown from.
    root : Node
        The image as it is read.
    """

    recipe: Part
    root: Node

    @cached_property
    def nodes(self) -> list[Node]:
        """All nodes, parents first, in the recipe's order."""
        return list(self.root.below())

    @cached_property
    def variants(self) -> list[str]:
        """The names of the leaves, in tree order."""
        return self.root.leaves()

    def __repr__(self) -> str:
        """Show the recipe: distributed logs the arguments of a task that failed."""
        return f"VariantTree({self.recipe!r})"

    def __len__(self) -> int:
        """Return the number of variants of each image."""
        return len(self.variants)

    def __reduce__(self) -> tuple[object, ...]:
        """Travel as the recipe alone: it is small, and the tree follows from it."""
        return grow, (self.recipe,)


def grow(recipe: Part) -> VariantTree:
    """Expand a recipe into its variant tree.

    Parameters
    ----------
    recipe : Op or combinator
        See `kaleidoscope.ops`.

    Returns
    -------
    VariantTree

    Raises
    ------
    RecipeError
        For more than a million variants, with their count; for more than 300 steps one after another; and when
        two variants would have the same name.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> grow(ops.PowerSet(ops.HorizontalFlip(), ops.Rotate(limit=15))).variants
    ['original', 'hflip', 'hflip-rotate', 'rotate']
    """
    leaves = count_leaves(recipe)
    if leaves > MAX_LEAVES:
        raise RecipeError(
            f"this recipe makes {leaves:,} variants of each image, more than {MAX_LEAVES:,}: "
            "use PowerSet(..., sizes=(0, 2)) or fewer parts"
        )
    root = Node(ROOT)
    for end in _attach(root, _place(recipe, Counter())):
        end.leaf = True
    longest = max(len(node.chain()) for node in root.below() if not node.children)
    if longest > MAX_DEPTH:
        raise RecipeError(f"this recipe applies {longest} steps one after another, more than {MAX_DEPTH}")
    tree = VariantTree(recipe, root)
    if len(tree) != leaves:
        raise RecipeError(
            f"of the {leaves} variants of this recipe {leaves - len(tree)} are called like another one: give the "
            "branches that are named alike another name"
        )
    return tree


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """A part where it stands in the recipe, with its word: the second of a class is ``rotate2``."""

    part: Part
    word: str
    inside: tuple[_Place, ...]
    tiles: dict[str, Tile] = field(default_factory=dict)


def _place(part: Part, seen: Counter[str]) -> _Place:
    if isinstance(part, Op):
        short_name = getattr(part, "short_name", None)
        if not isinstance(short_name, str) or not _WORD.fullmatch(short_name):
            raise RecipeError(
                f"{type(part).__name__}.short_name: expected lower-case letters and digits, as it becomes a part of "
                f"file names; got {short_name!r}"
            )
        seen[part.short_name] += 1
        number = seen[part.short_name]
        return _Place(part, part.short_name + (str(number) if number > 1 else ""), ())
    if isinstance(part, Split):
        seen["split"] += 1
        number = seen["split"]
        return _Place(part, "split" + (str(number) if number > 1 else ""), (), part.tiles())
    inside = part.parts if isinstance(part, Combinator) else ()
    return _Place(part, "", tuple(_place(inner, seen) for inner in inside))


def _attach(start: Node, place: _Place) -> list[Node]:
    """Grow a part at `start`; return where its variants end, each once, in order."""
    match place.part:
        case Op() as op:
            return [start.child(place.word, op)]
        case Sequential():
            ends = [start]
            for inner in place.inside:
                ends = _unique(end for before in ends for end in _attach(before, inner))
            return ends
        case PowerSet(sizes=sizes):
            least, most = sizes or (0, len(place.inside))
            return _attach_subsets(start, place.inside, least, most, set())
        case Branch(labels=names):
            pairs = zip(names, place.inside, strict=True)
            return _unique(end for label, inner in pairs for end in _attach(start.child(label, None), inner))
        case Repeat(n=n):
            labels = [str(i) for i in range(1, n + 1)]
            return _unique(end for label in labels for end in _attach(start.child(label, None), place.inside[0]))
        case Split():
            return [start.child(place.word + tile, op) for tile, op in place.tiles.items()]
        case other:
            raise RecipeError(f"{type(other).__name__} is no op and no combinator of this version")


def _attach_subsets(
    start: Node, items: Sequence[_Place], least: int, most: int, seen: set[tuple[Node, int, int, int]]
) -> list[Node]:
    """Grow the subsets of the items at `start`, but for what was grown there before.

    An item that is a power set itself may be on and change nothing: many ways lead to the same place then.
    """
    here = (start, len(items), max(least, 0), most)
    if here in seen:
        return []
    seen.add(here)
    ends = [start] if least <= 0 else []
    if most > 0:
        for index, item in enumerate(items[: len(items) - max(least - 1, 0)]):
            for end in _attach(start, item):
                ends += _attach_subsets(end, items[index + 1 :], least - 1, most - 1, seen)
    return _unique(ends)


def _unique(nodes: Iterable[Node]) -> list[Node]:
    return list(dict.fromkeys(nodes))


def count_leaves(part: Part) -> int:
    """Return how many variants of each image a recipe makes, without growing it.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> count_leaves(ops.PowerSet(*[ops.HorizontalFlip()] * 40))
    1099511627776
    """
    changed, unchanged = _count(part)
    return changed + unchanged


def _count(part: Part) -> tuple[int, bool]:
    """Count the ends that lie below the start, and say whether the start itself is one."""
    match part:
        case Sequential(parts=parts):
            counts = [_count(inner) for inner in parts]
            unchanged = all(same for _, same in counts)
            return prod(changed + same for changed, same in counts) - unchanged, unchanged
        case PowerSet(parts=parts, sizes=sizes):
            least, most = sizes or (0, len(parts))
            # How many ways there are to have `on` parts change something, and `idle` others that may count as on.
            ways = Counter({(0, 0): 1})
            for changed, same in map(_count, parts):
                step: Counter[tuple[int, int]] = Counter()
                for (on, idle), times in ways.items():
                    step[on, idle + same] += times
                    step[on + 1, idle] += times * changed
                ways = step
            total = sum(times for (on, idle), times in ways.items() if on <= most and on + idle >= least)
            unchanged = any(on == 0 and idle >= least for on, idle in ways)
            return total - unchanged, unchanged
        case Branch(parts=parts):
            return sum(map(count_leaves, parts)), False
        case Split(rows=rows, cols=cols):
            return rows * cols, False
        case Repeat(parts=parts, n=n):
            return n * count_leaves(parts[0]), False
        case _:
            return 1, False
