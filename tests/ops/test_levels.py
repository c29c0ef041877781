import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.ops.tables import shift_channels
from kaleidoscope.record import MAX_VALUE, Frame

DTYPES = ["uint8", "uint16", "float32"]
CHANNELS = [1, 3, 4, 7, 130]
FRAME = Frame(8, 8, 3, "uint8")


def check(out, wanted, src):
    """Compare with a reference scaled to [0, 1]: half a level, or float32's error; alpha is the source's."""
    most, colours = MAX_VALUE[src.dtype.name], slice(3) if src.shape[2] == 4 else slice(None)
    tolerance = 2e-6 if src.dtype == np.float32 else 0.5001
    np.testing.assert_allclose(out[..., colours], np.clip(wanted, 0, 1)[..., colours] * most, atol=tolerance, rtol=0)
    if src.shape[2] == 4:
        np.testing.assert_array_equal(out[..., 3], src[..., 3])


def scaled(src):
    return src / np.float64(MAX_VALUE[src.dtype.name])


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("dtype", DTYPES)
class TestFormulas:
    @pytest.mark.parametrize("gamma", [0.4, 1.0, 1.2, 2.5])
    def test_gamma(self, make_pixels, run, dtype, channels, gamma):
        src = make_pixels((7, 9, channels), dtype)
        check(run(ops.RandomGamma(), src, {"gamma": gamma}), scaled(src) ** gamma, src)

    @pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
    def test_solarize(self, make_pixels, run, dtype, channels, threshold):
        src = make_pixels((7, 9, channels), dtype)
        out = run(ops.Solarize(), src, {"threshold": threshold})
        bright = src >= threshold * MAX_VALUE[dtype]
        assert bright.any()
        check(out, np.where(bright, 1 - scaled(src), scaled(src)), src)

    def test_invert(self, make_pixels, run, dtype, channels):
        src = make_pixels((7, 9, channels), dtype)
        check(run(ops.InvertImg(), src, {}), 1 - scaled(src), src)

    @pytest.mark.parametrize("bits", [1, 4, 7])
    def test_posterize(self, make_pixels, run, dtype, channels, bits):
        src = make_pixels((7, 9, channels), dtype)
        out = run(ops.Posterize(), src, {"num_bits": bits})
        check(out, posterized(src, bits), src)

    @pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.25, 0.75), (1 / 3, 2 / 3), (1.0, 0.0)])
    def test_tone_curve(self, make_pixels, run, dtype, channels, low, high):
        src = make_pixels((7, 9, channels), dtype)
        check(run(ops.RandomToneCurve(), src, {"low_y": low, "high_y": high}), bezier(scaled(src), low, high), src)


def posterized(src, bits):
    """Return the first bits of each value, scaled to [0, 1]."""
    if src.dtype == np.float32:
        return np.rint(src * 255) // 2 ** (8 - bits) * 2 ** (8 - bits) / 255
    step = 2 ** (8 * src.itemsize - bits)
    return src.astype(int) // step * step / MAX_VALUE[src.dtype.name]


def bezier(t, low, high):
    return 3 * (1 - t) ** 2 * t * low + 3 * (1 - t) * t**2 * high + t**3


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_tone_curves_per_channel(make_pixels, run, dtype, channels):
    src, op = make_pixels((7, 9, channels), dtype), ops.RandomToneCurve(0.4, per_channel=True)
    params = op.sample_params(np.random.default_rng(5), Frame.of(src))
    assert len(params["low_y"]) == len(params["high_y"]) == (3 if channels == 4 else channels)
    wanted = np.zeros(src.shape)
    for channel, ends in enumerate(zip(params["low_y"], params["high_y"], strict=True)):
        wanted[..., channel] = bezier(scaled(src)[..., channel], *ends)
    check(run(op, src, params), wanted, src)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_posterize_each_colour_by_bits_of_its_own(make_pixels, run, dtype, channels):
    src, bits = make_pixels((7, 9, channels), dtype), [1, 7, 3]
    wanted = np.stack([posterized(src[..., one], bits[one % 3]) for one in range(channels)], axis=-1)
    check(run(ops.Posterize(bits), src, {"num_bits": bits}), wanted, src)


