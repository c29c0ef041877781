"""What is applied to Kubernetes for a cluster, as plain dicts: nothing else is, and no value of a secret is in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from kaleidoscope.cluster.confidential import instead, secret_values, shortened
from kaleidoscope.cluster.pods import kubernetes_of, scheduler_pod, worker_pod
from kaleidoscope.cluster.spec import ClusterSpec, WorkerGroup
from kaleidoscope.errors import RecipeError

API_VERSION = "kubernetes.dask.org/v1"
#: Whose an object is, as the operator marks its own.
CLUSTER_LABEL = "dask.org/cluster-name"
_MANAGED = {"app.kubernetes.io/managed-by": "kaleidoscope"}
#: A node that has the scheduler is not emptied for economy: the run would begin again.
_STAYS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}


def manifests(spec: ClusterSpec) -> list[dict[str, Any]]:
    """Return all objects of a cluster, in the order in which they are applied.

    Parameters
    ----------
    spec : ClusterSpec
        Of kind ``kubernetes``.

    Returns
    -------
    list of dict
        A ServiceAccount where one is to be made, the DaskCluster, and a DaskWorkerGroup for each group of workers.

    Raises
    ------
    RecipeError
        If it has no part that is about Kubernetes, a group asks for a part of a GPU, or the value of a secret is in it.

    Examples
    --------
    >>> from kaleidoscope.cluster.spec import Kubernetes
    >>> groups = {"cpu": WorkerGroup("cpu", min=1), "gpu": WorkerGroup("gpu", resources={"GPU": 1})}
    >>> spec = ClusterSpec("kubernetes", groups, name="photos", kubernetes=Kubernetes("me/kaleidoscope:1"))
    >>> [(one["kind"], one["metadata"]["name"]) for one in manifests(spec)]
    [('DaskCluster', 'photos'), ('DaskWorkerGroup', 'photos-cpu'), ('DaskWorkerGroup', 'photos-gpu')]
    """
    account = kubernetes_of(spec).service_account
    found = [
        *([_service_account(spec)] if account and account.create else []),
        cluster_manifest(spec),
        *(group_manifest(spec, group) for group in spec.workers.values()),
    ]
    if place := next(secret_values(found), None):  # a specification need not come from a file that was checked
        dotted = ".".join(shortened(str(part)) for part in place)
        raise RecipeError(f"{dotted} of the cluster {spec.name!r} {instead('kubernetes', place)}")
    return found


def as_yaml(documents: list[dict[str, Any]]) -> str:
    """Return manifests as the YAML that ``kubectl apply -f -`` takes."""
    texts = (yaml.safe_dump(one, sort_keys=False, width=120, default_flow_style=False) for one in documents)
    return "---\n".join(texts)


def cluster_manifest(spec: ClusterSpec) -> dict[str, Any]:
    """Return the DaskCluster.

    The group that the operator makes of it by itself has no workers: they are in the groups that have names.
    """
    place = kubernetes_of(spec)
    first = next(iter(spec.workers.values()))
    scheduler = {**place.annotations, **_STAYS, **place.scheduler.annotations}
    return {
        "apiVersion": API_VERSION,
        "kind": "DaskCluster",
        "metadata": _metadata(spec, spec.name, place.labels),
        "spec": {
            "idleTimeout": int(place.idle_timeout),
            "scheduler": {
                "metadata": {"labels": {**place.labels, **place.scheduler.labels}, "annotations": scheduler},
                "spec": scheduler_pod(spec),
                "service": _service(spec),
            },
            "worker": {**_workers(spec, first), "replicas": 0},
        },
    }


def group_manifest(spec: ClusterSpec, group: WorkerGroup) -> dict[str, Any]:
    """Return the DaskWorkerGroup of a group of workers."""
    return {
        "apiVersion": API_VERSION,
        "kind": "DaskWorkerGroup",
        "metadata": _metadata(spec, group_name(spec, group.name), kubernetes_of(spec).labels),
        "spec": {"cluster": spec.name, "worker": _workers(spec, group)},
    }


def group_name(spec: ClusterSpec, group: str) -> str:
    """Return what the DaskWorkerGroup of a group is called."""
    return f"{spec.name}-{group}"


def _workers(spec: ClusterSpec, group: WorkerGroup) -> dict[str, Any]:
    place = kubernetes_of(spec)
    labels, annotations = {**place.labels, **group.labels}, {**place.annotations, **group.annotations}
    return {
        "replicas": group.min,
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": worker_pod(spec, group),
    }


def _metadata(spec: ClusterSpec, name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    ours = {**_MANAGED, CLUSTER_LABEL: spec.name}
    return {"name": name, "namespace": kubernetes_of(spec).namespace, "labels": {**labels, **ours}}


def _service_account(spec: ClusterSpec) -> dict[str, Any]:
    place = kubernetes_of(spec)
    account = place.service_account
    assert account is not None  # noqa: S101 - for the type checker: `manifests` has looked
    metadata = _metadata(spec, account.name, place.labels)
    if account.annotations:
        metadata["annotations"] = dict(account.annotations)
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False}


def _service(spec: ClusterSpec) -> dict[str, Any]:
    """Return where the scheduler is found from inside: never a load balancer, which would face the internet."""
    ports = {"tcp-comm": 8786, "http-dashboard": 8787}
    return {
        "type": "ClusterIP",
        "selector": {CLUSTER_LABEL: spec.name, "dask.org/component": "scheduler"},
        "ports": [{"name": name, "protocol": "TCP", "port": port, "targetPort": name} for name, port in ports.items()],
    }
