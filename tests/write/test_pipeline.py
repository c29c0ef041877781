"""A task on a bucket: what it reads ahead and writes behind, within which bounds, and what is there when."""

import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import cv2
import dask
import obstore
import pytest

import kaleidoscope as ks
from kaleidoscope import ops, retries, writing
from kaleidoscope.blocks import open_run, write_blocks
from kaleidoscope.errors import StoreError
from kaleidoscope.job import Job
from kaleidoscope.storage import Store

PARTS = "_kaleidoscope/manifest/"


class Traffic:
    """What obstore is asked for, in order, and how much of it at once; each takes time, and some of it fails."""

    def __init__(self, monkeypatch):
        self.log, self.lock = [], threading.Lock()
        self.now, self.most = ({what: [0, 0] for what in ("get", "look", "put")} for _ in range(2))
        self.takes, self.hook = 0.0, lambda what, key: None
        self._real = {name: getattr(obstore, name) for name in ("get", "put")}
        monkeypatch.setattr(obstore, "put", self._put)
        monkeypatch.setattr(obstore, "get", self._get)

    def _counted(self, what, key, size, call):
        with self.lock:
            self.log.append((f"{what} begun", key))
            self.now[what][0] += 1
            self.now[what][1] += size
            self.most[what] = [max(pair) for pair in zip(self.now[what], self.most[what], strict=True)]
        try:
            time.sleep(self.takes)
            self.hook(what, key)
            return call()
        finally:
            with self.lock:
                self.now[what][0] -= 1
                self.now[what][1] -= size

    def _put(self, store, key, data, **how):
        def call():
            done = self._real["put"](store, key, data, **how)
            with self.lock:
                self.log.append(("put there", key))
            self.hook("put there", key)
            return done

        return self._counted("put", key, len(data), call)

    def _get(self, store, key):
        """Get an image, or look at a lease or a part."""
        return self._counted("get" if key.endswith(".jpg") else "look", key, 0, lambda: self._real["get"](store, key))

    def place(self, what, key):
        """Return the last time that something came about."""
        return len(self.log) - 1 - self.log[::-1].index((what, key))


@pytest.fixture
def traffic(monkeypatch):
    """Watch what passes between a task and the server; all blocks of a run, of two images each, are one task."""
    monkeypatch.setattr(Job, "block_images", 2)
    monkeypatch.setattr(
        writing, "in_tasks", lambda known, new, _: ([known] if known else [], [new] if len(new) else [])
    )
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.001)
    with dask.config.set({"kaleidoscope.object-store": "obstore"}):
        yield Traffic(monkeypatch)


@pytest.fixture
def target(s3, request):
    """A folder of a bucket of the test's own, and what opens it."""
    return Store(f"s3://out/{request.node.name}", s3)


def written(views, target):
    return views.write(target.url, storage_options=target.storage_options)


def test_no_more_than_its_number_is_on_its_way(photos, target, traffic, augmented):
    traffic.takes = 0.02
    with dask.config.set({"kaleidoscope.writes-at-once": 5}):
        written(augmented(photos, 3), target).compute(scheduler="sync")
    assert 4 <= traffic.most["put"][0] <= 5


def test_no_more_than_its_bytes_are_on_its_way(photos, target, traffic, files, augmented, tmp_path):
    augmented(photos, 2).write(tmp_path / "out").compute()
    sizes = sorted(map(len, files(tmp_path / "out").values()))
    traffic.takes, room = 0.02, 3 * sizes[-1]
    with dask.config.set({"kaleidoscope.write-bytes": room}):
        written(augmented(photos, 2), target).compute(scheduler="sync")
    of_outputs = room + 10_000  # parts and the lease are small
    assert 2 * sizes[0] < traffic.most["put"][1] <= of_outputs
    assert traffic.most["put"][0] <= room // sizes[0] + 2


def test_images_are_read_before_they_are_needed_and_no_more_than_its_bounds(photos, s3, target, traffic):
    source = Store(f"s3://photos/{target.url.rpartition('/')[2]}", s3)
    for photo in sorted(photos.iterdir()):
        source.write(photo.name, photo.read_bytes())
    traffic.takes = 0.02
    with dask.config.set({"kaleidoscope.reads-at-once": 4}):
        views = ks.augment(ks.read_images(source.url, storage_options=s3), ops.HorizontalFlip())
        assert written(views, target).compute(scheduler="sync").outputs == 12
        assert 2 <= traffic.most["get"][0] <= 4
        traffic.most["get"] = [0, 0]
        assert len(views.compute(scheduler="sync")) == 12
        assert 2 <= traffic.most["get"][0] <= 4
    begun = [key for what, key in traffic.log if what == "get begun" and key.endswith(".jpg")]
    assert sorted(begun) == sorted(2 * [f"{source.path().partition('/')[2]}/{p.name}" for p in photos.iterdir()])


def test_next_block_is_made_while_the_first_is_on_its_way(photos, target, traffic):
    """A block is 4 outputs; the first is not confirmed before the third block's begin."""
    third = threading.Event()

    def hook(what, key):
        if what == "put" and "/004__" in key:
            third.set()
        if what == "put" and key.endswith("/000__original.jpg"):
            assert third.wait(30), "nothing else happened meanwhile"

    traffic.hook = hook
    report = written(ks.augment(photos, [ops.HorizontalFlip()]), target).compute(scheduler="sync")
    assert report.outputs == 24


