"""A cluster whose workers come in named groups, each of which grows and shrinks apart from the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from distributed import Status
from distributed.deploy import SpecCluster
from distributed.protocol.pickle import dumps

from kaleidoscope.cluster.adapting import Adapting, AdaptsByGroup, check_group
from kaleidoscope.cluster.observed import ClusterStatus, GroupStatus, PodStatus
from kaleidoscope.cluster.scaling import Offer, Running, State, read_state
from kaleidoscope.cluster.spec import WorkerGroup
from kaleidoscope.cluster.workers import offers_of
from kaleidoscope.errors import RecipeError, ResourceError

logger = logging.getLogger(__name__)


class GroupCluster(AdaptsByGroup, SpecCluster):  # type: ignore[misc]  # `adapt` takes groups
    """A `distributed.SpecCluster` of groups; where a worker goes is its subclasses' business.

    Parameters
    ----------
    groups : mapping of str to WorkerGroup
        By name.
    counts : mapping of str to int
        How many workers of each group it starts with.
    follow : mapping of str to (int, int), optional
        Bounds between which it then follows the load, as by `adapt`.
    **kwargs
        As `distributed.SpecCluster` takes them.
    """

    def __init__(
        self,
        groups: Mapping[str, WorkerGroup],
        counts: Mapping[str, int],
        *,
        follow: Mapping[str, tuple[int, int]] | None = None,
        **kwargs: Any,
    ) -> None:
        self.groups = dict(groups)
        self._asked = {**dict.fromkeys(self.groups, 0), **counts}
        self._follow = follow
        self._begun = False
        self._numbers = dict.fromkeys(self.groups, 0)
        #: Where each worker is, in the words of the subclass.
        self._places: dict[str, Any] = {}
        self._changing = asyncio.Lock()
        super().__init__(**kwargs)

    def sync(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a method on the cluster's loop, as Dask does, which tells of a closed cluster by its loop only.

        Raises
        ------
        ResourceError
            If the cluster is closed.
        """
        if self.status == Status.closed:
            raise ResourceError("this cluster is closed, and nothing of it runs any more: start a new one")
        return super().sync(func, *args, **kwargs)

    async def _start(self) -> None:
        await super()._start()
        if not self._begun:
            self._begun = True
            self._fill()
            if self._follow:
                await self._adapt_groups(self._follow)

    def find_place(self, group: WorkerGroup, taken: list[Any]) -> tuple[Any, dict[str, Any]] | None:
        """Return a place for another worker of a group, and the specification to start it by; None if there is none.

        Parameters
        ----------
        group : WorkerGroup
            Its group.
        taken : list
            The places of the group's other workers.
        """
        raise NotImplementedError

    @property
    def offers(self) -> Mapping[str, Offer]:
        """What a worker of each group brings."""
        return offers_of(self.groups)

    @property
    def bounds(self) -> dict[str, tuple[int, int]]:
        """The least and most workers of each group, while the cluster follows the load."""
        return dict(self._adaptive.bounds) if isinstance(self._adaptive, Adapting) else {}

    def could_offer(self) -> list[Mapping[str, float]]:
        """Return what workers would offer that are on their way, or that come when tasks wait for them."""
        coming = {name: most for name, (_, most) in self.bounds.items()}
        return [group.resources for name, group in self.groups.items() if self._asked[name] or coming.get(name)]

    def scale(self, n: int | None = None, **counts: int) -> Any:  # type: ignore[override]
        """Have this many workers, by group: ``cluster.scale(cpu=2, gpu=1)``. Other groups stay as they are.

        It returns once they run, and ends `adapt`. Workers that go first hand over what they hold, idle ones first.

        Parameters
        ----------
        n : int, optional
            Of each group that has no number of its own; where there is one group, it needs no name.
        **counts
            By group.

        Raises
        ------
        RecipeError
            If a group is unknown, or a number is none.
        ResourceError
            If the cluster is closed.
        """
        if n is not None:
            if n and len(self.groups) > 1:
                groups = ", ".join(f"{name}={n}" for name in self.groups)
                raise RecipeError(f"scale({n}): there are several groups of workers; say of which, such as {groups}")
            counts = {**dict.fromkeys(self.groups, n), **counts}
        for name, count in counts.items():
            check_group(name, self.groups)
            if type(count) is not int or count < 0:
                raise RecipeError(f"scale({name}={count!r}): expected a whole number of at least 0")
        return self.sync(self._scale, counts)

    async def _scale(self, counts: Mapping[str, int]) -> None:
        self._stop_adapting()
        if self.status in (Status.closing, Status.closed):
            # A worker that is on its way has to be there before it can be closed.
            async with self._changing:
                self.worker_spec.clear()  # what they hold goes with them: nobody is left to hand it to
            return
        self._asked.update(counts)
        await self._change()

    async def _change(self) -> None:
        """Bring the workers there are to the number that was asked for, one change at a time."""
        async with self._changing:
            if self.status != Status.running:
                return
            state = None
            for group, count in self._asked.items():
                surplus = len(self.names(group)) - count
                if surplus > 0:
                    state = state or await self.look()
                    given = {worker.name: (worker.tasks, worker.nbytes) for worker in state.workers}
                    order = sorted(self.names(group), key=lambda name: given.get(name, (-1, 0)))
                    await self._retire(order[:surplus])
            self._fill()
            await self._correct_state()

    def _fill(self) -> None:
        """Plan what is missing of each group, where there is a place for it."""
        for group, count in self._asked.items():
            while len(self.names(group)) < count:
                taken = [self._places[name] for name in self.names(group)]
                found = self.find_place(self.groups[group], taken)
                if found is None:
                    logger.warning(
                        "there is place for %d of the %d workers of the group %s", len(self.names(group)), count, group
                    )
                    break
                name = f"{group}-{self._numbers[group]}"
                self._numbers[group] += 1
                self._places[name], self.worker_spec[name] = found

    async def _retire(self, names: list[str], *, whatever_they_hold: bool = True) -> None:
        """Have workers hand over what they hold, and end them.

        Where nobody can take it they are ended all the same or, unless `whatever_they_hold`, stay.
        """
        # By name: SpecCluster itself passes names for addresses, which the scheduler does not find. Not closed by the
        # scheduler: that and the nanny's closing would get into each other's way, and take seconds.
        scheduler: Any = self.scheduler_comm
        retired = await scheduler.retire_workers(names=names, remove=False)
        gone = {str(worker["name"]) for worker in retired.values()}
        connected = {str(worker["name"]) for worker in self.scheduler_info["workers"].values()}
        for name in names:
            if whatever_they_hold or name in gone or name not in connected:
                self.worker_spec.pop(name, None)
                self._places.pop(name, None)

    def group_status(self) -> Any:
        """Return a `ClusterStatus`: of each group how many workers are wanted, run, or wait, and for what.

        Raises
        ------
        ResourceError
            If the cluster is closed.
        """
        return self.sync(self._group_status)

    async def _group_status(self) -> ClusterStatus:
        there = {worker.name for worker in (await self.look()).workers}
        groups = tuple(self._status_of(group, there) for group in self.groups)
        return ClusterStatus(self.name, "", PodStatus("scheduler", self.status.name), groups)

    def _status_of(self, group: str, there: set[str]) -> GroupStatus:
        names, wanted = self.names(group), self._asked[group]
        workers = {
            name: PodStatus(name, "running") if name in there else PodStatus(name, "pending", "starting")
            for name in names
        }
        for number in range(len(names), wanted):
            workers[f"{group}, number {number + 1}"] = PodStatus("", "pending", "there is no place for it")
        return GroupStatus(group, wanted, workers)

    def names(self, group: str) -> list[str]:
        """Return the names of the workers of a group that there are or are on their way."""
        return [name for name in self.worker_spec if str(name).rpartition("-")[0] == group]

    # What `Adapting` asks for.

    async def look(self) -> State:
        """Return what the scheduler knows."""
        scheduler: Any = self.scheduler_comm
        answer = await scheduler.run_function(function=dumps(read_state))
        state: State = answer["result"]
        return state

    def group_of(self, worker: Running) -> str | None:
        """Return the group of a worker, or None if it is none of the cluster's."""
        return worker.name.rpartition("-")[0] if worker.name in self.worker_spec else None

    def asked_for(self, group: str) -> int:
        """Return how many workers of a group were asked for."""
        return self._asked[group]

    async def grow(self, counts: Mapping[str, int]) -> None:
        """Have this many workers of these groups."""
        self._asked.update(counts)
        await self._change()

    async def shrink(self, group: str, count: int, idle: list[Running]) -> None:
        """Have `count` workers of a group, or more if more are busy."""
        if idle:
            await self._retire([worker.name for worker in idle], whatever_they_hold=False)
        self._asked[group] = max(count, len(self.names(group)))
        await self._change()
