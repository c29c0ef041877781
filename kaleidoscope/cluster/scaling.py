"""How many workers each group should have: decided from the tasks that wait, by pure functions.

Nothing here knows what a worker is started with, so that local, SSH and Kubernetes clusters decide alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Scheduler


@dataclass(frozen=True, slots=True)
class Waiting:
    """Tasks that run or could run now, and need the same of a worker.

    Parameters
    ----------
    tasks : int
        How many.
    needs : mapping
        What each of them needs, such as ``{"GPU": 1}``.
    """

    tasks: int
    needs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Offer:
    """What one worker of a group brings.

    Parameters
    ----------
    threads : int
        Tasks that it runs at a time.
    resources : mapping
        As Dask counts them.
    """

    threads: int = 1
    resources: Mapping[str, float] = field(default_factory=dict)

    def room(self, needs: Mapping[str, float]) -> int:
        """Return how many tasks with these needs it runs at a time.

        >>> Offer(4, {"GPU": 1}).room({"GPU": 0.5}), Offer(4).room({"GPU": 1})
        (2, 0)
        """
        return min([self.threads, *(int(self.resources.get(name, 0) / need) for name, need in needs.items() if need)])


@dataclass(frozen=True, slots=True)
class Running:
    """A worker, as the scheduler sees it: its name and address, the tasks it has been given, and the bytes it holds."""

    name: str
    address: str
    tasks: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class State:
    """What the scheduler knows: the tasks that wait, and the workers that take more."""

    waiting: tuple[Waiting, ...]
    workers: tuple[Running, ...]


def wanted(
    waiting: Iterable[Waiting], offers: Mapping[str, Offer], bounds: Mapping[str, tuple[int, int]]
) -> dict[str, int]:
    """Return how many workers each group should have.

    As many as run all tasks at once, within the bounds. A task goes to the groups that offer least besides what it
    needs, in their order: no GPU is started for tasks that need none while there is a group without.

    Parameters
    ----------
    waiting : iterable of Waiting
        All that could run now.
    offers : mapping of str to Offer
        By group.
    bounds : mapping of str to (int, int)
        The least and most workers of each group to decide about; groups that are not in it are left alone.

    Returns
    -------
    dict
        A number for each group in `bounds`.

    Examples
    --------
    >>> offers = {"cpu": Offer(2), "gpu": Offer(1, {"GPU": 1})}
    >>> bounds = {"cpu": (1, 20), "gpu": (0, 4)}
    >>> wanted([], offers, bounds)
    {'cpu': 1, 'gpu': 0}
    >>> wanted([Waiting(7), Waiting(9, {"GPU": 1})], offers, bounds)
    {'cpu': 4, 'gpu': 4}
    """
    counts = dict.fromkeys(bounds, 0)
    for load in waiting:
        able = [name for name in bounds if offers[name].room(load.needs)]
        least = min((_besides(offers[name], load.needs) for name in able), default=0)
        left = load.tasks
        for name in able:
            if left > 0 and _besides(offers[name], load.needs) == least:
                room = offers[name].room(load.needs)
                more = min(ceil(left / room), bounds[name][1] - counts[name])
                counts[name] += more
                left -= more * room
    return {name: min(max(counts[name], low), high) for name, (low, high) in bounds.items()}


def _besides(offer: Offer, needs: Mapping[str, float]) -> int:
    return len(set(offer.resources) - set(needs))


def idle_beyond(workers: Iterable[Running], count: int) -> list[Running]:
    """Return the workers of one group to give up so that `count` are left: only those without a task, emptiest first.

    >>> group = [Running("a", "tcp://a", 1, 0), Running("b", "tcp://b", 0, 9), Running("c", "tcp://c", 0, 2)]
    >>> [worker.name for worker in idle_beyond(group, 2)], [worker.name for worker in idle_beyond(group, 0)]
    (['c'], ['c', 'b'])
    """
    workers = list(workers)
    idle = sorted((worker for worker in workers if not worker.tasks), key=lambda worker: worker.nbytes)
    return idle[: max(0, len(workers) - count)]


def read_state(dask_scheduler: Scheduler) -> State:
    """Return the state of a scheduler; to be run there, as ``client.run_on_scheduler`` does.

    Tasks whose resource no worker has are among those that wait: they are what a group starts from zero for.
    """
    from distributed.core import Status

    needs: Counter[tuple[tuple[str, float], ...]] = Counter()
    needs[()] = len(dask_scheduler.queued)  # a task with restrictions is never queued
    for task in chain(dask_scheduler.unrunnable, *(worker.processing for worker in dask_scheduler.workers.values())):
        needs[tuple(sorted((task.resource_restrictions or {}).items()))] += 1
    return State(
        tuple(Waiting(tasks, dict(names)) for names, tasks in needs.items() if tasks),
        tuple(
            Running(str(worker.name), address, len(worker.processing), worker.nbytes)
            for address, worker in dask_scheduler.workers.items()
            if worker.status in (Status.running, Status.paused)
        ),
    )
