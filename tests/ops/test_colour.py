import colorsys

import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.record import MAX_VALUE, Frame

DTYPES = ["uint8", "uint16", "float32"]
SHIFTS = [(0, 0, 0), (20, 0, 0), (-95, 0, 0), (0, 40, 0), (0, -300, 0), (0, 0, -30), (7.5, -20.2, 33.3)]
# In levels of 255. 8-bit hue has steps of 1.4 degrees, which makes up to 6 levels.
HSV_ERROR = {"uint8": 7, "uint16": 1.1 / 257, "float32": 1e-3}


def hsv_reference(src, hue, sat, val):
    """Return the formula of the docstring by colorsys, in float64, scaled to 1."""
    scaled = src[..., :3].reshape(-1, 3) / MAX_VALUE[src.dtype.name]
    done = []
    for r, g, b in scaled:
        h, s, v = colorsys.rgb_to_hsv(r, g, b)
        s = 0 if s == 0 else np.clip(s + sat / 255, 0, 1)
        done.append(colorsys.hsv_to_rgb((h + hue / 180) % 1, s, np.clip(v + val / 255, 0, 1)))
    return np.reshape(done, (*src.shape[:2], 3))


def hsv(hue, sat, val):
    return {"hue_shift": hue, "sat_shift": sat, "val_shift": val}


# ---- HueSaturationValue


@pytest.mark.parametrize("shifts", SHIFTS)
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_hsv_is_the_formula_of_the_docstring(make_pixels, run, dtype, channels, shifts):
    src = make_pixels((13, 17, channels), dtype)
    src[0, :, :3] = src[0, :, :1]  # a row of greys
    out = run(ops.HueSaturationValue(), src, hsv(*shifts))
    error = 255 * np.abs(out[..., :3] / MAX_VALUE[dtype] - hsv_reference(src, *shifts))
    assert error.max() <= HSV_ERROR[dtype]
    assert error.mean() <= HSV_ERROR[dtype] / 5
    np.testing.assert_array_equal(out[..., 3:], src[..., 3:])


@pytest.mark.parametrize("dtype", DTYPES)
def test_hsv_on_grey_shifts_the_value_only(make_pixels, run, dtype):
    src = make_pixels((9, 11, 1), dtype)
    out = run(ops.HueSaturationValue(), src, hsv(15.0, 25.0, -51.0))
    wanted = np.clip(src / MAX_VALUE[dtype] - 0.2, 0, 1)
    np.testing.assert_allclose(
        out / MAX_VALUE[dtype], wanted, atol=0.51 / MAX_VALUE[dtype] if dtype != "float32" else 1e-6
    )
    np.testing.assert_array_equal(run(ops.HueSaturationValue(), src, hsv(15.0, 25.0, 0.0)), src)


