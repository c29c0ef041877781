import os
import pickle
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from kaleidoscope.errors import RecipeError, StoreError
from kaleidoscope.sources import list_images
from kaleidoscope.storage import (
    Store,
    filesystem,
    is_local,
    read_url,
    store_errors,
)
from kaleidoscope.urls import public
from kaleidoscope.write_behind import WriteBehind

SECRET = "hunter2"  # noqa: S105 - what must not be seen


@pytest.fixture
def memory():
    """Return a URL of the in-memory filesystem, which is no disk of this machine, with nothing under it."""
    url = f"memory://{uuid.uuid4().hex}"
    yield url
    fs = fsspec.filesystem("memory")
    if fs.exists(url):
        fs.rm(url, recursive=True)


@pytest.fixture(params=["disk", "memory"])
def store(request, tmp_path):
    return Store(str(tmp_path / "out") if request.param == "disk" else request.getfixturevalue("memory"))


@pytest.fixture
def disk(tmp_path):
    return Store(str(tmp_path / "out"))


def leftovers(store):
    """Return what lies in the folder of unfinished files."""
    folder = Path(store.path("_kaleidoscope/unfinished"))
    return list(folder.iterdir()) if folder.exists() else []


NAMES = ["a.jpg", "deep/er/a.jpg", "ü ß.jpg", "50%25.jpg", "a#b?c.jpg", "[a]*.jpg", "a::b.jpg", "~.jpg", " .jpg"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read(store, name):
    store.write(name, b"one")
    assert store.read(name) == store.read_if_there(name) == b"one"
    assert store.exists(name)
    folder, _, last = name.rpartition("/")
    assert store.list(folder) == [last]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_written(store, kind):
    store.write("a", kind(b"\0\xff"))
    assert store.read("a") == b"\0\xff"


def test_writing_again_replaces(store):
    store.write("a", b"long before")
    store.write("a", b"now")
    assert store.read("a") == b"now"
    assert store.list("") == ["a"]


def test_a_finished_write_leaves_nothing_beside_it(disk):
    disk.write("a", b"1")
    disk.create("b", b"2")
    disk.create("b", b"3")
    assert leftovers(disk) == []


def test_creating_succeeds_once(store):
    assert store.create("deep/a", b"first")
    assert not store.create("deep/a", b"second")
    assert store.read("deep/a") == b"first"


def test_of_eight_that_create_at_once_one_succeeds(disk):
    rounds, workers = 25, 8
    start = threading.Barrier(workers)

    def create(me):
        won = []
        for i in range(rounds):
            start.wait(30)
            won.append(disk.create(f"lease-{i}", me.encode()))
        return won

    with ThreadPoolExecutor(workers) as pool:
        won = list(pool.map(create, "abcdefgh"))
    for i in range(rounds):
        assert [me for me, mine in zip("abcdefgh", won, strict=True) if mine[i]] == [disk.read(f"lease-{i}").decode()]
    assert leftovers(disk) == []


def test_a_reader_never_sees_half_an_object(disk):
    sizes = [2_000_000, 1]
    disk.write("a", b"0" * sizes[0])
    done, seen = threading.Event(), []

    def read():
        while not done.is_set():
            data = disk.read("a")
            seen.append((len(data), data.count(data[:1]) == len(data)))

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            for turn in range(150):
                disk.write("a", b"%d" % (turn % 10) * sizes[turn % 2])
        finally:
            done.set()
        reading.result()
    assert set(seen) <= {(size, True) for size in sizes}
    assert seen


KILLED = """
import os, signal, sys
from kaleidoscope.storage import Store
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
os.{call} = die
Store(sys.argv[1]).{method}("deep/a", b"half")
"""


@pytest.mark.parametrize(("call", "method"), [("replace", "write"), ("link", "create")])
def test_what_a_killed_writer_left_is_no_object_and_is_swept(disk, call, method):
    disk.write("b", b"before")
    code = KILLED.format(call=call, method=method)
    ended = subprocess.run([sys.executable, "-c", code, disk.path()], check=False)
    assert ended.returncode == -9
    assert not disk.exists("deep/a")
    assert len(leftovers(disk)) == 1
    disk.sweep()
    assert leftovers(disk) == []
    assert disk.read("b") == b"before"


def test_sweeping_where_nothing_was_written_is_no_error(store):
    store.sweep()
    assert store.list("") == []


@pytest.mark.parametrize("failing", ["write", "create"])
def test_a_write_that_failed_leaves_nothing_behind(disk, failing):
    disk.write("a", b"a file")
    with pytest.raises(StoreError):
        getattr(disk, failing)("a/b", b"below a file")
    assert leftovers(disk) == []


def test_creating_works_where_the_disk_knows_no_links(disk, monkeypatch):
    # exFAT, as on most memory cards and USB disks: os.link raises EPERM there.
    def link(*_args, **_kwargs):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    assert disk.create("a", b"first")
    assert not disk.create("a", b"second")
    assert disk.read("a") == b"first"


def test_a_list_is_of_files_in_that_folder_sorted(store):
    for name in ["f/b", "f/a", "f/g/c", "d"]:
        store.write(name, b"")
    assert store.list("f") == ["a", "b"]
    assert store.list("nothing") == []
    assert store.list("f/g/nothing") == []


def test_a_list_is_never_an_old_one(store):
    assert store.list("f") == []
    store.write("f/a", b"")
    assert store.list("f") == ["a"]
    Store(store.url).write("f/b", b"")
    assert store.list("f") == ["a", "b"]
    Store(store.url).delete(["f/a"])
    assert store.list("f") == ["b"]


def test_deleting_what_is_gone_is_no_error(store):
    store.write("a", b"")
    store.write("b", b"")
    store.delete(["nothing", "a", "no/thing", "a"])
    assert store.list("") == ["b"]


@pytest.mark.parametrize("name", ["..", "../a", "a/../../b", "a/..", "/../a"])
@pytest.mark.parametrize("doing", ["read", "read_if_there", "exists", "list"])
def test_names_do_not_lead_out_of_a_store(store, doing, name):
    with pytest.raises(StoreError, match="leads out of"):
        getattr(store, doing)(name)


@pytest.mark.parametrize("doing", ["write", "create"])
def test_nothing_is_written_outside_of_a_store(store, doing):
    with pytest.raises(StoreError, match="leads out of"):
        getattr(store, doing)("../a", b"1")
    with pytest.raises(StoreError, match="leads out of"):
        store.delete(["../a"])
    assert not store.exists("a")


def test_names_with_dots_in_them_are_names(store):
    for name in ("..a", "a..", "...", ".a/b"):
        store.write(name, b"1")
        assert store.read(name) == b"1"


class TestErrors:
    def test_of_what_is_missing_say_so(self, store):
        with pytest.raises(StoreError, match=r"cannot read .*/nothing: there is nothing there"):
            store.read("nothing")
        assert store.read_if_there("nothing") is None
        assert not store.exists("nothing")

    @pytest.mark.parametrize("doing", ["read", "read_if_there"])
    def test_of_reading_a_folder(self, disk, doing):
        disk.write("folder/a", b"")
        with pytest.raises(StoreError, match=r"cannot read .*folder: a folder stands where a file should"):
            getattr(disk, doing)("folder")

    @pytest.mark.parametrize("doing", ["write", "create"])
    def test_of_a_folder_in_the_way(self, disk, doing):
        # `create` must not say that another one has written it: there is no such object, and never will be.
        disk.write("folder/a", b"")
        with pytest.raises(StoreError, match=f"cannot {doing} .*/folder"):
            getattr(disk, doing)("folder", b"")
        assert disk.list("folder") == ["a"]

    @pytest.mark.parametrize("doing", ["write", "create"])
    def test_of_a_file_in_the_way(self, disk, doing):
        disk.write("file", b"before")
        with pytest.raises(StoreError, match=f"cannot {doing} .*/file/a"):
            getattr(disk, doing)("file/a", b"")
        assert disk.read("file") == b"before"

    def test_of_a_target_that_is_a_file(self, tmp_path):
        (tmp_path / "out").write_bytes(b"mine")
        with pytest.raises(StoreError, match=r"cannot write"):
            Store(str(tmp_path / "out")).write("a", b"")
        assert (tmp_path / "out").read_bytes() == b"mine"

    def test_of_missing_permission(self, disk):
        if os.geteuid() == 0:
            pytest.skip("root may write anywhere")
        disk.write("folder/a", b"")
        Path(disk.path("folder")).chmod(0o500)
        try:
            with pytest.raises(StoreError, match=r"cannot write .*PermissionError"):
                disk.write("folder/b", b"")
        finally:
            Path(disk.path("folder")).chmod(0o700)
        assert leftovers(disk) == []

    def test_of_a_name_that_is_too_long(self, disk):
        with pytest.raises(StoreError, match=r"cannot write .*name too long"):
            disk.write("a" * 300, b"")
        assert leftovers(disk) == []

    def test_of_a_url_of_an_unknown_kind(self):
        with pytest.raises(StoreError, match=r"cannot open 'nowhere://a': Protocol not known: nowhere"):
            Store("nowhere://a")

    def test_of_a_url_name_no_password(self):
        with pytest.raises(StoreError) as refused:
            Store(f"nowhere://me:{SECRET}@host/a")
        assert SECRET not in str(refused.value)

    def test_of_ours_come_through_as_they_are(self):
        # A RecipeError is a ValueError, as filesystems raise them too.
        with pytest.raises(RecipeError, match=r"^two images"), store_errors("list"):
            raise RecipeError("two images")

    def test_travel(self, disk):
        with pytest.raises(StoreError) as refused:
            disk.read("nothing")
        assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)


