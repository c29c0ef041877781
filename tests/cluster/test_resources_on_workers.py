"""On workers of which one has a GPU (a label will do): what needs it runs there, and what nobody has is refused."""

import importlib
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from operator import add
from pathlib import Path

import cv2
import dask
import dask.bag as db
import numpy as np
import pytest
from distributed import Client, LocalCluster, SchedulerPlugin, Worker

import kaleidoscope as ks
from kaleidoscope import following, ops
from kaleidoscope.errors import ResourceError
from kaleidoscope.preflight import check_anybody

LOOPBACK = "127.0.0.1"
IMAGES = 6
VARIANTS = 4

#: A cluster of this process, without workers yet.
EMPTY = {
    "n_workers": 0,
    "threads_per_worker": 1,
    "processes": False,
    "protocol": "tcp://",
    "host": LOOPBACK,
    "dashboard_address": f"{LOOPBACK}:0",
    "worker_dashboard_address": None,
    "scheduler_kwargs": {"dashboard": False},
}
#: A function that workers import, and that leaves a note of where it was run.
MARK = """
import os, uuid
from distributed import get_worker

def mark(pixels):
    path = os.path.join(os.environ["MARKS"], uuid.uuid4().hex)
    with open(path + ".part", "w") as file:
        file.write(str(get_worker().name))
    os.rename(path + ".part", path + ".mark")
    return pixels
"""
#: One that says that it has begun, and waits to be told to go on.
WAIT = """
import threading

begun, go_on = threading.Event(), threading.Event()

def wait(pixels):
    begun.set()
    assert go_on.wait(60)
    return pixels
"""


