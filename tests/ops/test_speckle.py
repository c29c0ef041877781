import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.backends.follow import follow
from kaleidoscope.backends.moves import moves_of
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.ops import speckle
from kaleidoscope.record import MAX_VALUE, Frame
from kaleidoscope.targets import Targets

DTYPES = ["uint8", "uint16", "float32"]


# ---- pixel dropout


@pytest.mark.parametrize("chance", [0.0, 1e-6, 0.003, 0.4, 0.97, 1.0])
def test_places_are_drawn_each_by_itself(chance):
    count, tries = 20000, 60
    drawn = [speckle._places(np.random.default_rng(i), count, chance) for i in range(tries)]
    assert all((np.diff(places) > 0).all() and ((places >= 0) & (places < count)).all() for places in drawn)
    numbers = np.array([len(places) for places in drawn])
    spread = np.sqrt(count * chance * (1 - chance))
    assert numbers.mean() == pytest.approx(count * chance, abs=5 * spread / np.sqrt(tries))
    if count * chance * (1 - chance) > 10:
        assert numbers.std() == pytest.approx(spread, rel=0.5)
        every = np.concatenate(drawn)
        assert every.mean() == pytest.approx((count - 1) / 2, rel=0.05)  # early and late ones alike
        next_too = np.mean(np.concatenate([np.diff(places) for places in drawn]) == 1)
        assert next_too == pytest.approx(chance, abs=5 * np.sqrt(chance / every.size))


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dropped_pixels_have_the_value_and_the_others_stay(make_pixels, run, dtype, channels):
    src = make_pixels((60, 70, channels), dtype) // 2 if dtype != "float32" else make_pixels((60, 70, channels)) / 512
    src = src.astype(dtype)
    value = tuple(MAX_VALUE[dtype] * (0.8 if dtype == "float32" else 1) for _ in range(channels))
    for drop_value in (value, value[0]):
        out = run(ops.PixelDropout(0.2, drop_value=drop_value), src, {"seed": 3})
        dropped = (out != src).any(axis=2)
        np.testing.assert_array_equal(out, np.where(dropped[..., np.newaxis], np.asarray(value, dtype), src))
        assert dropped.mean() == pytest.approx(0.2, abs=5 * np.sqrt(0.16 / dropped.size))


def test_channels_are_dropped_by_themselves(run):
    flat = np.full((200, 200, 3), 100, np.uint8)
    out = run(ops.PixelDropout(0.2, per_channel=True, drop_value=(1, 2, 3)), flat, {"seed": 3})
    dropped = out != 100
    for channel in range(3):
        assert set(np.unique(out[..., channel])) == {channel + 1, 100}
        assert dropped[..., channel].mean() == pytest.approx(0.2, abs=0.01)
    assert dropped.all(axis=2).mean() == pytest.approx(0.2**3, abs=0.003)


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_a_value_a_colour_is_drawn(run, dtype):
    frame = Frame(50, 50, 3, dtype)
    op = ops.PixelDropout(0.5, drop_value=None)
    draws = [op.sample_params(np.random.default_rng(i), frame) for i in range(300)]
    values = np.array([draw["value"] for draw in draws]) / MAX_VALUE[dtype]
    assert 0 <= values.min() < 0.01
    assert 0.99 < values.max() <= 1
    flat = np.full(frame.shape, MAX_VALUE[dtype] / 2, dtype)
    out = run(op, flat, draws[0])
    (colour,) = {tuple(pixel) for pixel in out.reshape(-1, 3).tolist()} - {tuple(flat[0, 0].tolist())}
    assert colour == pytest.approx(draws[0]["value"])


def test_masks_lose_the_same_pixels_and_objects_stay(run):
    frame = Frame(40, 50, 3, "uint8")
    op = ops.PixelDropout(0.3, mask_drop_value=9)
    targets = Targets(
        boxes=[[2.5, 1.0, 12.0, 9.0]], polygons=[[[4, 3], [8, 3], [8, 6]]], masks={"m": np.full((40, 50), 5, np.uint8)}
    )
    moved, counts = follow(targets, moves_of(op, {"seed": 4}, frame))
    dropped = run(op, np.full(frame.shape, 7, np.uint8), {"seed": 4})[..., 0] == 0
    np.testing.assert_array_equal(moved.masks["m"], np.where(dropped, 9, 5))
    np.testing.assert_array_equal(moved.boxes, targets.boxes)
    assert not counts
    assert not ops.PixelDropout().moves_pixels


# ---- salt and pepper


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_there_are_as_many_grains_as_was_drawn(make_pixels, run, dtype, channels):
    top = MAX_VALUE[dtype]
    src = (make_pixels((61, 73, channels), "float32") * 0.5 + 0.25) * top
    src = src.astype(dtype)
    for amount, ratio in ((0.05, 0.4), (0.7, 0.5), (1.0, 0.25)):
        out = run(ops.SaltAndPepper(), src, {"amount": amount, "salt_vs_pepper": ratio, "seed": 3})
        colours, before = (image[..., :3] if channels == 4 else image for image in (out, src))
        salt, pepper = (colours == top).all(axis=2), (colours == 0).all(axis=2)
        grains = int(61 * 73 * amount)
        assert salt.sum() == int(grains * ratio)
        assert salt.sum() + pepper.sum() == grains
        np.testing.assert_array_equal(colours[~salt & ~pepper], before[~salt & ~pepper])


