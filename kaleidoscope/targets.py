"""Targets: what is labelled in an image. A table with a row for each object, and masks with names."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kaleidoscope.coordinates import (
    HALF,
    bounds,
    box_areas,
    clip_boxes,
    clip_polygon,
    polygon_area,
)
from kaleidoscope.errors import OpError, RecipeError, did_you_mean
from kaleidoscope.target_columns import as_boxes, as_keypoints, as_mask, as_name, as_rings, as_shares, length_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: The columns of the table of objects.
COLUMNS = ("classes", "ids", "boxes", "polygons", "keypoints", "visible")
#: Their names in one row.
_IN_A_ROW = {"classes": "class", "ids": "id", "boxes": "box", "polygons": "polygon"}
#: Decimals that coordinates are written with: a ten-thousandth of a pixel, far above what processors differ by.
_DECIMALS = 4
#: What is less than this share of an object was not cut off but rounded away.
_ROUNDING = 1e-9
#: Pixels. What is thinner was not left but rounded there, and has no box any more once coordinates are written.
_THINNEST = 2 * 10**-_DECIMALS


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What is labelled in one image: a table of objects, and masks. It moves with the pixels.

    Columns of the table are given for all objects, or not at all. Everything is relative to the image as it is shown,
    its EXIF orientation applied.

    Parameters
    ----------
    boxes : array of shape (N, 4), pixels
        xyxy at edges: an image of W x H pixels is (0, 0, W, H). NaN where an object has none.
    classes : sequence of str or int, optional
        What each object is.
    ids : sequence of str or int, optional
        Which one it is.
    polygons : sequence, optional
        The outline of each object at edges: an array of shape (K, 2), or several of them for an object in parts, each
        also flat (x, y, x, y, ...); None where there is none. Without `boxes` their bounds are the boxes.
    keypoints : sequence, optional
        The points of each object at pixel centres (the middle of the first pixel is (0, 0)): an array of shape (K, 2),
        or (K, 3), also flat, with a visibility as COCO has it: 0 not there, 1 hidden, 2 seen. One that leaves the frame
        becomes (0, 0, 0).
    visible : array of shape (N,), optional
        How much of each object is left of what was labelled, 0 to 1.
    masks : mapping of str to array of shape (H, W), optional
        As large as the image, ``uint8``, ``uint16`` or bool: a value for each pixel, such as a class.
    min_area : float, square pixels
        Objects with less left than this are dropped, the whole row.
    min_visibility : float
        Objects of which less is visible than this, 0 to 1, are dropped.

    Raises
    ------
    RecipeError
        If a column is not what it should be, naming the object.

    Examples
    --------
    >>> Targets(boxes=[(10, 20, 50, 40)], classes=["cat"])
    Targets(1 object: cat)
    """

    boxes: Any = None
    classes: Sequence[Any] | None = None
    ids: Sequence[Any] | None = None
    polygons: Any = None
    keypoints: Any = None
    visible: Any = None
    masks: Mapping[str, Any] = field(default_factory=dict)
    min_area: float = 0.0
    min_visibility: float = 0.0

    def __post_init__(self) -> None:
        """Check every column, and store it in one form: float64 arrays, tuples, nothing missing."""
        given = {name: getattr(self, name) for name in COLUMNS if getattr(self, name) is not None}
        lengths = {name: length_of(name, value) for name, value in given.items()}
        count = max(lengths.values(), default=0)
        for name, length in lengths.items():
            if length != count:
                raise RecipeError(f"Targets({name}=...): expected one for each of {count} objects, got {length}")
        for name in ("classes", "ids"):
            self._set(name, tuple(map(as_name, given.get(name, [None] * count))))
        polygons = tuple(as_rings(i, rings) for i, rings in enumerate(given.get("polygons", [None] * count)))
        self._set("polygons", polygons)
        self._set("keypoints", tuple(as_keypoints(i, p) for i, p in enumerate(given.get("keypoints", [None] * count))))
        self._set("boxes", as_boxes(given.get("boxes"), polygons))
        self._set("visible", as_shares(given.get("visible"), count))
        if not isinstance(self.masks, Mapping):
            raise RecipeError(f"Targets(masks=...): expected masks by their names, got {type(self.masks).__name__}")
        masks = {name: as_mask(name, mask) for name, mask in self.masks.items()}
        if len({name.casefold() for name in masks}) < len(masks):
            raise RecipeError(f"Targets(masks=...): names differ only in upper and lower case: {sorted(masks)}")
        self._set("masks", masks)
        for name, most in (("min_area", np.inf), ("min_visibility", 1.0)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= most:
                unit = "square pixels, at least 0" if most > 1 else "a share, 0 to 1"
                raise RecipeError(f"Targets({name}={value!r}): expected {unit}")
            self._set(name, float(value))
        pointless = np.array([not points.size for points in self.keypoints], dtype=bool)
        nothing = np.isnan(self.boxes[:, 0]) & pointless
        if nothing.any():
            raise RecipeError(f"object {int(np.flatnonzero(nothing)[0])}: expected a box, a polygon or keypoints")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def changed(self, **columns: Any) -> Targets:
        """Return them with other columns, which are in the stored form already: nothing is checked."""
        other: Targets = object.__new__(Targets)
        for name in self.__slots__:
            object.__setattr__(other, name, columns[name] if name in columns else getattr(self, name))
        return other

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.boxes)

    def __bool__(self) -> bool:
        """Be true also without objects: an image in which there are none is labelled."""
        return True

    def __eq__(self, other: object) -> bool:
        """Compare by what they say."""
        return isinstance(other, Targets) and self.digest() == other.digest()

    def __hash__(self) -> int:
        """Hash by what they say."""
        return hash(self.digest())

    def __repr__(self) -> str:
        """Count the objects and name the masks."""
        kinds = sorted({str(kind) for kind in self.classes or () if kind is not None})
        words = [f"{len(self)} object{'s' * (len(self) != 1)}" + f": {', '.join(kinds)}" * bool(kinds)]
        words += [f"mask {name}" for name in self.masks]
        return f"Targets({'; '.join(words)})"

    def __dask_tokenize__(self) -> str:
        """Name them for Dask by what they say."""
        return self.digest()

    def kept(self, which: NDArray[np.bool_]) -> Targets:
        """Return them with some objects only, whole rows; `which` has shape (N,)."""
        if which.all():
            return self
        chosen = np.flatnonzero(which)
        columns: dict[str, Any] = {name: getattr(self, name)[chosen] for name in ("boxes", "visible")}
        for name in ("classes", "ids", "polygons", "keypoints"):
            column = getattr(self, name)
            columns[name] = tuple(column[i] for i in chosen)
        return self.changed(**columns)

    def clipped(self, width: int, height: int) -> tuple[Targets, int, int]:
        """Return what of the objects lies in a frame, how many were cut, and how many were dropped.

        Parameters
        ----------
        width, height : int
            Of the frame, in pixels.
        """
        inside, share, large = self._cut(width, height)
        visible = self.visible * share
        keep = large & (visible >= self.min_visibility)
        return inside.changed(visible=visible).kept(keep), int(np.sum(keep & (share < 1))), int(np.sum(~keep))

    def fitted(self, width: int, height: int) -> tuple[Targets, int]:
        """Return them as labels of an image of that size, and how many objects nothing of which is in it.

        What lies outside of the image is no label.

        Raises
        ------
        OpError
            If a mask has another size.
        """
        for name, mask in self.masks.items():
            if mask.shape != (height, width):
                raise OpError(
                    f"the mask {name!r} is {mask.shape[1]}x{mask.shape[0]} pixels large, its image {width}x{height} "
                    "(EXIF orientation applied): expected the same"
                )
        inside, share, large = self._cut(width, height)
        return inside.kept(large), int(np.sum(share <= _ROUNDING))

    def _cut(self, width: int, height: int) -> tuple[Targets, Floats, NDArray[np.bool_]]:
        """Return the parts of the objects in a frame, their shares of the whole, and whether they are large enough."""
        keypoints, seen = _clip_keypoints(self.keypoints, width, height)
        boxes = clip_boxes(self.boxes, width, height)
        before, after = box_areas(self.boxes), box_areas(boxes)
        polygons = list(self.polygons)
        for i, rings in enumerate(polygons):
            parts = [part for ring in rings for part in clip_polygon(ring, width, height)]
            if len(parts) != len(rings) or any(part is not ring for part, ring in zip(parts, rings, strict=True)):
                polygons[i] = tuple(parts)
                boxes[i] = bounds(np.concatenate(parts)) if parts else 0.0
            if (area := sum(map(polygon_area, rings))) > 0:  # rings that cross themselves may have none: the box has
                before[i], after[i] = area, sum(map(polygon_area, polygons[i]))
        only_points = np.isnan(before)
        share = np.where(only_points, seen, after / np.where(before > 0, before, 1.0))
        share[share > 1 - _ROUNDING] = 1.0
        thinnest = np.min(boxes[:, 2:] - boxes[:, :2], axis=1)
        large = (share > _ROUNDING) & (only_points | ((after >= self.min_area) & (thinnest >= _THINNEST)))
        return self.changed(boxes=boxes, polygons=tuple(polygons), keypoints=keypoints), share, large

    def copied(self) -> Targets:
        """Return them with arrays of their own."""
        return self.changed(
            boxes=self.boxes.copy(),
            visible=self.visible.copy(),
            polygons=tuple(tuple(ring.copy() for ring in rings) for rings in self.polygons),
            keypoints=tuple(points.copy() for points in self.keypoints),
            masks={name: mask.copy() for name, mask in self.masks.items()},
        )

    def objects(self) -> list[dict[str, Any]]:
        """Return the table as JSON values, a dict for each object with what is known of it.

        Examples
        --------
        >>> Targets(keypoints=[[(1, 2)]], ids=[7]).objects()
        [{'id': 7, 'keypoints': [[1.0, 2.0, 2.0]], 'visible': 1.0}]
        """
        rows = []
        for i in range(len(self)):
            row: dict[str, Any] = {"class": self.classes[i], "id": self.ids[i]}  # type: ignore[index]  # stored form
            row["box"] = None if np.isnan(self.boxes[i, 0]) else _rounded(self.boxes[i])
            row["polygon"] = [_rounded(ring) for ring in self.polygons[i]] or None
            row["keypoints"] = _rounded(self.keypoints[i]) or None
            row["visible"] = round(float(self.visible[i]), _DECIMALS)
            rows.append({name: value for name, value in row.items() if value is not None})
        return rows

    @classmethod
    def of_objects(cls, rows: Iterable[Mapping[str, Any]], **others: Any) -> Targets:
        """Return targets from rows as `objects` writes them; `others` are masks and thresholds.

        Raises
        ------
        RecipeError
            For a row that is none, or says what no row can.

        Examples
        --------
        >>> Targets.of_objects([{"class": "cat", "box": [0, 0, 4, 5]}]).boxes.tolist()
        [[0.0, 0.0, 4.0, 5.0]]
        """
        rows = list(rows)
        known = {_IN_A_ROW.get(name, name): name for name in COLUMNS}
        for row in rows:
            if not isinstance(row, Mapping):
                raise RecipeError(f"expected a mapping for each object, such as {{'box': [0, 0, 4, 5]}}, got {row!r}")
            for name in row:
                if name not in known:
                    hint = did_you_mean(str(name), known)
                    raise RecipeError(f"an object has {', '.join(known)}, not {name!r}.{hint}")
        columns: dict[str, Any] = {column: [row.get(name) for row in rows] for name, column in known.items()}
        return cls(**columns, **others)

    def digest(self) -> str:
        """Return a hash of everything they say, as hexadecimal digits."""
        masks = [[name, list(m.shape), str(m.dtype), zlib.crc32(m.tobytes())] for name, m in sorted(self.masks.items())]
        said = json.dumps([self.objects(), masks, self.min_area, self.min_visibility])
        return blake2b(said.encode(), digest_size=8).hexdigest()


