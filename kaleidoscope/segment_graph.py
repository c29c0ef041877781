"""The graph of a bag whose tree is cut: which task needs what of a worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dask
from dask.bag.core import reify
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from kaleidoscope.augmentation import Augmentation, Gathered, InSegment, finished, handed_over

if TYPE_CHECKING:
    from dask.bag import Bag


def in_segments(
    name: str, augmentation: Augmentation, partitions: Sequence[Any], below: Sequence[Bag]
) -> HighLevelGraph:
    """Return the graph of a tree that is cut: a layer for each segment, annotated with what it needs."""
    segments = augmentation.job.plan.segments
    outer = dask.get_annotations()
    layers: dict[str, Any] = {}
    needs: dict[str, set[str]] = {}
    for bag in below:
        layers |= bag.dask.layers
        needs |= bag.dask.dependencies
    handed, done = ([f"{what}{s.place}-{name}" for s in segments] for what in ("handed", "finished"))
    for segment in segments:
        make, own = InSegment(augmentation, segment.place), f"segment{segment.place}-{name}"
        feeds = [handed[feed] for feed in segment.feeds]
        tasks: dict[Any, Any] = {}
        for i, partition in enumerate(partitions):
            tasks[own, i] = (make, *((feed, i) for feed in feeds)) if feeds else (make, partition)
        annotations = dict(outer)
        if segment.resources:
            annotations["resources"] = {**(outer.get("resources") or {}), **segment.resources}
        layers[own] = MaterializedLayer(tasks, annotations=annotations or None)
        needs[own] = set(feeds) if feeds else {bag.name for bag in below}
        for pick, its in ((handed_over, handed[segment.place]), (finished, done[segment.place])):
            picked = {(its, i): (pick, (own, i)) for i in range(len(partitions))}
            layers[its], needs[its] = MaterializedLayer(picked, annotations=outer or None), {own}
    gather = Gathered(augmentation)
    whole = {(name, i): (reify, (gather, *((one, i) for one in done))) for i in range(len(partitions))}
    layers[name], needs[name] = MaterializedLayer(whole, annotations=outer or None), set(done)
    return HighLevelGraph(layers, needs)
