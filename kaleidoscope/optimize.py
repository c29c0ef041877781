"""The bag optimizer that keeps annotations: tasks are fused only where their annotations are equal.

``dask.bag``'s own fuses everything and so loses ``resources``, ``retries``, ``priority`` and ``workers`` on the way
to the scheduler; culling alone would keep them, but end streaming: every step would hold its whole partition.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dask._task_spec import Alias, GraphNode, Task, TaskRef, convert_legacy_graph, cull, fuse_linear_task_spec
from dask.bag.core import lazify
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

if TYPE_CHECKING:
    from dask.typing import Key

Annotations = dict[str, Any]


def optimize(graph: Any, keys: Any, fuse_keys: Iterable[Key] | None = None, **_: Any) -> Any:
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
        With a layer for each stretch of equal annotations, where there are any.
    """
    outputs = list(flatten(keys if isinstance(keys, list) else [keys]))
    annotations = _by_key(graph) if isinstance(graph, HighLevelGraph) else {}
    tasks = _dependencies_first(cull(convert_legacy_graph(graph), outputs))
    borders = {
        needed
        for key, task in tasks.items()
        for needed in task.dependencies
        if needed in tasks and annotations.get(needed) != annotations.get(key)
    }
    # A stream can be taken once: what one task takes twice must stay a list, which Dask's own bag forgets.
    twice = {key for task in tasks.values() for key, times in Counter(_references(task)).items() if times > 1}
    fused = lazify(fuse_linear_task_spec(tasks, {*outputs, *borders, *twice, *(fuse_keys or ())}))
    if not annotations:
        return fused
    for key, task in fused.items():
        # The last task of a chain keeps its key as an alias of the fused one, which is named for the whole chain.
        if isinstance(task, Alias) and task.target in fused and key in annotations:
            annotations[task.target] = annotations[key]
    return _layers(_dependencies_first(fused), annotations)


def _references(task: object) -> Iterator[Key]:
    """Yield the keys that a task's arguments refer to, each as often as it stands there."""
    if isinstance(task, TaskRef):
        yield task.key
    elif isinstance(task, Alias):
        yield task.target
    elif isinstance(task, Task):
        for argument in (*task.args, *task.kwargs.values()):
            yield from _references(argument)
    elif isinstance(task, list | tuple):
        for element in task:
            yield from _references(element)


def layer_of(graph: Any, key: Key) -> str | None:
    """Return the name of the layer of an optimized graph that has this key."""
    layers = graph.layers if isinstance(graph, HighLevelGraph) else {}
    return next((name for name, layer in layers.items() if key in layer), None)


def _by_key(graph: HighLevelGraph) -> dict[Key, Annotations]:
    return {
        key: {name: value(key) if callable(value) else value for name, value in layer.annotations.items()}
        for layer in graph.layers.values()
        if layer.annotations
        for key in layer
    }


def _dependencies_first(tasks: Mapping[Key, GraphNode]) -> dict[Key, GraphNode]:
    """Sort a graph.

    Dask's fusion starts chains in the graph's order. One that starts above a key which has to stay, because it is an
    output or its annotations change there, leaves that key alone and unfused with what is below it: nothing streams.
    """
    done: dict[Key, GraphNode] = {}
    for first in tasks:
        stack = [first]
        while stack:
            key = stack[-1]
            missing = [d for d in tasks[key].dependencies if d in tasks and d not in done] if key not in done else []
            if missing:
                stack.extend(missing)
            else:
                done.setdefault(stack.pop(), tasks[key])
    return done


def _layers(tasks: Mapping[Key, GraphNode], annotations: Mapping[Key, Annotations]) -> HighLevelGraph:
    """Group sorted tasks into a layer for each stretch of equal annotations: so they travel to the scheduler.

    Stretches are numbered by how often annotations changed on the way, so that no two layers need each other.
    """
    changes: dict[Key, int] = {}
    groups: dict[str, dict[Key, GraphNode]] = defaultdict(dict)
    layer: dict[Key, str] = {}
    for key, task in tasks.items():
        own = annotations.get(key)
        below = [d for d in task.dependencies if d in tasks]
        changes[key] = max((changes[d] + (annotations.get(d) != own) for d in below), default=0)
        layer[key] = f"{changes[key]}-{repr(sorted(own.items(), key=repr)) if own else 'plain'}"
        groups[layer[key]][key] = task
    layers = {
        name: MaterializedLayer(group, annotations=annotations.get(next(iter(group)))) for name, group in groups.items()
    }
    needs = {
        name: {layer[d] for task in group.values() for d in task.dependencies if d in layer} - {name}
        for name, group in groups.items()
    }
    return HighLevelGraph(layers, needs)
