"""Images of one frame down the variant tree together: the same walk, a batch at a time, on a device.

Depth first, so that one path of the tree is alive at a time; every prefix is applied once. What an image draws, and
what becomes of it, does not depend on those beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kaleidoscope.backends.moves import Move, Warp, moves_of
from kaleidoscope.ops.base import Geometric, Params
from kaleidoscope.outcome import Encoded, Handover, Outcome
from kaleidoscope.plan import Plan, PlannedNode
from kaleidoscope.read import Picture
from kaleidoscope.record import Step
from kaleidoscope.targets import Targets
from kaleidoscope.walk import (
    Settled,
    Trip,
    View,
    below_map,
    drawn_step,
    lent_over,
    lost,
    paths_to,
    settled_at,
    starts_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kaleidoscope.backends.torch import Place, TorchBackend


@dataclass(frozen=True, slots=True, eq=False)
class Traveller:
    """One image that goes down the tree.

    Parameters
    ----------
    key : str
        With the seed and the node it fixes every draw.
    start : Picture or Handover
        The image, see `Picture.of` for pixels that are there; or a node that another segment has handed over, which
        has targets and lineage of its own.
    targets : Targets, optional
        What is labelled in it; see `Targets.fitted`.
    lineage : tuple of Step
        What was applied before this tree.
    draws : mapping of str to mapping, optional
        What was drawn at each node in an earlier run, to be used again instead of drawing.
    wanted : collection of str, optional
        Make only these variants, and only what leads to them.
    """

    key: str
    start: Picture | Handover
    targets: Targets | None = None
    lineage: tuple[Step, ...] = ()
    draws: Mapping[str, Params] | None = None
    wanted: Collection[str] | None = None

    def settled(self, sizes: Mapping[int, Any]) -> Settled:
        """Return its state where it starts, with the pixels as the backend has them."""
        if isinstance(self.start, Handover):
            return Settled(sizes, self.start.targets, self.start.lineage)
        return Settled(sizes, self.targets, self.lineage)

    def reductions(self, trip: Trip, plan: Plan) -> Mapping[str, int]:
        """Return by how much smaller the nodes that start here want its pixels."""
        if isinstance(self.start, Handover):
            return self.start.reductions
        return dict(starts_of(trip, plan, self.start))

    def pixels(self, reduction: int) -> NDArray[Any]:
        """Return its pixels, so many times smaller; an image is decoded for that."""
        return self.start.sizes[reduction] if isinstance(self.start, Handover) else self.start.at(reduction)


@dataclass(frozen=True, slots=True, eq=False)
class _Lane:
    """One image of a batch: which it is, and its state at a node."""

    number: int
    trip: Trip
    view: View

    def failures(self, planned: PlannedNode, lineage: tuple[Step, ...], error: Exception) -> Iterator[_Numbered]:
        """Yield a failure for every wanted leaf at and under a node."""
        return ((self.number, outcome) for outcome in lost(self.trip, planned, lineage, error))


#: Which image, and one variant of it or a node that it passes on.
_Numbered = tuple[int, Outcome | Handover]
#: An image whose turn has not come.
_Waiting = tuple[int, Trip, Traveller]


def walk_batch(
    plan: Plan,
    travellers: Sequence[Traveller],
    *,
    seed: int,
    backend: TorchBackend,
    segment: int | None = None,
    fetch: Callable[[Sequence[Place]], Sequence[NDArray[Any] | Encoded]] | None = None,
) -> Iterator[tuple[int, Outcome | Handover]]:
    """Make the variants of some images, those of one frame in batches.

    Of each image they are what `walk` makes, within what devices differ by; draws and targets are the same.

    Parameters
    ----------
    plan : Plan
        The tree, planned.
    travellers : sequence of Traveller
        The images. Each is decoded when its batch begins.
    seed : int
        The run's seed.
    backend : TorchBackend
        Applies the ops, and says how many images make a batch.
    segment : int, optional
        Make only what this segment of the plan makes; see `walk_segment`.
    fetch : callable, optional
        What becomes of a variant of the images of a batch, which lie on the device: the ``pixels`` of their outcomes.
        By default it is `TorchBackend.download`; ``partial(backend.finished, encoder=...)`` makes files of them.

    Yields
    ------
    int, Outcome or Handover
        Which of the `travellers`, and one of its variants: of each image in tree order, of a batch one variant after
        another, of images of different frames one frame after another. An op that fails for an image costs it the
        variants under it, and others nothing. Pixels are of shape (H, W, C) in the CPU's memory, and stay.
        With a `segment`, a handover for every node from which another one goes on.
    """
    run = _Run(backend, fetch or backend.download)
    waiting: dict[Hashable, list[_Waiting]] = {}
    for number, each in enumerate(travellers):
        paths = None if each.wanted is None else paths_to(plan, each.wanted)
        trip = Trip(each.key, seed, backend, each.draws, each.wanted, paths, segment=segment)
        if not trip.wants(plan.root):
            continue
        try:
            trip = replace(trip, reductions=each.reductions(trip, plan))
        except Exception as error:  # noqa: BLE001 - a user's op may raise anything when it is asked how much it needs
            yield from ((number, outcome) for outcome in lost(trip, plan.root, each.lineage, error))
        else:
            begins = plan.root if isinstance(each.start, Picture) else plan.by_name[each.start.node]
            alike = begins.node.name, each.start.frame, frozenset(trip.reductions.values())
            waiting.setdefault(alike, []).append((number, trip, each))
    for alike_ones in waiting.values():
        left, start = alike_ones, alike_ones[0][2].start
        begins = plan.root if isinstance(start, Picture) else plan.by_name[start.node]
        sizes = sorted(set(alike_ones[0][1].reductions.values()))
        while left:
            count = backend.batch_size(start.frame)
            some, left = left[:count], left[count:]
            yield from run.begin(begins, some, sizes)


@dataclass(frozen=True)
class _Run:
    """The walk of one batch after another."""

    backend: TorchBackend
    fetch: Callable[[Sequence[Place]], Sequence[NDArray[Any] | Encoded]]

    def begin(self, start: PlannedNode, batch: Sequence[_Waiting], sizes: Sequence[int]) -> Iterator[_Numbered]:
        """Decode the images of a batch, move them to the device, and walk from there."""
        decoded: list[list[NDArray[Any]]] = []
        there: list[_Waiting] = []
        for number, trip, each in batch:
            try:
                decoded.append([each.pixels(by) for by in sizes])
            except Exception as error:  # noqa: BLE001 - as in the walk of one image
                yield from ((number, outcome) for outcome in lost(trip, start, each.lineage, error))
            else:
                there.append((number, trip, each))
        yield from self._sent(start, there, sizes, decoded)

    def _sent(
        self,
        start: PlannedNode,
        batch: Sequence[_Waiting],
        sizes: Sequence[int],
        decoded: Sequence[list[NDArray[Any]]],
    ) -> Iterator[_Numbered]:
        """Walk from where the decoded images lie on the device; in halves if they are too many for it."""
        failure: Exception | None = None
        lanes: list[_Lane] = []
        try:
            by_size = [self.backend.upload([each[place] for each in decoded]) for place in range(len(sizes))]
            for row, (number, trip, each) in enumerate(batch):
                settled = each.settled({by: some[row] for by, some in zip(sizes, by_size, strict=True)})
                lanes.append(_Lane(number, trip, View.at(settled, each.start.frame)))
        except Exception as error:  # noqa: BLE001 - devices raise what they like
            self.backend.out_of_memory(error, len(batch))
            failure = error.with_traceback(None)  # which holds what was made so far
        if failure is None:
            del decoded, by_size
            # What was handed over has yielded its own outcome.
            handed = bool(batch) and isinstance(batch[0][2].start, Handover)
            yield from self._below(start, lanes) if handed else self.descend(start, lanes)
        elif len(batch) > 1:
            half = len(batch) // 2
            yield from self._sent(start, batch[:half], sizes, decoded[:half])
            yield from self._sent(start, batch[half:], sizes, decoded[half:])
        else:
            for number, trip, each in batch:
                yield from ((number, outcome) for outcome in lost(trip, start, each.lineage, failure))

    def descend(self, planned: PlannedNode, lanes: Sequence[_Lane]) -> Iterator[_Numbered]:
        """Yield the outcomes at and under a node."""
        made = self._tried(planned, lanes, self._arrive)
        if made is None:
            for half in _halves(lanes):
                yield from self.descend(planned, half)
            return
        arrived, outcomes = made
        del made
        while outcomes:
            yield outcomes.pop(0)
        yield from self._below(planned, arrived)

    def _below(self, planned: PlannedNode, lanes: Sequence[_Lane]) -> Iterator[_Numbered]:
        """Yield the outcomes under a node, in this segment."""
        for child in planned.children:
            some = [lane for lane in lanes if lane.trip.wants(child) and lane.trip.runs(child)]
            if some:
                yield from self._step(child, some)

    def _arrive(self, planned: PlannedNode, lanes: Sequence[_Lane]) -> tuple[list[_Lane], list[_Numbered]]:
        """Apply the map that is pending where its outcome is needed, and fetch the variants that are wanted."""
        lanes, failed = self._settled(planned, lanes)
        leaves = [lane for lane in lanes if lane.trip.wants_leaf(planned)]
        settled = [settled_at(lane.view) for lane in leaves]
        pixels = self.fetch([now.pixels for now in settled]) if leaves else []
        outcomes: list[_Numbered] = [
            (lane.number, _outcome(planned.node.name, image, now))
            for lane, now, image in zip(leaves, settled, pixels, strict=True)
        ]
        return list(lanes), [*failed, *outcomes, *self._passed_on(planned, lanes)]

    def _passed_on(self, planned: PlannedNode, lanes: Sequence[_Lane]) -> Iterator[_Numbered]:
        """Yield the node for each image that goes on from it in another segment."""
        handovers = []
        for lane in lanes:
            children = [child for child in planned.children if lane.trip.wants(child) and not lane.trip.runs(child)]
            if children:
                handovers.append((lane.number, lent_over(lane.trip, planned, children, lane.view)))
        for by in sorted({by for _, each in handovers for by in each.sizes}):
            which = [place for place, (_, each) in enumerate(handovers) if by in each.sizes]
            images = self.backend.download([handovers[place][1].sizes[by] for place in which])  # type: ignore[misc]
            for place, image in zip(which, images, strict=True):
                number, each = handovers[place]
                handovers[place] = number, replace(each, sizes={**each.sizes, by: image})
        yield from handovers

    def _settled(self, planned: PlannedNode, lanes: Sequence[_Lane]) -> tuple[Sequence[_Lane], list[_Numbered]]:
        todo = [lane.view.settled is None and _is_needed(lane.trip, planned) for lane in lanes]
        if not any(todo):
            return lanes, []
        some = [lane for lane, needed in zip(lanes, todo, strict=True) if needed]
        moves: list[Sequence[Move]] = [
            [Warp(lane.view.pending, planned.resampling, lane.view.base.pixels.frame, lane.view.frame)] for lane in some
        ]
        arrived, failed = self._applied(planned, some, moves, [lane.view.base for lane in some])
        return [*(lane for lane, needed in zip(lanes, todo, strict=True) if not needed), *arrived], failed

    def _applied(
        self, planned: PlannedNode, lanes: Sequence[_Lane], moves: Sequence[Sequence[Move]], before: Sequence[Settled]
    ) -> tuple[list[_Lane], list[_Numbered]]:
        """Apply to pixels, of all images at once, and to targets what is to be applied."""
        sources: list[Place] = [
            each.sizes[lane.view.lineage[-1].reduction] for lane, each in zip(lanes, before, strict=True)
        ]
        try:
            places = self.backend.apply(sources, moves)
        except Exception as error:
            if len(lanes) > 1:
                raise
            self.backend.out_of_memory(error, 1)
            return [], list(lanes[0].failures(planned, lanes[0].view.lineage, error))
        arrived, failed = list[_Lane](), list[_Numbered]()
        for lane, place, mine, each in zip(lanes, places, moves, before, strict=True):
            try:
                settled = each.after(mine, place, lane.view.lineage)
            except Exception as error:  # noqa: BLE001 - a user's op may raise anything
                failed += lane.failures(planned, lane.view.lineage, error)
            else:
                view = replace(lane.view, settled=settled)
                arrived.append(replace(lane, view=view))
        return arrived, failed

    def _step(self, child: PlannedNode, lanes: Sequence[_Lane]) -> Iterator[_Numbered]:
        """Apply the child's op, at once or by adding to the pending map, and go on below it."""
        if child.node.op is None:
            yield from self.descend(child, lanes)
            return
        made = self._tried(child, lanes, self._move)
        if made is None:
            for half in _halves(lanes):
                yield from self._step(child, half)
            return
        below, failed = made
        del made
        yield from failed
        if below:
            yield from self.descend(child, below)

    def _move(self, child: PlannedNode, lanes: Sequence[_Lane]) -> tuple[list[_Lane], list[_Numbered]]:
        """Return the images below an op, and those that it fails for."""
        op, below, failed = child.node.op, list[_Lane](), list[_Numbered]()
        if op is None:
            return list(lanes), failed
        starts: list[Settled] = []
        moves: list[list[Move]] = []
        for lane in lanes:
            view = lane.view
            lineage = view.lineage if child.joins else settled_at(view).lineage
            try:
                lineage = (*lineage, drawn_step(lane.trip, child, op, view))
                frame = op.out_frame(view.frame, lineage[-1].params)
                if isinstance(op, Geometric) and op.fuses:
                    view = below_map(child, op, view, frame, lineage)
                else:
                    moves.append(moves_of(op, lineage[-1].params, view.frame))
                    starts.append(settled_at(view))
                    view = replace(View.at(starts[-1], frame), lineage=lineage)
            except Exception as error:  # noqa: BLE001 - an op, perhaps a user's, may raise anything: it becomes rows
                failed += lane.failures(child, lineage, error)
            else:
                below.append(replace(lane, view=view))
        if not starts:
            return below, failed
        arrived, more = self._applied(child, below, moves, starts)
        return [_from_here(lane) for lane in arrived], [*failed, *more]

    def _tried(self, planned: PlannedNode, lanes: Sequence[_Lane], what: Any) -> Any:
        """Return what a function makes of the images; None if it is to be tried with half as many of them.

        That is where memory does not suffice, and where something else fails: it may be for one image only. What fails
        for a single image costs it the variants at and under the node.
        """
        try:
            return what(planned, lanes)
        except Exception as error:  # noqa: BLE001 - an op, perhaps a user's, may raise anything: it becomes rows
            self.backend.out_of_memory(error, len(lanes))
            if len(lanes) == 1:
                return [], list(lanes[0].failures(planned, lanes[0].view.lineage, error))
        return None


def _outcome(variant: str, fetched: NDArray[Any] | Encoded, now: Settled) -> Outcome:
    """Return a variant as it was fetched."""
    if isinstance(fetched, Encoded):
        return Outcome(variant, None, now.lineage, now.targets, encoded=fetched)
    return Outcome(variant, fetched, now.lineage, now.targets)


def _from_here(lane: _Lane) -> _Lane:
    """Return an image's state where its pixels have just been made, and those before them are not needed."""
    return replace(lane, view=View.at(settled_at(lane.view), lane.view.frame))


def _is_needed(trip: Trip, planned: PlannedNode) -> bool:
    """Whether the pixels at a node are wanted, or something below starts from them."""
    return trip.wants_leaf(planned) or any(trip.needs_parent(child) for child in planned.children if trip.wants(child))


def _halves(lanes: Sequence[_Lane]) -> tuple[Sequence[_Lane], Sequence[_Lane]]:
    return lanes[: len(lanes) // 2], lanes[len(lanes) // 2 :]
