"""What the control plane does by itself: pods for deployments, and names for services."""

import copy
import json

from .selectors import at
from .store import DEPLOYMENTS, PODS, SERVICES


class Controllers:
    """Looks at everything there is, and makes it as it should be."""

    def __init__(self, store, names, block):
        self._store, self._names, self._written = store, names, None
        # The name of a service without pods is known, too, and whoever connects is refused.
        self._nobody = f"{block}.255.254"
        self.look()

    def look(self):
        """Make and delete pods of deployments, and write down where services are."""
        for (namespace, name), deployment in list(self._store.resources[DEPLOYMENTS].objects.items()):
            self._keep(namespace, name, deployment)
        self._write_names()

    def _keep(self, namespace, name, deployment):
        uid, wanted = deployment["metadata"]["uid"], deployment["spec"].get("replicas", 1)
        there = [
            pod
            for pod in self._store.list(PODS, namespace)
            if any(owner["uid"] == uid for owner in pod["metadata"].get("ownerReferences", ()))
            and not pod["metadata"].get("deletionTimestamp")
        ]
        there += [self._store.create(PODS, namespace, _pod_of(name, deployment)) for _ in range(wanted - len(there))]
        for pod in there[wanted:]:
            self._store.delete(PODS, namespace, pod["metadata"]["name"])
        ready = sum(map(is_ready, there[:wanted]))
        self._store.set_status(
            DEPLOYMENTS, namespace, name, replicas=wanted, readyReplicas=ready, availableReplicas=ready
        )

    def _write_names(self):
        found = {}
        for (namespace, name), service in self._store.resources[SERVICES].objects.items():
            chosen = ",".join(f"{key}={value}" for key, value in (service["spec"].get("selector") or {}).items())
            addresses = [at(pod, "status.podIP") for pod in self._store.list(PODS, namespace, chosen)]
            found[f"{name}.{namespace}"] = next(filter(None, addresses), self._nobody)
        if found != self._written:
            part = self._names.with_suffix(".part")
            part.write_text(json.dumps(found))
            part.replace(self._names)
            self._written = found


def is_ready(pod):
    """Say whether a pod takes requests."""
    conditions = at(pod, "status.conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _pod_of(name, deployment):
    template = copy.deepcopy(deployment["spec"]["template"])
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": deployment["metadata"]["uid"]}
    metadata = {
        "generateName": f"{name}-",
        "labels": template["metadata"].get("labels") or {},
        "annotations": template["metadata"].get("annotations") or {},
        "ownerReferences": [{**owner, "controller": True}],
    }
    return {"metadata": metadata, "spec": template["spec"]}
