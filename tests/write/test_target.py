"""What a second run on a target does: refuse another recipe, extend, retry, overwrite only its own."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import kaleidoscope as ks
from kaleidoscope import lease as leases
from kaleidoscope import ops
from kaleidoscope.bag import StreamingBag
from kaleidoscope.errors import RecipeError, StoreError
from kaleidoscope.storage import Store


def everything(target):
    return {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}


def parts(target):
    return sorted(path.name for path in (target / "_kaleidoscope" / "manifest").iterdir())


@pytest.fixture
def source(make_photos, tmp_path):
    """Six photos that a test may change."""
    return make_photos(tmp_path / "photos", 6)


@pytest.fixture
def place(tmp_path):
    """Where the target of a test lies: a folder, for a bucket the one on the server's disk."""
    return tmp_path / "out"


@pytest.fixture
def to(place):
    """Return a function that gives the URL of the target."""
    return str


@pytest.fixture
def target(source, augmented, place, to):
    """What two ops make of them, as PNG: two blocks of four and two photos, 24 outputs."""
    assert augmented(source, 2).write(to(place), format="png").compute().outputs == 24
    return place


@pytest.mark.parametrize(
    ("recipe", "seed", "written", "difference"),
    [
        ([ops.HorizontalFlip(), ops.Rotate()], 8, {"format": "png"}, "its seed is 7, this run's is 8"),
        ([ops.HorizontalFlip(), ops.Rotate()], 7, {"format": "npy"}, r"encoder is .*'png'.*'npy'"),
        ([ops.HorizontalFlip(), ops.Rotate(limit=3)], 7, {"format": "png"}, "made otherwise: .*'hflip-rotate'"),
        ([ops.HorizontalFlip()], 7, {"format": "png"}, "this recipe has not: .*'hflip-rotate', 'rotate'"),
        ([ops.Rotate(), ops.HorizontalFlip()], 7, {"format": "png"}, "has not: .*'hflip-rotate'"),
    ],
    ids=["seed", "format", "setting", "fewer-ops", "order"],
)
def test_another_recipe_is_refused_with_the_difference(recipe, seed, written, difference, source, target):
    before = everything(target)
    run = ks.augment(source, recipe, seed=seed).write(target, **written)
    with pytest.raises(RecipeError, match=rf"another recipe: .*{difference}.*overwrite=True"):
        run.compute()
    with pytest.raises(RecipeError, match=difference):
        _ = run.left
    assert everything(target) == before


def test_another_quality_is_refused_with_the_difference(source, augmented, tmp_path):
    augmented(source, 1).write(tmp_path / "out", quality=95).compute()
    before = everything(tmp_path / "out")
    with pytest.raises(RecipeError, match=r"'quality': 95.*'quality': 90"):
        augmented(source, 1).write(tmp_path / "out", quality=90).compute()
    assert everything(tmp_path / "out") == before


def test_same_run_again_finds_everything_and_writes_nothing(source, augmented, target):
    before = everything(target)
    run = augmented(source, 2).write(target, format="png")
    assert run.left == 0
    report = run.compute()
    assert (report.inputs, report.outputs, report.skipped, report.bytes) == (6, 0, 24, 0)
    assert everything(target) == before


def test_overwrite_deletes_only_what_the_manifest_lists(source, augmented, target, check_whole, tmp_path):
    foreign = [target / "notes.jpg", target / "000__mine.png"]
    for path in foreign:
        path.write_bytes(b"mine")
    report = augmented(source, 1, seed=8).write(target, format="png", overwrite=True).compute()
    assert (report.outputs, report.skipped) == (12, 0)
    assert [path.read_bytes() for path in foreign] == [b"mine", b"mine"]
    for path in foreign:
        path.unlink()
    rows, _ = check_whole(target)
    augmented(source, 1, seed=8).write(tmp_path / "fresh", format="png").compute()
    fresh, _ = check_whole(tmp_path / "fresh")
    assert rows.equals(fresh)


