import cv2
import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.record import MAX_VALUE, Frame

DTYPES = ["uint8", "uint16", "float32"]
LEVELS = {"uint8": 255, "uint16": 65535, "float32": 65535}


def dim(make_pixels, shape, dtype):
    """Return pixels of a part of the range, most of them dark."""
    pixels = 0.1 + 0.6 * make_pixels(shape, "float32") ** 2
    return pixels if dtype == "float32" else np.rint(pixels * MAX_VALUE[dtype]).astype(dtype)


def levels_of(plane):
    return np.rint(plane * 65535.0).astype(int) if plane.dtype == np.float32 else plane.astype(int)


def equalized(plane, mode):
    """Return the table of the docstring, value by value, scaled to [0, 1]."""
    values, most = levels_of(plane), LEVELS[plane.dtype.name]
    sums = np.array([np.count_nonzero(values <= value) for value in values.ravel()]).reshape(values.shape)
    first, last = np.count_nonzero(values == values.min()), np.count_nonzero(values == values.max())
    if mode == "cv":
        return (sums - first) / (values.size - first)
    step = (values.size - last) // most
    return np.minimum((sums + step // 2) // step, most) / most


def colours(shape):
    return range(3 if shape[2] == 4 else shape[2])


# ---- Equalize


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_equalize_is_the_table_of_the_docstring(make_pixels, run, dtype, channels):
    src = dim(make_pixels, (31, 29, channels), dtype)
    out = run(ops.Equalize(), src, {})
    for channel in colours(src.shape):
        wanted = equalized(src[..., channel], "cv") * MAX_VALUE[dtype]
        np.testing.assert_allclose(out[..., channel], wanted, atol=1e-5 if dtype == "float32" else 0.501)
    if channels == 4:
        np.testing.assert_array_equal(out[..., 3], src[..., 3])


def test_equalize_as_pillow_is_the_table_of_the_docstring(make_pixels, run):
    src = dim(make_pixels, (61, 59, 3), "uint8")
    out = run(ops.Equalize("pil"), src, {})
    for channel in range(3):
        np.testing.assert_array_equal(out[..., channel], equalized(src[..., channel], "pil") * 255)


@pytest.mark.parametrize("mode", ["cv", "pil"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_equalize_leaves_one_colour_alone(run, dtype, mode):
    src = np.full((9, 300, 3), 0.25 * MAX_VALUE[dtype]).astype(dtype)
    np.testing.assert_allclose(run(ops.Equalize(mode), src, {}), src, atol=1e-5 if dtype == "float32" else 0)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_equalize_by_luma_spreads_the_luma(photograph, run, dtype, channels):
    small = photograph[:200, :200] // 3 + 40
    src = (small / 255 * MAX_VALUE[dtype]).astype(dtype)
    if channels == 4:
        src = np.dstack([src, src[..., :1]])
    out = run(ops.Equalize(by_channels=False), src, {})
    luma = [one[..., :3] @ (0.299, 0.587, 0.114) / MAX_VALUE[dtype] for one in (src, out)]
    assert luma[0].max() - luma[0].min() < 0.5
    assert np.quantile(luma[1], 0.99) - np.quantile(luma[1], 0.01) > 0.9
    order = np.argsort(luma[0].ravel())
    assert np.corrcoef(luma[1].ravel()[order], np.arange(order.size))[0, 1] > 0.98
    np.testing.assert_array_equal(out[..., 3:], src[..., 3:])


def test_equalize_by_luma_takes_grey_and_rgb_only():
    op = ops.Equalize(by_channels=False)
    with pytest.raises(OpError, match=r"Equalize: expected grey, RGB or RGBA \(1, 3 or 4 channels\), got 7"):
        op.out_frame(Frame(8, 8, 7, "uint8"), {})


# ---- AutoContrast


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_autocontrast_stretches_to_the_full_range(make_pixels, run, dtype, channels):
    src = dim(make_pixels, (31, 29, channels), dtype)
    out = run(ops.AutoContrast(method="pil"), src, {})
    for channel in colours(src.shape):
        plane = levels_of(src[..., channel]).astype(float)
        wanted = (plane - plane.min()) / (plane.max() - plane.min()) * MAX_VALUE[dtype]
        np.testing.assert_allclose(out[..., channel], wanted, atol=1e-5 if dtype == "float32" else 0.501)
    np.testing.assert_array_equal(out[..., 3:][..., :1] if channels == 4 else 0, src[..., 3:] if channels == 4 else 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_autocontrast_by_shares_equalizes_without_a_cutoff(make_pixels, run, dtype):
    src = dim(make_pixels, (31, 29, 3), dtype)
    out, wanted = (run(op, src, {}) for op in (ops.AutoContrast(), ops.Equalize()))
    np.testing.assert_allclose(out, wanted, atol=1e-5 if dtype == "float32" else 1)


@pytest.mark.parametrize("method", ["cdf", "pil"])
def test_autocontrast_cuts_off_percent_at_each_end(run, method):
    src = np.arange(50, 150, dtype=np.uint8).reshape(1, -1, 1)  # each value is a percent
    out = run(ops.AutoContrast(10, method=method), src, {}).ravel()
    low, high = 60, 140  # ten values below the one, ten from the other on
    np.testing.assert_allclose(out, np.clip((src.ravel() - float(low)) / (high - low), 0, 1) * 255, atol=0.501)


@pytest.mark.parametrize("cutoff", [50, 51, 100])
def test_autocontrast_leaves_alone_where_nothing_is_left(run, cutoff):
    src = np.arange(50, 150, dtype=np.uint8).reshape(1, -1, 1)
    np.testing.assert_array_equal(run(ops.AutoContrast(cutoff), src, {}), src)


@pytest.mark.parametrize(("dtype", "unit"), [("uint8", 1), ("uint16", 257), ("float32", 1 / 255)])
def test_autocontrast_ignores_a_value_and_keeps_it(run, dtype, unit):
    src = (np.array([[[0], [100], [150], [200]]]) * unit).astype(dtype)
    out = run(ops.AutoContrast(ignore=0, method="pil"), src, {}).ravel()
    np.testing.assert_allclose(out, np.array([0, 0, 127.5, 255]) * unit, atol=1e-4 if dtype == "float32" else 0.501)


def test_autocontrast_counts_white(run):
    src = np.array([[[100]] * 2 + [[255]] * 2], np.uint8)
    assert run(ops.AutoContrast(method="pil"), src, {}).ravel().tolist() == [0, 0, 255, 255]


# ---- CLAHE


@pytest.mark.parametrize("limit", [1.0, 4.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_clahe_of_grey_is_opencvs(photograph, run, dtype, limit):
    grey = photograph[..., :1] / 255
    src = (grey * MAX_VALUE[dtype]).astype(dtype)
    out = run(ops.CLAHE(tile_grid_size=(3, 5)), src, {"clip_limit": limit})
    steps = np.rint(src[..., 0] / MAX_VALUE[dtype] * 255).astype(np.uint8)
    gain = cv2.createCLAHE(limit, (5, 3)).apply(steps).astype(float) - steps
    wanted = np.clip(src[..., 0] / MAX_VALUE[dtype] + gain / 255, 0, 1)
    np.testing.assert_allclose(out[..., 0] / MAX_VALUE[dtype], wanted, atol=1e-5)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_clahe_is_about_the_same_for_every_dtype(photograph, run, dtype, channels):
    src = photograph[:256, :256]
    if channels == 4:
        src = np.dstack([src, src[..., 0]])
    fine = (src / 255 * MAX_VALUE[dtype]).astype(dtype)
    made = run(ops.CLAHE(), fine, {"clip_limit": 2.0}) / MAX_VALUE[dtype] * 255
    coarse = run(ops.CLAHE(), src, {"clip_limit": 2.0})
    assert np.abs(coarse - src.astype(float)).mean() > 5
    assert np.abs(made - coarse).mean() < 1.5


@pytest.mark.parametrize("dtype", DTYPES)
def test_clahe_keeps_hue_roughly_and_spreads_lightness(photograph, run, dtype):
    src = (photograph / 255 * MAX_VALUE[dtype] * 0.4).astype(dtype)
    out = run(ops.CLAHE(), src, {"clip_limit": 4.0})
    lab = [cv2.cvtColor((one / MAX_VALUE[dtype]).astype(np.float32), cv2.COLOR_RGB2LAB) for one in (src, out)]
    assert lab[1][..., 0].std() > 1.5 * lab[0][..., 0].std()
    assert np.abs(lab[1][..., 1:] - lab[0][..., 1:]).mean() < 3


def test_draws_of_the_clip_limit_fill_their_range():
    rng = np.random.default_rng(0)
    values = [ops.CLAHE(3).sample_params(rng, Frame(8, 8, 3, "uint8"))["clip_limit"] for _ in range(1000)]
    assert 1 <= min(values) < 1.02
    assert 2.98 < max(values) <= 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ops.CLAHE(0.5), r"CLAHE\(clip_limit=0.5\): expected a number x of at least 1"),
        (lambda: ops.CLAHE(tile_grid_size=(0, 8)), r"got \(0, 8\)"),
        (lambda: ops.CLAHE(tile_grid_size=8), r"\(rows, columns\)"),
        (lambda: ops.Equalize("pill"), "Did you mean 'pil'"),
        (lambda: ops.Equalize(by_channels="no"), "True or False"),
        (lambda: ops.AutoContrast(101), r"percent of the pixels in \[0, 100\]"),
        (lambda: ops.AutoContrast(ignore=256), "got 256"),
        (lambda: ops.AutoContrast(method="linear"), "'cdf', 'pil'"),
    ],
)
def test_fields_that_make_no_sense_are_refused(make, message):
    with pytest.raises(RecipeError, match=message):
        make()
