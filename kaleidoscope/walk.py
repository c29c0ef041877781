"""One image down the variant tree: a plain recursion, no Dask.

Depth first, so that one path of the tree is alive at a time; every prefix is applied once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.backends.follow import draw_params, follow
from kaleidoscope.backends.moves import Move, Warp, moves_of
from kaleidoscope.errors import KaleidoscopeError, OpError
from kaleidoscope.ops.base import Geometric, Op, Params
from kaleidoscope.outcome import Handover, Outcome
from kaleidoscope.plan import Plan, PlannedNode
from kaleidoscope.randomness import Streams
from kaleidoscope.read import Picture
from kaleidoscope.recipe import canonical
from kaleidoscope.record import Frame, Step
from kaleidoscope.targets import Targets

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: The map that moves nothing.
_NOWHERE = np.eye(3)
_NOWHERE.flags.writeable = False


@dataclass(frozen=True, slots=True)
class _Settled:
    """Pixels that have been made, with their targets and what led to them.

    ``sizes`` are the same pixels by how much smaller they are: of what an op made only 1, of the image as it was read
    those that the tree starts from.
    """

    sizes: Mapping[int, NDArray[Any]]
    targets: Targets | None
    lineage: tuple[Step, ...]

    @property
    def pixels(self) -> NDArray[Any]:
        return self.sizes[1]


@dataclass(frozen=True, slots=True)
class _View:
    """The state at a node: settled pixels, and the map not yet applied to them.

    ``settled`` is the outcome of that map, where somebody needed it.
    """

    base: _Settled
    pending: NDArray[np.float64]
    frame: Frame
    settled: _Settled | None
    lineage: tuple[Step, ...]

    @classmethod
    def at(cls, settled: _Settled, frame: Frame) -> _View:
        """Return the state where pixels have just been made."""
        return cls(settled, _NOWHERE, frame, settled, settled.lineage)


@dataclass(frozen=True, slots=True)
class _Walk:
    """One image's way: what stays the same from node to node."""

    key: str
    seed: int
    backend: Cv2Backend
    draws: Mapping[str, Params] | None
    wanted: Collection[str] | None
    paths: frozenset[str] | None
    #: Node to by how much smaller the image was decoded for it.
    reductions: Mapping[str, int] = field(default_factory=dict)
    streams: Streams = field(default_factory=Streams)
    #: Only what runs in this segment; None: the whole tree.
    segment: int | None = None

    def runs(self, planned: PlannedNode) -> bool:
        """Whether this node's turn is now."""
        return self.segment in (None, planned.segment)

    def wants(self, planned: PlannedNode) -> bool:
        """Whether a wanted variant lies at or under this node."""
        return self.paths is None or planned.node.name in self.paths

    def wants_leaf(self, planned: PlannedNode) -> bool:
        """Whether this node is a wanted variant itself."""
        return planned.node.leaf and (self.wanted is None or planned.node.name in self.wanted)

    def needs_parent(self, planned: PlannedNode) -> bool:
        """Whether what is wanted of this node starts from its parent's pixels."""
        if planned.node.op is not None or self.paths is None:
            return planned.needs_parent
        below = (child for child in planned.children if self.wants(child))
        return self.wants_leaf(planned) or any(map(self.needs_parent, below))


def walk(
    plan: Plan,
    pixels: NDArray[Any] | Picture,
    *,
    key: str,
    seed: int,
    backend: Cv2Backend,
    targets: Targets | None = None,
    lineage: tuple[Step, ...] = (),
    draws: Mapping[str, Params] | None = None,
    wanted: Collection[str] | None = None,
) -> Iterator[Outcome]:
    """Make the variants of one image, in tree order.

    Parameters
    ----------
    plan : Plan
        The tree, planned.
    pixels : ndarray of shape (H, W, C), or Picture
        The image; only read. Of a picture every size that the tree starts from is made once, and held.
    key : str
        Its key: with the seed and the node it fixes every draw.
    seed : int
        The run's seed.
    backend : Cv2Backend
        Applies the ops; its buffers are lent to the outcomes.
    targets : Targets, optional
        What is labelled in it; see `Targets.fitted`.
    lineage : tuple of Step
        What was applied before this tree.
    draws : mapping of str to mapping, optional
        What was drawn at each node in an earlier run, to be used again instead of drawing.
    wanted : collection of str, optional
        Make only these variants, and only what leads to them.

    Yields
    ------
    Outcome
        One for every (wanted) leaf. An op that fails costs the leaves under it, no others.
    """
    picture = pixels if isinstance(pixels, Picture) else Picture.of(pixels)
    trip = _Walk(key, seed, backend, draws, wanted, None if wanted is None else _paths(plan, wanted))
    return cast("Iterator[Outcome]", _from_the_image(trip, plan, picture, targets, lineage))


