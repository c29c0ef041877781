"""What Kubernetes is told of the pods of a cluster: pure functions from its specification to plain dicts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from kaleidoscope.cluster.spec import ClusterSpec, Kubernetes, SchedulerPod, WorkerGroup
from kaleidoscope.errors import RecipeError
from kaleidoscope.gpus import GPU

#: What a node calls its GPUs.
NODES_GPU = "nvidia.com/gpu"
#: A folder that can be written to, of the pod's own, in a container that otherwise cannot be.
SCRATCH = "/scratch"
#: Seconds from the order to end to the kill. A spot node of AWS is gone after two minutes.
GRACE = 110
#: Of a group that says nothing, for each core: what most machines that are for hire have.
MEMORY_PER_CPU = 4 * 2**30
#: As in `kaleidoscope.cluster.nanny`, and for the reasons there: here no nanny starts the worker, but Kubernetes.
MALLOC = {"MALLOC_TRIM_THRESHOLD_": str(64 * 2**20), "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20)}
#: Pods go for reasons of their own. Dask's three are soon used up by a task that did nothing to deserve it.
_PATIENCE = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "10"}
#: One of the image; no user of the node.
_USER = 1000
#: How clouds mark nodes that are taken away at short notice, by label; some taint them likewise.
_SPOT = {
    "cloud.google.com/gke-spot": "true",
    "eks.amazonaws.com/capacityType": "SPOT",
    "karpenter.sh/capacity-type": "spot",
    "kubernetes.azure.com/scalesetpriority": "spot",
}
_HOSTNAME = "kubernetes.io/hostname"


def worker_pod(spec: ClusterSpec, group: WorkerGroup) -> dict[str, Any]:
    """Return the specification of a worker's pod.

    Parameters
    ----------
    spec : ClusterSpec
        Of kind ``kubernetes``.
    group : WorkerGroup
        One of its groups.

    Raises
    ------
    RecipeError
        If it asks for a part of a GPU.
    """
    place = kubernetes_of(spec)
    memory = group.memory or int(group.cpus * MEMORY_PER_CPU)
    gpus = group.resources.get(GPU, 0)
    if gpus != int(gpus):
        raise RecipeError(f"workers.{group.name}.resources.GPU: Kubernetes gives whole GPUs; got {gpus}")
    amounts = _amounts(group.cpus, memory) | ({NODES_GPU: str(int(gpus))} if gpus else {})
    container = {
        **_container(place, "worker", group.image or place.image, amounts, {**MALLOC, **spec.env, **group.env}),
        "args": _worker_command(spec, group, memory),
        "ports": [_port("http-dashboard", 8788)],
        # Handed over before it ends: a node that is drained, or a spot node that is taken away, loses nothing then.
        "lifecycle": {"preStop": {"exec": {"command": ["python", "-m", "kaleidoscope.cluster.retire"]}}},
        "livenessProbe": _probe(periodSeconds=30, timeoutSeconds=10, failureThreshold=10),
    }
    tolerations = [*place.tolerations, *group.tolerations]
    if gpus:
        tolerations.append({"key": NODES_GPU, "operator": "Exists", "effect": "NoSchedule"})
    if group.spot:
        tolerations += [{"key": label, "operator": "Exists"} for label in _SPOT]
    pod = _pod(place, container, group, tolerations)
    pod["terminationGracePeriodSeconds"] = GRACE
    pod["affinity"] = {
        # The scheduler answers late on a node that is full of work; and a lost node takes few workers along.
        "podAntiAffinity": _prefer_apart(_pods_of(spec, "scheduler"), _pods_of(spec, "worker")),
        "nodeAffinity": _prefer_nodes("In" if group.spot else "NotIn"),
    }
    return _laid_over(pod, place.pod, group.pod)


def scheduler_pod(spec: ClusterSpec) -> dict[str, Any]:
    """Return the specification of the scheduler's pod, which keeps away from nodes that are taken away."""
    place = kubernetes_of(spec)
    scheduler = place.scheduler
    command = ["dask", "scheduler", "--host", "0.0.0.0"]  # noqa: S104 - of the pod, whose address is not known yet
    command += ["--port", "8786", "--dashboard-address", ":8787"]
    amounts = _amounts(scheduler.cpus, scheduler.memory)
    container = {
        **_container(place, "scheduler", place.image, amounts, {**_PATIENCE, **spec.env}),
        "args": command if spec.dashboard else [*command, "--no-dashboard"],
        "ports": [_port("tcp-comm", 8786), _port("http-dashboard", 8787)],
        "readinessProbe": _probe(periodSeconds=2, timeoutSeconds=10, failureThreshold=30),
        "livenessProbe": _probe(initialDelaySeconds=30, periodSeconds=30, timeoutSeconds=10, failureThreshold=10),
    }
    pod = _pod(place, container, scheduler, [*place.tolerations, *scheduler.tolerations])
    pod["affinity"] = {
        "podAntiAffinity": _prefer_apart(_pods_of(spec, "worker")),
        "nodeAffinity": _prefer_nodes("NotIn"),
    }
    return _laid_over(pod, place.pod, scheduler.pod)


