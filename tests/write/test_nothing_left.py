"""However often a run ends, and however it does: no open file, no thread, no upload, no half object is left behind."""

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from urllib.parse import urlsplit

import psutil
import pytest
import s3fs

import kaleidoscope as ks
from kaleidoscope import lease as leases
from kaleidoscope import ops, retries
from kaleidoscope.errors import StoreError
from kaleidoscope.storage import Store

#: To the server. A library opens another one when its requests first overlap, in whichever run that is, and keeps it.
#: A run asks four things at once, at most: two outputs are written, the lease looked at, something listed; by either of
#: two libraries.
MOST_CONNECTIONS = 2 * 4

pytestmark = pytest.mark.skipif(not hasattr(psutil.Process, "num_fds"), reason="open files are counted as on Unix")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Wait for nobody: here only one writes. What has to be done in time has as long as ever."""
    clock = SimpleNamespace(time=time.time, monotonic=time.monotonic, sleep=lambda _: time.sleep(0.05))
    monkeypatch.setattr(leases, "time", clock)
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.01)


def held(endpoint):
    """Return how many connections to a server, other files and sockets, and threads this process has."""
    gc.collect()
    here, port = psutil.Process(), urlsplit(endpoint).port
    # These come first: nobody opens one now, and one that ends before the next look only makes the files fewer.
    there = sum(bool(one.raddr) and one.raddr.port == port for one in here.net_connections("inet"))
    return there, here.num_fds() - there, threading.active_count()


@pytest.fixture
def pool():
    """Two threads that have begun: an executor begins its second one when the first happens to be busy, or never."""
    both = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: both.wait(30), range(2)))
        yield pool


@pytest.mark.parametrize("runs", [10, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "library", [pytest.param("disk", marks=pytest.mark.slow), "obstore", pytest.param("fsspec", marks=pytest.mark.slow)]
)
def test_many_runs_hold_no_more_open_than_a_few(library, runs, s3, pool, make_photos, tmp_path, monkeypatch):
    """Every fifth of them ends with an error, before it commits."""
    views = ks.augment(make_photos(tmp_path / "photos", 1), [ops.HorizontalFlip()])
    url, options = (tmp_path / "out", {}) if library == "disk" else (f"s3://out/{tmp_path.name}", s3)
    monkeypatch.setenv("DASK_KALEIDOSCOPE__OBJECT_STORE", "auto" if library == "disk" else library)
    counts = []
    for number in range(runs):
        run = views.write(f"{url}/{number}", storage_options=options)
        with monkeypatch.context() as patch:
            if number % 5 == 4:
                patch.setattr("kaleidoscope.blocks.to_parquet", refuses)
                with pytest.raises(StoreError):
                    run.compute(scheduler="threads", pool=pool)
            else:
                assert run.compute(scheduler="threads", pool=pool).outputs == 2
        counts.append(held(s3["endpoint_url"]))
    connections, files, threads = zip(*counts, strict=True)
    half = runs // 2
    assert max(connections) <= MOST_CONNECTIONS, connections
    assert max(files[half:]) <= max(files[:half]), files
    assert max(threads[half:]) <= max(threads[:half]), threads


def refuses(*_):
    raise StoreError("cannot write: as if")


@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
def test_runs_over_a_way_that_fails_leave_no_uploads_and_nothing_unfinished(
    layout, moto, make_photos, augmented, way_to, tmp_path
):
    source = make_photos(tmp_path / "photos", 2)
    with way_to(int(moto["endpoint_url"].rpartition(":")[2]), busy=0.1, reset=0.05, cut=0.02) as way:
        options = {**moto, "endpoint_url": f"http://127.0.0.1:{way.port}"}
        report = augmented(source, 2).write(f"s3://out/{layout}", layout=layout, storage_options=options).compute()
    assert (report.outputs, report.failed) == (8, 0)
    uploads = s3fs.S3FileSystem(**moto).call_s3("list_multipart_uploads", Bucket="out")
    assert not uploads.get("Uploads")
    record = [name for name in Store(f"s3://out/{layout}", moto).find() if name.startswith("_kaleidoscope/")]
    assert sorted(name for name in record if "manifest/" not in name) == [
        "_kaleidoscope/inputs-00000.parquet",
        "_kaleidoscope/run.json",
    ]
