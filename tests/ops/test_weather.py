import cv2
import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.ops import light, painting, snow, weather
from kaleidoscope.randomness import stream
from kaleidoscope.record import MAX_VALUE, Frame

DTYPES = ["uint8", "uint16", "float32"]
FRAME = Frame(200, 300, 3, "uint8")


def draws(op, count=300, frame=FRAME):
    return [op.sample_params(stream(seed, "a.jpg", "node"), frame) for seed in range(count)]


def levels(dtype, most):
    """Return an error of so many levels of 255, or what rounding makes of finer types."""
    return {"uint8": most, "uint16": 0.01, "float32": 1e-3}[dtype]


def in_255ths(pixels):
    return pixels.astype(float) * 255 / MAX_VALUE[pixels.dtype.name]


# ---- painting


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("paint", [(255.0, 255.0, 255.0), (200.0, 30.0, 0.0)])
def test_veil_is_the_weighted_mean(make_pixels, dtype, paint):
    src = make_pixels((20, 30, 3), dtype)
    kept = np.random.default_rng(1).uniform(0, 1, (20, 30))
    seen = np.rint(kept * 255).astype(np.uint8) if dtype == "uint8" else kept.astype(np.float32)
    kept = seen[..., None] / (255 if dtype == "uint8" else 1)
    out = np.empty_like(src)
    painting.veil(src, seen, painting.in_range_of(src, paint), out)
    wanted = in_255ths(src) * kept + np.array(paint) * (1 - kept)
    assert np.abs(in_255ths(out) - wanted).max() <= levels(dtype, 1.01)


# ---- RandomRain


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("paint", [(200, 200, 200), (250, 100, 0)])
@pytest.mark.parametrize("blur", [1, 7])
def test_rain_is_the_formula_of_the_docstring(make_pixels, dtype, paint, blur):
    src, out = make_pixels((48, 40, 3), dtype), np.empty((48, 40, 3), dtype)
    tops, op = np.array([[5, 3], [20, 11], [33, 20]]), ops.RandomRain(drop_color=paint, blur_value=blur, drop_width=2)
    op._rain(tops, 3.0, 10, src, out)
    streaks = np.zeros((48, 40, 3))
    for x, y in tops.tolist():
        cv2.line(streaks, (x, y), (x + 3, y + 10), paint, 2, cv2.LINE_4)
    streaks = cv2.blur(streaks, (blur, blur))
    wanted = 0.7 * np.minimum(in_255ths(src) + streaks, 255)
    assert np.abs(in_255ths(out) - wanted).max() <= levels(dtype, 1.01)
    assert streaks.max() > 0


@pytest.mark.parametrize(("kind", "count"), [("drizzle", 40), ("default", 53), ("heavy", 160), ("torrential", 320)])
def test_rain_has_as_many_drops_as_its_type_says(monkeypatch, kind, count):
    seen = []
    monkeypatch.setattr(ops.RandomRain, "_rain", lambda self, tops, *rest: seen.append(tops))
    ops.RandomRain(rain_type=kind).kernel(np.zeros((160, 50, 3), np.uint8), {"slant": 0.0, "seed": 4}, None)
    assert seen[0].shape == (count, 2)
    assert seen[0].min() >= 0
    assert (seen[0].max(axis=0) < (50, 140)).all()  # 20 long: none ends below the image


def test_rain_draws_its_slant_from_the_range():
    drawn = [one["slant"] for one in draws(ops.RandomRain((-3, 8)))]
    assert -3 <= min(drawn) < -2.8
    assert 7.8 < max(drawn) <= 8


# ---- RandomFog


@pytest.mark.parametrize("dtype", DTYPES)
def test_fog_is_the_formula_of_the_docstring(make_pixels, run, dtype):
    src, op, params = make_pixels((60, 50, 3), dtype), ops.RandomFog(alpha_coef=0.3), {"intensity": 0.7, "seed": 9}
    centres, radii = weather._discs((60, 50), 0.7, 9)
    wanted = in_255ths(src)
    for (x, y), radius in zip(centres.tolist(), radii.tolist(), strict=True):
        disc = cv2.circle(np.zeros((60, 50, 1)), (x, y), radius, 1, -1)
        wanted = wanted + 0.3 * 0.7 * disc * (255 - wanted)
    wanted = cv2.GaussianBlur(wanted, (3, 3), 0)
    assert len(radii) > 50
    assert np.abs(in_255ths(run(op, src, params)) - wanted).max() <= levels(dtype, 2)


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (64, 64)])
def test_fog_counts_what_circles_cover(size):
    centres, radii = weather._discs(size, 0.5, 3)
    wanted = np.zeros(size)
    for (x, y), radius in zip(centres.tolist(), radii.tolist(), strict=True):
        wanted += cv2.circle(np.zeros(size), (x, y), radius, 1, -1)
    np.testing.assert_array_equal(weather._times_covered(size, centres, radii), np.minimum(wanted, 255))


