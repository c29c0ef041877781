import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import RecipeError
from kaleidoscope.ops import scatter

DTYPES = ["uint8", "uint16", "float32"]


def numbered(height, width, dtype):
    """Return an image whose pixels are all different, and one channel the double of the other."""
    values = np.arange(1, height * width + 1).reshape(height, width, 1)
    return (np.concatenate([values, 2 * values], axis=2) / (1 if dtype != "float32" else 2**14)).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_pixels_stay_whole_and_near(run, dtype, mode):
    src = numbered(40, 50, dtype)
    out = run(ops.GlassBlur(sigma=0, max_delta=3, iterations=1, mode=mode), src, {"seed": 5})
    np.testing.assert_array_equal(out[..., 1], 2 * out[..., 0])
    came_from = np.searchsorted(src[..., 0].ravel(), out[..., 0].ravel())
    rows, columns = np.divmod(came_from, 50)
    away = np.maximum(np.abs(rows - np.indices((40, 50))[0].ravel()), np.abs(columns - np.indices((40, 50))[1].ravel()))
    assert away.max() <= 3 if mode == "fast" else (away <= 3).mean() > 0.5
    assert (away > 0).mean() > 0.5
    assert set(np.unique(out)) <= set(np.unique(src))
    if mode == "exact":
        np.testing.assert_array_equal(np.sort(came_from), np.arange(2000))


@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_it_swaps_as_it_says(run, mode):
    """By a loop over pixels, from the bottom right, with the offsets of the seed."""
    height, width, most = 13, 11, 2
    src = numbered(height, width, "uint16")
    inside = [(y, x) for y in range(height - most, most, -1) for x in range(width - most, most, -1)]
    offsets = scatter._offsets(2, len(inside), most, width, 5)
    wanted = src.reshape(-1, 2).copy()
    for round_ in offsets:
        before = wanted.copy()
        for (y, x), offset in zip(inside, round_, strict=True):
            one = y * width + x
            if mode == "exact":
                wanted[[one, one + offset]] = wanted[[one + offset, one]]
            else:
                wanted[one] = before[one + offset]
        if mode == "fast":
            for (y, x), offset in zip(inside, round_, strict=True):
                wanted[y * width + x + offset] = before[y * width + x]
    out = run(ops.GlassBlur(sigma=0, max_delta=most, mode=mode), src, {"seed": 5})
    np.testing.assert_array_equal(out.reshape(-1, 2), wanted)


def test_offsets_are_even_and_from_the_seed():
    width = 1000
    offsets = scatter._offsets(2, 50_000, 3, width, 9)
    down, across = np.divmod(offsets + 3 * width + 3, width)
    for axis in (down, across):
        values, counts = np.unique(axis - 3, return_counts=True)
        assert values.tolist() == [-3, -2, -1, 0, 1, 2]
        np.testing.assert_allclose(counts / offsets.size, 1 / 6, atol=0.01)
    assert abs(np.corrcoef(down.ravel(), across.ravel())[0, 1]) < 0.02
    assert (offsets != scatter._offsets(2, 50_000, 3, width, 10)).mean() > 0.9


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(8, 30, 3), (1, 1, 1), (5, 8, 4)])
def test_an_image_too_small_is_only_smoothed(make_pixels, run, dtype, shape):
    src = make_pixels(shape, dtype)
    params = {"sigma": 0.7, "ksize": 5}
    once = run(ops.GaussianBlur(), src, params)
    wanted = run(ops.GaussianBlur(), once, params)
    np.testing.assert_array_equal(run(ops.GlassBlur(), src, {"seed": 1}), wanted)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sigma": -1}, r"sigma=-1\): expected pixels, at least 0"),
        ({"max_delta": 0}, r"max_delta=0\): expected whole pixels, at least 1"),
        ({"iterations": 1.5}, r"iterations=1.5\): expected a whole number, at least 1"),
        ({"mode": "quick"}, r"mode='quick'\): expected one of 'fast', 'exact'"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, message):
    with pytest.raises(RecipeError, match=message):
        ops.GlassBlur(**fields)
