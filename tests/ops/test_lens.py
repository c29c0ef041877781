import math

import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import RecipeError
from kaleidoscope.ops import lens
from kaleidoscope.record import MAX_VALUE, Frame

DTYPES = ["uint8", "uint16", "float32"]
SHAPES = [(21, 34, 3), (1, 1, 1), (1, 17, 3), (13, 1, 4), (9, 8, 2), (6, 5, 7)]


def draw(op, n=1000):
    rng = np.random.default_rng(0)
    return [op.sample_params(rng, Frame(8, 8, 3, "uint8")) for _ in range(n)]


def line(ksize, angle=0.0, direction=0.0, shift=(0.0, 0.0)):
    return lens.line_of({"ksize": ksize, "angle": angle, "direction": direction, "shift": list(shift)})


class TestMotionBlur:
    def test_angle_turns_the_line_clockwise(self):
        assert line(5) == {(x, 0) for x in range(-2, 3)}
        assert line(5, 90) == {(0, y) for y in range(-2, 3)}
        assert line(3, 45) == {(-1, -1), (0, 0), (1, 1)}
        assert line(3, 135) == {(1, -1), (0, 0), (-1, 1)}

    def test_direction_is_the_side_that_the_line_reaches_to(self):
        assert line(7, direction=1) == {(x, 0) for x in range(4)}
        assert line(7, direction=-1) == {(x, 0) for x in range(-3, 1)}
        assert line(7, 180, direction=1) == {(x, 0) for x in range(-3, 1)}
        assert line(9, direction=0.5) == {(x, 0) for x in range(-2, 5)}

    def test_shift_moves_the_line_inside_of_its_square(self):
        assert line(9, direction=1, shift=(-1, 1)) == {(x, 2) for x in range(-2, 3)}
        assert line(9, shift=(1, 0)) == {(x, 0) for x in range(-2, 5)}, "what would leave it stays at its edge"

    @pytest.mark.parametrize("ksize", [7, 17])
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_is_the_mean_over_the_line(self, make_pixels, run, dtype, shape, ksize):
        src = make_pixels(shape, dtype)
        params = {"ksize": ksize, "angle": 30.0, "direction": 0.3, "shift": [0.5, -0.4]}
        padded = np.pad(src.astype(float), [(10, 10), (10, 10), (0, 0)], mode="reflect")
        rows, columns = np.indices(shape[:2]) + 10
        wanted = np.mean([padded[rows + y, columns + x] for x, y in line(ksize, 30, 0.3, (0.5, -0.4))], axis=0)
        error = np.abs(run(ops.MotionBlur(), src, params) - wanted).max()
        assert error <= {"uint8": 0.5001, "uint16": 0.51, "float32": 1e-6}[dtype]

    def test_draws_fill_their_ranges(self):
        draws = draw(ops.MotionBlur((4, 9), angle_range=(30, 60), direction_range=(-0.5, 0.25)))
        assert {drawn["ksize"] for drawn in draws} == {5, 7, 9}
        for values, ends in (
            ([drawn["angle"] for drawn in draws], (30, 60)),
            ([drawn["direction"] for drawn in draws], (-0.5, 0.25)),
            ([drawn["shift"][0] for drawn in draws], (-1, 1)),
            ([drawn["shift"][1] for drawn in draws], (-1, 1)),
        ):
            np.testing.assert_allclose((min(values), max(values)), ends, rtol=0.02)
        assert all(drawn["shift"] == [0, 0] for drawn in draw(ops.MotionBlur(allow_shifted=False), 10))

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"blur_limit": 2}, r"blur_limit=2\): expected kernel sizes in pixels, at least 3"),
            ({"allow_shifted": 1}, r"allow_shifted=1\): expected True or False"),
            ({"angle_range": (-5, 5)}, r"angle_range=\(-5, 5\)\): expected degrees in \[0, 360\]"),
            ({"direction_range": 2}, r"direction_range=2\): expected from -1, backward, to 1, forward"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, fields, message):
        with pytest.raises(RecipeError, match=message):
            ops.MotionBlur(**fields)