def test_overwrite_that_was_refused_deletes_nothing(source, augmented, target):
    from kaleidoscope.lease import Owner, take_lease

    run = augmented(source, 1).write(target, format="png", overwrite=True)
    lease = take_lease(run.store, Owner.here("other"))
    before = everything(target)
    with pytest.raises(StoreError, match="is being written by"):
        run.compute()
    assert everything(target) == before
    lease.release()


@pytest.mark.parametrize("after", [0, 1, 12, 24, 25, 26, 27, 28])
@pytest.mark.parametrize("then", ["overwrite", "resume"])
def test_overwrite_stopped_while_deleting_is_made_good(
    after, then, source, augmented, target, check_whole, monkeypatch
):
    """24 outputs, two parts, one list of inputs and the record are deleted in turn; then it stops."""
    deleted = []

    def delete(store, names, real=Store.delete):
        for name in names:
            if "lease" not in name:
                if len(deleted) == after:
                    raise StoreError("stopped")
                deleted.append(name)
            real(store, [name])

    with monkeypatch.context() as patch:
        patch.setattr(Store, "delete", delete)
        run = augmented(source, 2).write(target, format="png", overwrite=True)
        if after < 28:
            with pytest.raises(StoreError, match="stopped"):
                run.compute()
        else:
            run.compute()
            assert len(deleted) == 28
    augmented(source, 2).write(target, format="png", overwrite=then == "overwrite").compute()
    rows, _ = check_whole(target)
    assert len(rows) == 24


@pytest.mark.parametrize("inside", ["", "out", "a/b"])
@pytest.mark.parametrize("kind", ["folder", "glob", "link"])
def test_target_equal_to_or_inside_the_source_is_refused(inside, kind, source, augmented, tmp_path):
    before = everything(source)
    read, write = source, source / inside
    if kind == "glob":
        read = source / "*.jpg"
    if kind == "link":
        (tmp_path / "link").symlink_to(source)
        write = tmp_path / "link" / inside
    with pytest.raises(RecipeError, match=r"lies in, the source.*Write beside it"):
        augmented(read, 1).write(write)
    assert everything(source) == before


def test_target_beside_a_source_with_a_longer_name_is_allowed(source, augmented, tmp_path):
    assert augmented(source, 1).write(tmp_path / "photos-out").compute().outputs == 12


def test_list_with_a_root_knows_its_target_lies_inside(source, augmented):
    dataset = ks.read_images(sorted(source.iterdir()), root=source)
    with pytest.raises(RecipeError, match="the source"):
        augmented(dataset, 1).write(source / "out")


# ------------------------------------------------------------------------------------ a dataset that changes


