import colorsys

import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.record import MAX_VALUE, Frame

DTYPES = ["uint8", "uint16", "float32"]
LUMA = np.array([0.299, 0.587, 0.114])
STILL = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0, "order": [0, 1, 2, 3]}
#: Of one step, in levels of 255.
ERROR = {"uint8": 1.01, "uint16": 1.01 / 257, "float32": 1e-3}


def scaled(src):
    return src[..., :3] / np.float64(MAX_VALUE[src.dtype.name])


def off(out, wanted):
    """Return how far an outcome lies from a reference scaled to [0, 1], in levels of 255."""
    return 255 * np.abs(scaled(out) - np.clip(wanted, 0, 1))


# ---- ColorJitter


@pytest.mark.parametrize("factor", [0.0, 0.7, 1.6])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
class TestJitterSteps:
    def test_brightness(self, make_pixels, run, dtype, channels, factor):
        src = make_pixels((13, 17, channels), dtype)
        out = run(ops.ColorJitter(), src, STILL | {"brightness": factor})
        assert off(out, factor * scaled(src)).max() <= ERROR[dtype]
        np.testing.assert_array_equal(out[..., 3:], src[..., 3:])

    def test_contrast(self, make_pixels, run, dtype, channels, factor):
        src = make_pixels((13, 17, channels), dtype)
        out = run(ops.ColorJitter(), src, STILL | {"contrast": factor})
        wanted = factor * scaled(src) + (1 - factor) * (scaled(src) @ LUMA).mean()
        assert off(out, wanted).max() <= ERROR[dtype]

    def test_saturation(self, make_pixels, run, dtype, channels, factor):
        src = make_pixels((13, 17, channels), dtype)
        out = run(ops.ColorJitter(), src, STILL | {"saturation": factor})
        wanted = factor * scaled(src) + (1 - factor) * (scaled(src) @ LUMA)[..., np.newaxis]
        assert off(out, wanted).max() <= ERROR[dtype]


@pytest.mark.parametrize("turns", [-0.5, -0.1, 0.05, 0.5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_jitter_turns_the_hue(make_pixels, run, dtype, turns):
    src = make_pixels((13, 17, 4), dtype)
    out = run(ops.ColorJitter(), src, STILL | {"hue": turns})
    wanted = []
    for pixel in scaled(src).reshape(-1, 3):
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        wanted.append(colorsys.hsv_to_rgb((h + turns) % 1, s, v))
    error = off(out, np.reshape(wanted, (13, 17, 3)))
    assert error.max() <= {"uint8": 9, "uint16": 0.01, "float32": 1e-3}[dtype]  # a degree is 4 levels, at most
    assert error.mean() <= {"uint8": 1.5, "uint16": 0.005, "float32": 1e-3}[dtype]


def test_jitter_of_bytes_turns_by_whole_steps_rounded_down(make_pixels, run):
    src = make_pixels((13, 17, 3))
    outs = [run(ops.ColorJitter(), src, STILL | {"hue": steps / 180}) for steps in (7.01, 7.99, 8.01)]
    np.testing.assert_array_equal(outs[0], outs[1])
    assert (outs[1] != outs[2]).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_jitter_takes_its_steps_in_the_order_drawn(make_pixels, run, dtype):
    src, op = make_pixels((301, 300, 4), dtype), ops.ColorJitter()
    factors = {"brightness": 1.3, "contrast": 0.8, "saturation": 1.4, "hue": 0.2}
    outs = []
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1]):
        one_by_one = src
        for place in order:
            name = list(factors)[place]
            one_by_one = run(op, one_by_one, STILL | {name: factors[name]})
        outs.append(run(op, src, factors | {"order": order}))
        np.testing.assert_array_equal(outs[-1], one_by_one)
    assert (outs[0] != outs[1]).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_jitter_of_grey_changes_brightness_and_contrast_only(make_pixels, run, dtype):
    src = make_pixels((9, 11, 1), dtype)
    out = run(ops.ColorJitter(), src, STILL | {"contrast": 0.5, "saturation": 0.0, "hue": 0.3})
    assert off(out, 0.5 * scaled(src) + 0.5 * scaled(src).mean()).max() <= ERROR[dtype]
    np.testing.assert_array_equal(run(ops.ColorJitter(), src, STILL | {"saturation": 0.0, "hue": 0.3}), src)


def test_jitter_draws_fill_their_ranges_and_all_orders():
    op, rng = ops.ColorJitter(0.4, (0.5, 0.7), 3, 0.1), np.random.default_rng(0)
    draws = [op.sample_params(rng, Frame(8, 8, 3, "uint8")) for _ in range(1000)]
    for name, low, high in (("brightness", 0.6, 1.4), ("contrast", 0.5, 0.7), ("saturation", 0, 4), ("hue", -0.1, 0.1)):
        values = [draw[name] for draw in draws]
        assert low <= min(values) < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < max(values) <= high
    assert len({tuple(draw["order"]) for draw in draws}) == 24


# ---- RGBShift, ToSepia, PlanckianJitter


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_shifts_are_added(make_pixels, run, dtype, channels):
    src, shift = make_pixels((9, 11, channels), dtype), [0.2, -0.05, -1.0]
    out = run(ops.RGBShift(), src, {"shift": shift})
    assert off(out, scaled(src) + shift).max() <= ERROR[dtype]
    np.testing.assert_array_equal(out[..., 3:], src[..., 3:])


