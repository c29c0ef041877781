"""What Dask starts a worker of a group with, and what it offers then. Pure functions, to be sent anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaleidoscope.cluster.scaling import Offer
from kaleidoscope.cluster.spec import WorkerGroup


def worker_options(group: WorkerGroup, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the arguments of a `distributed.Nanny` for a worker of a group.

    Parameters
    ----------
    group : WorkerGroup
        What it is to be.
    env : mapping, optional
        Environment variables besides those of the group.

    Examples
    --------
    >>> worker_options(WorkerGroup("gpu", threads=2, memory=2**30, resources={"GPU": 1}), {"CUDA_VISIBLE_DEVICES": "0"})
    {'nthreads': 2, 'memory_limit': 1073741824, 'resources': {'GPU': 1}, 'env': {'CUDA_VISIBLE_DEVICES': '0'}}
    """
    options: dict[str, Any] = {
        "nthreads": group.threads,
        "memory_limit": group.memory,
        "resources": dict(group.resources),
        "env": {**(env or {}), **group.env},
        "lifetime": group.lifetime,
        "lifetime_stagger": group.stagger,
    }
    if group.lifetime is not None:
        options["lifetime_restart"] = True
    return {name: value for name, value in options.items() if value not in (None, {})}


def offers_of(groups: Mapping[str, WorkerGroup]) -> dict[str, Offer]:
    """Return what a worker of each group brings."""
    return {name: Offer(group.threads, group.resources) for name, group in groups.items()}


def visible_devices(devices: tuple[str, ...], amount: float, slot: int) -> dict[str, str]:
    """Return the environment that shows a worker its GPUs.

    Parameters
    ----------
    devices : tuple of str
        The GPUs of the machine; with none, the worker only bears the label.
    amount : float
        How many GPUs it has.
    slot : int
        Its place among the machine's workers of that group, from 0. Beyond the last GPU they are shared.

    Examples
    --------
    >>> visible_devices(("0", "1", "2", "3"), 2, 1), visible_devices(("0",), 1, 3), visible_devices((), 1, 0)
    ({'CUDA_VISIBLE_DEVICES': '2,3'}, {'CUDA_VISIBLE_DEVICES': '0'}, {})
    """
    if not devices or not amount:
        return {}
    each = max(1, int(amount))
    mine = dict.fromkeys(devices[(slot * each + one) % len(devices)] for one in range(each))
    return {"CUDA_VISIBLE_DEVICES": ",".join(mine)}


def counts_and_bounds(groups: Mapping[str, WorkerGroup]) -> tuple[dict[str, int], dict[str, tuple[int, int]]]:
    """Return what a cluster of these groups starts with, and between which numbers it follows the load.

    >>> counts_and_bounds({"cpu": WorkerGroup("cpu", min=2, max=8), "gpu": WorkerGroup("gpu", min=1, max=1)})
    ({'cpu': 2, 'gpu': 1}, {'cpu': (2, 8)})
    """
    counts = {name: group.min for name, group in groups.items()}
    return counts, {name: (group.min, group.max) for name, group in groups.items() if group.max > group.min}
