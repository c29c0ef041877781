import cv2
import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.ops.principal import principal_components
from kaleidoscope.record import MAX_VALUE, Frame

DTYPES = ["uint8", "uint16", "float32"]
LUMA = np.array([0.299, 0.587, 0.114])
GREYS = {
    "weighted_average": lambda pixels: pixels @ LUMA,
    "desaturation": lambda pixels: (pixels.max(axis=-1) + pixels.min(axis=-1)) / 2,
    "average": lambda pixels: pixels.mean(axis=-1),
    "max": lambda pixels: pixels.max(axis=-1),
}


def colours_of(src):
    return src[..., :3] if src.shape[2] == 4 else src


# ---- ToGray


@pytest.mark.parametrize("method", GREYS)
@pytest.mark.parametrize("channels", [3, 4, 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_grey_is_the_table_of_the_docstring(make_pixels, run, dtype, channels, method):
    if method == "weighted_average" and channels == 7:
        return
    src = make_pixels((9, 11, channels), dtype)
    out = run(ops.ToGray(method=method), src, {})
    wanted = GREYS[method](colours_of(src).astype(float))
    assert out.shape == (9, 11, 4 if channels == 4 else 3)
    for channel in range(3):
        np.testing.assert_allclose(
            out[..., channel], wanted, atol={"uint8": 0.52, "uint16": 1.5, "float32": 2e-6}[dtype]
        )
    if channels == 4:
        np.testing.assert_array_equal(out[..., 3], src[..., 3])


@pytest.mark.parametrize("dtype", DTYPES)
def test_grey_from_lab_is_its_lightness(make_pixels, run, dtype):
    src = make_pixels((9, 11, 4), dtype)
    out = run(ops.ToGray(method="from_lab"), src, {})[..., 0] / MAX_VALUE[dtype]
    linear = colours_of(src) / np.float64(MAX_VALUE[dtype])
    linear = np.where(linear > 0.04045, ((linear + 0.055) / 1.055) ** 2.4, linear / 12.92)
    y = linear @ (0.212671, 0.715160, 0.072169)
    wanted = np.where(y > 0.008856, 1.16 * np.cbrt(y) - 0.16, 9.033 * y)
    np.testing.assert_allclose(out, wanted, atol=0.004 if dtype == "uint8" else 0.002)


@pytest.mark.parametrize("channels", [3, 4, 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_grey_by_principal_component_spreads_from_black_to_white(make_pixels, run, dtype, channels):
    src = make_pixels((19, 21, channels), dtype)
    out = run(ops.ToGray(method="pca"), src, {})[..., 0] / MAX_VALUE[dtype]
    pixels = colours_of(src).reshape(19 * 21, -1) / np.float64(MAX_VALUE[dtype])
    vector = np.linalg.svd(pixels - pixels.mean(axis=0))[2][0]
    places = (pixels @ (vector * np.sign(vector[np.abs(vector).argmax()]))).reshape(19, 21)
    wanted = (places - places.min()) / (places.max() - places.min())
    np.testing.assert_allclose(out, wanted, atol=0.51 / 255 if dtype == "uint8" else 2e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_grey_by_principal_component_of_one_colour_is_black(run, dtype):
    src = np.tile(np.array([0.1, 0.7, 0.3]) * MAX_VALUE[dtype], (31, 33, 1)).astype(dtype)
    assert not run(ops.ToGray(method="pca"), src, {}).any()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_has_as_many_channels_as_wanted(make_pixels, run, channels, count):
    src = make_pixels((9, 11, channels))
    out = run(ops.ToGray(count), src, {})
    grey = src[..., 0] if channels == 1 else cv2.cvtColor(src, cv2.COLOR_RGB2GRAY)
    np.testing.assert_array_equal(out, np.stack([grey] * count, axis=-1))


@pytest.mark.parametrize(
    ("op", "channels", "message"),
    [
        (ops.ToGray(), 7, "expected grey, RGB or RGBA"),
        (ops.ToGray(method="from_lab"), 2, "expected grey, RGB or RGBA"),
        (ops.ToGray(1), 4, "expected 3 for 8x8x4 uint8, whose fourth channel, alpha, is kept"),
        (ops.ChannelDropout(), 1, "fewer than the 1 colours"),
        (ops.ChannelDropout((1, 3)), 4, "fewer than the 3 colours"),
        (ops.ChannelDropout(fill=256), 3, "expected at most 255"),
    ],
)
def test_frames_that_it_cannot_do_are_refused(op, channels, message):
    with pytest.raises(OpError, match=message):
        op.out_frame(Frame(8, 8, channels, "uint8"), {})


# ---- ChannelShuffle and ChannelDropout


@pytest.mark.parametrize("channels", [1, 3, 4, 7, 130])
@pytest.mark.parametrize("dtype", DTYPES)
def test_shuffled_channels_are_those_of_the_source(make_pixels, run, dtype, channels):
    src, op = make_pixels((9, 11, channels), dtype), ops.ChannelShuffle()
    params = op.sample_params(np.random.default_rng(1), Frame.of(src))
    order = params["channels_shuffled"]
    wanted = colours_of(src)[..., order]
    out = run(op, src, params)
    np.testing.assert_array_equal(colours_of(out), wanted)
    if channels == 4:
        np.testing.assert_array_equal(out[..., 3], src[..., 3])


def test_all_orders_are_drawn_and_alpha_is_in_none():
    rng = np.random.default_rng(0)
    frame = Frame(8, 8, 4, "uint8")
    orders = {tuple(ops.ChannelShuffle().sample_params(rng, frame)["channels_shuffled"]) for _ in range(200)}
    assert len(orders) == 6
    assert {len(order) for order in orders} == {3}


@pytest.mark.parametrize("fill", [0, 1, 0.25])
@pytest.mark.parametrize("dropped", [[0], [1, 2]])
@pytest.mark.parametrize("channels", [3, 4, 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dropped_channels_are_filled(make_pixels, run, dtype, channels, dropped, fill):
    src = make_pixels((9, 11, channels), dtype)
    wanted = src.copy()
    wanted[..., dropped] = fill if dtype == "float32" else round(fill)
    np.testing.assert_array_equal(run(ops.ChannelDropout(fill=fill), src, {"channels_to_drop": dropped}), wanted)


def test_as_many_channels_are_dropped_as_the_range_says():
    op, rng = ops.ChannelDropout((1, 2)), np.random.default_rng(0)
    draws = [tuple(op.sample_params(rng, Frame(8, 8, 4, "uint8"))["channels_to_drop"]) for _ in range(200)]
    assert set(draws) == {(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)}


# ---- FancyPCA


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_fancy_pca_shifts_along_the_components(make_pixels, run, dtype, channels):
    src = make_pixels((31, 29, channels), dtype)
    pixels = colours_of(src).reshape(31 * 29, -1) / np.float64(MAX_VALUE[dtype])
    alphas = np.linspace(1.5, -1, pixels.shape[1])
    variances, vectors = np.linalg.eigh(np.cov(pixels.T, bias=True).reshape(pixels.shape[1], -1))
    shift = 0.0
    for alpha, variance, vector in zip(alphas, variances[::-1], vectors.T[::-1], strict=True):
        shift = shift + alpha * variance * vector * np.sign(vector[np.abs(vector).argmax()])
    wanted = np.clip(pixels + shift, 0, 1).reshape(31, 29, -1) * MAX_VALUE[dtype]
    out = run(ops.FancyPCA(), src, {"alpha_vector": alphas.tolist()})
    np.testing.assert_allclose(colours_of(out), wanted, atol=1e-5 if dtype == "float32" else 0.51)
    assert (colours_of(out) != colours_of(src)).any()


def test_components_of_many_bands_are_those_of_all(make_pixels):
    src = make_pixels((300, 301, 3), "float32") * np.array([0.2, 1.0, 0.5], np.float32)
    variances, components = principal_components(src)
    np.testing.assert_allclose(variances, np.sort(src.reshape(-1, 3).var(axis=0, dtype=float))[::-1], rtol=0.02)
    np.testing.assert_allclose(components, np.eye(3)[:, [1, 2, 0]], atol=0.05)


def test_draws_of_fancy_pca_are_normal():
    op, rng = ops.FancyPCA(0.2), np.random.default_rng(0)
    values = np.array([op.sample_params(rng, Frame(8, 8, 4, "uint8"))["alpha_vector"] for _ in range(1000)])
    assert values.shape == (1000, 3)
    np.testing.assert_allclose(values.std(axis=0), 0.2, atol=0.015)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=0.03)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ops.ToGray(0), r"ToGray\(num_output_channels=0\): expected how many channels, at least 1"),
        (lambda: ops.ToGray(method="mean"), "'weighted_average'"),
        (lambda: ops.ChannelDropout((0, 1)), "at least 1"),
        (lambda: ops.ChannelDropout(1.5), "got 1.5"),
        (lambda: ops.ChannelDropout(fill=-1), "pixel value"),
        (lambda: ops.FancyPCA(-0.1), "standard deviation"),
    ],
)
def test_fields_that_make_no_sense_are_refused(make, message):
    with pytest.raises(RecipeError, match=message):
        make()
