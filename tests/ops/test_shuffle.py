"""`RandomGridShuffle`: tiles are copied, and targets are cut as they are."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaleidoscope import ops
from kaleidoscope.backends.follow import follow
from kaleidoscope.backends.moves import moves_of
from kaleidoscope.coordinates import polygon_area
from kaleidoscope.errors import RecipeError
from kaleidoscope.randomness import stream
from kaleidoscope.record import Frame
from kaleidoscope.targets import Targets

#: Two halves of an image of 20 x 10 change places.
HALVES, EXCHANGED = ops.RandomGridShuffle((1, 2)), {"rows": [10], "columns": [10, 10], "mapping": [1, 0]}
FRAME = Frame(10, 20, 1, "uint8")


def moved(**columns):
    return follow(Targets(**columns), moves_of(HALVES, EXCHANGED, FRAME))[0]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_every_pixel_is_kept_once_and_found_where_points_go(height, width, rows, columns, seed):
    op, frame = ops.RandomGridShuffle((rows, columns)), Frame(height, width, 1, "uint16")
    drawn = op.sample_params(stream(seed, "a", "b"), frame)
    src = np.arange(height * width, dtype=np.uint16).reshape(height, width, 1)
    out = np.full_like(src, 9999)
    op.kernel(src, drawn, out)
    down, across = np.mgrid[:height, :width]
    points = np.stack([across.ravel(), down.ravel()], axis=1).astype(float)
    x, y = op.move_points(points, frame, drawn).astype(int).T
    np.testing.assert_array_equal(out[y, x, 0], src.ravel())


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 6), st.integers(1, 6))
def test_tiles_are_almost_equal_and_change_places_with_their_like(height, width, rows, columns):
    op = ops.RandomGridShuffle((rows, columns))
    drawn = op.sample_params(stream(0, "a", "b"), Frame(height, width, 3, "uint8"))
    for name, size, count in (("rows", height, rows), ("columns", width, columns)):
        assert sum(drawn[name]) == size
        assert len(drawn[name]) == count
        assert max(drawn[name]) - min(drawn[name]) <= 1
    assert sorted(drawn["mapping"]) == list(range(rows * columns))
    sizes = [(h, w) for h in drawn["rows"] for w in drawn["columns"]]
    assert all(sizes[tile] == sizes[place] for tile, place in enumerate(drawn["mapping"]))


def test_every_order_is_as_likely():
    rng, frame = np.random.default_rng(0), Frame(10, 30, 3, "uint8")
    orders = Counter(tuple(ops.RandomGridShuffle((1, 3)).sample_params(rng, frame)["mapping"]) for _ in range(1200))
    assert len(orders) == 6
    assert min(orders.values()) > 150


def test_a_polygon_falls_into_its_parts():
    targets = moved(polygons=[[(8, 2), (14, 2), (14, 6), (8, 6)]])
    parts = targets.polygons[0]
    assert len(parts) == 2
    assert sum(map(polygon_area, parts)) == 24
    assert sorted(part.min(axis=0).tolist() + part.max(axis=0).tolist() for part in parts) == [
        [0, 2, 4, 6],
        [18, 2, 20, 6],
    ]
    assert targets.boxes.tolist() == [[0, 2, 20, 6]]
    assert targets.visible.tolist() == [1]


def test_a_box_is_that_of_all_its_parts():
    targets = moved(boxes=[(2, 1, 9, 5), (8, 2, 14, 6), (11, 0, 12, 10)])
    assert targets.boxes.tolist() == [[12, 1, 19, 5], [0, 2, 20, 6], [1, 0, 2, 10]]


def test_a_box_larger_than_a_tile_is_that_of_what_was_in_its_middle():
    op, frame = ops.RandomGridShuffle((1, 5)), Frame(10, 50, 1, "uint8")
    drawn = {"rows": [10], "columns": [10] * 5, "mapping": [0, 1, 4, 3, 2]}  # the middle goes to the end
    (box,) = follow(Targets(boxes=[(5, 2, 35, 8)]), moves_of(op, drawn, frame))[0].boxes.tolist()
    assert box == [5, 2, 50, 8]


def test_keypoints_go_with_their_tiles():
    targets = moved(keypoints=[[(9, 3, 2), (10, 3, 1), (0, 0, 0)]])
    assert targets.keypoints[0].tolist() == [[19, 3, 2], [0, 3, 1], [0, 0, 0]]


@pytest.mark.parametrize("grid", [0, 3, (0, 2), (3,), (2, 2, 2), (1.5, 2), "3x3", None])
def test_a_grid_that_is_none_is_refused(grid):
    with pytest.raises(RecipeError, match=r"RandomGridShuffle\(grid=.*expected a pair \(rows, columns\)"):
        ops.RandomGridShuffle(grid)
