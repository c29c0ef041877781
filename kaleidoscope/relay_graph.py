"""The tasks of a write whose tree is cut: which go where, and how many images are on their way at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dask._task_spec import List, Task, TaskRef

from kaleidoscope.block_work import BlockWork, PackedBlocks
from kaleidoscope.relay import Leg, commit_block, legs_of, nothing_of, outputs_of, passed_of, run_leg

if TYPE_CHECKING:
    from dask.typing import Key

    from kaleidoscope.plan import Plan

#: Tasks by priority and resources, which become annotations.
Layers = dict[tuple[int, tuple[tuple[str, float], ...]], dict["Key", Task]]


@dataclass
class Relay:
    """Builds them.

    Parameters
    ----------
    plan : Plan
        The tree, cut.
    run_id : str
        Names the tasks.
    opened : str
        The key of the task that opens the run.
    pack : callable
        From blocks to `PackedBlocks`.
    carried : callable
        From an image's key to that of the task that has its pixels, if there is one.
    weigh : callable
        From an image's key to the bytes of its pixels, as far as that can be guessed.
    most : int
        Bytes that pass from one task to the next, at most; but for one image.
    in_flight : int
        How many such tasks may have begun that have not ended: the images of each are in memory somewhere. Dask
        would read as long as there is a free core.
    """

    plan: Plan
    run_id: str
    opened: str
    pack: Callable[[Sequence[BlockWork]], PackedBlocks]
    carried: Callable[[str], Key | None]
    weigh: Callable[[str], int]
    most: int
    in_flight: int
    layers: Layers = field(default_factory=dict, init=False)
    _ended: list[Key] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Cut the way into legs."""
        self._legs: list[Leg] = legs_of(self.plan)

    def add(self, number: int, block: BlockWork) -> Key:
        """Add the tasks of a block; return the key of the one that commits it."""
        pieces = enumerate(self._pieces(block))
        outputs = [TaskRef(key) for piece, part in pieces for key in self._add_piece((number, piece), part)]
        key = (f"blocks-{self.run_id}", number)
        self._put(Task(key, commit_block, TaskRef(self.opened), self.pack([block]), List(*outputs)), len(self._legs))
        return key

    def _add_piece(self, at: tuple[int, int], block: BlockWork) -> list[Key]:
        """Add the tasks of some images of a block; return the keys of what they wrote."""
        packed, legs = self.pack([block]), self._legs
        keys: list[Key] = [(f"leg{number}-{self.run_id}", *at) for number in range(len(legs))]
        passed: dict[int, Key] = {feed: (f"passed{feed}-{self.run_id}", *at) for leg in legs for feed in leg.feeds}
        outputs: list[Key] = []
        for number, (key, leg) in enumerate(zip(keys, legs, strict=True)):
            needs = [passed[feed] for feed in leg.feeds] if number else self._partitions(block)
            waits = [self._ended[-self.in_flight]] if number == 0 and len(self._ended) >= self.in_flight else []
            arguments = (packed, leg, List(*map(TaskRef, needs)), *map(TaskRef, waits))
            self._put(Task(key, run_leg, TaskRef(self.opened), *arguments), number, leg.resources)
            if number in passed:
                self._put(Task(passed[number], passed_of, TaskRef(key)), number)
            outputs.append((f"outputs{number}-{self.run_id}", *at))  # of a GPU only what it counted
            self._put(Task(outputs[-1], outputs_of, TaskRef(key)), number)
        self._ended.append((f"ended-{self.run_id}", *at))
        self._put(Task(self._ended[-1], nothing_of, TaskRef(keys[-1])), len(legs))
        return outputs

    def _partitions(self, block: BlockWork) -> list[Key]:
        """Return the keys of what carries the pixels of some images."""
        carried = (self.carried(entry.key) for entry, _ in block.entries)
        return list(dict.fromkeys(key for key in carried if key is not None))

    def _pieces(self, block: BlockWork) -> Iterator[BlockWork]:
        """Cut a block so that what passes from one task to the next is not too much."""
        widest = width(self.plan)
        group: list[Any] = []
        total = 0
        for entry, wanted in block.entries:
            weight = self.weigh(entry.key) * widest
            if group and total + weight > self.most:
                yield replace(block, entries=tuple(group))
                group, total = [], 0
            group.append((entry, wanted))
            total += weight
        if group:
            yield replace(block, entries=tuple(group))

    def _put(self, task: Task, priority: int, resources: Mapping[str, float] | None = None) -> None:
        """Add a task. What is further on comes first, lest images of all blocks are read before one is written."""
        self.layers.setdefault((priority, tuple(sorted((resources or {}).items()))), {})[task.key] = task


def annotated(said: Mapping[str, Any], level: int, resources: Mapping[str, float]) -> dict[str, Any] | None:
    """Return what the caller said of a whole write, and what some of its tasks need beside: more comes first.

    Examples
    --------
    >>> annotated({"retries": 2, "priority": 5}, 1, {"GPU": 1})
    {'retries': 2, 'priority': 6, 'resources': {'GPU': 1}}
    """
    annotations = dict(said)
    if level:
        annotations["priority"] = _raised(said.get("priority", 0), level)
    if resources:
        annotations["resources"] = {**(said.get("resources") or {}), **resources}
    return annotations or None


def _raised(priority: Any, level: int) -> Any:
    """Return a priority, a number or a function of the key, raised by a level."""
    if callable(priority):
        return lambda key: priority(key) + level
    return priority + level


def in_flight(threads: int) -> int:
    """Return how many pieces may be on their way: work for every thread, and one to go on with.

    Examples
    --------
    >>> in_flight(1), in_flight(8)
    (3, 9)
    """
    return max(3, threads + 1)


def width(plan: Plan) -> int:
    """Return how many images pass the widest cut for each one that is read.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.plan import make_plan
    >>> from kaleidoscope.tree import grow
    >>> on_gpu = ops.Apply("numpy:invert", resources={"GPU": 1})
    >>> width(make_plan(grow(ops.Sequential(ops.HorizontalFlip(), on_gpu)))), width(make_plan(grow(on_gpu)))
    (1, 1)
    """
    passing: dict[int, int] = defaultdict(int)
    for planned in plan.root.below():
        segment = plan.segments[planned.segment]
        passing[segment.place] += any(child.segment != segment.place for child in planned.children)
        passing[segment.place] += bool(segment.resources) and planned.node.leaf
    return max(passing.values())
