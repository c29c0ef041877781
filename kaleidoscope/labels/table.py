"""Labels that are at hand: in a table, or in a function of the key."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dask.base import tokenize

from kaleidoscope.errors import RecipeError, did_you_mean
from kaleidoscope.labels.masks import Masks
from kaleidoscope.targets import Labels, Targets, with_thresholds

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_COLUMNS = ("key", "class", "id", "box", *_CORNERS, "polygon", "keypoints")
#: What other tables call these columns.
_HINTS = {
    "bbox": " Did you mean 'box', as x1, y1, x2, y2? COCO's bbox is x, y, width, height.",
    "bboxes": " Did you mean 'box', as x1, y1, x2, y2, in a row for each object?",
    "segmentation": " Did you mean 'polygon'?",
    **dict.fromkeys(("label", "category", "category_id", "name"), " Did you mean 'class'?"),
    **dict.fromkeys(("filename", "file_name", "file", "path", "image", "image_id"), " Did you mean 'key'?"),
}
#: Images with labels that make no sense are told by name up to this many.
_SHOWN = 5
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

    def token(self) -> str:
        """Return nothing of its own: the marks say all."""
        return "table"

    def mask_count(self) -> int:
        """Return how many masks that image has that has the most."""
        return max((len(targets.masks) for targets in self.by_key.values()), default=0)


@dataclass(frozen=True)
class Function:
    """Targets as a function says; it is called where the image is read.

    Parameters
    ----------
    function : callable
        From a key to `Targets`, or None.
    min_area, min_visibility : float
        Thresholds of what it returns.
    version : str
        Another one means that it says something else.
    """

    function: Callable[[str], Targets | None]
    min_area: float = 0.0
    min_visibility: float = 0.0
    version: str = ""

    def part(self, keys: Sequence[str]) -> Function:
        """Return it as it is."""
        return self

    def mark(self, key: str) -> str:
        """Return the same for every image: what a function will say is not known before it is asked."""
        return f"function {self.min_area} {self.min_visibility} {self.version}"

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

    def token(self) -> str:
        """Return what tells the function from others."""
        return str(tokenize(self.function, self.min_area, self.min_visibility, self.version))

    def mask_count(self) -> int:
        """Return 0: nobody knows before it is asked."""
        return 0


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
        masks = [name.casefold() for targets in found for name in targets.masks]
        if len(with_objects) > 1 or len(set(masks)) < len(masks):
            raise RecipeError("two of the labels of this image have objects, or a mask of the same name")
        table = with_objects[0] if with_objects else found[0]
        table = with_thresholds(table, max(t.min_area for t in found), max(t.min_visibility for t in found))
        return table.changed(masks={name: mask for targets in found for name, mask in targets.masks.items()})

    def token(self) -> str:
        """Return the tokens of all."""
        return " ".join(one.token() for one in self.parts)

    def mask_count(self) -> int:
        """Return the sum of all."""
        return sum(one.mask_count() for one in self.parts)


def masks_in(labels: Labels | None) -> list[Masks]:
    """Return the folders of masks among labels."""
    parts = labels.parts if isinstance(labels, Several) else (labels,)
    return [one for one in parts if isinstance(one, Masks)]


def labels_of(
    given: Any, keys: Sequence[str], min_area: float, min_visibility: float, version: str = ""
) -> Table | Function:
    """Return what ``with_targets`` was given as labels.

    Parameters
    ----------
    given : DataFrame, mapping or callable
        A table with a row for each object, targets by key, or a function of the key.
    keys : sequence of str
        Those of the images.
    min_area, min_visibility : float
        Thresholds; see `Targets`.
    version : str
        Of what a function says.

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
        return Function(given, empty.min_area, empty.min_visibility, version)
    if hasattr(given, "columns"):
        by_key = _of_table(given, min_area, min_visibility)
    elif isinstance(given, Mapping):
        for key, targets in given.items():
            if not isinstance(key, str) or not isinstance(targets, Targets):
                raise RecipeError(f"expected Targets by key, got {key!r}: {type(targets).__name__}")
        by_key = {key: with_thresholds(targets, empty.min_area, empty.min_visibility) for key, targets in given.items()}
    else:
        raise RecipeError(
            "with_targets: expected a DataFrame with a row for each object, a mapping of key to Targets, or a "
            f"function of the key, got {type(given).__name__}"
        )
    if not by_key:
        raise RecipeError("with_targets: expected labels, got none: not one row or key")
    _check_pixels(by_key.values())
    check_keys(by_key, keys)
    return Table(by_key, empty)


def _check_pixels(several: Iterable[Targets]) -> None:
    """Refuse boxes that are fractions of the image.

    Raises
    ------
    RecipeError
        If there are some, and none of them reaches beyond the first pixel.
    """
    largest = [np.nanmax(targets.boxes[:, 2:]) for targets in several if not np.isnan(targets.boxes).all()]
    if largest and max(largest) <= 1:
        raise RecipeError(
            "with_targets: expected boxes in pixels, got none that reaches beyond the first pixel: multiply fractions "
            "by the image's width and height"
        )


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
    return _targets_by_key(rows, min_area, min_visibility)


def _targets_by_key(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], min_area: float, min_visibility: float
) -> dict[str, Targets]:
    """Return targets of rows, or one error about all images whose rows make no sense."""
    by_key: dict[str, Targets] = {}
    wrong: list[RecipeError] = []
    for key, its_rows in rows.items():
        try:
            by_key[key] = Targets.of_objects(its_rows, min_area=min_area, min_visibility=min_visibility)
        except RecipeError as error:
            wrong.append(RecipeError(error.message, key=key, step="labels"))
    if wrong:
        shown = "; ".join(map(str, wrong[:_SHOWN]))
        raise RecipeError(f"{shown}; and {len(wrong) - _SHOWN} images more" if len(wrong) > _SHOWN else shown)
    return by_key


def _check_columns(names: Sequence[str]) -> None:
    for name in names:
        if name not in _COLUMNS:
            hint = _HINTS.get(name.lower()) or did_you_mean(name, _COLUMNS)
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
