"""The same seed gives the same bytes, however the work is spread and wherever the photos lie."""

import shutil

import pytest
from dask import bag
from distributed import Client

import kaleidoscope as ks
from kaleidoscope import ops


@pytest.mark.parametrize(
    "how",
    [{"scheduler": "sync"}, {"scheduler": "threads", "num_workers": 1}, {"num_workers": 4}, {}],
    ids=str,
)
def test_schedulers_of_this_process_give_the_same_bytes(how, photos, augmented, whole, check_whole, tmp_path):
    assert augmented(photos).write(tmp_path / "out").compute(**how).outputs == 768
    rows, files = check_whole(tmp_path / "out")
    assert files == whole[1]
    assert rows.equals(whole[0])


def test_two_processes_give_the_same_bytes(photos, augmented, whole, check_whole, tmp_path):
    with ks.cluster.local(workers=2, dashboard=False) as cluster, cluster.get_client():
        assert augmented(photos).write(tmp_path / "out").compute().outputs == 768
    rows, files = check_whole(tmp_path / "out")
    assert files == whole[1]
    assert rows.equals(whole[0])


def test_scheduler_in_its_own_process_gives_the_same_bytes(apart, photos, augmented, whole, check_whole, tmp_path):
    with Client(scheduler_file=apart(2, "--no-nanny")) as client:
        client.wait_for_workers(2, timeout=60)
        assert augmented(photos).write(tmp_path / "out").compute().outputs == 768
    rows, files = check_whole(tmp_path / "out")
    assert files == whole[1]
    assert rows.equals(whole[0])


@pytest.mark.parametrize("size", [1, 5, 12])
def test_partition_size_changes_nothing(size, photos, augmented, whole, files, tmp_path):
    dataset = ks.read_images(photos, partition_size=size)
    assert dataset.npartitions == {1: 12, 5: 3, 12: 1}[size]
    augmented(dataset).write(tmp_path / "out").compute()
    assert files(tmp_path / "out") == whole[1]


def test_bags_of_1_3_and_50_partitions_give_the_same_bytes(make_photos, augmented, files, tmp_path):
    urls = sorted(map(str, make_photos(tmp_path / "photos", 50).iterdir()))
    found = []
    for parts in (1, 3, 50):
        dataset = bag.from_sequence(urls, npartitions=parts)
        assert dataset.npartitions == parts
        augmented(dataset, 3).write(tmp_path / str(parts)).compute()
        found.append(files(tmp_path / str(parts)))
    assert len(found[0]) == 400
    assert found[0] == found[1] == found[2]


def test_computed_variants_equal_the_written_ones(photos, augmented, files, tmp_path, rows):
    views = augmented(photos, 4)
    views.write(tmp_path / "out", format="npy").compute()
    written = files(tmp_path / "out")
    named = {(row.key, row.variant): row.output for row in rows(tmp_path / "out").itertuples()}
    for record in views.compute():
        assert written[named[record.key, record.variant]].endswith(record.pixels.tobytes())


def test_photos_copied_elsewhere_give_the_same_bytes(photos, augmented, whole, files, tmp_path):
    moved = shutil.copytree(photos, tmp_path / "elsewhere" / "deeper")
    augmented(moved).write(tmp_path / "out").compute()
    assert files(tmp_path / "out") == whole[1]


def test_another_seed_gives_others(photos, augmented, whole, files, tmp_path):
    augmented(photos, seed=8).write(tmp_path / "out").compute()
    other = files(tmp_path / "out")
    assert other.keys() == whole[1].keys()
    same = {name.split("__")[1] for name in other if other[name] == whole[1][name]}
    assert same == {"original.jpg", "hflip.jpg"}, "only what draws nothing is the same"


def test_seventh_op_leaves_the_first_64_as_they_were(photos, six, whole, check_whole, stamps, tmp_path):
    recipe = [getattr(ops, name)() for name in six]
    target = tmp_path / "out"
    ks.augment(photos, recipe, seed=7).write(target).compute()
    before = stamps(target)

    longer = ks.augment(photos, [*recipe, ops.HorizontalFlip()], seed=7).write(target)
    assert longer.left == 768
    report = longer.compute()

    assert (report.outputs, report.skipped, report.counts["encode"]) == (768, 768, 768)
    rows, files = check_whole(target)
    assert len(rows) == len(files) == 1536
    assert stamps(target, before) == before
    assert {name: files[name] for name in before} == whole[1]
    assert longer.left == 0
    fresh = tmp_path / "fresh"
    ks.augment(photos, [*recipe, ops.HorizontalFlip()], seed=7).write(fresh).compute()
    assert check_whole(fresh)[1] == files
