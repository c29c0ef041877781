"""A cluster's workers in words: per group how many are wanted, run, wait, and for what; read from Kubernetes, too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

_Object = Mapping[str, Any]

GROUP_LABEL = "dask.org/workergroup-name"


@dataclass(frozen=True, slots=True)
class PodStatus:
    """One pod, or a worker that is none.

    Its name, its ``state`` (running, pending, ending), why it waits, and since when it has been there.
    """

    name: str
    state: str
    reason: str = ""
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """One group of workers.

    Parameters
    ----------
    name : str
        Of the group.
    wanted : int
        Workers that there are to be.
    pods : mapping of str to PodStatus
        By the name of the worker, which is that of its deployment. A worker without a pod yet is pending, too.
    """

    name: str
    wanted: int
    pods: Mapping[str, PodStatus] = field(default_factory=dict)

    @property
    def running(self) -> int:
        """How many workers run."""
        return sum(pod.state == "running" for pod in self.pods.values())

    @property
    def pending(self) -> int:
        """How many are still to come."""
        return len(self.pods) - self.running + max(0, self.wanted - len(self.pods))

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why they wait, each reason once, with how many share it."""
        counts = Counter(pod.reason for pod in self.pods.values() if pod.state != "running" and pod.reason)
        missing = self.wanted - len(self.pods)
        said = [f"{reason} ({count}x)" if count > 1 else reason for reason, count in counts.items()]
        return (*said, f"the operator has not made {missing} of them yet") if missing > 0 else tuple(said)


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """A cluster: its scheduler, its groups, and what was done about them. Printed, it is a table.

    The namespace is that of Kubernetes, and empty elsewhere.
    """

    name: str
    namespace: str
    scheduler: PodStatus
    groups: tuple[GroupStatus, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a line for each group and each reason, without what would change on every call."""
        why = f": {self.scheduler.reason}" if self.scheduler.reason else ""
        where = f" in namespace {self.namespace}" if self.namespace else ""
        lines = [f"{self.name}{where}: scheduler {self.scheduler.state}{why}"]
        width = max(len("group"), *(len(group.name) for group in self.groups))
        lines.append(f"{'group':<{width}}  wanted  running  pending")
        for group in self.groups:
            lines.append(f"{group.name:<{width}}  {group.wanted:>6}  {group.running:>7}  {group.pending:>7}")
            lines += [f"{'':<{width}}  {reason}" for reason in group.reasons]
        return "\n".join([*lines, *self.notes])


def read_pod(pod: _Object) -> PodStatus:
    """Return the state of a pod, from what Kubernetes answers.

    Examples
    --------
    >>> message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    >>> refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    >>> read_pod({"metadata": {"name": "a"}, "status": {"phase": "Pending", "conditions": [refused]}}).reason
    'no node for it: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.'
    """
    metadata, status = pod["metadata"], pod.get("status", {})
    name, since = metadata["name"], _seconds(metadata.get("creationTimestamp"))
    if metadata.get("deletionTimestamp"):
        return PodStatus(name, "ending", "ending", since)
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    containers = status.get("containerStatuses") or ()
    waiting = [one["state"]["waiting"] for one in containers if "waiting" in one.get("state", {})]
    if waiting:
        # Why the last one ended says more than that it is started again.
        ended = [one["lastState"]["terminated"] for one in containers if "terminated" in one.get("lastState", {})]
        said = [waiting[0].get("reason", ""), *(one.get("reason", "") for one in ended), waiting[0].get("message", "")]
        return PodStatus(name, "pending", ": ".join(part for part in said if part), since)
    if conditions.get("Ready", {}).get("status") == "True":
        return PodStatus(name, "running", "", since)
    placed = conditions.get("PodScheduled", {})
    if placed.get("status") == "False":
        return PodStatus(name, "pending", f"no node for it: {placed.get('message') or placed.get('reason', '')}", since)
    return PodStatus(name, "pending", "starting", since)


def read_groups(
    names: Mapping[str, str], groups: Iterable[_Object], deployments: Iterable[_Object], pods: Iterable[_Object]
) -> dict[str, GroupStatus]:
    """Return the groups of a cluster.

    Parameters
    ----------
    names : mapping of str to str
        The name of each group's DaskWorkerGroup, by group.
    groups, deployments, pods : iterables of dict
        What Kubernetes answers when asked for those of the cluster.
    """
    wanted = {one["metadata"]["name"]: one["spec"]["worker"].get("replicas", 0) for one in groups}
    found: dict[str, dict[str, PodStatus]] = {resource: {} for resource in names.values()}
    for deployment in deployments:
        resource = _label(deployment, GROUP_LABEL)
        if resource in found and not deployment["metadata"].get("deletionTimestamp"):
            found[resource][deployment["metadata"]["name"]] = PodStatus("", "pending", "starting")
    for pod in pods:
        # Pods are named for their deployment: its name, then what makes theirs unique.
        of_group = found.get(_label(pod, GROUP_LABEL), {})
        worker = next((name for name in of_group if pod["metadata"]["name"].startswith(f"{name}-")), None)
        read = read_pod(pod)
        if worker and (read.state != "ending" or not of_group[worker].name):
            of_group[worker] = read
    return {group: GroupStatus(group, wanted.get(resource, 0), found[resource]) for group, resource in names.items()}


def _label(thing: _Object, name: str) -> str:
    found: str = (thing["metadata"].get("labels") or {}).get(name, "")
    return found


def _seconds(stamp: str | None) -> float:
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0
