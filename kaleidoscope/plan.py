"""The variant tree as it will be run: what is shared, what becomes one warp, what is an application of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, cast

from kaleidoscope.codecs.header import REDUCTIONS
from kaleidoscope.ops.base import Geometric, Resampling
from kaleidoscope.recipe import to_spec
from kaleidoscope.record import Frame
from kaleidoscope.tree import Node, VariantTree

#: `Plan.explain` shows this many nodes.
MAX_LINES = 100

#: An image that any op that can be given a smaller one will have smaller.
_ENORMOUS = Frame(2**20, 2**20, 3, "uint8")

How = Literal["kernel", "warp", "permutation", "nothing"]


@dataclass(frozen=True, slots=True, eq=False)
class PlannedNode:
    """A node of the tree and how it gets its pixels.

    Parameters
    ----------
    node : Node
        The step of the variant tree.
    run : tuple of str
        The neighbouring geometric nodes, this one last, that are one matrix and one interpolation here.
    resampling : Resampling or None
        Of that run; None while it only permutes pixels.
    joins : bool
        It continues the run at its parent; otherwise it needs its parent's pixels.
    settles : bool
        Its own pixels are made: it is a variant, or something below starts from them.
    how : str
        What making them takes: a ``kernel``, a ``warp``, a ``permutation`` or ``nothing``.
    spec : dict
        The op as a recipe writes it; empty for a node that only gives a name.
    children : tuple of PlannedNode
        In the recipe's order.
    scales : bool
        It is the first op of the image, and large JPEGs are decoded smaller for it.
    """

    node: Node
    run: tuple[str, ...]
    resampling: Resampling | None
    joins: bool
    settles: bool
    how: How
    spec: dict[str, Any]
    children: tuple[PlannedNode, ...]
    scales: bool = False

    @property
    def needs_parent(self) -> bool:
        """Whether it starts from its parent's pixels; a name of a branch, which is no op, has those of its parent."""
        return not self.joins or (self.node.op is None and self.settles)

    def below(self) -> Iterator[PlannedNode]:
        """Yield this node and everything under it: parents first, in the recipe's order."""
        stack = [self]
        while stack:
            planned = stack.pop()
            yield planned
            stack.extend(reversed(planned.children))


@dataclass(frozen=True)
class Plan:
    """A variant tree, planned for the CPU.

    Parameters
    ----------
    tree : VariantTree
        What is to be made.
    root : PlannedNode
        The image as it is read.
    """

    tree: VariantTree
    root: PlannedNode = field(repr=False)

    @cached_property
    def applications(self) -> Counter[str]:
        """How many kernels, warps and permutations one image takes."""
        made = (planned for planned in self.root.below() if planned.settles)
        return Counter(str(planned.how) for planned in made if planned.how != "nothing")

    @cached_property
    def starts(self) -> tuple[PlannedNode, ...]:
        """What starts from the image as it was read: variants that are it, and the first op of every chain."""
        return tuple(_starts(self.root))

    def explain(self) -> str:
        """Return the plan as text: what is shared, what is one warp, and what each step takes.

        Returns
        -------
        str
            A line for every node, of the first hundred.
        """
        counts, leaves = self.applications, len(self.tree)
        made = ", ".join(_number(counts[how], how) for how in sorted(counts)) or "none"
        lines = [
            f"{_number(leaves, 'variant')} of each image: {self._decodes()}, {_number(leaves, 'encode')}",
            f"{_number(counts.total(), 'application')} ({made}) in 1 segment on the CPU",
            "",
        ]
        nodes = list(_with_bars(self.root, "", ""))
        width = max(len(bars + planned.node.name) for planned, bars in nodes[:MAX_LINES])
        for planned, bars in nodes[:MAX_LINES]:
            lines.append(f"{bars + planned.node.name:<{width}}  {_remark(planned)}")
        if len(nodes) > MAX_LINES:
            lines.append(f"... and {len(nodes) - MAX_LINES} more")
        return "\n".join(lines)

    def _decodes(self) -> str:
        """Say how often the file is decoded: once for each size that a chain starts from."""
        scaled = sum(start.scales for start in self.starts)
        most = min(scaled, len(REDUCTIONS)) + (scaled < len(self.starts))
        return "1 decode" if most == 1 else f"1 to {most} decodes"

    def __reduce__(self) -> tuple[object, ...]:
        """Travel as the tree, which travels as the recipe."""
        return make_plan, (self.tree,)


def make_plan(tree: VariantTree) -> Plan:
    """Decide from the recipe alone how every node gets its pixels.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.tree import grow
    >>> plan = make_plan(grow(ops.Sequential(ops.HorizontalFlip(), ops.Rotate(), ops.GaussianBlur())))
    >>> dict(plan.applications)
    {'warp': 1, 'kernel': 1}
    """
    return Plan(tree, _plan(tree.root, (), None, first=True))


def _plan(node: Node, run: tuple[str, ...], resampling: Resampling | None, *, first: bool) -> PlannedNode:
    """Plan a node whose parent has that run pending; `first`: no op comes before it."""
    op, how, joins = node.op, "nothing", True
    if isinstance(op, Geometric) and op.fuses:
        # One that looks at labels needs them where the ops before have moved them.
        joins = not op.needs_targets and (None in (resampling, op.resampling) or op.resampling == resampling)
        run = (*run, node.name) if joins else (node.name,)
        resampling = (op.resampling or resampling) if joins else op.resampling
        how = "warp" if resampling else "permutation"
    elif op is not None:
        run, resampling, joins, how = (), None, False, "kernel"
        if (
            isinstance(op, Geometric) and not op.has_kernel
        ):  # it changes the frame, and so ends the run before it and starts none
            how = "warp" if op.resampling else "permutation"
    unchanged = first and op is None
    children = tuple(_plan(child, run, resampling, first=unchanged) for child in node.children.values())
    settles = node.leaf or node.parent is None or not run or any(c.needs_parent for c in children)
    spec = {} if op is None else to_spec(op)
    scales = first and op is not None and how == "kernel" and op.reduction(_ENORMOUS) > 1
    return PlannedNode(node, run, resampling, joins, settles, cast("How", how), spec, children, scales)


def _starts(planned: PlannedNode) -> Iterator[PlannedNode]:
    if planned.node.leaf:
        yield planned
    for child in planned.children:
        if child.node.op is None:
            yield from _starts(child)
        else:
            yield child


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _with_bars(planned: PlannedNode, bars: str, below: str) -> Iterator[tuple[PlannedNode, str]]:
    """Yield every node with the lines that draw the tree before its name."""
    yield planned, bars
    for child in planned.children:
        last = child is planned.children[-1]
        yield from _with_bars(child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "))


def _remark(planned: PlannedNode) -> str:
    """Say how a node gets its pixels."""
    node = planned.node
    if node.parent is None:
        words = ["decoded"]
    elif node.op is None:
        words = ["a name"]
    else:
        ((name, settings),) = planned.spec.items()
        words = [f"{name} {settings or ''}".rstrip()]
        if not planned.settles:
            words.append("part of the warps below")
        elif planned.how == "warp" and len(planned.run) > 1:
            words.append(f"one warp of {len(planned.run)}: {', '.join(planned.run)}")
        else:
            words.append(planned.how)
        if planned.scales:
            words.append("a large JPEG is decoded at 1/2 to 1/8 for it")
    return " · ".join(words if node.leaf else [*words, "no variant"])
