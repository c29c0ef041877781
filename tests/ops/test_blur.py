import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import RecipeError
from kaleidoscope.ops import blur
from kaleidoscope.record import MAX_VALUE, Frame

DTYPES = ["uint8", "uint16", "float32"]
SHAPES = [(21, 34, 3), (1, 1, 1), (1, 17, 3), (13, 1, 4), (4, 3, 1), (9, 8, 5), (6, 5, 130)]


def blur_reference(src, sigma, ksize):
    """Return the formula of the docstring, in float64."""
    radius = ksize // 2
    weights = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    done = src.astype(float)
    for axis in (0, 1):
        widths = [(0, 0)] * 3
        widths[axis] = (radius, radius)
        padded = np.pad(done, widths, mode="reflect")  # NumPy's name for reflect_101
        done = np.apply_along_axis(np.convolve, axis, padded, weights, mode="valid")
    return done


@pytest.mark.parametrize(("sigma", "ksize"), [(0.5, 3), (1.3, 9), (3.0, 21), (2.0, 5)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_blur_is_the_formula_of_the_docstring(make_pixels, run, dtype, shape, sigma, ksize):
    src = make_pixels(shape, dtype)
    out = run(ops.GaussianBlur(), src, {"sigma": sigma, "ksize": ksize})
    error = np.abs(out - blur_reference(src, sigma, ksize)).max()
    assert error <= {"uint8": 0.501, "uint16": 0.52, "float32": 1e-6}[dtype]


@pytest.mark.parametrize("shape", [(512, 512, 3), (333, 511, 1), (128, 129, 4), (200, 90, 5)], ids=str)
@pytest.mark.parametrize("sigma", [2.2, 3.0, 5.0])
def test_at_half_size_it_is_the_formula_within_two_levels(photograph, run, shape, sigma):
    src = photograph[: shape[0], : shape[1], np.arange(shape[2]) % 3].copy()
    params = {"sigma": sigma, "ksize": blur.size_of(sigma)}
    errors = np.abs(run(ops.GaussianBlur(), src, params) - blur_reference(src, **params))
    assert errors.max() <= 2, "at the border, too"
    assert errors.mean() <= 0.35, "rounding alone is 0.25"


def test_a_kernel_without_its_tails_is_not_smoothed_at_half_size(photograph, run):
    params = {"sigma": 3.0, "ksize": 9}
    src = photograph[:200, :200].copy()
    assert np.abs(run(ops.GaussianBlur(), src, params) - blur_reference(src, **params)).max() <= 0.501


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_a_flat_image_stays_flat_and_in_range(run, dtype, channels):
    src = np.full((12, 15, channels), MAX_VALUE[dtype], dtype)
    out = run(ops.GaussianBlur(), src, {"sigma": 3.0, "ksize": 21})  # weights add up to 1 + 1e-7
    assert out.max() <= MAX_VALUE[dtype]
    np.testing.assert_allclose(out, src, rtol=1e-6)


def draw(op, n=2000):
    rng = np.random.default_rng(0)
    return [op.sample_params(rng, Frame(8, 8, 3, "uint8")) for _ in range(n)]


def test_by_default_the_size_follows_from_sigma():
    draws = draw(ops.GaussianBlur())
    sigmas = [d["sigma"] for d in draws]
    assert 0.5 <= min(sigmas) < 0.51
    assert 2.99 < max(sigmas) <= 3
    assert all(d["ksize"] == 2 * int(np.floor(3.5 * d["sigma"])) + 1 for d in draws)
    assert {type(d["ksize"]) for d in draws} == {int}


def test_sizes_are_drawn_evenly_from_the_range_and_made_odd():
    sizes = [d["ksize"] for d in draw(ops.GaussianBlur(blur_limit=(3, 8)))]
    values, counts = np.unique(sizes, return_counts=True)
    assert values.tolist() == [3, 5, 7, 9]
    np.testing.assert_allclose(counts / 2000, [1 / 6, 1 / 3, 1 / 3, 1 / 6], atol=0.04)
    assert {type(size) for size in sizes} == {int}


def test_zero_in_a_range_of_sizes_takes_the_size_from_sigma():
    sizes = {d["ksize"] for d in draw(ops.GaussianBlur(blur_limit=3, sigma_limit=(3, 3)))}
    assert sizes == {21, 1, 3}


def test_single_limits_start_at_zero():
    assert ops.GaussianBlur(blur_limit=7, sigma_limit=2) == ops.GaussianBlur((0, 7), (0, 2))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"blur_limit": "4"}, r"blur_limit='4'\): expected kernel sizes in pixels, at least 0: .*got '4' \(str\)"),
        ({"blur_limit": (6, 3)}, r"at least 0.*got \(6, 3\) \(tuple\)"),
        ({"blur_limit": (3, 5.5)}, r"got \(3, 5.5\)"),
        ({"blur_limit": -3}, r"got -3"),
        ({"sigma_limit": (-1, 1)}, r"sigma_limit=\(-1, 1\)\): expected pixels, at least 0.*got \(-1, 1\)"),
        ({"sigma_limit": "soft"}, r"got 'soft' \(str\)"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, message):
    with pytest.raises(RecipeError, match=message):
        ops.GaussianBlur(**fields)


