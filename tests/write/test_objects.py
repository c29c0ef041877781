"""Objects in buckets: on two servers, by two libraries, and over a way that loses and breaks what passes."""

import asyncio
import errno
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import cv2
import dask
import numpy as np
import pytest
import s3fs

import kaleidoscope as ks
from kaleidoscope import objects, ops
from kaleidoscope.errors import StoreError
from kaleidoscope.objects import ObstoreObjects, retried, was_refused
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


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    """A second implementation of S3, slower and more faithful: what opens it."""
    pytest.importorskip("moto.server")
    port = free_port()
    log = tmp_path_factory.mktemp("moto") / "log"
    command = [shutil.which("moto_server", path=str(Path(sys.executable).parent)), "-H", "127.0.0.1", "-p", str(port)]
    with (
        log.open("wb") as said,
        subprocess.Popen(command, stdout=said, stderr=said) as server,
        pytest.MonkeyPatch.context() as env,
    ):
        env.setenv("AWS_DEFAULT_REGION", "us-east-1")
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.05)
        options = {"key": "kaleidoscope", "secret": "only-for-this-test", "endpoint_url": f"http://127.0.0.1:{port}"}
        s3fs.S3FileSystem(**options).mkdir("out")
        try:
            yield options
        finally:
            server.send_signal(signal.SIGTERM)


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
    monkeypatch.setattr(objects.time, "sleep", lambda _: pytest.fail("it was tried again"))
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
    monkeypatch.setattr(objects.time, "sleep", waits.append)

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
    monkeypatch.setattr(objects.time, "sleep", lambda _: None)

    def never():
        tries.append(1)
        raise ConnectionResetError("again")

    with dask.config.set({"kaleidoscope.store-tries": 4}), pytest.raises(ConnectionResetError):
        retried(never)
    assert len(tries) == 4


def test_what_may_have_been_created_is_not_created_again(monkeypatch):
    """A lease that was taken while its answer got lost would look like somebody else's."""
    monkeypatch.setattr(objects.time, "sleep", lambda _: None)
    busy, tries = OSError("Server returned non-2xx status code: 503 Service Unavailable"), []

    def fails(first):
        def call():
            tries.append(1)
            if len(tries) == 1:
                raise first
            return "done"

        tries.clear()
        return call

    assert retried(fails(busy), if_=was_refused) == "done"
    assert retried(fails(OSError(errno.EBUSY, "SlowDown")), if_=was_refused) == "done"
    with pytest.raises(ConnectionResetError):
        retried(fails(ConnectionResetError()), if_=was_refused)
    assert len(tries) == 1


