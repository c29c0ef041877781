from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import RecipeError
from kaleidoscope.ops import noise as noise_module
from kaleidoscope.record import MAX_VALUE, Frame

DTYPES = ["uint8", "uint16", "float32"]
SIDE = 512


def noise_of(run, seed=1, shape=(SIDE, SIDE, 3), std=0.1, mean=0.0, dtype="float32", **fields):
    """Return what is added to a flat image, in units of std."""
    flat = np.full(shape, MAX_VALUE[dtype] / 2, dtype)
    noisy = run(ops.GaussNoise(**fields), flat, {"std": std, "mean": mean, "seed": seed})
    return (noisy.astype(float) - flat) / (std * MAX_VALUE[dtype])


def correlation(a, b):
    return float(np.mean((a - a.mean()) * (b - b.mean())) / (a.std() * b.std()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_noise_is_standard_normal(run, seed, dtype):
    z = noise_of(run, seed, dtype=dtype).ravel()
    # Five standard errors of 786,432 values; uint8 adds a rounding of 1/25.5 std.
    assert abs(z.mean()) < 5 / np.sqrt(z.size)
    assert z.std() == pytest.approx(1, abs=5 / np.sqrt(2 * z.size))
    assert np.mean(z**3) == pytest.approx(0, abs=5 * np.sqrt(15 / z.size))
    assert np.mean(z**4) == pytest.approx(3, abs=5 * np.sqrt(96 / z.size) + 0.01)
    if dtype == "float32":
        assert np.mean(np.abs(z) > 3) == pytest.approx(0.0027, abs=0.0003)
        assert np.mean(np.abs(z) < 0.5) == pytest.approx(0.3829, abs=0.003)
        assert np.abs(z).max() > 4


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_noise_is_white(run, dtype):
    z = noise_of(run, dtype=dtype)
    bound = 5 / SIDE  # five standard errors of 512 * 512 pairs
    for rows, columns, channels in [
        (0, 1, 0),
        (1, 0, 0),
        (1, 1, 0),
        (0, 0, 1),
        (0, 0, 2),
        (3, 1, 1),
        (64, 0, 0),
    ]:
        shifted = np.roll(z, (rows, columns, channels), axis=(0, 1, 2))
        assert abs(correlation(z, shifted)) < bound, (rows, columns, channels)
    spectrum = np.abs(np.fft.rfft(z.ravel())) ** 2 / z.size
    bands = np.array([band.mean() for band in np.array_split(spectrum[1:], 16)])
    np.testing.assert_allclose(bands, 1, atol=0.05)  # 24,576 values each


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_no_stretch_of_noise_occurs_twice_in_an_image(run, dtype):
    z = noise_of(run, dtype=dtype).ravel()
    spectrum = np.fft.rfft(z, 2 * z.size)
    autocorrelation = np.fft.irfft(np.abs(spectrum) ** 2)[1 : z.size] / z.size
    # One passage of 131,072 read twice would stand out with 0.16, of either sign; chance makes 0.006.
    assert np.abs(autocorrelation).max() < 0.01


@pytest.mark.parametrize("seed", range(10))
def test_passages_of_a_round_through_the_table_are_disjoint(seed):
    size, rounds = noise_module._PASSAGE, noise_module._PASSAGES
    places = sorted(first for _, first, _ in noise_module.passages(size * rounds, seed))
    assert np.diff(places).tolist() == [size] * (rounds - 1)
    table = noise_module.normal_table()
    assert places[-1] + size <= table.size
    np.testing.assert_array_equal(table[:size], table[-size:])  # what the last of them reads beyond the end


def test_the_kernel_adds_the_passages_with_their_signs(run):
    parts, table = list(noise_module.passages(SIDE * SIDE * 3, 5)), noise_module.normal_table()
    assert {sign for _, _, sign in parts} == {-1, 1}
    drawn = np.concatenate([sign * table[first : first + part.stop - part.start] for part, first, sign in parts])
    seen = np.clip(drawn, -5, 5)  # a tenth of the range each, on grey of a half
    np.testing.assert_allclose(noise_of(run, seed=5).ravel(), seen, atol=1e-5)
    np.testing.assert_array_equal(noise_module.standard_normal((SIDE, SIDE, 3), seed=5).ravel(), drawn)


def test_images_larger_than_the_table_are_noisy_throughout(run):
    shape = (1500, 1500, 3)  # 6.75 million values
    z = noise_of(run, shape=shape).ravel()
    table = noise_module._PASSAGE * noise_module._PASSAGES
    assert z[table:].std() == pytest.approx(1, abs=0.01)
    assert abs(correlation(z[table:], z[: z.size - table])) < 5 / np.sqrt(z.size - table)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_two_images_are_independent(run, dtype):
    images = [noise_of(run, seed, dtype=dtype) for seed in range(6)]
    for i, one in enumerate(images):
        for other in images[:i]:
            assert abs(correlation(one, other)) < 5 / np.sqrt(one.size)


def test_the_same_seed_gives_the_same_noise(run):
    np.testing.assert_array_equal(noise_of(run, 5), noise_of(run, 5))


def test_threads_share_one_table_and_agree(make_pixels):
    noise_module._make_steps.cache_clear()
    src = make_pixels((64, 64, 3))

    def one(_):
        out = np.empty_like(src)
        ops.GaussNoise().kernel(src, {"std": 0.2, "mean": 0.0, "seed": 9}, out)
        return out

    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(one, range(16))
    assert all(np.array_equal(first, other) for other in others)
    assert noise_module._make_steps.cache_info().misses == 1


@pytest.mark.parametrize("channels", [3, 7])
def test_channels_have_noise_of_their_own_or_share_it(run, channels):
    own = noise_of(run, shape=(64, 64, channels))
    shared = noise_of(run, shape=(64, 64, channels), per_channel=False)
    assert abs(correlation(own[..., 0], own[..., 1])) < 0.08
    np.testing.assert_array_equal(shared, np.repeat(shared[..., :1], channels, axis=2))
    assert shared.std() == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("fields", [{}, {"per_channel": False}, {"noise_scale_factor": 0.5}])
@pytest.mark.parametrize("dtype", DTYPES)
def test_alpha_stays(make_pixels, run, dtype, fields):
    src = make_pixels((33, 21, 4), dtype)
    out = run(ops.GaussNoise(**fields), src, {"std": 0.3, "mean": 0.1, "seed": 3})
    np.testing.assert_array_equal(out[..., 3], src[..., 3])
    assert (out[..., :3] != src[..., :3]).mean() > 0.5


@pytest.mark.parametrize("dtype", DTYPES)
def test_mean_and_std_are_fractions_of_the_largest_value(run, dtype):
    flat = np.full((256, 256, 3), MAX_VALUE[dtype] * 0.5, dtype)
    out = run(ops.GaussNoise(), flat, {"std": 0.05, "mean": -0.2, "seed": 3}) / MAX_VALUE[dtype]
    assert out.mean() == pytest.approx(0.3, abs=0.003)
    assert out.std() == pytest.approx(0.05, abs=0.001)


@pytest.mark.parametrize("fields", [{}, {"per_channel": False}, {"noise_scale_factor": 0.3}])
@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_saturates(run, dtype, fields):
    top = MAX_VALUE[dtype]
    for level, mean in ((0, -1.0), (top, 1.0)):
        flat = np.full((40, 40, 3), level, dtype)
        out = run(ops.GaussNoise(**fields), flat, {"std": 0.05, "mean": mean, "seed": 3})
        np.testing.assert_array_equal(out, flat)


@pytest.mark.parametrize("fields", [{}, {"per_channel": False}, {"noise_scale_factor": 0.4}])
@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_without_spread_is_identity(make_pixels, run, dtype, fields):
    src = make_pixels((300, 251, 3), dtype)
    np.testing.assert_array_equal(run(ops.GaussNoise(**fields), src, {"std": 0.0, "mean": 0.0, "seed": 3}), src)


@pytest.mark.parametrize("factor", [0.5, 0.25])
def test_a_scale_factor_makes_the_noise_coarser(run, factor):
    z = noise_of(run, shape=(256, 256, 3), noise_scale_factor=factor)
    neighbours = correlation(z[:, 1:], z[:, :-1])
    assert neighbours > 0.4
    assert abs(correlation(z[..., 0], z[..., 1])) < 0.1
    # Between two values linear interpolation has less variance: 1/2 halfway, in each direction.
    assert 0.5 < z.std() < 0.8
    far = round(2 / factor)
    assert abs(correlation(z[:, far:], z[:, :-far])) < 0.06


@pytest.mark.parametrize("fields", [{}, {"per_channel": False}, {"noise_scale_factor": 0.3}])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 3), (7, 1, 4), (5, 3, 7), (3, 3, 130)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_reaches_images_of_every_shape(make_pixels, run, dtype, shape, fields):
    src = make_pixels(shape, dtype)
    out = run(ops.GaussNoise(**fields), src, {"std": 0.3, "mean": 0.0, "seed": 3})
    assert out.shape == shape
    flat = np.full(shape, MAX_VALUE[dtype] / 2, dtype)
    assert not np.array_equal(run(ops.GaussNoise(**fields), flat, {"std": 0.3, "mean": 0.0, "seed": 3}), flat)


def test_draws_lie_in_their_ranges_and_every_image_has_its_seed():
    op, rng = ops.GaussNoise((0.1, 0.2), (-0.3, 0.1)), np.random.default_rng(0)
    draws = [op.sample_params(rng, Frame(8, 8, 3, "uint8")) for _ in range(1000)]
    stds, means = (np.array([draw[name] for draw in draws]) for name in ("std", "mean"))
    assert 0.1 <= stds.min() < 0.102
    assert 0.198 < stds.max() <= 0.2
    assert -0.3 <= means.min() < -0.29
    assert 0.09 < means.max() <= 0.1
    assert len({draw["seed"] for draw in draws}) == 1000
    assert all(type(draw["seed"]) is int and 0 <= draw["seed"] < 2**53 for draw in draws)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"std_range": (0.1, 1.1)},
            r"std_range=\(0.1, 1.1\)\): expected a fraction .*\[0, 1\].*got \(0.1, 1.1\)",
        ),
        ({"mean_range": -2}, r"\[-1, 1\].*got -2 \(int\)"),
        ({"per_channel": "yes"}, r"expected True or False, got 'yes'"),
        ({"noise_scale_factor": 0}, r"expected a factor above 0, at most 1, got 0 \(int\)"),
        ({"noise_scale_factor": 1.5}, r"at most 1, got 1.5"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, message):
    with pytest.raises(RecipeError, match=message):
        ops.GaussNoise(**fields)


def test_noise_travels(check_travels):
    check_travels(ops.GaussNoise())
    check_travels(ops.GaussNoise(0.1, [0, 0.1], per_channel=False, noise_scale_factor=0.5))
