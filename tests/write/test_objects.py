"""Objects in buckets: on two servers, by two libraries, and over a way that loses and breaks what passes."""

import os
import random
import zlib
from datetime import timedelta

import cv2
import dask
import numpy as np
import pytest
import s3fs

import kaleidoscope as ks
from kaleidoscope import opening, ops, retries
from kaleidoscope.errors import StoreError
from kaleidoscope.objects import ObstoreObjects
from kaleidoscope.retries import retried
from kaleidoscope.storage import Store, read_url

LIBRARIES = ["obstore", "fsspec"]
KEYS = [
    "a.jpg",
    "folder/b.jpg",
    "sp ace+plus%percent%20#hash?q=1.jpg",
    "ünïcode/日本.jpg",
    "~.jpg",
    "x" * 200 + "/" + "y" * 200,
]


@pytest.fixture(params=["s3", "moto"])
def server(request):
    """What opens one server and then the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=LIBRARIES)
def library(request):
    """The library that does it."""
    with dask.config.set({"kaleidoscope.object-store": request.param}):
        yield request.param


@pytest.fixture
def store(server, library):
    """A folder of a bucket of its own."""
    return Store(f"s3://out/{library}-{random.getrandbits(32)}", server)


def test_the_library_is_the_one_that_was_set(store, library):
    assert isinstance(store.objects, ObstoreObjects) == (library == "obstore")
    assert store.storage_options["secret"] not in repr(store.objects)


@pytest.mark.parametrize("key", KEYS)
def test_what_was_put_is_got(store, key):
    data = os.urandom(90_000)
    store.write(key, data)
    assert store.read(key) == data
    assert read_url(f"{store.url}/{key}", store.storage_options) == data
    assert key in store.find()
    store.write(key, b"")
    assert store.read_if_there(key) == b""
    store.delete([key, key])
    assert store.read_if_there(key) is None


def test_a_part_of_an_object_is_got(moto, library):
    store, data = Store(f"s3://out/parts-{library}", moto), os.urandom(90_000)
    for key in ("a.zip", "odd//name.zip"):
        store.write(key, data)
        assert store.objects.get_range(store.path(key), 70_000, 80_000) == data[70_000:80_000]
        assert store.objects.get_range(store.path(key), 80_000, 99_000) == data[80_000:]
    with pytest.raises(FileNotFoundError):
        store.objects.get_range(store.path("nothing"), 1, 2)


def test_what_is_not_there_is_said(store):
    with pytest.raises(StoreError, match=r"cannot read s3://out/.*/nothing: there is nothing there"):
        store.read("nothing")
    with pytest.raises(StoreError, match="cannot write s3://no-such-bucket/x/a: the bucket or folder"):
        Store("s3://no-such-bucket/x", store.storage_options).write("a", b"1")


def test_create_does_not_replace_where_the_server_can_tell(moto, library):
    store = Store(f"s3://out/create-{library}", moto)
    assert store.create("a", b"1")
    assert not store.create("a", b"2")
    assert store.read("a") == b"1"


def test_wrong_credentials_fail_at_once_and_say_what_they_would_have_to_allow(s3, monkeypatch):
    monkeypatch.setattr(retries.time, "sleep", lambda _: pytest.fail("it was tried again"))
    with dask.config.set({"kaleidoscope.object-store": "obstore"}):
        store = Store("s3://out/forbidden", {**s3, "secret": "not-the-right-one"})
        with pytest.raises(StoreError, match=r"bucket 'out', key 'forbidden/a': .*do not allow s3:PutObject"):
            store.write("a", b"1")


def test_s3fs_of_others_keeps_its_retries(s3):
    with dask.config.set({"kaleidoscope.object-store": "fsspec"}):
        store = Store("s3://out/x", {**s3, "config_kwargs": {"user_agent_extra": "mine"}})
        others, ours = store.fs, store.objects.fs
    assert (others.retries, others.config_kwargs) == (s3fs.S3FileSystem.retries, {"user_agent_extra": "mine"})
    assert ours.config_kwargs["user_agent_extra"] == "mine"
    assert others is not ours
    assert s3fs.S3FileSystem(**ours.storage_options) is not ours, "nobody else is handed it"


def test_options_that_obstore_does_not_know_are_left_to_s3fs(s3):
    store = Store("s3://out/x", {**s3, "config_kwargs": {"max_pool_connections": 5}})
    assert not isinstance(store.objects, ObstoreObjects)


@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError(), OSError("503")], ids=repr)
def test_what_passes_is_tried_again(monkeypatch, error):
    waits, tries = [], []
    monkeypatch.setattr(retries.time, "sleep", waits.append)

    def third_time():
        tries.append(1)
        if len(tries) < 3:
            raise error
        return "done"

    assert retried(third_time) == "done"
    assert len(tries) == 3
    assert len(waits) == 2
    assert all(0 <= wait <= 0.2 * 2**number for number, wait in enumerate(waits))


def test_in_the_end_the_error_comes_out(monkeypatch):
    tries = []
    monkeypatch.setattr(retries.time, "sleep", lambda _: None)

    def never():
        tries.append(1)
        raise ConnectionResetError("again")

    with dask.config.set({"kaleidoscope.store-tries": 4}), pytest.raises(ConnectionResetError):
        retried(never)
    assert len(tries) == 4


@pytest.mark.parametrize("server", ["s3", "moto"], indirect=True)
@pytest.mark.parametrize("stage", ["before", "after"])
def test_what_was_created_while_the_answer_got_lost_is_known_for_ones_own(stage, server, library, way_to):
    """A lease that was taken so would look like somebody else's."""
    with way_to(int(server["endpoint_url"].rpartition(":")[2])) as way:
        options = {**server, "endpoint_url": f"http://127.0.0.1:{way.port}"}
        store = Store(f"s3://out/lost-{stage}-{library}", options)
        way.strike(1, stage, lambda: None)
        assert store.create("a", b"mine")
        assert len(way.puts) == 2
        assert store.read("a") == b"mine"


