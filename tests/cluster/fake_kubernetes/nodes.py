"""Which node takes a pod: selectors, taints, and what of its capacity is left."""

from .selectors import at

_COUNTED = ("cpu", "memory", "nvidia.com/gpu")
_UNITS = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def quantity(text):
    """Return the number that a quantity stands for.

    >>> quantity("250m"), quantity("2Gi"), quantity("3")
    (0.25, 2147483648.0, 3.0)
    """
    text = str(text)
    unit = text.lstrip("0123456789.")
    return float(text.removesuffix(unit)) * _UNITS.get(unit, 1)


def parse_node(text):
    """Return the node that ``name:cpu=4,nvidia.com/gpu=1,label:pool=gpu,taint:nvidia.com/gpu=present`` describes."""
    name, _, parts = text.partition(":")
    capacity, labels, taints = {}, {"kubernetes.io/hostname": name}, []
    for part in filter(None, parts.split(",")):
        key, value = part.split("=", 1)
        if key.startswith("label:"):
            labels[key.removeprefix("label:")] = value
        elif key.startswith("taint:"):
            taints.append({"key": key.removeprefix("taint:"), "value": value, "effect": "NoSchedule"})
        else:
            capacity[key] = value
    conditions = [{"type": "Ready", "status": "True"}]
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints},
        "status": {"capacity": capacity, "allocatable": capacity, "conditions": conditions},
    }


def asks(pod, what):
    """Return how much of something a pod asks for."""
    amounts = [container.get("resources") or {} for container in pod["spec"]["containers"]]
    return sum(quantity({**(one.get("limits") or {}), **(one.get("requests") or {})}.get(what, 0)) for one in amounts)


def place(pod, nodes, pods):
    """Return the name of a node for a pod, and otherwise None and why, in the words of Kubernetes' scheduler."""
    reasons = []
    for node in nodes:
        reason = _refusal(pod, node, [one for one in pods if _is_on(one, node)])
        if reason is None:
            return node["metadata"]["name"], ""
        reasons.append(reason)
    said = ", ".join(f"{reasons.count(reason)} {reason}" for reason in dict.fromkeys(reasons))
    return None, f"0/{len(reasons)} nodes are available: {said}."


def _is_on(pod, node):
    phase = at(pod, "status.phase")
    return at(pod, "spec.nodeName") == node["metadata"]["name"] and phase not in ("Succeeded", "Failed")


def _refusal(pod, node, there):
    labels = node["metadata"]["labels"]
    if any(labels.get(name) != value for name, value in (pod["spec"].get("nodeSelector") or {}).items()):
        return "node(s) didn't match Pod's node affinity/selector"
    for taint in node["spec"].get("taints", []):
        if not any(_tolerates(one, taint) for one in pod["spec"].get("tolerations") or []):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint['value']}}}"
    for what in _COUNTED:
        need = asks(pod, what)
        has = quantity(node["status"]["capacity"].get(what, 0 if "/" in what else "1Ti"))
        if need and sum(asks(one, what) for one in there) + need > has:
            return f"Insufficient {what}"
    return None


def _tolerates(toleration, taint):
    same_key = toleration.get("key") in (None, taint["key"])
    return same_key and (toleration.get("operator") == "Exists" or toleration.get("value") == taint["value"])
