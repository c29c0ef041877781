"""Pieces of an image in other places."""

from __future__ import annotations

from collections import defaultdict
from itertools import accumulate, pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, op

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

    Floats = NDArray[np.float64]


@op
class RandomGridShuffle(Op):
    """Cut the image into a grid of tiles, and exchange tiles of the same size at random.

    The sides are cut into almost equal parts, of whole pixels and in a drawn order; tiles of each size change places
    among each other, every order as likely as the others. Exact, for any dtype and number of channels: nothing is
    interpolated. A polygon falls into parts where it is cut; a box is that of all its parts.

    Parameters
    ----------
    grid : (int, int), each at least 1
        Rows and columns.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> row, out = np.arange(6, dtype="uint8").reshape(1, 6, 1), np.empty((1, 6, 1), dtype="uint8")
    >>> drawn = {"rows": [1], "columns": [2, 2, 2], "mapping": [2, 0, 1]}  # the first tile goes to the third place
    >>> ops.RandomGridShuffle(grid=(1, 3)).kernel(row, drawn, out)
    >>> out.ravel().tolist()
    [2, 3, 4, 5, 0, 1]
    """

    grid: tuple[int, int] = (3, 3)

    short_name = "gridshuffle"

    def __post_init__(self) -> None:
        """Check the grid.

        Raises
        ------
        RecipeError
            If it is no pair of whole numbers, at least 1.
        """
        fields.counts(self, "grid", sizes=(2,), expected="a pair (rows, columns), each at least 1")
        if not isinstance(self.grid, tuple) or min(self.grid) < 1:
            raise fields.refuse(self, "grid", self.grid, "a pair (rows, columns), each at least 1")

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``rows`` and ``columns``, the sides of tiles in pixels, and ``mapping``: the place each tile goes to."""
        rows, columns = (
            fields.shuffled(rng, [size // parts + (i < size % parts) for i in range(parts)])
            for size, parts in zip((frame.height, frame.width), self.grid, strict=True)
        )
        alike = defaultdict(list)
        for tile, size in enumerate(product(rows, columns)):
            alike[size].append(tile)
        mapping = [0] * (len(rows) * len(columns))
        keys = rng.random(len(mapping)).tolist()
        for tiles in alike.values():
            for tile, place in zip(tiles, sorted(tiles, key=keys.__getitem__), strict=True):
                mapping[tile] = place
        return {"rows": rows, "columns": columns, "mapping": mapping}

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with the tiles of `src`, shape (H, W, C)."""
        tiles = _tiles(params)
        for (x1, y1, x2, y2), place in zip(tiles, params["mapping"], strict=True):
            to_x, to_y = tiles[place][:2]
            out[to_y : to_y + y2 - y1, to_x : to_x + x2 - x1] = src[y1:y2, x1:x2]

    def pieces(self, frame: Frame, params: Params) -> list[tuple[Floats, Floats]]:
        """Return each tile, xyxy at edges, and how far it goes, xy."""
        tiles = np.array(_tiles(params), dtype=float)
        return [
            (tile, tiles[place, :2] - tile[:2])
            for tile, place in zip(tiles, params["mapping"], strict=True)
            if tile[2] > tile[0] and tile[3] > tile[1]
        ]

    def move_points(self, points: Floats, frame: Frame, params: Params) -> Floats:
        """Return where the tiles take `points`, shape (N, 2); those beyond the image go with the nearest tile."""
        moved = points.copy()
        inside = np.clip(points + 0.5, 0, np.nextafter([frame.width, frame.height], 0))
        for tile, shift in self.pieces(frame, params):
            moved[((inside >= tile[:2]) & (inside < tile[2:])).all(axis=1)] += shift
        return moved


def _tiles(params: Params) -> list[tuple[int, int, int, int]]:
    """Return the tiles, xyxy at edges, row by row."""
    down, across = (list(accumulate(params[name], initial=0)) for name in ("rows", "columns"))
    return [(x1, y1, x2, y2) for y1, y2 in pairwise(down) for x1, x2 in pairwise(across)]