def test_of_conditions_a_server_is_believed_only_when_it_holds_to_them(s3, moto, library, way_to):
    name = f"believed-{library}"
    for server, ignores in ((s3, True), (moto, False)):
        store = Store(f"s3://out/{name}", server)
        assert store.create("a", b"1")
        assert store.replaces("a", b"1") == ignores
    with way_to(int(moto["endpoint_url"].rpartition(":")[2])) as way:
        way.knows_no_conditions = True
        store = Store(f"s3://out/{name}-not", {**moto, "endpoint_url": f"http://127.0.0.1:{way.port}"})
        assert store.create("a", b"1")
        assert store.replaces("a", b"1")
        assert way.done["no conditions"] >= 2
        assert store.read("a") == b"1"


def test_over_connections_that_break_it_is_asked_for_as_often_as_it_is_set(library, way_to, monkeypatch):
    """What tries of its own a library has are off."""
    each = 1 if library == "obstore" else 2  # aiohttp asks once more where a connection breaks, and nothing stops it
    monkeypatch.setattr(retries.time, "sleep", lambda _: None)
    with way_to(0) as way, dask.config.set({"kaleidoscope.store-tries": 3}):
        way.shares["reset"] = 1.0
        options = {"key": "kaleidoscope", "secret": "of-nobody-at-all", "endpoint_url": f"http://127.0.0.1:{way.port}"}
        store = Store("s3://out/broken", options)
        for call in (lambda: store.write("a", b"1"), lambda: store.read("a")):
            way.done["reset"] = 0
            with pytest.raises(StoreError):
                call()
            assert way.done["reset"] == each * 3


