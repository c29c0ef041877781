"""A running cluster of pods, whose worker groups grow and shrink apart."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

import kr8s
from dask_kubernetes.operator import KubeCluster
from dask_kubernetes.operator._objects import DaskCluster, DaskWorkerGroup
from distributed.protocol.pickle import dumps
from kr8s.asyncio.objects import Deployment, ServiceAccount

from kaleidoscope.cluster.adapting import Adapting, AdaptsByGroup, check_group
from kaleidoscope.cluster.kube_objects import delete, groups_of, logs_of, status_of
from kaleidoscope.cluster.manifests import cluster_manifest, group_name, manifests
from kaleidoscope.cluster.observed import ClusterStatus, GroupStatus
from kaleidoscope.cluster.pods import kubernetes_of
from kaleidoscope.cluster.scaling import Offer, Running, State, read_state
from kaleidoscope.cluster.spec import ClusterSpec
from kaleidoscope.cluster.workers import counts_and_bounds, offers_of
from kaleidoscope.errors import RecipeError, ResourceError

logger = logging.getLogger(__name__)

#: Seconds between two looks at what the operator has made.
_LOOK = 0.25
#: Seconds that the operator is given to make or end what it was told to.
_SETTLED_AFTER = 60.0


class KubernetesCluster(AdaptsByGroup, KubeCluster):  # type: ignore[misc]  # untyped
    """A `dask_kubernetes.operator.KubeCluster` of groups; ``kaleidoscope.cluster.kubernetes`` starts it.

    A worker that is to go is retired by name, its deployment deleted, and only then the number of its group lowered:
    the operator finds as many workers as it should, and does nothing. Left to it, it would retire workers of any group
    (dask-kubernetes#914, #933).

    Parameters
    ----------
    spec : ClusterSpec
        Of kind ``kubernetes``.
    timeout : float
        Seconds until the scheduler has to run.
    follow : bool
        Follow the load at once, within the bounds of the specification, as by `adapt`.
    **kwargs
        As `KubeCluster` takes them.
    """

    def __init__(self, spec: ClusterSpec, *, timeout: float, follow: bool = True, **kwargs: Any) -> None:
        self.spec = spec
        self._timeout, self._follow, self._begun = timeout, follow, False
        self._groups: dict[str, GroupStatus] = {}
        self._unsettled: dict[str, tuple[tuple[int, int], float]] = {}
        self._held_off: dict[str, float] = {}
        self._notes: dict[str, str] = {}
        self._changing = asyncio.Lock()
        self._adaptive: Adapting | None = None
        place = kubernetes_of(spec)
        super().__init__(
            custom_cluster_spec=cluster_manifest(spec),
            namespace=place.namespace,
            resource_timeout=int(timeout),
            quiet=True,
            **kwargs,
        )

    async def _start(self) -> None:
        if self._begun:
            return
        self._begun = True
        documents = {one["kind"]: one for one in manifests(self.spec)}
        try:
            async with asyncio.timeout(self._timeout):
                if account := documents.get("ServiceAccount"):
                    await _create(await ServiceAccount(account))
                await super()._start()
        except TimeoutError:
            why = await self._why_not_started()
            if self.shutdown_on_close:
                await delete(self.spec)
            raise ResourceError(why) from None
        finally:
            if self.scheduler_comm is None:  # the parent would try to close it once more at the end of the process
                self._instances.discard(self)
        for document in manifests(self.spec):
            if document["kind"] == "DaskWorkerGroup":
                await _create(await DaskWorkerGroup(document))
        bounds = counts_and_bounds(self.spec.workers)[1]
        if self._follow and bounds:
            await self._adapt_groups(bounds)

    async def _wait_for_controller(self) -> None:
        """Wait until the operator has made the scheduler.

        Not until it says that the cluster is running, as the parent does: it writes "Pending" over "Running" where the
        service was there before it was done. Scheduler and service are waited for by the parent's next steps.
        """
        while True:
            cluster = await DaskCluster.get(self.name, namespace=self.namespace)
            if cluster.raw.get("status", {}).get("phase") in ("Pending", "Running"):
                return
            await asyncio.sleep(_LOOK)

    async def _why_not_started(self) -> str:
        status = await self._group_status()
        if status.scheduler.state == "missing":
            why = "nothing was made of it; is Dask's operator running?"
        else:
            why = f"its scheduler is {status.scheduler.state}: {status.scheduler.reason or 'but cannot be reached'}"
        return (
            f"the cluster {self.spec.name!r} in namespace {self.namespace!r} was not up after {self._timeout:g} s: "
            f"{why} {'It is deleted again' if self.shutdown_on_close else 'It is left as it is'}"
        )

    # What a user asks for.

    def group_status(self) -> Any:
        """Return a `ClusterStatus`: of each group how many workers are wanted, run, or wait, and for what."""
        return self.sync(self._group_status)

    def scale(self, **counts: int) -> Any:
        """Have this many workers, by group: ``cluster.scale(cpu=2, gpu=1)``. Other groups stay as they are.

        It ends `adapt`. Workers that go first hand over what they hold, idle ones first.

        Parameters
        ----------
        **counts
            By group.

        Raises
        ------
        RecipeError
            If a group is unknown, or a number is none.
        """
        for name, count in counts.items():
            check_group(name, self.spec.workers)
            if type(count) is not int or count < 0:
                raise RecipeError(f"scale({name}={count!r}): expected a whole number of at least 0")
        return self.sync(self._scale_groups, counts)

    async def _get_logs(self) -> dict[str, str]:
        return await logs_of(self.spec)

    async def _group_status(self) -> ClusterStatus:
        await self._observe()
        return await status_of(self.spec, self._groups, tuple(self._notes.values()))

    async def _before_adapting(self) -> None:
        await self._observe()

    async def _scale_groups(self, counts: Mapping[str, int]) -> None:
        self._stop_adapting()
        self._held_off.clear()
        state = await self.look()
        await self.grow({name: count for name, count in counts.items() if count > self.asked_for(name)})
        for name, count in counts.items():
            if count < self.asked_for(name):
                mine = [worker for worker in state.workers if self.group_of(worker) == name]
                mine.sort(key=lambda worker: (worker.tasks, worker.nbytes))
                await self.shrink(name, count, mine)

    async def _close(self, timeout: float = 3600) -> None:  # noqa: ASYNC109 - the parent's
        self._stop_adapting()
        await super()._close(timeout=timeout)

    # What `Adapting` asks for.

    @property
    def offers(self) -> Mapping[str, Offer]:
        """What a worker of each group brings."""
        return offers_of(self.spec.workers)

    def could_offer(self) -> list[Mapping[str, float]]:
        """Return what workers would offer that are on their way, or that come when tasks wait for them."""
        coming = dict(self._adaptive.bounds) if self._adaptive else {}
        return [
            group.resources
            for name, group in self.spec.workers.items()
            if self._groups[name].wanted or coming.get(name, (0, 0))[1]
        ]

    async def look(self) -> State:
        """Return what the scheduler knows, after seeing to workers that do not come."""
        await self._observe()
        await self._see_to_those_missing()
        answer = await self.scheduler_comm.run_function(function=dumps(read_state))
        state: State = answer["result"]
        return state

    def group_of(self, worker: Running) -> str | None:
        """Return the group of a worker, or None if it is none of the cluster's."""
        return next((name for name, group in self._groups.items() if worker.name in group.pods), None)

    def asked_for(self, group: str) -> int:
        """Return how many workers of a group the operator is told to keep; of one that is held off, all it may have."""
        if self._held_off.get(group, 0.0) > time.monotonic():
            return self.spec.workers[group].max
        return self._groups[group].wanted

    async def grow(self, counts: Mapping[str, int]) -> None:
        """Have this many workers of these groups, where there are fewer."""
        async with self._changing:
            for group, count in counts.items():
                await self._tell(group, count)

    async def shrink(self, group: str, count: int, idle: list[Running]) -> None:
        """Have `count` workers of a group, or more if more are busy: give up what has not come yet, and these."""
        async with self._changing:
            await self._observe()
            there = self._groups[group]
            if len(there.pods) != there.wanted:
                return  # the operator is at it: it would take a lower number for an order to retire others
            state = await self.scheduler_comm.run_function(function=dumps(read_state))
            connected = {worker.name for worker in state["result"].workers}
            coming = [name for name in there.pods if name not in connected]
            given_up = [*coming, *(worker.name for worker in idle if worker.name in there.pods)]
            await self._remove(group, given_up[: max(0, len(there.pods) - count)])

    # What is done about deployments.

    async def _remove(self, group: str, workers: Iterable[str]) -> None:
        """Retire workers, delete their deployments, and then lower the number of their group."""
        workers = list(dict.fromkeys(workers))
        if not workers:
            return
        # Not closed from there: the process would end, and Kubernetes start it again.
        retired = await self.scheduler_comm.retire_workers(names=workers, close_workers=False, remove=False)
        gone = {str(worker["name"]) for worker in retired.values()}
        known = await self.scheduler_comm.identity(n_workers=-1)
        connected = {str(worker["name"]) for worker in known["workers"].values()}
        for name in workers:
            if name in gone or name not in connected:  # otherwise nobody could take what it holds: it stays
                try:
                    await (await Deployment(name, namespace=self.namespace)).delete()
                except kr8s.NotFoundError:
                    logger.info("the deployment %s had gone already", name)
        await self._observe()
        await self._tell(group, len(self._groups[group].pods))

    async def _tell(self, group: str, count: int) -> None:
        """Tell the operator how many workers a group is to have."""
        resource = await DaskWorkerGroup.get(group_name(self.spec, group), namespace=self.namespace)
        await resource.patch({"spec": {"worker": {"replicas": count}}})
        old = self._groups[group]
        self._groups[group] = GroupStatus(group, count, old.pods)

    async def _observe(self) -> None:
        """See which workers there are, by group."""
        self._groups = await groups_of(self.spec)

    async def _see_to_those_missing(self) -> None:
        """Give up workers that found no node for long, and numbers that the operator never acts upon."""
        place, now = kubernetes_of(self.spec), time.monotonic()
        for group, seen in list(self._groups.items()):
            waited = time.time() - place.pending_timeout
            late = {
                name: pod
                for name, pod in seen.pods.items()
                if pod.state == "pending" and pod.reason.startswith("no node") and pod.since < waited
            }
            if late and len(seen.pods) == seen.wanted:
                reason = next(iter(late.values())).reason
                self._notes[group] = (
                    f"{group}: gave up {len(late)} workers after {place.pending_timeout:g} s: {reason} "
                    f"Tried again after as long"
                )
                logger.warning(self._notes[group])
                async with self._changing:
                    await self._remove(group, late)
                self._held_off[group] = now + place.pending_timeout
            await self._settle(group, now)

    async def _settle(self, group: str, now: float) -> None:
        """Take what is there for what was wanted, once the operator has long done nothing about a difference.

        Somebody has deleted a deployment, or a client ended between the deployment and the number. The next look asks
        for what is needed.
        """
        seen = self._groups[group]
        numbers = (seen.wanted, len(seen.pods))
        if numbers[0] == numbers[1]:
            self._unsettled.pop(group, None)
            return
        before, since = self._unsettled.get(group, (None, now))
        if before != numbers:
            self._unsettled[group] = (numbers, now)
        elif now - since > _SETTLED_AFTER:
            await self._tell(group, numbers[1])


async def _create(thing: Any) -> None:
    """Create an object of Kubernetes', where there is none of that name."""
    if not await thing.exists():
        await thing.create()