def check_order(traffic, target):
    """Check that each part was begun when its outputs were there."""
    folder = target.path().partition("/")[2]
    rows = ks.read_manifest(target.url, storage_options=target.storage_options).compute(scheduler="sync")
    parts = [key for what, key in traffic.log if what == "put there" and PARTS in key]
    assert len(set(parts)) == 6
    assert parts == sorted(parts), "in the order of the blocks"
    for row in rows.itertuples():
        block = int(row.key[:3]) // 2
        part = next(key for key in parts if f"{PARTS}{block:08d}" in key)
        assert traffic.place("put there", f"{folder}/{row.output}") < traffic.place("put begun", part)
    return rows


def test_part_comes_after_its_outputs_also_where_requests_fail(photos, target, traffic):
    """One in five is lost on its way, and the answer to one in seven."""
    tried = {"put": 0, "put there": 0}

    def hook(what, key):
        if what in tried and not key.endswith("lease-1.json"):
            tried[what] += 1
            if tried[what] % (5 if what == "put" else 7) == 0:
                raise ConnectionResetError(what)

    traffic.hook, traffic.takes = hook, 0.002
    report = written(ks.augment(photos, [ops.HorizontalFlip(), ops.GaussianBlur()]), target).compute(scheduler="sync")
    assert (report.outputs, report.failed) == (48, 0)
    assert len(check_order(traffic, target)) == 48
    assert tried["put"] > 60


def test_nothing_is_committed_once_the_lease_is_lost(photos, target, traffic):
    def hook(what, key):
        if what == "put there" and key.endswith("/003__original.jpg"):
            target.delete(["_kaleidoscope/lease-1.json"])

    traffic.hook = hook
    with pytest.raises(StoreError, match="given up or another one has taken over"):
        written(ks.augment(photos, [ops.HorizontalFlip()]), target).compute(scheduler="sync")
    assert len(target.list(PARTS)) <= 1


def test_output_that_cannot_be_written_ends_the_run_before_its_part(photos, target, traffic):
    def hook(what, key):
        if what == "put" and key.endswith("/005__hflip.jpg"):
            raise PermissionError("not there")

    traffic.hook = hook
    with pytest.raises(StoreError, match="not there"):
        written(ks.augment(photos, [ops.HorizontalFlip()]), target).compute(scheduler="sync")
    assert {name[:8] for name in target.list(PARTS)} <= {"00000000", "00000001"}
    assert target.list("_kaleidoscope") == ["inputs-00000.parquet", "run.json"], "the lease was given back"


def test_task_that_is_done_again_leaves_alone_what_was_committed(photos, target, traffic):
    run, [packed] = opened(written(ks.augment(photos, [ops.HorizontalFlip()]), target))

    def hook(what, key):
        if what == "put" and key.endswith("/006__hflip.jpg"):
            raise PermissionError("not now")

    traffic.hook = hook
    with pytest.raises(StoreError, match="not now"):
        write_blocks(run, packed)
    there = {int(name[:8]) for name in target.list(PARTS)}
    assert there <= {0, 1, 2}
    traffic.hook, traffic.log[:] = lambda what, key: None, []
    assert write_blocks(run, packed).outputs == 24
    again = {int(key.rpartition("/")[2][:3]) // 2 for what, key in traffic.log if what == "put begun" and "__" in key}
    assert again == {0, 1, 2, 3, 4, 5} - there
    run.lease.release()


def opened(run):
    """Return a run, opened here, and the blocks of its tasks."""
    graph = list(run.__dask_graph__().to_dict().values())
    order = next(task for task in graph if task.func is open_run).args[0]
    return open_run(order), [task.args[1] for task in graph if task.func is write_blocks]


def test_a_task_holds_as_much_for_ten_times_as_many_images(target, traffic, pixels, tmp_path):
    """The store is slow, so that as much waits as may; an image is known by its URL, which is little."""
    photo = cv2.imencode(".jpg", pixels(1, (1024, 1024, 3)))[1].tobytes()
    traffic.takes, most = 0.03, {}
    for count in (4, 10, 100):  # the first one loads and makes what is kept
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            (folder / f"{number:03d}.jpg").write_bytes(photo)
        place = Store(f"{target.url}/{count}", target.storage_options)
        with dask.config.set({"kaleidoscope.writes-at-once": 4}):
            run, [packed] = opened(written(ks.augment(folder, [ops.HorizontalFlip()]), place))
        tracemalloc.start()
        assert write_blocks(run, packed).outputs == 2 * count
        most[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        run.lease.release()
    assert most[100] < 1.1 * most[10]


@pytest.mark.slow
def test_a_worker_holds_as_much_for_ten_times_as_many_images(s3, make_photos, augmented, tmp_path):
    """The most that the process of a worker ever held, from a bucket to a bucket; of a worker of its own each."""
    photos, peak = make_photos(tmp_path / "photos", 2000, shape=(256, 256, 3)), {}
    for count in (200, 2000):
        source = Store(f"s3://photos/{count}", s3)
        with ThreadPoolExecutor(8) as pool:
            some = sorted(photos.iterdir())[:count]
            list(pool.map(lambda photo, source=source: source.write(photo.name, photo.read_bytes()), some))
        views = augmented(ks.read_images(source.url, storage_options=s3), 3)
        with (
            ks.cluster.local(workers=1, threads_per_worker=2, dashboard=False) as cluster,
            cluster.get_client() as client,
        ):
            assert views.write(f"s3://out/flat-{count}", storage_options=s3).compute().outputs == 8 * count
            [peak[count]] = client.run(most_held).values()
    assert peak[2000] < 1.1 * peak[200], peak


def most_held():
    """Return the most bytes that this process has had in memory."""
    import resource

    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
