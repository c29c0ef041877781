"""The bag optimizer that keeps annotations: tasks are fused only where their annotations are equal.

``dask.bag``'s own fuses everything and so loses ``resources``, ``retries``, ``priority`` and ``workers`` on the way
to the scheduler; culling alone would keep them, but end streaming: every step would hold its whole partition.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from dask._task_spec import Alias, GraphNode, convert_legacy_graph, cull, fuse_linear_task_spec
from dask.bag.core import lazify
from dask.bag.core import optimize as optimize_plain
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

Annotations = dict[str, Any]


def optimize(graph: Any, keys: Any, fuse_keys: Iterable[Hashable] | None = None, **options: Any) -> Any:
    """Cull, fuse and stream a bag's graph; ``__dask_optimize__`` of our bags.

    Parameters
    ----------
    graph : HighLevelGraph or mapping
        The graph.
    keys : nested list of keys
        What is to be computed.
    fuse_keys : iterable of keys, optional
        What must stay a task of its own.

    Returns
    -------
    HighLevelGraph or dict
        With a layer for each set of annotations, where there are any.
    """
    if not isinstance(graph, HighLevelGraph) or not any(layer.annotations for layer in graph.layers.values()):
        return optimize_plain(graph, keys, list(fuse_keys or ()), **options)
    outputs = list(flatten(keys if isinstance(keys, list) else [keys]))
    annotations = _by_key(graph)
    culled = cull(convert_legacy_graph(graph), outputs)
    borders = {
        needed
        for key, task in culled.items()
        for needed in task.dependencies
        if needed in culled and annotations.get(needed) != annotations.get(key)
    }
    fused = lazify(fuse_linear_task_spec(culled, {*outputs, *borders, *(fuse_keys or ())}))
    for key, task in fused.items():
        # The last task of a chain keeps its key as an alias of the fused one, which is named for the whole chain.
        if isinstance(task, Alias) and task.target in fused and key in annotations:
            annotations[task.target] = annotations[key]
    return _layers(fused, annotations)


def _by_key(graph: HighLevelGraph) -> dict[Hashable, Annotations]:
    return {
        key: {name: value(key) if callable(value) else value for name, value in layer.annotations.items()}
        for layer in graph.layers.values()
        if layer.annotations
        for key in layer
    }


def _layers(tasks: Mapping[Hashable, GraphNode], annotations: Mapping[Hashable, Annotations]) -> HighLevelGraph:
    """Group tasks into a layer for each set of annotations: that is how they travel to the scheduler."""
    groups: dict[str, dict[Hashable, GraphNode]] = defaultdict(dict)
    of_group: dict[str, Annotations | None] = {}
    group_of: dict[Hashable, str] = {}
    for key, task in tasks.items():
        found = annotations.get(key)
        name = "annotated-" + (repr(sorted(found.items(), key=repr)) if found else "not")
        groups[name][key] = task
        of_group[name] = found
        group_of[key] = name
    layers = {n: MaterializedLayer(group, annotations=of_group[n]) for n, group in groups.items()}
    needs = {
        name: {group_of[d] for task in group.values() for d in task.dependencies if d in group_of} - {name}
        for name, group in groups.items()
    }
    return HighLevelGraph(layers, needs)