class ADatasetThatChanges:
    """What a later run does of it, wherever the target lies."""

    def test_new_images_make_new_blocks_and_leave_old_outputs(
        self, source, augmented, target, make_photos, stamps, check_whole, to
    ):
        old_parts, old = parts(target), stamps(target)
        make_photos(source, 5, first=6)
        shutil.copy(source / "000.jpg", source / "0000.jpg")  # sorted among the old ones
        report = augmented(source, 2).write(to(target), format="png").compute()
        assert (report.inputs, report.outputs, report.skipped) == (12, 24, 24)
        assert stamps(target, old) == old
        new_parts = set(parts(target)) - set(old_parts)
        assert set(old_parts) <= set(parts(target))
        assert sorted(name[:8] for name in new_parts) == ["00000002", "00000003"]
        rows, _ = check_whole(target)
        assert len(rows) == 48

    def test_changed_image_is_made_anew_and_its_newest_rows_count(
        self, source, augmented, target, pixels, stamps, check_whole, tmp_path, to
    ):
        import cv2

        old = stamps(target)
        (source / "003.jpg").write_bytes(cv2.imencode(".jpg", pixels(99, (40, 50, 3)))[1].tobytes())
        run = augmented(source, 2).write(to(target), format="png")
        assert run.left == 4
        report = run.compute()
        assert (report.outputs, report.skipped) == (4, 20)
        rows, files = check_whole(target)
        assert len(rows) == 24
        size = (source / "003.jpg").stat().st_size
        assert [size] * 4 == rows[rows["key"] == "003.jpg"]["source_size"].tolist()
        assert {50} == set(rows[rows["key"] == "003.jpg"]["width"])
        untouched = {name: stamp for name, stamp in old.items() if not name.startswith("003")}
        assert stamps(target, untouched) == untouched
        augmented(source, 2).write(tmp_path / "fresh", format="png").compute()
        fresh_rows, fresh_files = check_whole(tmp_path / "fresh")
        assert files == fresh_files
        assert rows.equals(fresh_rows)
        assert run.left == 0
        assert run.compute().outputs == 0

    def test_image_touched_but_equal_is_made_anew_once(self, source, augmented, target, files, to):
        import os

        before = files(target)
        os.utime(source / "003.jpg", ns=(10**18, 10**18))
        run = augmented(source, 2).write(to(target), format="png")
        assert [run.compute().outputs, run.compute().outputs] == [4, 0]
        assert files(target) == before

    def test_removed_image_keeps_its_rows_and_outputs(self, source, augmented, target, stamps, check_whole, to):
        before = stamps(target)
        (source / "001.jpg").unlink()
        report = augmented(source, 2).write(to(target), format="png").compute()
        assert (report.inputs, report.outputs, report.skipped) == (5, 0, 20)
        assert stamps(target) == before
        rows, _ = check_whole(target)
        assert rows["key"].nunique() == 6

    def test_removed_image_and_new_op_together(self, source, augmented, target, check_whole, to):
        (source / "001.jpg").unlink()
        run = augmented(source, 3).write(to(target), format="png")
        assert run.left == 20
        assert [run.compute().outputs, run.compute().outputs] == [20, 0]
        rows, _ = check_whole(target)
        assert rows.groupby("key").size().to_dict() == {f"{i:03d}.jpg": 4 if i == 1 else 8 for i in range(6)}

    def test_changed_image_and_new_op_together(self, source, augmented, target, make_photos, check_whole, tmp_path, to):
        shutil.copy(make_photos(tmp_path / "others", 1, first=50) / "050.jpg", source / "002.jpg")
        run = augmented(source, 3).write(to(target), format="png")
        assert run.left == 8 + 5 * 4
        assert [run.compute().outputs, run.compute().outputs] == [28, 0]
        rows, files = check_whole(target)
        augmented(source, 3).write(tmp_path / "fresh", format="png").compute()
        fresh_rows, fresh_files = check_whole(tmp_path / "fresh")
        assert files == fresh_files
        assert rows.equals(fresh_rows)

    def test_failed_rows_are_retried_and_a_retry_that_fails_again_adds_no_part(
        self, source, augmented, make_photos, check_whole, tmp_path, to, place
    ):
        good = (source / "004.jpg").read_bytes()
        (source / "004.jpg").write_bytes(good[: len(good) // 2])
        target = place
        run = augmented(source, 2).write(to(target), format="png")
        report = run.compute()
        assert (report.inputs, report.outputs, report.failed) == (6, 20, 1)
        rows, _ = check_whole(target)
        assert (rows["status"] == "failed").sum() == 4
        before = everything(target)

        assert run.left == 4
        again = run.compute()
        assert (again.outputs, again.skipped, again.failed) == (0, 20, 1)
        assert everything(target) == before

        (source / "004.jpg").write_bytes(good)
        repaired = run.compute()
        assert (repaired.outputs, repaired.skipped, repaired.failed) == (4, 20, 0)
        assert len(repaired.errors) == 0
        rows, files = check_whole(target)
        assert rows["status"].tolist() == ["ok"] * 24
        assert run.left == 0
        augmented(source, 2).write(tmp_path / "fresh", format="png").compute()
        assert files == check_whole(tmp_path / "fresh")[1]

    def test_image_that_breaks_loses_its_old_outputs_from_the_manifest(self, source, augmented, target, rows, to):
        (source / "000.jpg").write_bytes(b"no image any more")
        report = augmented(source, 2).write(to(target), format="png").compute()
        assert (report.outputs, report.skipped, report.failed) == (0, 20, 1)
        table = rows(target)
        assert len(table) == 24
        broken = table[table["key"] == "000.jpg"]
        assert broken["status"].tolist() == ["failed"] * 4
        assert broken["output"].isna().all()


class TestOnDisk(ADatasetThatChanges):
    """A folder."""


class TestOnS3(ADatasetThatChanges):
    """A bucket; what lies there is seen on the server's disk."""

    @pytest.fixture
    def place(self, s3_server, tmp_path):
        return s3_server[1] / "out" / tmp_path.name

    @pytest.fixture
    def to(self, s3_server, place, in_environment, monkeypatch):
        in_environment(s3_server[0].options)
        monkeypatch.setattr(leases, "_SETTLES_IN", 0.05)  # nobody else writes here
        return lambda path: f"s3://{path.relative_to(s3_server[1]).as_posix()}"


# ------------------------------------------------------------------------------------ a sample


def test_sample_writes_n_rows_of_each_image_and_a_larger_one_extends_it(
    photos, augmented, stamps, check_whole, tmp_path
):
    target = tmp_path / "out"
    four = augmented(photos).sample(4).write(target)
    assert four.left == 48
    assert four.compute().outputs == 48
    assert (four.left, four.compute().outputs) == (0, 0)
    rows, files = check_whole(target)
    assert rows.groupby("key").size().tolist() == [4] * 12
    assert len(set(rows["variant"])) > 8, "drawn for each image"
    before = stamps(target)

    eight = augmented(photos).sample(8).write(target)
    assert eight.left == 48
    report = eight.compute()
    assert (report.outputs, report.skipped) == (48, 48)
    rows, _ = check_whole(target)
    assert rows.groupby("key").size().tolist() == [8] * 12
    assert stamps(target, files) == before

    report = augmented(photos).write(target).compute()
    assert (report.outputs, report.skipped) == (56 * 12, 8 * 12)
    rows, _ = check_whole(target)
    assert len(rows) == 768
    assert stamps(target, files) == before
    assert augmented(photos).sample(4).write(target).left == 0


def test_sample_of_records_that_carry_their_pixels_resumes(photos, loaded, augmented, tmp_path):
    dataset = ks.read_images(photos).map(loaded)
    assert isinstance(dataset, StreamingBag)
    run = augmented(dataset, 3).sample(4).write(tmp_path / "out")
    assert run.compute().outputs == 48
    assert (run.left, run.compute().outputs) == (0, 0)


def test_arrays_resume_and_a_changed_array_is_made_anew(augmented, pixels, check_whole, tmp_path):
    images = [pixels(i) for i in range(3)]
    assert augmented(images, 2).write(tmp_path / "out").compute().outputs == 12
    assert augmented(images, 2).write(tmp_path / "out").compute().outputs == 0
    images[1] = np.ascontiguousarray(images[1][::-1])
    report = augmented(images, 2).write(tmp_path / "out").compute()
    assert (report.outputs, report.skipped) == (4, 8)
    check_whole(tmp_path / "out")


def test_image_that_changes_and_changes_back_is_made_again_each_time(augmented, make_photos, tmp_path):
    """What an older part says is there, a newer one has written over."""
    first, second = (np.full((8, 8, 3), value, np.uint8) for value in (10, 200))
    target = tmp_path / "out"
    for pixels in (first, second, first):
        report = ks.augment([pixels], [ops.HorizontalFlip()]).write(target, format="npy").compute()
        assert (report.outputs, report.skipped) == (2, 0)
        np.testing.assert_array_equal(np.load(target / "000000__hflip.npy"), pixels)
    again = ks.augment([first], [ops.HorizontalFlip()]).write(target, format="npy").compute()
    assert (again.outputs, again.skipped) == (0, 2)


def test_outputs_of_an_image_that_can_no_longer_be_read_are_deleted(source, augmented, tmp_path):
    target = tmp_path / "new"
    augmented(source, 1).write(target).compute()
    (source / "001.jpg").write_bytes(b"no image")
    report = augmented(source, 1).write(target).compute()
    assert report.failed == 1
    rows = report.manifest.compute()
    listed = set(rows["output"].dropna())
    assert {path.name for path in target.glob("*.jpg")} == listed
    assert not any(name.startswith("001__") for name in listed)


def test_overwrite_leaves_no_empty_folders(augmented, make_photos, tmp_path):
    make_photos(tmp_path / "photos" / "dog" / "small", 1)
    make_photos(tmp_path / "photos" / "cat", 1)
    target = tmp_path / "out"
    augmented(tmp_path / "photos", 1).write(target).compute()
    assert (target / "dog" / "small").is_dir()
    shutil.rmtree(tmp_path / "photos" / "dog")
    augmented(tmp_path / "photos", 1).write(target, overwrite=True).compute()
    assert sorted(path.name for path in target.iterdir()) == ["_kaleidoscope", "cat"]


def test_image_that_changes_back_after_a_run_was_stopped_is_made_again(augmented, tmp_path, monkeypatch):
    """What was written of the other version, and not committed, lies there all the same."""
    first, second = (np.full((8, 8, 3), value, np.uint8) for value in (10, 200))
    target, recipe = tmp_path / "out", [ops.HorizontalFlip()]
    ks.augment([first], recipe).write(target, format="npy").compute(scheduler="sync")
    with monkeypatch.context() as patch:

        def write(store, name, data, real=Store.write):
            if name.startswith("_kaleidoscope/manifest/"):
                raise StoreError("stopped before the commit")
            real(store, name, data)

        patch.setattr(Store, "write", write)
        with pytest.raises(StoreError, match="stopped"):
            ks.augment([second], recipe).write(target, format="npy").compute(scheduler="sync")
    assert ks.augment([first], recipe).write(target, format="npy").compute(scheduler="sync").outputs == 2
    np.testing.assert_array_equal(np.load(target / "000000__hflip.npy"), first)


def test_of_two_parts_of_one_serial_the_one_without_failures_counts(augmented, source, tmp_path):
    """A task that ran twice, once without the network, must not leave rows that stay failed for ever."""
    target = tmp_path / "new"
    augmented(source / "000.jpg", 1).write(target).compute()
    (part,) = (target / "_kaleidoscope" / "manifest").iterdir()
    table = pq.read_table(part)
    failed = table.set_column(table.schema.get_field_index("status"), "status", pa.array(["failed"] * len(table)))
    pq.write_table(failed, part.with_name(part.name.replace(".ok.", ".failed.")))
    assert set(ks.read_manifest(target).compute()["status"]) == {"ok"}
    assert augmented(source / "000.jpg", 1).write(target).compute().outputs == 0


def test_record_that_failed_before_is_not_taken_for_the_image_it_was_made_from(augmented, source, tmp_path):
    views = ks.augment([source / "000.jpg"], ops.Apply("no_such_module_of_ours:f"))
    failed = StreamingBag(views.dask, views.name, views.npartitions)
    report = ks.augment(failed, [ops.HorizontalFlip()]).write(tmp_path / "new").compute()
    assert (report.outputs, report.failed) == (0, 1)
    assert "cannot import" in report.errors["error"][0]
