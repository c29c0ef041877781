"""Labels in a written target: masks beside the images, objects in the manifest, and what other labels do to it."""

import io
import json
import signal

import cv2
import fsspec
import numpy as np
import pandas as pd
import pytest
from dask.distributed import Client, LocalCluster
from PIL import Image

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.errors import RecipeError
from kaleidoscope.storage import Store

THREE = ("HorizontalFlip", "Rotate", "GaussianBlur")


@pytest.fixture(scope="module")
def masks(photos, tmp_path_factory):
    """A mask for each of the twelve photos: an ellipse of its number plus one."""
    folder = tmp_path_factory.mktemp("masks")
    for number in range(12):
        mask = cv2.ellipse(np.zeros((48, 64), np.uint8), (20 + 2 * number, 20), (15, 8), 20, 0, 360, number + 1, -1)
        cv2.imwrite(str(folder / f"{number:03d}.png"), mask)
    return folder


@pytest.fixture
def table():
    """Two objects in each photo, one of them near the corner."""
    rows = [
        {"key": f"{number:03d}.jpg", "class": kind, "id": number, "box": box}
        for number in range(12)
        for kind, box in (("big", (10, 10, 50, 40)), ("corner", (0, 0, 5, 4)))
    ]
    return pd.DataFrame(rows)


def labelled(photos, masks, table=None):
    dataset = ks.read_images(photos, labels=ks.labels.Masks(masks))
    return dataset if table is None else dataset.with_targets(table, min_visibility=0.3)


def views_of(dataset, names=THREE, **options):
    return ks.augment(dataset, [getattr(ops, name)() for name in names], seed=7, **options)


def test_masks_lie_beside_the_images_and_objects_in_the_manifest(photos, masks, table, check_whole, tmp_path):
    views = views_of(labelled(photos, masks, table))
    report = views.write(tmp_path / "out").compute()
    assert (report.outputs, report.failed) == (12 * 8, 0)
    rows, files = check_whole(tmp_path / "out")
    assert len(files) == 2 * 12 * 8
    in_memory = {(r.key, r.variant): r for r in views.compute()}
    for row in rows.to_dict("records"):
        record = in_memory[row["key"], row["variant"]]
        (name,) = json.loads(row["masks"]).values()
        assert name == row["output"].replace(".jpg", ".mask.png")
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(files[name]))), record.targets.masks["mask"])
        assert ks.Targets.of_objects(json.loads(row["objects"])).objects() == record.targets.objects()
        assert json.loads(row["params"]) == [json.loads(step.text) for step in record.lineage]
    lost = [
        json.loads(row)["targets"]
        for text in rows["params"]
        for row in map(json.dumps, json.loads(text))
        if "targets" in row
    ]
    assert any("dropped" in counts for counts in lost), "a rotation turns the corner out"
    assert any("clipped" in counts for counts in lost)


def test_without_labels_their_columns_are_empty(photos, rows, tmp_path):
    views_of(photos).write(tmp_path / "out").compute()
    assert rows(tmp_path / "out")[["objects", "masks"]].isna().all(axis=None)


