"""Distortions against their formulas in float64, and points against the places they are the inverse of."""

import threading

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaleidoscope import ops
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.ops.base import op as as_op
from kaleidoscope.ops.distortion import Distortion
from kaleidoscope.randomness import stream
from kaleidoscope.record import MAX_VALUE, Frame

EVERY = [
    ops.ElasticTransform(alpha=150, sigma=8),
    ops.ElasticTransform(alpha=40, sigma=9, approximate=True),
    ops.GridDistortion(),
    ops.GridDistortion(4, 0.5, normalized=False),
    ops.OpticalDistortion(0.5),
    ops.OpticalDistortion(0.5, mode="fisheye"),
    ops.ThinPlateSpline(),
    ops.ThinPlateSpline(1.0, 2),
]


def draw(op, frame, seed=0):
    return op.sample_params(stream(seed, "a.jpg", "node"), frame)


@as_op
class Fixed(Distortion):
    """Takes pixels from places that a test says."""

    shift: float = 0.0
    wave: float = 0.0
    interpolation: str = "linear"
    mask_interpolation: str = "nearest"
    keypoint_remapping_method: str = "mask"
    border_mode: str = "constant"
    fill: float = 0.0
    fill_mask: float = 0.0

    short_name = "fixed"
    made = 0

    def places(self, height, width, params):
        type(self).made += 1
        down, across = np.mgrid[:height, :width].astype(np.float32)
        wave = (self.wave * np.sin(down / 5)).astype(np.float32)
        return across + np.float32(self.shift) + wave, down + wave


# ---- what all have in common


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("op", EVERY, ids=repr)
def test_pixels_come_from_their_places(make_pixels, run, op, channels, dtype):
    src = make_pixels((45, 60, channels), dtype)
    drawn = draw(op, Frame.of(src))
    made = run(op, src, drawn)
    x, y = op.places(45, 60, drawn)
    inside = (x >= 0) & (x < 58.9) & (y >= 0) & (y < 43.9)
    i, j = y[inside].astype(int), x[inside].astype(int)
    b, a = (y[inside] - i)[:, None].astype(float), (x[inside] - j)[:, None].astype(float)
    values = src.astype(float)
    wanted = (
        values[i, j] * (1 - a) * (1 - b)
        + values[i, j + 1] * a * (1 - b)
        + values[i + 1, j] * (1 - a) * b
        + values[i + 1, j + 1] * a * b
    )
    assert inside.mean() > 0.3
    off = np.abs(made[inside] - wanted)
    assert off.max() <= 0.05 * MAX_VALUE[dtype]  # OpenCV may keep places to a 32nd of a pixel
    assert off.mean() <= 0.004 * MAX_VALUE[dtype]


@pytest.mark.parametrize("op", EVERY, ids=repr)
@pytest.mark.parametrize("size", [(64, 96), (300, 220)])
def test_points_are_seen_where_their_places_are(op, size):
    frame = Frame(*size, 3, "uint8")
    for seed in range(3):
        drawn = draw(op, frame, seed)
        places = np.stack(op.places(*size, drawn), axis=-1)
        rng = np.random.default_rng(seed)
        at = np.stack([rng.integers(0, size[1], 200), rng.integers(0, size[0], 200)], axis=1)
        seen = op.move_points(places[at[:, 1], at[:, 0]].astype(float), frame, drawn)
        assert np.abs(seen - at).max() < 0.5
        assert np.abs(seen - at).mean() < 0.05


@pytest.mark.parametrize("op", EVERY, ids=repr)
def test_every_point_has_a_place(op):
    for size in ((1, 1), (1, 40), (33, 1), (50, 70)):
        frame = Frame(*size, 3, "uint8")
        points = np.array([[0, 0], [-500, 3], [1e6, -1e6], [size[1], size[0]], [-0.5, -0.5], [30.2, 20.7]], dtype=float)
        seen = op.move_points(points, frame, draw(op, frame))
        assert seen.shape == points.shape
        assert np.isfinite(seen).all()
        assert op.move_points(np.empty((0, 2)), frame, draw(op, frame)).shape == (0, 2)


