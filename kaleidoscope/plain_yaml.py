"""Plain values from a YAML or JSON file, read without running anything, and the line that each stands on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from kaleidoscope.errors import RecipeError

#: Keys and indices that lead to a value, from the outermost.
Place = tuple[str | int, ...]

_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map")}


def read_plain(path: str | os.PathLike[str], what: str) -> tuple[Any, dict[Place, int]]:
    """Return the plain values in a file, and the line of each place in it.

    Parameters
    ----------
    path : str or path
        A text in UTF-8.
    what : str
        What the file is, for the error.

    Raises
    ------
    RecipeError
        If it cannot be read, is neither YAML nor JSON, or has anchors, tags, keys that are no text or are there twice.
    """
    name = os.fspath(path)
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read {what} {name}: {error}") from None
    return _parse(text, name)


def _parse(text: str, name: str) -> tuple[Any, dict[Place, int]]:
    # JSON is YAML, too.
    lines: dict[Place, int] = {}
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise RecipeError(f"{name}: anchors and aliases (& and *) are not read: write the part out")
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            content = _value(loader, node, (), lines, name) if node is not None else None
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise RecipeError(f"{name}{line}: not YAML or JSON: {getattr(error, 'problem', None) or error}") from None
    except RecursionError:
        raise RecipeError(f"{name}: nested too deeply") from None
    return content, lines


def _value(loader: yaml.SafeLoader, node: yaml.Node, place: Place, lines: dict[Place, int], name: str) -> Any:
    lines[place] = node.start_mark.line + 1
    if node.tag not in _TAGS:
        raise RecipeError(f"{name}:{lines[place]}: expected plain values, got one of the kind {node.tag}")
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, inner, (*place, index), lines, name) for index, inner in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = _plain(loader, key_node, name)
            if not isinstance(key, str) or key in found:
                why = "is there twice" if isinstance(key, str) else "is no text"
                raise RecipeError(f"{name}:{key_node.start_mark.line + 1}: the key {key!r} {why}")
            found[key] = _value(loader, value_node, (*place, key), lines, name)
        return found
    return _plain(loader, node, name)


def _plain(loader: yaml.SafeLoader, node: yaml.Node, name: str) -> Any:
    try:
        return loader.construct_object(node, deep=True)
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # what PyYAML raises of `!!int`, `!!bool x`
        written = f"{node.tag.rpartition(':')[2]}, got {node.value!r}"
        raise RecipeError(f"{name}:{node.start_mark.line + 1}: expected {written:.80}") from error