def test_fog_of_intensity_0_smooths_only(photograph, run):
    out = run(ops.RandomFog(), photograph, {"intensity": 0.0, "seed": 1})
    ksize = min(photograph.shape[:2]) // 30 | 1
    np.testing.assert_array_equal(out, cv2.GaussianBlur(photograph, (ksize, ksize), 0))


# ---- RandomSnow


def hls_reference(pixels, coefficient, below):
    """Return lightness scaled where it is low, of values in [0, 1], hue and saturation kept."""
    low, high = pixels.min(axis=-1, keepdims=True), pixels.max(axis=-1, keepdims=True)
    lightness = (low + high) / 2
    brighter = np.where(lightness < below, np.minimum(lightness * coefficient, 1), lightness)
    room = 1 - np.abs(2 * lightness - 1)
    ratio = np.where(room > 0, (1 - np.abs(2 * brighter - 1)) / np.where(room > 0, room, 1), 0)
    return brighter + (pixels - lightness) * ratio


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_bleach_scales_the_lightness_of_what_is_dark(make_pixels, run, dtype, channels):
    src = make_pixels((30, 20, channels), dtype)
    out = run(ops.RandomSnow(brightness_coeff=1.7), src, {"snow_point": 0.2})
    wanted = 255 * hls_reference(src / MAX_VALUE[dtype], 1.7, 1 / 3 + 0.1)
    # 8-bit hue and lightness are steps: next to the threshold a few pixels fall on its other side.
    close = np.abs(in_255ths(out) - wanted) <= levels(dtype, 8)
    assert close.mean() > (0.99 if dtype == "uint8" else 0.998)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_falling_snow_is_the_formula_of_the_docstring(make_pixels, dtype, channels):
    src, out = make_pixels((30, 20, channels), dtype), np.empty((30, 20, channels), dtype)
    flakes = make_pixels((30, 20), "uint8", seed=5)
    ops.RandomSnow(1.5, method="texture")._fall(0.4, flakes, np.array([7, 33]), src, out)
    pixels = in_255ths(src) / 255
    with np.errstate(divide="ignore"):
        bright = pixels * np.minimum(1.6, 1 / pixels.max(axis=-1, keepdims=True))
    blue = np.array([0.6, 0.75, 1.0])
    tint = blue if channels == 3 else blue @ [0.299, 0.587, 0.114]
    depth = np.linspace(1, 0.2, 30)[:, None, None]
    wanted = 0.85 * (bright + 0.4 * depth * flakes[..., None] / 255) + 0.15 * 0.4 * tint
    wanted.reshape(-1, channels)[[7, 33]] = 1
    assert np.abs(in_255ths(out) - 255 * wanted.clip(0, 1)).max() <= levels(dtype, 2)


def test_flakes_have_the_mean_and_spread_of_smoothed_normal_noise():
    flakes = snow._flakes(np.random.Generator(np.random.PCG64(1)), (300, 300)) / 255
    normal = cv2.GaussianBlur(np.random.default_rng(2).normal(0.5, 0.3, (300, 300)), (0, 0), np.sqrt(2))
    assert flakes.mean() == pytest.approx(0.5, abs=0.01)
    assert flakes.std() == pytest.approx(normal.std(), rel=0.06)


def test_snow_draws_a_seed_only_where_flakes_fall():
    assert set(draws(ops.RandomSnow(), 1)[0]) == {"snow_point"}
    drawn = draws(ops.RandomSnow(snow_point_range=(0.2, 0.6), method="texture"))
    assert 0.2 <= min(one["snow_point"] for one in drawn) < 0.22
    assert 0.58 < max(one["snow_point"] for one in drawn) <= 0.6
    assert len({one["seed"] for one in drawn}) == len(drawn)


