"""Groups of workers on this machine: started, scaled apart, following the load."""

import logging
import os
import time
from types import SimpleNamespace

import dask
import pytest
from distributed import get_worker

from kaleidoscope import cluster
from kaleidoscope.cluster.workers import visible_devices
from kaleidoscope.errors import RecipeError, ResourceError

FILE = """
kind: local
dashboard: false
env: {SAID: by the cluster}
workers:
  cpu: {min: 1, max: 2}
  gpu: {min: 0, max: 2, resources: {GPU: 1}, memory: 1GiB, env: {SAID: by the group}}
"""


def until(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def names(client):
    return sorted(worker["name"] for worker in client.scheduler_info(n_workers=-1)["workers"].values())


@pytest.fixture
def started(tmp_path, monkeypatch):
    """A cluster of two groups, from a file, on a machine with the GPUs 4 and 7."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    (tmp_path / "cluster.yaml").write_text(FILE)
    with (
        dask.config.set({"distributed.adaptive.interval": "100 ms", "distributed.adaptive.wait-count": 2}),
        cluster.from_yaml(tmp_path / "cluster.yaml") as started,
        started.get_client() as client,
    ):
        yield SimpleNamespace(cluster=started, client=client)


def test_groups_follow_the_load_from_zero_and_scale_apart(started, caplog):
    caplog.set_level(logging.WARNING)
    client = started.client
    assert names(client) == ["cpu-0"]
    assert started.cluster.bounds == {"cpu": (1, 2), "gpu": (0, 2)}

    def about(number):
        return get_worker().name, os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ["SAID"], number

    # Nobody has a GPU: they wait, and a worker comes for them.
    on_gpu = client.map(about, range(2), resources={"GPU": 1})
    found = client.gather(on_gpu)
    assert {(name[:3], device, said) for name, device, said, _ in found} <= {
        ("gpu", "4", "by the group"),
        ("gpu", "7", "by the group"),
    }
    there = client.scheduler_info(n_workers=-1)["workers"].values()
    assert {worker["memory_limit"] for worker in there if worker["resources"] == {"GPU": 1}} == {2**30}
    before = dict(client.run(lambda dask_worker: (dask_worker.name, os.getpid())).values())["cpu-0"]

    # With nothing left to do they go, and only they; what they held is kept.
    until(lambda: names(client) == ["cpu-0"])
    assert client.gather(on_gpu) == found
    assert client.submit(os.getpid, pure=False).result(timeout=60) == before, "the other group's worker is the same"

    started.cluster.scale(gpu=1)
    assert started.cluster.bounds == {}
    assert [name[:3] for name in names(client)] == ["cpu", "gpu"]
    assert client.submit(about, 9, workers=[names(client)[0]]).result(timeout=60)[1:3] == ("4,7", "by the cluster")
    started.cluster.scale(cpu=0)
    assert [name[:3] for name in names(client)] == ["gpu"]
    for wrong, message in [
        ({"cpus": 1}, "no group of workers 'cpus'. Did you mean 'cpu'"),
        ({"cpu": -1}, r"scale\(cpu=-1\): expected a whole number"),
        ({"n": 2}, "several groups of workers.*cpu=2, gpu=2"),
    ]:
        with pytest.raises(RecipeError, match=message):
            started.cluster.scale(**wrong)
    assert "unregistered" not in caplog.text, "workers that go have said so"


def test_each_gpu_goes_to_one_worker_and_more_workers_share_them():
    shown = [visible_devices(("0", "1", "2"), 1, slot)["CUDA_VISIBLE_DEVICES"] for slot in range(4)]
    assert shown == ["0", "1", "2", "0"]


def test_a_closed_cluster_says_that_it_is():
    closed = cluster.local(workers=1, processes=False, dashboard=False)
    closed.close()
    for use in (
        lambda: closed.scale(cpu=1),
        lambda: closed.scale(1),
        lambda: closed.adapt(cpu=(1, 2)),
        closed.__enter__,
        closed.get_logs,
    ):
        with pytest.raises(ResourceError, match=r"cluster is closed.*start a new one"):
            use()
    closed.close()  # once more does nothing
