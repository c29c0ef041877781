"""Checks of an op's fields, when it is made: what was expected, what came."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, cast

from kaleidoscope.errors import RecipeError, did_you_mean
from kaleidoscope.ops.base import Part

if TYPE_CHECKING:
    from numpy.random import Generator

#: What a range field may be given as; `pair` turns a single number into two ends.
Range = float | tuple[float, float]


def refuse(part: Part, name: str, value: object, expected: str) -> RecipeError:
    """Return the error for a field that is not what it should be.

    Examples
    --------
    >>> refuse(Part(), "limit", "a lot", "degrees").message
    "Part(limit='a lot'): expected degrees, got 'a lot' (str)"
    """
    kind = type(value).__name__
    return RecipeError(f"{type(part).__name__}({name}={value!r}): expected {expected}, got {value!r} ({kind})")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def set_field(part: Part, name: str, value: Any) -> None:
    """Set a field of a frozen part to its checked form."""
    object.__setattr__(part, name, value)


def pair(
    part: Part,
    name: str,
    *,
    expected: str,
    low: float = -math.inf,
    high: float = math.inf,
    symmetric: bool = False,
    start: float | None = None,
    whole: bool = False,
) -> None:
    """Check a field that is a (low, high) range, and store it as a tuple.

    Parameters
    ----------
    part, name
        The part and its field.
    expected : str
        The field's meaning and unit, for the error.
    low, high : float
        What both ends must lie in.
    symmetric : bool
        A single number x stands for (-x, x).
    start : float, optional
        A single number x stands for (start, x); without `symmetric` and `start`, for (x, x).
    whole : bool
        Both ends must be whole numbers; they are stored as int.

    Raises
    ------
    RecipeError
        If it is no number or ordered pair of finite numbers, or out of range.
    """
    value = getattr(part, name)
    ends: Sequence[Any]
    if _is_number(value):
        ends = (-abs(value), abs(value)) if symmetric else (value if start is None else start, value)
    elif isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value)):
        ends = value
    else:
        raise refuse(part, name, value, expected)
    if not low <= ends[0] <= ends[1] <= high or (whole and any(end != int(end) for end in ends)):
        raise refuse(part, name, value, expected)
    kind = int if whole else float
    set_field(part, name, (kind(ends[0]), kind(ends[1])))


def draw(rng: Generator, ends: Range) -> float:
    """Draw from the uniform distribution over a range that `pair` has checked.

    Examples
    --------
    >>> import numpy as np
    >>> draw(np.random.default_rng(), (3.0, 3.0))
    3.0
    """
    low, high = cast("tuple[float, float]", ends)
    return float(rng.uniform(low, high))


def number(part: Part, name: str, *, expected: str, low: float = -math.inf, high: float = math.inf) -> None:
    """Check a field that is one finite number in [low, high], and store it as a float.

    Raises
    ------
    RecipeError
        If it is not.
    """
    value = getattr(part, name)
    if not _is_number(value) or not low <= value <= high:
        raise refuse(part, name, value, expected)
    set_field(part, name, float(value))


def flag(part: Part, name: str) -> None:
    """Check a field that is True or False.

    Raises
    ------
    RecipeError
        If it is anything else: 0 and "no" are refused, so that a typo in a recipe is not taken for a choice.
    """
    value = getattr(part, name)
    if not isinstance(value, bool):
        raise refuse(part, name, value, "True or False")


def choice(part: Part, name: str, known: Sequence[str], *, aliases: dict[int, str] | None = None) -> None:
    """Check a field that is one of the `known` names; `aliases` are OpenCV's numbers for them.

    Raises
    ------
    RecipeError
        If it is none of them; the nearest is suggested.
    """
    value = getattr(part, name)
    if aliases and isinstance(value, int) and not isinstance(value, bool):
        value = aliases.get(value, value)
    if value not in known:
        hint = did_you_mean(value, known) if isinstance(value, str) else ""
        wanted = "one of " + ", ".join(map(repr, known))
        raise RecipeError(refuse(part, name, getattr(part, name), wanted).message + hint)
    set_field(part, name, value)


def fill(part: Part, name: str) -> None:
    """Check a field that is the pixel value beyond the border: a number, or one for each channel.

    Raises
    ------
    RecipeError
        If it is neither.
    """
    value = getattr(part, name)
    if _is_number(value):
        set_field(part, name, float(value))
    elif isinstance(value, list | tuple) and value and all(map(_is_number, value)):
        set_field(part, name, tuple(map(float, value)))
    else:
        raise refuse(part, name, value, "a pixel value, or a list with one for each channel")


def weights(part: Part, name: str, count: int) -> None:
    """Check a field that says how likely each of `count` parts is, in any unit, and store it as a tuple.

    Raises
    ------
    RecipeError
        If it is not as many numbers of at least 0, one of them more.
    """
    value = getattr(part, name)
    numbers = isinstance(value, list | tuple) and len(value) == count and all(map(_is_number, value))
    if not numbers or min(value) < 0 or sum(value) <= 0:
        raise refuse(part, name, value, f"{count} numbers of at least 0, not all 0")
    set_field(part, name, tuple(map(float, value)))
