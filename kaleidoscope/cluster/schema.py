"""The JSON Schema of cluster files: what stands where, each value with the words that say what is expected."""

from __future__ import annotations

from typing import Any

#: Of the file's form, under the key ``kaleidoscope``.
CLUSTER_VERSION = 1

_Schema = dict[str, Any]

_NUMBER = r"[0-9]+(\.[0-9]+)?"
#: Labels of DNS, as names of pods are made of them; room is left for what is appended.
_LABEL = r"^[a-z]([-a-z0-9]{0,28}[a-z0-9])?$"
_OBJECT_NAME = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"


def _is(kind: str, expected: str, **more: Any) -> _Schema:
    return {"type": kind, "description": expected, **more}


def _fields(expected: str, properties: dict[str, _Schema], *required: str) -> _Schema:
    return _is("object", expected, properties=properties, required=list(required), additionalProperties=False)


def _mapping(expected: str, value: _Schema, names: _Schema | None = None) -> _Schema:
    rule = {"propertyNames": names} if names else {}
    return _is("object", expected, additionalProperties=value, **rule)


def _list(expected: str, item: _Schema, **more: Any) -> _Schema:
    return _is("array", expected, items=item, **more)


def _name(expected: str) -> _Schema:
    return _is("string", f"{expected}, in lower-case letters, digits and '-'", pattern=_OBJECT_NAME)


def _text(expected: str) -> _Schema:
    return _is("string", expected, minLength=1)


def _switch(expected: str) -> _Schema:
    return _is("boolean", f"true or false: {expected}")


