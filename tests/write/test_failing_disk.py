"""A disk that says no at any step of a run: nothing half done is visible, and the next run makes it good."""

import errno
import os
from collections import Counter
from pathlib import Path

import pytest

from kaleidoscope.errors import StoreError
from kaleidoscope.manifest import from_parquet

CODES = (errno.ENOSPC, errno.EIO, errno.EACCES)
HOW = {"files": {"format": "png"}, "webdataset": {"format": "png", "layout": "webdataset"}}
STEPS = ("mkdir", "open", "write", "close", "replace", "link", "unlink")


class Disk:
    """What a run asks of the system for one folder; one call of it can fail, or all from there on.

    Parameters
    ----------
    at : int, optional
        Which call, counted from 0.
    code : int
        The error.
    lasts : bool
        Whether everything that takes room or a right fails from there on; what is deleted is, if there is no right.
    without_links : bool
        Whether it knows no hard links.
    """

    def __init__(self, monkeypatch, folder, at=None, code=0, *, lasts=False, without_links=False):
        self.folder, self.at, self.code, self.lasts = str(folder), at, code, lasts
        self.steps, self.failed, self.without_links = [], Counter(), without_links
        self._files = {}
        for step in STEPS:
            monkeypatch.setattr(os, step, getattr(self, f"_{step}")(getattr(os, step)))

    def _due(self, step):
        number = len(self.steps)
        self.steps.append(step)
        due = number == self.at or (self.lasts and self.at is not None and number > self.at)
        due = due and not (step == "unlink" and self.code != errno.EACCES and number != self.at)
        self.failed[step] += due
        return due

    def _no(self):
        return OSError(self.code, os.strerror(self.code))

    def _before(self, step, real):
        def call(path, *args, **kwargs):
            if str(path).startswith(self.folder) and self._due(step):
                raise self._no()
            return real(path, *args, **kwargs)

        return call

    def _mkdir(self, real):
        return self._before("mkdir", real)

    def _replace(self, real):
        return self._before("replace", real)

    def _unlink(self, real):
        return self._before("unlink", real)

    def _link(self, real):
        def link(path, *args, **kwargs):
            if self.without_links:
                raise OSError(errno.EPERM, "no links here")
            return self._before("link", real)(path, *args, **kwargs)

        return link

    def _open(self, real):
        def call(path, flags, *args, **kwargs):
            ours = str(path).startswith(self.folder) and flags & os.O_CREAT
            if ours and self._due("open"):
                raise self._no()
            file = real(path, flags, *args, **kwargs)
            if ours:
                self._files[file] = path
            return file

        return call

    def _write(self, real):
        def write(file, data):
            if file in self._files and self._due("write"):
                real(file, data[: len(data) // 2])
                raise self._no()
            return real(file, data)

        return write

    def _close(self, real):
        def close(file):
            real(file)
            if self._files.pop(file, None) is not None and self._due("close"):
                raise self._no()

        return close


@pytest.fixture(scope="module")
def undisturbed(make_photos, augmented, rows, files, tmp_path_factory):
    """The photos, and by layout rows and objects of a run that nothing disturbed."""
    source = make_photos(tmp_path_factory.mktemp("source") / "photos", 2)
    made = {}
    for layout, how in HOW.items():
        target = tmp_path_factory.mktemp(layout) / "out"
        augmented(source, 1).write(target, **how).compute(scheduler="sync")
        made[layout] = rows(target), files(target)
    return source, made


@pytest.fixture
def tried(undisturbed, augmented, rows, files, tmp_path):
    """Return a function that lets one step of a run fail, and a second run make it good; it gives the steps."""
    source, made = undisturbed
    targets = iter(range(10_000))

    def tried(layout, at, code, **how):
        target = tmp_path / f"out-{next(targets)}"
        what = (layout, at, errno.errorcode.get(code), how)
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, target, at, code, **how)
            try:
                augmented(source, 1).write(target, **HOW[layout]).compute(scheduler="sync")
            except StoreError as error:
                assert str(target) in str(error), what  # noqa: PT017 - it may also pass
                assert os.strerror(code) in str(error), what  # noqa: PT017 - as above
            else:
                # Where nothing failed, and where a link could not be made: the lease was created without.
                assert +disk.failed in (Counter(), Counter(link=1)), what
        whole_rows, whole = made[layout]
        there = files(target) if target.exists() else {}
        assert there.items() <= whole.items(), f"half an object is visible: {what}"
        parts = list((target / "_kaleidoscope").glob("manifest/*"))
        assert sum(len(from_parquet(part.read_bytes())) for part in parts) in (0, len(whole_rows)), what
        report = augmented(source, 1).write(target, **HOW[layout]).compute(scheduler="sync")
        assert report.outputs + report.skipped == len(whole_rows), what
        assert (report.skipped > 0) == bool(parts), what
        assert files(target) == whole, what
        assert rows(target).equals(whole_rows), what
        record = {path.name for path in Path(target, "_kaleidoscope").rglob("*") if path.is_file()}
        assert record == {"run.json", "inputs-00000.parquet", *(p.name for p in target.rglob("manifest/*"))}, what
        return disk.steps

    return tried


@pytest.mark.parametrize("without_links", [False, True], ids=["links", "no-links"])
@pytest.mark.parametrize("layout", HOW)
def test_one_step_that_fails_is_made_good(layout, without_links, tried):
    """Each step of a run, with one of the three errors."""
    steps = tried(layout, None, 0, without_links=without_links)
    assert set(steps) == set(STEPS) - ({"link"} if without_links else set())
    for at in range(len(steps)):
        tried(layout, at, CODES[at % len(CODES)], without_links=without_links)


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    # For good and without links there may be half a lease that nobody can delete, which the next run tells.
    [{}, {"lasts": True}, {"without_links": True}],
    ids=["once", "for-good", "no-links"],
)
@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("layout", HOW)
def test_every_error_at_every_step_is_made_good(layout, code, how, tried):
    steps = tried(layout, None, 0, without_links="without_links" in how)
    for at in range(len(steps)):
        tried(layout, at, code, **how)
