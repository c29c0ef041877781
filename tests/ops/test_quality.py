import io

import cv2
import numpy as np
import pytest
from PIL import Image

from kaleidoscope import ops
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.record import MAX_VALUE, Frame

DTYPES = ["uint8", "uint16", "float32"]


@pytest.fixture
def part(photograph):
    """Return a piece of a photograph of odd size."""
    return np.ascontiguousarray(photograph[:133, :201])


def by_pillow(pixels, kind, quality):
    """Return what another encoder and decoder make of grey or RGB pixels."""
    target = io.BytesIO()
    more = {"subsampling": "4:2:0"} if kind == "jpeg" else {"method": 4}
    Image.fromarray(pixels.squeeze()).save(target, kind, quality=quality, **more)
    made = np.asarray(Image.open(target).convert("L" if pixels.shape[2] == 1 else "RGB"))
    return made.reshape(pixels.shape)


def apart(a, b):
    return np.abs(a.astype(float) - b)


# ---- compression


@pytest.mark.parametrize("quality", [5, 40, 90, 100])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_compression_is_that_of_a_file(part, run, kind, channels, quality):
    src = part[..., :channels].copy()
    made = run(ops.ImageCompression(kind), src, {"quality": quality})
    wanted = by_pillow(src, kind, quality)
    assert apart(made, wanted).mean() < (0.01 if kind == "jpeg" else 1)
    assert np.mean(apart(made, wanted) > 2) < (0.001 if kind == "jpeg" else 0.05)
    assert not np.array_equal(made, src)


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_compression_loses_more_the_lower_the_quality(part, run, kind):
    losses = [apart(run(ops.ImageCompression(kind), part, {"quality": q}), part).mean() for q in (5, 30, 60, 90)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 3 * losses[-1]


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_other_dtypes_go_by_way_of_uint8(part, run, dtype):
    scale = MAX_VALUE[dtype] / 255
    src = (part * scale).astype(dtype)
    made = run(ops.ImageCompression(), src, {"quality": 70})
    wanted = run(ops.ImageCompression(), part, {"quality": 70}) * scale
    np.testing.assert_allclose(made, wanted, rtol=1e-6)


def test_uint16_is_rounded_to_the_nearest_level(run):
    src = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    for value in (0, 128, 129, 385, 386, 65406, 65407, 65535):
        flat = np.full((16, 16, 1), value, np.uint16)
        made = run(ops.ImageCompression(quality_range=100), flat, {"quality": 100})
        assert np.unique(made).tolist() == [round(value / 257) * 257], value
    assert apart(run(ops.ImageCompression(), src, {"quality": 100}), src).max() < 4 * 257


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_channels_are_encoded_as_rgb_and_the_others_as_grey(make_pixels, run, kind):
    src = make_pixels((40, 33, 7))
    op = ops.ImageCompression(kind)
    made = run(op, src, {"quality": 50})
    parts = [
        run(op, np.ascontiguousarray(src[..., part]), {"quality": 50}) for part in (np.s_[:3], np.s_[3:4], np.s_[6:])
    ]
    np.testing.assert_array_equal(made[..., [0, 1, 2, 3, 6]], np.concatenate(parts, axis=2))
    two = run(op, src[..., 3:5].copy(), {"quality": 50})
    np.testing.assert_array_equal(two, made[..., 3:5])


def test_qualities_are_drawn_ends_included():
    rng = np.random.default_rng(0)
    op = ops.ImageCompression(quality_range=(40, 44))
    assert {op.sample_params(rng, Frame(8, 8, 3, "uint8"))["quality"] for _ in range(100)} == {40, 41, 42, 43, 44}


def test_images_that_no_file_holds_are_refused():
    with pytest.raises(OpError, match="webp has at most 16383 pixels a side, got 16384x5x3 uint8"):
        ops.ImageCompression("webp").out_frame(Frame(5, 16384, 3, "uint8"), {})
    frame = Frame(65500, 1, 1, "uint8")
    assert ops.ImageCompression().out_frame(frame, {}) == frame
    with pytest.raises(OpError, match="jpeg has at most 65500"):
        ops.ImageCompression().out_frame(Frame(65501, 1, 1, "uint8"), {})


@pytest.mark.parametrize(("kind", "longest"), [("jpeg", 65500), ("webp", 16383)])
def test_images_as_long_as_a_file_may_be_are_encoded(make_pixels, run, kind, longest):
    src = make_pixels((1, longest, 3))
    assert apart(run(ops.ImageCompression(kind), src, {"quality": 90}), src).mean() < 80


# ---- downscale


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nearest_takes_the_pixel_in_the_middle_of_a_block(make_pixels, run, dtype, channels):
    src = make_pixels((24, 36, channels), dtype)
    made = run(ops.Downscale(), src, {"scale": 1 / 3})
    np.testing.assert_array_equal(made, src[1::3, 1::3].repeat(3, axis=0).repeat(3, axis=1))


@pytest.mark.parametrize("scale", [0.13, 0.25, 0.4, 0.77, 0.99])
def test_nearest_is_two_nearest_neighbours(make_pixels, run, scale):
    height, width = 53, 71
    src = make_pixels((height, width, 3))
    small = cv2.resize(src, (round(scale * width), round(scale * height)), interpolation=cv2.INTER_NEAREST_EXACT)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    np.testing.assert_array_equal(run(ops.Downscale(), src, {"scale": scale}), large)


@pytest.mark.parametrize("dtype", DTYPES)
def test_area_is_the_mean_of_a_block(make_pixels, run, dtype):
    src = make_pixels((24, 36, 3), dtype)
    made = run(ops.Downscale(interpolation_pair=("area", "nearest")), src, {"scale": 0.25})
    means = src.reshape(6, 4, 9, 4, 3).astype(float).mean(axis=(1, 3)).repeat(4, axis=0).repeat(4, axis=1)
    np.testing.assert_allclose(made, means, atol=0.51 if dtype != "float32" else 1e-6)


def test_a_line_stays_where_it_was(run):
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[np.newaxis, :, np.newaxis].repeat(8, axis=0)
    for pair in (("area", "linear"), ("linear", "cubic"), ("area", "nearest")):
        made = run(ops.Downscale(interpolation_pair=pair), ramp, {"scale": 0.25})
        assert (made - ramp)[:, 8:-8].mean() == pytest.approx(0, abs=1e-3), pair


def test_an_image_keeps_a_pixel(make_pixels, run):
    src = make_pixels((3, 2, 3))
    made = run(ops.Downscale(), src, {"scale": 0.1})
    assert len(np.unique(made.reshape(-1, 3), axis=0)) == 1


def test_interpolations_are_given_as_albumentations_takes_them():
    assert ops.Downscale(interpolation_pair={"downscale": 3, "upscale": 1}).interpolation_pair == ("area", "linear")
    assert ops.Downscale(interpolation_pair={"upscale": "cubic"}).interpolation_pair == ("nearest", "cubic")
    assert ops.Downscale(interpolation_pair=[0, "lanczos4"]) == ops.Downscale(
        interpolation_pair=("nearest", "lanczos4")
    )


def test_scales_are_drawn_from_their_range():
    rng = np.random.default_rng(0)
    draws = [ops.Downscale((0.2, 0.6)).sample_params(rng, Frame(8, 8, 3, "uint8"))["scale"] for _ in range(500)]
    assert 0.2 <= min(draws) < 0.21
    assert 0.59 < max(draws) <= 0.6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ops.ImageCompression("png"), r"compression_type='png'\): expected one of 'jpeg', 'webp'"),
        (lambda: ops.ImageCompression(quality_range=(0, 50)), r"a quality from 1 to 100.*got \(0, 50\)"),
        (lambda: ops.ImageCompression(quality_range=50.5), r"got 50.5"),
        (lambda: ops.Downscale(0), r"scale_range=0\): expected fractions of the size above 0"),
        (lambda: ops.Downscale((0.5, 1.5)), r"at most 1"),
        (lambda: ops.Downscale(interpolation_pair="area"), r"expected a mapping with the keys downscale and upscale"),
        (lambda: ops.Downscale(interpolation_pair={"down": "area"}), r"got \{'down': 'area'\}"),
        (lambda: ops.Downscale(interpolation_pair=("area", "bilinear")), r"one of nearest, linear"),
        (lambda: ops.Downscale(interpolation_pair=("area", True)), r"got \('area', True\)"),
        (lambda: ops.Downscale(interpolation_pair=("area", ["linear"])), r"got \('area', \['linear'\]\)"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(RecipeError, match=message):
        make()


def test_they_travel(check_travels):
    check_travels(ops.ImageCompression("webp", 30))
    check_travels(ops.Downscale((0.2, 0.4), {"downscale": "area", "upscale": 1}))
