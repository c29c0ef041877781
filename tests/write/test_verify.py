"""What lies in a target against what its manifest tells of: on disk and in a bucket, in every layout."""

import json
import subprocess
import sys
from collections import Counter

import cv2
import numpy as np
import pandas as pd
import pytest

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.errors import StoreError
from kaleidoscope.lease import Owner, take_lease
from kaleidoscope.storage import Store
from kaleidoscope.target import PARTS
from kaleidoscope.verify import Problem, Verification

RECIPE = [ops.HorizontalFlip(), ops.GaussNoise()]
LAYOUTS = ["files", "webdataset", "parquet"]


def put(store, name, data):
    store.write(name, data)


def objects(target):
    """Return what lies in a target but for its record: name to bytes."""
    store = target if isinstance(target, Store) else Store(str(target))
    return {name: store.read(name) for name in store.find() if not name.startswith("_kaleidoscope/")}


def seen(verification):
    return sorted((problem.name, problem.problem) for problem in verification.found)


@pytest.fixture(params=["disk", "s3", "memory"])
def store(request, tmp_path):
    """A place to write to: a folder, a bucket on a server, a filesystem of fsspec's that knows other words."""
    if request.param == "s3":
        return Store(f"s3://out/{request.node.name}", request.getfixturevalue("s3"))
    return Store(str(tmp_path / "out") if request.param == "disk" else f"memory://{request.node.name}")


def write(photos, target, recipe=RECIPE, **options):
    if isinstance(target, Store):
        options["storage_options"], target = target.storage_options, target.url
    return ks.augment(photos, recipe, seed=7).write(target, format="png", **options)


def read(target):
    if isinstance(target, Store):
        return ks.Report.read(target.url, storage_options=target.storage_options)
    return ks.Report.read(target)


def test_what_a_run_wrote_is_what_its_manifest_says(photos, store):
    written = write(photos, store).compute()
    report = read(store)
    assert (report.inputs, report.outputs, report.failed, report.bytes) == (12, 48, 0, written.bytes)
    for checksums in (False, True):
        found = report.verify(checksums=checksums)
        assert (found.ok, found.objects, found.found, found.checksums) == (True, 48, [], checksums)


def test_what_is_missing_wrong_or_extra_is_named_and_made_again_with_the_same_bytes(photos, store):
    write(photos, store).compute()
    before = objects(store)
    gone, short, other = sorted(before)[3], sorted(before)[10], sorted(before)[20]
    store.delete([gone])
    put(store, short, before[short][:-7])
    put(store, other, before[other][:-1] + b"?")
    put(store, "mine/README.txt", b"hello")
    usual, read_all = read(store).verify(), read(store).verify(checksums=True)
    assert seen(usual) == sorted([(gone, "missing"), (short, "size"), ("mine/README.txt", "extra")])
    assert seen(read_all) == sorted([*seen(usual), (other, "checksum")])
    assert write(photos, store).left == 0, "a run believes the manifest"

    assert read_all.repair() == 3
    again = write(photos, store).compute()
    assert (again.outputs, again.skipped) == (3, 45)
    assert objects(store) == {**before, "mine/README.txt": b"hello"}
    assert seen(read(store).verify(checksums=True)) == [("mine/README.txt", "extra")]
    assert write(photos, store).left == 0
    assert read(store).failed == 0