@pytest.mark.parametrize("dtype", DTYPES)
def test_hsv_leaves_grey_pixels_of_a_colour_image_grey(make_pixels, run, dtype):
    src = np.repeat(make_pixels((9, 11, 1), dtype), 3, axis=2)
    out = run(ops.HueSaturationValue(), src, hsv(40.0, 90.0, 0.0))
    np.testing.assert_allclose(out.astype(float), src.astype(float), atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_hsv_saturates(run, dtype):
    src = np.array([[[0.9, 0.1, 0.1]]]) * MAX_VALUE[dtype]
    out = run(ops.HueSaturationValue(), src.astype(dtype), hsv(0.0, 255.0, 255.0))
    np.testing.assert_array_equal(out, np.array([[[1, 0, 0]]]) * MAX_VALUE[dtype])


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 4), (9, 1, 3)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_hsv_reaches_the_smallest_images(make_pixels, run, dtype, shape):
    src = make_pixels(shape, dtype, seed=3)
    out = run(ops.HueSaturationValue(), src, hsv(10.0, 20.0, -30.0))
    error = 255 * np.abs(out[..., :3] / MAX_VALUE[dtype] - hsv_reference(src, 10.0, 20.0, -30.0))
    assert error.max() <= HSV_ERROR[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
def test_hsv_of_a_large_image_is_that_of_its_parts(make_pixels, run, dtype):
    src, op, params = make_pixels((301, 300, 4), dtype), ops.HueSaturationValue(), hsv(12.0, -20.0, 8.0)
    parts = [run(op, src[:120].copy(), params), run(op, src[120:].copy(), params)]
    np.testing.assert_array_equal(run(op, src, params), np.concatenate(parts))


@pytest.mark.parametrize("shifts", [(33, 200, 200), (-33, -200, 100), (0, 1, -1)])
def test_hsv_stays_in_range(make_pixels, run, shifts):
    out = run(ops.HueSaturationValue(), make_pixels((300, 300, 3), "float32"), hsv(*shifts))
    assert out.min() >= 0
    assert out.max() <= 1


@pytest.mark.parametrize("channels", [2, 5])
def test_hsv_refuses_what_is_not_grey_rgb_or_rgba(channels):
    with pytest.raises(OpError, match=rf"\(1, 3 or 4 channels\), got {channels} "):
        ops.HueSaturationValue().out_frame(Frame(8, 8, channels, "uint8"), hsv(0, 0, 0))


def test_hsv_draws_lie_in_their_ranges():
    op = ops.HueSaturationValue((5, 10), (-200, -100), 50)
    rng = np.random.default_rng(0)
    draws = [op.sample_params(rng, Frame(8, 8, 3, "uint8")) for _ in range(1000)]
    for name, low, high in (("hue_shift", 5, 10), ("sat_shift", -200, -100), ("val_shift", -50, 50)):
        values = np.array([draw[name] for draw in draws])
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high
        assert type(draws[0][name]) is float


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"hue_shift_limit": 181},
            r"hue_shift_limit=181\): expected a shift x .*within \[-180, 180\], got 181",
        ),
        ({"sat_shift_limit": (-256, 0)}, r"within \[-255, 255\], got \(-256, 0\)"),
        ({"val_shift_limit": None}, r"got None \(NoneType\)"),
    ],
)
def test_hsv_refuses_ranges_that_make_no_sense(fields, message):
    with pytest.raises(RecipeError, match=message):
        ops.HueSaturationValue(**fields)


# ---- RandomBrightnessContrast


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (1.2, 0.1), (0.7, -0.2), (-0.5, 0.5), (3.0, -1.0)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 130])
@pytest.mark.parametrize("dtype", DTYPES)
def test_brightness_is_the_formula_of_the_docstring(make_pixels, run, dtype, channels, alpha, beta):
    src = make_pixels((7, 9, channels), dtype)
    out = run(ops.RandomBrightnessContrast(), src, {"alpha": alpha, "beta": beta})
    colours = slice(3) if channels == 4 else slice(None)
    wanted = np.clip(alpha * src.astype(float) + beta * MAX_VALUE[dtype], 0, MAX_VALUE[dtype])
    error = np.abs(out - wanted)[..., colours]
    assert error.max() <= {"uint8": 0.501, "uint16": 0.52, "float32": 1e-6}[dtype]
    if channels == 4:
        np.testing.assert_array_equal(out[..., 3], src[..., 3])


