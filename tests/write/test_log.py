"""What a write tells an operator, in this process and in a worker's."""

import logging
import time

import cv2
import fsspec
import pytest
from distributed import Client


@pytest.fixture
def photos(make_photos, pixels, tmp_path):
    """Two good photos, a broken one, and one that no JPEG can hold."""
    folder = make_photos(tmp_path / "photos", 2)
    (folder / "bad.jpg").write_text("no image")
    (folder / "deep.png").write_bytes(cv2.imencode(".png", pixels(1, dtype="uint16"))[1].tobytes())
    return folder


def test_a_run_is_opened_commits_blocks_and_is_closed(photos, augmented, caplog, tmp_path):
    caplog.set_level(logging.DEBUG, logger="kaleidoscope")
    target = tmp_path / "out"
    augmented(photos).write(target).compute(scheduler="sync")
    told = [(r.levelname, r.key, r.step) for r in caplog.records]
    assert told[0] == told[-1] == ("INFO", "", "")
    assert sorted(told[1:-1]) == [
        ("DEBUG", "", ""),
        ("DEBUG", "", ""),
        ("WARNING", "bad.jpg", "decode"),
        ("WARNING", "deep.png", "encode"),
    ], "once for an image and step, not for each of its 64 variants"
    first, *between, last = caplog.messages
    assert first.startswith(f"{target}: opened by run ")
    assert first.endswith(": 256 outputs to make")
    assert ": 128 outputs, " in last
    assert ", 2 inputs failed, " in last
    assert all(line.startswith(f"{target}: committed block ") for line in between if "inputs failed" in line)


class Watch(logging.Handler):
    """Sees which parts there are when something is told."""

    def __init__(self, parts):
        super().__init__()
        self.parts = parts
        self.seen = []

    def emit(self, record):
        self.seen.append((record.getMessage(), [path.name for path in self.parts.glob("*")]))


def test_a_block_is_told_once_it_is_committed(photos, augmented, caplog, tmp_path):
    caplog.set_level(logging.DEBUG, logger="kaleidoscope")
    watch = Watch(tmp_path / "out" / "_kaleidoscope" / "manifest")
    logging.getLogger("kaleidoscope").addHandler(watch)
    try:
        augmented(photos).write(tmp_path / "out").compute(scheduler="sync")
    finally:
        logging.getLogger("kaleidoscope").removeHandler(watch)
    committed = [(line, names) for line, names in watch.seen if "committed block" in line]
    assert len(committed) == 2
    assert all(any(f" as {name}: " in line for name in names) for line, names in committed)


def test_storage_options_are_told_nobody(photos, augmented, caplog):
    caplog.set_level(logging.DEBUG, logger="kaleidoscope")
    report = augmented(photos, 1).write("memory://told", storage_options={"token": "SECRET"}).compute(scheduler="sync")
    fsspec.filesystem("memory").rm("/told", recursive=True)
    assert report.outputs == 4
    assert "told: closed by run " in caplog.text
    assert "SECRET" not in caplog.text


def test_a_worker_tells_it_where_dask_says(photos, augmented, apart, tmp_path):
    address = apart(1, DASK_LOGGING__KALEIDOSCOPE="info")
    with Client(scheduler_file=address) as client:
        client.wait_for_workers(1, timeout=60)
        report = augmented(photos, 1).write(tmp_path / "out").compute()
    assert report.failed == 2
    log = tmp_path / "worker-0.log"
    deadline = time.monotonic() + 10
    while "closed by run" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    lines = [line for line in log.read_text().splitlines() if "kaleidoscope." in line]
    assert [line.split(" - ")[2].strip() for line in lines] == ["INFO", "WARNING", "WARNING", "INFO"]
    assert "kaleidoscope.outputs - WARNING - bad.jpg: decode: DecodeError" in lines[1]
    assert f"{report.outputs} outputs, " in lines[3]
