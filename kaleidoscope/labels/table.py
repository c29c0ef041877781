"""Labels that are at hand: in a table, or in a function of the key."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kaleidoscope.errors import RecipeError, did_you_mean
from kaleidoscope.targets import Labels, Targets, with_thresholds

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_COLUMNS = ("key", "class", "id", "box", *_CORNERS, "polygon", "keypoints")
_PLACES = ("box", "xmin", "polygon", "keypoints")


@dataclass(frozen=True)
class Table:
    """Targets by key.

    Parameters
    ----------
    by_key : mapping of str to Targets
        An image that is not in it has no objects.
    empty : Targets
        What such an image has.
    """

    by_key: Mapping[str, Targets] = field(repr=False)
    empty: Targets

    def part(self, keys: Sequence[str]) -> Table:
        """Return the rows of these images."""
        return Table({key: self.by_key[key] for key in keys if key in self.by_key}, self.empty)

    def mark(self, key: str) -> str:
        """Return a hash of what the image's rows say."""
        return self.of(key).digest()

    def of(self, key: str) -> Targets:
        """Return the image's targets."""
        return self.by_key.get(key, self.empty)


@dataclass(frozen=True)
class Function:
    """Targets as a function says; it is called where the image is read.

    Parameters
    ----------
    function : callable
        From a key to `Targets`, or None.
    min_area, min_visibility : float
        Thresholds of what it returns.
    """

    function: Callable[[str], Targets | None]
    min_area: float = 0.0
    min_visibility: float = 0.0

    def part(self, keys: Sequence[str]) -> Function:
        """Return it as it is."""
        return self

    def mark(self, key: str) -> str:
        """Return the same for every image: what a function will say is not known before it is asked."""
        return f"function {self.min_area} {self.min_visibility}"

    def of(self, key: str) -> Targets | None:
        """Ask the function.

        Raises
        ------
        RecipeError
            If it returns something else.
        """
        targets = self.function(key)
        if targets is not None and not isinstance(targets, Targets):
            raise RecipeError(f"expected Targets or None from the function, got {type(targets).__name__}")
        return targets and with_thresholds(targets, self.min_area, self.min_visibility)


@dataclass(frozen=True)
class Several:
    """Labels of more than one kind, put together: the table of one of them, and the masks of all."""

    parts: tuple[Labels, ...]

    def part(self, keys: Sequence[str]) -> Several:
        """Return that part of each."""
        return Several(tuple(one.part(keys) for one in self.parts))

    def mark(self, key: str) -> str:
        """Return the marks of all."""
        return " ".join(one.mark(key) for one in self.parts)

    def of(self, key: str) -> Targets | None:
        """Put an image's targets together.

        Raises
        ------
        RecipeError
            If two of them have objects, or a mask of one name.
        """
        found = [targets for one in self.parts if (targets := one.of(key)) is not None]
        if not found:
            return None
        with_objects = [targets for targets in found if len(targets)]
        masks = [name for targets in found for name in targets.masks]
        if len(with_objects) > 1 or len(set(masks)) < len(masks):
            raise RecipeError("two of the labels of this image have objects, or a mask of the same name")
        table = with_objects[0] if with_objects else found[0]
        table = with_thresholds(table, max(t.min_area for t in found), max(t.min_visibility for t in found))
        return table.changed(masks={name: mask for targets in found for name, mask in targets.masks.items()})


