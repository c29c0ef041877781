import json

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


STILL = {"scale": [1.0, 1.0], "translate": [0, 0], "rotate": 0.0, "shear": [0.0, 0.0]}
FACTORS = st.tuples(st.floats(0.2, 5), st.floats(0.2, 5))
SLANTS = st.tuples(st.floats(-40, 40), st.floats(-40, 40))
SHIFTS = st.tuples(st.integers(-50, 50), st.integers(-50, 50))


@st.composite
def affine_draws(draw):
    return {
        "scale": list(draw(FACTORS)),
        "translate": list(draw(SHIFTS)),
        "rotate": draw(ANGLES),
        "shear": list(draw(SLANTS)),
    }


def drawn_affine(op, n=1000):
    rng, frame = np.random.default_rng(0), Frame(50, 200, 3, "uint8")
    return [op.sample_params(rng, frame) for _ in range(n)]


class TestAffine:
    @given(SIZES, SIZES, affine_draws(), st.tuples(st.floats(-500, 500), st.floats(-500, 500)))
    def test_matrix_is_the_formula_of_the_docstring(self, height, width, params, point):
        matrix = ops.Affine().matrix(Frame(height, width, 3, "uint8"), params)
        cx, cy = (width - 1) / 2, (height - 1) / 2
        x, y = (point[0] - cx) * params["scale"][0], (point[1] - cy) * params["scale"][1]
        turn = np.radians(params["rotate"])
        x, y = np.cos(turn) * x + np.sin(turn) * y, -np.sin(turn) * x + np.cos(turn) * y
        slant_x, slant_y = np.tan(np.radians(params["shear"]))
        x, y = x - slant_x * y, y - slant_y * x
        wanted = [cx + params["translate"][0] + x, cy + params["translate"][1] + y, 1]
        np.testing.assert_allclose(matrix @ [*point, 1], wanted, atol=1e-8)

    @given(SIZES, SIZES, ANGLES)
    def test_that_only_rotates_is_a_rotation(self, height, width, angle):
        frame = Frame(height, width, 3, "uint8")
        rotation = ops.Rotate().matrix(frame, {"angle": angle})
        np.testing.assert_allclose(ops.Affine().matrix(frame, {**STILL, "rotate": angle}), rotation, atol=1e-9)

    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
    @pytest.mark.parametrize("channels", [1, 3, 4, 7])
    def test_shifts_whole_pixels_and_fills_the_rest(self, make_pixels, apply, dtype, channels):
        src = make_pixels((8, 11, channels), dtype)
        fill = tuple(float(np.float32(c / 8)) if dtype == "float32" else c for c in range(channels))
        moved = apply(ops.Affine(fill=fill), src, {**STILL, "translate": [3, -2]})
        np.testing.assert_array_equal(moved[:6, 3:], src[2:, :8])
        assert (moved[6:] == np.array(fill, dtype)).all()
        assert (moved[:, :3] == np.array(fill, dtype)).all()

    @given(SIZES, SIZES, affine_draws())
    def test_fit_output_is_the_smallest_frame_that_holds_the_image(self, height, width, params):
        frame, op = Frame(height, width, 3, "uint8"), ops.Affine(fit_output=True)
        out, matrix = op.out_frame(frame, params), op.matrix(frame, params)
        edges = [[-0.5, width - 0.5, -0.5, width - 0.5], [-0.5, -0.5, height - 0.5, height - 0.5], [1] * 4]
        x, y, _ = matrix @ edges
        for ends, size in ((x, out.width), (y, out.height)):
            assert ends.min() >= -0.5 - 1e-5
            assert ends.max() <= size - 0.5 + 1e-5
            assert ends.max() - ends.min() > size - 1 - 1e-5 or size == 1
            assert ends.min() + ends.max() == pytest.approx(size - 1, abs=1e-6)  # in the middle

    @pytest.mark.parametrize(
        ("angle", "size"), [(90.0, (57, 31)), (180.0, (31, 57)), (270.0, (57, 31)), (-90.0, (57, 31))]
    )
    def test_fit_output_of_quarter_turns_adds_no_pixel(self, angle, size):
        op = ops.Affine(fit_output=True)
        out = op.out_frame(Frame(31, 57, 3, "uint8"), {**STILL, "rotate": angle})
        assert (out.height, out.width) == size

    def test_fit_output_of_twice_the_size_loses_nothing(self, make_pixels, apply):
        src = make_pixels((5, 7, 3))
        params = {**STILL, "scale": [2.0, 2.0], "translate": [100, 100]}
        doubled = apply(ops.Affine(fit_output=True, interpolation="nearest", fill=9), src, params)
        assert doubled.shape == (10, 14, 3)
        np.testing.assert_array_equal(doubled[1::2, 1::2], src)

    def test_draws_are_json_and_even_over_their_ranges(self):
        op = ops.Affine(
            scale={"x": (0.5, 0.9)}, translate_px={"y": (-3, 3)}, rotate=(-10, 30), shear={"x": 5, "y": (-20, 0)}
        )
        draws = drawn_affine(op)
        assert json.loads(json.dumps(draws)) == draws
        scale_x, scale_y = zip(*(d["scale"] for d in draws), strict=True)
        assert 0.5 <= min(scale_x) < 0.51
        assert 0.89 < max(scale_x) <= 0.9
        assert set(scale_y) == {1.0}
        shift_x, shift_y = zip(*(d["translate"] for d in draws), strict=True)
        assert set(shift_x) == {0}
        values, counts = np.unique(shift_y, return_counts=True)
        assert values.tolist() == [-3, -2, -1, 0, 1, 2, 3]
        assert counts.min() > 100  # of 143 expected
        assert np.mean([d["rotate"] for d in draws]) == pytest.approx(10, abs=1.5)
        shear_x, shear_y = zip(*(d["shear"] for d in draws), strict=True)
        assert set(shear_x) == {5.0}
        assert np.mean(shear_y) == pytest.approx(-10, abs=1)

    def test_one_range_is_drawn_for_each_axis_anew(self):
        draws = drawn_affine(ops.Affine(scale=(0.5, 2), translate_px=(0, 1000), shear=(0, 10)), 50)
        for name in ("scale", "translate", "shear"):
            assert all(d[name][0] != d[name][1] for d in draws)

    def test_keep_ratio_scales_both_axes_alike(self):
        draws = drawn_affine(ops.Affine(scale=(0.5, 2), keep_ratio=True), 50)
        assert all(d["scale"][0] == d["scale"][1] for d in draws)
        assert len({d["scale"][0] for d in draws}) == 50

    def test_balanced_scale_reduces_as_often_as_it_enlarges(self):
        plain = [d["scale"][0] for d in drawn_affine(ops.Affine(scale=(0.5, 3)))]
        balanced = [d["scale"][0] for d in drawn_affine(ops.Affine(scale=(0.5, 3), balanced_scale=True))]
        assert np.mean(np.array(plain) < 1) == pytest.approx(0.2, abs=0.05)
        assert np.mean(np.array(balanced) < 1) == pytest.approx(0.5, abs=0.05)
        assert 0.5 <= min(balanced) < 0.52
        assert 2.9 < max(balanced) <= 3

    @pytest.mark.parametrize("ends", [(0.5, 0.8), (1.2, 1.5), (1.0, 1.0)])
    def test_balanced_scale_stays_in_a_range_of_one_side(self, ends):
        scales = [d["scale"][0] for d in drawn_affine(ops.Affine(scale=ends, balanced_scale=True))]
        assert ends[0] <= min(scales) <= max(scales) <= ends[1]
        assert max(scales) - min(scales) >= 0.95 * (ends[1] - ends[0])

    def test_translations_in_percent_are_of_each_side_and_whole_pixels_towards_0(self):
        (params,) = drawn_affine(ops.Affine(translate_percent={"x": 0.0999, "y": -0.3333}), 1)
        assert params["translate"] == [19, -16]  # 19.98 of 200, -16.7 of 50
        assert {type(shift) for shift in params["translate"]} == {int}

    def test_fuses_unless_its_frame_is_fitted(self):
        assert ops.Affine().fuses
        assert not ops.Affine(fit_output=True).fuses
        assert ops.Affine(interpolation=2, border_mode=1, fill=(1, 2)).resampling == Resampling(
            "cubic", "replicate", (1.0, 2.0)
        )
        assert ops.Affine().resampling == ops.Rotate().resampling  # neighbours are one warp

    def test_what_axes_share_is_kept_once(self):
        assert ops.Affine(scale=1.5) == ops.Affine(scale=(1.5, 1.5)) == ops.Affine(scale={"x": 1.5, "y": [1.5, 1.5]})
        assert ops.Affine(scale={"x": (0.5, 2)}) == ops.Affine(scale=((0.5, 2), 1))
        assert ops.Affine(shear={"y": 5}).shear == ((0.0, 0.0), (5.0, 5.0))
        assert ops.Affine(scale={"y": 2}).scale == ((1.0, 1.0), (2.0, 2.0))

    def test_a_map_onto_a_line_is_refused(self):
        op, frame = ops.Affine(shear=45), Frame(8, 8, 3, "uint8")
        with pytest.raises(OpError, match=r"shear=\[45.0, 45.0\].* press the image onto a line: shear by other"):
            op.out_frame(frame, drawn_affine(op, 1)[0])

    def test_a_frame_too_large_to_warp_is_refused(self):
        op, frame = ops.Affine(scale=1e6, fit_output=True), Frame(8, 9, 3, "uint8")
        with pytest.raises(OpError, match=r"at most 32767 pixels a side, got 9000000x8000000 from 9x8x3 uint8"):
            op.out_frame(frame, drawn_affine(op, 1)[0])

    @pytest.mark.parametrize("fit_output", [False, True])
    def test_fill_that_pixels_cannot_have_is_refused(self, fit_output):
        frame = Frame(8, 8, 4, "uint8")
        with pytest.raises(OpError, match=r"Affine\(fill=\(1.0, 2.0, 3.0\)\): expected one number or one for each of"):
            ops.Affine(fill=(1, 2, 3), fit_output=fit_output).out_frame(frame, STILL)
        with pytest.raises(OpError, match=r"Affine\(fill=256.0\): expected at most 255"):
            ops.Affine(fill=256, fit_output=fit_output).out_frame(frame, STILL)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"scale": 0}, r"Affine\(scale=0\): expected factors above 0: .*, got 0 \(int\)"),
            ({"scale": {"z": 1}}, r"a mapping of 'x' and 'y' to these, got \{'z': 1\} \(dict\)"),
            ({"scale": {}}, r"expected factors above 0"),
            ({"scale": (1, 2, 3)}, r"got \(1, 2, 3\) \(tuple\)"),
            ({"scale": ((1, 2), "wide")}, r"got \(\(1, 2\), 'wide'\)"),
            ({"translate_px": 1.5}, r"expected whole pixels: .*, got 1.5 \(float\)"),
            ({"translate_percent": (0.2, 0.1)}, r"expected fractions of the image's size: .*got \(0.2, 0.1\)"),
            ({"translate_px": 1, "translate_percent": 0.1}, r"translate_px=.*None beside translate_percent: give one"),
            ({"rotate": "far"}, r"expected degrees: .*got 'far' \(str\)"),
            ({"shear": 90}, r"expected degrees between -90 and 90: .*got 90"),
            ({"keep_ratio": True, "scale": {"x": 2}}, r"expected one range for both axes, as keep_ratio is True"),
            ({"balanced_scale": 1}, r"balanced_scale=1\): expected True or False"),
            ({"fit_output": "no"}, r"fit_output='no'\): expected True or False"),
            ({"interpolation": "cubik"}, r"Did you mean 'cubic'\?"),
            ({"border_mode": "wrapp"}, r"Did you mean 'wrap'\?"),
        ],
        ids=str,
    )
    def test_what_makes_no_sense_is_refused(self, fields, message):
        with pytest.raises(RecipeError, match=message):
            ops.Affine(**fields)

    def test_travels(self, check_travels):
        check_travels(ops.Affine())
        check_travels(
            ops.Affine(
                scale={"x": (0.5, 2)},
                translate_percent={"y": 0.1},
                rotate=5,
                shear=[1, 2],
                fit_output=True,
                fill=[1, 2],
            )
        )
        check_travels(ops.Affine(translate_px=[-3, 3], keep_ratio=True, balanced_scale=True, border_mode=4))
        assert repr(ops.Affine(scale={"x": 2})) == "Affine(scale=((2.0, 2.0), (1.0, 1.0)))"
