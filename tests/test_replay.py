import json
import shutil
import warnings

import cv2
import dask.bag as db
import numpy as np
import pytest

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.codecs import decode
from kaleidoscope.errors import DecodeError, KaleidoscopeError, RecipeError, StoreError
from kaleidoscope.record import ImageRecord

RECIPE = [
    ops.HorizontalFlip(),
    ops.Rotate(limit=15),
    ops.HueSaturationValue(),
    ops.RandomBrightnessContrast(),
    ops.GaussianBlur(),
    ops.GaussNoise(),
]
NAMES = ["cat.jpg", "sub/dog.png"]


def photograph(name, height=48, width=64):
    """Return a bundled photograph, small."""
    image = cv2.imread(str(ks.samples.folder() / name))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


class Written:
    """The 64 variants of two photographs, and the rows of their manifest."""

    def __init__(self, source, target):
        (source / "sub").mkdir(parents=True)
        cv2.imwrite(str(source / NAMES[0]), photograph("astronaut.jpg"))
        cv2.imwrite(str(source / NAMES[1]), photograph("chelsea.jpg", 50, 40))
        self.source, self.target = source, target
        report = ks.augment(source, RECIPE, target, seed=11, format="npy").compute()
        assert (report.outputs, report.failed) == (128, 0)
        self.frame = ks.read_manifest(target).compute()
        self.rows = [row for _, row in self.frame.iterrows()]

    def row(self, variant, key=NAMES[0]):
        (found,) = [row for row in self.rows if (row["key"], row["variant"]) == (key, variant)]
        return found

    def pixels(self, row):
        return np.load(self.target / row["output"])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    top = tmp_path_factory.mktemp("replay")
    return Written(top / "source", top / "target")


@pytest.fixture
def row(written):
    """The row that drew most: of every op."""
    return max((r for r in written.rows if r["key"] == NAMES[0]), key=lambda r: len(json.loads(r["params"])))


def test_replays_each_of_64_variants_of_two_photographs_bit_for_bit(written):
    assert len(written.rows) == 128
    for row in written.rows:
        replayed, stored = ks.replay(row), written.pixels(row)
        assert replayed.dtype == stored.dtype
        assert np.array_equal(replayed, stored), (row["key"], row["variant"])


def test_the_row_that_drew_most_has_all_six_ops(row):
    assert len(json.loads(row["params"])) == 6


def test_takes_what_was_drawn_from_the_row_and_draws_nothing(written, row):
    assert np.array_equal(ks.replay({**row, "seed": 12}), written.pixels(row))
    other = json.loads(row["params"])
    for step in other:
        step["params"] = {name: 0.5 * value for name, value in step["params"].items() if name == "angle"} or step[
            "params"
        ]
    assert other != json.loads(row["params"])
    assert not np.array_equal(ks.replay({**row, "params": json.dumps(other)}), written.pixels(row))


def test_takes_a_series_and_a_dict(written, row):
    expected = written.pixels(row)
    for given in (row, row.to_dict(), {name: row[name] for name in reversed(row.index)}):
        assert np.array_equal(ks.replay(given), expected)


def test_gives_pixels_of_ones_own(row):
    first = ks.replay(row)
    before = first.copy()
    second = ks.replay(row)
    second[:] = 0
    assert np.array_equal(first, before)


def test_leaves_given_pixels_alone(written):
    row = written.row("original")
    given, _ = decode((written.source / NAMES[0]).read_bytes(), key=NAMES[0])
    before = given.copy()
    ks.replay(row, source=given)[:] = 0
    assert np.array_equal(given, before)