@pytest.mark.parametrize("layout", ["webdataset", "parquet"])
@pytest.mark.parametrize("harm", ["missing", "size", "checksum"])
def test_of_shards_the_outputs_that_lay_in_a_bad_one_are_made_again(photos, tmp_path, layout, harm):
    write(photos, tmp_path / "out", layout=layout).compute()
    made = ks.read_manifest(tmp_path / "out").compute().sort_values(["key", "variant"], ignore_index=True)
    before = objects(tmp_path / "out")
    name = min(before)
    path = tmp_path / "out" / name
    match harm:
        case "missing":
            path.unlink()
        case "size":
            path.write_bytes(before[name][:-512])
        case "checksum":
            path.write_bytes(before[name][:-1] + b"?")
    found = read(tmp_path / "out").verify(checksums=True)
    assert seen(found) == [(name, harm)]
    lost = Counter(made["shard"])[name]
    assert (found.found[0].outputs, found.repair()) == (lost, lost)
    assert write(photos, tmp_path / "out", layout=layout).compute().outputs == lost
    assert read(tmp_path / "out").verify(checksums=True).ok
    again = ks.read_manifest(tmp_path / "out").compute().sort_values(["key", "variant"], ignore_index=True)
    same = ["key", "variant", "output", "status", "params", "bytes", "checksum"]
    pd.testing.assert_frame_equal(again[same], made[same])


def test_a_size_tells_a_shard_that_was_cut_without_reading_it(photos, tmp_path):
    write(photos, tmp_path / "out", layout="webdataset").compute()
    path = min((tmp_path / "out").glob("*.tar"))
    path.write_bytes(path.read_bytes()[:-1024])
    assert seen(read(tmp_path / "out").verify()) == [(path.name, "size")]


def test_masks_are_objects_too(photos, tmp_path):
    (tmp_path / "masks").mkdir()
    for path in photos.iterdir():
        cv2.imwrite(str(tmp_path / "masks" / f"{path.stem}.png"), np.eye(48, 64, dtype=np.uint8))
    dataset = ks.read_images(photos, labels=ks.labels.Masks(tmp_path / "masks"))
    views = ks.augment(dataset, RECIPE, seed=7)
    views.write(tmp_path / "out").compute()
    before = objects(tmp_path / "out")
    masks = sorted(tmp_path.glob("out/*.mask.png"))
    assert read(tmp_path / "out").verify(checksums=True).objects == len(before) == 96
    masks[0].unlink()
    masks[1].write_bytes(b"")
    masks[2].write_bytes(masks[2].read_bytes()[:-1] + b"?")
    found = read(tmp_path / "out").verify(checksums=True)
    assert [kind for _, kind in seen(found)] == ["missing", "size", "checksum"]
    assert found.repair() == 3
    assert views.write(tmp_path / "out").compute().outputs == 3
    assert objects(tmp_path / "out") == before


def test_later_parts_count_and_earlier_ones_do_not(photos, tmp_path, make_photos):
    """Ops appended, an image that changed, one that fails by now: the newest row of each output is what is expected."""
    folder = make_photos(tmp_path / "in", 5)
    write(folder, tmp_path / "out", RECIPE[:1]).compute()
    make_photos(folder, 1, first=1, shape=(20, 30, 3))
    (folder / "003.jpg").write_bytes(b"no image by now")
    write(folder, tmp_path / "out").compute()
    report = read(tmp_path / "out")
    assert (report.inputs, report.outputs, report.failed) == (5, 16, 1)
    assert report.verify(checksums=True).ok
    assert report.failures["step"].tolist() == ["decode"]


def test_what_an_older_version_wrote_is_looked_for(photos, tmp_path):
    """Its rows have no column `others`: of masks and shards it is known that they should be there, and no more."""
    import pyarrow.parquet as pq

    write(photos, tmp_path / "out", layout="webdataset").compute()
    for path in (tmp_path / "out" / PARTS).iterdir():
        pq.write_table(pq.read_table(path).drop_columns(["others"]), path)
    assert read(tmp_path / "out").verify(checksums=True).ok
    min((tmp_path / "out").glob("*.tar")).unlink()
    assert read(tmp_path / "out").verify().counts["missing"] == 1


