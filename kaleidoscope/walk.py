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
NOWHERE = np.eye(3)
NOWHERE.flags.writeable = False


@dataclass(frozen=True, slots=True)
class Settled:
    """Pixels that have been made, with their targets and what led to them.

    ``sizes`` are the same pixels by how much smaller they are: of what an op made only 1, of the image as it was read
    those that the tree starts from. They are what the backend takes and makes: an array, or a place in a batch.
    """

    sizes: Mapping[int, Any]
    targets: Targets | None
    lineage: tuple[Step, ...]

    @property
    def pixels(self) -> Any:
        """The pixels, as large as they are."""
        return self.sizes[1]

    def after(self, moves: Sequence[Move], pixels: Any, lineage: tuple[Step, ...]) -> Settled:
        """Return what some applications made of it; the last step of the lineage counts what that cost of targets."""
        if self.targets is None:
            return Settled({1: pixels}, None, lineage)
        targets, counts = follow(self.targets, moves)
        if counts:
            last = lineage[-1]
            lineage = (*lineage[:-1], as_step(last.node, last.op, last.params, counts, last.reduction))
        return Settled({1: pixels}, targets, lineage)


@dataclass(frozen=True, slots=True)
class View:
    """The state at a node: settled pixels, and the map not yet applied to them.

    ``settled`` is the outcome of that map, where somebody needed it.
    """

    base: Settled
    pending: NDArray[np.float64]
    frame: Frame
    settled: Settled | None
    lineage: tuple[Step, ...]

    @classmethod
    def at(cls, settled: Settled, frame: Frame) -> View:
        """Return the state where pixels have just been made."""
        return cls(settled, NOWHERE, frame, settled, settled.lineage)


@dataclass(frozen=True, slots=True)
class Trip:
    """One image's way: what stays the same from node to node."""

    key: str
    seed: int
    backend: Any  # of one image, or of batches
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
    trip = Trip(key, seed, backend, draws, wanted, None if wanted is None else paths_to(plan, wanted))
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
    paths = None if wanted is None else paths_to(plan, wanted)
    trip = Trip(key, seed, backend, None, wanted, paths, segment=segment)
    if isinstance(start, Picture):
        yield from _from_the_image(trip, plan, start, targets, lineage)
        return
    trip = replace(trip, reductions=start.reductions)
    view = View.at(Settled(start.sizes, start.targets, start.lineage), start.frame)
    for child in plan.by_name[start.node].children:
        if trip.wants(child) and trip.runs(child):
            yield from _step(trip, child, view)


def _from_the_image(
    trip: Trip, plan: Plan, picture: Picture, targets: Targets | None, lineage: tuple[Step, ...]
) -> Iterator[Outcome | Handover]:
    if not trip.wants(plan.root):
        return
    try:
        trip = replace(trip, reductions=dict(starts_of(trip, plan, picture)))
        sizes = {by: picture.at(by) for by in sorted(set(trip.reductions.values()))}
    except Exception as error:  # noqa: BLE001 - a user's op may raise anything when it is asked how much it needs
        yield from lost(trip, plan.root, lineage, error)
        return
    yield from _descend(trip, plan.root, View.at(Settled(sizes, targets, lineage), picture.frame))


def starts_of(trip: Trip, plan: Plan, picture: Picture) -> Iterator[tuple[str, int]]:
    """Yield the wanted nodes that start from the image as it was read, with how much smaller it may be for each."""
    for start in plan.starts:
        op = start.node.op
        if trip.wants_leaf(start) if op is None else trip.wants(start):
            yield start.node.name, picture.reduction(op.reduction(picture.frame)) if op and start.scales else 1


def paths_to(plan: Plan, wanted: Collection[str]) -> frozenset[str]:
    """Return the names of the nodes that lead to the wanted variants."""
    names = {plan.root.node.name} if wanted else set()
    for node in plan.tree.nodes:
        if node.leaf and node.name in wanted:
            names.update(step.name for step in node.chain())
    return frozenset(names)


