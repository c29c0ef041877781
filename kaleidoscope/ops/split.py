"""Tiles: an image cut into rows and columns, each a variant of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.ops.base import Geometric, Params, op
from kaleidoscope.ops.combine import Combinator
from kaleidoscope.ops.fields import refuse
from kaleidoscope.record import Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Split(Combinator):
    """Every tile of a grid, side by side; variants are named ``splitr1c1``, ``splitr1c2``, ...

    Parameters
    ----------
    rows, cols : int
        Of the grid. Tiles differ by a pixel where the image's size is no multiple; none is lost.

    Examples
    --------
    >>> from kaleidoscope import ops, tree
    >>> tree.grow(ops.Split(rows=1, cols=2)).variants
    ['splitr1c1', 'splitr1c2']
    """

    def __init__(self, rows: int, cols: int) -> None:
        self.parts = ()
        self.rows, self.cols = rows, cols
        for name in ("rows", "cols"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise refuse(self, name, value, "a whole number of at least 1")

    def settings(self) -> dict[str, Any]:
        """Return the grid."""
        return {"rows": self.rows, "cols": self.cols}

    def tiles(self) -> dict[str, Tile]:
        """Return the tiles by the last part of their names, row by row."""
        return {
            f"r{row + 1}c{col + 1}": Tile(row, col, self.rows, self.cols)
            for row in range(self.rows)
            for col in range(self.cols)
        }

    def __hash__(self) -> int:
        """Hash by the grid."""
        return hash((self.rows, self.cols))


@op
class Tile(Geometric):
    """One tile of a grid, as `Split` makes them; the pixels are copied as they are.

    Parameters
    ----------
    row, col : int
        Which tile, from 0.
    rows, cols : int
        Of the grid. Row ``r`` begins at pixel ``floor(r * height / rows)``.

    Examples
    --------
    >>> from kaleidoscope.record import Frame
    >>> print(Tile(1, 0, rows=2, cols=2).out_frame(Frame(5, 8, 3, "uint8"), {}))
    4x3x3 uint8
    """

    row: int
    col: int
    rows: int
    cols: int

    short_name = "tile"

    def __post_init__(self) -> None:
        """Check that the tile lies in the grid.

        Raises
        ------
        RecipeError
            If it does not.
        """
        for name, most in (("row", self.rows), ("col", self.cols)):
            value = getattr(self, name)
            if type(value) is not int or type(most) is not int or not 0 <= value < most:
                raise RecipeError(f"Tile({name}={value!r}): expected a whole number from 0 to less than {most!r}")

    @property
    def fuses(self) -> bool:
        """It changes the frame."""
        return False

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the tile's frame.

        Raises
        ------
        OpError
            If the image has fewer pixels than the grid tiles.
        """
        top, bottom, left, right = self._edges(frame)
        if bottom == top or right == left:
            raise OpError(f"expected at least {self.cols}x{self.rows} pixels to split, got {frame}")
        return frame.of_size(bottom - top, right - left)

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the shift of the tile's corner to the origin."""
        top, _, left, _ = self._edges(frame)
        return np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], dtype=np.float64)

    def window(self, src: NDArray[Any], params: Params) -> NDArray[Any]:
        """Return the tile of `src`, shape (H, W, C)."""
        return self._tile(src)

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Copy the tile."""
        np.copyto(out, self._tile(src))

    def _tile(self, src: NDArray[Any]) -> NDArray[Any]:
        top, bottom, left, right = self._edges(Frame.of(src))
        return src[top:bottom, left:right]

    def _edges(self, frame: Frame) -> tuple[int, int, int, int]:
        height, width = frame.height, frame.width
        rows, cols = self.rows, self.cols
        return (
            self.row * height // rows,
            (self.row + 1) * height // rows,
            self.col * width // cols,
            (self.col + 1) * width // cols,
        )
