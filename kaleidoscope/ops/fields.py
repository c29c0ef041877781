"""Checks of an op's fields, when it is made: what was expected, what came."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, cast

from kaleidoscope.errors import OpError, RecipeError, did_you_mean
from kaleidoscope.ops.base import Part

if TYPE_CHECKING:
    from numpy.random import Generator

    from kaleidoscope.record import Frame

#: What a range field may be given as; `pair` turns a single number into two ends.
Range = float | tuple[float, float]
#: What a field may be given as that has a range for each axis; `axes` stores a `Range`, or one for x and one for y.
Axes = Range | tuple[Range, Range] | Mapping[str, Range]

# In the order of OpenCV's integers 0, 1, 2, ..., which are accepted too.
INTERPOLATIONS = ("nearest", "linear", "cubic", "area", "lanczos4")
BORDER_MODES = ("constant", "replicate", "reflect", "wrap", "reflect_101")
#: Its integers for ways to interpolate: the last two are INTER_LINEAR_EXACT and INTER_NEAREST_EXACT.
_INTERPOLATION_NUMBERS = {**dict(enumerate(INTERPOLATIONS)), 5: "linear", 6: "nearest"}


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
    ends = _ends(value, low=low, high=high, symmetric=symmetric, start=start, whole=whole)
    if ends is None:
        raise refuse(part, name, value, expected)
    set_field(part, name, ends)


def _ends(
    value: object,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    symmetric: bool = False,
    start: float | None = None,
    whole: bool = False,
) -> tuple[float, float] | None:
    """Return the two ends that a range was given as, or None if it is none."""
    ends: Sequence[Any]
    if _is_number(value):
        single = cast("float", value)
        ends = (-abs(single), abs(single)) if symmetric else (single if start is None else start, single)
    elif isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value)):
        ends = value
    else:
        return None
    if not low <= ends[0] <= ends[1] <= high or (whole and any(end != int(end) for end in ends)):
        return None
    kind = int if whole else float
    return kind(ends[0]), kind(ends[1])


def axes(
    part: Part,
    name: str,
    *,
    expected: str,
    rest: float,
    low: float = -math.inf,
    high: float = math.inf,
    whole: bool = False,
) -> None:
    """Check a field that has a range for each axis, and store it as one range if it is the same for both.

    Parameters
    ----------
    part, name
        The part and its field: a number, a range, a mapping with the keys ``x`` and ``y``, or a pair of ranges for
        x and y, which is how two ranges are stored.
    expected : str
        The field's meaning and unit, for the error.
    rest : float
        What an axis has that a mapping leaves out.
    low, high : float
        What all ends must lie in.
    whole : bool
        All ends must be whole numbers; they are stored as int.

    Raises
    ------
    RecipeError
        If it is none of these.
    """
    value = given = getattr(part, name)
    if isinstance(given, Mapping):
        if not given or not set(given) <= {"x", "y"}:
            raise refuse(part, name, given, expected)
        value = (given.get("x", rest), given.get("y", rest))
        both = value
    elif isinstance(given, list | tuple) and len(given) == 2 and not all(map(_is_number, given)):
        both = tuple(given)
    else:
        both = (value, value)
    across, down = (_ends(one, low=low, high=high, whole=whole) for one in both)
    if across is None or down is None:
        raise refuse(part, name, given, expected)
    set_field(part, name, across if across == down else (across, down))


def per_axis(checked: Axes) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the range of x and that of y of a field that `axes` has checked.

    Examples
    --------
    >>> per_axis((0.5, 2.0))
    ((0.5, 2.0), (0.5, 2.0))
    >>> per_axis(((0.5, 2.0), (1.0, 1.0)))
    ((0.5, 2.0), (1.0, 1.0))
    """
    first, second = cast("tuple[Any, Any]", checked)
    return ((first, second), (first, second)) if _is_number(first) else (first, second)


def draw(rng: Generator, ends: Range) -> float:
    """Draw from the uniform distribution over a range that `pair` has checked.

    Examples
    --------
    >>> import numpy as np
    >>> draw(np.random.default_rng(), (3.0, 3.0))
    3.0
    """
    low, high = cast("tuple[float, float]", ends)
    return low + (high - low) * rng.random()  # rng.uniform, in a third of its time


def shuffled(rng: Generator, items: Iterable[Any]) -> list[Any]:
    """Return the items in a drawn order; of a few in a quarter of the time of ``rng.permutation``.

    Examples
    --------
    >>> import numpy as np
    >>> sorted(shuffled(np.random.default_rng(), "cab"))
    ['a', 'b', 'c']
    """
    items = list(items)
    keys = rng.random(len(items)).tolist()
    return [items[place] for place in sorted(range(len(items)), key=keys.__getitem__)]


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


