"""Recipes as files: YAML or JSON with a version, read without running anything, and answered by line when wrong."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from kaleidoscope import registry
from kaleidoscope.errors import RecipeError, did_you_mean
from kaleidoscope.ops.base import Part
from kaleidoscope.ops.combine import Branch, PowerSet, as_recipe
from kaleidoscope.plain_yaml import Place, read_plain
from kaleidoscope.recipe import from_spec, to_spec

#: Of the file's form, under the key ``kaleidoscope``.
RECIPE_VERSION = 1

_KEYS = ("kaleidoscope", "recipe")


def load_recipe(path: str | os.PathLike[str], *, allow_functions: bool = False) -> Part:
    """Read a recipe from a YAML or JSON file.

    Parameters
    ----------
    path : str or path
        A file such as ::

            kaleidoscope: 1
            recipe:                      # a list is a power set
              - HorizontalFlip
              - Rotate: {limit: 15}
              - OneOf: [GaussianBlur, GaussNoise]
    allow_functions : bool
        Whether it may name functions to be imported (``Apply``). Reading it imports none.

    Returns
    -------
    Op or combinator
        What `kaleidoscope.augment` takes.

    Raises
    ------
    RecipeError
        With the file, the line and the place in it, and what was expected there.
    """
    name = os.fspath(path)
    content, lines = read_plain(path, "the recipe")
    if not isinstance(content, Mapping) or set(content) != set(_KEYS):
        keys = list(content) if isinstance(content, Mapping) else []
        odd = next((str(key) for key in keys if key not in _KEYS), None)
        hint = did_you_mean(odd, _KEYS) if odd else ""
        came = keys if isinstance(content, Mapping) else f"a {type(content).__name__}"
        example = f"{{kaleidoscope: {RECIPE_VERSION}, recipe: [HorizontalFlip, Rotate: {{limit: 15}}]}}"
        raise RecipeError(
            f"{name}:1: expected the keys 'kaleidoscope' (the version) and 'recipe', such as {example}; got {came}."
            + hint
        )
    version = content["kaleidoscope"]
    if type(version) is not int or version < 1:
        raise RecipeError(f"{name}:{lines['kaleidoscope',]}: expected the version {RECIPE_VERSION}, got {version!r}")
    if version > RECIPE_VERSION:
        raise RecipeError(
            f"{name}:{lines['kaleidoscope',]}: this recipe is of version {version}, and this Kaleidoscope reads up to "
            f"{RECIPE_VERSION}: upgrade Kaleidoscope, or make the recipe with this one"
        )
    recipe = content["recipe"]
    if not isinstance(recipe, list):
        return _read(recipe, ("recipe",), lines, name, allow_functions=allow_functions)
    parts = [
        _read(part, ("recipe", index), lines, name, allow_functions=allow_functions)
        for index, part in enumerate(recipe)
    ]
    return PowerSet(*parts)


def dump_recipe(ops: Any, path: str | os.PathLike[str]) -> None:
    """Write a recipe to a file: JSON if its name ends in ``.json``, else YAML.

    Parameters
    ----------
    ops : list, op or combinator
        What `kaleidoscope.augment` takes.
    path : str or path
        The file; it is replaced.
    """
    recipe = as_recipe(ops)
    power_set = isinstance(recipe, PowerSet) and recipe.sizes is None
    body = [_short(to_spec(p)) for p in recipe.parts] if isinstance(recipe, PowerSet) and power_set else to_spec(recipe)
    content = {"kaleidoscope": RECIPE_VERSION, "recipe": body}
    if os.fspath(path).endswith(".json"):
        text = json.dumps(content, indent=2) + "\n"
    else:
        text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None)
    Path(path).write_text(text, "utf-8")


def _short(spec: dict[str, Any]) -> dict[str, Any] | str:
    """Write an op without settings as its name alone."""
    ((name, settings),) = spec.items()
    return spec if settings else name


def _read(spec: Any, place: Place, lines: Mapping[Place, int], name: str, *, allow_functions: bool) -> Part:
    """Read one part; inner parts first, so that an error names the innermost place."""
    if isinstance(spec, Mapping) and len(spec) == 1:
        ((kind, settings),) = spec.items()
        inner: list[tuple[Any, Place]] = []
        if isinstance(settings, list):
            inner = [(part, (*place, kind, index)) for index, part in enumerate(settings)]
        elif isinstance(settings, Mapping):
            parts, branches = settings.get("parts"), settings.get("branches")
            if isinstance(parts, list):
                inner = [(part, (*place, kind, "parts", index)) for index, part in enumerate(parts)]
            if isinstance(branches, Mapping):
                inner = [(part, (*place, kind, "branches", label)) for label, part in branches.items()]
        for part, where in inner:
            _read(part, where, lines, name, allow_functions=allow_functions)
    try:
        return from_spec(spec, allow_functions=allow_functions)
    except RecipeError as error:
        where = next(place[:end] for end in range(len(place), -1, -1) if place[:end] in lines)
        dotted = ".".join(map(str, place))
        raise RecipeError(f"{name}:{lines[where]}: {dotted}: {error.message}") from None


def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of recipe files, for editors; made from the ops that are installed."""
    part = {"$ref": "#/$defs/part"}
    kinds: list[dict[str, Any]] = [{"enum": registry.op_names()}]
    for name in registry.op_names():
        kind = registry.find_op(name)
        known = [p for p in inspect.signature(kind).parameters if p not in {"part", "parts", "branches", "unnamed"}]
        settings: dict[str, Any] = {setting: {} for setting in known}
        several = not {"part", "parts"}.isdisjoint(inspect.signature(kind).parameters)
        if several:
            settings["parts"] = {"type": "array", "items": part}
        if issubclass(kind, Branch):
            settings["branches"] = {"type": "object", "additionalProperties": part}
        forms: list[dict[str, Any]] = [
            {"type": "null"},
            {"type": "object", "properties": settings, "additionalProperties": False},
        ]
        if several:
            forms.append({"type": "array", "items": part})
        named = {"type": "object", "properties": {name: {"anyOf": forms}}, "required": [name]}
        kinds.append({**named, "additionalProperties": False})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Kaleidoscope recipe",
        "type": "object",
        "properties": {
            "kaleidoscope": {"const": RECIPE_VERSION},
            "recipe": {"anyOf": [{"type": "array", "items": part}, part]},
        },
        "required": list(_KEYS),
        "additionalProperties": False,
        "$defs": {"part": {"anyOf": kinds}},
    }
