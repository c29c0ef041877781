"""JPEGs decoded at 1/2, 1/4 and 1/8, against the same decoded in full and averaged."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from kaleidoscope import samples
from kaleidoscope.codecs import decode, look
from kaleidoscope.errors import DecodeError
from kaleidoscope.record import Frame

PHOTO = Image.open(samples.folder() / "astronaut.jpg").resize((160, 112))


def saved(image, form="JPEG", **options):
    target = io.BytesIO()
    image.save(target, form, **options)
    return target.getvalue()


def turned(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def averaged(pixels, reduction):
    height, width, channels = pixels.shape
    parts = pixels.reshape(height // reduction, reduction, width // reduction, reduction, channels)
    return parts.astype(float).mean(axis=(1, 3))


FLAVOURS = {
    "4:4:4": saved(PHOTO, quality=92, subsampling=0),
    "4:2:2": saved(PHOTO, quality=92, subsampling=1),
    "4:2:0": saved(PHOTO, quality=92, subsampling=2),
    "progressive": saved(PHOTO, quality=92, progressive=True),
    "rgb": saved(PHOTO, quality=92, keep_rgb=True),
    "grey": saved(PHOTO.convert("L"), quality=92),
}


def off(small, whole, reduction):
    """Return how far from the mean of what they cover pixels are on average: all together, and their brightness."""
    error = small - averaged(whole, reduction)
    weights = [0.299, 0.587, 0.114] if error.shape[2] == 3 else [1]
    return np.abs(error).mean(), np.abs(error @ weights).mean()


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_is_nearly_the_mean_of_what_each_pixel_covers(flavour, reduction):
    whole, metadata = decode(FLAVOURS[flavour], key="k")
    small, small_metadata = decode(FLAVOURS[flavour], key="k", reduction=reduction)
    assert small.shape == (112 // reduction, 160 // reduction, whole.shape[2])
    assert (small.dtype, small_metadata) == (whole.dtype, metadata)
    colours, brightness = off(small, whole, reduction)
    assert brightness < 0.6
    # libjpeg leaves colours twice as far apart in one direction where they are so in the file: see Resize.
    assert colours < (4.5 if flavour == "4:2:2" else 1.5)
    # Also where they lie: moved by a pixel they would be others.
    assert off(small[:, 1:], np.roll(whole, reduction, axis=1)[:, reduction:], reduction)[1] > 4


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_is_set_upright(orientation, reduction):
    data = saved(PHOTO, quality=92, exif=turned(orientation))
    whole, small = decode(data, key="k")[0], decode(data, key="k", reduction=reduction)[0]
    frame, reductions, metadata = look(data, key="k")
    assert (frame, reductions, metadata) == (Frame.of(whole), (8, 4, 2), {"format": "jpg"})
    assert off(small, whole, reduction)[0] < 1.5


@pytest.mark.parametrize(
    ("size", "reductions"), [((160, 112), (8, 4, 2)), ((164, 112), (4, 2)), ((160, 110), (2,)), ((6, 2), (2,))]
)
def test_goes_as_far_as_both_sides_can_be_divided(size, reductions):
    data = saved(PHOTO.resize(size))
    frame, known, _ = look(data, key="k")
    assert (frame.width, frame.height, known) == (*size, reductions)
    for reduction in {2, 4, 8} - set(reductions):
        with pytest.raises(DecodeError, match=rf"^k: decode: .* has no 1/{reduction}"):
            decode(data, key="k", reduction=reduction)


def far_colours():
    """Return a JPEG of which colours lie four times as far apart across."""
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411]
    return cv2.imencode(".jpg", np.asarray(PHOTO), options)[1].tobytes()


@pytest.mark.parametrize(
    "data",
    [
        saved(PHOTO.resize((161, 112))),
        saved(PHOTO.resize((160, 111))),
        saved(PHOTO.convert("CMYK")),
        far_colours(),
        saved(PHOTO, "PNG"),
        saved(PHOTO, "TIFF"),
        saved(PHOTO, "WEBP"),
    ],
    ids=["odd-width", "odd-height", "cmyk", "4:1:1", "png", "tiff", "webp"],
)
def test_others_are_decoded_in_full_only(data):
    assert look(data, key="k") is None
    assert decode(data, key="k")[0].shape[2] == 3
    for reduction in (2, 3, 8):
        with pytest.raises(DecodeError, match=rf"^k: decode: .* has no 1/{reduction}"):
            decode(data, key="k", reduction=reduction)


def test_the_limit_is_that_of_the_whole_image():
    data = FLAVOURS["4:2:0"]
    for too_large in (lambda: look(data, key="k", max_pixels=1000), lambda: decode(data, key="k", max_pixels=1000)):
        with pytest.raises(DecodeError, match=r"^k: decode: 160x112 is 17,920 pixels, over the limit of 1,000"):
            too_large()
    with pytest.raises(DecodeError, match="over the limit"):
        decode(data, key="k", max_pixels=1000, reduction=8)


def test_looking_at_what_is_no_image_says_so():
    with pytest.raises(DecodeError, match=r"^k: decode: expected JPEG"):
        look(b"no image", key="k")


@pytest.mark.parametrize("reduction", [1, 8])
def test_one_that_is_cut_short_is_refused(reduction):
    data = FLAVOURS["4:2:0"]
    with pytest.raises(DecodeError, match=r"^k: decode: cut short or corrupt"):
        decode(data[: len(data) // 2], key="k", reduction=reduction)


def test_opencvs_flag_asks_for_colour_in_our_order():
    data = FLAVOURS["4:4:4"]
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_4)
    np.testing.assert_array_equal(decode(data, key="k", reduction=4)[0], bgr[..., ::-1])