class TestUrls:
    def test_of_this_machine_are_paths(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for given in [str(tmp_path / "out"), f"file://{tmp_path}/out", f"{tmp_path}/out/", "out", Path("out")]:
            store = Store(given)
            assert store.local
            assert store.url == str(tmp_path / "out")
            assert store.path("a") == str(tmp_path / "out" / "a")

    @pytest.mark.parametrize("name", ["a::b", "50%25", "a#b", "a?b", "[a]", "ü", "a b"])
    def test_of_this_machine_are_taken_letter_by_letter(self, tmp_path, name):
        # fsspec takes "::" for a chain of filesystems; the outputs would go to a folder that nobody named.
        Store(str(tmp_path / name)).write("x", b"1")
        assert [path.name for path in tmp_path.iterdir()] == [name]
        assert (tmp_path / name / "x").read_bytes() == b"1"

    def test_of_elsewhere_keep_their_scheme(self, memory):
        store = Store(memory + "/out/")
        store.write("a", b"1")
        assert not store.local
        assert store.url.startswith("memory://")
        assert read_url(f"{store.url}/a") == read_url(f"{memory}/out/a") == b"1"

    def test_are_read_wherever_they_lie(self, store):
        store.write("deep/50%25 #.jpg", b"1")
        assert read_url(f"{store.url}/deep/50%25 #.jpg") == b"1"
        with pytest.raises(StoreError, match=r"cannot read .*: there is nothing there"):
            read_url(f"{store.url}/nothing")

    def test_are_local_or_not(self, tmp_path, memory):
        assert is_local(filesystem(str(tmp_path))[0])
        assert is_local(filesystem(f"file://{tmp_path}")[0])
        assert not is_local(filesystem(memory)[0])

    def test_may_name_a_host(self, hosted):
        # As sftp://host/path, hdfs://host/path and smb://host/path do.
        store = Store(f"hosted://far.example/{hosted}", {"password": SECRET})
        store.write("a", b"1")
        assert pickle.loads(pickle.dumps(store)).read("a") == b"1"
        assert read_url(f"{store.url}/a", store.storage_options) == b"1"


def test_chains_of_filesystems_are_opened(memory):
    # `simplecache::s3://...` keeps a copy of what was read: a URL like any other of fsspec's.
    Store(memory).write("a.jpg", b"1")
    (record,) = list_images(f"simplecache::{memory}").records()
    assert record.key == "a.jpg"
    assert read_url(record.source.url, record.source.storage_options) == b"1"


@pytest.mark.parametrize("listed", ["folder", "file", "list", "rooted"])
def test_images_on_a_host_are_read_from_there(hosted, listed):
    # Here, beside the filesystem that it needs. A URL that is shown names no password; what opens it may.
    folder = f"hosted://me:{SECRET}@far.example/{hosted}"
    Store(folder).write("a.jpg", b"1")
    urls = {"folder": folder, "file": f"{folder}/a.jpg"}.get(listed, [f"{folder}/a.jpg"])
    (record,) = list_images(urls, root=folder if listed == "rooted" else None).records()
    assert SECRET not in repr(record)
    assert SECRET not in record.key
    assert read_url(record.source.url, record.source.storage_options) == b"1"


class HostedFileSystem(MemoryFileSystem):
    """A filesystem that lives on a host, which its URLs name and its paths do not."""

    protocol = "hosted"
    root_marker = "/"
    cachable = False

    def __init__(self, host=None, password=None, **options):
        super().__init__(**options)
        if host != "far.example":
            raise ConnectionError(f"no such host: {host!r}")

    @classmethod
    def _strip_protocol(cls, path):
        if path.startswith("hosted://"):
            path = "/" + path.removeprefix("hosted://").partition("/")[2]
        return super()._strip_protocol(path)

    @staticmethod
    def _get_kwargs_from_urls(url):
        user, _, host = url.removeprefix("hosted://").split("/")[0].rpartition("@")
        return ({"host": host} if host else {}) | ({"password": user.partition(":")[2]} if user else {})


@pytest.fixture
def hosted():
    """Return a folder that is there on that host alone."""
    fsspec.register_implementation("hosted", HostedFileSystem, clobber=True)
    folder = uuid.uuid4().hex
    yield folder
    del _registry["hosted"]
    fs = fsspec.filesystem("memory")
    if fs.exists(f"/{folder}"):
        fs.rm(f"/{folder}", recursive=True)


@pytest.mark.parametrize("show", [repr, str, "{!r}".format])
def test_credentials_are_never_shown(memory, show):
    store = Store(memory, {"secret": SECRET})
    assert SECRET not in show(store)
    assert SECRET not in show(WriteBehind(store))
    with pytest.raises(StoreError) as refused:
        store.read("nothing")
    assert SECRET not in show(refused.value)


def test_a_store_travels_without_its_connection(store):
    store.write("a", b"1")
    data = pickle.dumps(store)
    assert len(data) < 1000
    arrived = pickle.loads(data)
    assert (arrived.url, arrived.local, repr(arrived)) == (store.url, store.local, repr(store))
    assert arrived.read("a") == b"1"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/a.jpg", "s3://bucket/a.jpg"),
        ("ftp://me:pa@ss@host/a", "ftp://host/a"),
        ("https://host/a.jpg?X-Amz-Signature=TOKEN", "https://host/a.jpg"),
        ("cannot read http://me:secret@host/a?b=c: denied", "cannot read http://host/a: denied"),
        ("/data/what?.jpg", "/data/what?.jpg"),
        ("file:///a@b/c.jpg", "file:///a@b/c.jpg"),
    ],
)
def test_what_is_shown_of_a_url_names_no_credentials(url, shown):
    assert public(url) == shown


def test_disk_that_takes_a_part_at_a_time_gets_all_of_it(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:1000]))
    data = bytes(range(256)) * 100
    Store(str(tmp_path)).write("a/b", data)
    assert (tmp_path / "a" / "b").read_bytes() == data
