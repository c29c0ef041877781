import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import RecipeError
from kaleidoscope.record import MAX_VALUE, Frame

DTYPES = ["uint8", "uint16", "float32"]
SHAPES = [(21, 34, 3), (1, 1, 1), (1, 17, 3), (13, 1, 4), (9, 8, 2), (6, 5, 7)]
ROUNDED = {"uint8": 0.5001, "uint16": 0.51, "float32": 2e-6}


def weighted(src, weights):
    """Return the weighted sums of the pixels around each, in float64, the image mirrored."""
    margin = len(weights) // 2
    padded = np.pad(src.astype(float), [(margin, margin), (margin, margin), (0, 0)], mode="reflect")
    squares = np.lib.stride_tricks.sliding_window_view(padded, np.shape(weights), axis=(0, 1))
    return np.einsum("hwcij,ij->hwc", squares, weights)


def gaussian(ksize, sigma):
    away = np.arange(ksize) - ksize // 2
    weights = np.exp(-(away**2) / (2 * sigma**2))
    return np.outer(weights, weights) / weights.sum() ** 2


def check(op, src, params, wanted, most=None):
    """Compare with the formula, clipped, alpha as it was."""
    out = np.empty_like(src)
    op.kernel(src, params, out)
    wanted = np.clip(wanted, 0, MAX_VALUE[src.dtype.name])
    if src.shape[2] == 4:
        wanted[..., 3] = src[..., 3]
    assert np.abs(out - wanted).max() <= (most or ROUNDED[src.dtype.name])


def draw(op, n=1000):
    rng = np.random.default_rng(0)
    return [op.sample_params(rng, Frame(8, 8, 3, "uint8")) for _ in range(n)]