class TestSource:
    @pytest.fixture
    def moved(self, written, tmp_path):
        """The dataset, at another place; where it was, there is nothing."""
        shutil.copytree(written.source, tmp_path / "elsewhere")
        return tmp_path / "elsewhere"

    @pytest.fixture
    def lost(self, row):
        """A row whose input is not where it was."""
        return {**row, "source": "/nowhere/at-all.jpg"}

    def test_is_needed_where_the_input_is_gone(self, lost):
        with pytest.raises(StoreError, match="nothing there"):
            ks.replay(lost)

    @pytest.mark.parametrize("how", ["path", "text", "text/", "url", "file"])
    def test_is_where_the_input_lies_now(self, written, row, lost, moved, how):
        source = {
            "path": moved,
            "text": str(moved),
            "text/": f"{moved}/",
            "url": f"file://{moved}",
            "file": moved / NAMES[0],
        }[how]
        assert np.array_equal(ks.replay(lost, source), written.pixels(row))

    def test_is_a_folder_for_keys_with_folders(self, written, moved):
        for row in written.rows[64:70]:
            assert np.array_equal(ks.replay({**row, "source": "/nowhere"}, source=moved), written.pixels(row))

    def test_is_its_pixels(self, written, row, lost):
        pixels, _ = decode((written.source / NAMES[0]).read_bytes(), key=NAMES[0])
        assert np.array_equal(ks.replay(lost, source=pixels), written.pixels(row))

    def test_is_a_record(self, written, row, lost):
        pixels, _ = decode((written.source / NAMES[0]).read_bytes(), key=NAMES[0])
        records = [ImageRecord(NAMES[0], pixels), ks.read_images(written.source).compute()[0]]
        for record in records:
            assert np.array_equal(ks.replay(lost, source=record), written.pixels(row))

    def test_is_grey_pixels_of_two_dimensions(self, tmp_path):
        grey = np.random.default_rng(0).integers(0, 256, (9, 7), np.uint8)
        ks.augment([("grey", grey)], ops.Rotate(), tmp_path, format="npy").compute()
        (row,) = [r for _, r in ks.read_manifest(tmp_path).compute().iterrows()]
        assert np.array_equal(ks.replay(row, source=grey), np.load(tmp_path / row["output"]))
        with pytest.raises(RecipeError, match="pass source="):
            ks.replay(row)

    def test_is_none_of_these(self, row):
        with pytest.raises(RecipeError, match="got int"):
            ks.replay(row, source=7)

    def test_is_in_memory_and_lists_and_bags_too(self, written, tmp_path):
        urls = [str(written.source / name) for name in NAMES]
        ks.augment(db.from_sequence(urls), [ops.Rotate()], tmp_path, format="npy").compute()
        for _, row in ks.read_manifest(tmp_path).compute().iterrows():
            assert np.array_equal(ks.replay(row), np.load(tmp_path / row["output"]))


class TestWarnings:
    def test_of_another_environment(self, written, row):
        with pytest.warns(UserWarning, match="made with numpy 1.0, and here is") as caught:
            pixels = ks.replay({**row, "environment": "numpy 1.0"})
        assert caught[0].filename == __file__
        assert np.array_equal(pixels, written.pixels(row))

    def test_of_another_size_of_the_input(self, written, row):
        with pytest.warns(UserWarning, match=r"cat\.jpg has \d+ bytes now and had 5 when"):
            ks.replay({**row, "source_size": 5})

    def test_of_an_input_that_changed(self, written, row, tmp_path):
        cv2.imwrite(str(tmp_path / NAMES[0]), photograph("coffee.jpg"))
        with pytest.warns(UserWarning, match="bytes now and had"):
            pixels = ks.replay(row, source=tmp_path)
        assert not np.array_equal(pixels, written.pixels(row))

    def test_of_pixels_that_changed(self, row):
        pixels, _ = decode((ks.samples.folder() / "coffee.jpg").read_bytes(), key="coffee.jpg")
        ks.replay(row, source=pixels)  # nothing is known of them to compare

    def test_not_of_a_size_that_nobody_knew(self, written, row):
        for unknown in (None, float("nan")):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                ks.replay({**row, "source_size": unknown})

    def test_not_of_a_size_that_the_manifest_does_not_know(self, tmp_path):
        (tmp_path / "in").mkdir()
        images = [tmp_path / "in/late.png"]  # it is not there yet
        ks.augment(images, ops.HorizontalFlip(), tmp_path / "out", format="npy").compute()
        cv2.imwrite(str(images[0]), photograph("coffee.jpg"))
        (row,) = [row for _, row in ks.read_manifest(tmp_path / "out").compute().iterrows()]
        assert row["status"] == "failed"
        params = '[{"node": "hflip", "op": {"HorizontalFlip": {}}, "params": {}}]'
        assert np.array_equal(ks.replay({**row, "params": params}), photograph("coffee.jpg")[:, ::-1, ::-1])


