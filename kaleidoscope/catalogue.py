"""The catalogue, described: what there is, what it takes, and what becomes of what is labelled."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kaleidoscope import registry
from kaleidoscope.errors import KaleidoscopeError, RecipeError
from kaleidoscope.ops.base import Op, Part
from kaleidoscope.ops.choose import Choice
from kaleidoscope.ops.holes import InPlace
from kaleidoscope.randomness import stream
from kaleidoscope.record import Frame

#: Fields of ops that cannot be made without any, or change nothing by default.
_EXAMPLES: dict[str, dict[str, Any]] = {
    "Affine": {"scale": (0.8, 1.2), "rotate": (-20, 20), "shear": (-10, 10)},
    "CenterCrop": {"height": 120, "width": 120},
    "Crop": {"x_min": 60, "y_min": 10, "x_max": 240, "y_max": 130},
    "CropAndPad": {"percent": (-0.2, 0.2)},
    "CropNonEmptyMaskIfExists": {"height": 120, "width": 120},
    "LongestMaxSize": {"max_size": 150},
    "MaskDropout": {"fill": "inpaint_telea"},
    "Pad": {"padding": 20},
    "PadIfNeeded": {"min_height": 250, "min_width": 320},
    "RandomCrop": {"height": 120, "width": 120},
    "RandomResizedCrop": {"size": (120, 120)},
    "RandomScale": {"scale_limit": (-0.5, -0.2)},
    "RandomSizedCrop": {"min_max_height": (80, 160), "size": (120, 120)},
    "Resize": {"height": 60, "width": 160},
    "SmallestMaxSize": {"max_size": 100},
    "Tile": {"row": 0, "col": 1, "rows": 2, "cols": 2},
}
#: Frames that are asked for, by what they are called.
_MANY = 7
_CHANNELS = {1: "grey", 3: "RGB", 4: "RGBA", _MANY: "others"}
_SIDE = 200


@dataclass(frozen=True)
class Entry:
    """One op or combinator, as the catalogue shows it.

    Parameters
    ----------
    name : str
    family : str
        What the family is called, in a few words.
    summary : str
        One sentence.
    parameters : tuple of (str, str)
        Names and defaults, as Python writes them; ``required`` where there is none.
    channels : str
        What images it takes; empty for a combinator.
    targets : str
        What becomes of masks and objects; empty for a combinator.
    shown : str
        How its picture was made; empty for a combinator.
    """

    name: str
    family: str
    summary: str
    parameters: tuple[tuple[str, str], ...]
    channels: str = ""
    targets: str = ""
    shown: str = ""


def entries() -> list[Entry]:
    """Return the whole catalogue: by family in the table's order, third parties' last."""
    names = [*registry.builtin_names(), *(n for n in registry.op_names() if n not in registry.builtin_names())]
    return [_entry(name) for name in names]


def example(name: str) -> Part | None:
    """Return an op or combinator as it is by default, or with what it needs; None if that is not known."""
    kind = registry.find_op(name)
    try:
        made: Part = kind(**_EXAMPLES.get(name, {}))
    except (TypeError, RecipeError):
        return None
    return made


def _entry(name: str) -> Entry:
    kind = registry.find_op(name)
    one = example(name)
    family = (inspect.getdoc(importlib.import_module(kind.__module__)) or "").partition("\n")[0].rstrip(".")
    summary = (inspect.getdoc(kind) or "").partition("\n")[0]
    known = one if isinstance(one, Op) and not getattr(one, "parts", None) else None
    return Entry(
        name,
        family.partition(":")[0],
        summary,
        tuple(_parameters(kind)),
        _channels(known) if known else "",
        _targets(known) if known else "",
        repr(known) if known else "",
    )


def _parameters(kind: type[Part]) -> Iterator[tuple[str, str]]:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind in stars:
            yield stars[parameter.kind] + name, ""
        else:
            yield name, "required" if parameter.default is parameter.empty else repr(parameter.default)


def _channels(op: Op) -> str:
    able = [channels for channels in _CHANNELS if _takes(op, channels)]
    if able[-1:] == [_MANY]:
        return "any number" if able == [*_CHANNELS] else f"{_CHANNELS[able[0]]} and more"
    return ", ".join(_CHANNELS[channels] for channels in able)


def _takes(op: Op, channels: int) -> bool:
    for dtype in ("uint8", "float32"):
        frame = Frame(_SIDE, _SIDE, channels, dtype)
        try:
            op.out_frame(frame, op.sample_params(stream(0, "", ""), frame))
        except KaleidoscopeError:
            continue
        return True
    return False


def _targets(op: Op) -> str:
    if isinstance(op, InPlace):
        return "stay as they are" + ("; masks are filled, too" if op.moves_pixels else "")
    return "move with the pixels" if op.moves_pixels or isinstance(op, Choice) else "stay as they are"
