"""Recipes: ops and combinators to plain JSON values and back. No code travels in them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from kaleidoscope import registry
from kaleidoscope.errors import RecipeError, did_you_mean
from kaleidoscope.ops.base import Part
from kaleidoscope.ops.combine import Branch, Combinator


def to_spec(part: Part) -> dict[str, Any]:
    """Return a part as JSON values: its class's name, and the settings that differ from their defaults.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> to_spec(ops.PowerSet(ops.HorizontalFlip(), ops.Rotate(limit=15)))
    {'PowerSet': {'parts': [{'HorizontalFlip': {}}, {'Rotate': {'limit': [-15.0, 15.0]}}]}}
    """
    settings = {name: _plain(value) for name, value in part.settings().items()}
    if isinstance(part, Branch):
        settings["branches"] = {label: to_spec(p) for label, p in zip(part.labels, part.parts, strict=True)}
    elif isinstance(part, Combinator) and part.parts:
        settings["parts"] = [to_spec(inner) for inner in part.parts]
    return {type(part).__name__: settings}


def _plain(value: Any) -> Any:
    return list(map(_plain, value)) if isinstance(value, tuple) else value


def from_spec(spec: object, *, allow_functions: bool = False) -> Part:
    """Return the part that `to_spec` wrote.

    Parameters
    ----------
    spec : mapping or str
        One part by its name; the name alone where there are no settings, and ``{"Sequential": [...]}`` for the parts of
        a combinator.
    allow_functions : bool
        Whether ``Apply`` may name a function, which running the recipe then imports. A recipe from elsewhere could name
        any.

    Raises
    ------
    RecipeError
        For an unknown op or setting, with the nearest name, and for anything that is not a spec.
    """
    name, settings = _name_and_settings(spec)
    if name == "Apply" and not allow_functions:
        raise RecipeError(
            f"this recipe applies the function {settings.get('fn')!r}: if you trust it, pass "
            "allow_functions=True, or --allow-functions on the command line"
        )
    kind = registry.find_op(name)
    rest = dict(settings)
    branches, parts = rest.pop("branches", {}), rest.pop("parts", [])
    if not isinstance(branches, Mapping) or not isinstance(parts, list | tuple):
        raise RecipeError(f"{name}: expected parts as a list and branches as a mapping, got {settings!r}")
    known = [p for p in inspect.signature(kind).parameters if p not in {"part", "parts", "branches"}]
    for setting in rest:
        if setting not in known:
            no_p = " No op has a p: put it into Sometimes, which draws." if setting == "p" else ""
            raise RecipeError(f"{name} has no setting {setting!r}.{no_p or did_you_mean(setting, known)}")
    read = partial(from_spec, allow_functions=allow_functions)
    named = {label: read(inner) for label, inner in branches.items()}
    try:
        part: Part = kind(*map(read, parts), **named, **rest)
    except TypeError as error:  # too many parts, or too few, or a setting that is missing
        raise RecipeError(f"{name} cannot be made of {settings!r}: {error}") from None
    return part


def _name_and_settings(spec: object) -> tuple[str, Mapping[str, Any]]:
    """Return a spec in its long form."""
    if isinstance(spec, str):
        return spec, {}
    if not isinstance(spec, Mapping) or len(spec) != 1:
        raise RecipeError(f"expected one op by its name, such as {{'Rotate': {{'limit': 15}}}}, got {spec!r}")
    ((name, settings),) = spec.items()
    if not isinstance(name, str):
        raise RecipeError(f"expected the name of an op, got {name!r} in {spec!r}")
    if isinstance(settings, list):
        return name, {"parts": settings}
    if not isinstance(settings, Mapping | None) or not all(isinstance(key, str) for key in settings or {}):
        raise RecipeError(f"{name}: expected its settings as a mapping, got {settings!r}")
    return name, settings or {}


def canonical(value: object) -> str:
    """Return JSON text that is equal for equal values: sorted, without spaces, ASCII.

    Examples
    --------
    >>> canonical({"b": 1, "a": [1.5, None]})
    '{"a":[1.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
