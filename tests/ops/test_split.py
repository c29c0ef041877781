import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaleidoscope import ops
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.errors import RecipeError
from kaleidoscope.plan import make_plan
from kaleidoscope.recipe import from_spec, to_spec
from kaleidoscope.record import Frame
from kaleidoscope.tree import count_leaves, grow
from kaleidoscope.walk import walk


def outcomes(recipe, pixels):
    found = walk(make_plan(grow(recipe)), pixels, key="a", seed=0, backend=Cv2Backend())
    return {one.variant: one.error or one.pixels.copy() for one in found}


@given(st.integers(1, 5), st.integers(1, 5), st.integers(5, 12), st.integers(5, 12))
def test_tiles_put_together_are_the_image(rows, cols, height, width):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    tiles = outcomes(ops.Split(rows, cols), pixels)
    assert len(tiles) == rows * cols
    grid = [[tiles[f"splitr{r + 1}c{c + 1}"] for c in range(cols)] for r in range(rows)]
    np.testing.assert_array_equal(np.vstack([np.hstack(row) for row in grid]), pixels)


def test_matrix_says_where_a_pixel_went():
    pixels = np.zeros((9, 12, 1), np.uint8)
    pixels[7, 9] = 255
    tile = ops.Tile(1, 2, rows=2, cols=3)
    x, y, _ = tile.matrix(Frame.of(pixels), {}) @ (9, 7, 1)
    assert outcomes(ops.Split(2, 3), pixels)["splitr2c3"][int(y), int(x), 0] == 255


def test_composes_with_what_is_before_and_after():
    recipe = ops.Sequential(ops.HorizontalFlip(), ops.Split(1, 2), ops.PowerSet(ops.GaussianBlur()), ops.Split(2, 1))
    assert count_leaves(recipe) == 8
    assert grow(recipe).variants[:3] == [
        "hflip-splitr1c1-blur-split2r1c1",
        "hflip-splitr1c1-blur-split2r2c1",
        "hflip-splitr1c1-split2r1c1",
    ]


def test_an_image_of_fewer_pixels_fails_by_itself():
    found = outcomes(ops.PowerSet(ops.Split(3, 1), ops.HorizontalFlip()), np.zeros((2, 8, 1), np.uint8))
    assert found["hflip"].shape == (2, 8, 1)
    assert "at least 1x3 pixels" in str(found["splitr1c1"])


@pytest.mark.parametrize("part", [ops.Split(2, 3), ops.Tile(1, 2, 2, 3)], ids=repr)
def test_travels(part):
    assert from_spec(to_spec(part)) == part
    assert eval(repr(part), {"Split": ops.Split, "Tile": ops.Tile}) == part


@pytest.mark.parametrize("grid", [(0, 1), (1, -1), (1.5, 1), ("2", 1), (True, 1)])
def test_a_grid_that_is_none_is_refused(grid):
    with pytest.raises(RecipeError, match="whole number"):
        ops.Split(*grid)
