"""A cluster of processes on this machine, which nobody outside it can reach."""

from __future__ import annotations

import inspect
import multiprocessing
import sys
from collections.abc import Mapping
from multiprocessing.spawn import get_preparation_data
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask.utils import parse_bytes

from kaleidoscope.cluster.spec import ClusterSpec, WorkerGroup
from kaleidoscope.cluster.workers import counts_and_bounds
from kaleidoscope.errors import RecipeError, ResourceError, did_you_mean
from kaleidoscope.gpus import GPU, devices
from kaleidoscope.resources import are_resources

if TYPE_CHECKING:
    from kaleidoscope.cluster.machine import MachineCluster

LOOPBACK = "127.0.0.1"

#: What decides who can connect, and so is not for the caller to set.
_WHERE_TO_LISTEN = ("host", "ip", "interface", "scheduler_port", "dashboard_address", "worker_dashboard_address")
#: What others call what we take: Dask, and a cluster's file.
_OTHER_NAMES = {
    "n_workers": "workers",
    "nthreads": "threads_per_worker",
    "threads": "threads_per_worker",
    "memory": "memory_limit",
}
#: What Dask would take, and is given by us.
_GIVEN_BY_US = {"n_workers", "nthreads", "scheduler_ip", "scheduler_file", "nanny", "handlers", "stream_handlers"}


