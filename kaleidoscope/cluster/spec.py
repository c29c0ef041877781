"""What a cluster is to be: named groups of workers, and where they run. Values only; nothing is started here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

from dask.utils import parse_bytes, parse_timedelta

from kaleidoscope.cluster.check import check
from kaleidoscope.cluster.destinations import settings_of
from kaleidoscope.errors import RecipeError
from kaleidoscope.plain_yaml import Place, read_plain

Kind = Literal["local", "ssh", "kubernetes"]


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """Workers that are alike, and scale apart from those of other groups.

    Parameters
    ----------
    name : str
        Lower case, such as ``cpu`` or ``gpu``; a DNS label.
    min, max : int
        Workers there always are, and at most.
    cpus : float
        Cores of one worker.
    threads : int
        Tasks that one worker runs at a time.
    memory : int, optional
        Bytes that one worker may take; without it, its share of the machine's.
    resources : mapping
        What Dask's annotations may ask it for, such as ``{"GPU": 1}``; also the number of GPUs it takes.
    env : mapping
        Environment variables of its processes. Never a secret's value.
    lifetime, stagger : float, optional
        Seconds after which a worker hands over what it holds and is replaced, give or take the second number.
    image : str, optional
        Kubernetes: its own container image; by default that of the cluster.
    node_selector, labels, annotations : mapping
        Kubernetes: of its pods, over those of the cluster.
    tolerations : tuple of mapping
        Kubernetes: as in a pod's specification, besides those of the cluster.
    spot : bool
        Kubernetes: may run on nodes that are taken away at short notice.
    pod : mapping
        Kubernetes: other fields of the pod's specification, laid over what is rendered.
    """

    name: str
    min: int = 0
    max: int = 1
    cpus: float = 1.0
    threads: int = 1
    memory: int | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    lifetime: float | None = None
    stagger: float | None = None
    image: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    spot: bool = False
    pod: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Host:
    """A machine that is reached by SSH.

    Parameters
    ----------
    host : str
        Name or address, as ``ssh`` would take it.
    workers : mapping of str to int, optional
        How many workers of each group it can hold; by default as many as it has cores and GPUs for.
    address : str, optional
        Address of its own on which its Dask processes listen; by default the one by which SSH reached it.
    user, port, key : optional
        As ``ssh -l``, ``-p`` and ``-i`` (a file's name); by default what ``~/.ssh/config`` says.
    python : str, optional
        The Python that has Kaleidoscope there; by default that of the cluster.
    folder : str, optional
        Where workers lay what does not fit into memory.
    threads, memory : int, optional
        Of each worker there, instead of its group's; tasks and bytes.
    """

    host: str
    workers: Mapping[str, int] | None = None
    address: str | None = None
    user: str | None = None
    port: int | None = None
    key: str | None = None
    python: str | None = None
    folder: str | None = None
    threads: int | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Ssh:
    """Machines that are reached by SSH.

    Parameters
    ----------
    hosts : tuple of Host
        In the order in which they are filled.
    scheduler : str, optional
        The host, one of `hosts` or another, where the scheduler runs; by default the first of `hosts`.
    scheduler_port : int
        Where it listens; 0 is any free port.
    known_hosts : str, optional
        A file of host keys; by default ``~/.ssh/known_hosts``.
    user, key, python : optional
        Of all hosts that do not have their own. `python` is by default what runs this, at the same path.
    tls : bool
        Whether Dask's parts talk by TLS, with keys made for this cluster alone and sent by SSH.
    """

    hosts: tuple[Host, ...] = ()
    scheduler: str | None = None
    scheduler_port: int = 0
    known_hosts: str | None = None
    user: str | None = None
    key: str | None = None
    python: str | None = None
    tls: bool = True


@dataclass(frozen=True, slots=True)
class SecretVariables:
    """Environment variables that Kubernetes takes from one of its Secrets; this knows their names only.

    Parameters
    ----------
    secret : str
        The name of the Secret.
    key : str, optional
        One key of it; without, all its keys become variables of their names.
    env : str, optional
        The variable, where it is one key.
    """

    secret: str
    key: str | None = None
    env: str | None = None


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Who the pods are to the cloud.

    Parameters
    ----------
    name : str
        Of the ServiceAccount.
    annotations : mapping
        Such as ``eks.amazonaws.com/role-arn``.
    create : bool
        Whether it is rendered with the cluster; otherwise it has to be there.
    """

    name: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    create: bool = True


@dataclass(frozen=True, slots=True)
class SchedulerPod:
    """The pod of the scheduler: `cpus` cores, `memory` bytes, and the rest as in `WorkerGroup`."""

    cpus: float = 1.0
    memory: int = 2 * 2**30
    node_selector: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    pod: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """Pods of a Kubernetes cluster.

    Parameters
    ----------
    image : str
        The container image of scheduler and workers.
    namespace : str
        Where everything is made.
    image_pull_secrets : tuple of str
        Names of Secrets.
    image_pull_policy : str, optional
        ``Always``, ``IfNotPresent`` or ``Never``; without it, Kubernetes' own rule.
    service_account : ServiceAccount, optional
        Without it, that of the namespace.
    secrets : tuple of SecretVariables
        Environment variables of scheduler and workers.
    node_selector, labels, annotations, tolerations, pod
        Of all pods, as in `WorkerGroup`.
    scheduler : SchedulerPod
        What the scheduler's has of its own.
    idle_timeout : float
        Seconds without a task after which the operator deletes the cluster, whoever made it; 0 is never.
    pending_timeout : float
        Seconds after which a worker is given up, for as long again, that found no node.
    """

    image: str
    namespace: str = "default"
    image_pull_secrets: tuple[str, ...] = ()
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    service_account: ServiceAccount | None = None
    secrets: tuple[SecretVariables, ...] = ()
    node_selector: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    pod: Mapping[str, Any] = field(default_factory=dict)
    scheduler: SchedulerPod = field(default_factory=SchedulerPod)
    idle_timeout: float = 3600.0
    pending_timeout: float = 900.0


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """A whole cluster, as its file has it. The parts of other kinds may be there too: one file, another `kind`.

    Parameters
    ----------
    kind : str
        ``local``, ``ssh`` or ``kubernetes``.
    name : str
        Of the cluster; a DNS label.
    workers : mapping of str to WorkerGroup
        At least one, by name, in the order of the file.
    env : mapping
        Environment variables of scheduler and workers. Never a secret's value.
    dashboard : bool
        Whether the scheduler serves Dask's pages.
    ssh, kubernetes : optional
        Where it runs; the one of `kind` is there.
    """

    kind: Kind
    workers: Mapping[str, WorkerGroup]
    name: str = "kaleidoscope"
    env: Mapping[str, str] = field(default_factory=dict)
    dashboard: bool = True
    ssh: Ssh | None = None
    kubernetes: Kubernetes | None = None


def load_spec(path: str | os.PathLike[str]) -> ClusterSpec:
    """Read a cluster's file, YAML or JSON.

    Raises
    ------
    RecipeError
        With the file, the line and the place in it, and what was expected there.
    """
    content, lines = read_plain(path, "the cluster's file")
    return spec_from(content, os.fspath(path), lines)


def spec_from(content: Any, name: str, lines: Mapping[Place, int] | None = None) -> ClusterSpec:
    """Return what a file says, from its plain values.

    Parameters
    ----------
    content : object
        Of the form of ``docs/cluster.schema.json``.
    name : str
        Where it comes from, for errors.
    lines : mapping, optional
        The line of each place in it, if it comes from a file.

    Raises
    ------
    RecipeError
        As `load_spec` raises it.

    Examples
    --------
    >>> spec_from({"kind": "local", "workers": {"cpu": {"max": 4, "memory": "2GiB"}}}, "here").workers["cpu"].memory
    2147483648
    """
    check(content, name, lines or {})
    groups = {name: _group(name, given or {}) for name, given in content["workers"].items()}
    return ClusterSpec(
        kind=content["kind"],
        workers=groups,
        **_given(content, "name", "env", "dashboard"),
        ssh=_ssh(content["ssh"]) if "ssh" in content else None,
        kubernetes=_kubernetes(content["kubernetes"]) if "kubernetes" in content else None,
    )


_Made = TypeVar("_Made", WorkerGroup, Host, Ssh, SecretVariables, ServiceAccount, SchedulerPod, Kubernetes)


def _given(content: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: content[name] for name in names if name in content}


def _make(kind: type[_Made], content: Mapping[str, Any], **read: Any) -> _Made:
    """Fill in the fields that the file has, bytes and seconds as numbers, lists as tuples; `read` overrules."""
    found = _given(content, *(one.name for one in fields(kind)))
    for name, value in found.items():
        if name == "memory":
            found[name] = parse_bytes(value)
        elif name in {"lifetime", "stagger", "idle_timeout", "pending_timeout"}:
            found[name] = float(parse_timedelta(value))
        elif isinstance(value, list):
            found[name] = tuple(value)
    return kind(**{**found, **read})


def _group(name: str, content: Mapping[str, Any]) -> WorkerGroup:
    cpus = float(content.get("cpus", 1))
    return _make(
        WorkerGroup,
        content,
        name=name,
        cpus=cpus,
        threads=content.get("threads", max(1, int(cpus))),
        max=content.get("max", max(1, content.get("min", 0))),
    )


def _ssh(content: Mapping[str, Any]) -> Ssh:
    return _make(Ssh, content, hosts=tuple(map(as_host, content["hosts"])))


def as_host(given: str | Mapping[str, Any]) -> Host:
    """Return a host from its name, with or without user and port, or from what a file says of it.

    Raises
    ------
    RecipeError
        If its text is not that of a host.

    Examples
    --------
    >>> as_host({"host": "desk2", "memory": "2GiB"}).memory
    2147483648
    >>> as_host("anna@desk1:2222") == Host("desk1", user="anna", port=2222)
    True
    """
    try:
        return _make(Host, settings_of(given))
    except ValueError as error:
        raise RecipeError(f"a host: {error}") from None


def _kubernetes(content: Mapping[str, Any]) -> Kubernetes:
    account, scheduler = content.get("service_account"), content.get("scheduler", {})
    return _make(
        Kubernetes,
        content,
        service_account=None if account is None else _make(ServiceAccount, account),
        secrets=tuple(_secret(one) for one in content.get("secrets", ())),
        scheduler=_make(SchedulerPod, scheduler),
    )


def _secret(given: str | Mapping[str, Any]) -> SecretVariables:
    return SecretVariables(given) if isinstance(given, str) else _make(SecretVariables, given)