# ---- RandomShadow


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_shadows_darken_their_polygons(make_pixels, run, dtype, channels):
    src = make_pixels((40, 30, channels), dtype)
    polygons, intensities = [[[2, 3], [25, 5], [12, 30]], [[10, 10], [29, 39], [10, 39], [29, 10]]], [0.4, 0.7]
    out = run(ops.RandomShadow(), src, {"vertices": polygons, "intensities": intensities})
    wanted = in_255ths(src)
    for polygon, intensity in zip(polygons, intensities, strict=True):
        inside = cv2.fillPoly(np.zeros((40, 30, 1)), [np.array(polygon)], 1)
        assert 0 < inside.mean() < 0.5
        wanted = wanted * (1 - intensity * inside)
    if channels == 4:
        wanted[..., 3] = in_255ths(src)[..., 3]
    assert np.abs(in_255ths(out) - wanted).max() <= levels(dtype, 1)


def test_shadows_lie_in_their_region():
    op = ops.RandomShadow((0.1, 0.5, 0.4, 0.9), (1, 3), 4, (0.2, 0.6))
    drawn = draws(op)
    corners = np.array([corner for one in drawn for polygon in one["vertices"] for corner in polygon])
    assert corners.min(axis=0).tolist() == [30, 100]
    assert corners.max(axis=0).tolist() == [119, 179]
    assert {len(one["vertices"]) for one in drawn} == {1, 2, 3}
    assert all(len(polygon) == 4 for one in drawn for polygon in one["vertices"])
    intensities = [each for one in drawn for each in one["intensities"]]
    assert 0.2 <= min(intensities) < 0.22
    assert 0.58 < max(intensities) <= 0.6


# ---- RandomSunFlare

FLARE = {
    "center": [20, 15],
    "circles": [
        [0.2, [40, 30], 8, [250, 200, 180]],
        [0.1, [36, 28], 8, [200, 220, 240]],
        [0.15, [5, 50], 1, [9, 9, 9]],
    ],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("paint", [(255, 255, 255), (255, 180, 60)])
def test_overlay_lays_one_disc_after_another(make_pixels, run, dtype, paint):
    src = make_pixels((60, 50, 3), dtype)
    out = run(ops.RandomSunFlare(src_radius=45, src_color=paint), src, FLARE)
    wanted = in_255ths(src)
    painted = wanted.copy()
    for opacity, place, radius, shade in FLARE["circles"]:
        cv2.circle(painted, place, radius, shade, -1)
        wanted = opacity * painted + (1 - opacity) * wanted
    strength = 5 * (0.2 * 8 + 0.1 * 8 + 0.15) / 17
    opacities = np.linspace(0, strength, 4)[::-1] ** 3
    painted = wanted.copy()
    for radius, opacity in zip(np.linspace(1, 45, 4), opacities, strict=True):
        cv2.circle(painted, (20, 15), int(radius), paint, -1)
        wanted = opacity * painted + (1 - opacity) * wanted
    assert np.abs(in_255ths(out) - wanted).max() <= levels(dtype, 2.5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(40, 50), (210, 330)])  # smoothed as it is, and at a quarter of the size
def test_physics_based_screens_smoothed_light(make_pixels, run, dtype, size):
    src = make_pixels((*size, 3), dtype)
    op = ops.RandomSunFlare(src_radius=12, src_color=(255, 180, 60), method="physics_based")
    flare = cv2.circle(np.zeros((*size, 3), np.float32), (20, 15), 12, (255, 180, 60), -1)
    longer = max(size)
    for angle in np.radians([0, 45, 90, 135]):
        end = int(20 + np.cos(angle) * longer), int(15 + np.sin(angle) * longer)
        cv2.line(flare, (20, 15), end, (255, 180, 60), 2)
    for _, place, radius, shade in FLARE["circles"]:
        cv2.circle(flare, place, int(radius**0.33), shade, -1)
    flare = cv2.GaussianBlur(flare, (0, 0), 15)
    y, x = np.ogrid[: size[0], : size[1]]
    flare *= 1 - np.minimum(np.hypot(x - 20, y - 15) / (0.7 * longer), 1)[..., None].astype(np.float32)
    for channel, sigma in ((0, 3), (2, 5)):
        flare[..., channel] = cv2.GaussianBlur(flare[..., channel].copy(), (0, 0), sigma)
    wanted = 255 - (255 - in_255ths(src)) * (255 - flare) / 255
    assert flare.max() > 20
    error = np.abs(in_255ths(run(op, src, FLARE)) - wanted)
    # Coarser pixels end a pixel and a half before the outermost ones, beside which the sun of this test stands.
    assert (error <= 2).mean() > 0.995
    assert error.max() <= 6


