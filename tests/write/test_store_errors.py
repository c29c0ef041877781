"""A target that cannot be written: said with its URL, nothing half done visible, and the next run goes on."""

import errno
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

import kaleidoscope as ks
from kaleidoscope import ops, storage
from kaleidoscope.errors import StoreError
from kaleidoscope.storage import Store

#: The lease, two files of the record, the lease again, 768 outputs and six parts, one after another.
LAST_PUT = 4 + 768 + 6 - 1


@pytest.fixture
def failing(monkeypatch):
    """Return a function that makes a put fail, half of its data written or all but renamed."""

    def failing(number, code, step):
        count = itertools.count()
        where, name = (storage, "_write_new") if step == "data" else (os, "replace")
        real = getattr(where, name)

        def fails(path, *args):
            folder = Path(path).parent
            if folder.name != "unfinished" or not folder.exists() or next(count) != number:
                return real(path, *args)
            if step == "data":
                real(path, args[0][: len(args[0]) // 2])
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(where, name, fails)

    return failing


@pytest.mark.parametrize(
    ("number", "step", "code"),
    [
        (0, "data", errno.EACCES),
        (1, "rename", errno.ENOSPC),
        (2, "data", errno.ENOSPC),
        (3, "data", errno.EACCES),
        (400, "rename", errno.EACCES),
        (LAST_PUT, "data", errno.ENOSPC),
    ],
)
def test_failed_put_names_the_url_and_the_next_run_goes_on(
    number, step, code, photos, augmented, whole, check_whole, failing, tmp_path, monkeypatch
):
    target = tmp_path / "out"
    failing(number, code, step)
    with pytest.raises(StoreError, match=re.escape(str(target))) as caught:
        augmented(photos).write(target).compute(scheduler="sync")
    monkeypatch.undo()
    assert os.strerror(code) in str(caught.value)
    record = target / "_kaleidoscope"
    assert list(record.glob("lease-*")) == [], "the lease was not given back"
    assert list(record.glob("unfinished/*")) == [], "what could not be finished was left"
    for path in target.glob("*.jpg"):
        assert path.read_bytes() == whole[1][path.name], "half an object is visible"

    report = augmented(photos).write(target).compute()
    assert report.outputs + report.skipped == 768
    rows, files = check_whole(target)
    assert files == whole[1]
    assert rows.equals(whole[0])


@pytest.fixture
def small_disk(tmp_path):
    """A real disk of two megabytes, and a function that makes it larger."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)],  # noqa: S607 - wherever the system has it
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("may not mount a disk here")
    grow = ["mount", "-o", "remount,size=64m", str(disk)]
    yield disk, lambda: subprocess.run(grow, check=True)
    subprocess.run(["umount", str(disk)], check=True)  # noqa: S607 - as above


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_full_disk_ends_the_run_and_a_larger_one_goes_on(scheduler, small_disk, photos, augmented, whole, check_whole):
    disk, grow = small_disk
    target = disk / "out"
    with pytest.raises(StoreError, match=rf"{re.escape(str(target))}.*No space left") as caught:
        augmented(photos).write(target).compute(scheduler=scheduler)
    assert any("the same write goes on from there" in note for note in caught.value.__notes__)
    assert list(target.glob("_kaleidoscope/unfinished/*")) == []
    assert all(path.read_bytes() == whole[1][path.name] for path in target.glob("*.jpg"))

    grow()
    report = augmented(photos).write(target).compute()
    assert report.skipped > 0, "what was committed counts"
    rows, files = check_whole(target)
    assert files == whole[1]
    assert rows.equals(whole[0])


def test_full_disk_on_the_command_line_is_one_answer_and_a_larger_one_goes_on(small_disk, photos, six, tmp_path):
    disk, grow = small_disk
    ks.dump_recipe([getattr(ops, name)() for name in six], tmp_path / "r.yaml")
    words = ["augment", str(photos), str(disk / "out"), "-r", str(tmp_path / "r.yaml"), "--json"]
    command = [sys.executable, "-m", "kaleidoscope", *words]
    full = subprocess.run(command, capture_output=True, text=True, check=False)
    assert full.returncode == 2
    assert re.fullmatch(
        r"kaleidoscope: cannot write .*No space left.*; make room, and start the same again\n.*\n", full.stderr
    )
    assert "the same write goes on from there" in full.stderr
    grow()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["skipped"] > 0


@pytest.fixture
def read_only(tmp_path):
    """A folder in which nothing can be made: by its mode, or for root, whom no mode stops, a disk mounted so."""
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o555)
    if os.geteuid() != 0:
        yield folder
        return
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this is root, whom no mode stops, and no disk may be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)  # noqa: S607 - as above


def test_target_that_is_read_only_is_said_with_what_to_do(read_only, photos, augmented, tmp_path):
    wanted = rf"cannot create {re.escape(str(read_only))}/out/_kaleidoscope/lease-1.json: .*; choose another place"
    with pytest.raises(StoreError, match=wanted):
        augmented(photos, 1).write(read_only / "out").compute()
    ks.dump_recipe([ops.HorizontalFlip()], tmp_path / "r.yaml")
    words = ["augment", str(photos), str(read_only / "out"), "-r", str(tmp_path / "r.yaml")]
    done = subprocess.run([sys.executable, "-m", "kaleidoscope", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert re.match(f"kaleidoscope: {wanted}", done.stderr)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a place where nobody can make a folder")
def test_target_where_nothing_can_be_made_is_said(photos, augmented):
    with pytest.raises(StoreError, match=r"cannot create /proc/.*: the bucket or folder .* cannot be made: make it"):
        augmented(photos, 1).write("/proc/kaleidoscope").compute()


def test_target_that_is_a_file_is_refused_by_name(photos, augmented, tmp_path):
    target = tmp_path / "file"
    target.write_bytes(b"mine")
    with pytest.raises(StoreError, match=re.escape(str(target))):
        augmented(photos, 1).write(target).compute()
    assert target.read_bytes() == b"mine"


@pytest.fixture
def memory():
    """An empty place in this process's memory, as a URL, and the filesystem."""
    fs = fsspec.filesystem("memory")
    yield "memory://kaleidoscope-test/out", fs
    for path in fs.find("/kaleidoscope-test"):
        fs.rm_file(path)
    fs.pseudo_dirs[:] = [path for path in fs.pseudo_dirs if not path.startswith("/kaleidoscope-test")]


@pytest.mark.parametrize("scheduler", ["threads"])
def test_memory_target_holds_the_same_and_resumes(scheduler, memory, photos, augmented, whole, make_photos):
    url, fs = memory
    run = augmented(photos).write(url)
    assert run.compute(scheduler=scheduler).outputs == 768
    found = {
        path.removeprefix("/kaleidoscope-test/out/"): fs.cat_file(path)
        for path in fs.find("/kaleidoscope-test/out")
        if "_kaleidoscope" not in path
    }
    assert found == whole[1]
    rows = ks.read_manifest(url).compute(scheduler="sync").sort_values(["key", "variant"], ignore_index=True)
    assert rows.equals(whole[0])
    assert (run.left, run.compute(scheduler=scheduler).skipped) == (0, 768)
    with pytest.raises(ValueError, match="another recipe"):
        augmented(photos, seed=8).write(url).compute()
    assert augmented(photos, 1, seed=8).write(url, overwrite=True).compute().outputs == 24
    assert len([path for path in fs.find("/kaleidoscope-test/out") if path.endswith(".jpg")]) == 24


@pytest.mark.parametrize("number", [0, 3, 300])
def test_failed_put_to_a_remote_store_ends_the_run_and_the_next_goes_on(
    number, memory, photos, augmented, whole, monkeypatch
):
    url, fs = memory
    count, real = itertools.count(), type(fs).pipe_file

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        if next(count) == number:
            raise PermissionError(errno.EACCES, "Access denied")
        return real(self, path, value, mode=mode, **kwargs)

    monkeypatch.setattr(type(fs), "pipe_file", pipe_file)
    with pytest.raises(StoreError, match=r"kaleidoscope-test/out/.*Access denied"):
        augmented(photos).write(url).compute(scheduler="threads")
    monkeypatch.undo()
    assert not [name for name in Store(url).list("_kaleidoscope") if name.startswith("lease")]
    report = augmented(photos).write(url).compute()
    assert report.outputs + report.skipped == 768
    rows = ks.read_manifest(url).compute(scheduler="sync").sort_values(["key", "variant"], ignore_index=True)
    assert rows.equals(whole[0])