class Way:
    """A way to a server that answers some requests with 503, cuts some connections and some bodies, and takes time.

    What it does is drawn from a stream of its own, one draw a connection.
    """

    def __init__(self, to, *, busy=0.0, reset=0.0, cut=0.0, delay=0.0):
        self.to, self.shares, self.delay = to, (busy, reset, cut), delay
        self.rng, self.done = random.Random(1), {"busy": 0, "reset": 0, "cut": 0, "passed": 0}  # noqa: S311
        self.port = free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        started = threading.Event()
        self._started = started
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self):
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self._started.set()
        await self._end.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.1)  # transports close in the loop's next turns

    async def _connected(self, reader, writer):
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _one(self, reader, writer):
        """Pass one request on, or do not; return whether the connection goes on."""
        head = await self._head(reader)
        if head is None:
            return False
        if b"expect: 100-continue" in head.lower():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = re.sub(rb"(?i)\r\nexpect: 100-continue", b"", head)
        body = await reader.readexactly(_length(head))
        draw, (busy, reset, cut) = self.rng.random(), self.shares
        await asyncio.sleep(self.delay)
        if draw < busy:
            self.done["busy"] += 1
            answer = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
            writer.write(b"HTTP/1.1 503 Slow Down\r\nContent-Length: %d\r\n\r\n" % len(answer))
            writer.write(b"" if head.startswith(b"HEAD") else answer)
            await writer.drain()
            return True
        if draw < busy + reset:
            self.done["reset"] += 1
            writer.transport.abort()
            return False
        there, back = await asyncio.open_connection("127.0.0.1", self.to)
        try:
            back.write(head + body)
            await back.drain()
            answer = await self._head(there)
            rest = b""
            if not head.startswith(b"HEAD") and b" 204" not in answer.split(b"\r\n")[0]:
                chunked = b"transfer-encoding: chunked" in answer.lower()
                rest = await _chunks(there) if chunked else await there.readexactly(_length(answer))
        finally:
            back.close()
        if draw < busy + reset + cut and len(rest) > 1:
            self.done["cut"] += 1
            writer.write(answer + rest[: len(rest) // 2])
            await writer.drain()
            writer.transport.abort()
            return False
        self.done["passed"] += 1
        writer.write(answer + rest)
        await writer.drain()
        return True

    async def _head(self, reader):
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None


def _length(head):
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


async def _chunks(reader):
    whole = b""
    while True:
        line = await reader.readline()
        part = await reader.readexactly(int(line, 16) + 2)
        whole += line + part
        if int(line, 16) == 0:
            return whole


def test_over_connections_that_break_what_is_created_is_asked_for_once(library, monkeypatch):
    """And all else as often as it is set: what tries of its own a library has are off."""
    each = 1 if library == "obstore" else 2  # aiohttp asks once more where a connection breaks, and nothing stops it
    monkeypatch.setattr(objects.time, "sleep", lambda _: None)
    with Way(0, reset=1.0) as way, dask.config.set({"kaleidoscope.store-tries": 3}):
        options = {"key": "kaleidoscope", "secret": "of-nobody-at-all", "endpoint_url": f"http://127.0.0.1:{way.port}"}
        store = Store("s3://out/broken", options)
        reads = lambda name, _: store.read(name)  # noqa: E731
        for call, requests in ((store.create, 1), (store.write, 3), (reads, 3)):
            way.done["reset"] = 0
            with pytest.raises(StoreError):
                call("a", b"1")
            assert way.done["reset"] == each * requests
        busy = Store("s3://out/busy", options)
        way.shares = (1.0, 0.0, 0.0)
        with pytest.raises(StoreError):
            busy.create("a", b"1")
        assert way.done["busy"] == 3


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


@pytest.mark.parametrize("library", ["obstore", pytest.param("fsspec", marks=pytest.mark.slow)], indirect=True)
def test_over_a_way_that_fails_every_object_arrives(s3, library, photos, monkeypatch):
    """10% of the answers say 503, 5% of the connections are cut, and 2% of the bodies end early."""
    monkeypatch.setattr(objects, "_FIRST_WAIT", 0.01)
    views = ks.augment(photos, [ops.HorizontalFlip(), ops.Rotate(15), ops.GaussianBlur(), ops.GaussNoise()], seed=7)
    target = f"s3://out/faults-{library}"
    views.write(f"{target}-none", storage_options=s3).compute()
    port = int(s3["endpoint_url"].rpartition(":")[2])
    with Way(port, busy=0.10, reset=0.05, cut=0.02) as way:
        options = {**s3, "endpoint_url": f"http://127.0.0.1:{way.port}"}
        report = views.write(target, storage_options=options).compute()
        sources = ks.read_images(f"{target}/", storage_options=options)
        again = ks.augment(sources, ops.HorizontalFlip()).write(f"{target}-again", storage_options=options).compute()
    assert (report.outputs, report.failed) == (128, 0)
    assert (again.outputs, again.failed) == (128, 0)
    assert all(way.done.values()), f"not all of it happened: {way.done}"
    there = rows_of(target, s3)
    assert there.equals(rows_of(f"{target}-none", s3))
    store = Store(target, s3)
    for row in there.itertuples():
        assert zlib.crc32(store.read(row.output)) == row.checksum
    assert {name for name in store.find() if not name.startswith("_kaleidoscope/")} == set(there["output"])
