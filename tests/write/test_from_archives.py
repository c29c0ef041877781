"""Archives as input: the same outputs as of a folder, resumed, failed and made again, from disk and from a bucket."""

import io
import json
import subprocess
import sys
import tarfile
import zipfile

import cv2
import dask
import numpy as np
import pytest
import s3fs

import kaleidoscope as ks
from kaleidoscope import unpacked
from kaleidoscope.errors import RecipeError, StoreError
from kaleidoscope.objects import FsspecObjects

KINDS = ("zip", "tar", "tar.gz")


def pack(path, files):
    """Write an archive of files by name."""
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture(scope="module")
def jpegs(photos):
    """Twelve photos by name."""
    return {path.name: path.read_bytes() for path in sorted(photos.iterdir())}


@pytest.fixture(scope="module")
def from_folder(photos, augmented, files, tmp_path_factory):
    """What two ops make of the folder."""
    target = tmp_path_factory.mktemp("folder") / "out"
    augmented(photos, 2).write(target).compute(scheduler="sync")
    return files(target)


@pytest.fixture(params=KINDS)
def archive(request, jpegs, tmp_path):
    """An archive of the twelve photos."""
    return pack(tmp_path / f"photos.{request.param}", jpegs)


def test_an_archive_makes_what_its_folder_makes(archive, augmented, check_whole, from_folder, tmp_path):
    views = augmented(archive, 2)
    report = views.write(tmp_path / "out").compute()
    assert (report.inputs, report.outputs, report.failed) == (12, 48, 0)
    rows, files = check_whole(tmp_path / "out")
    assert files == from_folder
    assert views.write(tmp_path / "out").compute().outputs == 0
    row = rows.iloc[7]
    assert row["source"].startswith(("zip://", "tar://"))
    assert (ks.replay(row) == ks.replay(row, source=archive)).all()


