"""Groups of workers on this machine: started, scaled apart, following the load."""

import asyncio
import logging
import os
import time
from types import SimpleNamespace

import dask
import pytest
from distributed import LocalCluster, Nanny, get_worker

from kaleidoscope import cluster
from kaleidoscope.cluster.groups import GroupCluster
from kaleidoscope.cluster.spec import WorkerGroup
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


def counted(cluster):
    return {group.name: (group.wanted, group.running, group.pending) for group in cluster.group_status().groups}


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
    assert counted(started.cluster) == {"cpu": (1, 1, 0), "gpu": (0, 0, 0)}

    def about(number):
        worker = get_worker()
        limit = worker.memory_manager.memory_limit
        return worker.name, os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ["SAID"], limit, number

    (cpu,) = client.scheduler_info(n_workers=-1)["workers"]
    before = client.submit(os.getpid, workers=[cpu], pure=False).result(timeout=60)

    # Nobody has a GPU: they wait, and a worker comes for them.
    on_gpu = client.map(about, range(2), resources={"GPU": 1})
    found = client.gather(on_gpu)
    assert {(name[:3], device, said, limit) for name, device, said, limit, _ in found} <= {
        ("gpu", "4", "by the group", 2**30),
        ("gpu", "7", "by the group", 2**30),
    }

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
    assert counted(started.cluster) == {"cpu": (0, 0, 0), "gpu": (1, 1, 0)}
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
        closed.group_status,
    ):
        with pytest.raises(ResourceError, match=r"cluster is closed.*start a new one"):
            use()
    closed.close()  # once more does nothing


class NarrowCluster(GroupCluster, LocalCluster):
    """It has one place."""

    def find_place(self, group, taken):
        return None if taken else (0, self.new_spec)


def test_status_says_why_workers_wait():
    narrow = {"cpu": WorkerGroup("cpu", max=3)}
    quiet = {
        "n_workers": 0,
        "processes": False,
        "dashboard_address": "127.0.0.1:0",
        "protocol": "tcp://",
        "name": "narrow",
    }
    with NarrowCluster(narrow, {"cpu": 3}, **quiet) as cluster:
        status = cluster.group_status()
        assert str(status).splitlines() == [
            "narrow: scheduler running",
            "group  wanted  running  pending",
            "cpu         3        1        2",
            "       there is no place for it (2x)",
        ]
        assert status.groups[0].reasons == ("there is no place for it (2x)",)


def test_status_tells_workers_that_are_on_their_way_from_those_that_run():
    class Slow(Nanny):
        async def start_unsafe(self):
            await gate.wait()
            return await super().start_unsafe()

    with cluster.local(workers=1, dashboard=False) as started:
        gate = started.sync(_gate)
        started.new_spec["cls"] = Slow
        growing = started.loop.asyncio_loop
        done = asyncio.run_coroutine_threadsafe(started._scale({"cpu": 2}), growing)
        until(lambda: len(started.worker_spec) == 2)
        try:
            assert counted(started) == {"cpu": (2, 1, 1)}
            assert started.group_status().groups[0].reasons == ("starting",)
        finally:  # closing waits for it
            growing.call_soon_threadsafe(gate.set)
        done.result(timeout=60)
        assert counted(started) == {"cpu": (2, 2, 0)}


async def _gate():
    return asyncio.Event()
