"""The dropout whose holes are objects of a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import op
from kaleidoscope.ops.holes import Fill, Hole, Occlusion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame
    from kaleidoscope.targets import Targets

#: What a mask is called that has no name of its own.
_MASK = "mask"


@op
class MaskDropout(Occlusion):
    """Fill some objects of a mask, drawn from all of them; the image shows as if they were not there.

    An object is a part of the mask where values are equal, not 0, and touch at sides or corners. How many are filled is
    drawn uniformly, then which, each as likely as the others. Any dtype and number of channels. Boxes, polygons and
    keypoints stay, as under every occlusion; masks are filled by `fill_mask`. An image without masks, or with an empty
    one, stays as it is.

    Parameters
    ----------
    max_objects : int or (int, int)
        The least and the greatest number of objects, at least 1; a single number x stands for (1, x).
    fill : float, tuple of float or str
        The pixels' own value, for all channels (alpha too) or one each; or ``inpaint_telea`` (Telea, 2004) or
        ``inpaint_ns`` (Bertalmio et al., 2001), what is around the object, continued.
    fill_mask : float or None
        What masks are filled with; None leaves them.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> from kaleidoscope.record import Frame
    >>> from kaleidoscope.targets import Targets
    >>> mask = np.zeros((4, 6), np.uint8)
    >>> mask[1:3, 2:5] = 7
    >>> dropout = ops.MaskDropout()
    >>> dropout.sample_params_for(np.random.default_rng(), Frame(4, 6, 3, "uint8"), Targets(masks={"mask": mask}))
    {'holes': [[2, 1, 5, 3]]}
    """

    max_objects: int | tuple[int, int] = (1, 1)
    fill: Fill = 0.0
    fill_mask: float | None = 0.0

    short_name = "maskdropout"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        expected = "a number of objects x for (1, x), at least 1, or a pair (least, greatest)"
        fields.pair(self, "max_objects", start=1, low=1, whole=True, expected=expected)
        if self.fill in ("random", "random_uniform"):
            raise fields.refuse(self, "fill", self.fill, "a pixel value, one for each channel, or a way to inpaint")
        self.check_fill()

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``holes`` in an image without masks: none."""
        return {"holes": []}

    def sample_params_for(self, rng: Generator, frame: Frame, targets: Targets | None) -> dict[str, Any]:
        """Draw the objects: ``holes``, rectangles (left, top, right, bottom) that cover them and nothing else."""
        mask = None if targets is None else _one_of(targets.masks)
        if mask is None:
            return self.sample_params(rng, frame)
        objects, count = _objects(mask)
        least, greatest = cast("tuple[int, int]", self.max_objects)
        wanted = min(count, int(rng.integers(least, greatest, endpoint=True)))
        chosen = 1 + rng.permutation(count)[:wanted]
        return {"holes": _rectangles(np.isin(objects, chosen))}


def _one_of(masks: Mapping[str, NDArray[Any]]) -> NDArray[Any] | None:
    """Return the mask that has no name of its own, or the first one."""
    return masks.get(_MASK, next(iter(masks.values()), None))


def _objects(mask: NDArray[Any]) -> tuple[NDArray[np.int32], int]:
    """Return the number of each pixel's object, 0 for none, and how many there are."""
    objects, count = np.zeros(mask.shape, np.int32), 0
    for value in np.unique(mask):
        if value:
            more, found = cv2.connectedComponents((mask == value).astype(np.uint8), connectivity=8)
            objects += np.where(found > 0, found + count, 0).astype(np.int32)
            count += more - 1
    return objects, count


def _rectangles(region: NDArray[np.bool_]) -> list[Hole]:
    """Cut a region into rectangles: runs along rows, those of rows that are alike together.

    Examples
    --------
    >>> _rectangles(np.array([[1, 1, 0, 1], [1, 1, 0, 0]], bool))
    [[0, 0, 2, 2], [3, 0, 4, 1]]
    """
    edges = np.diff(np.pad(region.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    under_way: dict[tuple[int, int], int] = {}  # from where to where a run goes, and the row it began in
    done: list[Hole] = []
    for row in range(len(region) + 1):
        runs = set()
        if row < len(region):
            starts, ends = (np.flatnonzero(edges[row] == sign).tolist() for sign in (1, -1))
            runs = set(zip(starts, ends, strict=True))
        done += [[run[0], under_way.pop(run), run[1], row] for run in [*under_way] if run not in runs]
        for run in runs:
            under_way.setdefault(run, row)
    return sorted(done, key=lambda hole: (hole[1], hole[0]))