def labels_of(given: Any, keys: Sequence[str], min_area: float, min_visibility: float) -> Table | Function:
    """Return what ``with_targets`` was given as labels.

    Parameters
    ----------
    given : DataFrame, mapping or callable
        A table with a row for each object, targets by key, or a function of the key.
    keys : sequence of str
        Those of the images.
    min_area, min_visibility : float
        Thresholds; see `Targets`.

    Raises
    ------
    RecipeError
        If it is none of these, if it makes no sense, or if no image has a key of it.

    Warns
    -----
    UserWarning
        If some of its keys are no image's.
    """
    empty = Targets(min_area=min_area, min_visibility=min_visibility)
    if callable(given) and not hasattr(given, "columns"):
        return Function(given, float(min_area), float(min_visibility))
    if hasattr(given, "columns"):
        by_key = _of_table(given, min_area, min_visibility)
    elif isinstance(given, Mapping):
        for key, targets in given.items():
            if not isinstance(key, str) or not isinstance(targets, Targets):
                raise RecipeError(f"expected Targets by key, got {key!r}: {type(targets).__name__}")
        by_key = {key: with_thresholds(targets, min_area, min_visibility) for key, targets in given.items()}
    else:
        raise RecipeError(
            "with_targets: expected a DataFrame with a row for each object, a mapping of key to Targets, or a "
            f"function of the key, got {type(given).__name__}"
        )
    check_keys(by_key, keys)
    return Table(by_key, empty)


def check_keys(labelled: Iterable[str], keys: Sequence[str]) -> None:
    """Compare the keys that are labelled with those of the images.

    Raises
    ------
    RecipeError
        If they have none in common.

    Warns
    -----
    UserWarning
        If some of the labelled are no image's.
    """
    images = set(keys)
    strangers = [key for key in labelled if key not in images]
    if not strangers:
        return
    hint = did_you_mean(strangers[0], keys[:1000]) or f" The first image is {keys[0]!r}."
    if len(strangers) == len(set(labelled)):
        raise RecipeError(f"none of the labels is of an image here: there is none with the key {strangers[0]!r}.{hint}")
    warnings.warn(
        f"{len(strangers)} of the labelled keys are no image's, such as {strangers[0]!r}.{hint}", stacklevel=4
    )


def _of_table(table: Any, min_area: float, min_visibility: float) -> dict[str, Targets]:
    if hasattr(table, "dask"):
        table = table.compute()
    if "key" not in table.columns and table.index.name == "key":
        table = table.reset_index()
    names = list(map(str, table.columns))
    _check_columns(names)
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    columns = [table[name].tolist() for name in names]
    for number, values in enumerate(zip(*columns, strict=True)):
        row = {name: value for name, value in zip(names, values, strict=True) if not _is_missing(value)}
        key = row.pop("key", None)
        if not isinstance(key, str):
            raise RecipeError(f"row {number} of the table: expected an image's key, got {key!r}")
        corners = [row.pop(name, None) for name in _CORNERS]
        if None not in corners:
            row["box"] = corners
        elif any(corner is not None for corner in corners):
            raise RecipeError(f"row {number} of the table ({key!r}): expected all of {', '.join(_CORNERS)} or none")
        if any(place in row for place in _PLACES):
            rows[key].append(row)
        else:
            rows[key] += []  # an image in which nothing is, said by a row without a place
    by_key = {}
    for key, its_rows in rows.items():
        try:
            by_key[key] = Targets.of_objects(its_rows, min_area=min_area, min_visibility=min_visibility)
        except RecipeError as error:
            raise RecipeError(error.message, key=key, step="labels") from None
    return by_key


def _check_columns(names: Sequence[str]) -> None:
    for name in names:
        if name not in _COLUMNS:
            hint = did_you_mean(name, _COLUMNS)
            raise RecipeError(
                f"with_targets: the table has a column {name!r}; it may have {', '.join(_COLUMNS)}.{hint} "
                "Drop what is no label, such as table[['key', 'class', 'xmin', ...]]"
            )
    if "key" not in names:
        raise RecipeError("with_targets: the table needs a column 'key' that names the image of each row")
    if not any(place in names for place in _PLACES):
        raise RecipeError(
            f"with_targets: the table says not where anything is: it needs {', '.join(_CORNERS)}, or box, polygon or "
            "keypoints"
        )


def _is_missing(value: Any) -> bool:
    """Whether a table has nothing there: None, NaN, `pandas.NA`."""
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(value, float) and math.isnan(value)