def test_shifts_are_drawn_in_255ths_or_in_fractions():
    op, rng = ops.RGBShift(51, (0.1, 0.2), (10, 10)), np.random.default_rng(0)
    red, green, blue = np.transpose([op.sample_params(rng, Frame(8, 8, 3, "uint8"))["shift"] for _ in range(1000)])
    assert -0.2 <= red.min() < -0.19
    assert 0.19 < red.max() <= 0.2
    assert 0.1 <= green.min() < 0.102
    assert 0.198 < green.max() <= 0.2
    assert set(blue) == {10 / 255}


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sepia_is_the_formula_of_the_docstring(make_pixels, run, dtype, channels):
    src = make_pixels((9, 11, channels), dtype)
    out = run(ops.ToSepia(), src, {})
    matrix = np.array([(0.393, 0.769, 0.189), (0.349, 0.686, 0.168), (0.272, 0.534, 0.131)])
    assert off(out, scaled(src) @ matrix.T).max() <= ERROR[dtype]
    np.testing.assert_array_equal(out[..., 3:], src[..., 3:])


def test_sepia_leaves_grey(make_pixels, run):
    src = make_pixels((9, 11, 1))
    np.testing.assert_array_equal(run(ops.ToSepia(), src, {}), src)


# Red and blue relative to green: from the authors' table, https://github.com/TheZino/PlanckianJitter.
@pytest.mark.parametrize(
    ("mode", "temperature", "red", "blue"),
    [
        ("blackbody", 3000, 0.6743 / 0.4029, 0.0013 / 0.4029),
        ("blackbody", 3250, (0.6743 + 0.6281) / (0.4029 + 0.4241), (0.0013 + 0.1665) / (0.4029 + 0.4241)),
        ("blackbody", 6000, 0.4979 / 0.4584, 0.4468 / 0.4584),
        ("blackbody", 15000, 0.3503 / 0.4653, 0.6933 / 0.4653),
        ("cied", 4000, 0.5829 / 0.4421, 0.2288 / 0.4421),
        ("cied", 6500, 0.4654 / 0.4667, 0.4654 / 0.4667),
        ("cied", 12000, 0.3543 / 0.4719, 0.6472 / 0.4719),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_light_has_the_colour_of_its_temperature(make_pixels, run, dtype, mode, temperature, red, blue):
    src = make_pixels((9, 11, 4), dtype)
    out = run(ops.PlanckianJitter(mode), src, {"temperature": temperature})
    assert off(out, scaled(src) * (red, 1, blue)).max() <= 255 * 0.007 + ERROR[dtype]
    np.testing.assert_array_equal(out[..., 3], src[..., 3])


@pytest.mark.parametrize("how", ["uniform", "gaussian"])
def test_temperatures_fill_their_range_on_both_sides_of_white(how):
    op, rng = ops.PlanckianJitter("cied", (5000, 9000), how), np.random.default_rng(0)
    values = np.array([op.sample_params(rng, Frame(8, 8, 3, "uint8"))["temperature"] for _ in range(2000)])
    assert 5000 <= values.min() < 5050
    assert 8900 < values.max() <= 9000
    assert abs((values < 6000).mean() - 0.4) < 0.04
    near = {"uniform": 1 / 3, "gaussian": 0.683}[how]  # of a standard deviation
    assert abs(((values > 6000 - 1000 / 3) & (values < 7000)).mean() - near) < 0.05


# ---- what they refuse


@pytest.mark.parametrize("channels", [1, 2, 7])
@pytest.mark.parametrize("op", [ops.RGBShift(), ops.PlanckianJitter()], ids=repr)
def test_tints_need_colours(op, channels):
    with pytest.raises(OpError, match=rf"expected RGB or RGBA \(3 or 4 channels\), got {channels}"):
        op.out_frame(Frame(8, 8, channels, "uint8"), {})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ops.ColorJitter(-0.1), r"ColorJitter\(brightness=-0.1\): expected a number x of at least 0"),
        (lambda: ops.ColorJitter(contrast=(-0.5, 1)), r"got \(-0.5, 1\)"),
        (lambda: ops.ColorJitter(hue=0.6), r"in \[0, 0.5\]"),
        (lambda: ops.ColorJitter(hue=-0.1), "got -0.1"),
        (lambda: ops.ColorJitter(hue="red"), "got 'red'"),
        (lambda: ops.RGBShift(256), r"within \[-255, 255\], got 256"),
        (lambda: ops.PlanckianJitter("blackbod"), "Did you mean 'blackbody'"),
        (lambda: ops.PlanckianJitter("cied", (3000, 9000)), r"within \[4000, 15000\]"),
        (lambda: ops.PlanckianJitter(temperature_limit=(7000, 9000)), "6000 inside"),
        (lambda: ops.PlanckianJitter(sampling_method="normal"), "'gaussian'"),
    ],
)
def test_fields_that_make_no_sense_are_refused(make, message):
    with pytest.raises(RecipeError, match=message):
        make()
