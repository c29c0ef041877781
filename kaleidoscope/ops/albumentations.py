"""Albumentations' pipelines as parts: by name and setting, so that Albumentations itself need not be there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from enum import Enum
from typing import Any

from kaleidoscope import registry
from kaleidoscope.errors import RecipeError
from kaleidoscope.ops.apply import Apply
from kaleidoscope.ops.base import Op, Part
from kaleidoscope.ops.choose import Choice, OneOf, SomeOf, Sometimes
from kaleidoscope.ops.combine import Sequential
from kaleidoscope.ops.split import Tile

#: Transforms of theirs that are no op, with what they have beside ``p`` and ``transforms`` that means the same to us
#: whatever it is.
_COMPOSITIONS = {
    "Compose": {"is_check_shapes"},
    "ReplayCompose": {"is_check_shapes", "save_key"},
    "Sequential": set(),
    "OneOf": set(),
    "SomeOf": set(),
    "OneOrOther": set(),
    "NoOp": set(),
}
#: The likelihood of what says none: that of their constructors.
_DEFAULT_P = {"Compose": 1.0, "ReplayCompose": 1.0, "SomeOf": 1.0}
#: What ``to_dict`` tells of a parent class, and no constructor takes: left out, whatever it is.
_INHERITED = {
    "PadIfNeeded": {"padding"},
    "RGBShift": {"approximation", "noise_params", "noise_type", "spatial_mode"},
    "SafeRotate": {
        "balanced_scale",
        "fit_output",
        "keep_ratio",
        "rotate",
        "scale",
        "shear",
        "translate_percent",
        "translate_px",
    },
}
#: Settings at values that mean what ours means without them, or that change nothing: standing so, they are left out.
_AT_REST: dict[str, dict[str, Any]] = {
    "Affine": {"translate_px": {"x": (0, 0), "y": (0, 0)}},
    "CropNonEmptyMaskIfExists": {"ignore_channels": None},
    "Equalize": {"mask": None, "mask_params": ()},
    "Normalize": {"max_pixel_value": 255.0},  # of uint8; ours takes the largest value of the dtype, whatever that is
    "Compose": {"additional_targets": {}},
    "ReplayCompose": {"additional_targets": {}},
    "SomeOf": {"replace": False},
}
#: Of ``bbox_params`` and ``keypoint_params``, what drops labels, at the values that drop none that we would keep.
_DROPS: dict[str, dict[str, Any]] = {
    "bbox_params": {
        "min_area": 0.0,
        "min_visibility": 0.0,
        "min_width": 0.0,
        "min_height": 0.0,
        "max_accept_ratio": None,
    },
    "keypoint_params": {"remove_invisible": True},
}
#: In our catalogue, but nothing that theirs could mean: `Apply` would even import what a mapping names.
_NOT_THEIRS = (Choice, Apply, Tile)

Spec = Mapping[str, Any]


def from_albumentations(transform: object) -> Part:
    """Return the part that does what a pipeline of Albumentations 2 does.

    ======================================  ==========================================================
    theirs                                  becomes
    ======================================  ==========================================================
    a transform with p=1                    the op of that name
    one with another p                      ``Sometimes(op, p)``
    ``Compose``, ``Sequential``             ``Sequential``: one variant, and no power set
    ``OneOf``                               ``OneOf``; the transforms' ``p`` are its weights, as there
    ``SomeOf``                              ``SomeOf``; each transform is on with its own ``p``
    ``OneOrOther``                          ``OneOf`` with the weights p and 1 - p
    ``NoOp``                                ``Sequential()``
    ======================================  ==========================================================

    Draws are ours: the same distributions, other numbers. Formats of labels are left out, since datasets know theirs.

    Parameters
    ----------
    transform : transform or mapping
        One of theirs; or what its ``to_dict`` or ``albumentations.to_dict`` returned, also read back from JSON or
        YAML, for which Albumentations need not be installed.

    Raises
    ------
    RecipeError
        For transforms that the catalogue has not, all of them named; for settings that an op of ours has not, unless
        they are at their defaults; and for settings that drop labels, which are `with_targets`'s to have.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> flip = {"__class_fullname__": "HorizontalFlip", "p": 0.5}
    >>> turn = {"__class_fullname__": "Rotate", "p": 1.0, "limit": [-15, 15], "border_mode": 4}
    >>> compose = {"__class_fullname__": "Compose", "p": 1.0, "transforms": [flip, turn]}
    >>> ops.from_albumentations({"__version__": "2.0.8", "transform": compose})
    Sequential(Sometimes(HorizontalFlip(), p=0.5), Rotate(limit=(-15.0, 15.0), border_mode='reflect_101'))
    """
    spec = _spec_of(transform)
    refuse_unknown("from_albumentations", _unknown(spec))
    return _part(spec)


def refuse_unknown(function: str, names: Iterator[str]) -> None:
    """Refuse transforms for which there is no op, all of them at once."""
    if missing := list(dict.fromkeys(names)):
        raise RecipeError(
            f"{function}: there is no op for {', '.join(missing)}: leave that out there, and put an op of your own in "
            "its place (docs/own-ops.md), or Apply(function), which needs a function that workers can import"
        )


def sometimes(part: Part, p: float) -> Part:
    """Return the part, or it with a likelihood, where that is not 1.

    Examples
    --------
    >>> sometimes(Sequential(), 1.0)
    Sequential()
    """
    return part if p == 1 else Sometimes(part, p)


def _spec_of(transform: object) -> Spec:
    """Return what ``to_dict`` says of one transform, without the wrapping that names the version."""
    spec = transform
    if not isinstance(spec, Mapping):
        tell: Callable[[], object] | None = getattr(transform, "to_dict", None)
        if not callable(tell):
            raise RecipeError(
                "from_albumentations: expected a transform of Albumentations or what to_dict() says of one, got "
                f"{transform!r} ({type(transform).__name__})"
            )
        try:
            spec = tell()
        except Exception as error:  # a transform of anybody's, such as a Lambda without a name
            raise RecipeError(f"from_albumentations: {transform!r}.to_dict() raised {error!r}") from error
    if isinstance(spec, Mapping) and "transform" in spec and "__class_fullname__" not in spec:
        spec = spec["transform"]
    if not isinstance(spec, Mapping) or not isinstance(spec.get("__class_fullname__"), str):
        raise RecipeError(
            "from_albumentations: expected a mapping with '__class_fullname__', as albumentations.to_dict() makes it, "
            f"got {spec!r}"
        )
    return spec


def _name(spec: Spec) -> str:
    """Return the class's name, with its module where it is not one of Albumentations'.

    Examples
    --------
    >>> _name({"__class_fullname__": "albumentations.augmentations.geometric.rotate.Rotate"})
    'Rotate'
    >>> _name({"__class_fullname__": "mine.Rotate"})
    'mine.Rotate'
    """
    full = str(spec["__class_fullname__"])
    return full.rpartition(".")[2] if full.startswith("albumentations.") else full


def _inner(spec: Spec) -> list[Spec]:
    transforms = spec.get("transforms", ())
    if not isinstance(transforms, list | tuple):
        raise RecipeError(f"from_albumentations: {_name(spec)}: expected transforms as a list, got {transforms!r}")
    return [_spec_of(inner) for inner in transforms]


def _unknown(spec: Spec) -> Iterator[str]:
    """Yield the names of the transforms that have no counterpart."""
    name = _name(spec)
    if name in _COMPOSITIONS:
        for inner in _inner(spec):
            yield from _unknown(inner)
    elif name not in registry.op_names() or not _is_theirs(registry.find_op(name)):
        yield name


def _is_theirs(kind: Any) -> bool:
    return issubclass(kind, Op) and not issubclass(kind, _NOT_THEIRS)


def _likelihood(spec: Spec) -> float:
    p = spec.get("p", _DEFAULT_P.get(_name(spec), 0.5))
    if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p <= 1:
        raise RecipeError(f"from_albumentations: {_name(spec)}(p={p!r}): expected how likely it is, 0 to 1")
    return float(p)


def _part(spec: Spec) -> Part:
    """Return a transform with its likelihood."""
    return sometimes(_applied(spec), 1.0 if _name(spec) == "OneOrOther" else _likelihood(spec))


def _applied(spec: Spec) -> Part:
    """Return a transform that is applied, whatever its likelihood."""
    name = _name(spec)
    if name not in _COMPOSITIONS:
        return _op(name, spec)
    _check_composition(name, spec)
    inner = _inner(spec)
    if name == "OneOf":
        # Theirs applies what it has drawn, whatever its p; but a SomeOf does not listen, and asks its own as well.
        parts = [_part(one) if _name(one) == "SomeOf" else _applied(one) for one in inner]
        return _one_of(parts, list(map(_likelihood, inner)))
    if name == "OneOrOther":
        p = _likelihood(spec)
        return _one_of([_applied(one) for one in (inner[0], inner[-1])], [p, 1 - p]) if inner else Sequential()
    parts = list(map(_part, inner))
    return SomeOf(*parts, n=_some(spec, len(parts))) if name == "SomeOf" else Sequential(*parts)


def _one_of(parts: list[Part], weights: list[float]) -> Part:
    if not parts:
        return Sequential()
    return OneOf(*parts, weights=None if len(set(weights)) == 1 and weights[0] > 0 else weights)


def _some(spec: Spec, count: int) -> Any:
    """Return how many of a SomeOf are drawn: as theirs, no more than there are."""
    n = spec.get("n", 1)
    return min(n, count) if isinstance(n, int) else n


def _check_composition(name: str, spec: Spec) -> None:
    """Refuse what a composition says beside its transforms, and what it would do to labels."""
    drops = _DROPS if name in {"Compose", "ReplayCompose"} else {}
    known = {"__class_fullname__", "p", "transforms", "n" if name == "SomeOf" else "p", *_COMPOSITIONS[name], *drops}
    _settings(name, spec, known)
    for labels, at_rest in drops.items():
        given: Spec = spec.get(labels) or {}
        for setting, value in at_rest.items():
            if given.get(setting, value) != value:
                raise RecipeError(
                    f"from_albumentations: {name}({labels}: {setting}={given[setting]!r}): which labels are dropped is "
                    "the dataset's to say, not a recipe's: leave it out there; with_targets has min_area and "
                    "min_visibility"
                )


def _op(name: str, spec: Spec) -> Part:
    kind = registry.find_op(name)
    known = {field.name for field in fields(kind)}
    settings = _settings(name, spec, known)
    try:
        made: Part = kind(**settings)
    except TypeError as error:  # a setting that is missing
        raise RecipeError(f"from_albumentations: {name} cannot be made of {settings!r}: {error}") from None
    return made


def _settings(name: str, spec: Spec, known: set[str]) -> dict[str, Any]:
    """Return the settings that we have, in plain values; refuse others, unless they change nothing."""
    aside = {"__class_fullname__", "p", *_INHERITED.get(name, ())}
    given = {key: _plain(value) for key, value in spec.items() if key not in aside}
    for key, value in _AT_REST.get(name, {}).items():
        if key in given and (given[key] is None or given[key] == value):
            del given[key]
    others = {key: value for key, value in given.items() if key not in known}
    if others:
        said = ", ".join(f"{key}={value!r}" for key, value in others.items())
        raise RecipeError(f"from_albumentations: {name}({said}): {name} of Kaleidoscope has no such setting")
    return given


def _plain(value: Any) -> Any:
    """Return a setting as ops take it: no enumerations, no NumPy, tuples for lists."""
    if isinstance(value, Enum):
        return value.value
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value
