import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.record import MAX_VALUE, Frame

CHANNELS = [1, 3, 4, 7, 130]


@pytest.mark.parametrize("most", [None, 100, 255, 70000])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_to_float_divides_and_stops_at_1(make_pixels, run, dtype, channels, most):
    src = make_pixels((7, 9, channels), dtype)
    out = run(ops.ToFloat(most), src, {})
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, np.minimum(src / (most or MAX_VALUE[dtype]), 1), rtol=1e-7)


def test_to_float_copies_floats(make_pixels, run):
    src = make_pixels((7, 9, 3), "float32")
    np.testing.assert_array_equal(run(ops.ToFloat(100), src, {}), src)


@pytest.mark.parametrize("most", [None, 100, 4095, 1e6])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_from_float_multiplies_rounds_and_clips(make_pixels, run, dtype, channels, most):
    src = make_pixels((7, 9, channels), "float32")
    out = run(ops.FromFloat(dtype, most), src, {})
    assert out.dtype == dtype
    wanted = np.clip(src.astype(float) * (most or MAX_VALUE[dtype]), 0, MAX_VALUE[dtype])
    assert np.abs(out - wanted).max() <= 0.51


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_there_and_back_is_identity(run, dtype):
    src = np.arange(MAX_VALUE[dtype] + 1).astype(dtype).reshape(16, -1, 1)
    np.testing.assert_array_equal(run(ops.FromFloat(dtype), run(ops.ToFloat(), src, {}), {}), src)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_from_float_needs_floats(dtype):
    with pytest.raises(OpError, match=f"FromFloat: expected float32 pixels, got 9x8x3 {dtype}"):
        ops.FromFloat().out_frame(Frame(8, 9, 3, dtype), {})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ops.ToFloat(0), r"ToFloat\(max_value=0\): expected a number above 0, or None"),
        (lambda: ops.FromFloat("uint32"), "'uint8', 'uint16'"),
        (lambda: ops.FromFloat(max_value=-1), "above 0"),
    ],
)
def test_fields_that_make_no_sense_are_refused(make, message):
    with pytest.raises(RecipeError, match=message):
        make()
