"""Shards: what training jobs read in them, that everybody gets the same bytes, and what later runs do to them."""

import io
import itertools
import json
import tarfile
import zlib

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
from dask import bag
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

import kaleidoscope as ks
from kaleidoscope import ops, shards
from kaleidoscope.errors import RecipeError, StoreError
from kaleidoscope.layouts import Layout, ShardName
from kaleidoscope.storage import Store

LAYOUTS = ("webdataset", "parquet")
MIB = 2**20
#: It leaves the files that it has read to the garbage collector.
webdataset_leaves_files_open = pytest.mark.filterwarnings(
    "ignore:Exception ignored in.*FileIO:pytest.PytestUnraisableExceptionWarning",
    "ignore:unclosed file:ResourceWarning",
)


def read_by_webdataset(*shards):
    return list(webdataset.WebDataset([str(path) for path in sorted(shards)], shardshuffle=False).decode("pil"))


@pytest.fixture(scope="module")
def many(tmp_path_factory, make_photos):
    """Twenty photos, which no test may change: eight variants as PNG are two blocks, the first of two shards."""
    return make_photos(tmp_path_factory.mktemp("many") / "photos", 20, shape=(64, 96, 3))


@pytest.fixture
def source(make_photos, tmp_path):
    """Twenty photos that a test may change."""
    return make_photos(tmp_path / "photos", 20)


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return request.param


