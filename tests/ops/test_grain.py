import math
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.ops import grain
from kaleidoscope.ops.noise import standard_normal
from kaleidoscope.record import MAX_VALUE, Frame

DTYPES = ["uint8", "uint16", "float32"]
STEP = {"uint8": 1 / 255, "uint16": 1 / 65535, "float32": 1e-6}


# ---- ISO noise


def poisson_pmf(rate, most):
    """Return the probabilities of 0 to most - 1."""
    return np.array([np.exp(k * np.log(rate) - rate - math.lgamma(k + 1)) for k in range(most)])


@pytest.mark.parametrize("dtype", DTYPES)
def test_hue_turns_by_normal_noise_and_nothing_else_changes(run, dtype):
    top = MAX_VALUE[dtype]
    flat = np.broadcast_to(np.array([0.8, 0.4, 0.2]) * top, (256, 256, 3)).astype(dtype)  # of one lightness: no k
    out = run(ops.ISONoise(), flat, {"color_shift": 0.05, "intensity": 0.5, "seed": 3}) / top
    hls = cv2.cvtColor(out.astype(np.float32), cv2.COLOR_RGB2HLS)
    turned = (hls[..., 0] - 20 + 180) % 360 - 180  # 20 degrees is the hue of (0.8, 0.4, 0.2)
    # Of each pixel: a level of uint8 is 0.4 degrees of hue here.
    wanted = 360 * 0.05 * 0.5 * standard_normal((256, 256, 1), 3)[..., 0]
    np.testing.assert_allclose(turned, wanted, atol=0.01 if dtype != "uint8" else 0.5)
    assert turned.std() == pytest.approx(9, rel=0.02)
    np.testing.assert_allclose(hls[..., 1], 0.5, atol=STEP[dtype])
    np.testing.assert_allclose(hls[..., 2], 0.6, atol=4 * STEP[dtype])


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_lightness_rises_by_poisson_counts(run, dtype, channels):
    top = MAX_VALUE[dtype]
    # Two greys: the lightness has a standard deviation of 0.2.
    halves = np.where(np.arange(400) < 200, 0.2, 0.6)[np.newaxis, :, np.newaxis] * np.ones((300, 1, channels))
    src = (halves * top).astype(dtype)
    intensity = 0.4
    out = run(ops.ISONoise(), src, {"color_shift": 0.5, "intensity": intensity, "seed": 8}) / top
    colours = out[..., :3] if channels == 4 else out
    assert np.abs(colours - colours[..., :1]).max() <= STEP[dtype], "grey became coloured"
    for level, part in ((0.2, colours[:, :200, 0]), (0.6, colours[:, 200:, 0])):
        steps = np.minimum(1, level + np.arange(5) * intensity * (1 - level))
        counts = np.abs(part[..., np.newaxis] - steps).argmin(axis=-1)
        np.testing.assert_allclose(part, steps[counts], atol=1.5 * STEP[dtype])
        found = np.bincount(counts.ravel(), minlength=3)[:3] / counts.size
        np.testing.assert_allclose(found, poisson_pmf(intensity * 0.2, 3), atol=5 * np.sqrt(0.1 / counts.size))


@pytest.mark.parametrize("dtype", DTYPES)
def test_iso_noise_is_that_of_a_plain_reference(photograph, run, dtype):
    top = MAX_VALUE[dtype]
    src = (photograph[:200, :333] / 255 * top).astype(dtype)
    shift, intensity, seed = 0.04, 0.3, 11
    hls = cv2.cvtColor((src / top).astype(np.float32), cv2.COLOR_RGB2HLS).astype(float)
    rng = np.random.Generator(np.random.PCG64DXSM([seed, 1]))
    counts = grain._poisson_field(rng, intensity * hls[..., 1].std(), src.shape[:2])
    hls[..., 0] = (hls[..., 0] + 360 * shift * intensity * standard_normal((200, 333, 1), seed)[..., 0]) % 360
    hls[..., 1] = np.minimum(1, hls[..., 1] + counts * intensity * (1 - hls[..., 1]))
    wanted = cv2.cvtColor(hls.astype(np.float32), cv2.COLOR_HLS2RGB)
    out = run(ops.ISONoise(), src, {"color_shift": shift, "intensity": intensity, "seed": seed}) / top
    np.testing.assert_allclose(out, wanted, atol=max(STEP[dtype], 1e-5))