def test_shards_make_what_their_folder_makes(jpegs, augmented, files, from_folder, tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    for number, kind in enumerate(KINDS):
        pack(shards / f"s-{number}.{kind}", dict(list(jpegs.items())[number::3]))
    augmented(ks.read_images(shards / "s-*"), 2).write(tmp_path / "out").compute()
    assert files(tmp_path / "out") == from_folder
    for row in ks.read_manifest(tmp_path / "out").compute().iloc[:6].to_dict("records"):
        assert (ks.replay(row) == ks.replay(row, source=shards)).all()
    with pytest.raises(RecipeError, match="lies in, the source"):
        augmented(ks.read_images(shards), 2).write(shards / "out")


def test_preview_sample_and_estimate_take_an_archive(archive, augmented, tmp_path):
    views = augmented(archive, 2)
    assert len(views.sample(1).compute()) == 12
    views.preview(2).save(tmp_path / "sheet.png")
    assert views.estimate(tmp_path / "out").outputs == 48


def test_the_command_line_takes_shards(jpegs, files, tmp_path):
    pack(tmp_path / "s-0.tar", dict(list(jpegs.items())[:5]))
    pack(tmp_path / "s-1.tar", dict(list(jpegs.items())[5:]))
    ks.dump_recipe(ks.ops.HorizontalFlip(), tmp_path / "recipe.yaml")
    given = ["augment", f"{tmp_path}/s-{{0..1}}.tar", f"{tmp_path}/out", "--recipe", f"{tmp_path}/recipe.yaml"]
    done = subprocess.run([sys.executable, "-m", "kaleidoscope", *given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(files(tmp_path / "out")) == 12


def test_of_a_changed_zip_file_only_the_changed_members_are_made_again(jpegs, augmented, rows, stamps, tmp_path):
    path = pack(tmp_path / "a.zip", jpegs)
    augmented(path, 2).write(tmp_path / "out").compute()
    before = stamps(tmp_path / "out")
    other = cv2.imencode(".jpg", np.full((30, 40, 3), 99, np.uint8))[1].tobytes()
    new = {"new.jpg": other, **dict(reversed(jpegs.items())), "003.jpg": other}
    pack(path, new)
    report = augmented(path, 2).write(tmp_path / "out").compute()
    assert (report.inputs, report.outputs, report.skipped) == (13, 8, 44)
    after = stamps(tmp_path / "out")
    assert {name.partition("__")[0] for name in after if before.get(name) != after[name]} == {"003", "new"}
    assert set(rows(tmp_path / "out").query("width == 40")["key"]) == {"003.jpg", "new.jpg"}


def test_of_a_changed_tar_file_all_members_are_made_again(jpegs, augmented, tmp_path):
    path = pack(tmp_path / "a.tar", jpegs)
    augmented(path, 2).write(tmp_path / "out").compute()
    pack(path, {**jpegs, "new.jpg": jpegs["000.jpg"]})
    assert augmented(path, 2).write(tmp_path / "out").compute().outputs == 13 * 4


def test_a_broken_member_costs_its_own_outputs(jpegs, augmented, rows, tmp_path):
    path = pack(tmp_path / "a.zip", jpegs)
    data = bytearray(path.read_bytes())
    data[6] |= 1  # encrypted
    path.write_bytes(data)
    report = augmented(path, 2).write(tmp_path / "out").compute()
    assert (report.outputs, report.failed) == (44, 1)
    failed = rows(tmp_path / "out").query("status == 'failed'")
    assert set(failed["key"]) == {"000.jpg"}
    assert set(failed["step"]) == {"read"}
    assert failed["error"].str.contains("is encrypted").all()


def test_a_row_whose_archive_changed_says_so_and_is_made_from_the_new_one(jpegs, augmented, rows, tmp_path):
    path = pack(tmp_path / "a.zip", jpegs)
    augmented(path, 2).write(tmp_path / "out").compute()
    row = rows(tmp_path / "out").iloc[6]
    before = ks.replay(row)
    pack(path, {"0.jpg": b"something else", **jpegs})
    with pytest.raises(StoreError, match=r"changed since it was listed|is not where it was"):
        ks.replay(row)
    assert (ks.replay(row, source=path) == before).all()
    with pytest.raises(StoreError, match=r"there is no image 'x.jpg' in .*a.zip"):
        ks.replay({**row, "key": "x.jpg"}, source=path)


# ------------------------------------------------------------------------------------ labels in shards


@pytest.fixture(scope="module")
def labelled(photos):
    """The photos with a box, a polygon, keypoints and two masks each."""
    mask = np.zeros((48, 64), np.uint8)
    mask[10:20, 10:30] = 7
    targets = {
        f"{number:03d}.jpg": ks.Targets(
            boxes=[(5, 6, 30 + number, 40), (1, 2, 9, 9)],
            classes=["cat", 3],
            ids=[number, None],
            polygons=[[(5, 6), (30, 6), (30, 40)], None],
            keypoints=[None, [(3, 4, 2)]],
            masks={"mask": mask, "depth": mask[::-1] * 2},
        )
        for number in range(12)
    }
    return ks.read_images(photos).with_targets(targets)


def test_our_own_shards_give_back_images_and_labels(labelled, augmented, tmp_path, loaded):
    views = augmented(labelled, 2)
    views.write(tmp_path / "out", format="png", layout="webdataset").compute()
    shards = ks.read_images(tmp_path / "out", labels=ks.labels.WebDataset())
    made = {f"{r.key[:3]}__{r.variant}%2Ejpg.png": r for r in views.compute()}
    found = [loaded(record) for record in shards.compute()]
    assert sorted(record.key for record in found) == sorted(made)
    for record in found:
        assert (record.pixels == made[record.key].pixels).all()
        there, was = record.targets, made[record.key].targets
        assert there.objects() == was.objects()
        assert {name: mask.tobytes() for name, mask in there.masks.items()} == {
            name: mask.tobytes() for name, mask in was.masks.items()
        }


def test_labels_of_shards_move_on_and_a_changed_label_is_a_changed_input(labelled, augmented, rows, tmp_path):
    augmented(labelled, 1).write(tmp_path / "one", layout="webdataset").compute()
    (shard,) = (tmp_path / "one").glob("*.tar")
    read = {"labels": ks.labels.WebDataset()}
    augmented(ks.read_images(shard, **read), 1).write(tmp_path / "two").compute()
    found = rows(tmp_path / "two")
    assert len(found) == 48
    assert all(json.loads(text)[0]["class"] == "cat" for text in found["objects"])
    assert all(set(json.loads(text)) == {"mask", "depth"} for text in found["masks"])
    again = augmented(ks.read_images(shard, **read), 1).write(tmp_path / "two")
    assert again.left == 0


def test_without_labels_their_masks_are_images_as_in_a_folder(labelled, augmented, tmp_path):
    augmented(labelled, 1).write(tmp_path / "out", layout="webdataset").compute()
    assert ks.read_images(tmp_path / "out").count().compute() == 24 * 3


def sample(**members):
    image = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    return {"a.png": image, **{f"a.{end.replace('_', '.')}": data for end, data in members.items()}}


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"{", "a.json is no JSON"),
        (b'{"objects": 3}', "expected a list as its objects, got int"),
        (b'{"objects": [3]}', "expected a mapping for each object"),
        (b'{"objects": [{"bbox": [1, 2, 3, 4]}]}', "not 'bbox'. Did you mean 'box'"),
    ],
)
def test_labels_that_make_no_sense_fail_their_image(tmp_path, said, error):
    bag = ks.read_images(pack(tmp_path / "a.tar", sample(json=said)), labels=ks.labels.WebDataset())
    (record,) = ks.augment(bag, ks.ops.HorizontalFlip()).compute()
    assert error in str(record.error)
    assert record.error.step == "labels"


