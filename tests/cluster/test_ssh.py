"""Clusters by SSH, on real sshd's of this machine."""

import getpass
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import cv2
import dask
import numpy as np
import psutil
import pytest
from distributed import get_worker

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.errors import RecipeError, ResourceError

RECIPE = [
    ops.HorizontalFlip(),
    ops.VerticalFlip(),
    ops.RandomBrightnessContrast(),
    ops.GaussianBlur(),
    ops.Apply(np.invert, resources={"GPU": 1}),
    ops.GaussNoise(),
]


def until(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def workers_of(client):
    """Return the address of each worker's host, by name."""
    found = client.scheduler_info(n_workers=-1)["workers"].values()
    return {worker["name"]: worker["host"] for worker in found}


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """The job: six blocks of two small images and 64 variants each."""
    photos = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(12):
        cv2.imwrite(str(photos / f"{number}.png"), rng.integers(0, 256, (96, 128, 3), np.uint8))
    return lambda to: ks.augment(str(photos), RECIPE, seed=7).write(to, format="jpg").compute()


def named(server, chosen):
    """Return what runs on a host under a name that is `chosen`."""
    found = []
    for process in server.children():
        with suppress(psutil.NoSuchProcess):  # it has ended since
            if chosen(process.name()):
                found.append(process)
    return found


def open_ports(processes):
    """Return the address and port of everything that these processes listen on."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it has ended since
            found += process.net_connections("inet")
    return {(one.laddr.ip, one.laddr.port) for one in found if one.status == psutil.CONN_LISTEN}


@pytest.fixture(scope="module")
def expected(write, tmp_path_factory, tree):
    """What the job writes without a cluster."""
    folder = tmp_path_factory.mktemp("expected")
    with dask.config.set({"distributed.worker.resources": {"GPU": 1}}):  # this process will do
        assert write(folder).failed == 0
    assert len(tree(folder)) == 12 * 64
    return tree(folder)


def test_a_job_outlives_a_host_and_writes_what_it_writes_here(servers, tmp_path, write, expected, caplog, tree):
    caplog.set_level(logging.DEBUG)
    stays, dies, comes = (servers.start() for _ in range(3))
    written = {"host": f"{getpass.getuser()}@{stays.label}", "workers": {"cpu": 1}}
    hosts = [written, dies.as_host(workers={"cpu": 1, "gpu": 1})]
    with ks.cluster.ssh(hosts, **servers.options) as cluster, cluster.get_client() as client:
        at_first = {"cpu-0": stays.address, "cpu-1": dies.address, "gpu-0": dies.address}
        assert workers_of(client) == at_first
        on_gpu = client.submit(lambda dask_worker=None: os.getpid(), resources={"GPU": 1}, pure=False)
        there = {process.pid for process in dies.children()}
        assert on_gpu.result(timeout=60) in there

        for server in (stays, dies):
            ports = open_ports(named(server, lambda name: "sshd" not in name))
            assert {address for address, _ in ports} <= {server.address, "127.0.0.1"}
            assert len(ports) >= 3

        assert write(tmp_path / "all").failed == 0
        assert tree(tmp_path / "all") == expected

        for process in dies.children():
            process.send_signal(signal.SIGSTOP)  # it takes tasks, and finishes none
        with ThreadPoolExecutor(1) as thread, client.as_current():
            job = thread.submit(write, tmp_path / "ssh")
            held = [
                address for address, worker in client.scheduler_info()["workers"].items() if worker["name"] != "cpu-0"
            ]
            until(lambda: any(client.processing().get(address) for address in held))
            assert not job.done()
            dies.kill()
            cluster.add_host(comes.as_host(workers={"cpu": 1, "gpu": 1}))
            assert job.result(timeout=120).failed == 0
        assert tree(tmp_path / "ssh") == expected

        until(lambda: workers_of(client) == {"cpu-0": stays.address, "cpu-2": comes.address, "gpu-1": comes.address})
        assert set(cluster.hosts) == {stays.label, comes.label}

        client.retire_workers(names=["cpu-2"], close_workers=True)
        until(lambda: set(workers_of(client)) == {"cpu-0", "gpu-1", "cpu-3"})
        assert comes.label in cluster.hosts, "one worker that ends is not a host that is lost"
        cluster.scale(cpu=1, gpu=0)
        assert len(workers_of(client)) == 1
        said = f"{cluster!r} {cluster.worker_spec} {cluster.scheduler_spec} {vars(cluster)} {caplog.text}"
        assert "PRIVATE KEY" not in said
        assert f"the host {dies.label} is lost" in caplog.text
    until(lambda: not named(stays, lambda name: "python" in name))


def test_hosts_that_will_not_do_are_named_each_with_what_helps(servers, tmp_path):
    good, other, strange, bare = (servers.start(known=number != 2) for number in range(4))
    (tmp_path / "old" / "numpy-1.0.dist-info").mkdir(parents=True)
    (tmp_path / "old" / "numpy-1.0.dist-info" / "METADATA").write_text("Name: numpy\nVersion: 1.0\n")
    old = tmp_path / "old-python"
    old.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/old:$PYTHONPATH exec {sys.executable} "$@"\n')
    old.chmod(0o755)
    hosts = [
        good.as_host(),
        other.as_host(python=str(old)),
        strange.as_host(),
        bare.as_host(python="/no/such/python"),
        good.as_host(host="localhost", port=1),
    ]
    with pytest.raises(ResourceError) as refused:
        ks.cluster.ssh(hosts, **servers.options)
    with pytest.raises(ResourceError, match=r"^localhost: (cannot be reached|it takes none|its host key)"):
        ks.cluster.ssh([good.as_host()], scheduler="localhost", **servers.options)
    lines = str(refused.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [other.label, strange.label, bare.label, "localhost:1"]
    assert lines[0].endswith(f"Run there: {old} -m pip install 'numpy=={np.__version__}'")
    assert "numpy is 1.0 there" in lines[0]
    assert "known_hosts" in lines[1]
    assert "/no/such/python does not run there" in lines[2]
    assert "cannot be reached" in lines[3]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("/no/such/key", r"a file of SSH keys cannot be read.*/no/such/key.*ssh-agent"),
        ("stranger", "takes none of your SSH keys.*ssh-copy-id"),
        ("no key", r"a file of SSH keys cannot be read: .*ssh-agent"),
    ],
)
def test_a_key_that_will_not_do_is_answered(servers, key, message):
    host = servers.start()
    servers.make_key("stranger")
    (servers.folder / "no key").write_text("this is none")
    with pytest.raises(ResourceError, match=message):
        ks.cluster.ssh([host.as_host(key=str(servers.folder / key))], **servers.options)


def test_what_to_try_has_the_user_and_the_port_that_were_given(servers):
    host, strange = servers.start(), servers.start(known=False)
    servers.make_key("stranger")
    options = {**servers.options, "key": str(servers.folder / "stranger")}
    hosts = [f"nobody@{host.label}", strange.label, "localhost:1"]
    with pytest.raises(ResourceError) as refused:
        ks.cluster.ssh(hosts, user="anna", **options)
    takes_none, unknown, unreachable = str(refused.value).splitlines()
    assert f"`ssh-copy-id -p {host.port} nobody@{host.address}`" in takes_none
    assert f"`ssh -p {strange.port} anna@{strange.address}`" in unknown
    assert unreachable.endswith("Try `ssh -p 1 anna@localhost`")


def test_more_workers_than_there_is_place_for_are_refused(servers):
    host = servers.start()
    groups = {"cpu": {"min": 3, "max": 5}}
    with pytest.raises(ResourceError, match=r"place for 2 workers of the group cpu.*at least 3.*workers: \{cpu: 2\}"):
        ks.cluster.ssh([host.as_host(workers={"cpu": 2})], groups, **servers.options)


def test_a_worker_that_cannot_start_is_answered_with_its_host_and_why(servers):
    host = servers.start()
    with pytest.raises(ResourceError, match=rf"{re.escape(host.label)}: cpu-0 did not start: .*Error"):
        ks.cluster.ssh([host.as_host(workers={"cpu": 1}, folder="/proc/no/such/folder")], **servers.options)


def test_without_asyncssh_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(sys.modules["kaleidoscope.cluster.ssh"], "find_spec", lambda name: None)
    with pytest.raises(ResourceError, match=r"pip install 'kaleidoscope\[ssh\]'"):
        ks.cluster.ssh(["desk1"])


@pytest.mark.parametrize(
    ("hosts", "options", "message"),
    [
        ([], {}, r"ks\.cluster\.ssh.*: ssh\.hosts: expected a list of at least one host"),
        ("desk1", {}, r"ssh\.hosts: expected a list of at least one host, such as \[desk1, .*; got 'desk1'"),
        ({"host": "desk1"}, {}, r"ssh\.hosts: expected a list of at least one host.*; got a mapping"),
        ("anna:swordfish@desk1", {}, r"ssh\.hosts: .*SSH keys"),
        (["anna:swordfish@desk1"], {}, r"ssh\.hosts\[0\]: .*SSH keys"),
        (["a"], {"scheduler": "anna:swordfish@a"}, r"ssh\.scheduler: .*SSH keys"),
        ([{"hst": "a"}], {}, r"ssh\.hosts\[0\]\.hst: unknown\. Did you mean 'host'"),
        (["a"], {"scheduler_prt": 1}, r"ssh\.scheduler_prt: unknown\. Did you mean 'scheduler_port'"),
        (["a", "a"], {}, "'a' is there twice"),
        (["a"], {"env": {"DB_PASSWORD": "swordfish"}}, r"env\.DB_PASSWORD: looks like the value of a secret"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_reached(hosts, options, message):
    with pytest.raises(RecipeError, match=message) as refused:
        ks.cluster.ssh(hosts, **options)
    assert "swordfish" not in str(refused.value)


SLOWLY_GONE = """
import sys, time
import kaleidoscope as ks
hosts, options = {hosts!r}, {options!r}
if __name__ == "__main__":
    cluster = ks.cluster.ssh(hosts, **options)
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_job_is_the_same_on_local_and_on_ssh_with_hosts_of_their_own_options(
    servers, tmp_path, write, expected, tree
):
    with ks.cluster.local(workers=1, gpus=1, dashboard=False) as cluster, cluster.get_client():
        assert write(tmp_path / "local").failed == 0
    one, two, three = (servers.start() for _ in range(3))
    hosts = [
        one.as_host(workers={"cpu": 1}),
        two.as_host(workers={"cpu": 1}, threads=2),
        three.as_host(workers={"gpu": 1}, memory="2GiB", folder=str(tmp_path / "spill")),
    ]
    with ks.cluster.ssh(hosts, **servers.options) as cluster, cluster.get_client() as client:
        assert workers_of(client) == {"cpu-0": one.address, "cpu-1": two.address, "gpu-0": three.address}
        found = {worker["name"]: worker for worker in client.scheduler_info(n_workers=-1)["workers"].values()}
        assert {name: worker["nthreads"] for name, worker in found.items()} == {"cpu-0": 1, "cpu-1": 2, "gpu-0": 1}
        assert found["gpu-0"]["resources"] == {"GPU": 1}
        assert found["gpu-0"]["memory_limit"] == 2 * 2**30
        assert found["gpu-0"]["local_directory"].startswith(str(tmp_path / "spill"))
        with urllib.request.urlopen(cluster.dashboard_link) as page:  # noqa: S310 - http, on loopback
            assert page.status == 200
        assert write(tmp_path / "ssh").failed == 0
    assert tree(tmp_path / "ssh") == tree(tmp_path / "local") == expected


@pytest.mark.slow
@pytest.mark.parametrize("tls", [True, False])
def test_groups_follow_the_load_over_the_hosts_of_a_file(servers, tmp_path, write, expected, tls, tree):
    one, two = servers.start(), servers.start()
    content = {
        "kind": "ssh",
        "env": servers.options["env"],
        "workers": {"cpu": {"min": 1, "max": 4}, "gpu": {"max": 2, "resources": {"GPU": 1}}},
        "ssh": {
            **{name: value for name, value in servers.options.items() if name != "env"},
            "hosts": [one.as_host(workers={"cpu": 1}), two.as_host(workers={"cpu": 1, "gpu": 1})],
            "tls": tls,
        },
    }
    (tmp_path / "cluster.json").write_text(json.dumps(content))
    often = {"distributed.adaptive.interval": "100 ms", "distributed.adaptive.wait-count": 2}
    with (
        dask.config.set(often),
        ks.cluster.from_yaml(tmp_path / "cluster.json") as cluster,
        cluster.get_client() as client,
    ):
        assert cluster.scheduler_address.startswith("tls://" if tls else "tcp://")
        assert list(workers_of(client)) == ["cpu-0"]
        found = client.submit(lambda: get_worker().name, resources={"GPU": 1})
        assert found.result(timeout=90)[:3] == "gpu"
        until(lambda: list(workers_of(client)) == ["cpu-0"])
        assert found.result(timeout=30)[:3] == "gpu", "what it held was handed over"
        assert write(tmp_path / "to").failed == 0
        assert tree(tmp_path / "to") == expected
        many = client.map(lambda _: time.sleep(0.2), range(40), pure=False)
        until(lambda: set(workers_of(client).values()) == {one.address, two.address})
        client.gather(many)
        assert len(cluster.names("cpu")) <= 2, "more than there is place for"


@pytest.mark.slow
def test_a_host_that_falls_silent_is_gone_on_without(servers, tmp_path, write, expected, monkeypatch, tree):
    from kaleidoscope.cluster import link

    monkeypatch.setitem(link._ALIVE, "keepalive_interval", 1)
    stays, freezes = servers.start(), servers.start()
    hosts = [stays.as_host(workers={"cpu": 1}), freezes.as_host(workers={"cpu": 1})]
    hosts[0]["workers"]["gpu"] = 1
    with ks.cluster.ssh(hosts, **servers.options) as cluster, cluster.get_client():
        assert write(tmp_path / "all").failed == 0  # versions are compared once, which would wait for it
        for process in [*freezes.children(), psutil.Process(freezes.process.pid)]:
            process.send_signal(signal.SIGSTOP)
        assert write(tmp_path / "to").failed == 0
        assert set(cluster.hosts) == {stays.label}
    assert tree(tmp_path / "to") == expected


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(servers, tmp_path):
    host = servers.start()
    script = tmp_path / "script.py"
    script.write_text(SLOWLY_GONE.format(hosts=[host.as_host(workers={"cpu": 2})], options=servers.options))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "up\n"
        there = named(host, lambda name: "python" in name)
        assert len(there) >= 4, "two agents, one of them with the scheduler, and two workers"
        process.kill()
    until(lambda: not [one for one in there if one.is_running() and one.status() != psutil.STATUS_ZOMBIE])