class Labels(Protocol):
    """Where the targets of a dataset come from."""

    def part(self, keys: Sequence[str]) -> Labels:
        """Return what is needed for these images: it travels inside a task."""
        ...

    def mark(self, key: str) -> str:
        """Return a short text that changes when an image's labels do."""
        ...

    def of(self, key: str) -> Targets | None:
        """Return an image's targets, read now; None if it has none."""
        ...

    def token(self) -> str:
        """Return what names them for Dask beside the marks of their images."""
        ...

    def mask_count(self) -> int:
        """Return how many masks an image has, as far as that is known before they are read."""
        ...


def with_thresholds(targets: Targets, min_area: float, min_visibility: float) -> Targets:
    """Return them with the larger of the thresholds they have and these, which have been checked."""
    return targets.changed(
        min_area=max(min_area, targets.min_area),
        min_visibility=max(min_visibility, targets.min_visibility),
    )


def _clip_keypoints(
    keypoints: Sequence[Floats], width: int, height: int
) -> tuple[tuple[Floats, ...], NDArray[np.float64]]:
    """Return keypoints with 0 as visibility where they lie outside, and the share of each object's that do not."""
    made, shares = [], np.ones(len(keypoints))
    for i, points in enumerate(keypoints):
        if not len(points):
            made.append(points)
            continue
        there = points[:, 2] > 0
        edges = points[:, :2] + HALF
        outside = there & ((edges < 0) | (edges > (width, height))).any(axis=1)
        shares[i] = 1 - outside.sum() / max(there.sum(), 1) if there.any() else 0.0
        if outside.any():
            points = points.copy()  # noqa: PLW2901
            points[outside] = 0.0
        made.append(points)
    return tuple(made), shares


def _rounded(values: Floats) -> Any:
    return (np.round(values, _DECIMALS) + 0.0).tolist()  # + 0.0: no negative zero
