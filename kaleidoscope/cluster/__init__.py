"""Dask clusters by one call each. A specification is a pure function's dict; a thin shell starts it.

Nothing here runs by itself: work goes to a cluster once its ``.get_client()`` is active.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from kaleidoscope.cluster.kubernetes import kubernetes, kubernetes_from
from kaleidoscope.cluster.local import local, local_from
from kaleidoscope.cluster.spec import ClusterSpec, load_spec
from kaleidoscope.cluster.ssh import ssh, ssh_from

if TYPE_CHECKING:
    from kaleidoscope.cluster.groups import GroupCluster
    from kaleidoscope.cluster.kube_cluster import KubernetesCluster

__all__ = ["from_yaml", "kubernetes", "local", "ssh"]

_STARTERS: dict[str, Callable[[ClusterSpec], GroupCluster | KubernetesCluster]] = {
    "kubernetes": kubernetes_from,
    "local": local_from,
    "ssh": ssh_from,
}


def from_yaml(path: str | os.PathLike[str]) -> GroupCluster | KubernetesCluster:
    """Start the cluster of a file, which says of which kind it is, and which groups of workers it has.

    It starts with the least workers of each group, and follows the load up to the most.

    Parameters
    ----------
    path : str or path
        YAML or JSON of the form of ``docs/cluster.schema.json``, such as ::

            kind: ssh
            workers:
              cpu: {min: 1, max: 8}
              gpu: {min: 0, max: 1, resources: {GPU: 1}}
            ssh:
              hosts: [desk1, {host: desk2, workers: {cpu: 4, gpu: 1}}]

    Returns
    -------
    GroupCluster or KubernetesCluster
        Close it, or use it in a ``with``.

    Raises
    ------
    RecipeError
        With each thing that is wrong in the file: the line, the place, and what was expected there.
    ResourceError
        If the cluster cannot be started, with what to do.
    """
    spec = load_spec(path)
    return _STARTERS[spec.kind](spec)
