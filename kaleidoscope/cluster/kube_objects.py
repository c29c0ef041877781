"""A cluster's objects in Kubernetes, as they are: read and deleted, whoever made them."""

from __future__ import annotations

from typing import Any

import kr8s
from kr8s.objects import APIObject, object_from_spec

from kaleidoscope.cluster.manifests import group_name, manifests
from kaleidoscope.cluster.observed import WORKER_LABEL, ClusterStatus, PodStatus, read_groups, read_pod
from kaleidoscope.cluster.pods import kubernetes_of
from kaleidoscope.cluster.spec import ClusterSpec

_GROUPS = "daskworkergroups.kubernetes.dask.org"


def read_status(spec: ClusterSpec) -> ClusterStatus:
    """Return how a cluster is."""
    ours = f"dask.org/cluster-name={spec.name}"
    names = {group: group_name(spec, group) for group in spec.workers}
    workers = f"{ours},{WORKER_LABEL}"
    groups = read_groups(
        names, _list(spec, _GROUPS, ours), _list(spec, "deployments", workers), _list(spec, "pods", workers)
    )
    pods = _list(spec, "pods", f"{ours},dask.org/component=scheduler")
    scheduler = read_pod(pods[0]) if pods else PodStatus("", "missing")
    return ClusterStatus(spec.name, kubernetes_of(spec).namespace, scheduler, tuple(groups.values()))


def read_logs(spec: ClusterSpec) -> dict[str, str]:
    """Return what each pod wrote, by the pod's name; of one that never ran, why not."""
    found = {}
    labels = f"dask.org/cluster-name={spec.name}"
    for pod in kr8s.get("pods", namespace=kubernetes_of(spec).namespace, label_selector=labels):
        read = read_pod(pod.raw)
        try:
            found[pod.name] = "\n".join(pod.logs())
        except kr8s.ServerError as error:
            found[pod.name] = f"({read.state}: {read.reason or error})"
    return found


def delete(spec: ClusterSpec) -> list[str]:
    """Delete a cluster's objects, the last first; what the operator made goes with them. Return what was there."""
    deleted = []
    for document in reversed(manifests(spec)):
        found: APIObject = object_from_spec(document, allow_unknown_type=True)
        if found.exists():
            found.delete()
            deleted.append(f"{document['kind']} {document['metadata']['name']}")
    return deleted


def _list(spec: ClusterSpec, kind: str, labels: str) -> list[Any]:
    found = kr8s.get(kind, namespace=kubernetes_of(spec).namespace, label_selector=labels)
    return [one.raw for one in found]
