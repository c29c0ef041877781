"""From bucket to bucket: whatever changed since the run that was broken off, the target ends as that of a fresh run."""

import time
from types import SimpleNamespace

import dask
import pytest
from dask.distributed import Client

import kaleidoscope as ks
from kaleidoscope import lease as leases
from kaleidoscope import retries
from kaleidoscope.errors import StoreError
from kaleidoscope.storage import Store


@pytest.fixture
def bucket(s3, make_photos, tmp_path, monkeypatch):
    """A folder of six photos in a bucket, and a function that puts others there."""
    # Nobody else writes here: no waiting for others. What has to be done in time has as long as ever.
    clock = SimpleNamespace(time=time.time, monotonic=time.monotonic, sleep=lambda _: time.sleep(0.05))
    monkeypatch.setattr(leases, "time", clock)
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.01)
    store = Store(f"s3://photos/{tmp_path.name}", s3)

    def put(name, number):
        (photo,) = make_photos(tmp_path / f"made-{number}", 1, first=number).iterdir()
        store.write(name, photo.read_bytes())

    for number in range(6):
        put(f"{number}.jpg", number)
    return store, put


def test_broken_off_changed_and_resumed_elsewhere_is_as_made_at_once(bucket, s3, augmented, way_to, tmp_path):
    """Another partitioning, another scheduler; an image more, one less, another one in its place; and one more op."""
    source, put = bucket
    url = f"s3://out/{tmp_path.name}"

    def write(target, count, partition_size=None, options=s3):
        dataset = ks.read_images(f"{source.url}/", storage_options=s3, partition_size=partition_size)
        return augmented(dataset, count).write(target, format="png", storage_options=options)

    with way_to(int(s3["endpoint_url"].rpartition(":")[2])) as way, dask.config.set({"kaleidoscope.store-tries": 1}):
        way.strike(5 + 17 + 4, "half", lambda: None)  # one block is committed by then, whichever came first
        options = {**s3, "endpoint_url": f"http://127.0.0.1:{way.port}"}
        with pytest.raises(StoreError, match="cannot write"):
            write(url, 2, 6, options).compute(scheduler="sync")
    committed = set(ks.read_manifest(url, storage_options=s3).compute()["key"]) - {"1.jpg", "5.jpg"}
    assert committed
    put("6.jpg", 6)
    put("1.jpg", 77)
    source.delete(["5.jpg"])
    with (
        way_to(int(s3["endpoint_url"].rpartition(":")[2])) as way,
        Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"),
    ):
        options = {**s3, "endpoint_url": f"http://127.0.0.1:{way.port}"}
        report = write(url, 3, 1, options).compute()
        made = [name for name in way.puts if "_kaleidoscope" not in name]
    assert (report.inputs, report.failed) == (6, 0)
    assert report.skipped == len(committed) * 4, "but for the image that changed, and the one that is gone"
    assert report.outputs == 6 * 8 - report.skipped
    assert len(made) == len(set(made)) == report.outputs
    write(f"{url}-fresh", 3).compute(scheduler="sync")

    there, fresh = Store(url, s3), Store(f"{url}-fresh", s3)
    names = [name for name in fresh.find() if "_kaleidoscope" not in name]
    # What the broken off run had written of the image that went since lies there, in no row.
    assert set(names) == {name for name in there.find() if "_kaleidoscope" not in name and not name.startswith("5__")}
    assert all(there.read(name) == fresh.read(name) for name in names)
    rows, fresh_rows = (
        ks.read_manifest(one, storage_options=s3).compute().sort_values(["key", "variant"])
        for one in (there.url, fresh.url)
    )
    still = rows[rows["key"] != "5.jpg"]  # the rows of an image that is gone stay
    assert still.reset_index(drop=True).equals(fresh_rows.reset_index(drop=True))
    assert write(url, 3).left == 0
