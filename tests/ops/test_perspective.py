"""`Perspective` against the four points that define it, and against OpenCV."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaleidoscope import ops
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.coordinates import bounds, move_points
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.plan import make_plan
from kaleidoscope.record import MAX_VALUE, Frame
from kaleidoscope.tree import grow
from kaleidoscope.walk import walk

UNIT = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
INWARDS = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
DRAWN = {"corners": [[0.1, 0.05], [0.08, 0.2], [0.02, 0.1], [0.15, 0.03]]}
SIZES = st.integers(32, 400)
CORNERS = st.lists(st.lists(st.floats(0, 0.2), min_size=2, max_size=2), min_size=4, max_size=4)


def edges(points, frame):
    """Return points in fractions of a frame's size at pixel centres."""
    return points * [frame.width, frame.height] - 0.5


@given(SIZES, SIZES, CORNERS, st.booleans())
def test_the_drawn_corners_become_those_of_the_frame(height, width, corners, keep_size):
    frame, op = Frame(height, width, 3, "uint8"), ops.Perspective(keep_size=keep_size)
    out = op.out_frame(frame, {"corners": corners})
    drawn = edges(UNIT + INWARDS * corners, frame)
    moved = move_points(drawn, op.matrix(frame, {"corners": corners}))
    np.testing.assert_allclose(moved, edges(UNIT, out), atol=1e-6)
    if keep_size:
        assert out == frame
    else:
        sides = np.linalg.norm(drawn - np.roll(drawn, -1, axis=0), axis=1)  # upper, right, lower, left
        assert out.width == pytest.approx(max(sides[0], sides[2]), abs=1)
        assert out.height == pytest.approx(max(sides[1], sides[3]), abs=1)


@given(SIZES, SIZES, CORNERS, st.booleans())
def test_fit_output_shows_all_of_the_image(height, width, corners, keep_size):
    frame, op = Frame(height, width, 3, "uint8"), ops.Perspective(fit_output=True, keep_size=keep_size)
    out = op.out_frame(frame, {"corners": corners})
    seen = move_points(edges(UNIT, frame), op.matrix(frame, {"corners": corners}))
    np.testing.assert_allclose(bounds(seen), [-0.5, -0.5, out.width - 0.5, out.height - 0.5], atol=1e-6)
    if keep_size:
        assert out == frame
    else:  # it is as large as what lies between the corners becomes, when these fill the old frame
        assert out.width >= width
        assert out.height >= height


