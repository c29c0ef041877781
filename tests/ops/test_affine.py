import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaleidoscope import ops
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.ops.base import Resampling
from kaleidoscope.record import Frame

SIZES = st.integers(1, 400)
ANGLES = st.floats(-720, 720)


def warp(op, src, angle, **kwargs):
    params = {"angle": angle}
    frame = Frame.of(src)
    out = op.out_frame(frame, params)
    return cv2.warpAffine(src, op.matrix(frame, params)[:2], (out.width, out.height), **kwargs)


def reaches_the_border(frame, width, height, angle, slack):
    """Whether an upright rectangle of this size, in the middle, leaves the rotated image."""
    cos, sin = abs(np.cos(np.radians(angle))), abs(np.sin(np.radians(angle)))
    return width * cos + height * sin > frame.width + slack or width * sin + height * cos > frame.height + slack


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_counter_clockwise(make_pixels, turns):
    square = make_pixels((9, 9, 3))
    turned = warp(ops.Rotate(), square, 90.0 * turns, flags=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(turned, np.rot90(square, turns))


@given(SIZES, SIZES, ANGLES, st.tuples(st.floats(-500, 500), st.floats(-500, 500)))
def test_matrix_is_the_formula_of_the_docstring(height, width, angle, point):
    matrix = ops.Rotate().matrix(Frame(height, width, 3, "uint8"), {"angle": angle})
    (x, y), (cx, cy), turn = point, ((width - 1) / 2, (height - 1) / 2), np.radians(angle)
    wanted = [
        cx + np.cos(turn) * (x - cx) + np.sin(turn) * (y - cy),
        cy - np.sin(turn) * (x - cx) + np.cos(turn) * (y - cy),
        1,
    ]
    np.testing.assert_allclose(matrix @ [x, y, 1], wanted, atol=1e-9)


@given(SIZES, SIZES, ANGLES)
def test_rotating_back_is_identity(height, width, angle):
    frame = Frame(height, width, 3, "uint8")
    there, back = (ops.Rotate().matrix(frame, {"angle": a}) for a in (angle, -angle))
    np.testing.assert_allclose(back @ there, np.eye(3), atol=1e-9)


@pytest.mark.parametrize("crop_border", [False, True])
@pytest.mark.parametrize("angle", [0.0, 180.0, 360.0])
def test_half_turns_keep_the_frame(angle, crop_border):
    frame = Frame(31, 57, 3, "uint8")
    assert ops.Rotate(crop_border=crop_border).out_frame(frame, {"angle": angle}) == frame


@given(SIZES, SIZES, ANGLES)
def test_crop_is_the_largest_rectangle_without_border(height, width, angle):
    frame = Frame(height, width, 3, "uint8")
    out = ops.Rotate(crop_border=True).out_frame(frame, {"angle": angle})
    assert 1 <= out.width <= width
    assert 1 <= out.height <= height
    if out.width > 1 and out.height > 1:
        assert not reaches_the_border(frame, out.width, out.height, angle, slack=1e-5 * max(width, height))
    # Of all widths none gives a larger area, but for what was cut to whole pixels.
    cos, sin = abs(np.cos(np.radians(angle))), abs(np.sin(np.radians(angle)))
    widths = np.linspace(0, np.hypot(width, height), 2001)
    with np.errstate(divide="ignore"):
        most = np.minimum((width - widths * cos) / max(sin, 1e-9), (height - widths * sin) / max(cos, 1e-9))
    best = np.argmax(widths * np.maximum(most, 0))
    limit = min(widths[best], width) * min(most[best], height)
    assert (out.width + 1) * (out.height + 1) >= 0.99 * limit


@pytest.mark.parametrize("shape", [(64, 64, 3), (41, 90, 1), (90, 31, 4)])
@pytest.mark.parametrize("angle", [2.0, -17.0, 45.0, 60.0, 133.0])
def test_crop_lets_no_fill_in(shape, angle):
    white = np.full(shape, 255, np.uint8)
    assert warp(ops.Rotate(), white, angle).min() < 200  # there is a border to crop
    assert warp(ops.Rotate(crop_border=True), white, angle).min() >= 254


@pytest.mark.parametrize("off", [-1e-9, -1e-12, -1e-14, 0.0, 1e-14, 1e-12, 1e-9])
def test_crop_holds_around_45_degrees_where_its_two_conditions_are_parallel(off):
    out = ops.Rotate(crop_border=True).out_frame(Frame(399, 399, 3, "uint8"), {"angle": 45 + off})
    assert (out.width, out.height) == (282, 282)  # 399 / sqrt(2) = 282.1


@given(SIZES, SIZES, ANGLES)
def test_crop_is_centred(height, width, angle):
    frame, op = Frame(height, width, 3, "uint8"), ops.Rotate(crop_border=True)
    out = op.out_frame(frame, {"angle": angle})
    middle = op.matrix(frame, {"angle": angle}) @ [(width - 1) / 2, (height - 1) / 2, 1]
    np.testing.assert_allclose(middle, [(out.width - 1) / 2, (out.height - 1) / 2, 1], atol=1e-9)


def test_only_a_rotation_that_keeps_the_frame_fuses():
    assert ops.Rotate().fuses
    assert not ops.Rotate(crop_border=True).fuses


def test_angles_are_drawn_evenly_from_the_limit():
    rng, frame = np.random.default_rng(0), Frame(8, 8, 3, "uint8")
    angles = [ops.Rotate(limit=(-10, 30)).sample_params(rng, frame)["angle"] for _ in range(2000)]
    assert all(type(angle) is float for angle in angles)
    assert -10 <= min(angles) < -9
    assert 29 < max(angles) <= 30
    assert np.mean(angles) == pytest.approx(10, abs=1)


def test_a_single_limit_is_symmetric():
    assert ops.Rotate(limit=15) == ops.Rotate(limit=(-15, 15)) == ops.Rotate(-15)


def test_opencv_integers_are_taken_for_their_names():
    for name in ("nearest", "linear", "cubic", "area", "lanczos4"):
        assert ops.Rotate(interpolation=getattr(cv2, f"INTER_{name.upper()}")).interpolation == name
    for name in ("constant", "replicate", "reflect", "wrap", "reflect_101"):
        assert ops.Rotate(border_mode=getattr(cv2, f"BORDER_{name.upper()}")).border_mode == name


def test_resampling_is_what_the_fields_say():
    rotate = ops.Rotate(interpolation="cubic", border_mode=cv2.BORDER_REFLECT_101, fill=(1, 2, 3))
    assert rotate.resampling == Resampling("cubic", "reflect_101", (1.0, 2.0, 3.0))
    assert ops.Rotate().resampling == Resampling("linear", "constant", 0.0)


@pytest.mark.parametrize("crop_border", [False, True])
def test_fill_of_another_number_of_channels_is_refused(crop_border):
    rotate = ops.Rotate(fill=(1, 2, 3), crop_border=crop_border)
    assert rotate.out_frame(Frame(8, 8, 3, "uint8"), {"angle": 0.0}).channels == 3
    with pytest.raises(OpError, match=r"one for each of the 4 channels of 8x8x4 uint8, got 3"):
        rotate.out_frame(Frame(8, 8, 4, "uint8"), {"angle": 0.0})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"limit": "a lot"}, r"Rotate\(limit='a lot'\): expected degrees.*, got 'a lot' \(str\)"),
        ({"limit": (30, -30)}, r"expected degrees.*pair \(least, greatest\), got \(30, -30\) \(tuple\)"),
        ({"limit": float("nan")}, r"expected degrees.*, got nan \(float\)"),
        ({"interpolation": "liner"}, r"expected one of 'nearest', .*Did you mean 'linear'\?"),
        ({"border_mode": 16}, r"expected one of 'constant', .*, got 16 \(int\)"),
        ({"fill": "black"}, r"expected a pixel value, .*got 'black' \(str\)"),
        ({"crop_border": 1}, r"expected True or False, got 1 \(int\)"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, message):
    with pytest.raises(RecipeError, match=message):
        ops.Rotate(**fields)


def test_rotate_travels(check_travels):
    check_travels(ops.Rotate())
    check_travels(ops.Rotate(15, interpolation=2, border_mode="wrap", fill=[1, 2, 3], crop_border=True))
    assert repr(ops.Rotate(limit=15)) == "Rotate(limit=(-15.0, 15.0))"


@pytest.mark.parametrize(
    ("dtype", "fill"), [("uint8", 256), ("uint16", 65536), ("float32", 1.5), ("uint8", (0, 0, 300))]
)
def test_fill_beyond_what_pixels_can_have_is_refused(dtype, fill):
    frame = Frame(4, 4, 3, dtype)
    with pytest.raises(OpError, match="fill"):
        ops.Rotate(fill=fill).out_frame(frame, {"angle": 1.0})
