"""A cluster of machines that are reached by SSH, with nothing but the user's keys."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from kaleidoscope.cluster.places import capacity, scheduler_host
from kaleidoscope.cluster.spec import ClusterSpec, Host, Ssh, WorkerGroup, spec_from
from kaleidoscope.cluster.workers import counts_and_bounds
from kaleidoscope.errors import RecipeError, ResourceError
from kaleidoscope.gpus import GPU

if TYPE_CHECKING:
    from kaleidoscope.cluster.hosts import HostCluster


def ssh(
    hosts: Sequence[str | Mapping[str, Any]],
    workers: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    name: str = "kaleidoscope",
    dashboard: bool = True,
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> HostCluster:
    """Start a cluster on machines that are reached by SSH: by default one process of one thread on each of their cores.

    The scheduler runs on the first host, or on that named by `scheduler`. Each host needs a user's key that it takes,
    a host key that is known here, and a Python with the same versions as this one; they are compared first. The hosts
    and this machine must reach each other's ports on the addresses by which SSH reaches them.

    Parameters
    ----------
    hosts : list of str or mapping
        Names or addresses, as ``"desk1"`` or ``"anna@desk1:2222"``, or what is to be said of one: ``{"host": "desk2",
        "workers": {"cpu": 4, "gpu": 1}, "user": "anna", "port": 2222, "key": "~/.ssh/lab", "python":
        "/opt/venv/bin/python", "folder": "/scratch", "threads": 2, "memory": "4GiB", "address": "10.0.0.2"}``.
    workers : mapping, optional
        Groups of workers as in a cluster's file. They then start with `min`, and follow the load up to `max`. By
        default all the places there are for ``cpu``, and for ``gpu`` where a host has or names any.
    name : str
        Of the cluster.
    dashboard : bool
        Serve Dask's dashboard; ``dashboard_link`` is an address on this machine, brought here by SSH.
    env : mapping, optional
        Environment variables of all processes. No secrets: other users of a host can see them.
    **options
        ``scheduler``, ``scheduler_port``, ``known_hosts``, ``user``, ``key``, ``python``, ``tls``, as in a file.

    Returns
    -------
    HostCluster
        ``scale(cpu=8)``, ``adapt(cpu=(1, 8))`` and ``add_host("desk3")`` change it. Close it, or use it in a ``with``:
        whatever ends this process ends the workers, too.

    Raises
    ------
    RecipeError
        If what is asked for makes no sense.
    ResourceError
        If a host cannot be reached or has other versions, with what to do there; or the extra ``ssh`` is missing.

    Examples
    --------
    >>> import kaleidoscope as ks
    >>> hosts = ["desk1", {"host": "desk2", "workers": {"cpu": 4, "gpu": 1}}]
    >>> with ks.cluster.ssh(hosts) as cluster, cluster.get_client() as client:  # doctest: +SKIP
    ...     report = views.write("s3://bucket/augmented/").compute()
    """
    groups = {"cpu": {}, "gpu": {"resources": {GPU: 1}}} if workers is None else workers
    content = {
        "kind": "ssh",
        "name": name,
        "dashboard": dashboard,
        "env": dict(env or {}),
        "workers": {group: dict(given) for group, given in groups.items()},
        "ssh": {"hosts": _plain(hosts), **options},
    }
    return ssh_from(spec_from(content, "ks.cluster.ssh(...)"), fill=workers is None)


def _plain(hosts: Any) -> Any:
    """Return a list of hosts as a file would have it; what is no list is left for the check to refuse."""
    if isinstance(hosts, str | bytes | Mapping) or not isinstance(hosts, Iterable):
        return hosts  # a text is iterable, too: "desk1" is not the hosts d, e, s, k and 1
    return [dict(one) if isinstance(one, Mapping) else one for one in hosts]


def ssh_from(spec: ClusterSpec, *, fill: bool = False) -> HostCluster:
    """Start the cluster of a file: the least workers of each group, following the load from there.

    Parameters
    ----------
    spec : ClusterSpec
        Of the kind ``ssh``.
    fill : bool
        Start as many as the hosts hold, instead.
    """
    if find_spec("asyncssh") is None:
        raise ResourceError("a cluster by SSH needs asyncssh: pip install 'kaleidoscope[ssh]'")
    if spec.ssh is None:
        raise RecipeError("expected a cluster with hosts: {hosts: [desk1, desk2]}")
    hosts = _look_at_all(spec.ssh, spec.workers, spec.env)
    groups = {name: _bounded(group, capacity(hosts, name), fill=fill) for name, group in spec.workers.items()}
    groups = {name: group for name, group in groups.items() if group.max or not fill}
    from kaleidoscope.cluster.hosts import HostCluster

    counts, follow = counts_and_bounds(groups)
    try:
        return HostCluster(replace(spec, workers=groups, ssh=replace(spec.ssh, hosts=hosts)), counts, follow)
    except RuntimeError as error:
        if isinstance(error.__cause__, ResourceError):  # Dask says only that it did not start
            raise error.__cause__ from None
        raise


def _bounded(group: WorkerGroup, room: int, *, fill: bool) -> WorkerGroup:
    if fill:
        return replace(group, min=room, max=room)
    if group.min > room:
        raise ResourceError(
            f"there is place for {room} workers of the group {group.name}, which is to have at least {group.min}: "
            f"add hosts, or say how many each holds (workers: {{{group.name}: 2}})"
        )
    return group


def _look_at_all(ssh: Ssh, groups: Mapping[str, WorkerGroup], env: Mapping[str, str]) -> tuple[Host, ...]:
    """Ask all hosts, that of the scheduler too, in a thread of its own: in a notebook this one's loop is taken."""
    from kaleidoscope.cluster.survey import look_at_hosts

    others = [host for host in [scheduler_host(ssh)] if host not in ssh.hosts]
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(asyncio.run, look_at_hosts([*ssh.hosts, *others], ssh, groups, env)).result()
    return found[: len(ssh.hosts)]
