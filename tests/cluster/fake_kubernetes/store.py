"""The objects of the cluster: their versions, who watches them, and who goes with whom."""

import asyncio
import copy
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

from .schemas import Custom, errors_of_builtin
from .selectors import at, fields_match, labels_match

# Group and version, plural, kind, whether in a namespace, short names.
BUILT_IN = [
    ("v1", "namespaces", "Namespace", False, ["ns"]),
    ("v1", "nodes", "Node", False, ["no"]),
    ("v1", "pods", "Pod", True, ["po"]),
    ("v1", "services", "Service", True, ["svc"]),
    ("v1", "secrets", "Secret", True, []),
    ("v1", "serviceaccounts", "ServiceAccount", True, ["sa"]),
    ("v1", "events", "Event", True, ["ev"]),
    ("apps/v1", "deployments", "Deployment", True, ["deploy"]),
    ("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", True, ["netpol"]),
    ("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", True, ["pdb"]),
    ("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", False, ["crd"]),
]
PODS = ("v1", "pods")
SERVICES = ("v1", "services")
NODES = ("v1", "nodes")
SECRETS = ("v1", "secrets")
DEPLOYMENTS = ("apps/v1", "deployments")
DEFINITIONS = ("apiextensions.k8s.io/v1", "customresourcedefinitions")
#: Checked where they are made. Events come from the operator, pods from deployments that were checked.
_CHECKED = {"services", "deployments", "serviceaccounts", "networkpolicies", "poddisruptionbudgets"}


class Refusal(Exception):  # noqa: N818 - what the API answers, not what went wrong here
    """What the API says no with: a code of HTTP, a reason and a message."""

    def __init__(self, code, reason, message):
        super().__init__(message)
        self.code, self.reason = code, reason

    @property
    def body(self):
        """The answer, as Kubernetes puts it."""
        answer = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        return answer | {"message": str(self), "reason": self.reason, "code": self.code}


@dataclass
class Resource:
    """One kind of object: what discovery says of it, all that there are, what happened to them, who is told."""

    group: str
    plural: str
    kind: str
    namespaced: bool
    short: list
    singular: str
    parts: tuple = ("status",)
    schema: Custom | None = None
    replicas_path: str = "spec.replicas"
    objects: dict = field(default_factory=dict)
    events: list = field(default_factory=list)
    watchers: list = field(default_factory=list)