def test_flares_lie_on_a_line_through_the_sun():
    op = ops.RandomSunFlare((0.2, 0.1, 0.6, 0.5), angle_range=0.125, num_flare_circles_range=(2, 5))
    drawn = draws(op)
    suns = np.array([one["center"] for one in drawn])
    assert suns.min(axis=0).tolist() == [60, 20]
    assert (suns.max(axis=0) <= (180, 100)).all()
    assert {len(one["circles"]) for one in drawn} == {2, 3, 4, 5}
    for one in drawn:
        for opacity, (x, y), radius, shade in one["circles"]:
            assert abs((x - one["center"][0]) - (y - one["center"][1])) <= 1  # an eighth of a turn: down to the right
            assert 0.05 <= opacity <= 0.2
            assert radius in {1, 8}
            assert 204 <= min(shade) <= max(shade) <= 255


def test_a_small_sun_has_no_rings(make_pixels, run):
    src = make_pixels((20, 20, 3))
    away = {"center": [10, 10], "circles": [[0.1, [500, 500], 1, [1, 2, 3]]]}
    np.testing.assert_array_equal(run(ops.RandomSunFlare(src_radius=9), src, away), src)


# ---- all of them

WRONG = [
    (ops.RandomRain, {"slant_range": (-30, 3)}),
    (ops.RandomRain, {"drop_length": 0}),
    (ops.RandomRain, {"drop_width": 0}),
    (ops.RandomRain, {"drop_width": 40000}),
    (ops.RandomRain, {"drop_color": (1, 2)}),
    (ops.RandomRain, {"drop_color": (1, 2, 300)}),
    (ops.RandomRain, {"drop_color": 200}),
    (ops.RandomRain, {"blur_value": 0.5}),
    (ops.RandomRain, {"brightness_coefficient": 0}),
    (ops.RandomRain, {"rain_type": "hail"}),
    (ops.RandomFog, {"alpha_coef": 1.1}),
    (ops.RandomFog, {"fog_coef_range": (0.5, 0.4)}),
    (ops.RandomSnow, {"brightness_coeff": 0}),
    (ops.RandomSnow, {"snow_point_range": (0.5, 1.5)}),
    (ops.RandomSnow, {"method": "melt"}),
    (ops.RandomShadow, {"shadow_roi": (0.5, 0, 0.4, 1)}),
    (ops.RandomShadow, {"shadow_roi": (0, 0, 1)}),
    (ops.RandomShadow, {"num_shadows_limit": 0}),
    (ops.RandomShadow, {"shadow_dimension": 2}),
    (ops.RandomShadow, {"shadow_intensity_range": 2}),
    (ops.RandomSunFlare, {"flare_roi": (0.5, 0, 0.5, 1)}),
    (ops.RandomSunFlare, {"src_radius": 1}),
    (ops.RandomSunFlare, {"src_color": (-1, 0, 0)}),
    (ops.RandomSunFlare, {"angle_range": 90}),
    (ops.RandomSunFlare, {"num_flare_circles_range": (0, 3)}),
    (ops.RandomSunFlare, {"method": "lens"}),
]


@pytest.mark.parametrize(("kind", "settings"), WRONG)
def test_what_a_field_cannot_be_is_named(kind, settings):
    ((name, value),) = settings.items()
    with pytest.raises(RecipeError) as caught:
        kind(**settings)
    assert caught.value.message.startswith(f"{kind.__name__}({name}={value!r}): expected")


@pytest.mark.parametrize("kind", [ops.RandomRain, ops.RandomFog, ops.RandomSnow, ops.RandomSunFlare])
def test_what_is_about_colours_refuses_other_channels(kind):
    with pytest.raises(OpError, match=f"{kind.__name__}: expected grey, RGB or RGBA .* got 7"):
        kind().out_frame(Frame(9, 9, 7, "uint8"), {})


def test_a_kept_draw_is_small():
    drawn = light.RandomSunFlare(num_flare_circles_range=10).sample_params(stream(1, "a", "b"), FRAME)
    assert len(str(drawn)) < 1000
