"""Which host the next worker goes to, and how many of each group a host can hold. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from kaleidoscope.cluster.destinations import written
from kaleidoscope.cluster.spec import Host, Ssh, WorkerGroup, as_host
from kaleidoscope.gpus import GPU


class Place(NamedTuple):
    """One worker's place: the host's label, and a number that no other worker of its group has there."""

    host: str
    slot: int


def scheduler_host(ssh: Ssh) -> Host:
    """Return where the scheduler runs: on the host that is named, else on the first.

    >>> scheduler_host(Ssh((Host("desk1"), Host("desk2", port=2222)), scheduler="desk2")).port
    2222
    >>> scheduler_host(Ssh((Host("desk1"),), scheduler="anna@desk3:2222")).user
    'anna'
    """
    if ssh.scheduler is None:
        return ssh.hosts[0]
    named = as_host(ssh.scheduler)
    for host in ssh.hosts:
        if host.host == named.host and named.port in (None, host.port) and named.user in (None, host.user or ssh.user):
            return host
    return replace(named, workers={})


def label_of(host: Host) -> str:
    """Return what a host is called in messages.

    >>> label_of(Host("desk1")), label_of(Host("desk2", port=2222))
    ('desk1', 'desk2:2222')
    """
    return written(host.host, port=host.port)


def next_place(hosts: Mapping[str, Host], group: str, taken: Iterable[Place]) -> Place | None:
    """Return the place for another worker of a group: on the host with most room left for it, or None.

    Examples
    --------
    >>> hosts = {"desk1": Host("desk1", {"cpu": 2}), "desk2": Host("desk2", {"cpu": 4, "gpu": 1})}
    >>> next_place(hosts, "cpu", [Place("desk2", 0)])
    Place(host='desk2', slot=1)
    >>> next_place(hosts, "cpu", [Place("desk2", 0), Place("desk2", 2), Place("desk2", 3)])
    Place(host='desk1', slot=0)
    >>> next_place(hosts, "gpu", [Place("desk2", 0)])
    """
    taken = set(taken)
    used = Counter(place.host for place in taken)
    room = {label: (host.workers or {}).get(group, 0) - used[label] for label, host in hosts.items()}
    label = max(room, key=lambda label: room[label], default=None)  # the first of those with most
    if label is None or room[label] <= 0:
        return None
    return next(Place(label, slot) for slot in range(len(taken) + 1) if Place(label, slot) not in taken)


def with_room(host: Host, groups: Mapping[str, WorkerGroup], facts: Mapping[str, Any]) -> Host:
    """Return the host with how many workers it holds: as it says, or as many as it has cores and GPUs for.

    Parameters
    ----------
    host : Host
        As somebody wrote it.
    groups : mapping of str to WorkerGroup
        The first that needs no resource takes the cores, the first that needs ``GPU`` the GPUs.
    facts : mapping
        Its ``cores`` and ``gpus``.

    Examples
    --------
    >>> groups = {"cpu": WorkerGroup("cpu", cpus=2), "gpu": WorkerGroup("gpu", resources={"GPU": 1})}
    >>> with_room(Host("desk1"), groups, {"cores": 8, "gpus": 1}).workers
    {'cpu': 4, 'gpu': 1}
    """
    if host.workers is not None:
        return host
    room: dict[str, int] = {}
    plain = next((group for group in groups.values() if not group.resources), None)
    if plain:
        room[plain.name] = max(1, int(facts["cores"] / (host.threads or plain.cpus)))
    on_gpus = next((group for group in groups.values() if set(group.resources) == {GPU}), None)
    if on_gpus and facts["gpus"]:
        room[on_gpus.name] = int(facts["gpus"] / on_gpus.resources[GPU])
    return replace(host, workers=room)


def capacity(hosts: Iterable[Host], group: str) -> int:
    """Return how many workers of a group the hosts hold together.

    >>> capacity([Host("desk1", {"cpu": 2}), Host("desk2", {"cpu": 4, "gpu": 1})], "cpu")
    6
    """
    return sum((host.workers or {}).get(group, 0) for host in hosts)


def on_host(group: WorkerGroup, host: Host) -> WorkerGroup:
    """Return a group as it is on a host that has threads or memory of its own.

    >>> on_host(WorkerGroup("cpu", threads=1), Host("desk1", threads=4)).threads
    4
    """
    return replace(group, threads=host.threads or group.threads, memory=host.memory or group.memory)
