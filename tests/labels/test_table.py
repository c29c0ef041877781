"""Labels from a table, a mapping or a function."""

import sys

import cv2
import dask
import numpy as np
import pandas as pd
import pytest

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.errors import RecipeError
from kaleidoscope.labels.table import Several, Table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        cv2.imwrite(str(folder / name), np.full((40, 60, 3), 90, np.uint8))
    return folder


def table(**columns):
    return pd.DataFrame({"key": ["a.jpg", "b.jpg", "a.jpg"], **columns})


CORNERS = {"xmin": [1, 2, 3], "ymin": [4, 5, 6], "xmax": [11, 12, 13], "ymax": [14, 15, 16]}


def targets_of(dataset):
    return {record.key: record.targets for record in ks.augment(dataset, ops.Sequential()).compute()}


class TestTable:
    def test_has_a_row_for_each_object(self, folder):
        rows = table(**CORNERS, **{"class": ["cat", "dog", None], "id": [7, None, 9.0]})
        found = targets_of(ks.read_images(folder).with_targets(rows))
        assert found["a.jpg"].objects() == [
            {"class": "cat", "id": 7, "box": [1.0, 4.0, 11.0, 14.0], "visible": 1.0},
            {"id": 9, "box": [3.0, 6.0, 13.0, 16.0], "visible": 1.0},
        ]
        assert found["b.jpg"].classes == ("dog",)
        assert len(found["c.jpg"]) == 0, "an image without a row is one without objects"

    def test_may_have_keys_as_its_index_and_boxes_as_lists(self, folder):
        rows = table(box=[(1, 4, 11, 14), [2, 5, 12, 15], None], keypoints=[None, None, [(5, 5)]]).set_index("key")
        found = targets_of(ks.read_images(folder).with_targets(rows))
        assert found["a.jpg"].boxes[0].tolist() == [1, 4, 11, 14]
        assert np.isnan(found["a.jpg"].boxes[1]).all()
        assert found["a.jpg"].keypoints[1].tolist() == [[5, 5, 2]]

    def test_may_have_polygons(self, folder):
        rows = pd.DataFrame({"key": ["a.jpg"], "polygon": [[(1, 1), (5, 1), (5, 4)]]})
        assert targets_of(ks.read_images(folder).with_targets(rows))["a.jpg"].boxes.tolist() == [[1, 1, 5, 4]]

    def test_may_be_a_dask_dataframe(self, folder):
        import dask.dataframe as dd

        rows = dd.from_pandas(table(**CORNERS), npartitions=2)
        assert len(targets_of(ks.read_images(folder).with_targets(rows))["a.jpg"]) == 2

    def test_a_row_without_a_place_says_that_there_is_nothing(self, folder):
        rows = pd.DataFrame({"key": ["a.jpg"], **{name: [np.nan] for name in CORNERS}})
        assert len(targets_of(ks.read_images(folder).with_targets(rows))["a.jpg"]) == 0

    def test_thresholds_drop_objects(self, folder):
        dataset = ks.read_images(folder).with_targets(table(**CORNERS), min_area=101)
        assert len(targets_of(dataset)["a.jpg"]) == 0

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            (table(**CORNERS, clas=["a"] * 3), r"a column 'clas'.* Did you mean 'class'\?"),
            (table(**CORNERS).drop(columns="ymax"), r"row 0 of the table \('a.jpg'\): expected all of xmin, ymin"),
            (table(**CORNERS).drop(columns="key"), r"needs a column 'key'"),
            (table(id=[1, 2, 3]), r"not where anything is: it needs xmin"),
            (pd.DataFrame({"key": [3], "box": [(1, 1, 2, 2)]}), r"row 0 of the table: expected an image's key, got 3"),
            (
                pd.DataFrame({"key": ["a.jpg"], "box": [(5, 1, 2, 2)]}),
                r"a.jpg: labels: object 0: expected a box as",
            ),
            (pd.DataFrame({"key": ["a.jp"], "box": [(1, 1, 2, 2)]}), r"none .* key 'a.jp'\. Did you mean 'a.jpg'\?"),
            (table(bbox=[(1, 1, 2, 2)] * 3), r"Did you mean 'box', as x1, y1, x2, y2\? COCO's bbox is x, y, width"),
            (table(**CORNERS, label=[1, 2, 3]), r"a column 'label'.*Did you mean 'class'\?"),
            (table(box=[(0.1, 0.1, 0.3, 0.4)] * 3), r"expected boxes in pixels, got none .* multiply fractions"),
            (table(**CORNERS)[:0], r"expected labels, got none"),
            ({}, r"expected labels, got none"),
            ({"a.jpg": 3}, r"expected Targets by key, got 'a.jpg': int"),
            (17, r"expected a DataFrame .*, got int"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, folder, rows, message):
        with pytest.raises(RecipeError, match=message):
            ks.read_images(folder).with_targets(rows)

    def test_all_rows_that_make_no_sense_are_told_at_once(self, folder):
        rows = pd.DataFrame({"key": [f"{i}.jpg" for i in range(9)], "box": [(5, 1, 2, 2)] * 9})
        with pytest.raises(RecipeError, match=r"0\.jpg: .*; 4\.jpg: [^;]*; and 4 images more$"):
            ks.read_images(folder).with_targets(rows)

    def test_what_lies_outside_of_its_image_is_told(self, folder, tmp_path, caplog):
        rows = table(**(CORNERS | {"xmin": [61, 2, 3], "xmax": [70, 12, 13], "ymin": [4, 5, 41], "ymax": [14, 15, 50]}))
        with dask.config.set(scheduler="sync"):
            report = (
                ks.augment(ks.read_images(folder).with_targets(rows), ops.HorizontalFlip()).write(tmp_path).compute()
            )
        assert (report.counts["outside"], report.failed) == (2, 0)
        assert "labels  2 objects outside of their image: left out" in str(report)
        assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
            "a.jpg: labels: 2 objects lie outside of its 60x40 pixels"
        ]

    def test_keys_of_no_image_are_told(self, folder):
        rows = pd.DataFrame({"key": ["a.jpg", "x/a.jpg"], "box": [(1, 1, 2, 2)] * 2})
        with pytest.warns(UserWarning, match=r"1 of the labelled keys are no image's, such as 'x/a.jpg'") as caught:
            ks.read_images(folder).with_targets(rows)
        assert caught[0].filename == __file__