def test_blur_travels(check_travels):
    check_travels(ops.GaussianBlur())
    check_travels(ops.GaussianBlur(blur_limit=[3, 7], sigma_limit=1.5))


def median_reference(src, ksize):
    """Return the medians of all squares, the outermost pixels repeated."""
    margin = ksize // 2
    padded = np.pad(src, [(margin, margin), (margin, margin), (0, 0)], mode="edge")
    squares = np.lib.stride_tricks.sliding_window_view(padded, (ksize, ksize), axis=(0, 1))
    return np.median(squares, axis=(-2, -1))


class TestMedian:
    @pytest.mark.parametrize("ksize", [3, 5, 7, 13])
    @pytest.mark.parametrize(
        "shape", [(21, 34, 3), (1, 1, 1), (1, 17, 3), (13, 1, 4), (9, 8, 2), (6, 5, 7), (3, 4, 130)]
    )
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_is_that_of_the_square(self, make_pixels, run, dtype, shape, ksize):
        src = make_pixels(shape, dtype)
        np.testing.assert_array_equal(run(ops.MedianBlur(), src, {"ksize": ksize}), median_reference(src, ksize))

    @pytest.mark.parametrize("dtype", ["uint16", "float32"])
    @pytest.mark.parametrize("at_once", [1, 49, 49 * 5, 49 * 20 * 3 + 1])
    def test_is_the_same_however_much_is_sorted_at_a_time(self, make_pixels, run, monkeypatch, dtype, at_once):
        src = make_pixels((11, 20, 2), dtype)
        monkeypatch.setattr(blur, "_SORTED_AT_ONCE", at_once)
        np.testing.assert_array_equal(run(ops.MedianBlur(), src, {"ksize": 7}), median_reference(src, 7))

    @pytest.mark.parametrize("ksize", [3, 7])
    def test_keeps_normalized_pixels(self, run, ksize):
        src = np.full((9, 9, 3), -2.5, np.float32)
        np.testing.assert_array_equal(run(ops.MedianBlur(), src, {"ksize": ksize}), src)

    def test_sizes_are_drawn_evenly_from_the_odd_numbers_of_the_range(self):
        sizes = [d["ksize"] for d in draw(ops.MedianBlur(blur_limit=(5, 11)))]
        values, counts = np.unique(sizes, return_counts=True)
        assert values.tolist() == [5, 7, 9, 11]
        assert counts.min() > 400  # of 500 expected
        assert {type(size) for size in sizes} == {int}
        assert {d["ksize"] for d in draw(ops.MedianBlur())} == {3, 5, 7}

    def test_a_single_limit_starts_at_3(self):
        assert ops.MedianBlur(9) == ops.MedianBlur((3, 9))

    def test_an_even_limit_is_taken_for_the_next_odd_one(self):
        assert ops.MedianBlur((4, 8)) == ops.MedianBlur((5, 9))

    @pytest.mark.parametrize("limit", [1, (2, 6), (7, 3), 5.5, "much"])
    def test_of_no_size_is_refused(self, limit):
        with pytest.raises(RecipeError, match=r"MedianBlur\(blur_limit=.*expected kernel sizes in pixels, at least 3"):
            ops.MedianBlur(blur_limit=limit)

    def test_travels(self, check_travels):
        check_travels(ops.MedianBlur())
        check_travels(ops.MedianBlur(blur_limit=[3, 11]))


def test_blur_keeps_normalized_pixels(run):
    src = np.full((9, 9, 3), -2.5, np.float32)
    src[4:] = 3
    out = run(ops.GaussianBlur(), src, {"sigma": 0.5, "ksize": 3})
    assert out[0, 0, 0] == pytest.approx(-2.5)
    assert out[8, 8, 2] == pytest.approx(3)