def test_turns_of_any_size_are_on_the_circle(run):
    flat = np.broadcast_to(np.float32([0.8, 0.4, 0.2]), (64, 64, 3)).copy()
    out = run(ops.ISONoise(), flat, {"color_shift": 1.0, "intensity": 30.0, "seed": 3})
    np.testing.assert_allclose(
        [out.min(axis=2), out.max(axis=2)], [np.full((64, 64), 0.2), np.full((64, 64), 0.8)], atol=1e-5
    )
    assert out[..., 2].max() > 0.7, "no hue is turned far"


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.7, 3.0])
def test_a_field_of_counts_is_poisson(rate):
    field = grain._poisson_field(np.random.default_rng(0), rate, (400, 300))
    assert field.shape == (400, 300)
    assert field.mean() == pytest.approx(rate, abs=5 * np.sqrt(rate / field.size))
    # The variance of a variance of Poisson counts is (rate + 2 * rate**2) / N.
    assert field.var() == pytest.approx(rate, abs=5 * np.sqrt((rate + 2 * rate**2) / field.size))


def test_iso_noise_refuses_other_channels():
    with pytest.raises(OpError, match=r"ISONoise: expected grey, RGB or RGBA .* got 7"):
        ops.ISONoise().out_frame(Frame(4, 4, 7, "uint8"), {})


# ---- shot noise


def moments(level, scale):
    """Return mean, variance and its standard error of what a level in [0, 1] becomes, in float64 by the formula."""
    rate = level**2.2 / scale + 1e-6
    chances = poisson_pmf(rate, int(rate + 12 * np.sqrt(rate)) + 20)
    values = np.minimum(1, scale * np.arange(len(chances))) ** (1 / 2.2)
    mean = chances @ values
    second, fourth = (chances @ (values - mean) ** power for power in (2, 4))
    return mean, second, np.sqrt(fourth - second**2)