def whole(part: Part, name: str, *, expected: str, low: int) -> None:
    """Check a field that is one whole number, at least `low`, and store it as an int.

    Raises
    ------
    RecipeError
        If it is not.
    """
    value = getattr(part, name)
    if not _is_number(value) or value != int(value) or value < low:
        raise refuse(part, name, value, expected)
    set_field(part, name, int(value))


def counts(part: Part, name: str, *, sizes: Sequence[int], expected: str) -> None:
    """Check a field that is a whole number of at least 0, or a list of them of one of the `sizes`.

    Raises
    ------
    RecipeError
        If it is neither.
    """
    value = getattr(part, name)
    several = value if isinstance(value, list | tuple) else (value,)
    if (several is value and len(several) not in sizes) or any(
        not _is_number(one) or one != int(one) or one < 0 for one in several
    ):
        raise refuse(part, name, value, expected)
    whole_ones = tuple(map(int, several))
    set_field(part, name, whole_ones if several is value else whole_ones[0])


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


def numbers(part: Part, name: str, *, expected: str, low: float = -math.inf) -> None:
    """Check a field that is a number, at least `low`, or one for each channel; store it as float or tuple of float.

    Raises
    ------
    RecipeError
        If it is neither.
    """
    value = getattr(part, name)
    if _is_number(value) and value >= low:
        set_field(part, name, float(value))
    elif isinstance(value, list | tuple) and value and all(_is_number(one) and one >= low for one in value):
        set_field(part, name, tuple(map(float, value)))
    else:
        raise refuse(part, name, value, expected)


def interpolation(part: Part, name: str = "interpolation") -> None:
    """Check a field that is a way to interpolate, and store OpenCV's integers as names.

    Raises
    ------
    RecipeError
        If it is no way to interpolate.
    """
    choice(part, name, INTERPOLATIONS, aliases=_INTERPOLATION_NUMBERS)


def border(part: Part) -> None:
    """Check the fields ``border_mode``, storing OpenCV's integers as names, and ``fill``.

    Raises
    ------
    RecipeError
        If one is not what it should be.
    """
    choice(part, "border_mode", BORDER_MODES, aliases=dict(enumerate(BORDER_MODES)))
    numbers(part, "fill", expected="a pixel value, or a list with one for each channel")


def fill_mask(part: Part) -> None:
    """Check the field ``fill_mask``: one value, as masks have one channel.

    Raises
    ------
    RecipeError
        If it is no value of a mask.
    """
    number(part, "fill_mask", expected="a mask's value, 0 to 65535", low=0, high=65535)


def turned(part: Part) -> None:
    """Check what a warp does to masks and boxes: ``mask_interpolation``, ``fill_mask`` and ``rotate_method``.

    Raises
    ------
    RecipeError
        If one is not what it should be.
    """
    interpolation(part, "mask_interpolation")
    fill_mask(part)
    choice(part, "rotate_method", ("largest_box", "ellipse"))


def refuse_fill(part: Part, value: float | tuple[float, ...], frame: Frame, field: str = "fill") -> None:
    """Refuse a ``fill``, or a field of another name, that pixels of this frame cannot have.

    Raises
    ------
    OpError
        If it has a value for each channel, but of another number of channels, or more than pixels can have.
    """
    name = type(part).__name__
    if isinstance(value, tuple) and len(value) != frame.channels:
        raise OpError(
            f"{name}({field}={value!r}): expected one number or one for each of the {frame.channels} "
            f"channels of {frame}, got {len(value)}"
        )
    if (max(value) if isinstance(value, tuple) else value) > frame.max_value:
        raise OpError(f"{name}({field}={value!r}): expected at most {frame.max_value:g}, the most of {frame.dtype}")


def weights(part: Part, name: str, count: int) -> None:
    """Check a field that says how likely each of `count` parts is, in any unit, and store it as a tuple.

    Raises
    ------
    RecipeError
        If it is not as many numbers of at least 0, one of them more.
    """
    value = getattr(part, name)
    as_many = isinstance(value, list | tuple) and len(value) == count and all(map(_is_number, value))
    if not as_many or min(value) < 0 or sum(value) <= 0:
        raise refuse(part, name, value, f"{count} numbers of at least 0, not all 0")
    set_field(part, name, tuple(map(float, value)))


def amounts(part: Part, name: str, *, expected: str) -> None:
    """Check that a field maps names to finite numbers above 0; store it as a dict.

    Raises
    ------
    RecipeError
        If it does not.
    """
    value = getattr(part, name)
    if not isinstance(value, Mapping):
        raise refuse(part, name, value, expected)
    for key, amount in value.items():
        if not isinstance(key, str) or not key or not _is_number(amount) or not 0 < amount < math.inf:
            raise refuse(part, name, value, expected)
    set_field(part, name, dict(value))
