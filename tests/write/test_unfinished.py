"""What a target tells of a run that was stopped: how many inputs are not done, whatever the run was like."""

import json
import shutil
import subprocess
import sys

import dask
import pyarrow.parquet as pq
import pytest

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.errors import DecodeError, StoreError
from kaleidoscope.lease import Owner, take_lease
from kaleidoscope.storage import Store
from kaleidoscope.target import PARTS

#: Sixteen variants: a block has eight images.
RECIPE = [ops.HorizontalFlip(), ops.GaussNoise(), ops.RandomBrightnessContrast(), ops.GaussianBlur()]


@pytest.fixture
def folder(make_photos, tmp_path):
    return make_photos(tmp_path / "in", 60)


def views(folder, recipe=RECIPE, picks=None):
    found = ks.augment(folder, recipe, seed=7)
    return found if picks is None else found.sample(picks)


def left(target):
    """Return what a report and a verification say is not done, which must be the same."""
    report = ks.Report.read(target)
    found = report.verify()
    assert report.unfinished == found.unfinished
    assert found.ok == (not found.found and not found.unfinished)
    return report.unfinished


def take_back(target, parts=1):
    """Leave a target as a run leaves it that was stopped before it committed the last blocks; return their keys."""
    keys = set()
    for path in sorted((target / PARTS).iterdir())[-parts:]:
        keys |= set(pq.read_table(path, columns=["key"])["key"].to_pylist())
        path.unlink()
    return keys


