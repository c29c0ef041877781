"""Looking into plain objects: by path, by label and field selectors; and laying a merge patch over one."""

import re

_BETWEEN = re.compile(r",(?![^(]*\))")
_SET = re.compile(r"^(\S+)\s+(in|notin)\s+\((.*)\)$")


def at(thing, path, default=None):
    """Return what lies at a dotted path.

    >>> at({"a": {"b": 1}}, "a.b"), at({"a": 1}, "a.b")
    (1, None)
    """
    for name in path.split("."):
        if not isinstance(thing, dict) or name not in thing:
            return default
        thing = thing[name]
    return thing


def labels_match(selector, labels):
    """Say whether labels are those of a selector.

    >>> labels_match("app=web,tier in (a, b),!old", {"app": "web", "tier": "b"})
    True
    """
    return all(_term(term.strip(), labels) for term in _BETWEEN.split(selector or "") if term.strip())


def _term(term, labels):
    if found := _SET.match(term):
        inside = labels.get(found[1]) in [value.strip() for value in found[3].split(",")]
        return inside == (found[2] == "in")
    if "!=" in term:
        name, value = term.split("!=", 1)
        return labels.get(name) != value
    if "=" in term:
        name, value = re.split("==?", term, maxsplit=1)
        return labels.get(name) == value
    return term[1:] not in labels if term.startswith("!") else term in labels


def fields_match(selector, thing):
    """Say whether an object's fields are those of a selector.

    >>> fields_match("status.phase=Running,metadata.name!=a", {"status": {"phase": "Running"}, "metadata": {}})
    True
    """
    for term in filter(None, (selector or "").split(",")):
        name, value = re.split("!=|==?", term, maxsplit=1)
        if (str(at(thing, name, "")) == value) == ("!=" in term):
            return False
    return True


def merge(thing, patch):
    """Return an object with a merge patch (RFC 7386) laid over it.

    >>> merge({"a": 1, "b": {"c": 2, "d": 3}}, {"a": None, "b": {"c": 4}})
    {'b': {'c': 4, 'd': 3}}
    """
    if not isinstance(patch, dict):
        return patch
    merged = dict(thing) if isinstance(thing, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged
