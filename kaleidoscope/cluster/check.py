"""What a cluster's file says, held against the schema, and answered by line and place where it is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kaleidoscope.cluster.confidential import NAMES_OF_SECRETS, instead, secret_values, shortened
from kaleidoscope.cluster.destinations import parts_of, settings_of, written
from kaleidoscope.cluster.schema import cluster_schema
from kaleidoscope.errors import RecipeError, did_you_mean
from kaleidoscope.plain_yaml import Place

if TYPE_CHECKING:
    from jsonschema import ValidationError

#: The group of workers that Dask's operator adds to each DaskCluster.
OF_THE_OPERATOR = "default"
#: A place in the file, and what is wrong there.
Problem = tuple[Place, str]


def check(content: Any, name: str, lines: Mapping[Place, int]) -> None:
    """Refuse what is no cluster.

    Parameters
    ----------
    content : object
        Plain values.
    name : str
        Where they come from.
    lines : mapping
        The line of each place in them, if they come from a file.

    Raises
    ------
    RecipeError
        With each thing that is wrong on a line of its own: the file, the line, the place, and what was expected.
    """
    kind = content.get("kind") if isinstance(content, Mapping) else None
    problems = [(place, instead(kind, place)) for place in secret_values(content)]
    # Only then the rest, whose messages quote what they found.
    problems = problems or list(dict.fromkeys(_against_schema(content))) or list(_between_fields(content))
    said = []
    for place, what in problems:
        line = next((lines[place[:end]] for end in range(len(place), -1, -1) if place[:end] in lines), None)
        dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{shortened(part)}" for part in place).lstrip(".")
        where = name if line is None else f"{name}:{line}"
        said.append((line or 0, ": ".join(part for part in (where, dotted, what) if part)))
    if said:
        raise RecipeError("\n".join(what for _, what in sorted(said)))


def _against_schema(content: Any) -> Iterator[Problem]:
    from jsonschema import Draft202012Validator

    for error in Draft202012Validator(cluster_schema()).iter_errors(content):
        yield from _in_words(error)


def _in_words(error: ValidationError) -> Iterator[Problem]:
    """Say one error of jsonschema's; of alternatives, what is wrong with the one that was meant."""
    place = tuple(error.absolute_path)
    schema: Any = error.schema
    found: Any = error.instance
    if error.validator == "oneOf":
        forms = schema["oneOf"]
        meant = [e for e in error.context or () if isinstance(found, _PYTHON[forms[e.schema_path[0]]["type"]])]
        for inner in meant:
            yield from _in_words(inner)
        if not meant:
            yield place, _expected(next((form for form in forms if form["type"] == "object"), forms[0]), found, place)
    elif error.validator == "additionalProperties":
        known = list(schema["properties"])
        for odd in [key for key in found if key not in known]:
            hint = did_you_mean(odd, known)
            shown = odd if hint or not _among_secrets(place) else f"{odd[:3]}..."
            yield (*place, shown), f"unknown.{hint} Known here: {', '.join(known)}"
    elif error.validator == "required":
        # What is required of a kind is described where all fields are.
        known = schema.get("properties") or cluster_schema()["properties"]
        misspelt = [key for key in found if key not in known]
        for name in schema["required"]:
            if name not in found and not any(did_you_mean(key, [name]) for key in misspelt):
                yield place, f"expected the key {name!r}, too: {known[name]['description']}"
    elif "propertyNames" in error.absolute_schema_path:
        yield (*place, found), _expected(schema, found, place)
    else:
        yield place, _expected(schema, found, place)


_PYTHON: dict[str, type] = {"object": dict, "string": str, "null": type(None)}


def _among_secrets(place: Place) -> bool:
    """Return whether somebody may have written the value of a secret there, in the place of its name."""
    return place[:2] in NAMES_OF_SECRETS


def _expected(schema: Mapping[str, Any], found: Any, place: Place) -> str:
    choices = [str(one) for one in schema.get("enum", ())]
    one_of = f" ({', '.join(choices)})" if choices else ""
    hint = did_you_mean(found, choices) if isinstance(found, str) else ""
    shown = {"dict": "a mapping", "list": "a list", "NoneType": "nothing"}.get(type(found).__name__)
    if shown is None and _among_secrets(place):
        shown = "something else, which is not shown here"
    elif shown is None:
        found = shortened(found) if isinstance(found, str) else found
        shown = f"{found!r:.60}"
    return f"expected {schema['description']}{one_of}; got {shown}.{hint}"


def _between_fields(content: Mapping[str, Any]) -> Iterator[Problem]:
    """Find what a schema cannot say: fields that contradict each other, and groups that are not there."""
    groups = {name: group or {} for name, group in content["workers"].items()}
    for name, group in groups.items():
        if group.get("min", 0) > group.get("max", max(1, group.get("min", 0))):
            yield ("workers", name, "min"), f"expected at most max, which is {group['max']}; got {group['min']}"
        if "stagger" in group and "lifetime" not in group:
            yield ("workers", name, "stagger"), "expected a lifetime, too: it says by how much that varies"
    if content["kind"] == "kubernetes" and OF_THE_OPERATOR in groups:
        what = "another name, such as 'cpu': Dask's operator makes a group of this name itself"
        yield ("workers", OF_THE_OPERATOR), f"expected {what}; got {OF_THE_OPERATOR!r}"
    yield from _between_hosts(content.get("ssh", {}), groups)


def _between_hosts(ssh: Mapping[str, Any], groups: Mapping[str, Any]) -> Iterator[Problem]:
    try:
        parts_of(ssh.get("scheduler", "desk1"))
    except ValueError as error:
        yield ("ssh", "scheduler"), str(error)
    hosts = ssh.get("hosts", [])
    seen: set[str] = set()
    for index, given in enumerate(hosts):
        place: Place = ("ssh", "hosts", index)
        try:
            host = settings_of(given)
        except ValueError as error:
            yield place, str(error)
            continue
        for name in host.get("workers", {}):
            if name not in groups:
                known = ", ".join(groups)
                yield (*place, "workers", name), f"no such group.{did_you_mean(name, groups)} Known: {known}"
        label = written(host["host"], port=host.get("port"))
        if label in seen:
            yield place, f"{label!r} is there twice: say with workers: {{cpu: 2}} how many it holds"
        seen.add(label)