class TestDefocus:
    @pytest.mark.parametrize(("radius", "sigma"), [(1, 0.0), (3, 0.5), (8, 0.4), (9, 0.9), (12, 0.2)])
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_is_a_disc_with_a_soft_rim(self, make_pixels, run, dtype, shape, radius, sigma):
        src = make_pixels(shape, dtype)
        margin = radius + 2
        down, across = np.mgrid[-margin : margin + 1, -margin : margin + 1]
        disc = (down**2 + across**2 <= radius**2).astype(float)
        reach = 1 if radius <= 8 else 2
        weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * (sigma or 0.1) ** 2))
        for axis in (0, 1):
            disc = np.apply_along_axis(np.convolve, axis, disc, weights / weights.sum(), mode="same")
        padded = np.pad(src.astype(float), [(margin, margin), (margin, margin), (0, 0)], mode="reflect")
        squares = np.lib.stride_tricks.sliding_window_view(padded, disc.shape, axis=(0, 1))
        wanted = np.einsum("hwcij,ij->hwc", squares, disc / disc.sum())
        error = np.abs(run(ops.Defocus(), src, {"radius": radius, "alias_blur": sigma}) - wanted).max()
        # Softened first and rounded, and without what weighs less than 1/1000.
        assert error / MAX_VALUE[dtype] <= {"uint8": 1 / 255, "uint16": 1e-3, "float32": 1e-3}[dtype]

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("radius", [8, 10])
    def test_areas_of_one_colour_stay(self, run, dtype, radius):
        src = np.full((30, 30, 3), MAX_VALUE[dtype], dtype)
        out = run(ops.Defocus(), src, {"radius": radius, "alias_blur": 0.5})
        np.testing.assert_allclose(out, src, rtol=1e-6)

    def test_draws_fill_their_ranges(self):
        draws = draw(ops.Defocus())
        assert {drawn["radius"] for drawn in draws} == set(range(3, 11))
        assert {type(drawn["radius"]) for drawn in draws} == {int}
        sigmas = [drawn["alias_blur"] for drawn in draws]
        np.testing.assert_allclose((min(sigmas), max(sigmas)), (0.1, 0.5), atol=0.01)
        assert ops.Defocus(4, 0.3) == ops.Defocus((1, 4), (0, 0.3))

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"radius": 0}, r"radius=0\): expected whole pixels, at least 1"),
            ({"radius": (1, 2.5)}, r"radius=\(1, 2.5\)\): expected whole pixels"),
            ({"alias_blur": -1}, r"alias_blur=-1\): expected pixels, at least 0"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, fields, message):
        with pytest.raises(RecipeError, match=message):
            ops.Defocus(**fields)


def enlarge(src, zoom):
    """Return the middle of `src` enlarged to its own shape, interpolated linearly, in float64."""
    done = src.astype(float)
    for axis in (0, 1):
        size = src.shape[axis]
        part = math.ceil(size / zoom)
        whole = max(size, int(part * zoom))
        places = (np.arange(size) + (whole - size) // 2 + 0.5) * part / whole - 0.5
        places = places.clip(0, part - 1) + (size - part) // 2
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, size - 1)
        share = (places - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        done = done.take(low, axis) * (1 - share) + done.take(high, axis) * share
    return done


class TestZoomBlur:
    @pytest.mark.parametrize(
        ("factor", "step", "count"), [(1.3, 0.1, 3), (1.25, 0.1, 3), (2.1, 0.5, 3), (1.05, 0.05, 1)]
    )
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_is_the_mean_of_the_image_and_its_enlargements(self, make_pixels, run, dtype, shape, factor, step, count):
        src = make_pixels(shape, dtype)
        wanted = (src + sum(enlarge(src, 1 + number * step) for number in range(count))) / (count + 1)
        error = np.abs(run(ops.ZoomBlur(), src, {"factor": factor, "step": step}) - wanted).max()
        # Each enlargement of integers is rounded, that of uint8 made with weights of 11 bits.
        assert error <= {"uint8": 1.1, "uint16": 1.1, "float32": 1e-5}[dtype]

    def test_draws_fill_their_ranges(self):
        draws = draw(ops.ZoomBlur((1.1, 1.3), (0.02, 0.05)))
        for name, ends in (("factor", (1.1, 1.3)), ("step", (0.02, 0.05))):
            values = [drawn[name] for drawn in draws]
            np.testing.assert_allclose((min(values), max(values)), ends, rtol=0.02)
        assert ops.ZoomBlur(1.5, 0.1) == ops.ZoomBlur((1, 1.5), (0, 0.1))

    def test_there_is_at_least_one_step_and_never_more_than_100(self):
        assert all(drawn["factor"] == 1 + drawn["step"] for drawn in draw(ops.ZoomBlur(1, (0.1, 0.2)), 10))
        assert draw(ops.ZoomBlur((3, 3), (0, 0)), 1) == [{"factor": 3.0, "step": 0.02}]

    def test_of_no_steps_changes_nothing(self, make_pixels, run):
        src = make_pixels((9, 8, 3))
        (params,) = draw(ops.ZoomBlur((1, 1), (0, 0)), 1)
        np.testing.assert_array_equal(run(ops.ZoomBlur(), src, params), src)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"max_factor": 0.9}, r"max_factor=0.9\): expected a factor of at least 1"),
            ({"step_factor": -0.1}, r"step_factor=-0.1\): expected a part of the size, at least 0"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, fields, message):
        with pytest.raises(RecipeError, match=message):
            ops.ZoomBlur(**fields)