def ends(op, name):
    values = [drawn[name] for drawn in draw(op)]
    return [min(values), max(values)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
class TestFormulas:
    @pytest.mark.parametrize(("alpha", "lightness"), [(0.3, 0.6), (1.0, 0.0), (0.5, 2.0)])
    def test_sharpen_by_kernel(self, make_pixels, dtype, shape, alpha, lightness):
        src = make_pixels(shape, dtype)
        around = weighted(src, [[1, 1, 1], [1, 0, 1], [1, 1, 1]])
        wanted = (1 - alpha) * src.astype(float) + alpha * ((8 + lightness) * src.astype(float) - around)
        check(ops.Sharpen(), src, {"alpha": alpha, "lightness": lightness}, wanted)

    @pytest.mark.parametrize(("alpha", "ksize", "sigma"), [(0.3, 5, 1.0), (1.0, 9, 2.5)])
    def test_sharpen_by_gaussian(self, make_pixels, dtype, shape, alpha, ksize, sigma):
        src = make_pixels(shape, dtype)
        wanted = src + alpha * (src - weighted(src, gaussian(ksize, sigma)))
        op = ops.Sharpen(method="gaussian", kernel_size=ksize, sigma=sigma)
        check(op, src, {"alpha": alpha}, wanted, most=1.001 if dtype == "uint8" else None)

    @pytest.mark.parametrize(("ksize", "sigma"), [(3, 0.7), (7, 2.0)])
    @pytest.mark.parametrize(("alpha", "threshold"), [(0.4, 10), (1.0, 40)])
    def test_unsharp_mask(self, make_pixels, dtype, shape, ksize, sigma, alpha, threshold):
        src = make_pixels(shape, dtype)
        most = MAX_VALUE[dtype]
        difference = src - weighted(src, gaussian(ksize, sigma))
        mask = np.abs(difference) > threshold / 255 * most
        sharp = np.clip(src + alpha * difference, 0, most)
        wanted = src + weighted(mask, gaussian(ksize, sigma)) * (sharp - src)
        op = ops.UnsharpMask(threshold=threshold)
        check(op, src, {"ksize": ksize, "sigma": sigma, "alpha": alpha}, wanted)

    @pytest.mark.parametrize(("alpha", "strength"), [(0.3, 0.5), (1.0, 0.0), (0.7, 3.0)])
    def test_emboss(self, make_pixels, dtype, shape, alpha, strength):
        src = make_pixels(shape, dtype)
        s = strength
        relief = weighted(src, [[-1 - s, -s, 0], [-s, 0, s], [0, s, 1 + s]])
        check(ops.Emboss(), src, {"alpha": alpha, "strength": strength}, src + alpha * relief)


@pytest.mark.parametrize(("ksize", "weights"), [(3, [1, 2, 1]), (5, [1, 4, 6, 4, 1]), (7, [8, 28, 56, 72, 56, 28, 8])])
def test_a_sigma_of_0_is_taken_from_the_size(make_pixels, run, ksize, weights):
    src = make_pixels((15, 15, 1), "float32")
    row = np.array(weights) / sum(weights)
    wanted = np.clip(2 * src - weighted(src, np.outer(row, row)), 0, 1)
    # Where everything is above the threshold the mask is 1.
    out = run(ops.UnsharpMask(threshold=0), src, {"ksize": ksize, "sigma": 0.0, "alpha": 1.0})
    np.testing.assert_allclose(out, wanted, atol=1e-6)


def test_unsharp_mask_leaves_what_differs_little(run):
    ripple = np.tile(np.array([100, 110], np.uint8), (16, 8))[..., np.newaxis]  # 5 from its mean
    params = {"ksize": 3, "sigma": 0.0, "alpha": 1.0}
    np.testing.assert_array_equal(run(ops.UnsharpMask(threshold=5), ripple, params), ripple)
    assert (run(ops.UnsharpMask(threshold=4), ripple, params) != ripple).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_areas_of_one_colour_stay(run, dtype):
    src = np.full((9, 9, 3), MAX_VALUE[dtype] // 2 or 0.5, dtype)
    for op, params in (
        (ops.Sharpen(), {"alpha": 0.5, "lightness": 1.0}),
        (ops.Sharpen(method="gaussian"), {"alpha": 0.5}),
        (ops.UnsharpMask(threshold=0), {"ksize": 5, "sigma": 2.0, "alpha": 0.5}),
        (ops.Emboss(), {"alpha": 0.5, "strength": 0.7}),
    ):
        np.testing.assert_allclose(run(op, src, params), src, rtol=1e-5)


def test_draws_fill_their_ranges():
    np.testing.assert_allclose(ends(ops.Sharpen(), "alpha"), (0.2, 0.5), atol=0.01)
    np.testing.assert_allclose(ends(ops.Sharpen(), "lightness"), (0.5, 1), atol=0.01)
    np.testing.assert_allclose(ends(ops.Emboss(), "alpha"), (0.2, 0.5), atol=0.01)
    np.testing.assert_allclose(ends(ops.Emboss(), "strength"), (0.2, 0.7), atol=0.01)
    np.testing.assert_allclose(ends(ops.UnsharpMask(), "alpha"), (0.2, 0.5), atol=0.01)
    np.testing.assert_allclose(ends(ops.UnsharpMask(sigma_limit=2), "sigma"), (0, 2), atol=0.01)
    assert {drawn["ksize"] for drawn in draw(ops.UnsharpMask((4, 9)))} == {5, 7, 9}
    assert all(drawn["sigma"] == 0 for drawn in draw(ops.UnsharpMask(), 10))
    assert set(draw(ops.Sharpen(method="gaussian"), 1)[0]) == {"alpha"}


def test_single_numbers_are_ranges():
    assert ops.Sharpen(0.3, 1) == ops.Sharpen((0.3, 0.3), (1, 1))
    assert ops.Sharpen(kernel_size=6) == ops.Sharpen(kernel_size=7)
    assert ops.UnsharpMask(9, sigma_limit=2, alpha=0.5) == ops.UnsharpMask((3, 9), (0, 2), (0, 0.5))
    assert ops.Emboss(0.3, 1) == ops.Emboss((0.3, 0.3), (1, 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ops.Sharpen(alpha=1.5), r"Sharpen\(alpha=1.5\): expected a part in \[0, 1\]"),
        (lambda: ops.Sharpen(lightness=(-1, 1)), r"lightness=\(-1, 1\)\): expected a number of at least 0"),
        (lambda: ops.Sharpen(method="gausian"), r"one of 'kernel', 'gaussian'.*Did you mean 'gaussian'"),
        (lambda: ops.Sharpen(kernel_size=1), r"kernel_size=1\): expected pixels, at least 3"),
        (lambda: ops.Sharpen(sigma=0), r"sigma=0\): expected pixels, above 0"),
        (lambda: ops.UnsharpMask(blur_limit=2), r"blur_limit=2\): expected kernel sizes in pixels, at least 3"),
        (lambda: ops.UnsharpMask(sigma_limit=-1), r"sigma_limit=-1\): expected pixels, at least 0"),
        (lambda: ops.UnsharpMask(alpha=2), r"alpha=2\): expected a part in \[0, 1\]"),
        (lambda: ops.UnsharpMask(threshold=256), r"threshold=256\): expected a whole number of levels, 0 to 255"),
        (lambda: ops.Emboss(alpha=(0.5, 0.2)), r"alpha=\(0.5, 0.2\)\): expected a part in \[0, 1\]"),
        (lambda: ops.Emboss(strength=-0.1), r"strength=-0.1\): expected a number of at least 0"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(RecipeError, match=message):
        make()