def report(*words, code):
    command = [sys.executable, "-m", "kaleidoscope", "report", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("layout", ["files", "webdataset"])
def test_a_run_that_was_stopped_is_not_told_as_complete(folder, tmp_path, layout):
    (folder / "020.jpg").write_bytes(b"no image")
    recipe = [*RECIPE, ops.Rotate(limit=15)]  # blocks of 4 images, or of 16 in shards
    write = ks.augment(folder, recipe, seed=7, on_error="raise").write(tmp_path / "out", layout=layout)
    with pytest.raises(DecodeError):
        write.compute(scheduler="sync")
    done = ks.read_manifest(tmp_path / "out").compute()
    for one in (tmp_path / "out").glob("*.jpg"):  # what the block that failed has left
        if one.name not in set(done["output"]):
            one.unlink()
    count = done["key"].nunique()
    found = ks.Report.read(tmp_path / "out")
    assert 0 < count < 60
    assert (found.inputs, found.unfinished) == (60, 60 - count)
    verified = found.verify()
    assert not verified.ok
    text = f"{60 - count} of 60 inputs are not done: repeat the run"
    assert text in str(found)
    assert text in str(verified)
    assert text in report(tmp_path / "out", code=1)
    assert text in report(tmp_path / "out", "--verify", code=1)
    told = json.loads(report(tmp_path / "out", "--verify", "--json", code=1))
    assert (told["unfinished"], told["verified"]["unfinished"], told["verified"]["ok"]) == (60 - count,) * 2 + (False,)

    (folder / "020.jpg").unlink()
    shutil.copy(folder / "000.jpg", folder / "020.jpg")
    again = ks.augment(folder, recipe, seed=7, on_error="raise").write(tmp_path / "out", layout=layout).compute()
    assert (again.inputs, again.unfinished, left(tmp_path / "out")) == (60, 0, 0)
    report(tmp_path / "out", "--verify", code=0)


def test_a_run_that_is_at_work_is_told_as_such(folder, tmp_path):
    views(folder).write(tmp_path / "out").compute()
    assert not ks.Report.read(tmp_path / "out").at_work
    take_back(tmp_path / "out")
    lease = take_lease(Store(tmp_path / "out"), Owner.here("another"))
    found = ks.Report.read(tmp_path / "out")
    assert found.at_work
    assert "not done: a run is at work there, or was killed; then repeat it" in str(found)
    assert "a run is at work there" in str(found.verify())
    lease.release()
    assert "not done: repeat the run" in str(ks.Report.read(tmp_path / "out"))


def test_inputs_that_failed_are_done(folder, tmp_path):
    (folder / "007.jpg").write_bytes(b"no image")
    views(folder).write(tmp_path / "out").compute()
    assert left(tmp_path / "out") == 0


def test_an_input_without_the_variants_of_an_op_that_was_appended_is_not_done(folder, tmp_path):
    views(folder, RECIPE[:2]).write(tmp_path / "out").compute()
    before = set((tmp_path / "out" / PARTS).iterdir())
    views(folder, RECIPE[:3]).write(tmp_path / "out").compute()
    for path in set((tmp_path / "out" / PARTS).iterdir()) - before:
        path.unlink()
    assert left(tmp_path / "out") == 60
    views(folder, RECIPE[:3]).write(tmp_path / "out").compute()
    assert left(tmp_path / "out") == 0


def test_an_input_that_changed_is_done_when_it_was_made_anew(folder, make_photos, tmp_path):
    views(folder).write(tmp_path / "out").compute()
    make_photos(folder, 2, first=4, shape=(20, 30, 3))
    views(folder).write(tmp_path / "out").compute()
    assert left(tmp_path / "out") == 0
    (newest,) = [path for path in (tmp_path / "out" / PARTS).iterdir() if ".001." in path.name]
    newest.unlink()
    assert left(tmp_path / "out") == 2


def test_an_input_that_was_removed_is_not_waited_for(folder, tmp_path):
    views(folder).write(tmp_path / "out").compute()
    gone = take_back(tmp_path / "out", 2)
    assert left(tmp_path / "out") == len(gone) > 2
    for key in sorted(gone)[1:]:
        (folder / key).unlink()
    again = views(folder).write(tmp_path / "out").compute()
    assert (again.inputs, again.skipped) == (61 - len(gone), (60 - len(gone)) * 16)
    assert left(tmp_path / "out") == 0
    record = (tmp_path / "out" / "_kaleidoscope" / "run.json").read_bytes()
    views(folder).write(tmp_path / "out").compute()
    views(folder).write(tmp_path / "out", only_failed=True).compute()
    assert (tmp_path / "out" / "_kaleidoscope" / "run.json").read_bytes() == record


def test_of_an_input_whose_variants_were_drawn_those_are_expected(folder, tmp_path):
    views(folder, picks=3).write(tmp_path / "out").compute()
    assert left(tmp_path / "out") == 0
    before = set((tmp_path / "out" / PARTS).iterdir())
    views(folder, picks=5).write(tmp_path / "out").compute()
    assert left(tmp_path / "out") == 0
    for path in set((tmp_path / "out" / PARTS).iterdir()) - before:
        path.unlink()
    assert left(tmp_path / "out") == 60
    views(folder, picks=3).write(tmp_path / "out").compute()
    assert left(tmp_path / "out") == 0


def test_a_run_that_finished_no_block_is_told_as_one(folder, tmp_path):
    views(folder).write(tmp_path / "out").compute()
    shutil.rmtree(tmp_path / "out" / PARTS)
    assert "60 of 60 inputs are not done: repeat the run" in report(tmp_path / "out", code=1)
    (tmp_path / "out" / "_kaleidoscope" / "run.json").unlink()
    assert "a run was started in" in report(tmp_path / "out", code=2)
    with pytest.raises(StoreError, match="has finished no block yet: repeat it"):
        ks.read_manifest(tmp_path / "out")


@pytest.mark.parametrize("how", ["obstore", "fsspec"])
@pytest.mark.parametrize("kind", ["s3", "moto"])
def test_a_bucket_that_is_not_there_is_told(folder, request, kind, how, set_to):
    options = request.getfixturevalue(kind)
    with set_to(how):
        with pytest.raises(StoreError, match="check the bucket's name"):
            ks.Report.read("s3://nobucket/none", storage_options=options)
        with pytest.raises(StoreError, match=r"no manifest in s3://out/none: expected the target of a write$"):
            ks.Report.read("s3://out/none", storage_options=options)
        with pytest.raises(StoreError, match="there is no bucket for s3://nobucket/none: make it, or check its name"):
            views(folder).estimate("s3://nobucket/none", probe=True, images=1, storage_options=options)
        found = views(folder).estimate("s3://out/none", probe=True, images=1, storage_options=options)
        assert found.latency > 0
    assert not list(Store("s3://out/none", options).find())


@pytest.fixture
def set_to():
    return lambda how: dask.config.set({"kaleidoscope.object-store": how})