@pytest.mark.parametrize(
    ("library", "doing"),
    [
        ("obstore", "read"),
        ("obstore", "write"),
        ("fsspec", "read"),
        pytest.param("fsspec", "write", marks=pytest.mark.slow),  # botocore and s3fs try it again and again
    ],
    indirect=["library"],
)
def test_an_error_that_came_with_200_is_tried_again(doing, s3, library, way_to, monkeypatch):
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.01)
    with (
        way_to(int(s3["endpoint_url"].rpartition(":")[2])) as way,
        dask.config.set({"kaleidoscope.store-tries": 2}),
    ):
        store = Store(f"s3://out/lies-{library}-{doing}", {**s3, "endpoint_url": f"http://127.0.0.1:{way.port}"})
        store.write("a", b"what was written")
        way.shares["lie"] = 1.0
        with pytest.raises(StoreError, match=r"InternalError|Made up|ETag"):
            store.read("a") if doing == "read" else store.write("a", b"else")
        assert way.done["lie"] >= 2
        way.shares["lie"] = 0.0
        assert store.read("a") == b"what was written"


def test_large_objects_leave_no_parts_behind(s3, library, way_to):
    """An upload in parts that is killed is there for ever, out of sight, and paid for."""
    with way_to(int(s3["endpoint_url"].rpartition(":")[2])) as way:
        store = Store(f"s3://out/large-{library}", {**s3, "endpoint_url": f"http://127.0.0.1:{way.port}"})
        store.write("large", bytes(101 * 2**20))
        assert [path for _, path in way.requests if "upload" in path] == []
        assert len(way.puts) == 1


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(8):
        rng = np.random.default_rng(number)
        smooth = cv2.GaussianBlur(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8), (0, 0), 2)
        cv2.imwrite(str(folder / f"{number}.jpg"), smooth)
    return folder


def rows_of(url, options):
    """Return the manifest's rows by output, but for what says where and when."""
    table = ks.read_manifest(url, storage_options=options).compute().sort_values("output")
    return table[["key", "output", "variant", "status", "params", "bytes", "checksum"]].reset_index(drop=True)


FAULTS = {"busy": 0.10, "reset": 0.05, "cut": 0.02}


@pytest.mark.parametrize(
    "faults",
    [FAULTS, pytest.param({**FAULTS, "stall": 0.02, "lie": 0.02}, marks=pytest.mark.slow)],
    ids=["lost", "lost-and-lied-to"],
)
@pytest.mark.parametrize("library", ["obstore", pytest.param("fsspec", marks=pytest.mark.slow)], indirect=True)
def test_over_a_way_that_fails_every_object_arrives(faults, s3, library, photos, way_to, monkeypatch):
    """10% of the answers say 503, 5% of the connections are cut, and 2% of the bodies end early; and worse."""
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.01)
    monkeypatch.setattr(opening, "_SILENCE", timedelta(seconds=1))
    views = ks.augment(photos, [ops.HorizontalFlip(), ops.Rotate(15), ops.GaussianBlur(), ops.GaussNoise()], seed=7)
    target = f"s3://out/faults-{library}-{len(faults)}"
    views.write(f"{target}-none", storage_options=s3).compute()
    patience = {"config_kwargs": {"read_timeout": 1}} if library == "fsspec" else {}
    with way_to(int(s3["endpoint_url"].rpartition(":")[2]), **faults) as way:
        options = {**s3, "endpoint_url": f"http://127.0.0.1:{way.port}", **patience}
        report = views.write(target, storage_options=options).compute()
        sources = ks.read_images(f"{target}/", storage_options=options)
        again = ks.augment(sources, ops.HorizontalFlip()).write(f"{target}-again", storage_options=options).compute()
    assert (report.outputs, report.failed) == (128, 0)
    assert (again.outputs, again.failed) == (128, 0)
    assert all(way.done[fault] for fault in faults), f"not all of it happened: {way.done}"
    there = rows_of(target, s3)
    assert there.equals(rows_of(f"{target}-none", s3))
    store = Store(target, s3)
    for row in there.itertuples():
        assert zlib.crc32(store.read(row.output)) == row.checksum
    names = store.find()
    assert {name for name in names if not name.startswith("_kaleidoscope/")} == set(there["output"])
    assert [name for name in names if "lease" in name] == []