def test_posterize_takes_as_many_bits_as_colours():
    op = ops.Posterize([1, 2, 3])
    with pytest.raises(OpError, match="one for each of the 7 colours"):
        op.out_frame(Frame(8, 8, 7, "uint8"), {"num_bits": [1, 2, 3]})


def test_floats_in_many_bands_are_those_of_one(make_pixels, run):
    src = make_pixels((300, 301, 1), "float32")
    check(run(ops.RandomGamma(), src, {"gamma": 0.7}), scaled(src) ** 0.7, src)


@pytest.mark.parametrize("shifts", [[0.0, 0.4, -0.4], [1.0, -1.0, 0.1], [2.0, -3.0, 1 / 255]])
@pytest.mark.parametrize("dtype", DTYPES)
def test_shifts_of_channels_saturate(make_pixels, dtype, shifts):
    src = make_pixels((9, 13, 3), dtype)
    out = np.empty_like(src)
    shift_channels(src, shifts, out)
    steps = np.array(shifts) if dtype == "float32" else np.rint(np.array(shifts) * MAX_VALUE[dtype])
    np.testing.assert_allclose(out, np.clip(src + steps, 0, MAX_VALUE[dtype]), atol=1e-6)


# ---- draws and fields


def drawn(op, name, frame=FRAME, count=1000):
    rng = np.random.default_rng(0)
    return np.array([op.sample_params(rng, frame)[name] for _ in range(count)])


@pytest.mark.parametrize(
    ("op", "name", "low", "high"),
    [
        (ops.RandomGamma(), "gamma", 0.8, 1.2),
        (ops.RandomGamma(50), "gamma", 0.01, 0.5),
        (ops.Solarize((0.2, 0.6)), "threshold", 0.2, 0.6),
    ],
)
def test_draws_fill_their_ranges(op, name, low, high):
    values = drawn(op, name)
    assert low <= values.min() < low + 0.02 * (high - low)
    assert high - 0.02 * (high - low) < values.max() <= high


def test_bits_are_drawn_from_first_to_last():
    assert set(drawn(ops.Posterize((2, 5)), "num_bits").tolist()) == {2, 3, 4, 5}
    columns = drawn(ops.Posterize([(1, 2), 4, (6, 7)]), "num_bits").T
    assert [set(column.tolist()) for column in columns] == [{1, 2}, {4}, {6, 7}]


@pytest.mark.parametrize("per_channel", [True, False])
def test_heights_of_the_tone_curve_are_normal_and_stay_in_range(per_channel):
    low = drawn(ops.RandomToneCurve(0.1, per_channel=per_channel), "low_y")
    high = drawn(ops.RandomToneCurve(0.1, per_channel=per_channel), "high_y")
    assert abs(low.mean() - 0.25) < 0.01
    assert abs(high.mean() - 0.75) < 0.01
    assert abs(high.std() - 0.1) < 0.01
    wide = drawn(ops.RandomToneCurve(1.0), "low_y")
    assert (wide.min(), wide.max()) == (0, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ops.RandomGamma(0.5), r"RandomGamma\(gamma_limit=0.5\): expected percent"),
        (lambda: ops.RandomGamma((0, 120)), "at least 1"),
        (lambda: ops.Solarize((0.5, 1.1)), r"in \[0, 1\]"),
        (lambda: ops.Solarize("half"), "got 'half'"),
        (lambda: ops.Posterize(8), "1 to 7 bits"),
        (lambda: ops.Posterize((5, 2)), r"got \(5, 2\)"),
        (lambda: ops.Posterize([1, 2, 8]), r"got \[1, 2, 8\]"),
        (lambda: ops.Posterize([]), r"got \[\]"),
        (lambda: ops.Posterize(2.5), "got 2.5"),
        (lambda: ops.RandomToneCurve(-0.1), "standard deviation"),
        (lambda: ops.RandomToneCurve(per_channel=1), "True or False"),
    ],
)
def test_fields_that_make_no_sense_are_refused(make, message):
    with pytest.raises(RecipeError, match=message):
        make()