@pytest.mark.parametrize("said", [b'{"objects": null}', b'{"caption": "a cat"}', b"[1, 2]"])
def test_json_without_objects_is_no_label(tmp_path, said, loaded):
    bag = ks.read_images(pack(tmp_path / "a.tar", sample(json=said, cls=b"3")), labels=ks.labels.WebDataset())
    assert [loaded(record).targets for record in bag.compute()] == [None]


def test_shards_without_labels_are_refused_where_labels_are_asked_for(tmp_path, photos):
    with pytest.raises(RecipeError, match=r"no image in .* lies in an archive with a \.json or a \.mask\.png"):
        ks.read_images(pack(tmp_path / "a.tar", sample(cls=b"3")), labels=ks.labels.WebDataset())
    with pytest.raises(RecipeError, match=r"no image in .* lies in an archive"):
        ks.read_images(photos, labels=ks.labels.WebDataset())


def test_two_images_of_one_sample_cannot_share_its_labels(tmp_path):
    path = pack(tmp_path / "a.tar", sample(left_jpg=b"1", json=b"{}"))
    with pytest.raises(RecipeError, match=r"'a.png' and 'a.left.jpg' are one sample|'a.left.jpg' and 'a.png'"):
        ks.read_images(path, labels=ks.labels.WebDataset())


# ------------------------------------------------------------------------------------ in a bucket


@pytest.fixture(scope="module")
def bucket(s3, jpegs, tmp_path_factory):
    """What opens a bucket with the photos in shards of each kind."""
    here = tmp_path_factory.mktemp("packed")
    with pytest.MonkeyPatch.context() as env:
        env.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")  # rclone tells the whole object's
        store = s3fs.S3FileSystem(**s3)
        for number, kind in enumerate(KINDS):
            path = pack(here / f"s-{number}.{kind}", dict(list(jpegs.items())[number::3]))
            store.pipe_file(f"photos/shards/{path.name}", path.read_bytes())
        yield s3


@pytest.mark.parametrize("library", ["obstore", "fsspec"])
def test_archives_in_a_bucket_make_what_their_folder_makes(
    bucket, library, augmented, rows, files, from_folder, tmp_path
):
    with dask.config.set({"kaleidoscope.object-store": library}):
        dataset = ks.read_images("s3://photos/shards/", storage_options=bucket)
        report = augmented(dataset, 2).write(tmp_path / "out", storage_options={}).compute()
        assert (report.outputs, report.failed) == (48, 0)
        assert files(tmp_path / "out") == from_folder
        assert augmented(dataset, 2).write(tmp_path / "out", storage_options={}).left == 0
    sources = rows(tmp_path / "out")["source"]
    assert sources.str.contains("::s3://photos/shards/s-").all()
    assert not sources.str.contains(bucket["secret"]).any()
    assert bucket["secret"] not in repr(dataset)


def test_requests_to_a_bucket_are_one_for_each_list_and_one_for_each_image(bucket, augmented, monkeypatch, tmp_path):
    ranges = []
    get_range = FsspecObjects.get_range
    monkeypatch.setattr(
        FsspecObjects,
        "get_range",
        lambda self, path, *span: ranges.append((path, span)) or get_range(self, path, *span),
    )
    unpacked._held.clear()
    with dask.config.set({"kaleidoscope.object-store": "fsspec"}):
        dataset = ks.read_images("s3://photos/shards/s-*", storage_options=bucket)
        augmented(dataset, 2).write(tmp_path / "out", storage_options={}).compute()
    counts = [sum(path.endswith(f"s-{number}.{kind}") for path, _ in ranges) for number, kind in enumerate(KINDS)]
    assert counts == [1 + 4, 1 + 4, 1]
