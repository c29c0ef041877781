import io
import pickle
from collections import Counter

import fsspec
import numpy as np
import pytest

from kaleidoscope.codecs import Encoder
from kaleidoscope.errors import DecodeError, OpError, RecipeError, StoreError
from kaleidoscope.read import as_record, load, pixels_of
from kaleidoscope.record import ImageRecord, Source

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
PNG = Encoder("png").encode(PIXELS)


@pytest.fixture
def png(tmp_path):
    path = tmp_path / "a b%20#.png"
    path.write_bytes(PNG)
    return path


@pytest.fixture
def far_png():
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/test_read/a b%20#.png", PNG)
    yield "memory://test_read/a b%20#.png"
    fs.rm("/test_read", recursive=True)


class TestLoad:
    def test_reads_and_decodes(self, png):
        counts = Counter()
        record, picture = load(ImageRecord("a.png", source=Source(str(png))), counts)
        np.testing.assert_array_equal(picture.at(1), PIXELS)
        assert counts == {"decode": 1}
        assert (record.key, record.variant, record.error) == ("a.png", "original", None)

    def test_reads_from_elsewhere(self, far_png):
        np.testing.assert_array_equal(load(ImageRecord("a.png", source=Source(far_png)))[1].at(1), PIXELS)

    def test_leaves_the_record_it_was_given(self, png):
        record = ImageRecord("a.png", source=Source(str(png)))
        load(record)
        assert (record.pixels, record.metadata, record.source.size) == (None, {}, None)

    def test_notes_the_size_that_the_listing_did_not_know(self, png):
        assert load(ImageRecord("a", source=Source(str(png))))[0].source == Source(str(png), len(PNG))
        listed = Source(str(png), 7, "etag")
        assert load(ImageRecord("a", source=listed))[0].source == listed

    def test_keeps_what_was_known_before_it_read(self, png):
        record, _ = load(ImageRecord("a", metadata={"camera": "left"}, source=Source(str(png))))
        assert record.metadata["camera"] == "left"

    def test_gives_a_record_that_has_pixels_back_as_it_is(self):
        record, counts = ImageRecord("a", PIXELS, source=Source("/nothing")), Counter()
        loaded, picture = load(record, counts)
        assert loaded is record
        assert picture.at(1) is PIXELS
        assert counts == {}

    def test_of_what_is_not_there_says_key_and_step(self, tmp_path):
        with pytest.raises(StoreError, match=r"^a\.png: read: cannot read .*no\.png: there is nothing there"):
            load(ImageRecord("a.png", source=Source(str(tmp_path / "no.png"))))

    @pytest.mark.parametrize("data", [b"", b"no image", PNG[: len(PNG) // 2]], ids=["empty", "text", "half"])
    def test_of_what_is_no_image_says_key_and_step(self, tmp_path, data):
        (tmp_path / "a.png").write_bytes(data)
        counts = Counter()
        with pytest.raises(DecodeError, match=r"^a\.png: decode: ") as failed:
            load(ImageRecord("a.png", source=Source(str(tmp_path / "a.png"))), counts)
        assert str(pickle.loads(pickle.dumps(failed.value))) == str(failed.value)
        assert counts == {}

    def test_of_nothing_says_so(self):
        with pytest.raises(OpError, match=r"^a: read: this record has neither pixels nor a source"):
            load(ImageRecord("a"))

    def test_passes_the_storage_options_on(self):
        asked = []
        record = ImageRecord("a", source=Source("s3://bucket/a.png", storage_options={"anon": True}))
        load(record, read=lambda *args: asked.append(args) or PNG)
        assert asked == [("s3://bucket/a.png", {"anon": True})]


class TestPixels:
    def test_are_those_of_the_record(self):
        assert pixels_of(ImageRecord("a", PIXELS)) is PIXELS

    def test_that_are_missing_are_an_error(self):
        with pytest.raises(OpError, match=r"^a: read: this record has no pixels"):
            pixels_of(ImageRecord("a"))

    @pytest.mark.parametrize(
        "pixels",
        [PIXELS[..., 0], PIXELS.astype(float), PIXELS[:0], PIXELS.tolist(), io.BytesIO(PNG), "pixels"],
        ids=["2-d", "float64", "empty", "list", "file", "text"],
    )
    def test_that_a_users_function_made_wrongly_are_an_error_with_the_key(self, pixels):
        # From `bag.map(own_function)`: whatever comes out has to become a failed row, not the end of the run.
        with pytest.raises(OpError, match=r"^a: read: expected pixels"):
            pixels_of(ImageRecord("a", pixels))


class TestAsRecord:
    def test_takes_a_record_as_it_is(self):
        record = ImageRecord("a", PIXELS)
        assert as_record(record, None, {}) is record

    def test_takes_a_path(self, png):
        for item in (png, str(png)):
            record = as_record(item, str(png.parent), {})
            assert (record.key, record.source.url, record.source.size) == (png.name, str(png), len(PNG))
            np.testing.assert_array_equal(load(record)[1].at(1), PIXELS)

    def test_takes_a_url(self, far_png):
        record = as_record(far_png, None, {"option": 1})
        assert record.key == "test_read/a b%20#.png"
        assert record.source.storage_options == {"option": 1}
        np.testing.assert_array_equal(load(record)[1].at(1), PIXELS)

    def test_takes_a_key_and_pixels(self):
        record = as_record(("a", PIXELS), None, {})
        assert record.key == "a"
        assert record.pixels is PIXELS

    def test_takes_grey_pixels_without_their_axis(self):
        assert as_record(("a", PIXELS[..., 0]), None, {}).pixels.shape == (5, 7, 1)

    def test_refuses_pixels_without_a_key(self):
        with pytest.raises(RecipeError, match="have no keys"):
            as_record(PIXELS, None, {})

    @pytest.mark.parametrize("item", [7, None, ("a", "b"), (1, PIXELS), ("a", PIXELS, 1), {"key": "a"}])
    def test_refuses_anything_else(self, item):
        with pytest.raises(RecipeError, match=r"expected a URL, an ImageRecord or a \(key, array\) pair"):
            as_record(item, None, {})
