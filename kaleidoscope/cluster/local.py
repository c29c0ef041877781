"""A cluster of processes on this machine, which nobody outside it can reach."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

from kaleidoscope.errors import RecipeError, ResourceError

if TYPE_CHECKING:
    from distributed import LocalCluster

LOOPBACK = "127.0.0.1"

#: What decides who can connect, and so is not for the caller to set.
_WHERE_TO_LISTEN = ("host", "ip", "interface", "dashboard_address", "worker_dashboard_address")


def local_spec(
    cores: int,
    workers: int | None = None,
    threads_per_worker: int | None = None,
    *,
    dashboard: bool = True,
    **kwargs: Any,
) -> dict[str, Any]:
    """Return the arguments of the `distributed.LocalCluster` that `local` starts.

    Parameters
    ----------
    cores : int
        Cores of this machine.
    workers, threads_per_worker, dashboard, **kwargs
        As `local` takes them.

    Returns
    -------
    dict
        Every address is on loopback.

    Raises
    ------
    RecipeError
        As `local` raises it.

    Examples
    --------
    >>> spec = local_spec(8, threads_per_worker=2)
    >>> spec["n_workers"], spec["threads_per_worker"], spec["host"]
    (4, 2, '127.0.0.1')
    """
    for name, value in (("workers", workers), ("threads_per_worker", threads_per_worker)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise RecipeError(f"ks.cluster.local({name}={value!r}): expected a whole number of at least 1")
    scheduler = dict(kwargs.pop("scheduler_kwargs", None) or {})
    for name in _WHERE_TO_LISTEN:
        if name in kwargs or name in scheduler:
            raise RecipeError(
                f"ks.cluster.local({name}=...): this cluster listens on {LOOPBACK} only; "
                "start a distributed.LocalCluster yourself to be reached from elsewhere"
            )
    if workers is None:
        workers = max(1, cores // (threads_per_worker or 1))
    any_port = f"{LOOPBACK}:0"
    return {
        # Not "inproc", Dask's choice for processes=False, which does not go with a host.
        "protocol": "tcp://",
        **kwargs,
        "n_workers": workers,
        "threads_per_worker": threads_per_worker or max(1, cores // workers),
        "host": LOOPBACK,
        "scheduler_port": 0,
        # Not None without a dashboard either: health and metrics are served all the same, from port 8787.
        "dashboard_address": any_port,
        # None: health and metrics on `host`, without the 0.3 s that the pages take to load in each worker.
        "worker_dashboard_address": any_port if dashboard else None,
        "scheduler_kwargs": {"dashboard": dashboard, **scheduler},
    }


def local(
    workers: int | None = None,
    threads_per_worker: int | None = None,
    *,
    dashboard: bool = True,
    **kwargs: Any,
) -> LocalCluster:
    """Start a cluster on this machine: by default one process of one thread on each core.

    Everything listens on 127.0.0.1 only, on free ports. In a script, call it under
    ``if __name__ == "__main__":``, because each worker process imports the script.

    Parameters
    ----------
    workers : int, optional
        Processes. By default as many as fill the cores.
    threads_per_worker : int, optional
        Tasks that each runs at a time. By default as many as fill the cores.
    dashboard : bool
        Serve Dask's dashboard; its address is the cluster's ``dashboard_link``.
    **kwargs
        Passed on to `distributed.LocalCluster`, e.g. ``memory_limit="2GiB"`` or ``resources={"GPU": 1}``.

    Returns
    -------
    distributed.LocalCluster
        Close it, or use it in a ``with``.

    Raises
    ------
    RecipeError
        If a number is below 1, or an argument would let it listen elsewhere.
    ResourceError
        In a script without that line.

    Examples
    --------
    >>> import kaleidoscope as ks
    >>> with ks.cluster.local(workers=2) as cluster, cluster.get_client() as client:  # doctest: +SKIP
    ...     report = views.write("augmented/").compute()
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ResourceError(
            "a worker of a cluster imports the script that starts it: put the lines that do so under "
            'if __name__ == "__main__":'
        )
    from dask.system import CPU_COUNT
    from distributed import LocalCluster

    from kaleidoscope.cluster.nanny import ImageNanny

    if kwargs.get("processes", True):
        kwargs.setdefault("worker_class", ImageNanny)
    return LocalCluster(**local_spec(CPU_COUNT, workers, threads_per_worker, dashboard=dashboard, **kwargs))