class TestFunction:
    def test_is_asked_for_each_image(self, folder):
        def label(key):
            return None if key == "c.jpg" else ks.Targets(boxes=[(0, 0, 10, 10)], classes=[key])

        found = targets_of(ks.read_images(folder).with_targets(label, min_visibility=0.5))
        assert found["a.jpg"].classes == ("a.jpg",)
        assert found["a.jpg"].min_visibility == 0.5
        assert found["c.jpg"] is None

    def test_that_fails_costs_its_image_only(self, folder):
        def label(key):
            return {"a.jpg": ks.Targets}[key](boxes=[(0, 0, 1, 1)])

        a, b, _ = ks.augment(ks.read_images(folder).with_targets(label), ops.Sequential()).compute()
        assert len(a.targets) == 1
        assert str(b.error) == "b.jpg: labels: KeyError: 'b.jpg'"

    def test_that_ends_the_process_costs_its_image_only(self, folder):
        def label(key):
            sys.exit(3)

        failed = ks.augment(ks.read_images(folder).with_targets(label), ops.Sequential()).compute()
        assert [str(record.error) for record in failed][:1] == ["a.jpg: labels: SystemExit: 3"]

    def test_has_to_return_targets(self, folder):
        dataset = ks.read_images(folder).with_targets(lambda key: [key])
        failed = ks.augment(dataset, ops.Sequential()).compute()
        assert "expected Targets or None from the function, got list" in str(failed[0].error)


class TestTogether:
    def test_a_second_call_takes_the_place_of_the_first(self, folder):
        dataset = ks.read_images(folder).with_targets(table(**CORNERS)).with_targets(table(**CORNERS), min_area=5)
        assert len(targets_of(dataset)["a.jpg"]) == 2
        assert targets_of(dataset)["a.jpg"].min_area == 5

    def test_a_table_and_a_folder_of_masks_are_one(self, folder, tmp_path):
        for name in "abc":
            cv2.imwrite(str(tmp_path / f"{name}.png"), np.ones((40, 60), np.uint8))
        for calls in (1, 2):
            dataset = ks.read_images(folder, labels=ks.labels.Masks(tmp_path, "m"))
            for _ in range(calls):
                dataset = dataset.with_targets(table(**CORNERS), min_area=5)
            found = targets_of(dataset)["a.jpg"]
            assert (len(found), list(found.masks), found.min_area) == (2, ["m"], 5)

    def test_masks_of_one_name_are_refused(self, folder, tmp_path):
        for name in "abc":
            cv2.imwrite(str(tmp_path / f"{name}.png"), np.ones((40, 60), np.uint8))
        both = [ks.labels.Masks(tmp_path, name) for name in ("m", "M")]
        with pytest.raises(RecipeError, match=r"masks of different names, got \['m', 'M'\]"):
            ks.read_images(folder, labels=both)
        dataset = ks.read_images(folder, labels=both[0])
        dataset = dataset.with_targets({"a.jpg": ks.Targets(masks={"M": np.ones((40, 60), np.uint8)})})
        (failed, *_) = ks.augment(dataset, ops.Sequential()).compute()
        assert "or a mask of the same name" in str(failed.error)

    def test_know_their_parts(self):
        one = Table({"a": ks.Targets(boxes=[(0, 0, 1, 1)]), "b": ks.Targets()}, ks.Targets())
        part = Several((one,)).part(["a"])
        assert list(part.parts[0].by_key) == ["a"]
        assert part.mark("a") == one.mark("a") != one.mark("b") == one.mark("c")
        assert Several(()).of("a") is None


def test_a_bag_names_its_labels_and_keeps_them(folder):
    dataset = ks.read_images(folder, partition_size=1).with_targets(table(**CORNERS))
    assert repr(dataset).startswith("ImageBag<3 labelled images in ")
    assert dataset.npartitions == 3
    kept = dataset.filter(lambda record: record.key == "a.jpg")
    assert len(targets_of(kept)["a.jpg"]) == 2