@pytest.mark.parametrize("scale", [0.0005, 0.01, 0.1, 0.3, 2.5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_shot_noise_has_the_mean_and_variance_of_its_formula(run, dtype, scale):
    top = MAX_VALUE[dtype]
    count = 160 * 160
    for level in (0, 51, 127, 204, 255):
        flat = np.full((160, 160, 1), level / 255 * top, dtype)
        out = run(ops.ShotNoise(), flat, {"scale": scale, "seed": level}) / top
        mean, variance, spread = moments(float(flat[0, 0, 0]) / top, scale)
        # uint8: the probability of what a level may become is off by a part in one image. Outcomes are rounded.
        part = 1 / 2048 if dtype == "uint8" and scale > 0.001 else 0
        rounding = 0.5 * STEP[dtype]
        assert out.mean() == pytest.approx(mean, abs=5 * np.sqrt(variance / count) + part + rounding)
        allowed = 5 * spread / np.sqrt(count) + part + 2 * rounding * np.sqrt(variance) + rounding**2
        assert out.var(dtype=float) == pytest.approx(variance, abs=allowed + 1e-9)


def test_shot_noise_of_bytes_has_the_outcomes_of_poisson_counts(run):
    scale, level = 0.2, 150
    flat = np.full((300, 400, 3), level, np.uint8)
    out = run(ops.ShotNoise(), flat, {"scale": scale, "seed": 5})
    outcomes = np.rint(255 * np.minimum(1, scale * np.arange(6)) ** (1 / 2.2)).astype(int)
    chances = poisson_pmf((level / 255) ** 2.2 / scale + 1e-6, 5)
    chances = np.append(chances, 1 - chances.sum())
    found = np.bincount(out.ravel(), minlength=256)
    assert found[outcomes].sum() == out.size, "there is something else"
    np.testing.assert_allclose(found[outcomes] / out.size, chances, atol=5 * np.sqrt(0.25 / out.size) + 1 / 2048)


def test_tables_have_each_outcome_as_often_as_it_is_likely():
    """Over many images the parts begin everywhere: rare outcomes are as frequent as they should be."""
    scale, tries = 0.05, 300
    tables = [grain._table_of_levels(scale, np.random.default_rng(i)).reshape(256, -1) for i in range(tries)]
    for level in (0, 3, 60, 200):
        chances = poisson_pmf((level / 255) ** 2.2 / scale + 1e-6, 20)
        outcomes = np.rint(255 * np.minimum(1, scale * np.arange(21)) ** (1 / 2.2)).astype(int)
        found = sum(np.bincount(table[level], minlength=256) for table in tables)[outcomes[:20]] / (tries * 2048)
        np.testing.assert_allclose(found, chances, atol=5 * 0.5 / 2048 / np.sqrt(tries))


def test_values_of_shot_noise_are_independent(run):
    flat = np.full((256, 256, 3), 140, np.uint8)
    z = run(ops.ShotNoise(), flat, {"scale": 0.1, "seed": 5}).astype(float)
    z -= z.mean()
    for move in ((0, 1, 0), (1, 0, 0), (0, 0, 1), (0, 4, 0), (128, 0, 0)):
        correlation = np.mean(z * np.roll(z, move, axis=(0, 1, 2))) / z.var()
        assert abs(correlation) < 5 / np.sqrt(z.size), move
    other = run(ops.ShotNoise(), flat, {"scale": 0.1, "seed": 6}).astype(float)
    assert abs(np.corrcoef(z.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(z.size)


def test_hardly_any_noise_is_hardly_any(make_pixels, run):
    for dtype in DTYPES:
        src = make_pixels((40, 50, 3), dtype)
        for scale in (1e-9, 1e-14):
            out = run(ops.ShotNoise(), src, {"scale": scale, "seed": 5})
            np.testing.assert_allclose(out / MAX_VALUE[dtype], src / MAX_VALUE[dtype], atol=2e-4)


def test_threads_agree(make_pixels):
    src = make_pixels((64, 64, 3))

    def one(_):
        out = np.empty_like(src)
        ops.ShotNoise().kernel(src, {"scale": 0.2, "seed": 9}, out)
        return out

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(one, range(8))
    assert all(np.array_equal(first, other) for other in others)


# ---- draws and fields


def test_draws_fill_their_ranges():
    rng, frame = np.random.default_rng(0), Frame(8, 8, 3, "uint8")
    iso = [ops.ISONoise((0.1, 0.2), (0.3, 0.7)).sample_params(rng, frame) for _ in range(500)]
    shot = [ops.ShotNoise((0.1, 0.5)).sample_params(rng, frame) for _ in range(500)]
    for values, low, high in (
        ([draw["color_shift"] for draw in iso], 0.1, 0.2),
        ([draw["intensity"] for draw in iso], 0.3, 0.7),
        ([draw["scale"] for draw in shot], 0.1, 0.5),
    ):
        assert low <= min(values) < low + (high - low) / 50
        assert high - (high - low) / 50 < max(values) <= high
    assert len({draw["seed"] for draw in iso + shot}) == 1000


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ops.ISONoise(color_shift=(0, 1.5)), r"a fraction of a full turn in \[0, 1\].*got \(0, 1.5\)"),
        (lambda: ops.ISONoise(intensity=-1), r"intensity=-1\): expected a number of at least 0"),
        (lambda: ops.ShotNoise((-0.1, 0.1)), r"scale_range=\(-0.1, 0.1\)\): expected a number of at least 0"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(RecipeError, match=message):
        make()


def test_they_travel(check_travels):
    check_travels(ops.ISONoise(0.02, (0.1, 0.2)))
    check_travels(ops.ShotNoise([0.1, 0.2]))
