import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import RecipeError
from kaleidoscope.record import MAX_VALUE, Frame

DTYPES = ["uint8", "uint16", "float32"]
SHAPES = [(21, 34, 3), (1, 1, 1), (1, 17, 3), (13, 1, 4), (9, 8, 2), (6, 5, 7)]


def squares(src, size):
    """Return the square around each value, shape (H, W, C, size, size), in float64, the image mirrored."""
    margin = size // 2
    padded = np.pad(src.astype(float), [(margin, margin), (margin, margin), (0, 0)], mode="reflect")
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(0, 1))


def draw(op, n=1000):
    rng = np.random.default_rng(0)
    return [op.sample_params(rng, Frame(8, 8, 3, "uint8")) for _ in range(n)]


class TestBlur:
    @pytest.mark.parametrize("ksize", [3, 5, 11])
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_is_the_mean_of_the_square(self, make_pixels, run, dtype, shape, ksize):
        src = make_pixels(shape, dtype)
        error = np.abs(run(ops.Blur(), src, {"ksize": ksize}) - squares(src, ksize).mean(axis=(-2, -1))).max()
        assert error <= {"uint8": 0.5001, "uint16": 0.51, "float32": 1e-6}[dtype]

    def test_keeps_normalized_pixels(self, run):
        src = np.full((9, 9, 3), -2.5, np.float32)
        np.testing.assert_allclose(run(ops.Blur(), src, {"ksize": 5}), src, rtol=1e-6)

    def test_sizes_are_drawn_from_the_range(self):
        assert {drawn["ksize"] for drawn in draw(ops.Blur())} == {3, 5, 7}
        assert {drawn["ksize"] for drawn in draw(ops.Blur((6, 10)))} == {7, 9, 11}
        assert ops.Blur(9) == ops.Blur((3, 9))

    @pytest.mark.parametrize("limit", [1, (2, 6), (7, 3), 5.5, "much"])
    def test_of_no_size_is_refused(self, limit):
        with pytest.raises(RecipeError, match=r"Blur\(blur_limit=.*expected kernel sizes in pixels, at least 3"):
            ops.Blur(limit)


def bilateral_reference(src, d, sigma_color, sigma_space):
    """Return the formula of the docstring, for channels that are compared together."""
    radius = d // 2
    color = sigma_color / 255 * MAX_VALUE[src.dtype.name]
    around = squares(src, d)
    differences = np.abs(around - src[..., np.newaxis, np.newaxis]).sum(axis=2, keepdims=True)
    down, across = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    apart = down**2 + across**2
    weights = np.exp(-(differences**2) / (2 * color**2) - apart / (2 * sigma_space**2)) * (apart <= radius**2)
    return (weights * around).sum(axis=(-2, -1)) / weights.sum(axis=(-2, -1))


class TestBilateralBlur:
    @pytest.mark.parametrize(("d", "sigma_color", "sigma_space"), [(3, 60.0, 1.0), (7, 200.0, 3.0)])
    @pytest.mark.parametrize("shape", [*SHAPES, (9, 8, 6)])
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_is_the_formula_of_the_docstring(self, make_pixels, run, dtype, shape, d, sigma_color, sigma_space):
        src = make_pixels(shape, dtype)
        params = {"d": d, "sigma_color": sigma_color, "sigma_space": sigma_space}
        out = run(ops.BilateralBlur(), src, params)
        groups = {3: ["012"], 4: ["012", "3"], 6: ["012", "345"], 7: ["012", "345", "6"]}
        for group in groups.get(shape[2], [str(channel) for channel in range(shape[2])]):
            channels = [int(channel) for channel in group]
            error = np.abs(out[..., channels] - bilateral_reference(src[..., channels], **params)).max()
            assert error <= {"uint8": 0.501, "uint16": 0.6, "float32": 1e-5}[dtype]

    def test_a_flat_image_stays(self, run):
        for dtype, most in MAX_VALUE.items():
            src = np.full((9, 9, 4), most, dtype)
            params = {"d": 5, "sigma_color": 10.0, "sigma_space": 10.0}
            np.testing.assert_array_equal(run(ops.BilateralBlur(), src, params), src)

    def test_draws_fill_their_ranges(self):
        draws = draw(ops.BilateralBlur((4, 8), (20, 60), (1, 3)))
        assert {drawn["d"] for drawn in draws} == {5, 7, 9}
        for name, ends in (("sigma_color", (20, 60)), ("sigma_space", (1, 3))):
            values = [drawn[name] for drawn in draws]
            np.testing.assert_allclose((min(values), max(values)), ends, rtol=0.02)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"d": 2}, r"d=2\): expected kernel sizes in pixels, at least 3"),
            ({"sigma_color": 0}, r"sigma_color=0\): expected levels of 255, above 0"),
            ({"sigma_space": (0, 1)}, r"sigma_space=\(0, 1\)\): expected pixels, above 0"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, fields, message):
        with pytest.raises(RecipeError, match=message):
            ops.BilateralBlur(**fields)


