"""A cluster's objects in Kubernetes, as they are: read and deleted, whoever made them."""

from __future__ import annotations

import asyncio
from typing import Any

import kr8s
from kr8s.asyncio.objects import Deployment, Pod, object_from_spec

from kaleidoscope.cluster.manifests import CLUSTER_LABEL, group_name, manifests
from kaleidoscope.cluster.observed import ClusterStatus, GroupStatus, PodStatus, read_groups, read_pod
from kaleidoscope.cluster.pods import kubernetes_of
from kaleidoscope.cluster.spec import ClusterSpec

_GROUPS = "daskworkergroups.kubernetes.dask.org"


async def groups_of(spec: ClusterSpec) -> dict[str, GroupStatus]:
    """Return the groups of a cluster, with their workers."""
    groups, deployments, pods = await asyncio.gather(
        _list(spec, _GROUPS), _list(spec, Deployment, "worker"), _list(spec, Pod, "worker")
    )
    names = {group: group_name(spec, group) for group in spec.workers}
    return read_groups(names, *([one.raw for one in found] for found in (groups, deployments, pods)))


async def status_of(spec: ClusterSpec, groups: dict[str, GroupStatus], notes: tuple[str, ...] = ()) -> ClusterStatus:
    """Return how a cluster is, with its groups as they were seen."""
    pods = await _list(spec, Pod, "scheduler")
    scheduler = read_pod(pods[0].raw) if pods else PodStatus("", "missing")
    return ClusterStatus(spec.name, kubernetes_of(spec).namespace, scheduler, tuple(groups.values()), notes)


async def logs_of(spec: ClusterSpec) -> dict[str, str]:
    """Return what each pod wrote, by the pod's name; of one that never ran, why not."""
    found = {}
    for pod in await _list(spec, Pod):
        read = read_pod(pod.raw)
        try:
            found[pod.name] = "\n".join([line async for line in pod.logs()])
        except kr8s.ServerError as error:
            found[pod.name] = f"({read.state}: {read.reason or error})"
    return found


async def delete(spec: ClusterSpec) -> list[str]:
    """Delete a cluster's objects, the last first; what the operator made goes with them. Return what was there.

    An object of that name that belongs to another cluster, such as a service account that both use, stays.
    """
    deleted = []
    for document in reversed(manifests(spec)):
        thing = await object_from_spec(document, allow_unknown_type=True)
        if await thing.exists():
            await thing.refresh()
            if thing.labels.get(CLUSTER_LABEL) == spec.name:
                await thing.delete()
                deleted.append(f"{document['kind']} {document['metadata']['name']}")
    return deleted


async def _list(spec: ClusterSpec, kind: Any, component: str | None = None) -> list[Any]:
    labels = f"{CLUSTER_LABEL}={spec.name}" + (f",dask.org/component={component}" if component else "")
    return [one async for one in kr8s.asyncio.get(kind, namespace=kubernetes_of(spec).namespace, label_selector=labels)]