def test_an_output_that_cannot_be_made_again_stays_failed(photos, tmp_path, make_photos):
    folder = make_photos(tmp_path / "in", 3)
    write(folder, tmp_path / "out").compute()
    (folder / "001.jpg").unlink()
    wrong = min((tmp_path / "out").glob("001__*.png"))
    wrong.write_bytes(b"half of it")
    assert read(tmp_path / "out").verify().repair() == 1
    assert not wrong.exists(), "nobody shall read it"
    assert read(tmp_path / "out").verify().ok
    assert write(folder, tmp_path / "out").compute().outputs == 0
    report = read(tmp_path / "out")
    assert (report.outputs, report.failed) == (11, 1)
    assert report.failures[["step", "kind", "keys"]].to_numpy().tolist() == [["verify", "StoreError", ["001.jpg"]]]


def test_repair_is_refused_while_another_run_writes_or_has_written(photos, tmp_path):
    write(photos, tmp_path / "out", RECIPE[:1]).compute()
    store = Store(str(tmp_path / "out"))
    min((tmp_path / "out").glob("*.png")).unlink()
    lease = take_lease(store, Owner.here("somebody-elses"))
    found = read(tmp_path / "out").verify()
    assert found.at_work
    assert "A run is at work there" in str(found)
    with pytest.raises(StoreError, match="is being written by process"):
        found.repair()
    lease.release()
    write(photos, tmp_path / "out").compute()
    with pytest.raises(StoreError, match="was written to since it was verified"):
        found.repair()
    assert not [name for name in store.list("_kaleidoscope") if name.startswith("lease")]


def test_it_takes_one_listing_and_no_request_for_an_object(photos, tmp_path, monkeypatch):
    write(photos, tmp_path / "out").compute()
    asked = Counter()
    for name in ("read", "read_if_there", "exists", "list", "look"):
        usual = getattr(Store, name)

        def counted(self, *args, name=name, usual=usual):
            asked[name] += 1
            return usual(self, *args)

        monkeypatch.setattr(Store, name, counted)
    parts = len(list((tmp_path / "out" / PARTS).iterdir()))
    assert read(tmp_path / "out").verify().ok
    assert parts < 48
    assert asked["read"] == 2 * (parts + 2)  # once for what there is, once for where it lies; the record and its inputs
    assert asked["look"] == 2
    assert sum(asked.values()) - asked["read"] < 12
    assert asked["exists"] == 0


def test_of_many_problems_the_text_names_the_first_and_the_table_has_all():
    found = [Problem(f"{number:03}.jpg", "missing", 5, None, 1, 0) for number in range(1234)]
    verification = Verification("s3://b/out", 5000, [*found, Problem("odd\n.jpg", "extra", None, 7, 0, None)])
    lines = str(verification).splitlines()
    assert len(lines) == 1 + 1 + 10 + 1 + 1 + 1
    assert "   1,234 missing" in lines
    assert "          and 1,224 more" in lines
    assert "          'odd\\n.jpg': 7 bytes" in lines
    assert len(verification.problems) == 1235
    assert verification.counts == {"missing": 1234, "size": 0, "checksum": 0, "extra": 1}


def test_command_says_it_writes_it_down_and_repairs(photos, tmp_path):
    write(photos, tmp_path / "out").compute()

    def run(*words, code):
        command = [sys.executable, "-m", "kaleidoscope", "report", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout

    gone = min((tmp_path / "out").glob("*.png"))
    gone.unlink()
    run("out", code=0)  # without --verify the manifest is believed
    repaired = json.loads(run("out", "--repair", "--csv", "wrong.csv", "--json", code=1))
    assert pd.read_csv(tmp_path / "wrong.csv")["name"].tolist() == [gone.name]
    assert (repaired["made_again"], repaired["verified"]["missing"], repaired["verified"]["ok"]) == (1, 1, False)
    assert repaired["verified"]["problems"][0]["name"] == gone.name
    assert "verify: StoreError: its object was missing" in run("out", code=1)
    write(photos, tmp_path / "out").compute()
    told = run("out", "--repair", "--checksums", code=0)
    assert "48 objects read and compared: all as the manifest says" in told
    assert "There is nothing to repair" in told
    assert gone.exists()
