"""The workers and the scheduler on hosts that are reached by SSH, and what happens when one of these is lost."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine, Mapping
from typing import Any

import dask.config
from distributed import Security, Status
from distributed.deploy.spec import ProcessInterface

from kaleidoscope.cluster.groups import GroupCluster
from kaleidoscope.cluster.link import Link, Opening
from kaleidoscope.cluster.places import Place, label_of, next_place, on_host, scheduler_host
from kaleidoscope.cluster.spec import ClusterSpec, Host, WorkerGroup, as_host
from kaleidoscope.cluster.survey import look_at_hosts
from kaleidoscope.cluster.workers import worker_options
from kaleidoscope.errors import ResourceError

logger = logging.getLogger(__name__)

#: Workers that a host may lose before it counts as lost itself.
STRIKES = 3


class HostScheduler(ProcessInterface):
    """The scheduler, on a host."""

    def __init__(self, link: Link, *, port: int, dashboard: bool) -> None:
        super().__init__()
        self.link, self._port, self._dashboard = link, port, dashboard
        self.dashboard_link = ""

    async def start(self) -> None:
        said = await self.link.ask(
            {"do": "scheduler", "name": "scheduler", "port": self._port, "dashboard": self._dashboard}
        )
        self.address = said["address"]
        if self._dashboard and self.link.connection is not None:
            # It listens on its host's loopback only: here it is brought by SSH.
            brought = await self.link.connection.forward_local_port("127.0.0.1", 0, "127.0.0.1", said["dashboard"])
            self.dashboard_link = f"http://127.0.0.1:{brought.get_port()}/status"
        await super().start()

    async def close(self) -> None:
        await self.link.close()
        await super().close()


class HostWorker(ProcessInterface):
    """A worker, on a host."""

    def __init__(self, scheduler: str, *, name: str, link: Link, slot: int, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.name, self.link = name, link
        self._order = {"do": "start", "name": name, "scheduler": scheduler, "slot": slot, "options": dict(options)}

    async def start(self) -> None:
        said = await self.link.ask(self._order)
        self.address = said["address"]
        await super().start()

    async def close(self) -> None:
        if self.status == Status.running:
            self.status = Status.closing
            try:
                await self.link.ask({"do": "stop", "name": self.name})
            except ResourceError as error:
                logger.debug("%s", error)  # it went with its host
        await super().close()


class HostCluster(GroupCluster):
    """A `distributed.SpecCluster` on hosts; ``kaleidoscope.cluster.ssh`` starts it.

    Parameters
    ----------
    spec : ClusterSpec
        Its hosts say how many workers of each group they hold.
    counts, follow
        As `GroupCluster` takes them.
    """

    def __init__(self, spec: ClusterSpec, counts: Mapping[str, int], follow: Mapping[str, tuple[int, int]]) -> None:
        if spec.ssh is None:
            raise ResourceError("expected a cluster with hosts")
        self._spec, self._ssh = spec, spec.ssh
        self._hosts = {label_of(host): host for host in spec.ssh.hosts}
        self._links: dict[str, Link] = {}
        self._lost: set[str] = set()
        self._strikes: Counter[str] = Counter()
        self._mending: set[asyncio.Task[None]] = set()
        security = Security.temporary() if self._ssh.tls else Security()
        self._opening = Opening(_to_be_sent(dask.config.config), _fields(security))
        home = scheduler_host(self._ssh)
        scheduler = {
            "cls": HostScheduler,
            "options": {
                "link": Link(home, self._ssh, self._opening, spec.env),
                "port": self._ssh.scheduler_port,
                "dashboard": spec.dashboard,
            },
        }
        try:
            super().__init__(
                spec.workers, counts, follow=follow, scheduler=scheduler, name=spec.name, security=security
            )
        except BaseException:
            self._loop_runner.stop()
            raise

    @property
    def hosts(self) -> dict[str, Host]:
        """The hosts that take workers, by name; those that were lost are not among them."""
        return {label: host for label, host in self._hosts.items() if label not in self._lost}

    @property
    def dashboard_link(self) -> str:
        """The address of Dask's pages, on this machine."""
        return self.scheduler.dashboard_link if isinstance(self.scheduler, HostScheduler) else ""

    def add_host(self, host: str | Mapping[str, Any]) -> Any:
        """Take another host in, or one again that was lost; workers that have had no place go there.

        Parameters
        ----------
        host : str or mapping
            As `kaleidoscope.cluster.ssh` takes it.

        Raises
        ------
        ResourceError
            If it cannot be reached, or has other versions.
        """
        return self.sync(self._add_host, as_host(host))

    async def _add_host(self, host: Host) -> None:
        (ready,) = await look_at_hosts([host], self._ssh, self.groups, self._spec.env)
        label = label_of(ready)
        self._hosts[label] = ready
        self._lost.discard(label)
        self._strikes.pop(label, None)
        await self._change()

    def find_place(self, group: WorkerGroup, taken: list[Place]) -> tuple[Place, dict[str, Any]] | None:
        """Return a place on the host with most room for the group."""
        place = next_place(self.hosts, group.name, taken)
        if place is None:
            return None
        host = self.hosts[place.host]
        options = worker_options(on_host(group, host))
        # A share of the host's memory, as Dask takes a fraction for one.
        options.setdefault("memory_limit", 1 / max(1, sum((host.workers or {}).values())))
        if host.folder:
            options["local_directory"] = host.folder
        link = self._link(place.host)
        return place, {"cls": HostWorker, "options": {"link": link, "slot": place.slot, "options": options}}

    def _link(self, label: str) -> Link:
        if label not in self._links:
            self._links[label] = Link(
                self._hosts[label],
                self._ssh,
                self._opening,
                self._spec.env,
                on_ended=self._worker_ended,
                on_lost=lambda: self._host_lost(label),
            )
        return self._links[label]

    def _worker_ended(self, name: str) -> None:
        """Replace a worker that ended by itself."""
        if name in self._places and self.status == Status.running:
            label = self._places[name].host
            self._strikes[label] += 1
            logger.warning("the worker %s on %s ended", name, label)
            self._replace([name], None if self._strikes[label] < STRIKES else label)

    def _host_lost(self, label: str) -> None:
        """Go on without a host: what its workers had is run again elsewhere."""
        if self.status == Status.running:
            logger.warning("the host %s is lost; going on without it", label)
            self._replace([name for name, place in self._places.items() if place.host == label], label)

    def _replace(self, names: list[str], lost: str | None) -> None:
        workers = [self._forget(name) for name in names]
        if lost is not None:
            self._drop(lost)
        self._meanwhile(self._mend(names, [worker for worker in workers if worker]))

    def _drop(self, label: str) -> None:
        self._lost.add(label)
        if link := self._links.pop(label, None):
            self._meanwhile(link.close(at_once=True))

    def _meanwhile(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._mending.add(task)
        task.add_done_callback(self._mending.discard)

    def _forget(self, name: str) -> HostWorker | None:
        self.worker_spec.pop(name, None)
        self._places.pop(name, None)
        worker: HostWorker | None = self.workers.pop(name, None)
        return worker

    async def _mend(self, names: list[str], workers: list[HostWorker]) -> None:
        scheduler: Any = self.scheduler_comm
        for worker in workers:
            worker.status = Status.closed
        for address, worker in list(self.scheduler_info["workers"].items()):
            if worker["name"] in names:
                # A host that is silent would otherwise keep its tasks until Dask's own patience ends, after minutes.
                await scheduler.unregister(address=address, stimulus_id="kaleidoscope-host-lost")
        await self._change()

    async def _correct_state_internal(self) -> None:
        """Start and end workers; where a host fails to, go on with the others."""
        while True:
            try:
                await super()._correct_state_internal()
            except ResourceError as error:
                failed = [name for name, worker in self.workers.items() if worker.status == Status.created]
                for label in {self._places[name].host for name in failed if name in self._places}:
                    self._drop(label)
                for name in failed:
                    if worker := self._forget(name):
                        worker.status = Status.failed
                if self.status != Status.running or not self.hosts:
                    raise
                logger.warning("%s", error)
                self._fill()
            else:
                return

    async def _close(self) -> None:
        await super()._close()
        await asyncio.gather(*self._mending, *(link.close() for link in self._links.values()))


def _fields(security: Security) -> dict[str, Any] | None:
    """Return what makes the same `distributed.Security` elsewhere, or None if nothing is encrypted."""
    if not security.require_encryption:
        return None
    names = [f"tls_{role}_{part}" for role in ("client", "scheduler", "worker") for part in ("key", "cert")]
    return {"require_encryption": True, **{name: getattr(security, name) for name in ["tls_ca_file", *names]}}


def _to_be_sent(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return Dask's configuration without what is of this machine only."""
    return {name: value for name, value in config.items() if name not in {"temporary-directory", "temporary_directory"}}
