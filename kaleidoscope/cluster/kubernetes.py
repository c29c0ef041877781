"""Clusters of pods: by arguments, or from a specification."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dask.utils import parse_timedelta

from kaleidoscope.cluster.pods import kubernetes_of
from kaleidoscope.cluster.spec import ClusterSpec, spec_from
from kaleidoscope.errors import ResourceError

if TYPE_CHECKING:
    from kaleidoscope.cluster.kube_cluster import KubernetesCluster
    from kaleidoscope.cluster.observed import ClusterStatus

_OPERATOR = (
    "helm install dask dask-kubernetes-operator --repo https://helm.dask.org -n dask-operator --create-namespace"
)


def kubernetes(
    image: str,
    workers: Mapping[str, Mapping[str, Any] | None] | None = None,
    *,
    name: str = "kaleidoscope",
    env: Mapping[str, str] | None = None,
    dashboard: bool = True,
    port_forward: bool | None = None,
    timeout: str | float = "5 minutes",
    **place: Any,
) -> KubernetesCluster:
    """Start a cluster of pods, with groups of workers that follow the load.

    It is reached by the current context of the kubeconfig, or from a pod by its service account. Dask's operator has to
    be installed there, which is done once; docs/kubernetes.md has it all.

    Parameters
    ----------
    image : str
        The container image of scheduler and workers.
    workers : mapping, optional
        Groups by name, as in a cluster's file: ``{"cpu": {"min": 1, "max": 20, "cpus": 4}, "gpu": {...}}``. By default
        one of up to ten workers, of one core each.
    name : str
        Of the cluster; one of that name that is there already is used, and stays.
    env : mapping, optional
        Environment variables. No secrets: name those in `secrets`.
    dashboard : bool
        Serve Dask's pages.
    port_forward : bool, optional
        Reach the scheduler through Kubernetes' API; by default wherever this is no pod itself.
    timeout : str or number
        How long the scheduler may take to run; seconds, or with a unit.
    **place
        What else a cluster's file has under ``kubernetes``: ``namespace="augment"``, ``secrets=["s3"]``, ...

    Returns
    -------
    KubernetesCluster
        Close it, or use it in a ``with``: that deletes it, if this made it.

    Raises
    ------
    RecipeError
        If a value makes no sense, with its place.
    ResourceError
        If dask-kubernetes is not installed, Kubernetes cannot be reached, or the scheduler does not run in time; with
        what it waits for.

    Examples
    --------
    >>> import kaleidoscope as ks
    >>> groups = {"cpu": {"max": 20, "cpus": 4}, "gpu": {"max": 4, "resources": {"GPU": 1}}}
    >>> with ks.cluster.kubernetes("me/kaleidoscope:1", groups) as cluster, cluster.get_client():  # doctest: +SKIP
    ...     report = views.write("s3://bucket/augmented/").compute()
    """
    content = {
        "kind": "kubernetes",
        "name": name,
        "workers": workers or {"cpu": {"max": 10}},
        "env": dict(env or {}),
        "dashboard": dashboard,
        "kubernetes": {"image": image, **place},
    }
    return kubernetes_from(spec_from(content, "ks.cluster.kubernetes"), port_forward=port_forward, timeout=timeout)


def kubernetes_from(
    spec: ClusterSpec,
    *,
    port_forward: bool | None = None,
    timeout: str | float = "5 minutes",
    keep: bool = False,
    follow: bool = True,
) -> KubernetesCluster:
    """Start the cluster of a specification, or use it where it is there already.

    Parameters
    ----------
    spec : ClusterSpec
        Of kind ``kubernetes``.
    port_forward, timeout
        As `kubernetes` takes them.
    keep : bool
        Leave it there when it is closed here.
    follow : bool
        Follow the load from here.

    Raises
    ------
    ResourceError
        As `kubernetes` raises it.
    """
    kubernetes_of(spec)
    with _in_our_words():
        from kaleidoscope.cluster.kube_cluster import KubernetesCluster

        return KubernetesCluster(
            spec,
            timeout=float(parse_timedelta(timeout)),
            follow=follow,
            port_forward_cluster_ip=_is_outside() if port_forward is None else port_forward,
            shutdown_on_close=False if keep else None,
        )


def kubernetes_status(spec: ClusterSpec) -> ClusterStatus:
    """Return how the cluster of a specification is, without connecting to its scheduler."""
    with _in_our_words():
        from kaleidoscope.cluster.kube_objects import groups_of, status_of

        async def look() -> ClusterStatus:
            return await status_of(spec, await groups_of(spec))

        return asyncio.run(look())


def kubernetes_logs(spec: ClusterSpec) -> dict[str, str]:
    """Return what each pod of the cluster wrote, by the pod's name."""
    with _in_our_words():
        from kaleidoscope.cluster.kube_objects import logs_of

        return asyncio.run(logs_of(spec))


def delete_kubernetes(spec: ClusterSpec) -> list[str]:
    """Delete all objects of the cluster of a specification; return what was there."""
    with _in_our_words():
        from kaleidoscope.cluster.kube_objects import delete

        return asyncio.run(delete(spec))


def _is_outside() -> bool:
    """Say whether this process is no pod."""
    return "KUBERNETES_SERVICE_HOST" not in os.environ


@contextmanager
def _in_our_words() -> Iterator[None]:
    """Turn what Kubernetes' clients raise into errors of ours."""
    try:
        import httpx
        import kr8s
    except ModuleNotFoundError as error:
        raise ResourceError(
            f"Kubernetes needs {error.name}, which is not installed: pip install 'kaleidoscope[kubernetes]'"
        ) from None
    try:
        yield
    except kr8s.ServerError as error:
        raise ResourceError(f"Kubernetes refused: {error}") from None
    except (httpx.HTTPError, kr8s.APITimeoutError, kr8s.ConnectionClosedError, ValueError, OSError) as error:
        if isinstance(error, ResourceError):
            raise
        raise ResourceError(f"Kubernetes cannot be reached by the kubeconfig or service account: {error}") from None
    except RuntimeError as error:
        if "Custom Resource Definitions" not in str(error):
            raise
        raise ResourceError(
            f"Kubernetes does not know Dask's clusters. Install the operator, once: {_OPERATOR}"
        ) from None