def walk_segment(
    plan: Plan,
    start: Picture | Handover,
    segment: int | None,
    *,
    key: str,
    seed: int,
    backend: Cv2Backend,
    targets: Targets | None = None,
    lineage: tuple[Step, ...] = (),
    wanted: Collection[str] | None = None,
) -> Iterator[Outcome | Handover]:
    """Make what one segment of the tree makes of one image; see `walk`, whose parameters it takes.

    Parameters
    ----------
    start : Picture or Handover
        The image, for the first segment; else a node that another segment has handed over.
    segment : int or None
        Its place; None for all of them.

    Yields
    ------
    Outcome or Handover
        An outcome for every leaf in it, and for those that an op's failure costs wherever they are; a handover for
        every node from which another segment goes on.
    """
    paths = None if wanted is None else _paths(plan, wanted)
    trip = _Walk(key, seed, backend, None, wanted, paths, segment=segment)
    if isinstance(start, Picture):
        yield from _from_the_image(trip, plan, start, targets, lineage)
        return
    trip = replace(trip, reductions=start.reductions)
    view = _View.at(_Settled(start.sizes, start.targets, start.lineage), start.frame)
    for child in plan.by_name[start.node].children:
        if trip.wants(child) and trip.runs(child):
            yield from _step(trip, child, view)


def _from_the_image(
    trip: _Walk, plan: Plan, picture: Picture, targets: Targets | None, lineage: tuple[Step, ...]
) -> Iterator[Outcome | Handover]:
    if not trip.wants(plan.root):
        return
    try:
        trip = replace(trip, reductions=dict(_starts(trip, plan, picture)))
        sizes = {by: picture.at(by) for by in sorted(set(trip.reductions.values()))}
    except Exception as error:  # noqa: BLE001 - a user's op may raise anything when it is asked how much it needs
        yield from _lost(trip, plan.root, lineage, error)
        return
    yield from _descend(trip, plan.root, _View.at(_Settled(sizes, targets, lineage), picture.frame))


def _starts(trip: _Walk, plan: Plan, picture: Picture) -> Iterator[tuple[str, int]]:
    """Yield the wanted nodes that start from the image as it was read, with how much smaller it may be for each."""
    for start in plan.starts:
        op = start.node.op
        if trip.wants_leaf(start) if op is None else trip.wants(start):
            yield start.node.name, picture.reduction(op.reduction(picture.frame)) if op and start.scales else 1


def _paths(plan: Plan, wanted: Collection[str]) -> frozenset[str]:
    """Return the names of the nodes that lead to the wanted variants."""
    names = {plan.root.node.name} if wanted else set()
    for node in plan.tree.nodes:
        if node.leaf and node.name in wanted:
            names.update(step.name for step in node.chain())
    return frozenset(names)


def _descend(trip: _Walk, planned: PlannedNode, view: _View) -> Iterator[Outcome | Handover]:
    """Yield the outcomes at and under a node; buffers taken here go back here."""
    made: _Settled | None = None
    children = [child for child in planned.children if trip.wants(child)]
    if view.settled is None and (trip.wants_leaf(planned) or any(trip.needs_parent(child) for child in children)):
        move = Warp(view.pending, planned.resampling, Frame.of(view.base.pixels), view.frame)
        try:
            made = _settle(trip, view.base, [move], view.lineage)
        except Exception as error:  # noqa: BLE001 - an op, perhaps a user's, may raise anything: it becomes rows
            yield from _lost(trip, planned, view.lineage, error)
            return
        view = replace(view, settled=made)
    if trip.wants_leaf(planned):
        now = _settled(view)
        yield Outcome(planned.node.name, now.pixels, now.lineage, now.targets)
    elsewhere = [child for child in children if not trip.runs(child)]
    if elsewhere:
        yield _handed_over(trip, planned, elsewhere, view)
    for child in children:
        if trip.runs(child):
            yield from _step(trip, child, view)
    if made is not None:
        trip.backend.release(made.pixels)


