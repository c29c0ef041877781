"""`ShiftScaleRotate` and `SafeRotate` against their formulas."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaleidoscope import ops
from kaleidoscope.coordinates import bounds, move_points
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.ops.base import Resampling
from kaleidoscope.record import Frame

SIZES = st.integers(1, 400)
ANGLES = st.floats(-720, 720)
FRAME = Frame(60, 90, 3, "uint8")


@given(SIZES, SIZES, ANGLES, st.tuples(st.floats(-300, 300), st.floats(-300, 300)))
def test_shift_scale_rotate_is_the_formula_of_its_docstring(height, width, angle, point):
    drawn = {"shift": [-7, 12], "scale": [0.7, 1.4], "rotate": angle}
    matrix = ops.ShiftScaleRotate().matrix(Frame(height, width, 3, "uint8"), drawn)
    middle, turn = np.array([(width - 1) / 2, (height - 1) / 2]), np.radians(angle)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    wanted = middle + drawn["shift"] + rotation @ ((point - middle) * drawn["scale"])
    np.testing.assert_allclose(matrix @ [*point, 1], [*wanted, 1], atol=1e-8)


def test_shift_scale_rotate_is_opencvs_rotation(photograph, apply):
    src = np.ascontiguousarray(photograph[:101, :151])
    matrix = cv2.getRotationMatrix2D((75, 50), 30, 1.2)
    matrix[:, 2] += [8, -3]
    wanted = cv2.warpAffine(src, matrix, (151, 101))
    made = apply(ops.ShiftScaleRotate(), src, {"shift": [8, -3], "scale": [1.2, 1.2], "rotate": 30.0})
    np.testing.assert_allclose(made, wanted, atol=1)


def test_shift_scale_rotate_draws_fill_their_ranges():
    rng = np.random.default_rng(0)
    op = ops.ShiftScaleRotate((-0.1, 0.2), (-0.5, 1), (-10, 40), shift_limit_y=0.5)
    drawn = [op.sample_params(rng, FRAME) for _ in range(2000)]
    for values, low, high in (
        ([d["shift"][0] for d in drawn], -9, 18),
        ([d["shift"][1] for d in drawn], -30, 30),
        ([d["scale"][0] for d in drawn], 0.5, 2),
        ([d["scale"][1] for d in drawn], 0.5, 2),
        ([d["rotate"] for d in drawn], -10, 40),
    ):
        width = high - low
        assert low <= min(values) < low + 0.05 * width
        assert high - 0.05 * width < max(values) <= high
        assert np.mean(values) == pytest.approx((low + high) / 2, abs=0.03 * width)
    assert any(d["scale"][0] != d["scale"][1] for d in drawn)
    assert all(type(shift) is int for d in drawn for shift in d["shift"])


def test_limits_of_one_number_are_symmetric():
    assert ops.ShiftScaleRotate(0.1, 0.2, 30) == ops.ShiftScaleRotate((-0.1, 0.1), (-0.2, 0.2), (-30, 30))
    assert ops.SafeRotate(30) == ops.SafeRotate((-30, 30))


@given(SIZES, SIZES, ANGLES)
def test_safe_rotate_fills_the_frame_with_all_of_the_image(height, width, angle):
    frame = Frame(height, width, 3, "uint8")
    assert ops.SafeRotate().out_frame(frame, {"angle": angle}) == frame
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]]) - 0.5
    moved = move_points(corners, ops.SafeRotate().matrix(frame, {"angle": angle}))
    np.testing.assert_allclose(bounds(moved), [-0.5, -0.5, width - 0.5, height - 0.5], atol=1e-6)


@given(SIZES, SIZES, ANGLES)
def test_safe_rotate_turns_as_rotate_does(height, width, angle):
    frame = Frame(height, width, 3, "uint8")
    safe, plain = (op.matrix(frame, {"angle": angle}) for op in (ops.SafeRotate(), ops.Rotate()))
    scaled = safe @ np.linalg.inv(plain)
    np.testing.assert_allclose(scaled[[0, 1], [1, 0]], 0, atol=1e-9)
    assert scaled[0, 0] > 0
    assert scaled[1, 1] > 0
    middle = [(width - 1) / 2, (height - 1) / 2, 1]
    np.testing.assert_allclose(safe @ middle, middle, atol=1e-9)


def test_safe_rotate_draws_fill_the_limit():
    rng = np.random.default_rng(0)
    angles = [ops.SafeRotate((-10, 30)).sample_params(rng, FRAME)["angle"] for _ in range(2000)]
    assert -10 <= min(angles) < -9
    assert 29 < max(angles) <= 30


@pytest.mark.parametrize("make", [ops.ShiftScaleRotate, ops.SafeRotate])
def test_resampling_is_what_the_fields_say(make):
    op = make(
        interpolation="cubic", border_mode=cv2.BORDER_REFLECT, fill=(1, 2, 3), fill_mask=4, rotate_method="ellipse"
    )
    assert op.resampling == Resampling("cubic", "reflect", (1.0, 2.0, 3.0), "nearest", 4.0, "ellipse")
    assert op.fuses


@pytest.mark.parametrize("make", [ops.ShiftScaleRotate, ops.SafeRotate])
def test_a_fill_that_pixels_cannot_have_is_refused(make):
    op = make(fill=(1, 2, 3))
    drawn = op.sample_params(np.random.default_rng(0), FRAME)
    with pytest.raises(OpError, match="one for each of the 4 channels"):
        op.out_frame(Frame(8, 8, 4, "uint8"), drawn)


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (
            ops.ShiftScaleRotate,
            {"shift_limit": 2},
            r"ShiftScaleRotate\(shift_limit=2\): expected fractions of the image",
        ),
        (ops.ShiftScaleRotate, {"shift_limit_x": "far"}, r"expected fractions.*got 'far' \(str\)"),
        (ops.ShiftScaleRotate, {"shift_limit_y": (0, 1.5)}, r"shift_limit_y=\(0, 1.5\)"),
        (ops.ShiftScaleRotate, {"scale_limit": (-1, 0)}, r"expected above -1.*got \(-1, 0\) \(tuple\)"),
        (ops.ShiftScaleRotate, {"rotate_limit": None}, r"expected degrees.*got None"),
        (ops.ShiftScaleRotate, {"rotate_method": "box"}, "expected one of 'largest_box', 'ellipse'"),
        (ops.SafeRotate, {"limit": (30, -30)}, r"SafeRotate\(limit=\(30, -30\)\): expected degrees"),
        (ops.SafeRotate, {"border_mode": 16}, "expected one of 'constant'"),
        (ops.SafeRotate, {"fill_mask": -1}, "expected a mask's value"),
    ],
)
def test_mistakes_are_named(make, settings, message):
    with pytest.raises(RecipeError, match=message):
        make(**settings)