class TestUpDownSampling:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("channels", [1, 3, 4, 7])
    def test_by_area_and_nearest_it_is_the_mean_of_each_block(self, make_pixels, run, dtype, channels):
        src = make_pixels((8, 12, channels), dtype)
        means = src.astype(float).reshape(2, 4, 3, 4, channels).mean(axis=(1, 3))
        wanted = means.repeat(4, axis=0).repeat(4, axis=1)
        out = run(ops.UpDownSampling(interpolation_pair=("area", "nearest")), src, {"scale": 0.25})
        assert np.abs(out - wanted).max() <= {"uint8": 0.51, "uint16": 0.51, "float32": 1e-6}[dtype]

    def test_way_up_is_interpolated_too(self, run):
        src = np.array([0, 0, 80, 80], np.uint8).reshape(1, 4, 1)
        out = run(ops.UpDownSampling(interpolation_pair=("area", "linear")), src, {"scale": 0.5})
        assert out.ravel().tolist() == [0, 20, 60, 80]

    def test_something_is_left_of_every_image(self, make_pixels, run):
        src = make_pixels((3, 40, 3))
        out = run(ops.UpDownSampling(interpolation_pair=("area", "nearest")), src, {"scale": 0.01})
        wanted = np.broadcast_to(src.astype(float).mean(axis=(0, 1)), src.shape)
        assert np.abs(out - wanted).max() <= 0.51

    def test_interpolations_are_a_mapping_a_pair_or_opencvs_integers(self):
        pair = ops.UpDownSampling(interpolation_pair=("nearest", "cubic"))
        assert pair == ops.UpDownSampling(interpolation_pair={"upscale": "cubic", "downscale": "nearest"})
        assert pair == ops.UpDownSampling(interpolation_pair={"upscale": 2, "downscale": 0})
        assert ops.UpDownSampling(interpolation_pair={}) == ops.UpDownSampling()
        assert ops.UpDownSampling(interpolation_pair={"upscale": "nearest"}).interpolation_pair == ("area", "nearest")

    @pytest.mark.parametrize(
        "pair", ["area", ("area",), ("area", "best"), ("area", 9), {"up": "area"}, {"upscale": ["area"]}, (1, True), 3]
    )
    def test_other_interpolations_are_refused(self, pair):
        with pytest.raises(RecipeError, match="expected a mapping with the keys 'downscale' and 'upscale', or a pair"):
            ops.UpDownSampling(interpolation_pair=pair)

    def test_scale_is_drawn_from_its_range(self):
        scales = [drawn["scale"] for drawn in draw(ops.UpDownSampling((0.3, 0.7)))]
        np.testing.assert_allclose((min(scales), max(scales)), (0.3, 0.7), atol=0.01)
        assert draw(ops.UpDownSampling(0.4), 1) == [{"scale": 0.4}]

    @pytest.mark.parametrize("scale", [0, 1.1, (0.5, 0.3), "half"])
    def test_other_scales_are_refused(self, scale):
        with pytest.raises(RecipeError, match=r"scale_range=.*expected a factor above 0, at most 1"):
            ops.UpDownSampling(scale)