def test_grains_lie_everywhere(run):
    flat = np.full((64, 64, 1), 9, np.uint8)
    params = {"amount": 0.1, "salt_vs_pepper": 0.5}
    hits = sum(run(ops.SaltAndPepper(), flat, params | {"seed": i})[..., 0] != 9 for i in range(400))
    assert hits.mean() == pytest.approx(40, abs=0.2)
    assert hits.std() == pytest.approx(6, rel=0.05)  # sqrt(400 * 0.1 * 0.9)


# ---- multiplicative noise


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_are_multiplied_rounded_and_clipped(make_pixels, run, dtype, channels):
    src = make_pixels((31, 46, channels), dtype)
    top = MAX_VALUE[dtype]
    factors = np.linspace(0.3, 1.7, channels)
    for op, params, each in (
        (ops.MultiplicativeNoise(), {"factors": [1.37]}, np.full(channels, 1.37)),
        (ops.MultiplicativeNoise(per_channel=True), {"factors": factors.tolist()}, factors),
    ):
        out = run(op, src, params)
        wanted = np.clip(src.astype(float) * each, 0, top)
        if channels == 4:
            wanted[..., 3] = src[..., 3]
        np.testing.assert_allclose(out, wanted, atol=0.51 if dtype != "float32" else 1e-6)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_factors_of_elements_are_uniform(run, dtype, channels, per_channel):
    level = {"uint8": 200, "uint16": 40000, "float32": 0.6}[dtype]
    flat = np.full((250, 301, channels), level, dtype)
    op = ops.MultiplicativeNoise((0.5, 1.25), per_channel=per_channel, elementwise=True)
    factors = run(op, flat, {"seed": 3})[..., : 3 if channels == 4 else channels] / np.float64(level)
    assert factors.min() == pytest.approx(0.5, abs=0.005)
    assert factors.max() == pytest.approx(1.25, abs=0.005)
    assert factors.mean() == pytest.approx(0.875, abs=5 * 0.75 / np.sqrt(12 * 250 * 301))
    assert factors.std() == pytest.approx(0.75 / np.sqrt(12), rel=0.01)
    z = factors - factors.mean()
    for move in ((0, 1), (1, 0), (217, 0)):
        assert abs(np.mean(z * np.roll(z, move, axis=(0, 1))) / z.var()) < 5 / np.sqrt(250 * 301), move
    if channels > 1:
        alike = np.mean(z[..., 0] * z[..., 1]) / z.var()
        assert alike == pytest.approx(0 if per_channel else 1, abs=0.02)


def test_draws_fill_their_ranges():
    rng = np.random.default_rng(0)
    draws = [ops.MultiplicativeNoise((0.5, 1.5)).sample_params(rng, Frame(8, 8, 4, "uint8")) for _ in range(500)]
    assert {len(draw["factors"]) for draw in draws} == {1}
    assert min(draw["factors"] for draw in draws)[0] < 0.52
    assert max(draw["factors"] for draw in draws)[0] > 1.48
    several = ops.MultiplicativeNoise(per_channel=True).sample_params(rng, Frame(8, 8, 4, "uint8"))["factors"]
    assert len(set(several)) == 4
    grains = [ops.SaltAndPepper((0.2, 0.4), 0.5).sample_params(rng, Frame(8, 8, 4, "uint8")) for _ in range(500)]
    assert 0.2 <= min(draw["amount"] for draw in grains) < 0.21
    assert 0.39 < max(draw["amount"] for draw in grains) <= 0.4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ops.PixelDropout(1.5), r"dropout_prob=1.5\): expected a probability in \[0, 1\]"),
        (lambda: ops.PixelDropout(drop_value="black"), r"a pixel value, a list with one for each channel, or None"),
        (lambda: ops.PixelDropout(mask_drop_value=[1, 2]), r"a mask's value, 0 to 65535, or None"),
        (lambda: ops.PixelDropout(per_channel=True, mask_drop_value=1), r"expected None beside per_channel=True"),
        (lambda: ops.SaltAndPepper(amount=(0.1, 2)), r"amount=\(0.1, 2\)\): expected a fraction in \[0, 1\]"),
        (lambda: ops.SaltAndPepper(salt_vs_pepper=-1), r"got -1 \(int\)"),
        (lambda: ops.MultiplicativeNoise((-1, 1)), r"a factor of at least 0"),
        (lambda: ops.MultiplicativeNoise(elementwise=1), r"expected True or False"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(RecipeError, match=message):
        make()


def test_values_that_pixels_cannot_have_are_refused():
    with pytest.raises(OpError, match=r"PixelDropout\(drop_value=2.0\): expected at most 1"):
        ops.PixelDropout(drop_value=2).out_frame(Frame(4, 4, 3, "float32"), {})
    with pytest.raises(OpError, match=r"drop_value=\(1.0, 2.0\)\): expected one number or one for each of the 3"):
        ops.PixelDropout(drop_value=(1, 2)).out_frame(Frame(4, 4, 3, "uint8"), {})


def test_they_travel(check_travels):
    check_travels(ops.PixelDropout(0.2, drop_value=[1, 2, 3], mask_drop_value=4))
    check_travels(ops.PixelDropout(drop_value=None))
    check_travels(ops.SaltAndPepper(0.1, (0.2, 0.3)))
    check_travels(ops.MultiplicativeNoise(2, per_channel=True, elementwise=True))