@pytest.mark.parametrize("op", EVERY, ids=repr)
def test_what_is_not_shown_is_outside(op):
    frame = Frame(80, 100, 3, "uint8")
    drawn = draw(op, frame)
    x, y = op.places(80, 100, drawn)
    far = np.array([[x.min() - 5, 40], [x.max() + 5, 40], [50, y.min() - 5], [50, y.max() + 5]], dtype=float)
    seen = op.move_points(far, frame, drawn)
    assert ((seen < -0.5) | (seen > [99.5, 79.5])).any(axis=1).all()


@pytest.mark.parametrize("wave", [9, 25])
def test_where_the_image_is_folded_points_are_where_they_are_seen(wave):
    folded, frame = Fixed(wave=wave), Frame(90, 90, 1, "uint8")  # its slope is wave / 5
    places = np.stack(folded.places(90, 90, {}), axis=-1)
    at = np.stack([np.full(50, 45), np.arange(20, 70)], axis=1)
    at = at[(places[at[:, 1], at[:, 0]] > 2).all(axis=1) & (places[at[:, 1], at[:, 0]] < 87).all(axis=1)]
    points = places[at[:, 1], at[:, 0]].astype(float)
    assert len(at) > 15
    seen = folded.move_points(points, frame, {})
    there = np.rint(seen).astype(int).clip(0, 89)
    assert np.abs(places[there[:, 1], there[:, 0]] - points).max() < 1 + wave / 8  # half a pixel, by the slope
    assert (np.abs(seen - at).max(axis=1) > 3).any()  # it is seen elsewhere, too


def test_masks_are_moved_by_the_nearest_and_filled_by_their_own():
    op = ops.ElasticTransform(alpha=150, sigma=8, interpolation="cubic", fill=9, fill_mask=4)
    mask_op = op.for_masks()
    assert (mask_op.interpolation, mask_op.fill) == ("nearest", 4.0)
    frame = Frame(50, 60, 1, "uint8")
    for one, other in zip(op.places(50, 60, {"seed": 5}), mask_op.places(50, 60, {"seed": 5}), strict=True):
        np.testing.assert_array_equal(one, other)
    assert mask_op.out_frame(frame, {}) == frame


def test_places_are_made_once_for_pixels_masks_and_points():
    op, frame = Fixed(shift=2), Frame(20, 30, 1, "uint8")
    src, out = np.zeros((20, 30, 1), np.uint8), np.empty((20, 30, 1), np.uint8)
    Fixed.made = 0
    op.kernel(src, {"n": 1}, out)
    op.for_masks().kernel(src, {"n": 1}, out)
    op.move_points(np.zeros((1, 2)), frame, {"n": 1})
    assert Fixed.made == 1
    op.kernel(src, {"n": 2}, out)
    Fixed(shift=3).kernel(src, {"n": 2}, out)
    Fixed(shift=3).kernel(src[:10], {"n": 2}, out[:10])
    assert Fixed.made == 4


