import json
import logging
import subprocess
import sys
import time

import numpy as np
import pytest

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.errors import DecodeError, OpError
from kaleidoscope.lease import Owner, _text, take_lease
from kaleidoscope.log import tell, tell_failure
from kaleidoscope.storage import Store

LOGGER = logging.getLogger("kaleidoscope.here")
TWO = [ops.HorizontalFlip(), ops.GaussianBlur()]


@pytest.fixture(autouse=True)
def everything(caplog):
    """Hear all that is told."""
    caplog.set_level(logging.DEBUG, logger="kaleidoscope")


def fail(pixels):
    """Fail, as an op of a user's does."""
    raise ValueError("too\ndark")


def test_a_record_names_key_and_step(caplog):
    tell(LOGGER, logging.INFO, "it is done", key="a.jpg", step="hflip")
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("kaleidoscope.here", "INFO")
    assert (record.getMessage(), record.key, record.step) == ("it is done", "a.jpg", "hflip")


def test_a_record_that_is_about_no_image_has_both_empty(caplog):
    tell(LOGGER, logging.INFO, "it is done")
    assert (caplog.records[0].key, caplog.records[0].step) == ("", "")


def test_a_message_is_one_line_without_credentials(caplog):
    tell(LOGGER, logging.INFO, "at ftp://me:secret@host/a:\n100% of https://host/a?signature=token is lost")
    assert caplog.messages == ["at ftp://host/a: 100% of https://host/a is lost"]


def test_a_failure_is_told_once_for_each_step(caplog):
    told = set()
    for _ in range(64):
        tell_failure(LOGGER, DecodeError("no image", key="a.jpg", step="decode"), told)
        tell_failure(LOGGER, OpError("too dark", key="a.jpg", step="hflip"), told)
    assert caplog.messages == ["a.jpg: decode: DecodeError: no image", "a.jpg: hflip: OpError: too dark"]
    assert [(r.levelname, r.key, r.step) for r in caplog.records] == [
        ("WARNING", "a.jpg", "decode"),
        ("WARNING", "a.jpg", "hflip"),
    ]


class TestABag:
    def test_tells_of_each_image_that_cannot_be_read_once(self, caplog, tmp_path):
        for name in ("a.jpg", "b.jpg"):
            (tmp_path / name).write_text("no image")
        assert len(ks.augment(tmp_path, TWO).compute()) == 8
        assert [(r.name, r.key, r.step) for r in caplog.records] == [
            ("kaleidoscope.augmentation", "a.jpg", "decode"),
            ("kaleidoscope.augmentation", "b.jpg", "decode"),
        ]

    def test_tells_of_an_op_that_failed_at_each_node(self, caplog):
        image = np.zeros((8, 8, 3), np.uint8)
        records = ks.augment([image], [ops.HorizontalFlip(), ops.Apply(fail), ops.GaussianBlur()]).compute()
        assert sum(record.error is not None for record in records) == 4
        said = "Apply('tests.test_log:fail') raised ValueError: too dark"
        assert caplog.messages == [
            f"000000: hflip-apply: OpError: {said}",
            f"000000: apply: OpError: {said}",
        ]

    def test_that_raises_leaves_telling_to_who_catches(self, caplog):
        image = np.zeros((8, 8, 3), np.uint8)
        with pytest.raises(OpError):
            ks.augment([image], [ops.Apply(fail)], on_error="raise").compute()
        assert caplog.records == []

    def test_shows_nothing_that_opens_a_url(self, caplog):
        url = "http://me:secret@127.0.0.1:9/a.jpg?signature=token"
        (record,) = ks.augment([url], ops.HorizontalFlip()).compute()
        assert record.error is not None
        assert [(r.name, r.step) for r in caplog.records][-1] == ("kaleidoscope.augmentation", "read")
        assert not any(word in caplog.text for word in ("secret", "token", "me:"))


class TestALease:
    @pytest.mark.parametrize(
        ("state", "age", "why"),
        [("open", 500.0, "its last sign of life was 500 s ago"), ("failed", 1.0, "a task of it had failed")],
    )
    def test_tells_from_whom_it_was_taken_over(self, caplog, tmp_path, monkeypatch, state, age, why):
        store, now = Store(tmp_path), time.time()
        monkeypatch.setattr(time, "time", lambda: now)
        content = json.loads(_text(Owner("theirs", "far-away", "", 7, 0.0), state))
        store.write("_kaleidoscope/lease-1.json", json.dumps({**content, "renewed": content["renewed"] - age}).encode())
        take_lease(store, Owner.here("mine"))
        (record,) = caplog.records
        assert (record.name, record.levelname) == ("kaleidoscope.lease", "WARNING")
        assert record.getMessage() == f"{tmp_path}: taken over from run theirs of process 7 on far-away: {why}"

    def test_tells_that_the_process_is_dead(self, caplog, tmp_path):
        store, here = Store(tmp_path), Owner.here("theirs")
        content = json.loads(_text(here, "open"))
        content["owner"]["born"] -= 1000
        store.write("_kaleidoscope/lease-1.json", json.dumps(content).encode())
        take_lease(store, Owner.here("mine"))
        assert caplog.messages[0].endswith("that process is dead")

    def test_that_was_free_tells_nothing(self, caplog, tmp_path):
        take_lease(Store(tmp_path), Owner.here("mine"))
        assert caplog.records == []


class TestALibrary:
    """Says nothing unless it is asked to, and then to whom the user says."""

    FAILS = """
import logging
import kaleidoscope as ks
print(*(type(handler).__name__ for handler in logging.getLogger("kaleidoscope").handlers))
{setup}
ks.augment([{folder!r} + "/a.jpg"], ks.ops.HorizontalFlip()).compute()
"""

    def said(self, folder, setup):
        (folder / "a.jpg").write_text("no image")
        code = self.FAILS.format(folder=str(folder), setup=setup)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "NullHandler\n"
        return done.stderr

    def test_says_nothing_by_itself(self, tmp_path):
        assert self.said(tmp_path, "") == ""

    def test_says_it_to_whom_the_user_says(self, tmp_path):
        setup = "logging.basicConfig(format='%(levelname)s %(name)s %(step)s %(message)s')"
        assert self.said(tmp_path, setup).startswith("WARNING kaleidoscope.augmentation decode ")