def samples_in_tar(data):
    """Read a tar shard member by member, and not by the library that others read it with."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            assert (member.mode, member.uid, member.gid, member.uname, member.gname) == (0o644, 0, 0, "", "")
            assert member.mtime == 0
            found[member.name] = tar.extractfile(member).read()
    return found


def outputs_in(shards):
    """Return what plain readers find in shards: (key, variant) to shard, name, bytes, labels and masks."""
    found = {}
    for shard, data in shards.items():
        for output, there in (in_tar if shard.endswith(".tar") else in_parquet)(data):
            assert output not in found, "an output lies in two shards"
            found[output] = (shard, *there)
    return found


def in_tar(data):
    members = samples_in_tar(data)
    samples = {}
    for name in members:
        folder, _, base = name.rpartition("/")
        stem, _, extension = base.partition(".")
        samples.setdefault((folder, stem), {})[extension] = name
    for sample in samples.values():
        about = json.loads(members[sample.pop("json")])
        masks = {
            extension.split(".")[0]: members[sample.pop(extension)] for extension in list(sample) if "." in extension
        }
        (image,) = sample.values()
        yield (about["key"], about["variant"]), (image, members[image], about["objects"], masks)


def in_parquet(data):
    for row in pq.read_table(io.BytesIO(data)).to_pylist():
        masks = {"mask" if m["name"] == "mask" else f"mask-{m['name']}": m["image"]["bytes"] for m in row["masks"]}
        objects = row["objects"] and json.loads(row["objects"])
        yield (row["key"], row["variant"]), (row["image"]["path"], row["image"]["bytes"], objects, masks)


@pytest.fixture(scope="session")
def check_shards(rows, files):
    """Return a function that checks that whoever reads all shards and who reads the manifest find the same."""

    def check(target):
        shards, table = files(target), rows(target)
        assert all(ShardName.parse(name) for name in shards)
        found = outputs_in(shards)
        done = table[table["status"] == "ok"]
        told = {(r.key, r.variant): (r.shard, r.output) for r in done.itertuples()}
        assert {output: there[:2] for output, there in found.items()} == told
        for row in done.itertuples():
            data = found[row.key, row.variant][2]
            assert (len(data), zlib.crc32(data)) == (row.bytes, row.checksum)
        assert {name for name, _ in told.values()} == set(shards), "no shard is empty, or told of by nobody"
        record = target / "_kaleidoscope"
        assert list(record.glob("lease-*")) == list(record.glob("unfinished/*")) == []
        return table, shards

    return check


def images(shards):
    return {output: data for output, (_, _, data, _, _) in outputs_in(shards).items()}


# ------------------------------------------------------------------------------------ what lies in them


def test_shards_hold_the_same_images_as_files(layout, many, augmented, check_shards, rows, files, tmp_path):
    augmented(many, 3).write(tmp_path / "files", format="png").compute()
    report = augmented(many, 3).write(tmp_path / "out", format="png", layout=layout, shard_bytes="1 MiB").compute()
    assert (report.inputs, report.outputs, report.failed) == (20, 160, 0)
    _, shards = check_shards(tmp_path / "out")
    loose = files(tmp_path / "files")
    named = {(row.key, row.variant): row.output for row in rows(tmp_path / "files").itertuples()}
    assert images(shards) == {output: loose[name] for output, name in named.items()}
    assert [str(s)[:12] for s in map(ShardName.parse, sorted(shards))] == [
        "00000000-000",
        "00000000-000",
        "00000001-000",
    ]
    assert max(map(len, shards.values())) <= MIB


def test_shards_are_in_the_order_of_the_dataset_and_the_tree(layout, many, augmented, check_shards, tmp_path):
    views = augmented(many, 3)
    views.write(tmp_path / "out", format="png", layout=layout, shard_bytes=MIB).compute()
    _, shards = check_shards(tmp_path / "out")
    keys = sorted(path.name for path in many.iterdir())
    assert list(outputs_in(dict(sorted(shards.items())))) == list(itertools.product(keys, views.variants))


@webdataset_leaves_files_open
def test_webdataset_reads_tar_shards(many, augmented, tmp_path):
    report = augmented(many, 3).write(tmp_path / "out", layout="webdataset").compute()
    table = report.manifest.compute().set_index("output")
    found = read_by_webdataset(*(tmp_path / "out").glob("*.tar"))
    assert len({sample["__key__"] for sample in found}) == len(found) == 160
    for sample in found:
        row = table.loc[sample["__key__"] + ".jpg"]
        about = sample["json"]
        assert (about["key"], about["variant"], about["seed"]) == (row["key"], row["variant"], 7)
        assert (about["recipe_id"], about["params"]) == (row["recipe_id"], json.loads(row["params"]))
        assert about["objects"] is None
        assert sample["jpg"].size == (about["width"], about["height"]) == (96, 64)


def test_pyarrow_reads_parquet_shards_and_pil_the_images(many, augmented, tmp_path):
    report = augmented(many, 3).write(tmp_path / "out", layout="parquet").compute()
    table = pq.read_table(tmp_path / "out")  # it leaves out what begins with an underscore
    columns = ["image", "key", "variant", "width", "height", "objects", "params", "seed", "recipe_id", "masks"]
    assert table.column_names == columns
    known = report.manifest.compute().set_index(["key", "variant"])
    rows = table.to_pylist()
    assert len(rows) == 160
    for row in rows:
        with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
            image.load()
            assert image.size == (row["width"], row["height"]) == (96, 64)
        told = known.loc[(row["key"], row["variant"])]
        assert (row["image"]["path"], row["params"], row["seed"]) == (told["output"], told["params"], 7)
        assert (row["objects"], row["masks"]) == (None, [])


@pytest.mark.parametrize(("format", "image"), [("jpg", {"_type": "Image"}), ("npy", None)])
def test_parquet_shards_say_what_datasets_asks_for(format, image, augmented, pixels, tmp_path):
    augmented([pixels(1)], 1).write(tmp_path / "out", format=format, layout="parquet").compute()
    (shard,) = (tmp_path / "out").glob("*.parquet")
    features = json.loads(pq.read_schema(shard).metadata[b"huggingface"])["info"]["features"]
    assert list(features["image"]) == (["_type"] if image else ["bytes", "path"])
    assert features["key"] == {"dtype": "string", "_type": "Value"}
    assert set(features) == set(pq.read_schema(shard).names)


def test_row_groups_are_small(augmented, make_photos, tmp_path):
    augmented(make_photos(tmp_path / "photos", 30), 3).write(tmp_path / "out", layout="parquet").compute()
    (shard,) = (tmp_path / "out").glob("*.parquet")
    told = pq.read_metadata(shard)
    assert [told.row_group(i).num_rows for i in range(told.num_row_groups)] == [100, 100, 40]


def test_output_larger_than_a_shard_has_one_of_its_own(layout, augmented, check_shards, tmp_path):
    rng = np.random.default_rng(3)
    noise = [rng.integers(0, 256, (700, 700, 3), dtype=np.uint8) for _ in range(2)]
    views = ks.augment(noise, [ops.HorizontalFlip()])
    views.write(tmp_path / "out", format="npy", layout=layout, shard_bytes=MIB).compute()
    _, shards = check_shards(tmp_path / "out")
    assert [ShardName.parse(name).number for name in sorted(shards)] == [0, 1, 2, 3]
    assert min(map(len, shards.values())) > MIB


@pytest.mark.parametrize("size", [MIB, "1.5 MiB"])
def test_no_shard_is_larger_than_was_said_and_none_could_have_held_the_next_output(
    size, many, augmented, tmp_path, files
):
    views = augmented(many, 5)
    views.write(tmp_path / "out", format="tiff", layout="webdataset", shard_bytes=size).compute()
    most, shards = Layout("webdataset", size).most, files(tmp_path / "out")
    assert len(shards) > 6
    by_part = itertools.groupby(sorted(shards), key=lambda name: name[:12])
    for _, names in by_part:
        for name, following in itertools.pairwise(names):
            first = next(iter(outputs_in({following: shards[following]}).values()))[2]
            assert most - len(first) - 8192 < len(shards[name]) <= most


MASKED = {"mask": np.eye(40, 60, dtype=np.uint8), "Lesion_2": np.full((40, 60), 300, np.uint16)}


def masked(masks):
    targets = ks.Targets(boxes=[(10, 5, 30, 20)], classes=["cat"], masks=masks)
    return ks.ImageRecord("cat.v1/00.1.png", np.full((40, 60, 3), 90, np.uint8), targets)


def test_masks_and_objects_go_along(layout, check_shards, rows, tmp_path):
    views = ks.augment([masked(MASKED)], [ops.HorizontalFlip()])
    views.write(tmp_path / "files").compute()
    views.write(tmp_path / "out", layout=layout).compute()
    _, shards = check_shards(tmp_path / "out")
    found = outputs_in(shards)
    for row in rows(tmp_path / "files").itertuples():
        _, _, _, objects, masks = found[row.key, row.variant]
        assert objects == json.loads(row.objects)
        loose = {"mask" if n == "mask" else f"mask-{n}": f for n, f in json.loads(row.masks).items()}
        assert masks == {name: (tmp_path / "files" / file).read_bytes() for name, file in loose.items()}


@webdataset_leaves_files_open
def test_webdataset_decodes_masks_of_keys_with_dots(tmp_path):
    ks.augment([masked(MASKED)], [ops.HorizontalFlip()], to=tmp_path / "out", layout="webdataset").compute()
    (shard,) = (tmp_path / "out").glob("*.tar")
    original, hflip = read_by_webdataset(shard)
    assert original["__key__"] == "cat.v1/00%2E1__original%2Epng"
    assert {name for name in hflip if "__" not in name} == {"jpg", "json", "mask.png", "mask-lesion_2.png"}
    assert hflip["json"]["objects"] == [{"box": [30.0, 5.0, 50.0, 20.0], "class": "cat", "visible": 1.0}]


ODD = [
    *("a.b.png", "a%2Eb.png", "a_b.png", ".png", "..png", " .png", "50%.png", "__x__/a.png", "____/a.png", "__x__.png"),
    *("v1.0\n/x.png", "v1.0/x.png", "d/é.png", "日本/\U0001f600.png", f"{'long' * 55}.png", f"{'long' * 55}2.png"),
    *("a.jpg", "a.png", "a.PNG", "_kaleidoscope/run.png", "-rf.png", f"{'deep/' * 60}a.png", "." * 190 + ".png"),
]


@webdataset_leaves_files_open
def test_odd_keys_are_samples_of_their_own(tmp_path):
    dataset = [ks.ImageRecord(key, np.full((4, 6, 3), i, np.uint8)) for i, key in enumerate(ODD)]
    report = ks.augment(
        dataset, [ops.HorizontalFlip()], to=tmp_path / "out", format="npy", layout="webdataset"
    ).compute()
    assert report.outputs == 2 * len(ODD)
    found = read_by_webdataset(*(tmp_path / "out").glob("*.tar"))
    assert [sample["json"]["key"] for sample in found] == [key for key in ODD for _ in range(2)]
    assert [int(sample["npy"].max()) for sample in found] == [i for i in range(len(ODD)) for _ in range(2)]
    assert len({sample["__key__"] for sample in found}) == len(found)
    told = report.manifest.compute()["output"]
    assert set(told) == {sample["__key__"] + ".npy" for sample in found}


def test_replay_makes_an_output_again_from_its_row(layout, many, augmented, check_shards, rows, tmp_path):
    augmented(many, 3).write(tmp_path / "out", format="npy", layout=layout).compute()
    table, shards = check_shards(tmp_path / "out")
    found = outputs_in(shards)
    for _, row in table.iloc[::37].iterrows():
        np.testing.assert_array_equal(ks.replay(row), np.load(io.BytesIO(found[row["key"], row["variant"]][2])))


# ------------------------------------------------------------------------------------ the same bytes


@pytest.fixture(scope="module")
def wholes(many, augmented, check_shards, tmp_path_factory):
    """What one run that nothing disturbed makes of the twenty photos: rows and shards, by layout."""
    made = {}
    for layout in LAYOUTS:
        target = tmp_path_factory.mktemp("whole") / layout
        augmented(many, 3).write(target, format="png", layout=layout, shard_bytes=MIB).compute(scheduler="sync")
        made[layout] = check_shards(target)
    return made


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_change_nothing(threads, layout, many, augmented, wholes, check_shards, tmp_path):
    views = augmented(many, 3)
    views.write(tmp_path / "out", format="png", layout=layout, shard_bytes=MIB).compute(num_workers=threads)
    rows, shards = check_shards(tmp_path / "out")
    assert shards == wholes[layout][1]
    assert rows.equals(wholes[layout][0])


@pytest.mark.parametrize("partitions", [1, 3, 20])
def test_partitions_change_nothing(partitions, layout, many, augmented, wholes, files, tmp_path):
    dataset = bag.from_sequence(sorted(map(str, many.iterdir())), npartitions=partitions)
    named = dataset.map(
        lambda url: ks.ImageRecord(url.rsplit("/", 1)[1], source=ks.read_images(url).compute()[0].source)
    )
    augmented(named, 3).write(tmp_path / "out", format="png", layout=layout, shard_bytes=MIB).compute()
    assert files(tmp_path / "out") == wholes[layout][1]


# ------------------------------------------------------------------------------------ what a later run does


@pytest.fixture
def written(layout, source, augmented, tmp_path):
    """Return a function that writes the photos that a test may change, and its report: as PNG, four variants."""

    def written(count=2, target=tmp_path / "out", **options):
        return augmented(source, count).write(target, format="png", layout=layout, **options).compute()

    assert written().outputs == 80
    return written


def test_same_run_again_changes_nothing(written, files, stamps, tmp_path):
    before = stamps(tmp_path / "out")
    assert written().outputs == 0
    assert stamps(tmp_path / "out") == before


def test_op_at_the_end_adds_shards_and_leaves_the_others(written, stamps, check_shards, tmp_path):
    before = stamps(tmp_path / "out")
    report = written(3)
    assert (report.outputs, report.skipped) == (80, 80)
    _, shards = check_shards(tmp_path / "out")
    assert stamps(tmp_path / "out", before) == before
    assert {str(name)[:12] for name in set(shards) - set(before)} == {"00000000-001"}


def test_new_images_make_new_blocks(written, source, make_photos, stamps, check_shards, tmp_path):
    before = stamps(tmp_path / "out")
    make_photos(source, 3, first=20)
    report = written()
    assert (report.outputs, report.skipped) == (12, 80)
    _, shards = check_shards(tmp_path / "out")
    assert stamps(tmp_path / "out", before) == before
    assert [name[:12] for name in set(shards) - set(before)] == ["00000001-000"]


def change(source, pixels, name="003.jpg"):
    (source / name).write_bytes(cv2.imencode(".jpg", pixels(99, (40, 50, 3)))[1].tobytes())


def test_block_of_a_changed_image_is_written_anew(written, source, pixels, check_shards, tmp_path, rows):
    change(source, pixels)
    report = written()
    assert (report.outputs, report.skipped) == (80, 0)
    table, shards = check_shards(tmp_path / "out")
    assert {name[:12] for name in shards} == {"00000000-001"}
    written(target=tmp_path / "fresh")
    fresh, fresh_shards = check_shards(tmp_path / "fresh")
    assert images(shards) == images(fresh_shards)
    assert table.drop(columns="shard").equals(fresh.drop(columns="shard"))
    assert written().outputs == 0, "and it is done"


def test_changed_image_leaves_other_blocks_alone(written, source, pixels, make_photos, stamps, check_shards, tmp_path):
    make_photos(source, 30, first=20)
    written()
    names = [path.name for path in (tmp_path / "out").glob("*-*")]
    others = stamps(tmp_path / "out", [name for name in names if not name.startswith("00000000")])
    assert others
    change(source, pixels)
    assert written().outputs == 80
    check_shards(tmp_path / "out")
    assert stamps(tmp_path / "out", others) == others


def test_changed_image_and_new_op_together(written, source, pixels, check_shards, tmp_path):
    change(source, pixels)
    assert written(3).outputs == 160
    _, shards = check_shards(tmp_path / "out")
    written(3, target=tmp_path / "fresh")
    assert images(shards) == images(check_shards(tmp_path / "fresh")[1])
    assert written(3).outputs == 0


def test_image_that_is_gone_stays_until_its_block_is_written_anew(written, source, pixels, check_shards, tmp_path):
    (source / "001.jpg").unlink()
    assert written().outputs == 0
    rows, _ = check_shards(tmp_path / "out")
    assert "001.jpg" in set(rows["key"])
    change(source, pixels)
    assert written().outputs == 76
    rows, _ = check_shards(tmp_path / "out")
    assert rows["key"].nunique() == 19


def test_failed_images_are_rows_and_are_written_once_they_can_be_read(written, source, check_shards, tmp_path):
    good = (source / "004.jpg").read_bytes()
    (source / "004.jpg").write_bytes(good[: len(good) // 2])
    target = tmp_path / "new"
    report = written(target=target)
    assert (report.outputs, report.failed) == (76, 1)
    rows, shards = check_shards(target)
    failed = rows[rows["status"] == "failed"]
    assert set(failed["key"]) == {"004.jpg"}
    assert failed["shard"].isna().all()
    assert failed["output"].isna().all()
    assert written(target=target).outputs == 0
    assert check_shards(target)[1] == shards
    (source / "004.jpg").write_bytes(good)
    assert written(target=target).outputs == 4
    rows, repaired = check_shards(target)
    assert rows["status"].tolist() == ["ok"] * 80
    assert shards.items() <= repaired.items(), "what was right stays"
    assert written(target=target).outputs == 0


def test_image_that_can_no_longer_be_read_is_in_no_shard(written, source, check_shards, tmp_path):
    (source / "000.jpg").write_bytes(b"no image any more")
    report = written()
    assert (report.outputs, report.failed) == (76, 1)
    rows, shards = check_shards(tmp_path / "out")
    assert len(rows) == 80
    assert len(outputs_in(shards)) == 76
    assert written().outputs == 0


def test_sample_is_extended_and_nothing_of_it_is_lost_when_an_image_changes(
    layout, source, augmented, pixels, check_shards, tmp_path
):
    def write(n):
        return augmented(source, 3).sample(n).write(tmp_path / "out", format="png", layout=layout).compute()

    assert [write(2).outputs, write(4).outputs] == [40, 40]
    change(source, pixels)
    report = write(2)
    assert (report.outputs, report.skipped) == (80, 0)
    rows, _ = check_shards(tmp_path / "out")
    assert rows.groupby("key").size().tolist() == [4] * 20
    assert write(4).outputs == 0


def test_overwrite_starts_anew_and_leaves_what_is_others(written, source, check_shards, layout, tmp_path):
    mine = tmp_path / "out" / f"photos.{'tar' if layout == 'webdataset' else 'parquet'}"
    mine.write_bytes(b"mine")
    stopped = tmp_path / "out" / str(ShardName(7, 0, 0, 1, "tar" if layout == "webdataset" else "parquet"))
    stopped.write_bytes(b"of a run that was stopped")
    report = written(1, overwrite=True)
    assert (report.outputs, report.skipped) == (40, 0)
    assert mine.read_bytes() == b"mine"
    mine.unlink()
    rows, _ = check_shards(tmp_path / "out")
    assert len(rows) == 40


@pytest.mark.parametrize(("before", "after"), [*itertools.permutations(("files", *LAYOUTS), 2)])
def test_another_layout_is_refused_and_may_overwrite(before, after, source, augmented, files, tmp_path):
    views, target = augmented(source, 1), tmp_path / "out"
    views.write(target, layout=before).compute()
    there = files(target)
    with pytest.raises(RecipeError, match=rf"holds outputs in the layout '{before}', this run's is '{after}'"):
        views.write(target, layout=after).compute()
    assert files(target) == there
    assert views.write(target, layout=after, overwrite=True).compute().outputs == 40
    views.write(tmp_path / "fresh", layout=after).compute()
    assert files(target) == files(tmp_path / "fresh")


def test_target_of_an_older_version_is_of_files(source, augmented, tmp_path):
    augmented(source, 1).write(tmp_path / "out").compute()
    record = tmp_path / "out" / "_kaleidoscope" / "run.json"
    said = json.loads(record.read_text())
    del said["layout"]
    record.write_text(json.dumps(said))
    with pytest.raises(RecipeError, match="the layout 'files'"):
        augmented(source, 1).write(tmp_path / "out", layout="parquet").compute()
    assert augmented(source, 1).write(tmp_path / "out").compute().outputs == 0


# ------------------------------------------------------------------------------------ stopped, and done twice


@pytest.mark.parametrize("when", ["before", "after"])
def test_rewriting_that_is_stopped_around_its_commit_is_made_good(
    when, written, source, pixels, check_shards, tmp_path, monkeypatch
):
    change(source, pixels)

    def write(store, name, data, real=Store.write):
        if when == "after" or not name.startswith("_kaleidoscope/manifest/"):
            real(store, name, data)
        if name.startswith("_kaleidoscope/manifest/"):
            raise StoreError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", write)
        with pytest.raises(StoreError, match="stopped"):
            written()
    assert written().outputs == (80 if when == "before" else 0)
    _, shards = check_shards(tmp_path / "out")
    written(target=tmp_path / "fresh")
    assert images(shards) == images(check_shards(tmp_path / "fresh")[1])


def test_rewriting_task_that_runs_again_after_its_commit_deletes_the_old_shards(
    written, source, pixels, augmented, layout, check_shards, tmp_path
):
    from kaleidoscope import blocks

    change(source, pixels)
    old = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*-*")}
    run = augmented(source, 2).write(tmp_path / "out", format="png", layout=layout)
    plan = run._planned()
    (task,) = (plan.graph[key] for key in plan.blocks)
    opened = plan.graph[f"open-{plan.run_id}"]()
    blocks.write_blocks(opened, *task.args[1:])
    for name, data in old.items():
        (tmp_path / "out" / name).write_bytes(data)  # as if it had been killed before it deleted them
    again = blocks.write_blocks(opened, *task.args[1:])
    assert again.outputs == 80
    blocks.close_run(opened, [again])
    check_shards(tmp_path / "out")


def test_shard_of_an_attempt_that_lost_goes_with_the_next_run(written, source, check_shards, layout, files, tmp_path):
    """A worker was killed in a block; with the next one, which did the block, an image failed that had not before."""
    good = (source / "004.jpg").read_bytes()
    (source / "004.jpg").write_bytes(b"")
    target = tmp_path / "new"
    written(target=target)
    (name,) = files(target)
    lost = ShardName.parse(name)
    lost = target / str(ShardName(lost.block, lost.serial, lost.number, 1, lost.extension))
    lost.write_bytes(b"of the first attempt")
    (source / "004.jpg").write_bytes(good)
    written(target=target)
    assert not lost.exists()
    check_shards(target)


# ------------------------------------------------------------------------------------ what is asked for


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "webdatset"}, "expected one of the layouts files, webdataset, parquet; .*did you mean"),
        ({"layout": None}, "expected one of the layouts"),
        ({"layout": "parquet", "shard_bytes": 2**20 - 1}, "at least 1 MiB"),
        ({"layout": "parquet", "shard_bytes": "1 MB"}, "at least 1 MiB"),
        ({"layout": "parquet", "shard_bytes": "much"}, "such as '256 MiB', got 'much'"),
        ({"layout": "parquet", "shard_bytes": True}, "such as '256 MiB', got True"),
        ({"layout": "parquet", "shard_bytes": float("nan")}, "such as '256 MiB'"),
        ({"shard_bytes": "1 GiB"}, "the layout 'files' has no shards"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_at_once(options, message, many, augmented, tmp_path):
    with pytest.raises(RecipeError, match=f"(?i){message}"):
        augmented(many, 1).write(tmp_path / "out", **options)


def test_augment_to_a_target_takes_a_layout(many, check_shards, layout, tmp_path):
    ks.augment(many, [ops.HorizontalFlip()], to=tmp_path / "out", layout=layout, shard_bytes="2 MiB").compute()
    assert len(check_shards(tmp_path / "out")[0]) == 40


def test_keys_that_differ_in_case_are_no_trouble_in_a_shard(layout, monkeypatch, check_shards, tmp_path):
    monkeypatch.setattr("kaleidoscope.writing.case_folds", lambda _: True)
    dataset = [ks.ImageRecord(key, np.zeros((4, 6, 3), np.uint8)) for key in ("a.jpg", "A.jpg")]
    ks.augment(dataset, [ops.HorizontalFlip()], to=tmp_path / "out", layout=layout).compute()
    assert len(check_shards(tmp_path / "out")[0]) == 4
    with pytest.raises(RecipeError, match="upper from lower case"):
        ks.augment(dataset, [ops.HorizontalFlip()], to=tmp_path / "files").compute()


def test_bucket_holds_the_same_shards(layout, s3, many, augmented, wholes, files, tmp_path):
    import fsspec

    views, url = augmented(many, 3), f"s3://out/{layout}"
    options = {"format": "png", "layout": layout, "shard_bytes": MIB}
    run = views.write(url, storage_options=s3, **options)
    assert run.compute().outputs == 160
    assert run.left == 0
    fs = fsspec.filesystem("s3", **s3)
    there = {path.rsplit("/", 1)[1]: fs.cat_file(path) for path in fs.ls(url, detail=False) if "-0" in path}
    assert there == wholes[layout][1]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=120), st.integers(0, 2**36))
@example("a" * 100, 8**11 - 1)
@example("a" * 101, 0)
@example("b/ü", 8**11)
def test_headers_are_those_of_tarfile(name, size):
    member = tarfile.TarInfo(name)
    member.size = size
    assert shards._header(name, size) == member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