class Marks:
    """Where the op was run."""

    def __init__(self, folder, client):
        self.folder = folder
        self.client = client

    def taken(self):
        """Return how often by worker, since this was last asked, by what had been sent until now.

        A computation that failed returns while other tasks of it are still at work: each worker's one thread is waited
        for.
        """
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        self.client.gather([self.client.submit(int, workers=[address], pure=False) for address in workers])
        found = Counter()
        for path in self.folder.glob("*.mark"):
            found[path.read_text()] += 1
            path.unlink()
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the module that marks, importable here and by the workers."""
    top = tmp_path_factory.mktemp("place")
    (top / "leaves_marks.py").write_text(MARK)
    (top / "waits_for_word.py").write_text(WAIT)
    (top / "marks").mkdir()
    sys.path.insert(0, str(top))
    importlib.invalidate_caches()
    yield top
    sys.path.remove(str(top))
    sys.modules.pop("leaves_marks", None)
    sys.modules.pop("waits_for_word", None)


@pytest.fixture
def word(place):
    """The module that waits for word."""
    sys.modules.pop("waits_for_word", None)
    return importlib.import_module("waits_for_word")


@pytest.fixture
def marks(place, client):
    """What the op leaves from now on."""
    found = Marks(place / "marks", client)
    found.taken()
    return found


def dask_command(place, *arguments):
    paths = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "MARKS": str(place / "marks")}
    return subprocess.Popen([sys.executable, "-m", "dask", *arguments], env=environment)


@pytest.fixture(scope="module")
def client(place, wait_for_scheduler):
    """A scheduler, two plain workers, and one that is labelled GPU: processes of their own, ended by their ids."""
    file = place / "scheduler.json"
    common = ["--host", LOOPBACK, "--dashboard-address", f"{LOOPBACK}:0", "--scheduler-file", str(file)]
    processes = [dask_command(place, "scheduler", "--port", "0", "--no-show", *common)]
    for name, more in (("one", []), ("two", []), ("gpu", ["--resources", "GPU=1"])):
        worker = ["worker", "--nthreads", "1", "--no-nanny", "--name", name, *more, *common]
        processes.append(dask_command(place, *worker))
    try:
        wait_for_scheduler(processes[0], file)
        with Client(scheduler_file=str(file), timeout=60, set_as_default=False) as client:
            client.wait_for_workers(3, timeout=60)
            yield client
    finally:
        for process in reversed(processes):
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    top = tmp_path_factory.mktemp("images")
    for i in range(IMAGES):
        cv2.imwrite(str(top / f"{i}.png"), np.full((12, 16, 3), 20 * i, np.uint8))
    return top


def views_of(folder, seed, resources=None):
    marked = ops.Apply("leaves_marks:mark", resources={"GPU": 1} if resources is None else resources)
    return ks.augment(ks.read_images(folder, partition_size=2), [ops.HorizontalFlip(), marked], seed=seed)


METHODS = {
    "compute": lambda bag, *_: bag.compute(),
    "persist": lambda bag, *_: bag.persist().compute(),
    "client.compute": lambda bag, client, _: client.compute(bag).result(),
    "client.persist": lambda bag, client, _: client.persist(bag).compute(),
    "dask.compute": lambda bag, *_: dask.compute(bag, bag.count())[0],
    "map": lambda bag, *_: bag.map(str).compute(),
    "filter": lambda bag, *_: bag.filter(bool).compute(),
    "take": lambda bag, *_: bag.take(IMAGES * VARIANTS, npartitions=-1),
    "fold": lambda bag, *_: [bag.map(lambda _: 1).fold(add).compute()],
    "frequencies": lambda bag, *_: bag.map(lambda record: record.key).frequencies().compute(),
    "repartition": lambda bag, *_: bag.repartition(npartitions=2).compute(),
    "to_delayed": lambda bag, *_: dask.compute(*bag.to_delayed()),
    "write": lambda bag, _, target: [bag.write(target, format="png").compute()],
    "client.compute of a write": lambda bag, client, target: [client.compute(bag.write(target, format="png")).result()],
    "preview": lambda bag, *_: [bag.preview(IMAGES, variants=VARIANTS)],
}


@pytest.mark.parametrize("name", METHODS)
def test_what_needs_a_gpu_runs_where_there_is_one(client, marks, folder, tmp_path, name):
    with client.as_current():
        marks.taken()
        assert len(METHODS[name](views_of(folder, list(METHODS).index(name)), client, tmp_path)) > 0
    assert marks.taken() == {"gpu": IMAGES * 2}


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(20))
def test_what_needs_a_gpu_runs_where_there_is_one_time_after_time(client, marks, folder, tmp_path, turn):
    for number, name in enumerate(METHODS):
        with client.as_current():
            marks.taken()
            METHODS[name](views_of(folder, 1000 * turn + number), client, tmp_path / name.replace(" ", "-"))
        assert marks.taken() == {"gpu": IMAGES * 2}, name


def test_outputs_are_those_of_this_process(client, folder, tmp_path):
    trees = []
    for place, resources in (("here", {}), ("there", {"GPU": 1})):
        recipe = [ops.Rotate(15), ops.Apply("numpy:invert", resources=resources), ops.GaussNoise()]
        run = ks.augment(folder, recipe, seed=1).write(tmp_path / place)
        if resources:
            with client.as_current():
                run.compute()
        else:
            run.compute(scheduler="sync")
        trees.append({str(p.relative_to(tmp_path / place)): p.read_bytes() for p in (tmp_path / place).rglob("*.jpg")})
    assert len(trees[0]) == 8 * IMAGES
    assert trees[0] == trees[1]


def test_an_estimate_calls_it_there_too(client, marks, folder, tmp_path):
    with client.as_current():
        assert views_of(folder, 78).estimate(tmp_path / "out").outputs == IMAGES * VARIANTS
    assert set(marks.taken()) == {"gpu"}


TAKE_OVER = {
    "delayed": lambda bag: dask.delayed(list)(bag).compute(),
    "zip": lambda bag: db.zip(bag, bag).compute(),
    "concat": lambda bag: db.concat([bag, bag]).compute(),
    "to_dataframe": lambda bag: bag.map(lambda r: (r.key,)).to_dataframe(meta={"key": str}).compute(),
    "dask.optimize": lambda bag: dask.optimize(bag)[0].compute(),
}


@pytest.mark.parametrize("name", TAKE_OVER)
def test_where_dask_takes_over_it_runs_there_or_not_at_all(client, marks, folder, name):
    with client.as_current(), suppress(ResourceError):
        TAKE_OVER[name](views_of(folder, 77))
    assert set(marks.taken()) <= {"gpu"}


# ------------------------------------------------------------------------------------ what nobody has


@pytest.mark.parametrize("name", METHODS)
def test_what_no_worker_has_is_refused_before_it_is_sent(client, marks, folder, tmp_path, name):
    views = views_of(folder, 5, {"TPU": 1})
    with (
        client.as_current(),
        pytest.raises(ResourceError, match="Apply needs a worker with TPU=1, and no worker has it"),
    ):
        METHODS[name](views, client, tmp_path / "out")
    assert not marks.taken()
    assert not (tmp_path / "out").exists()


def test_the_refusal_says_what_there_is_and_what_to_do(client, folder):
    with client.as_current(), pytest.raises(ResourceError) as refused:
        views_of(folder, 5, {"GPU": 2}).compute()
    message = str(refused.value)
    assert "needs a worker with GPU=2" in message
    assert "they offer GPU=1 or nothing" in message
    assert '--resources "GPU=2"' in message


def test_what_a_user_annotates_is_compared_too(client, folder):
    images = ks.read_images(folder)
    with dask.annotate(resources={"TPU": 1}):
        bag = images.map(lambda record: record.key)
    with client.as_current(), pytest.raises(ResourceError, match="the step lambda needs a worker with TPU=1"):
        bag.compute()
    with dask.annotate(resources={"TPU": 1}):
        write = ks.augment(folder, ops.HorizontalFlip()).write(folder.parent / "out")
    with client.as_current(), pytest.raises(ResourceError, match="the write needs a worker with TPU=1"):
        write.compute()


def test_on_a_cluster_that_adapts_the_run_starts_once_the_worker_comes(folder):
    options = {"n_workers": 0, "threads_per_worker": 1, "processes": False, "protocol": "tcp://", "host": LOOPBACK}
    quiet = {
        "dashboard_address": f"{LOOPBACK}:0",
        "worker_dashboard_address": None,
        "scheduler_kwargs": {"dashboard": False},
    }
    with LocalCluster(**options, **quiet, resources={"GPU": 1}) as cluster, Client(cluster):
        views = ks.augment(folder, ops.Apply("numpy:invert", resources={"GPU": 1}))
        cluster.adapt(minimum=0, maximum=1, interval="50ms")
        assert len(views.compute()) == IMAGES
        assert len(cluster.scheduler.workers) <= 1


def test_a_cluster_that_was_asked_for_no_worker_is_refused(folder, tmp_path):
    with LocalCluster(**EMPTY) as cluster, Client(cluster) as client:
        views = ks.augment(folder, ops.HorizontalFlip())
        with pytest.raises(ResourceError, match="the cluster has no worker, and was asked for none"):
            check_anybody(client)  # by itself first: without it the next line would wait for ever
        with pytest.raises(ResourceError, match="the cluster has no worker, and was asked for none"):
            views.compute()
        with pytest.raises(ResourceError, match="the cluster has no worker, and was asked for none"):
            views.write(tmp_path / "out").compute()
        with Client(cluster.scheduler_address) as other, pytest.warns(UserWarning, match="waits until one comes"):
            check_anybody(other)


def test_a_label_in_other_letters_is_told(client, folder):
    with client.as_current(), pytest.raises(ResourceError, match=r"they offer GPU=1 or nothing\. Did you mean 'GPU'"):
        views_of(folder, 5, {"gpu": 1}).compute()


@pytest.mark.parametrize(("others", "message"), [(0, "wait for a worker: "), (1, "wait for a worker with GPU=1: ")])
def test_a_worker_that_is_missed_is_told_and_the_run_goes_on_with_another(
    word, folder, tmp_path, monkeypatch, others, message
):
    monkeypatch.setattr(following, "_EVERY", 0.05)
    recipe = ops.Sequential(ops.Apply(word.wait, resources={"GPU": 1}), ops.HorizontalFlip())
    write = ks.augment(folder, recipe).write(tmp_path / "out")

    def start(number, **resources):
        options = {"nthreads": 1, "resources": resources}
        cluster.worker_spec[number] = {"cls": Worker, "options": options}
        cluster.sync(cluster._correct_state)

    with LocalCluster(**EMPTY) as cluster, Client(cluster) as client:
        start("gpu", GPU=1)
        for number in range(others):
            start(number)
        client.wait_for_workers(1 + others)
        warning = pytest.warns(UserWarning, match=message)
        with ThreadPoolExecutor(1) as thread, warning as told:
            report = thread.submit(write.compute)
            assert word.begun.wait(60)
            lost = cluster.workers["gpu"].address
            cluster.sync(cluster.scheduler.remove_worker, lost, stimulus_id="lost")
            end = time.monotonic() + 60
            while not len(told):
                assert not report.done()
                assert time.monotonic() < end, "nothing was told"
                time.sleep(0.02)
            word.go_on.set()
            start("another", GPU=1)
            assert report.result(timeout=60).outputs == IMAGES


@pytest.mark.parametrize("what", ["cluster", "client"])
def test_what_was_closed_in_the_middle_is_told(word, folder, tmp_path, what):
    write = ks.augment(folder, ops.Sequential(ops.Apply(word.wait), ops.HorizontalFlip())).write(tmp_path / "out")
    with (
        LocalCluster(**{**EMPTY, "n_workers": 1}) as cluster,
        Client(cluster, set_as_default=False) as client,
        ThreadPoolExecutor(2) as threads,
    ):
        report = threads.submit(write.compute, scheduler=client)
        end = time.monotonic() + 60
        while not word.begun.wait(0.02):
            assert not report.done(), report.result()
            assert time.monotonic() < end, "it did not begin"
        closing = threads.submit((cluster if what == "cluster" else client).close)
        # A cluster waits for its worker's thread: that is told to go on once nobody hears of what it does any more.
        end = time.monotonic() + 60
        while cluster.scheduler.workers if what == "cluster" else client.status != "closed":
            assert time.monotonic() < end, "it did not close"
            time.sleep(0.02)
        word.go_on.set()
        closing.result(timeout=60)
        with pytest.raises(ResourceError, match="closed, or lost, in the middle of the run"):
            report.result(timeout=60)


# ------------------------------------------------------------------------------------ order


class Order(SchedulerPlugin):
    """Writes down which leg of a write is begun when."""

    name = "order-of-legs"

    def __init__(self):
        self.begun = []

    def transition(self, key, start, finish, *args, **kwargs):
        if finish == "memory" and isinstance(key, tuple) and str(key[0]).startswith("leg"):
            self.begun.append((str(key[0]).partition("-")[0], key[1:]))


def test_a_piece_is_written_before_all_are_read(folder, tmp_path):
    """Breadth first, all pieces would be in memory at once."""
    top = tmp_path / "many"
    top.mkdir()
    for i in range(30):
        cv2.imwrite(str(top / f"{i:02d}.png"), np.full((12, 16, 3), i, np.uint8))
    options = {"n_workers": 0, "threads_per_worker": 1, "processes": False, "protocol": "tcp://", "host": LOOPBACK}
    quiet = {
        "dashboard_address": f"{LOOPBACK}:0",
        "worker_dashboard_address": None,
        "scheduler_kwargs": {"dashboard": False},
    }
    with LocalCluster(**options, **quiet, resources={"GPU": 1}) as cluster, Client(cluster) as client:
        cluster.scale(1)
        client.wait_for_workers(1)
        order = Order()
        cluster.scheduler.add_plugin(order)
        recipe = ops.Sequential(ops.Rotate(5), ops.Apply("numpy:invert", resources={"GPU": 1}), ops.Rotate(5))
        with dask.config.set({"kaleidoscope.partition-bytes": 1}):
            assert ks.augment(top, recipe).write(tmp_path / "out", format="png").compute().outputs == 30
    under_way, most = set(), 0
    for leg, piece in order.begun:
        under_way = under_way | {piece} if leg == "leg0" else under_way - {piece} if leg == "leg2" else under_way
        most = max(most, len(under_way))
    assert len(order.begun) == 90
    assert most <= 3  # as many as may be under way on one thread
    ends = [piece for leg, piece in order.begun if leg == "leg2"]
    starts = [piece for leg, piece in order.begun if leg == "leg0"]
    third = starts[3]
    assert order.begun.index(("leg2", ends[0])) < order.begun.index(("leg0", third))


# ------------------------------------------------------------------------------------ other versions


@pytest.fixture
def other_worker(place, tmp_path):
    """Return a function that starts a worker which says of a package that it is version 9.9."""
    processes = []

    def start(address, package):
        said = tmp_path / f"{package.replace('-', '_')}-9.9.dist-info"
        said.mkdir(parents=True)
        (said / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 9.9\n")
        worker = ["worker", address, "--nthreads", "1", "--no-nanny", "--host", LOOPBACK]
        processes.append(dask_command(tmp_path, *worker, "--dashboard-address", f"{LOOPBACK}:0", "--name", "other"))

    yield start
    for process in processes:  # one whose scheduler has gone takes half a minute to end by itself
        process.kill()
        process.wait()


@pytest.mark.parametrize("package", ["kaleidoscope", "opencv-python"])
def test_another_version_is_named(folder, tmp_path, other_worker, package):
    with LocalCluster(**EMPTY) as cluster, Client(cluster) as client:
        other_worker(cluster.scheduler_address, package)
        client.wait_for_workers(1, timeout=60)
        run = ks.augment(folder, ops.HorizontalFlip()).write(tmp_path / "out", format="png")
        if package == "kaleidoscope":
            with pytest.raises(ResourceError, match=r"worker tcp://\S+ has kaleidoscope 9\.9, this process"):
                run.compute()
            assert not (tmp_path / "out").exists()
        else:
            with pytest.warns(UserWarning, match=r"worker tcp://\S+ has opencv-python 9\.9, this process"):
                assert run.compute().outputs == IMAGES


# ------------------------------------------------------------------------------------ memory


@pytest.mark.slow
def test_large_images_pass_from_worker_to_worker_in_bounded_memory(client, tmp_path):
    """200 images of 36 MB: no worker holds more than 1.5 GB at any time."""
    top = tmp_path / "large"
    top.mkdir()
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (300, 400, 3), np.uint8)
    cv2.imwrite(str(top / "000.jpg"), cv2.resize(small, (4000, 3000), interpolation=cv2.INTER_CUBIC))
    for i in range(1, 200):
        os.link(top / "000.jpg", top / f"{i:03d}.jpg")
    recipe = ops.Sequential(
        ops.HorizontalFlip(), ops.Apply("numpy:invert", resources={"GPU": 1}), ops.RandomBrightnessContrast()
    )
    with client.as_current():
        report = ks.augment(top, recipe).write(tmp_path / "out").compute()
        peaks = client.run(_peak_memory)
    assert (report.outputs, report.failed) == (200, 0)
    assert max(peaks.values()) < 1.5e9, peaks


def _peak_memory():
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])