def kubernetes_of(spec: ClusterSpec) -> Kubernetes:
    """Return the part of a specification that is about Kubernetes.

    Raises
    ------
    RecipeError
        If it has none.
    """
    if spec.kubernetes is None:
        raise RecipeError(f"the cluster {spec.name!r} has no part 'kubernetes', which says at least the image")
    return spec.kubernetes


def quantity(amount: float) -> str:
    """Return a number as Kubernetes' quantities are written: always a text.

    >>> quantity(2), quantity(0.5), quantity(8 * 2**30), quantity(10**9)
    ('2', '500m', '8Gi', '1000000000')
    """
    if amount != int(amount):
        return f"{math.ceil(amount * 1000)}m"
    for unit, size in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if amount >= size and amount % size == 0:
            return f"{int(amount) // size}{unit}"
    return str(int(amount))


def _worker_command(spec: ClusterSpec, group: WorkerGroup, memory: int) -> list[str]:
    command = ["dask", "worker", "--name", "$(DASK_WORKER_NAME)"]  # a worker is known by its deployment's name
    # Kubernetes starts a container again that ended: a second process to look after the first only costs memory.
    command += ["--no-nanny", "--nthreads", str(group.threads), "--memory-limit", str(memory)]
    command += ["--local-directory", SCRATCH, "--dashboard-address", ":8788", "--death-timeout", "300"]
    if not spec.dashboard:
        command.append("--no-dashboard")
    if group.resources:
        command += ["--resources", " ".join(f"{name}={amount:g}" for name, amount in group.resources.items())]
    if group.lifetime is not None:
        command += ["--lifetime", f"{group.lifetime:g}s", "--lifetime-stagger", f"{group.stagger or 0:g}s"]
    return command


def _amounts(cpus: float, memory: int) -> dict[str, str]:
    return {"cpu": quantity(cpus), "memory": quantity(memory)}


def _container(
    place: Kubernetes, name: str, image: str, amounts: Mapping[str, str], env: Mapping[str, str]
) -> dict[str, Any]:
    """Return what a scheduler's and a worker's container have in common."""
    variables: dict[str, Any] = {"HOME": SCRATCH, "TMPDIR": SCRATCH, **env}
    one_by_one = [secret for secret in place.secrets if secret.key is not None]
    whole = [secret.secret for secret in place.secrets if secret.key is None]
    return {
        "name": name,
        "image": image,
        **({"imagePullPolicy": place.image_pull_policy} if place.image_pull_policy else {}),
        "env": [
            *({"name": variable, "value": value} for variable, value in variables.items()),
            *(
                {"name": one.env, "valueFrom": {"secretKeyRef": {"name": one.secret, "key": one.key}}}
                for one in one_by_one
            ),
        ],
        **({"envFrom": [{"secretRef": {"name": one}} for one in whole]} if whole else {}),
        # The same: the last to be evicted, and libraries count the cores that they really have.
        "resources": {"requests": dict(amounts), "limits": dict(amounts)},
        "volumeMounts": [{"name": "scratch", "mountPath": SCRATCH}, {"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108 - shared memory, and the pod's own
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _pod(
    place: Kubernetes, container: dict[str, Any], own: WorkerGroup | SchedulerPod, tolerations: list[Any]
) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,  # nothing in it talks to Kubernetes; a cloud's own token is another one
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {}}, {"name": "shm", "emptyDir": {"medium": "Memory"}}],
    }
    if place.service_account:
        pod["serviceAccountName"] = place.service_account.name
    if place.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in place.image_pull_secrets]
    if nodes := {**place.node_selector, **own.node_selector}:
        pod["nodeSelector"] = nodes
    if tolerations:
        pod["tolerations"] = [dict(one) for one in tolerations]
    return pod


def _pods_of(spec: ClusterSpec, component: str) -> dict[str, str]:
    return {"dask.org/cluster-name": spec.name, "dask.org/component": component}


def _prefer_apart(*others: Mapping[str, str]) -> dict[str, Any]:
    return {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {
                "weight": 100 // (place + 1),
                "podAffinityTerm": {"labelSelector": {"matchLabels": dict(labels)}, "topologyKey": _HOSTNAME},
            }
            for place, labels in enumerate(others)
        ]
    }


def _prefer_nodes(operator: str) -> dict[str, Any]:
    """Prefer nodes that are, or are not, of the kind that is taken away."""
    return {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {
                "weight": 50,
                "preference": {"matchExpressions": [{"key": label, "operator": operator, "values": [value]}]},
            }
            for label, value in _SPOT.items()
        ]
    }


def _probe(**times: int) -> dict[str, Any]:
    return {"httpGet": {"port": "http-dashboard", "path": "/health"}, **times}


def _port(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def _laid_over(pod: dict[str, Any], *layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pod with a user's own fields laid over it: mappings are joined, anything else replaced."""
    for layer in layers:
        for name, value in layer.items():
            below = pod.get(name)
            joined = isinstance(value, Mapping) and isinstance(below, Mapping)
            pod = {**pod, name: _laid_over(dict(below), value) if joined else value}  # type: ignore[arg-type]
    return pod