def _descend(trip: Trip, planned: PlannedNode, view: View) -> Iterator[Outcome | Handover]:
    """Yield the outcomes at and under a node; buffers taken here go back here."""
    made: Settled | None = None
    children = [child for child in planned.children if trip.wants(child)]
    if view.settled is None and (trip.wants_leaf(planned) or any(trip.needs_parent(child) for child in children)):
        move = Warp(view.pending, planned.resampling, Frame.of(view.base.pixels), view.frame)
        try:
            made = _settle(trip, view.base, [move], view.lineage)
        except Exception as error:  # noqa: BLE001 - an op, perhaps a user's, may raise anything: it becomes rows
            yield from lost(trip, planned, view.lineage, error)
            return
        view = replace(view, settled=made)
    if trip.wants_leaf(planned):
        now = settled_at(view)
        yield Outcome(planned.node.name, now.pixels, now.lineage, now.targets)
    elsewhere = [child for child in children if not trip.runs(child)]
    if elsewhere:
        yield _handed_over(trip, planned, elsewhere, view)
    for child in children:
        if trip.runs(child):
            yield from _step(trip, child, view)
    if made is not None:
        trip.backend.release(made.pixels)


def _handed_over(trip: Trip, planned: PlannedNode, children: Iterable[PlannedNode], view: View) -> Handover:
    """Return a node as it passes to the segments of those children, its pixels the receiver's."""
    handover = lent_over(trip, planned, children, view)
    return replace(handover, sizes={by: pixels.copy() for by, pixels in handover.sizes.items()})


def lent_over(trip: Trip, planned: PlannedNode, children: Iterable[PlannedNode], view: View) -> Handover:
    """Return that with the pixels as the backend has them."""
    now = settled_at(view)
    reductions = {child.node.name: trip.reductions.get(child.node.name, 1) for child in children}
    sizes = {by: now.sizes[by] for by in sorted(set(reductions.values()))}
    return Handover(planned.node.name, view.frame, sizes, now.targets, now.lineage, reductions)


def _settle(trip: Trip, before: Settled, moves: Sequence[Move], lineage: tuple[Step, ...]) -> Settled:
    """Apply to pixels and targets what is to be applied."""
    pixels = trip.backend.apply(before.sizes[lineage[-1].reduction], moves)
    try:
        return before.after(moves, pixels, lineage)
    except BaseException:
        trip.backend.release(pixels)
        raise


def _step(trip: Trip, child: PlannedNode, view: View) -> Iterator[Outcome | Handover]:
    """Apply the child's op, at once or by adding to the pending map, and go on below it."""
    op = child.node.op
    if op is None:
        yield from _descend(trip, child, view)
        return
    made: Settled | None = None
    lineage = view.lineage if child.joins else settled_at(view).lineage
    try:
        lineage = (*lineage, drawn_step(trip, child, op, view))
        params = lineage[-1].params
        frame = op.out_frame(view.frame, params)
        if isinstance(op, Geometric) and op.fuses:
            below = below_map(child, op, view, frame, lineage)
        else:
            made = _settle(trip, settled_at(view), moves_of(op, params, view.frame), lineage)
            below = View.at(made, frame)
    except Exception as error:  # noqa: BLE001 - an op, perhaps a user's, may raise anything: it becomes rows
        yield from lost(trip, child, lineage, error)
        return
    yield from _descend(trip, child, below)
    if made is not None:
        trip.backend.release(made.pixels)


def drawn_step(trip: Trip, child: PlannedNode, op: Op, view: View) -> Step:
    """Return the step with what its op draws for an image."""
    params = _draw(trip, child, op, view)
    return as_step(child.node.name, child.spec, params, reduction=trip.reductions.get(child.node.name, 1))


def below_map(child: PlannedNode, op: Geometric, view: View, frame: Frame, lineage: tuple[Step, ...]) -> View:
    """Return the state below an op that only adds to the map that is pending."""
    matrix = op.matrix(view.frame, lineage[-1].params)
    if child.joins:
        return View(view.base, matrix @ view.pending, frame, None, lineage)
    return View(settled_at(view), matrix, frame, None, lineage)


def _draw(trip: Trip, child: PlannedNode, op: Op, view: View) -> Params:
    if trip.draws is not None:
        return trip.draws[child.node.name]
    if type(op).sample_params is Op.sample_params and not op.needs_targets:  # nothing is left to chance
        return {}  # no stream to make
    stream = trip.streams.at(trip.seed, trip.key, child.node.name)
    return draw_params(op, stream, view.frame, settled_at(view).targets if op.needs_targets else None)


def as_step(
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


def settled_at(view: View) -> Settled:
    """Return the pixels of a node, which the plan has foreseen are made."""
    if view.settled is None:
        raise OpError("the plan did not foresee that these pixels are needed")
    return view.settled


def lost(trip: Trip, planned: PlannedNode, lineage: tuple[Step, ...], error: Exception) -> Iterator[Outcome]:
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