def now():
    """Return the time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """All objects. Whatever changes one gets a new version and an event."""

    def __init__(self):
        self.version = 100
        self.resources = {}
        for group, plural, kind, namespaced, short in BUILT_IN:
            self.resources[group, plural] = Resource(group, plural, kind, namespaced, short, kind.lower())

    def define(self, definition):
        """Take a CustomResourceDefinition in."""
        spec, names = definition["spec"], definition["spec"]["names"]
        (version,) = spec["versions"]
        group = f"{spec['group']}/{version['name']}"
        parts = version.get("subresources") or {}
        self.resources[group, names["plural"]] = Resource(
            group,
            names["plural"],
            names["kind"],
            spec["scope"] == "Namespaced",
            names.get("shortNames", []),
            names["singular"],
            tuple(parts),
            Custom(definition),
            at(parts, "scale.specReplicasPath", ".spec.replicas").lstrip("."),
        )
        # Without its schema: hundreds of kilobytes in every answer otherwise.
        open_to_all = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        short = {**definition, "spec": {**spec, "versions": [{**version, "schema": open_to_all}]}}
        self.create(DEFINITIONS, None, short)

    def get(self, key, namespace, name):
        """Return one object; it is not to be changed."""
        try:
            return self.resources[key].objects[namespace, name]
        except KeyError:
            raise Refusal(404, "NotFound", f'{key[1]} "{name}" not found') from None

    def find(self, key, namespace, name):
        """Return one object, or None."""
        return self.resources[key].objects.get((namespace, name))

    def list(self, key, namespace=None, labels=None, fields=None):
        """Return the objects that selectors choose."""
        return [
            one
            for (where, _), one in self.resources[key].objects.items()
            if namespace in (None, where)
            and labels_match(labels, one["metadata"].get("labels") or {})
            and fields_match(fields, one)
        ]

    def create(self, key, namespace, given):
        """Take a new object in."""
        resource, new = self.resources[key], copy.deepcopy(given)
        metadata = new.setdefault("metadata", {})
        if resource.namespaced:
            metadata["namespace"] = namespace
        if not metadata.get("name"):
            metadata["name"] = metadata.get("generateName", "x-") + uuid.uuid4().hex[:5]
        name = metadata["name"]
        if (namespace, name) in resource.objects:
            raise Refusal(409, "AlreadyExists", f'{key[1]} "{name}" already exists')
        new = {"apiVersion": key[0], "kind": resource.kind, **new}
        self._check(resource, new)
        metadata.update(uid=str(uuid.uuid4()), creationTimestamp=now(), generation=1)
        new["metadata"] = metadata
        if key == PODS:
            new["status"] = {"phase": "Pending"}
            new["spec"].setdefault("restartPolicy", "Always")
        elif key == SERVICES:
            new["status"] = {"loadBalancer": {}}
            new["spec"].setdefault("type", "ClusterIP")
        self._put(resource, namespace, new, "ADDED")
        return new

    def update(self, key, namespace, name, given, part=None):
        """Change an object: all but its status, or with ``part="status"`` that alone."""
        resource, old = self.resources[key], self.get(key, namespace, name)
        new = copy.deepcopy(given)
        if part == "status":
            new = {**old, "status": new.get("status", {})}
        elif resource.schema is None and "status" in resource.parts and "status" in old:
            new["status"] = old["status"]
        kept = ("uid", "creationTimestamp", "deletionTimestamp", "generation", "resourceVersion")
        metadata = {**new["metadata"], **{name: old["metadata"][name] for name in kept if name in old["metadata"]}}
        new["metadata"] = metadata
        if new == old:
            return old
        if new.get("spec") != old.get("spec"):
            self._check(resource, new)
            metadata["generation"] += 1
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers") and key != PODS:
            resource.objects[namespace, name] = new
            return self.remove(key, namespace, name)
        self._put(resource, namespace, new, "MODIFIED")
        return new

    def set_status(self, key, namespace, name, **status):
        """Change some of an object's status, if it is still there."""
        if old := self.find(key, namespace, name):
            self.update(key, namespace, name, {**old, "status": {**old.get("status", {}), **status}}, "status")

    def delete(self, key, namespace, name, grace=None):
        """Delete an object, or mark it: finalizers hold it back, and the kubelet a pod until its process has ended."""
        resource, old = self.resources[key], self.get(key, namespace, name)
        if key != PODS and not old["metadata"].get("finalizers"):
            return self.remove(key, namespace, name)
        marked = at(old, "metadata.deletionTimestamp")
        if not marked or grace == 0:
            new = copy.deepcopy(old)
            if grace is None:
                grace = at(old, "spec.terminationGracePeriodSeconds", 30)
            new["metadata"].update(deletionTimestamp=marked or now(), deletionGracePeriodSeconds=grace)
            self._put(resource, namespace, new, "MODIFIED")
            return new
        return old

    def remove(self, key, namespace, name):
        """Take an object out, and after it what it owns."""
        resource = self.resources[key]
        gone = copy.deepcopy(resource.objects.pop((namespace, name)))
        self._tell(resource, gone, "DELETED")
        for other, owned in self.resources.items():
            for (where, who), one in list(owned.objects.items()):
                owners = one["metadata"].get("ownerReferences") or []
                if (
                    any(owner.get("uid") == gone["metadata"]["uid"] for owner in owners)
                    and (where, who) in owned.objects
                ):
                    self.delete(other, where, who)
        return gone

    def watch(self, key):
        """Return a queue of (version, type, object), from now on."""
        queue = asyncio.Queue()
        self.resources[key].watchers.append(queue)
        return queue

    def _check(self, resource, thing):
        if resource.schema is not None:
            resource.schema.fill(thing)
            errors = resource.schema.errors(thing)
        else:
            errors = errors_of_builtin(thing) if resource.plural in _CHECKED else []
        if errors:
            named = f"{thing.get('kind')} {at(thing, 'metadata.name')!r}"
            raise Refusal(422, "Invalid", f"{named} is invalid: {'; '.join(errors)}")

    def _put(self, resource, namespace, thing, what):
        resource.objects[namespace, thing["metadata"]["name"]] = thing
        self._tell(resource, thing, what)

    def _tell(self, resource, thing, what):
        self.version += 1
        thing["metadata"]["resourceVersion"] = str(self.version)
        event = (self.version, what, copy.deepcopy(thing))
        resource.events.append(event)
        for queue in resource.watchers:
            queue.put_nowait(event)
