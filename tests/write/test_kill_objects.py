"""On S3, too, a run that was killed anywhere is finished by the next: worker, client, or the server itself."""

import itertools
import os
import random
import signal
import time

import dask
import pytest
from dask.distributed import Client

from kaleidoscope.errors import StoreError
from kaleidoscope.manifest import from_parquet

#: Of what a run is made, by layout: how many photos, of which size.
PHOTOS = {"files": (12, (48, 64, 3)), "webdataset": (40, (64, 96, 3))}
HOW = {"files": {"format": "png"}, "webdataset": {"format": "png", "layout": "webdataset", "shard_bytes": 2**20}}
#: The lease (twice, to see whether the server minds), two files of the record, the lease again; outputs; parts.
PUTS = {"files": 5 + 96 + 6, "webdataset": 5 + 5 + 3}
NAMES = ("HorizontalFlip", "Rotate", "HueSaturationValue")
#: What a server that is killed leaves of a put: under a name of its own, since it, too, shows no half objects.
SERVERS_OWN = ".rclone_temp_put_"
STAGES = ("before", "half", "after")


def moments(who, layout, by_default=(), count=10, more=()):
    """Spread moments over a run, one drawn from each tenth of it; all but a few of them behind the slow marker."""
    draw = random.Random(f"{who} {layout}")  # noqa: S311 - which moment, not a secret
    edges = [1 + PUTS[layout] * i // count for i in range(count + 1)]
    drawn = [(draw.randrange(low, max(high, low + 1)), draw.choice(STAGES)) for low, high in itertools.pairwise(edges)]
    return [
        pytest.param(
            *(layout, at, stage, *more),
            id="-".join([layout, f"put{at}", stage, *more]),
            marks=[] if i in by_default else pytest.mark.slow,
        )
        for i, (at, stage) in enumerate(drawn)
    ]


@pytest.fixture(scope="module")
def source_of(tmp_path_factory, make_photos):
    """Return a function of a layout: the folder of photos that its run begins with."""
    folders = {
        layout: make_photos(tmp_path_factory.mktemp(layout) / "photos", count, shape=shape)
        for layout, (count, shape) in PHOTOS.items()
    }
    return folders.__getitem__


@pytest.fixture(scope="module")
def undisturbed(source_of, augmented, rows, files, tmp_path_factory):
    """Rows and objects of a run that nothing disturbed, by layout."""
    made = {}
    for layout, how in HOW.items():
        target = tmp_path_factory.mktemp("undisturbed") / layout
        augmented(source_of(layout), 3).write(target, **how).compute(scheduler="sync")
        made[layout] = rows(target), files(target)
    return made


@pytest.fixture
def place(s3_server, tmp_path):
    """Return a bucket's folder of this test's own: its URL, and where it lies on the server's disk."""
    name = f"out/{tmp_path.name}"
    return f"s3://{name}", s3_server[1] / name


@pytest.fixture
def way(s3_server, way_to):
    """A way to the server, which can strike."""
    with way_to(s3_server[0].port) as way:
        yield way


@pytest.fixture
def write_of(place, source_of, augmented, s3):
    """Return a function that gives the write of a layout, over a way to the server."""

    def write_of(layout, way):
        options = {**s3, "endpoint_url": f"http://127.0.0.1:{way.port}"}
        return augmented(source_of(layout), 3).write(place[0], storage_options=options, **HOW[layout])

    return write_of


@pytest.fixture
def finish(place, write_of, s3_server, undisturbed, rows, files, way_to):
    """Return a function that lets a new run finish a target, and compares the outcome with an undisturbed run."""
    url, folder = place

    def finish(layout, *, stopped=True):
        whole_rows, whole = undisturbed[layout]
        tables = [from_parquet(part.read_bytes()) for part in folder.glob("_kaleidoscope/manifest/*.parquet")]
        column = "output" if layout == "files" else "shard"
        committed = {name for table in tables for name in table[column].to_pylist()}
        assert {name: (folder / name).read_bytes() for name in committed}.items() <= whole.items()
        with way_to(s3_server[0].port) as way:
            deadline, report = time.monotonic() + 60, None
            while report is None:
                try:
                    report = write_of(layout, way).compute()
                except StoreError as refused:  # the dead client's cluster committed something meanwhile
                    if "was written to since this run was planned" not in str(refused) or time.monotonic() > deadline:
                        raise
            put = {name.removeprefix(f"{url[5:]}/") for name in way.puts}
        assert report.outputs + report.skipped == len(whole_rows)
        assert report.skipped >= sum(map(len, tables))
        assert not stopped or report.outputs > 0, "it was over before it was stopped"
        assert not put & committed, "objects of a committed block were written again"
        there = {name: data for name, data in files(folder).items() if SERVERS_OWN not in name}
        assert there == whole
        assert rows(folder).equals(whole_rows)
        record = folder / "_kaleidoscope"
        assert [path for path in record.rglob("*") if "lease" in path.name or "unfinished" in path.name] == []
        assert not any("upload" in path for _, path in way.requests)

    return finish


@pytest.mark.parametrize(
    ("layout", "at", "stage"),
    [*moments("worker", "files", {4}), *moments("worker", "webdataset")],
)
def test_run_survives_a_killed_worker(layout, at, stage, way, write_of, standing, finish):
    with Client(scheduler_file=standing) as client:
        client.wait_for_workers(2, timeout=60)
        pids = sorted(client.run(os.getpid).values())
        way.strike(at, stage, lambda: os.kill(pids[at % 2], signal.SIGKILL))
        report = write_of(layout, way).compute()
    assert way.struck.is_set(), "nobody was killed"
    assert report.outputs == PHOTOS[layout][0] * 8, "what the killed worker had committed counts, too"
    finish(layout, stopped=False)


@pytest.mark.parametrize(
    ("layout", "at", "stage"),
    [*moments("client", "files", {6}), *moments("client", "webdataset")],
)
def test_killed_client_of_a_cluster_is_finished_by_the_next(
    layout, at, stage, way, place, source_of, s3, start_client, standing, finish
):
    """What the dead client's cluster is still at goes its own way, and may go on; the next run must not."""
    options = {**s3, "endpoint_url": f"http://127.0.0.1:{way.port}"}
    started = []
    way.strike(at, stage, lambda: started[0].process.kill())  # noqa: PLW0108 - it starts below
    how = {"names": NAMES, "scheduler": standing, "storage_options": options, **HOW[layout]}
    started.append(start_client(source_of(layout), [place[0]], **how))
    assert started[0].wait() == -signal.SIGKILL, started[0].log.read_text()
    # Two workers are at a block each, and may begin a third before the scheduler knows that the client is dead: of
    # shards that is the last one, of files there are six.
    finish(layout, stopped=at < PUTS[layout] * 0.4)


@pytest.mark.parametrize(
    ("layout", "at", "stage", "back"),
    [
        *moments("server", "files", {7}, more=["at-once"]),
        *moments("server", "files", more=["after-the-run"]),
        *moments("server", "webdataset", {6}, more=["at-once"]),
        *moments("server", "webdataset", more=["after-the-run"]),
    ],
)
def test_killed_server_costs_nothing_or_a_resumed_run(layout, at, stage, back, way, s3_server, write_of, finish):
    """It comes back while the run tries again, or after that has given up, in a process that lives on."""
    server, _ = s3_server

    def strike():
        server.kill()
        if back == "at-once":
            server.start()

    way.strike(at, stage, strike)
    with dask.config.set({"kaleidoscope.store-tries": 8 if back == "at-once" else 2}):
        if back == "at-once":
            assert write_of(layout, way).compute().outputs == PHOTOS[layout][0] * 8
        else:
            with pytest.raises(StoreError, match=r"cannot (create|write|read|list)"):
                write_of(layout, way).compute()
            server.start()
    assert way.struck.is_set()
    finish(layout, stopped=back != "at-once")
