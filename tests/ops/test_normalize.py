import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.record import MAX_VALUE, Frame

DTYPES = ["uint8", "uint16", "float32"]
SHAPES = [(21, 34, 3), (1, 1, 1), (1, 17, 3), (13, 1, 4), (9, 8, 2), (8, 7, 4), (6, 5, 7), (4, 3, 130)]
PER_IMAGE = ["image", "image_per_channel", "min_max", "min_max_per_channel"]


def reference(src, normalization):
    """Return the table of the docstring, in float64."""
    pixels = src.astype(float)
    axes = (0, 1) if normalization.endswith("channel") else None
    if normalization.startswith("image"):
        return (pixels - pixels.mean(axis=axes)) / (pixels.std(axis=axes) + 1e-4)
    least, greatest = pixels.min(axis=axes), pixels.max(axis=axes)
    spread = greatest - least
    return (pixels - least) / np.where(spread > 0, spread, 1)


def alpha_apart(shape):
    return slice(None, 3) if shape[2] == 4 else slice(None)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
class TestReferences:
    @pytest.mark.parametrize("normalization", PER_IMAGE)
    def test_of_the_image_itself(self, make_pixels, run, dtype, shape, normalization):
        src, colours = make_pixels(shape, dtype), alpha_apart(shape)
        out = run(ops.Normalize(normalization=normalization), src, {})
        assert out.dtype == np.float32
        np.testing.assert_allclose(out[..., colours], reference(src[..., colours], normalization), atol=2e-5)

    def test_of_the_standard(self, make_pixels, run, dtype, shape):
        src, colours = make_pixels(shape, dtype), alpha_apart(shape)
        count = len(range(shape[2])[colours])
        mean, std = np.linspace(0.1, 0.6, count), np.linspace(0.2, 0.4, count)
        out = run(ops.Normalize(mean=mean.tolist(), std=std.tolist()), src, {})
        wanted = (src[..., colours] / MAX_VALUE[dtype] - mean) / std
        assert out.dtype == np.float32
        np.testing.assert_allclose(out[..., colours], wanted, atol=2e-6)

    def test_of_one_number_for_all_colours(self, make_pixels, run, dtype, shape):
        src, colours = make_pixels(shape, dtype), alpha_apart(shape)
        out = run(ops.Normalize(mean=0.5, std=0.25, max_pixel_value=200), src, {})
        wanted = (src[..., colours] - 100.0) / 50
        np.testing.assert_allclose(out[..., colours], wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("normalization", ["standard", *PER_IMAGE])
@pytest.mark.parametrize("dtype", DTYPES)
class TestAnyNormalization:
    def test_only_scales_alpha_to_1(self, make_pixels, run, dtype, normalization):
        src = make_pixels((9, 8, 4), dtype)
        op, other = ops.Normalize(normalization=normalization), src.copy()
        other[..., 3] = 0
        out, without = run(op, src, {}), run(op, other, {})
        np.testing.assert_allclose(out[..., 3], src[..., 3] / MAX_VALUE[dtype], atol=1e-6)
        np.testing.assert_array_equal(out[..., :3], without[..., :3])  # alpha is no part of the statistics

    def test_of_one_colour_is_finite(self, run, dtype, normalization):
        src = np.full((8, 8, 3), MAX_VALUE[dtype], dtype)
        out = run(ops.Normalize(normalization=normalization), src, {})
        assert np.isfinite(out).all()
        if normalization != "standard":
            np.testing.assert_allclose(out, 0, atol=1e-4)

    def test_is_float32_whatever_comes(self, dtype, normalization):
        frame = Frame(4, 5, 3, dtype)
        assert ops.Normalize(normalization=normalization).out_frame(frame, {}) == Frame(4, 5, 3, "float32")


def test_nothing_is_clipped(run):
    src = np.zeros((100, 100, 1), np.uint8)
    src[0, 0] = 255  # 100 standard deviations away
    assert run(ops.Normalize(normalization="image"), src, {}).max() == pytest.approx(99.995, rel=1e-3)


def test_the_default_is_imagenets_whatever_the_dtype(run):
    for dtype in DTYPES:
        white = np.full((2, 2, 3), MAX_VALUE[dtype], dtype)
        wanted = [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
        np.testing.assert_allclose(run(ops.Normalize(), white, {})[1, 1], wanted, rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 7])
def test_values_for_another_number_of_colours_are_refused(channels):
    frame = Frame(4, 4, channels, "uint8")
    with pytest.raises(OpError, match=rf"Normalize\(mean=\(0.485, .*one for each of the {channels} colours.*, got 3"):
        ops.Normalize().out_frame(frame, {})
    with pytest.raises(OpError, match=r"Normalize\(std=\(0.229, "):
        ops.Normalize(mean=0.5).out_frame(frame, {})
    assert ops.Normalize(normalization="image").out_frame(frame, {}).channels == channels


def test_a_value_for_alpha_is_refused():
    with pytest.raises(OpError, match=r"3 colours of 4x4x4 uint8 \(alpha is none\), got 4"):
        ops.Normalize(mean=(0.1, 0.2, 0.3, 0.4), std=1).out_frame(Frame(4, 4, 4, "uint8"), {})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mean": None}, r"Normalize\(mean=None\): expected a number, or a list with one for each colour, got None"),
        ({"std": 0}, r"Normalize\(std=0\): expected a number above 0, or a list .*, got 0 \(int\)"),
        ({"std": (0.1, -0.1, 0.1)}, r"expected a number above 0"),
        ({"max_pixel_value": 0}, r"max_pixel_value=0\): expected a number above 0, or None"),
        ({"normalization": "imag"}, r"expected one of 'standard', .*Did you mean 'image'\?"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(fields, message):
    with pytest.raises(RecipeError, match=message):
        ops.Normalize(**fields)


def test_normalize_draws_nothing_and_travels(check_travels):
    assert ops.Normalize().sample_params(np.random.default_rng(0), Frame(4, 4, 3, "uint8")) == {}
    check_travels(ops.Normalize())
    check_travels(ops.Normalize(mean=[0.1, 0.2], std=0.5, max_pixel_value=4095, normalization="min_max"))
