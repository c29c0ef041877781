"""The variant tree as it will be run: what is shared, what becomes one warp, what is an application of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, cast

from kaleidoscope.codecs.header import REDUCTIONS
from kaleidoscope.gpus import GPU
from kaleidoscope.ops.base import Geometric, Op, Resampling
from kaleidoscope.ops.device import runs_on_device
from kaleidoscope.recipe import canonical, to_spec
from kaleidoscope.record import Frame
from kaleidoscope.tree import Node, VariantTree

#: `Plan.explain` shows this many nodes.
MAX_LINES = 100

#: An image that any op that can be given a smaller one will have smaller.
_ENORMOUS = Frame(2**20, 2**20, 3, "uint8")

How = Literal["kernel", "warp", "permutation", "nothing"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the tree whose steps all need the same of a worker: one task for each block or partition.

    Parameters
    ----------
    place : int
        Its place among the segments: after those that it starts from.
    level : int
        How often resources change on the way to it.
    resources : mapping of str to float
        What a worker must have beside its cores, such as ``{"GPU": 1}``; empty for the CPU.
    feeds : tuple of int
        The segments whose pixels it starts from; the first one starts from the images.
    ops : tuple of str
        The names of the classes that need it, for messages.
    """

    place: int
    level: int
    resources: Mapping[str, float]
    feeds: tuple[int, ...] = ()
    ops: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say what it runs on.

        Examples
        --------
        >>> print(Segment(0, 0, {}), Segment(1, 1, {"GPU": 1.0}), sep=", ")
        CPU, GPU: 1
        """
        return ", ".join(f"{name}: {amount:g}" for name, amount in sorted(self.resources.items())) or "CPU"


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
    segment : int
        The place of the segment that it runs in.
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
    segment: int = 0

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


_ON_THE_CPU = Segment(0, 0, {})


@dataclass(frozen=True)
class Plan:
    """A variant tree, planned.

    Parameters
    ----------
    tree : VariantTree
        What is to be made.
    root : PlannedNode
        The image as it is read.
    segments : tuple of Segment
        What it is cut into: only where the resources that ops need change. The first one is the CPU's.
    device : str
        ``cpu``, or ``gpu``: what has a kernel there runs there.
    """

    tree: VariantTree
    root: PlannedNode = field(repr=False)
    segments: tuple[Segment, ...] = (_ON_THE_CPU,)
    device: str = "cpu"

    @cached_property
    def applications(self) -> Counter[str]:
        """How many kernels, warps and permutations one image takes."""
        made = (planned for planned in self.root.below() if planned.settles)
        return Counter(str(planned.how) for planned in made if planned.how != "nothing")

    @cached_property
    def by_name(self) -> dict[str, PlannedNode]:
        """The nodes by name."""
        return {planned.node.name: planned for planned in self.root.below()}

    @cached_property
    def own_needs(self) -> dict[str, float]:
        """What the ops say that they need themselves, all together: for one task that makes the whole tree."""
        needs: dict[str, float] = {}
        for node in self.tree.nodes:
            for name, amount in node.op.resources.items() if node.op is not None else ():
                needs[name] = max(amount, needs.get(name, 0))
        return needs

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
            f"{_number(counts.total(), 'application')} ({made}) in {self._runs_on()}",
            "",
        ]
        nodes = list(_with_bars(self.root, "", ""))
        width = max(len(bars + planned.node.name) for planned, bars in nodes[:MAX_LINES])
        for planned, bars in nodes[:MAX_LINES]:
            lines.append(f"{bars + planned.node.name:<{width}}  {_remark(planned)}{self._moves_to(planned)}")
        if len(nodes) > MAX_LINES:
            lines.append(f"... and {len(nodes) - MAX_LINES} more")
        return "\n".join(lines)

    def _runs_on(self) -> str:
        """Say what it is cut into."""
        if len(self.segments) == 1:
            return "1 segment on the CPU"
        return f"{len(self.segments)} segments: {' → '.join(map(str, self.segments))}"

    def _moves_to(self, planned: PlannedNode) -> str:
        """Say on what a node runs, where that is not the CPU alone for all of them."""
        if len(self.segments) == 1 or planned.node.parent is None:
            return ""
        return f" · on {self.segments[planned.segment]}"

    def _decodes(self) -> str:
        """Say how often the file is decoded: once for each size that a chain starts from."""
        scaled = sum(start.scales for start in self.starts)
        most = min(scaled, len(REDUCTIONS)) + (scaled < len(self.starts))
        return "1 decode" if most == 1 else f"1 to {most} decodes"

    def __reduce__(self) -> tuple[object, ...]:
        """Travel as the tree, which travels as the recipe."""
        return make_plan, (self.tree, self.device)

    def on_device(self, place: int | None) -> bool:
        """Whether a segment is one of batches on a GPU."""
        return self.device == GPU.lower() and place is not None and GPU in self.segments[place].resources


def make_plan(tree: VariantTree, device: str = "cpu") -> Plan:
    """Decide from the recipe and the kind of device alone how every node gets its pixels.

    Parameters
    ----------
    tree : VariantTree
        What is to be made.
    device : str
        ``cpu``, or ``gpu``: there what has a kernel for it (`runs_on_device`) needs ``{"GPU": 1}``.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.tree import grow
    >>> plan = make_plan(grow(ops.Sequential(ops.HorizontalFlip(), ops.Rotate(), ops.GaussianBlur())))
    >>> dict(plan.applications)
    {'warp': 1, 'kernel': 1}
    """
    places, segments = _cut(tree, device)
    return Plan(tree, _plan(tree.root, (), None, places, first=True), segments, device)


def _needs(op: Op, device: str) -> dict[str, float]:
    """Return what an op needs: what it says itself, else a GPU where it can use one and is to."""
    if device == "cpu" or op.resources or not runs_on_device(op):
        return dict(op.resources)
    return {GPU: 1.0}


def _cut(tree: VariantTree, device: str) -> tuple[dict[str, int], tuple[Segment, ...]]:
    """Cut a tree where the resources that ops need change: the segment of each node, and the segments."""
    level = {tree.root.name: 0}
    needs: dict[str, Mapping[str, float]] = {tree.root.name: {}}
    kinds: dict[tuple[int, str], list[Node]] = {(0, "{}"): [tree.root]}
    for node in tree.nodes:
        if node.parent is None:
            continue
        before = node.parent.name
        needs[node.name] = needs[before] if node.op is None else _needs(node.op, device)
        level[node.name] = level[before] + (needs[node.name] != needs[before])
        kinds.setdefault((level[node.name], canonical(needs[node.name])), []).append(node)
    order = sorted(kinds, key=lambda kind: kind[0])
    places = {node.name: place for place, kind in enumerate(order) for node in kinds[kind]}
    segments = []
    for place, kind in enumerate(order):
        parents = (places[node.parent.name] for node in kinds[kind] if node.parent)
        names = dict.fromkeys(type(node.op).__name__ for node in kinds[kind] if node.op is not None)
        feeds = tuple(sorted({feed for feed in parents if feed != place}))
        segments.append(Segment(place, kind[0], needs[kinds[kind][0].name], feeds, tuple(names)))
    return places, tuple(segments)


def _plan(
    node: Node, run: tuple[str, ...], resampling: Resampling | None, places: Mapping[str, int], *, first: bool
) -> PlannedNode:
    """Plan a node whose parent has that run pending; `first`: no op comes before it."""
    op, how, joins = node.op, "nothing", True
    moved = node.parent is not None and places[node.parent.name] != places[node.name]  # pixels pass from task to task
    if isinstance(op, Geometric) and op.fuses:
        # One that looks at labels needs them where the ops before have moved them.
        fits = None in (resampling, op.resampling) or op.resampling == resampling
        joins = fits and not op.needs_targets and not moved
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
    children = tuple(_plan(child, run, resampling, places, first=unchanged) for child in node.children.values())
    settles = node.leaf or node.parent is None or not run or any(c.needs_parent for c in children)
    spec = {} if op is None else to_spec(op)
    scales = first and op is not None and how == "kernel" and op.reduction(_ENORMOUS) > 1
    place = places[node.name]
    return PlannedNode(node, run, resampling, joins, settles, cast("How", how), spec, children, scales, place)


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