def test_threads_do_not_see_each_others_places(make_pixels):
    src, wrong = make_pixels((64, 64, 3)), []
    wanted = {}
    for shift in range(4):
        out = np.empty_like(src)
        Fixed(shift=shift).kernel(src, {}, out)
        wanted[shift] = out

    def work(shift):
        out = np.empty_like(src)
        for _ in range(20):
            Fixed(shift=shift).kernel(src, {}, out)
            if not np.array_equal(out, wanted[shift]):
                wrong.append(shift)

    threads = [threading.Thread(target=work, args=(shift,)) for shift in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not np.array_equal(wanted[0], wanted[1])


@pytest.mark.parametrize("interpolation", ["cubic", "lanczos4"])
def test_float_pixels_stay_in_their_range(interpolation, run):
    src = np.zeros((40, 40, 1), np.float32)
    src[10:30, 10:30] = 1
    made = run(ops.ElasticTransform(alpha=150, sigma=6, interpolation=interpolation), src, {"seed": 1})
    assert made.min() == 0
    assert made.max() == 1


def test_a_fill_that_pixels_cannot_have_is_refused():
    for op in (ops.ElasticTransform(fill=300), ops.GridDistortion(fill=(1, 2))):
        with pytest.raises(OpError, match="expected"):
            op.out_frame(Frame(8, 8, 3, "uint8"), {})


def test_what_lies_beyond_is_filled(run):
    src = np.full((20, 20, 3), 200, np.uint8)
    made = run(Fixed(shift=10), src, {})
    assert (made[:, :9] == 200).all()
    assert (made[:, 11:] == 0).all()
    assert (run(Fixed(shift=10, border_mode="replicate"), src, {}) == 200).all()


# ---- each by its formula


@given(st.integers(1, 300), st.integers(1, 12), st.booleans(), st.integers(0, 99))
def test_grid_lines_go_where_the_factors_say(size, num_steps, normalized, seed):
    op = ops.GridDistortion(num_steps, 0.9, normalized=normalized)
    drawn = draw(op, Frame(size, size, 1, "uint8"), seed)
    x, y = op.places(size, size, drawn)
    cell = max(1, size // num_steps)
    shown, total = 0.0, []
    for pixel in range(size):
        total.append(shown + drawn["steps_x"][min(pixel // cell, num_steps)] / 2)
        shown += drawn["steps_x"][min(pixel // cell, num_steps)]
    wanted = np.array(total) * (size / shown if normalized else 1) - 0.5
    np.testing.assert_allclose(x[0], wanted, atol=1e-3 * size)
    assert (x == x[0]).all()
    assert (y == y[:, :1]).all()
    assert (np.diff(x[0]) > 0).all()


def test_a_normalized_grid_shows_the_image_and_nothing_beyond(run):
    src = np.full((60, 83, 3), 255, np.uint8)
    op = ops.GridDistortion()
    made = [run(op, src, draw(op, Frame.of(src), seed))[1:-1, 1:-1].min() for seed in range(5)]
    assert min(made) == 255  # in Albumentations the last row and column are black


def test_a_grid_without_a_width_can_be_undone():
    op, frame = ops.GridDistortion(3, (-1, -1)), Frame(30, 30, 1, "uint8")
    drawn = draw(op, frame)
    assert drawn["steps_x"] == [0.0] * 4
    assert np.isfinite(op.move_points(np.array([[3.0, 4.0]]), frame, drawn)).all()


@pytest.mark.parametrize("k", [-0.4, 0.2, 0.5])
def test_a_lens_is_its_formula(k):
    height, width = 70, 101
    down, across = np.mgrid[:height, :width].astype(float)
    x, y = across - 50, down - 34.5
    squared = (x / width) ** 2 + (y / height) ** 2
    for mode, factor in (
        ("camera", 1 + k * squared + k * squared**2),
        ("fisheye", 1 + k * (x**2 + y**2) / ((width / 2) ** 2 + (height / 2) ** 2)),
    ):
        made = ops.OpticalDistortion(mode=mode).places(height, width, {"k": k})
        np.testing.assert_allclose(made[0], 50 + x * factor, atol=1e-4)
        np.testing.assert_allclose(made[1], 34.5 + y * factor, atol=1e-4)


def test_the_camera_is_opencvs():
    camera = np.array([[101, 0, 50], [0, 70, 34.5], [0, 0, 1]])
    wanted = cv2.initUndistortRectifyMap(camera, np.array([0.3, 0.3, 0, 0, 0]), None, camera, (101, 70), cv2.CV_32FC1)
    for one, other in zip(ops.OpticalDistortion().places(70, 101, {"k": 0.3}), wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_a_thin_plate_passes_through_its_points(count):
    size, op = 601, ops.ThinPlateSpline(num_control_points=count)
    shifts = np.array(draw(op, Frame(size, size, 1, "uint8"))["shifts"])
    along = np.linspace(0, 1, count)
    points = np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)
    if count == 2:
        points = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [0.5, 0.5]])
    assert len(shifts) == len(points)
    x, y = op.places(size, size, {"shifts": shifts.tolist()})
    at = (points * size - 0.5).clip(0, size - 1)
    j, i = np.rint(at).astype(int).T
    seen = np.stack([x[i, j], y[i, j]], axis=1) - np.stack([j, i], axis=1)
    np.testing.assert_allclose(seen, shifts * size, atol=1)  # between a pixel and its neighbour


def test_a_thin_plate_bends_no_more_than_it_must():
    # Shifts that are a linear map of the points need no bending: the plate is that map.
    op, size = ops.ThinPlateSpline(num_control_points=3), 200
    along = np.linspace(0, 1, 3)
    points = np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)
    linear = np.array([[0.05, -0.1], [0.02, 0.08]])
    x, y = op.places(size, size, {"shifts": (points @ linear.T + 0.03).tolist()})
    down, across = np.mgrid[:size, :size]
    at = (np.stack([across, down], axis=-1) + 0.5) / size
    wanted = (at + at @ linear.T + 0.03) * size - 0.5
    np.testing.assert_allclose(np.stack([x, y], axis=-1), wanted, atol=1e-3)


@pytest.mark.parametrize("sigma", [1.0, 2.5, 6.0, 10.0, 30.0])
@pytest.mark.parametrize("distribution", ["gaussian", "uniform"])
def test_elastic_shifts_are_smoothed_noise(sigma, distribution):
    height, width = 240, 320
    op = ops.ElasticTransform(100, sigma, noise_distribution=distribution)
    shifts = [
        plane
        for seed in range(8)
        for plane in np.stack(op.places(height, width, {"seed": seed})) - np.mgrid[:height, :width][::-1]
    ]
    noise = 1 / np.sqrt(3)
    if distribution == "gaussian":
        rng = np.random.default_rng(0)
        noise = 1 / np.mean([np.abs(rng.standard_normal(2 * height * width)).max() for _ in range(8)])
    weights = np.exp(-0.5 * (np.arange(-200, 201) / sigma) ** 2)
    spread = 0.04 if sigma < 10 else 0.2  # of few waves
    assert np.std(shifts) == pytest.approx(100 * noise * (weights**2).sum() / weights.sum() ** 2, rel=spread)
    # How alike neighbours are, exp(-d^2 / (4 sigma^2)), says that they were smoothed by sigma.
    apart = max(1, round(sigma))
    alike = np.mean([(s[:, apart:] * s[:, :-apart]).mean() for s in shifts]) / np.mean(np.square(shifts))
    assert alike == pytest.approx(np.exp(-((apart / sigma) ** 2) / 4), abs=0.05)
    # As strong at the border as in the middle.
    border = np.concatenate([np.stack(shifts)[:, [0, -1]].ravel(), np.stack(shifts)[:, :, [0, -1]].ravel()])
    assert border.std() == pytest.approx(np.std(shifts), rel=0.1 if sigma < 10 else 0.35)


def test_elastic_axes_are_independent_or_the_same():
    across, down = (plane - at for plane, at in zip(_elastic(same_dxdy=False), np.mgrid[:200, :200][::-1], strict=True))
    assert abs(np.corrcoef(across.ravel(), down.ravel())[0, 1]) < 0.1
    across, down = (plane - at for plane, at in zip(_elastic(same_dxdy=True), np.mgrid[:200, :200][::-1], strict=True))
    np.testing.assert_allclose(across, down, atol=1e-4)


@pytest.mark.parametrize("sigma", [1e3, 1e8])
def test_the_smoothest_elastic_shifts_are_alike_everywhere(sigma):
    places = [ops.ElasticTransform(1000 * sigma, sigma).places(20, 30, {"seed": seed}) for seed in range(40)]
    shifts = np.stack([x - np.arange(30) for x, _ in places])
    assert np.ptp(shifts, axis=(1, 2)).mean() < 0.3 * np.std(shifts)
    assert np.std(shifts) == pytest.approx(1000 / 3.2 / (2 * np.sqrt(np.pi)), rel=0.25)


def _elastic(**settings):
    return ops.ElasticTransform(100, 5, **settings).places(200, 200, {"seed": 3})


def test_approximate_elastic_is_cut_to_17_pixels():
    rough = ops.ElasticTransform(100, 50, approximate=True).places(300, 300, {"seed": 1})[0] - np.arange(300)
    alike = [(rough[:, n:] * rough[:, : 300 - n]).mean() / (rough**2).mean() for n in (8, 16, 25)]
    assert alike[0] == pytest.approx(9 / 17, abs=0.1)  # a box of 17 pixels, shifted by 8
    assert abs(alike[1]) < 0.2
    assert abs(alike[2]) < 0.15
    assert rough.std() == pytest.approx(100 / 4.8 / 17, rel=0.1)


def test_draws_fill_their_ranges():
    rng, frame = np.random.default_rng(0), Frame(50, 60, 3, "uint8")
    steps = [ops.GridDistortion(2, (-0.2, 0.4)).sample_params(rng, frame) for _ in range(500)]
    for name in ("steps_x", "steps_y"):
        values = np.array([drawn[name] for drawn in steps])
        assert values.shape == (500, 3)
        assert 0.8 <= values.min() < 0.81
        assert 1.39 < values.max() <= 1.4
    ks = [ops.OpticalDistortion((-0.1, 0.3)).sample_params(rng, frame)["k"] for _ in range(500)]
    assert -0.1 <= min(ks) < -0.09
    assert 0.29 < max(ks) <= 0.3
    spreads = [np.std(ops.ThinPlateSpline((0.4, 0.4)).sample_params(rng, frame)["shifts"]) for _ in range(200)]
    assert np.mean(spreads) == pytest.approx(0.04, rel=0.05)
    seeds = [ops.ElasticTransform().sample_params(rng, frame)["seed"] for _ in range(200)]
    assert len(set(seeds)) == 200


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (ops.ElasticTransform, {"alpha": -1}, r"ElasticTransform\(alpha=-1\): expected a factor, at least 0"),
        (ops.ElasticTransform, {"sigma": 0.5}, "expected pixels, at least 1"),
        (ops.ElasticTransform, {"noise_distribution": "normal"}, "expected one of 'gaussian', 'uniform'"),
        (ops.ElasticTransform, {"same_dxdy": 1}, "expected True or False"),
        (ops.GridDistortion, {"num_steps": 0}, r"GridDistortion\(num_steps=0\): expected a whole number"),
        (ops.GridDistortion, {"distort_limit": 1.5}, r"expected a number x in \[0, 1\]"),
        (ops.GridDistortion, {"normalized": None}, "expected True or False"),
        (ops.OpticalDistortion, {"mode": "lens"}, "expected one of 'camera', 'fisheye'"),
        (ops.OpticalDistortion, {"distort_limit": "much"}, "expected factors"),
        (ops.ThinPlateSpline, {"scale_range": (0.2, 1.4)}, r"expected a pair \(least, greatest\) in \[0, 1\]"),
        (ops.ThinPlateSpline, {"num_control_points": 1}, "at least 2"),
        (ops.ThinPlateSpline, {"keypoint_remapping_method": "points"}, "expected one of 'mask', 'direct'"),
        (ops.OpticalDistortion, {"fill_mask": 1e6}, "expected a mask's value"),
        (ops.GridDistortion, {"interpolation": "best"}, "expected one of 'nearest'"),
    ],
)
def test_mistakes_are_named(make, settings, message):
    with pytest.raises(RecipeError, match=message):
        make(**settings)
