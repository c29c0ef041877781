"""What encoders hold, refuse, and write, byte for byte."""

import io
import json
import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from kaleidoscope.codecs import Encoder, decode
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.record import Frame

FORMATS = ("jpg", "png", "webp", "tiff", "npy")
DTYPES = ("uint8", "uint16", "float32")
CHANNELS = (1, 2, 3, 4, 5)
HELD = {
    "jpg": {("uint8", 1), ("uint8", 3)},
    "png": {(dtype, c) for dtype in ("uint8", "uint16") for c in (1, 3, 4)},
    "webp": {("uint8", 3), ("uint8", 4)},
    "tiff": {(dtype, c) for dtype in DTYPES for c in (1, 3, 4)},
    "npy": {(dtype, c) for dtype in DTYPES for c in CHANNELS},
}
LOSSLESS = [(name, dtype, c) for name in ("png", "tiff", "npy") for dtype, c in sorted(HELD[name])]


def some_pixels(dtype: str, channels: int, height: int = 24, width: int = 40) -> np.ndarray:
    """Return a gradient that differs in every channel, so that a swap or a lost channel shows."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [(x * (c + 1) + y * (channels - c)) / (width * channels + height * channels) for c in range(channels)]
    unit = np.stack(planes, axis=2)
    return unit.astype(dtype) if dtype == "float32" else (unit * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize(("name", "dtype", "channels"), LOSSLESS)
def test_lossless_formats_return_every_pixel(name, dtype, channels):
    values = st.floats(0, 1, width=32) if dtype == "float32" else None
    shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12).map(lambda shape: (*shape, channels))

    @given(hnp.arrays(dtype, shapes, elements=values))
    def round_trip(pixels):
        back, metadata = decode(Encoder(name).encode(pixels), key="k")
        assert back.dtype == pixels.dtype
        np.testing.assert_array_equal(back, pixels)
        assert metadata == {"format": name}

    round_trip()


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_stays_close_to_its_source(channels):
    pixels = some_pixels("uint8", channels)
    back, _ = decode(Encoder("jpg", quality=95).encode(pixels), key="k")
    assert back.shape == pixels.shape
    assert np.abs(back.astype(int) - pixels).mean() < 2


@pytest.mark.parametrize("channels", [3, 4])
def test_webp_stays_close_to_its_source(channels):
    pixels = some_pixels("uint8", channels)
    back, _ = decode(Encoder("webp", quality=95).encode(pixels), key="k")
    assert back.shape == pixels.shape
    assert np.abs(back.astype(int) - pixels).mean() < 4


def test_webp_of_quality_100_is_lossy_not_lossless():
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    data = Encoder("webp", quality=100).encode(noise)
    assert data[12:16] == b"VP8 "
    assert (decode(data, key="k")[0] != noise).any()


@pytest.mark.parametrize(("name", "dtype"), [(n, d) for n in FORMATS[:4] for d in ("uint8",)])
def test_channels_are_red_green_blue_for_other_readers(name, dtype):
    red = np.zeros((16, 16, 3), dtype)
    red[..., 0] = 255
    seen = np.asarray(Image.open(io.BytesIO(Encoder(name).encode(red))).convert("RGB"))
    assert seen[8, 8, 0] > 240
    assert seen[8, 8, 1:].max() < 15


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_what_a_format_cannot_hold_is_refused_never_converted(name, dtype, channels):
    pixels = some_pixels(dtype, channels)
    encoder = Encoder(name)
    if (dtype, channels) in HELD[name]:
        encoder.check(Frame.of(pixels))
        assert encoder.encode(pixels)
        return
    with pytest.raises(RecipeError, match=f"got 40x24x{channels} {dtype}.*npy"):
        encoder.check(Frame.of(pixels))
    with pytest.raises(RecipeError):
        encoder.encode(pixels)


@pytest.mark.parametrize(("name", "longest"), [("jpg", 65_500), ("webp", 16_383)])
def test_the_longest_side_is_written_and_one_more_is_refused(name, longest):
    encoder = Encoder(name)
    assert encoder.encode(np.zeros((1, longest, 3), np.uint8))
    with pytest.raises(RecipeError, match=f"at most {longest} pixels"):
        encoder.encode(np.zeros((longest + 1, 1, 3), np.uint8))


@pytest.mark.parametrize("pixels", [np.zeros((4, 4)), np.zeros((4, 0, 3), np.uint8), np.zeros((4, 4, 3), np.int64)])
def test_what_is_no_frame_is_an_op_error(pixels):
    with pytest.raises(OpError, match=r"shape \(H, W, C\)"):
        Encoder("npy").encode(pixels)


def test_a_failing_encoder_is_an_op_error(monkeypatch):
    def fail(*_):
        raise cv2.error("no room")

    monkeypatch.setattr(cv2, "imencode", fail)
    with pytest.raises(OpError, match="no room") as caught:
        Encoder("tiff").encode(some_pixels("uint8", 3))
    assert caught.value.step == "encode"
    monkeypatch.setattr(cv2, "imencode", lambda *_: (False, None))
    with pytest.raises(OpError, match="gave no bytes"):
        Encoder("tiff").encode(some_pixels("uint8", 3))


@pytest.mark.parametrize(("name", "dtype", "channels"), [(n, d, c) for n in FORMATS for d, c in sorted(HELD[n])])
def test_bytes_depend_on_the_pixels_alone(name, dtype, channels):
    pixels = some_pixels(dtype, channels)
    encoder = Encoder(name)
    first = encoder.encode(pixels)
    assert encoder.encode(pixels) == first
    assert encoder.encode(pixels, np.full_like(pixels, 1)) == first, "a scratch buffer leaves no trace"
    assert encoder.encode(pixels, np.empty((2, 2, channels), dtype)) == first, "one that does not fit is not used"
    assert encoder.encode(pixels, np.empty(pixels.shape, "float64")) == first, "nor one of another type"
    assert encoder.encode(pixels, np.empty_like(np.repeat(pixels, 2, axis=1))[:, ::2]) == first, "nor with gaps"
    locked = np.zeros_like(pixels)
    locked.flags.writeable = False
    assert encoder.encode(pixels, locked) == first, "nor a read-only one"
    assert encoder.encode(np.asfortranarray(pixels)) == first, "the order in memory does not matter"
    assert encoder.encode(np.repeat(pixels, 2, axis=1)[:, ::2]) == first, "strides do not matter"
    assert encoder.encode(pixels[::-1, ::-1].copy()[::-1, ::-1]) == first, "negative strides neither"


@pytest.mark.parametrize("name", FORMATS)
def test_the_source_is_left_alone(name):
    pixels = some_pixels("uint8", 3)
    before = pixels.copy()
    Encoder(name).encode(pixels, pixels)
    np.testing.assert_array_equal(pixels, before)
    pixels.flags.writeable = False
    Encoder(name).encode(pixels, np.empty_like(pixels))
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize(("channels", "apart", "needs"), [(3, True, True), (1, True, True), (3, False, False)])
def test_scratch_takes_what_lies_apart(channels, apart, needs):
    whole = some_pixels("uint8", channels)
    pixels = whole[2:-3, 1:-4] if apart else whole
    scratch = np.zeros(pixels.shape, np.uint8)
    encoder = Encoder("jpg")
    assert encoder.needs_scratch(pixels) == needs
    assert encoder.encode(pixels, scratch) == encoder.encode(pixels.copy())
    assert np.array_equal(scratch, pixels if needs else np.zeros_like(pixels))


def test_scratch_takes_the_swapped_channels():
    pixels = some_pixels("uint8", 3)
    scratch = np.zeros_like(pixels)
    Encoder("tiff").encode(pixels, scratch)
    np.testing.assert_array_equal(scratch, pixels[..., ::-1])


@pytest.mark.parametrize("name", ["jpg", "webp"])
def test_quality_sets_the_size(name):
    photo = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    sizes = [len(Encoder(name, quality=quality).encode(photo)) for quality in (10, 50, 95)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2] / 2


@pytest.mark.parametrize(("given_name", "name"), [("jpeg", "jpg"), ("JPG", "jpg"), (".png", "png"), ("tif", "tiff")])
def test_other_spellings_are_the_same_encoder(given_name, name):
    assert Encoder(given_name) == Encoder(name)
    assert Encoder(given_name).extension == name


@pytest.mark.parametrize(("wrong", "hint"), [("jpgg", "'jpg'"), ("wepb", "'webp'"), (7, "got 7"), (None, "got None")])
def test_an_unknown_format_is_refused_with_a_guess(wrong, hint):
    with pytest.raises(RecipeError, match=hint):
        Encoder(wrong)


@pytest.mark.parametrize("quality", [0, 101, -1, 95.0, "95", True, None])
def test_another_quality_is_refused(quality):
    with pytest.raises(RecipeError, match="quality from 1 to 100"):
        Encoder("jpg", quality=quality)


def test_a_numpy_quality_is_a_plain_number():
    encoder = Encoder("jpg", quality=np.int64(80))
    assert json.dumps(encoder.spec()) == '{"format": "jpg", "quality": 80}'


def test_spec_tells_apart_only_what_gives_other_bytes():
    assert Encoder("jpg", 80).spec() != Encoder("jpg", 81).spec()
    assert Encoder("png", 80).spec() == Encoder("png", 81).spec()
    assert Encoder("png").spec() != Encoder("tiff").spec()


@pytest.mark.parametrize("name", FORMATS)
def test_survives_pickling(name):
    encoder = Encoder(name, quality=50)
    assert pickle.loads(pickle.dumps(encoder)) == encoder