class TestErrors:
    @pytest.mark.parametrize("name", ["key", "seed", "params"])
    def test_of_a_row_without_it(self, row, name):
        with pytest.raises(RecipeError, match="expected a row of a manifest"):
            ks.replay({k: v for k, v in row.to_dict().items() if k != name})

    @pytest.mark.parametrize("name", ["source_size", "environment"])
    def test_of_a_row_without_what_only_warns(self, row, name):
        with pytest.raises(RecipeError, match="expected a row of a manifest"):
            ks.replay({k: v for k, v in row.to_dict().items() if k != name})

    @pytest.mark.parametrize(
        "params", ["", "no json", "7", '[{"node": "x"}]', '[{"op": {"Rotate": {}}}]', "null"], ids=repr
    )
    def test_of_params_that_are_none(self, row, params):
        with pytest.raises(RecipeError):
            ks.replay({**row, "params": params})

    def test_of_an_op_that_is_not_there(self, row):
        with pytest.raises(RecipeError, match="Did you mean 'Rotate'"):
            ks.replay({**row, "params": '[{"node": "rotat", "op": {"Rotat": {}}, "params": {}}]'})

    @pytest.mark.parametrize("row", [None, 7, "row", [], {}], ids=repr)
    def test_of_what_is_no_row(self, row):
        with pytest.raises(RecipeError, match="expected a row of a manifest"):
            ks.replay(row)

    def test_of_rows_that_failed(self, tmp_path):
        (tmp_path / "in").mkdir()
        (tmp_path / "in/broken.jpg").write_bytes(b"no image")
        ks.augment(tmp_path / "in", RECIPE[:2], tmp_path / "out", format="npy").compute()
        rows = [row for _, row in ks.read_manifest(tmp_path / "out").compute().iterrows()]
        assert [row["status"] for row in rows] == ["failed"] * 4
        for row in rows:
            with pytest.raises(DecodeError) as caught:
                ks.replay(row)
            assert caught.value.key == "broken.jpg"

    def test_of_an_op_that_failed(self, tmp_path):
        five = np.zeros((4, 4, 5), np.uint8)
        recipe = [ops.HorizontalFlip(), ops.HueSaturationValue()]
        report = ks.augment([("five", five)], recipe, tmp_path, format="npy").compute()
        assert report.failed == 1
        failed = [row for _, row in ks.read_manifest(tmp_path).compute().iterrows() if row["status"] == "failed"]
        assert len(failed) == 2
        for row in failed:
            with pytest.raises(KaleidoscopeError, match="channel"):
                ks.replay(row, source=five)

    def test_of_an_encoder_that_refused(self, tmp_path):
        """The op worked, only the format could not hold it: its pixels can be had."""
        deep = np.random.default_rng(0).integers(0, 65536, (6, 8, 3)).astype(np.uint16)
        ks.augment([("deep", deep)], ops.HorizontalFlip(), tmp_path, format="jpg").compute()
        (row,) = [row for _, row in ks.read_manifest(tmp_path).compute().iterrows()]
        assert row["status"] == "failed"
        assert np.array_equal(ks.replay(row, source=deep), deep[:, ::-1])


def test_replays_what_was_written_as_jpg(written, tmp_path):
    """What is replayed is the pixels before encoding."""
    ks.augment(written.source, RECIPE[:2], tmp_path, seed=11, format="jpg").compute()
    by_output = {(r["key"], r["variant"]): r for r in written.rows}
    for _, row in ks.read_manifest(tmp_path).compute().iterrows():
        assert np.array_equal(ks.replay(row), written.pixels(by_output[row["key"], row["variant"]]))


def test_replays_branches_repeats_and_records_with_a_history(tmp_path, written):
    recipe = ops.Sequential(
        ops.Branch(soft=ops.GaussianBlur(), turned=ops.Sequential(ops.Rotate(), ops.Rotate())),
        ops.Repeat(ops.GaussNoise(), 2),
    )
    ks.augment(written.source, recipe, tmp_path, seed=3, format="npy").compute()
    rows = [row for _, row in ks.read_manifest(tmp_path).compute().iterrows()]
    assert len(rows) == 8
    for row in rows:
        assert np.array_equal(ks.replay(row), np.load(tmp_path / row["output"])), row["variant"]
