"""Before tasks are sent: whether the cluster has what they need, and the same libraries as this process."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask.highlevelgraph import HighLevelGraph

from kaleidoscope.errors import RecipeError, ResourceError, did_you_mean
from kaleidoscope.following import default_client
from kaleidoscope.gpus import GPU
from kaleidoscope.resources import fits, offered_here, said

if TYPE_CHECKING:
    from distributed import Client

#: What pixels depend on, or what an object is pickled by: package, and whether another version ends it.
_COMPARED = {"kaleidoscope": True, "opencv-python": False, "numpy": False, "simplejpeg": False, "isal": False}

#: What ``device=`` may be.
DEVICES = ("cpu", "gpu", "auto")
#: Clients whose workers have been looked at: by id, with the workers there were.
_compared: dict[str, frozenset[str]] = {}


@dataclass(frozen=True, slots=True)
class Need:
    """What some tasks need of a worker.

    Parameters
    ----------
    resources : mapping of str to float
        As workers are labelled.
    who : str
        The ops, or what else asks for it.
    is_op : bool
        It is an op of a recipe. What a user annotates means nothing to the threads of this process; what an op
        needs, it needs there, too.
    """

    resources: Mapping[str, float]
    who: str
    is_op: bool = False


def needs_of(graph: object) -> Iterator[Need]:
    """Yield what the layers of a graph need."""
    for name, layer in graph.layers.items() if isinstance(graph, HighLevelGraph) else ():
        resources = (layer.annotations or {}).get("resources")
        if resources and not callable(resources):
            task = next(iter(layer.values()), None)
            ops = getattr(task[0] if isinstance(task, tuple) and task else None, "needed_by", "")
            yield Need(resources, ops or f"the step {name.rpartition('-')[0] or name}", bool(ops))


def before_sending(needs: Iterable[Need], client: Client | None) -> None:
    """Look at where tasks are about to go: see `check`, `check_anybody` and `compare_versions`."""
    if client is None:
        check(needs, None)
    elif not client.asynchronous:  # one that is cannot be asked in passing
        check_anybody(client)
        check(needs, client)
        compare_versions(client)


def check_anybody(client: Client) -> None:
    """Refuse a cluster without workers, present or to come; warn where those to come are not known.

    Raises
    ------
    ResourceError
        If the cluster, of a kind that knows its workers, has been asked for none.

    Warns
    -----
    UserWarning
        If there is no worker yet.
    """
    if client.scheduler_info(n_workers=1)["workers"] or could_offer(client.cluster):
        return
    if any(hasattr(client.cluster, name) for name in ("could_offer", "worker_spec")):
        raise ResourceError("the cluster has no worker, and was asked for none: have it start some by cluster.scale")
    warnings.warn("the cluster has no worker: what is sent waits until one comes", stacklevel=2)


def check(needs: Iterable[Need], client: Client | None) -> None:
    """Refuse what no worker can run: Dask would wait for one for ever.

    Parameters
    ----------
    needs : iterable of Need
        Of the tasks.
    client : distributed.Client or None
        Where the tasks would go; None for the threads of this process.

    Raises
    ------
    ResourceError
        Naming the op, the resource, what there is, and what to do.
    """
    wanted = [need for need in needs if client is not None or need.is_op]
    if not wanted:
        return
    offers = [offered_here()] if client is None else offers_of(client)
    for need in wanted:
        if offers and not any(fits(need.resources, offer) for offer in offers):
            raise ResourceError(_unmet(need.resources, need.who, offers, client))


def can_run(resources: Mapping[str, float], client: Client | None) -> bool:
    """Whether there is somebody to run what needs these resources, or may be soon."""
    return any(fits(resources, offer) for offer in ([offered_here()] if client is None else offers_of(client)))


def device_for(wanted: str) -> str:
    """Return the kind of device that work is planned for: what was asked for, or for ``auto`` what there is now.

    Raises
    ------
    RecipeError
        For another word.

    Warns
    -----
    UserWarning
        If there is no GPU for ``auto``.
    """
    if wanted not in DEVICES:
        hint = did_you_mean(wanted, DEVICES) if isinstance(wanted, str) else ""
        raise RecipeError(f"device: expected {', '.join(map(repr, DEVICES))}, got {wanted!r}.{hint}")
    if wanted != "auto":
        return wanted
    client = default_client()
    if can_run({GPU: 1}, client):
        return "gpu"
    who = "this process" if client is None else "the cluster"
    warnings.warn(f"device='auto': {who} has no GPU, so the CPU does it", stacklevel=3)
    return "cpu"


def offers_of(client: Client) -> list[dict[str, float]]:
    """Return what each worker of a cluster offers, and what it may start on its own; empty if nothing is known."""
    info = client.scheduler_info(n_workers=-1)["workers"].values()
    return [dict(worker["resources"]) for worker in info] + could_offer(client.cluster)


def could_offer(cluster: Any) -> list[dict[str, float]]:
    """Return what the workers would offer that a cluster has been asked for, or starts by itself when they are missed.

    Our own clusters say so by a method of this name.
    """
    own = getattr(cluster, "could_offer", None)
    if own is not None:
        return [dict(offer) for offer in own()]
    specs = list(getattr(cluster, "worker_spec", {}).values())
    adaptive = getattr(cluster, "_adaptive", None)
    if adaptive is not None and adaptive.maximum > 0:
        specs.append(getattr(cluster, "new_spec", None) or {})
    return [dict(spec.get("options", {}).get("resources") or {}) for spec in specs if spec]


def _unmet(resources: Mapping[str, float], who: str, offers: list[dict[str, float]], client: Client | None) -> str:
    if client is None:
        return (
            f"{who} needs {said(resources)}, and this process has {said(offers[0])}: connect to a cluster that has it, "
            "or say in Dask's configuration, by distributed.worker.resources, that it is here"
        )
    there = " or ".join(sorted({said(offer) for offer in offers}))
    known = sorted({name for offer in offers for name in offer})
    hint = "".join(did_you_mean(name, known) for name in resources if name not in known)
    return (
        f"{who} needs a worker with {said(resources)}, and no worker has it: they offer {there}.{hint} Start one by "
        f'`dask worker --resources "{said(resources)}"`, or with resources={dict(resources)!r} where the cluster is '
        "made"
    )


def compare_versions(client: Client) -> None:
    """Refuse a cluster with another Kaleidoscope than this process, and warn of what makes other pixels.

    Dask itself warns of its own libraries when a client connects. Asked once for the workers that are there.

    Raises
    ------
    ResourceError
        If the scheduler or a worker has none, or another one.

    Warns
    -----
    UserWarning
        If a library differs that pixels depend on.
    """
    workers = frozenset(client.scheduler_info(n_workers=-1)["workers"])
    if workers <= _compared.get(client.id, frozenset()) and client.id in _compared:
        return
    found: Any = client.get_versions(packages=list(_COMPARED))
    here = found["client"]["packages"]
    others = {"the scheduler": found["scheduler"], **{f"worker {name}": of for name, of in found["workers"].items()}}
    for name, ends in _COMPARED.items():
        differ = {who: of["packages"].get(name) for who, of in others.items() if of["packages"].get(name) != here[name]}
        if who := next(iter(differ), None):
            more = f" (and {len(differ) - 1} more)" if len(differ) > 1 else ""
            message = f"{who}{more} has {name} {differ[who] or '(none)'}, this process {here[name]}"
            if ends:
                raise ResourceError(f"{message}: install the same version everywhere")
            warnings.warn(f"{message}: what they make may differ in its bytes", stacklevel=2)
    _compared[client.id] = workers