def test_masks_are_the_same_wherever_they_are_made(photos, masks, table, files, tmp_path):
    views = views_of(labelled(photos, masks, table))
    views.write(tmp_path / "threads").compute()
    views.write(tmp_path / "sync").compute(scheduler="sync")
    ks.augment(labelled(photos, masks, table).filter(bool), [getattr(ops, name)() for name in THREE], seed=7).write(
        tmp_path / "carried"
    ).compute()
    with LocalCluster(2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster, Client(cluster):
        views.write(tmp_path / "cluster").compute()
    whole = files(tmp_path / "threads")
    assert len(whole) == 192
    assert all(files(tmp_path / name) == whole for name in ("sync", "carried", "cluster"))


def test_a_mask_that_variants_share_is_moved_and_encoded_once(photos, masks, tmp_path):
    report = views_of(labelled(photos, masks)).write(tmp_path / "out").compute()
    assert report.counts["encode"] == 12 * 8
    assert report.counts["mask"] == 12 * 4, "flips and rotations move it, the blur does not"


def test_many_masks_are_encoded_once_each(photos, tmp_path):
    several = {f"m{i}": np.full((48, 64), i, np.uint8) for i in range(7)}
    dataset = ks.read_images(photos).with_targets(lambda key: ks.Targets(masks=several))
    report = views_of(dataset).write(tmp_path / "out").compute()
    assert report.counts["mask"] == 12 * 4 * 7


@pytest.mark.parametrize(("at", "stage"), [(70, "half"), (120, "renamed"), (197, "half")])
def test_killed_client_is_finished_by_the_next(at, stage, photos, masks, start_client, check_whole, tmp_path):
    whole = views_of(labelled(photos, masks)).write(tmp_path / "whole").compute()
    assert whole.outputs == 96
    sabotage = {"at": at, "stage": stage, "signal": "SIGKILL", "to": "self"}
    client = start_client(photos, [tmp_path / "out"], names=THREE, masks=masks, sabotage=sabotage)
    assert client.wait() == -signal.SIGKILL, client.log.read_text()
    report = views_of(labelled(photos, masks)).write(tmp_path / "out").compute()
    assert report.outputs > 0, "it was over before it was stopped"
    rows, files = check_whole(tmp_path / "out")
    assert files == check_whole(tmp_path / "whole")[1]
    assert rows.equals(check_whole(tmp_path / "whole")[0])


class TestASecondRun:
    @pytest.fixture
    def target(self, photos, masks, table, tmp_path):
        views_of(labelled(photos, masks, table)).write(tmp_path / "out").compute()
        return tmp_path / "out"

    def test_with_the_same_labels_finds_everything(self, photos, masks, table, target):
        assert views_of(labelled(photos, masks, table)).write(target).left == 0

    def test_with_other_labels_makes_those_images_again(self, photos, masks, table, target, check_whole):
        table.loc[0, "class"] = "larger"
        report = views_of(labelled(photos, masks, table)).write(target).compute()
        assert (report.outputs, report.skipped) == (8, 88)
        rows, _ = check_whole(target)
        assert sum('"larger"' in text for text in rows["objects"]) == 8

    def test_with_another_threshold_makes_all_again(self, photos, masks, table, target):
        dataset = ks.read_images(photos, labels=ks.labels.Masks(masks)).with_targets(table, min_visibility=0.9)
        assert views_of(dataset).write(target).compute().outputs == 96

    def test_after_one_that_was_killed_with_other_masks_leaves_none_of_those(
        self, photos, masks, target, check_whole, start_client, files
    ):
        before = set(files(target))
        sabotage = {"at": 60, "stage": "renamed", "signal": "SIGKILL", "to": "self"}
        other = {"names": THREE, "masks": masks, "mask_name": "other", "sabotage": sabotage}
        assert start_client(photos, [target], **other).wait() == -signal.SIGKILL
        assert any(".mask-other." in name for name in set(files(target)) - before), "some of them are there"
        views_of(labelled(photos, masks)).write(target).compute()
        assert set(check_whole(target)[1]) == before

    def test_keeps_a_mask_whose_name_differs_in_case_only(self, photos, target, monkeypatch, files):
        # As on a filesystem that takes both names for one file.
        kept = []
        delete = Store.delete
        monkeypatch.setattr(Store, "delete", lambda self, names: kept.append(list(names)) or delete(self, kept[-1]))
        mask = np.ones((48, 64), np.uint8)
        for name in ("lesion", "Lesion"):
            dataset = ks.read_images(photos).with_targets(lambda key, name=name: ks.Targets(masks={name: mask}))
            dataset = dataset.with_targets({f"{i:03d}.jpg": ks.Targets(masks={name: mask}) for i in range(12)})
            views_of(dataset).write(target).compute(scheduler="sync")
        deleted = [name for names in kept for name in names]
        assert not any("lesion" in name.casefold() for name in deleted)
        assert any(name.endswith(".mask.png") for name in deleted), "what the first run wrote is"

    def test_without_any_labels_is_refused(self, photos, target, files):
        before = files(target)
        with pytest.raises(RecipeError, match=r"holds outputs with labels, and these images have none: .*overwrite"):
            views_of(photos).write(target).compute()
        assert files(target) == before

    def test_without_some_masks_deletes_those(self, photos, masks, table, target, check_whole):
        assert views_of(ks.read_images(photos).with_targets(table)).write(target).compute().outputs == 96
        rows, files = check_whole(target)
        assert sorted(files) == sorted(rows["output"])

    def test_with_another_version_of_a_function_makes_all_again(self, photos, tmp_path):
        for version, outputs in (("1", 24), ("1", 0), ("2", 24)):
            dataset = ks.read_images(photos).with_targets(lambda key: ks.Targets(boxes=[(1, 1, 9, 9)]), version=version)
            assert views_of(dataset, ["HorizontalFlip"]).write(tmp_path / "out2").compute().outputs == outputs

    def test_overwriting_deletes_the_masks(self, photos, target, check_whole):
        views_of(photos, ["HorizontalFlip"]).write(target, overwrite=True).compute()
        assert len(check_whole(target)[1]) == 24


def test_a_label_that_does_not_fit_is_rows(photos, table, check_whole, tmp_path):
    dataset = ks.read_images(photos).with_targets(
        {"003.jpg": ks.Targets(masks={"m": np.zeros((5, 5), np.uint8)}), "004.jpg": ks.Targets(boxes=[(0, 0, 9, 9)])}
    )
    report = views_of(dataset).write(tmp_path / "out").compute()
    assert (report.outputs, report.failed) == (88, 1)
    (error,) = report.errors.to_dict("records")
    assert (error["key"], error["step"]) == ("003.jpg", "labels")
    assert "OpError: the mask 'm' is 5x5 pixels large, its image 64x48" in error["error"]
    check_whole(tmp_path / "out")


def test_a_mask_folder_is_no_target(photos, masks, tmp_path):
    with pytest.raises(RecipeError, match=r"lies in, the folder of masks .*: the next listing"):
        views_of(labelled(photos, masks)).write(masks / "out")


def test_masks_of_16_bit_stay(photos, tmp_path, files):
    mask = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21
    dataset = ks.read_images(photos).with_targets(lambda key: ks.Targets(masks={"height": mask}))
    ks.augment(dataset, ops.HorizontalFlip(), to=tmp_path / "out").compute()
    data = files(tmp_path / "out")["000__hflip.mask-height.png"]
    made = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(made, mask[:, ::-1])


def test_in_a_bucket_other_masks_take_the_place_of_those_before(photos, s3):
    url, fs = "s3://out/masks", fsspec.filesystem("s3", use_listings_cache=False, **s3)

    def write(name, **options):
        mask = np.ones((48, 64), np.uint8)
        dataset = ks.read_images(photos).with_targets({"000.jpg": ks.Targets(masks={name: mask})})
        run = views_of(dataset, ["HorizontalFlip"]).write(url, storage_options=s3, **options)
        report = run.compute()
        return report.outputs, sorted(path.rpartition("/")[2] for path in fs.find("out/masks") if ".mask-" in path)

    assert write("one") == (24, ["000__hflip.mask-one.png", "000__original.mask-one.png"])
    assert write("one")[0] == 0
    fs.pipe_file("out/masks/000__hflip.mask-killed.png", b"what a run left that was killed before it committed")
    assert write("two") == (2, ["000__hflip.mask-two.png", "000__original.mask-two.png"])
    assert write("three", overwrite=True) == (24, ["000__hflip.mask-three.png", "000__original.mask-three.png"])
