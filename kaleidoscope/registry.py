"""Names to classes: ours by a table that imports nothing, third parties' by entry points.

A package adds an op with, in its ``pyproject.toml``::

    [project.entry-points."kaleidoscope.ops"]
    Solarize = "their_package.ops:Solarize"
"""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from kaleidoscope.errors import RecipeError, did_you_mean

OPS_GROUP = "kaleidoscope.ops"

_BUILTIN_OPS = {
    "HorizontalFlip": "kaleidoscope.ops.flip",
    "VerticalFlip": "kaleidoscope.ops.flip",
    "Transpose": "kaleidoscope.ops.flip",
    "RandomRotate90": "kaleidoscope.ops.flip",
    "Rotate": "kaleidoscope.ops.affine",
    "Affine": "kaleidoscope.ops.affine",
    "Resize": "kaleidoscope.ops.size",
    "CenterCrop": "kaleidoscope.ops.crop",
    "RandomCrop": "kaleidoscope.ops.crop",
    "Pad": "kaleidoscope.ops.crop",
    "HueSaturationValue": "kaleidoscope.ops.colour",
    "RandomBrightnessContrast": "kaleidoscope.ops.colour",
    "GaussianBlur": "kaleidoscope.ops.blur",
    "MedianBlur": "kaleidoscope.ops.blur",
    "GaussNoise": "kaleidoscope.ops.noise",
    "Normalize": "kaleidoscope.ops.normalize",
    "Sequential": "kaleidoscope.ops.combine",
    "PowerSet": "kaleidoscope.ops.combine",
    "Branch": "kaleidoscope.ops.combine",
    "Repeat": "kaleidoscope.ops.combine",
    "OneOf": "kaleidoscope.ops.choose",
    "SomeOf": "kaleidoscope.ops.choose",
    "Sometimes": "kaleidoscope.ops.choose",
    "Split": "kaleidoscope.ops.split",
    "Tile": "kaleidoscope.ops.split",
    "Apply": "kaleidoscope.ops.apply",
}


@cache
def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=OPS_GROUP)}


def op_names() -> list[str]:
    """Return every op and combinator there is, sorted; nothing is imported."""
    return sorted({*_BUILTIN_OPS, *_plugins()})


def find_op(name: str) -> Any:
    """Return the class of the op or combinator called `name`.

    Raises
    ------
    RecipeError
        If there is none; the nearest name is suggested.
    """
    if name in _BUILTIN_OPS:
        return getattr(importlib.import_module(_BUILTIN_OPS[name]), name)
    if name in _plugins():
        return _plugins()[name].load()
    hint = did_you_mean(name, op_names()) or f" There are {', '.join(op_names())}."
    raise RecipeError(f"there is no op called {name!r}.{hint}")