def test_the_matrix_is_opencvs():
    frame = Frame(200, 300, 3, "uint8")
    src, dst = (np.float32(edges(points, frame)) for points in (UNIT + INWARDS * DRAWN["corners"], UNIT))
    wanted = cv2.getPerspectiveTransform(src, dst)
    matrix = ops.Perspective().matrix(frame, DRAWN)
    np.testing.assert_allclose(matrix / matrix[2, 2], wanted / wanted[2, 2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_pixels_are_interpolated_where_the_matrix_says(make_pixels, apply, dtype, channels):
    src = make_pixels((40, 53, channels), dtype)
    frame = Frame.of(src)
    made = apply(ops.Perspective(), src, DRAWN)
    inverse = np.linalg.inv(ops.Perspective().matrix(frame, DRAWN))
    down, across = np.mgrid[:40, :53]
    places = move_points(np.stack([across.ravel(), down.ravel()], axis=1).astype(float), inverse)
    x, y = places.T.clip(0, [[52 - 1e-9], [39 - 1e-9]])
    i, j = y.astype(int), x.astype(int)
    b, a = (y - i)[:, None], (x - j)[:, None]
    values = src.astype(float)
    wanted = (
        values[i, j] * (1 - a) * (1 - b)
        + values[i, j + 1] * a * (1 - b)
        + values[i + 1, j] * (1 - a) * b
        + values[i + 1, j + 1] * a * b
    ).reshape(src.shape)
    # OpenCV may keep places to a 32nd of a pixel.
    inside = np.s_[2:-2, 2:-2]
    assert np.abs(made[inside] - wanted[inside]).max() <= 0.05 * MAX_VALUE[dtype]
    assert np.abs(made[inside] - wanted[inside]).mean() <= 0.004 * MAX_VALUE[dtype]


@pytest.mark.parametrize("scale", [0.1, 0.5, 3.0])
def test_all_of_the_image_is_in_front_of_the_camera(scale):
    rng, frame = np.random.default_rng(0), Frame(100, 150, 3, "uint8")
    for fit_output in (False, True):
        op = ops.Perspective((scale, scale), fit_output=fit_output, keep_size=False)
        for _ in range(200):
            drawn = op.sample_params(rng, frame)
            matrix, out = op.matrix(frame, drawn), op.out_frame(frame, drawn)
            depth = np.append(edges(UNIT, frame), np.ones((4, 1)), axis=1) @ matrix[2]
            assert depth.min() > 0.1 * matrix[2] @ [74.5, 49.5, 1]
            assert max(out.width / frame.width, out.height / frame.height) < 12


def test_distances_are_those_of_a_normal_distribution():
    rng, frame = np.random.default_rng(0), Frame(100, 150, 3, "uint8")
    corners = [ops.Perspective((0.05, 0.05)).sample_params(rng, frame)["corners"] for _ in range(2000)]
    assert np.shape(corners) == (2000, 4, 2)
    assert np.min(corners) >= 0
    assert np.sqrt(np.mean(np.square(corners), axis=0)) == pytest.approx(np.full((4, 2), 0.05), rel=0.06)


def test_neighbours_are_one_warp(make_pixels):
    recipe = ops.Sequential(ops.HorizontalFlip(), ops.Perspective(), ops.Rotate(20), ops.Perspective())
    backend = Cv2Backend()
    (outcome,) = walk(make_plan(grow(recipe)), make_pixels((50, 60, 3)), key="a", seed=1, backend=backend)
    assert outcome.error is None
    assert backend.counts["warp"] == 1
    assert ops.Perspective().fuses
    assert not ops.Perspective(keep_size=False).fuses


def test_a_flip_before_and_after_mirrors_the_corners(make_pixels, apply):
    # Edges, not centres, are what the corners are measured from: nothing leans to one side.
    src = make_pixels((50, 60, 3))
    drawn = DRAWN["corners"]
    mirrored = [drawn[1], drawn[0], drawn[3], drawn[2]]
    for op in (ops.Perspective(), ops.Perspective(fit_output=True)):
        there = apply(op, np.ascontiguousarray(src[:, ::-1]), {"corners": mirrored})[:, ::-1].astype(int)
        assert np.abs(there - apply(op, src, DRAWN)).mean() < (2 if op.fit_output else 0.5)


def test_an_outcome_that_is_too_large_is_refused():
    op = ops.Perspective(fit_output=True, keep_size=False)
    with pytest.raises(OpError, match="at most 32767 pixels a side, got"):
        op.out_frame(Frame(100, 30000, 3, "uint8"), {"corners": [[0.2, 0.0]] * 4})


def test_a_fill_that_pixels_cannot_have_is_refused():
    with pytest.raises(OpError, match="expected at most 255"):
        ops.Perspective(fill=300).out_frame(Frame(8, 8, 3, "uint8"), DRAWN)


def test_one_number_is_the_most():
    assert ops.Perspective(0.1) == ops.Perspective((0, 0.1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": -0.1}, r"Perspective\(scale=-0.1\): expected fractions of the image's size, at least 0"),
        ({"scale": (0.2, 0.1)}, "pair"),
        ({"keep_size": 1}, r"keep_size=1\): expected True or False"),
        ({"fit_output": "yes"}, "expected True or False"),
        ({"mask_interpolation": "linar"}, "Did you mean 'linear'"),
        ({"fill": "white"}, "expected a pixel value"),
    ],
)
def test_mistakes_are_named(settings, message):
    with pytest.raises(RecipeError, match=message):
        ops.Perspective(**settings)