@pytest.mark.parametrize("channels", [1, 3, 4, 5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_brightness_by_mean_moves_by_a_part_of_the_mean_colour(make_pixels, run, dtype, channels):
    src = (
        make_pixels((40, 30, channels), dtype) // 2
        if dtype != "float32"
        else make_pixels((40, 30, channels), dtype) / 2
    )
    src[..., 3:4] = MAX_VALUE[dtype]  # bright, and for RGBA not a colour
    colours = src[..., :3] if channels == 4 else src
    op = ops.RandomBrightnessContrast(brightness_by_max=False)
    out = run(op, src, {"alpha": 1.0, "beta": 0.5})[..., :3]
    wanted = np.clip(src[..., :3] + 0.5 * colours.mean(dtype=float), 0, MAX_VALUE[dtype])
    np.testing.assert_allclose(out, wanted, atol=0.52 if dtype != "float32" else 1e-6)


@pytest.mark.parametrize("by_max", [True, False])
@pytest.mark.parametrize(("alpha", "beta"), [(1.4, 0.3), (1.4, -0.3), (0.5, 0.3), (-0.9, 0.2), (-0.9, -0.2)])
def test_safe_range_keeps_every_level_apart_from_clipping(run, by_max, alpha, beta):
    ramp = np.linspace(0, 1, 101, dtype=np.float32).reshape(1, -1, 1)
    op = ops.RandomBrightnessContrast(brightness_by_max=by_max, ensure_safe_range=True)
    out = run(op, ramp, {"alpha": alpha, "beta": beta}).ravel()
    steps = np.diff(out.astype(float))
    np.testing.assert_allclose(steps, steps[0], atol=1e-6)  # a straight line: clipped nowhere


@pytest.mark.parametrize(
    ("alpha", "beta", "at_0", "at_1"),
    [(1.4, 0.3, 0.3, 1.0), (1.4, -0.3, 0.0, 1.0), (-0.9, 0.2, 0.2, 0.0), (-0.1, 0.9, 0.9, 0.8)],
)
def test_safe_range_reduces_no_more_than_it_must(run, alpha, beta, at_0, at_1):
    ends = np.array([[[0], [1]]], np.float32)
    out = run(ops.RandomBrightnessContrast(ensure_safe_range=True), ends, {"alpha": alpha, "beta": beta})
    np.testing.assert_allclose(out.ravel(), [at_0, at_1], atol=1e-6)


def test_safe_range_leaves_alone_what_is_safe(make_pixels, run):
    src, params = make_pixels((9, 9, 3)), {"alpha": 0.5, "beta": 0.25}
    safe = run(ops.RandomBrightnessContrast(ensure_safe_range=True), src, params)
    np.testing.assert_array_equal(safe, run(ops.RandomBrightnessContrast(), src, params))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_brightness_of_a_view_is_that_of_a_copy(make_pixels, run, dtype, channels):
    view = make_pixels((14, 11, channels), dtype)[::-2, 3:10]
    op, params = ops.RandomBrightnessContrast(brightness_by_max=False), {"alpha": 1.1, "beta": 0.2}
    np.testing.assert_array_equal(run(op, view, params), run(op, np.ascontiguousarray(view), params))


def test_brightness_draws_lie_in_their_ranges():
    op, rng = ops.RandomBrightnessContrast((0.1, 0.3), 0.5), np.random.default_rng(0)
    draws = [op.sample_params(rng, Frame(8, 8, 3, "uint8")) for _ in range(1000)]
    alphas, betas = (np.array([draw[name] for draw in draws]) for name in ("alpha", "beta"))
    assert 0.5 <= alphas.min() < 0.52
    assert 1.48 < alphas.max() <= 1.5
    assert 0.1 <= betas.min() < 0.11
    assert 0.29 < betas.max() <= 0.3
    assert type(draws[0]["alpha"]) is type(draws[0]["beta"]) is float


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"brightness_limit": "dark"},
            r"brightness_limit='dark'\): expected a fraction x .*, got 'dark' \(str\)",
        ),
        ({"contrast_limit": (0.2, 0.1)}, r"pair \(least, greatest\), got \(0.2, 0.1\)"),
        ({"brightness_by_max": "no"}, r"expected True or False, got 'no'"),
        ({"ensure_safe_range": 0}, r"expected True or False, got 0"),
    ],
)
def test_brightness_refuses_fields_that_make_no_sense(fields, message):
    with pytest.raises(RecipeError, match=message):
        ops.RandomBrightnessContrast(**fields)


def test_colour_ops_travel(check_travels):
    check_travels(ops.HueSaturationValue())
    check_travels(ops.HueSaturationValue(5, (0, 3), [-1, 2]))
    check_travels(ops.RandomBrightnessContrast())
    check_travels(ops.RandomBrightnessContrast(0.1, (0, 0.3), brightness_by_max=False, ensure_safe_range=True))