_COUNT = _is("integer", "a whole number of at least 0", minimum=0)
_THREADS = _is("integer", "a whole number of at least 1: tasks that a worker runs at a time", minimum=1)
_CPUS = {"type": "number", "exclusiveMinimum": 0, "description": "a number above 0: cores of one worker"}
_MEMORY = _is("string", "a size with its unit, such as '8GiB'", pattern=rf"^{_NUMBER} ?[kKMGT]i?B?$")
_UNIT = "(s|m|h|d|seconds?|minutes?|hours?|days?)"
_DURATION = _is("string", "a duration with its unit, such as '55 minutes'", pattern=rf"^{_NUMBER} ?{_UNIT}$")
_PORT = _is("integer", "a port, from 0 (any) to 65535", minimum=0, maximum=65535)
_STRING = _is("string", "a text, in quotation marks if it looks like a number")
_VARIABLE = _is("string", "the name of an environment variable", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
_ENV = _mapping("names and texts of environment variables", _STRING, _VARIABLE)
_MAP = _mapping("names and texts", _STRING)
_RESOURCES = _mapping(
    "names and amounts, such as {GPU: 1}",
    {"type": "number", "exclusiveMinimum": 0, "description": "a number above 0: how much of it a worker has"},
)
_TOLERATION = _fields(
    "a toleration such as {key: nvidia.com/gpu, operator: Exists}",
    {
        "key": _text("the taint's key"),
        "operator": _is("string", "Equal or Exists", enum=["Equal", "Exists"]),
        "value": _STRING,
        "effect": _is("string", "the taint's effect", enum=["NoSchedule", "PreferNoSchedule", "NoExecute"]),
        "tolerationSeconds": _COUNT,
    },
)
_PODS: dict[str, _Schema] = {
    "node_selector": _MAP,
    "labels": _MAP,
    "annotations": _MAP,
    "tolerations": _list("a list of tolerations", _TOLERATION),
    "pod": _is("object", "other fields of a pod's specification"),
}
_GROUP = _fields(
    "the settings of a group of workers, such as {min: 0, max: 4, cpus: 2, memory: 8GiB}",
    {
        "min": _COUNT,
        "max": _is("integer", "a whole number of at least 1", minimum=1),
        "cpus": _CPUS,
        "threads": _THREADS,
        "memory": _MEMORY,
        "resources": _RESOURCES,
        "env": _ENV,
        "lifetime": _DURATION,
        "stagger": _DURATION,
        "image": _text("a container image"),
        "spot": _switch("whether its pods may run on nodes that are taken away at short notice"),
        **_PODS,
    },
)
_A_HOST = "a host's name or address, such as desk1, anna@desk1 or anna@desk1:2222"
_HOST = _fields(
    "a host's name, or its settings such as {host: desk2, workers: {gpu: 1}}",
    {
        "host": _text(_A_HOST),
        "workers": _mapping("names of groups, and how many workers of each it can hold", _COUNT),
        "address": _text("an address of the host on which its Dask processes listen"),
        "user": _text("a user's name"),
        "port": {**_PORT, "minimum": 1, "description": "a port, from 1 to 65535"},
        "key": _text("the name of a file with an SSH key"),
        "python": _text("the Python to run there"),
        "folder": _text("a folder for what does not fit into memory"),
        "threads": _THREADS,
        "memory": _MEMORY,
    },
    "host",
)
_SSH = _fields(
    "the machines: {hosts: [desk1, desk2]}",
    {
        "hosts": _list(
            "a list of at least one host, such as [desk1, anna@desk2:2222]",
            {"oneOf": [_text(_A_HOST), _HOST]},
            minItems=1,
        ),
        "scheduler": _text("the host for the scheduler, such as desk1 or anna@desk1:2222"),
        "scheduler_port": _PORT,
        "known_hosts": _text("the name of a file of host keys"),
        "user": _text("a user's name"),
        "key": _text("the name of a file with an SSH key"),
        "python": _text("the Python to run there"),
        "tls": _switch("whether Dask's parts talk by TLS"),
    },
    "hosts",
)
_SECRET = _fields(
    "the name of a Secret, or {secret: NAME, key: KEY, env: VARIABLE}",
    {
        "secret": _name("the name of a Secret"),
        "key": _text("a key of the Secret"),
        "env": _VARIABLE,
    },
    "secret",
    "key",
    "env",
)
_KUBERNETES = _fields(
    "where in Kubernetes: {namespace: ..., image: ...}",
    {
        "image": _text("the container image of scheduler and workers"),
        "namespace": _is("string", "a namespace, in lower-case letters, digits and '-'", pattern=_LABEL),
        "image_pull_secrets": _list("a list of names of Secrets", _name("the name of a Secret")),
        "image_pull_policy": _is("string", "when an image is pulled", enum=["Always", "IfNotPresent", "Never"]),
        "service_account": _fields(
            "a service account such as {name: augment, annotations: {...}}",
            {
                "name": _name("the name of a ServiceAccount"),
                "annotations": _MAP,
                "create": _switch("whether it is made with the cluster"),
            },
            "name",
        ),
        "secrets": _list("a list of Secrets", {"oneOf": [_name("the name of a Secret"), _SECRET]}),
        **_PODS,
        "scheduler": _fields("settings of the scheduler's pod", {"cpus": _CPUS, "memory": _MEMORY, **_PODS}),
        "idle_timeout": _DURATION,
        "pending_timeout": _DURATION,
    },
    "image",
)


def cluster_schema() -> _Schema:
    """Return the JSON Schema (draft 2020-12) of cluster files, for editors and for reading them.

    ``python docs/make_cluster_schema.py`` writes it to ``docs/cluster.schema.json``.
    """
    needs = [
        {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": {"required": [kind]}}
        for kind in ("ssh", "kubernetes")
    ]
    named = _is("string", "a name of at most 30 lower-case letters, digits and '-'", pattern=_LABEL)
    whole = _fields(
        "a cluster such as {kind: local, workers: {cpu: {max: 4}}}",
        {
            "kaleidoscope": {"const": CLUSTER_VERSION, "description": f"the version {CLUSTER_VERSION}"},
            "kind": _is("string", "where it runs", enum=["local", "ssh", "kubernetes"]),
            "name": named,
            "workers": _is(
                "object",
                "groups of workers by name, at least one, such as {cpu: {min: 1, max: 8}}",
                additionalProperties={"oneOf": [_GROUP, {"type": "null"}]},
                propertyNames=named,
                minProperties=1,
            ),
            "env": _ENV,
            "dashboard": _switch("whether the scheduler serves Dask's pages"),
            "ssh": _SSH,
            "kubernetes": _KUBERNETES,
        },
        "kind",
        "workers",
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Kaleidoscope cluster",
        **whole,
        "allOf": needs,
    }
