import numpy as np
import pytest

from kaleidoscope.ops import convolve
from kaleidoscope.record import MAX_VALUE

DTYPES = ["uint8", "uint16", "float32"]
SHAPES = [(21, 34, 3), (1, 1, 1), (1, 17, 3), (13, 1, 4), (9, 8, 2), (6, 5, 7)]
DISC = [(x, y) for y in range(-10, 11) for x in range(-10, 11) if x * x + y * y <= 100]  # 317 pixels
LINE = [(x, round(0.4 * x)) for x in range(-7, 8)]
CROSS = [(-1, 0), (0, 0), (0, 2), (1, 0)]


def mean_reference(src, offsets):
    """Return the means over the pixels at some offsets, in float64, the image mirrored."""
    reach = max(max(abs(x), abs(y)) for x, y in offsets)
    padded = np.pad(src.astype(float), [(reach, reach), (reach, reach), (0, 0)], mode="reflect")
    height, width = src.shape[:2]
    shifted = [padded[reach + y : reach + y + height, reach + x : reach + x + width] for x, y in offsets]
    return np.mean(shifted, axis=0)


@pytest.mark.parametrize("offsets", [DISC, LINE, CROSS, [(0, 0)], [(12, -3)]], ids=len)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_mean_over_offsets_is_exact(make_pixels, dtype, shape, offsets):
    src = make_pixels(shape, dtype)
    out = np.full_like(src, 77)
    convolve.mean_over(src, offsets, out)
    error = np.abs(out - mean_reference(src, offsets)).max()
    assert error <= {"uint8": 0.5001, "uint16": 0.51, "float32": 1e-6}[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 5, 20])
def test_mean_is_the_same_however_many_rows_are_summed_at_a_time(make_pixels, monkeypatch, dtype, rows):
    src = make_pixels((41, 20, 3), dtype)
    wanted, out = np.empty_like(src), np.empty_like(src)
    convolve.mean_over(src, LINE, wanted)
    monkeypatch.setattr(convolve, "_ROWS", rows)
    convolve.mean_over(src, LINE, out)
    np.testing.assert_array_equal(out, wanted)


def test_an_offset_that_is_given_twice_counts_once(make_pixels):
    src = make_pixels((9, 9, 3))
    once, twice = np.empty_like(src), np.empty_like(src)
    convolve.mean_over(src, LINE, once)
    convolve.mean_over(src, [*LINE, *LINE[:5]], twice)
    np.testing.assert_array_equal(once, twice)


@pytest.mark.parametrize("offsets", [DISC, LINE, CROSS], ids=len)
@pytest.mark.parametrize("dtype", DTYPES)
def test_mean_of_the_largest_value_is_the_largest_value(dtype, offsets):
    src = np.full((12, 15, 4), MAX_VALUE[dtype], dtype)
    out = np.empty_like(src)
    convolve.mean_over(src, offsets, out)
    assert out.max() <= MAX_VALUE[dtype]
    np.testing.assert_allclose(out, src, rtol=1e-6)


@pytest.mark.parametrize("offsets", [LINE, CROSS], ids=len)
def test_mean_keeps_normalized_pixels(offsets):
    src = np.full((9, 9, 3), -2.5, np.float32)
    out = np.empty_like(src)
    convolve.mean_over(src, offsets, out)
    np.testing.assert_allclose(out, src, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_are_those_of_the_pixels_below_and_to_the_right(dtype):
    src = np.zeros((5, 5, 1), dtype)
    src[2, 2] = 1
    weights = np.arange(9, dtype=np.float32).reshape(3, 3)
    out = np.empty_like(src)
    convolve.convolve(src, weights, out)
    np.testing.assert_array_equal(out[1:4, 1:4, 0], weights[::-1, ::-1])


def test_sizes_are_drawn_evenly_from_the_odd_numbers_of_the_range():
    rng = np.random.default_rng(0)
    values, counts = np.unique([convolve.draw_size(rng, (5, 11)) for _ in range(2000)], return_counts=True)
    assert values.tolist() == [5, 7, 9, 11]
    assert counts.min() > 400  # of 500 expected