def local_spec(
    cores: int,
    workers: int | None = None,
    threads_per_worker: int | None = None,
    *,
    gpus: int = 0,
    dashboard: bool = True,
    **kwargs: Any,
) -> dict[str, Any]:
    """Return the arguments of the cluster that `local` starts.

    Parameters
    ----------
    cores : int
        Cores of this machine.
    gpus : int
        Workers labelled ``GPU``. Each takes a core from the others, unless their number is given.
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
    >>> spec = local_spec(8, threads_per_worker=2, gpus=2)
    >>> spec["counts"], spec["groups"]["cpu"].threads, spec["groups"]["gpu"].resources
    ({'cpu': 3, 'gpu': 2}, 2, {'GPU': 1})
    """
    for name, value, least in (
        ("workers", workers, 1),
        ("threads_per_worker", threads_per_worker, 1),
        ("gpus", gpus, 0),
    ):
        if value is not None and (type(value) is not int or value < least):
            raise RecipeError(f"ks.cluster.local({name}={value!r}): expected a whole number of at least {least}")
    _check_names(kwargs)
    _check_values(kwargs)
    if workers is None:
        workers = max(1, (cores - gpus) // (threads_per_worker or 1))
    threads = threads_per_worker or max(1, cores // workers)
    groups = {"cpu": WorkerGroup("cpu", min=workers, max=workers, cpus=threads, threads=threads)}
    if gpus:
        if not kwargs.get("processes", True):
            raise RecipeError(
                "ks.cluster.local(gpus=..., processes=False): a worker with a GPU is a process of its own"
            )
        groups["gpu"] = WorkerGroup("gpu", min=gpus, max=gpus, resources={GPU: 1})
    return _spec(groups, dashboard=dashboard, **kwargs)


def _check_names(kwargs: Mapping[str, Any]) -> None:
    """Refuse what nobody takes, before a worker does, in a process of its own and with its own words."""
    from distributed import LocalCluster, Nanny, Worker
    from distributed.core import Server

    processes = kwargs.get("processes", True)
    takers = [LocalCluster, Worker, Server, *([Nanny] if processes else [])]
    parameters = [one for taker in takers for one in inspect.signature(taker).parameters.values()]
    known = {one.name for one in parameters if one.kind is not one.VAR_KEYWORD} - _GIVEN_BY_US
    ours = ("workers", "threads_per_worker", "gpus", "dashboard")
    # A class of the caller's own may take what ours do not.
    unknown = kwargs.keys() & _GIVEN_BY_US if "worker_class" in kwargs else kwargs.keys() - known
    for name in sorted(unknown):
        where = "" if processes else " with processes=False"
        meant = _OTHER_NAMES.get(name)
        hint = f" Did you mean {meant!r}?" if meant else did_you_mean(name, {*ours, *known})
        raise RecipeError(
            f"ks.cluster.local({name}=...): there is no such argument{where}.{hint} It takes {', '.join(ours)}, and "
            "what distributed.LocalCluster and a worker take"
        )


def _check_values(kwargs: Mapping[str, Any]) -> None:
    """Refuse values that Dask would fail on only once the cluster is half there."""
    for name, right, expected in (
        ("resources", are_resources, "names with amounts, such as {'GPU': 1}"),
        ("env", _is_mapping, "a mapping, such as {'NAME': 'value'}"),
        ("scheduler_kwargs", _is_mapping, "a mapping, such as {'idle_timeout': '1h'}"),
        ("memory_limit", _is_memory, "bytes such as '2GiB', a share of the machine's such as 0.5, or 'auto'"),
    ):
        value = kwargs.get(name)
        if value is not None and not right(value):
            raise RecipeError(f"ks.cluster.local({name}={value!r}): expected {expected}")


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_memory(value: Any) -> bool:
    try:
        return value == "auto" or parse_bytes(value) >= 0
    except (ValueError, TypeError, AttributeError):
        return False


def _spec(groups: dict[str, WorkerGroup], *, dashboard: bool, **kwargs: Any) -> dict[str, Any]:
    """Return the arguments for a cluster of groups, on loopback; memory is shared by all that there may be."""
    scheduler = dict(kwargs.pop("scheduler_kwargs", None) or {})
    for name in _WHERE_TO_LISTEN:
        if name in kwargs or name in scheduler:
            raise RecipeError(
                f"ks.cluster.local({name}=...): this cluster listens on free ports of {LOOPBACK} only; "
                "start a distributed.LocalCluster yourself to be reached from elsewhere"
            )
    counts, bounds = counts_and_bounds(groups)
    any_port = f"{LOOPBACK}:0"
    return {
        # Not "inproc", Dask's choice for processes=False, which does not go with a host.
        "protocol": "tcp://",
        "memory_limit": 1 / sum(group.max for group in groups.values()),
        **kwargs,
        "groups": groups,
        "counts": counts,
        "follow": bounds,
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
    gpus: int | None = None,
    dashboard: bool = True,
    **kwargs: Any,
) -> MachineCluster:
    """Start a cluster on this machine: by default one process of one thread on each core, and one for each GPU.

    A worker with a GPU is labelled ``GPU: 1``, and sees no other (``CUDA_VISIBLE_DEVICES``). Everything listens on
    127.0.0.1 only, on free ports. In a script, call it under ``if __name__ == "__main__":``, because each worker
    process imports the script.

    Parameters
    ----------
    workers : int, optional
        Processes, besides those with a GPU. By default as many as fill the cores.
    threads_per_worker : int, optional
        Tasks that each of them runs at a time. By default as many as fill the cores.
    gpus : int, optional
        Workers labelled ``GPU``. By default as many as this machine has GPUs; where it has none, ``gpus=1`` tries out
        on the CPU what is to run on one.
    dashboard : bool
        Serve Dask's dashboard; its address is the cluster's ``dashboard_link``.
    **kwargs
        Passed on to `distributed.LocalCluster`, and by it to the workers, e.g. ``memory_limit="2GiB"``.

    Returns
    -------
    MachineCluster
        A `distributed.LocalCluster` of the groups ``cpu`` and, with GPUs, ``gpu``: ``scale(cpu=8)`` and
        ``adapt(cpu=(1, 8))`` change one of them. Close it, or use it in a ``with``.

    Raises
    ------
    RecipeError
        If a number is too small, an argument is unknown or not what it should be, or would let it listen elsewhere.
    ResourceError
        In a script without that line, or that is no file; or if no worker can be started, with its reason.

    Examples
    --------
    >>> import kaleidoscope as ks
    >>> with ks.cluster.local(workers=2) as cluster, cluster.get_client() as client:  # doctest: +SKIP
    ...     report = views.write("augmented/").compute()
    """
    from dask.system import CPU_COUNT

    found = devices() if kwargs.get("processes", True) else ()
    wanted = len(found) if gpus is None else gpus
    return _start(local_spec(CPU_COUNT, workers, threads_per_worker, gpus=wanted, dashboard=dashboard, **kwargs), found)


def local_from(spec: ClusterSpec) -> MachineCluster:
    """Start the cluster of a file on this machine: the least workers of each group, following the load from there.

    What a file says of other kinds of clusters has no meaning here: images, nodes, hosts.
    """
    env = {"env": dict(spec.env)} if spec.env else {}
    return _start(_spec(dict(spec.workers), dashboard=spec.dashboard, name=spec.name, **env), devices())


def _start(spec: dict[str, Any], found: tuple[str, ...]) -> MachineCluster:
    _refuse_within_a_worker()
    from kaleidoscope.cluster.machine import MachineCluster
    from kaleidoscope.cluster.nanny import ImageNanny

    if spec.get("processes", True):
        spec.setdefault("worker_class", ImageNanny)
        _refuse_a_script_that_is_no_file()
    try:
        return MachineCluster(**spec, devices=found)
    except RuntimeError as error:  # Dask says only that a nanny failed to start
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, ResourceError):
            raise cause.with_traceback(None) from None
        why = "" if str(cause) in str(error) else f" {type(cause).__name__}: {cause}"
        raise ResourceError(f"the cluster did not start: {error}{why}") from error


def _refuse_within_a_worker() -> None:
    """Refuse to start a cluster in a process that imports the script before it does what it was begun for."""
    process = multiprocessing.current_process()
    if not getattr(process, "_inheriting", False):
        return
    from kaleidoscope.cluster.nanny import GUARD, STARTED_BY_ITS_SCRIPT

    if process.name.startswith("Dask Worker process"):
        # One line each, and a code that the nanny knows: raised here, a traceback of each worker would stand above
        # that of the script, which is the one to be read.
        sys.stderr.write(f"kaleidoscope: {GUARD}\n")
        sys.exit(STARTED_BY_ITS_SCRIPT)
    raise ResourceError(GUARD)


def _refuse_a_script_that_is_no_file() -> None:
    """Refuse a script from standard input, which no worker can import."""
    import dask.config

    if dask.config.get("distributed.worker.multiprocessing-method") == "fork":
        return
    path = get_preparation_data("worker").get("init_main_from_path")
    if path is not None and not Path(path).exists():
        raise ResourceError(
            f"a worker of a cluster imports the script that starts it, and there is no file {Path(path).name!r}: save "
            'it as one, with the lines that start the cluster under if __name__ == "__main__":, or give '
            "ks.cluster.local(processes=False)"
        )
