import pickle

import numpy as np
import pytest

from kaleidoscope.errors import OpError
from kaleidoscope.record import MAX_VALUE, Frame, ImageRecord, Source, Step

SECRET = "hunter2"  # noqa: S105 - what must not be seen


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 3), (7, 2, 4), (2, 2, 12)])
def test_frame_says_what_numpy_says(shape, dtype):
    pixels = np.zeros(shape, dtype)
    frame = Frame.of(pixels)
    assert (frame.height, frame.width, frame.channels) == frame.shape == shape
    assert frame.dtype == dtype
    assert frame.nbytes == pixels.nbytes
    assert np.empty(frame.shape, frame.dtype).dtype == pixels.dtype


@pytest.mark.parametrize(("dtype", "most"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
def test_largest_value_of_each_type(dtype, most):
    assert Frame(1, 1, 1, dtype).max_value == MAX_VALUE[dtype] == most


def test_frame_reads_width_first():
    assert str(Frame(480, 640, 3, "uint8")) == "640x480x3 uint8"


def test_frames_that_are_equal_share_a_place_in_a_dict():
    assert {Frame(1, 2, 3, "uint8"): "pool"}[Frame.of(np.zeros((1, 2, 3), np.uint8))] == "pool"


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
        np.zeros((4, 4, 0), np.uint8),
        np.zeros((4, 4, 3), np.int16),
        np.zeros((4, 4, 3), np.float64),
        np.zeros((4, 4, 3), bool),
    ],
    ids=lambda pixels: f"{pixels.shape}-{pixels.dtype}",
)
def test_other_pixels_are_refused_with_what_came(pixels):
    with pytest.raises(OpError, match=r"expected pixels of shape \(H, W, C\)") as refused:
        Frame.of(pixels)
    assert str(pixels.shape) in refused.value.message
    assert refused.value.message.endswith(str(pixels.dtype))


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_pixels_of_the_other_byte_order_are_refused(dtype):
    # OpenCV reads their bytes the wrong way round without a word: 1 becomes 256.
    foreign = np.dtype(dtype).newbyteorder("S")
    with pytest.raises(OpError, match="expected pixels"):
        Frame.of(np.ones((4, 4, 3), foreign))


@pytest.mark.parametrize("pixels", [[[[1, 2, 3]]], "pixels", 7])
def test_what_is_no_array_is_refused(pixels):
    with pytest.raises(OpError, match="expected pixels"):
        Frame.of(pixels)


def test_repr_names_key_variant_and_frame_and_no_pixels():
    record = ImageRecord("cat/1.jpg", np.full((2, 3, 3), 213, np.uint8), variant="hflip")
    assert repr(record) == "ImageRecord('cat/1.jpg', 'hflip', 3x2x3 uint8)"


def test_repr_says_when_nothing_was_read_yet():
    assert repr(ImageRecord("a.jpg")) == "ImageRecord('a.jpg', 'original', no pixels yet)"


def test_repr_of_a_failure_says_why():
    failed = ImageRecord("a.jpg", error=OpError("too dark", key="a.jpg", step="hflip"))
    assert "too dark" in repr(failed)
    assert "no pixels yet" not in repr(failed)


@pytest.mark.parametrize("pixels", [np.zeros((2, 3)), np.zeros((2, 3, 3), np.int64)], ids=["2-d", "int64"])
def test_repr_of_pixels_that_are_none_of_ours_does_not_raise(pixels):
    # A user's function in a bag may have made them; whoever looks for the mistake prints the record first.
    assert repr(ImageRecord("a.jpg", pixels)).startswith("ImageRecord('a.jpg'")


@pytest.mark.parametrize("show", [repr, str, "{!r}".format, "{}".format])
def test_credentials_are_never_shown(show):
    source = Source("s3://bucket/a.jpg", 7, "etag", {"key": "me", "secret": SECRET})
    assert SECRET not in show(source)
    assert SECRET not in show(ImageRecord("a.jpg", source=source))
    signed = Source(f"https://host/a.jpg?X-Amz-Signature={SECRET}")
    assert SECRET not in show(signed)
    assert "https://host/a.jpg" in show(signed)


def test_credentials_arrive_where_they_are_needed():
    source = Source("s3://bucket/a.jpg", storage_options={"secret": SECRET})
    assert pickle.loads(pickle.dumps(source)).storage_options == {"secret": SECRET}


def test_a_record_travels_whole():
    step = Step("hflip", {"HorizontalFlip": {}}, {}, "{}")
    pixels = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    source, error = Source("/a.jpg", 3, "e"), OpError("no", key="a", step="b")
    record = ImageRecord("a.jpg", pixels, metadata={"offset": 1}, lineage=(step,), source=source, error=error)
    arrived = pickle.loads(pickle.dumps(record))
    np.testing.assert_array_equal(arrived.pixels, pixels)
    assert (arrived.key, arrived.metadata, arrived.lineage) == ("a.jpg", {"offset": 1}, (step,))
    assert (arrived.source, str(arrived.error)) == (source, "a: b: no")


def test_records_compare_by_identity():
    # By value it would compare pixels, whose truth is ambiguous, wherever a list of records is searched.
    one, other = (ImageRecord("a.jpg", np.zeros((1, 2, 3), np.uint8)) for _ in range(2))
    assert [other, one].index(one) == 1
    assert one != other


def test_records_do_not_share_their_metadata():
    one, other = ImageRecord("a"), ImageRecord("b")
    one.metadata["offset"] = 1
    assert other.metadata == {}
