import json
import os
import subprocess
import sys
from contextlib import suppress

import cv2
import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

from kaleidoscope import info
from kaleidoscope.codecs import Encoder

TWO_CARDS = """
class cuda:
    is_available = lambda: True
    device_count = lambda: 2
    get_device_name = "card {}".format
class version:
    cuda = "12.8"
"""


def collected(folder, **environment):
    """Return what a process of its own finds out, with a folder on its path."""
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "kaleidoscope", "info", "--json"],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_is_json_and_reads_as_text():
    found = info.collect()
    assert json.loads(json.dumps(found)) == found
    lines = info.as_text(found).splitlines()
    assert [line for line in lines if not line.startswith(" ")] == list(found)
    assert f"  numpy          {np.__version__}" in lines


def test_names_neither_files_nor_users_nor_what_the_environment_holds(tmp_path):
    found = json.dumps(collected(tmp_path, OF_NOBODYS_BUSINESS="TOPSECRET", LOGNAME="somebody"))
    for private in ("TOPSECRET", "somebody", str(tmp_path), os.path.expanduser("~") + "/", sys.executable):  # noqa: PTH111
        assert private not in found


def test_says_which_packages_are_missing_and_what_brings_them(monkeypatch):
    monkeypatch.setattr(info, "PACKAGES", ("numpy", "no-such-package"))
    monkeypatch.setattr(info, "EXTRAS", {"not-there-either": "fast"})
    found = info.collect()
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["no-such-package"] == "missing"
    assert found["extras"] == {"not-there-either": "missing (extra: fast)"}


def test_extras_are_those_of_the_package():
    from importlib.metadata import requires

    brought = {}
    for line in requires("kaleidoscope"):
        requirement, _, marker = line.partition("; ")
        brought.setdefault(requirement.split(">=")[0], set()).add(marker.removeprefix("extra == ").strip("'\""))
    assert all(extra in brought[name] for name, extra in info.EXTRAS.items())
    assert set(info.PACKAGES) - {"kaleidoscope", "dask", "pandas"} <= set(brought)


class TestCodecs:
    def test_can_be_read_and_written(self):
        found = info.collect()["codecs"]
        assert found.pop("bmp") == "can be read"
        assert found == dict.fromkeys(["jpg", "png", "webp", "tiff", "npy"], "can be written; can be read")

    def test_that_cannot_be_written_are_found_out(self, monkeypatch):
        monkeypatch.setattr(cv2, "imencode", lambda kind, *_, real=cv2.imencode: (kind == ".bmp", real(kind, *_)[1]))
        found = info.collect()["codecs"]
        assert found["webp"].startswith("cannot be written: the webp encoder gave no bytes")
        assert found["npy"] == "can be written; can be read"

    def test_that_cannot_be_read_are_found_out(self, monkeypatch):
        monkeypatch.setattr(Encoder, "encode", lambda *_: b"nothing of the kind")
        assert info.collect()["codecs"]["png"].startswith("can be written; cannot be read: expected JPEG")

    def test_that_garble_are_found_out(self, monkeypatch):
        black = cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
        monkeypatch.setattr(Encoder, "encode", lambda *_: black)
        assert info.collect()["codecs"]["png"] == "can be written; is read otherwise than it was written"


class TestDevices:
    """As torch tells of them: these tests make one up, as it is an extra, and few machines have a device."""

    @pytest.mark.parametrize(
        ("torch", "found"),
        [
            ("class cuda:\n is_available = lambda: False", {"cuda": "none"}),
            ("raise OSError('libcudart.so is missing')", {"cuda": "unknown: OSError: libcudart.so is missing"}),
            (TWO_CARDS, {"cuda": ["card 0", "card 1"], "cuda version": "12.8"}),
        ],
        ids=["none", "broken", "two"],
    )
    def test_are_those_of_torch(self, torch, found, tmp_path):
        (tmp_path / "torch.py").write_text(torch)
        assert collected(tmp_path)["devices"] == found

    def test_are_unknown_without_it(self, monkeypatch):
        monkeypatch.setattr(info, "find_spec", lambda _: None)
        monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
        assert info.collect()["devices"] == {"cuda": "unknown: torch is missing"}

    def test_several_are_one_line(self):
        text = info.as_text({"devices": {"cuda": ["card 0", "card 1"]}})
        assert text == "devices\n  cuda  card 0, card 1"


def test_settings_that_are_no_names_and_values_are_a_mistake():
    with dask.config.set(kaleidoscope=5):
        assert "expected names and values" in info.collect()["settings"]["mistake"]


def test_versions_that_differ_are_named_with_where(tmp_path):
    (tmp_path / "pyarrow-0.0.1.dist-info").mkdir()
    (tmp_path / "pyarrow-0.0.1.dist-info" / "METADATA").write_text("Name: pyarrow\nVersion: 0.0.1\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    here = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}
    with LocalCluster(n_workers=0, **here) as cluster, Client(cluster) as client:
        assert info.collect()["dask"]["workers"] == 0
        options = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--no-nanny", "--nthreads", "3")
        worker = subprocess.Popen(
            [sys.executable, "-m", "dask", "worker", cluster.scheduler_address, *options],
            env={**os.environ, "PYTHONPATH": path},
            stderr=subprocess.DEVNULL,
        )
        try:
            client.wait_for_workers(1, timeout=60)
            found = info.collect()["dask"]
        finally:
            worker.terminate()
            with suppress(subprocess.TimeoutExpired):
                worker.wait(15)
            worker.kill()
            worker.wait()
    assert (found["workers"], found["threads"]) == (1, 3)
    (said,) = found["versions that differ"].values()
    assert list(found["versions that differ"]) == ["pyarrow"]
    assert ", 0.0.1 on tcp://127.0.0.1:" in said


def test_many_places_are_counted():
    there = {f"tcp://{i}": {"numpy": "2.1"} for i in range(100)}
    assert info._differences({"numpy": "2.0"}, there) == {"numpy": "2.0 here, 2.1 on tcp://0 and 99 more"}