def _handed_over(trip: _Walk, planned: PlannedNode, children: Iterable[PlannedNode], view: _View) -> Handover:
    """Return a node as it passes to the segments of those children."""
    now = _settled(view)
    reductions = {child.node.name: trip.reductions.get(child.node.name, 1) for child in children}
    sizes = {by: now.sizes[by].copy() for by in sorted(set(reductions.values()))}
    return Handover(planned.node.name, view.frame, sizes, now.targets, now.lineage, reductions)


def _settle(trip: _Walk, before: _Settled, moves: Sequence[Move], lineage: tuple[Step, ...]) -> _Settled:
    """Apply to pixels and targets what is to be applied; the last step of the lineage counts what that cost."""
    last = lineage[-1]
    pixels = trip.backend.apply(before.sizes[last.reduction], moves)
    if before.targets is None:
        return _Settled({1: pixels}, None, lineage)
    try:
        targets, counts = follow(before.targets, moves)
    except BaseException:
        trip.backend.release(pixels)
        raise
    if counts:
        lineage = (*lineage[:-1], _as_step(last.node, last.op, last.params, counts, last.reduction))
    return _Settled({1: pixels}, targets, lineage)


def _step(trip: _Walk, child: PlannedNode, view: _View) -> Iterator[Outcome | Handover]:
    """Apply the child's op, at once or by adding to the pending map, and go on below it."""
    op = child.node.op
    if op is None:
        yield from _descend(trip, child, view)
        return
    made: _Settled | None = None
    lineage = view.lineage if child.joins else _settled(view).lineage
    try:
        params = _draw(trip, child, op, view)
        reduction = trip.reductions.get(child.node.name, 1)
        lineage = (*lineage, _as_step(child.node.name, child.spec, params, reduction=reduction))
        frame = op.out_frame(view.frame, params)
        if isinstance(op, Geometric) and op.fuses:
            matrix = op.matrix(view.frame, params)
            if child.joins:
                below = _View(view.base, matrix @ view.pending, frame, None, lineage)
            else:
                below = _View(_settled(view), matrix, frame, None, lineage)
        else:
            made = _settle(trip, _settled(view), list(moves_of(op, params, view.frame)), lineage)
            below = _View.at(made, frame)
    except Exception as error:  # noqa: BLE001 - an op, perhaps a user's, may raise anything: it becomes rows
        yield from _lost(trip, child, lineage, error)
        return
    yield from _descend(trip, child, below)
    if made is not None:
        trip.backend.release(made.pixels)


def _draw(trip: _Walk, child: PlannedNode, op: Op, view: _View) -> Params:
    if trip.draws is not None:
        return trip.draws[child.node.name]
    if type(op).sample_params is Op.sample_params and not op.needs_targets:  # nothing is left to chance
        return {}  # no stream to make
    stream = trip.streams.at(trip.seed, trip.key, child.node.name)
    return draw_params(op, stream, view.frame, _settled(view).targets if op.needs_targets else None)


def _as_step(
    node: str, spec: Mapping[str, Any], params: Params, counts: Mapping[str, int] | None = None, reduction: int = 1
) -> Step:
    """Return a step with its text.

    Raises
    ------
    OpError
        If what was drawn is no JSON.
    """
    said: dict[str, Any] = {"node": node, "op": spec, "params": params}
    if counts:
        said["targets"] = dict(counts)
    if reduction > 1:
        said["reduction"] = reduction
    try:
        text = canonical(said)
    except (TypeError, ValueError) as error:
        raise OpError(f"expected finite JSON values from sample_params, got {params!r}: {error}") from error
    return Step(node, spec, params, text, counts or {}, reduction)


def _settled(view: _View) -> _Settled:
    if view.settled is None:
        raise OpError("the plan did not foresee that these pixels are needed")
    return view.settled


def _lost(trip: _Walk, planned: PlannedNode, lineage: tuple[Step, ...], error: Exception) -> Iterator[Outcome]:
    """Yield a failure for every wanted leaf at and under a node."""
    failure = as_failure(error, trip.key, planned.node.name)
    for below in planned.below():
        if trip.wants(below) and trip.wants_leaf(below):
            yield Outcome(below.node.name, None, lineage, error=failure)


def as_failure(error: Exception, key: str, step: str) -> KaleidoscopeError:
    """Return any exception as one of ours, with the key and the step where it happened."""
    if isinstance(error, KaleidoscopeError):
        return type(error)(error.message, key=key, step=error.step or step)
    return OpError(f"{type(error).__name__}: {error}", key=key, step=step)
