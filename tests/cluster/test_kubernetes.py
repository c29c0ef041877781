"""Clusters of pods, on a look-alike of Kubernetes that runs them as processes, with Dask's own client and operator."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import count

import cv2
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from distributed import Event

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.cli import cli
from kaleidoscope.errors import RecipeError, ResourceError

pytest.importorskip("dask_kubernetes")

#: Of kr8s, which leaves its connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

NOT_YET = 90.0  # seconds after which something that should have happened will not
NAMESPACE = "augment"
SECRET = "hunter2-hunter2-hunter2"  # noqa: S105 - what must be seen nowhere
GROUPS = {
    "cpu": {"max": 2, "memory": "1GiB"},
    "gpu": {"max": 2, "memory": "1GiB", "resources": {"GPU": 1}},
    "huge": {"max": 1, "memory": "1GiB", "resources": {"GPU": 8, "HUGE": 1}},
}
_names = count()


@pytest.fixture
def start(kube):
    """Return a function that starts a cluster, and looks every quarter of a second; it is closed with the test."""
    started = []

    def start(groups=GROUPS, *, follow=True, **place):
        name = f"c{next(_names)}"
        cluster = ks.cluster.kubernetes("kaleidoscope:test", groups, name=name, namespace=NAMESPACE, **place)
        started.append(cluster)
        if follow:
            cluster.adapt(interval=0.25, patience=4, **{name: (0, group["max"]) for name, group in groups.items()})
        return cluster

    yield start
    for cluster in started:
        cluster.close()


def wait(condition, what):
    end = time.monotonic() + NOT_YET
    while not (found := condition()):
        assert time.monotonic() < end, f"{what}: {condition()}"
        time.sleep(0.2)
    return found


def groups_of(cluster):
    return {group.name: group for group in cluster.group_status().groups}


def is_empty(cluster):
    return all(not group.pods and not group.wanted for group in cluster.group_status().groups)


def retired(cluster):
    """Return the names of all workers that the scheduler was ever told to retire."""
    (log,) = [text for name, text in cluster.get_logs().items() if "-scheduler-" in name]
    assert "Retire worker addresses" not in log, "by name only"
    return {name for names in re.findall("Retire worker names (.+)", log) for name in re.findall("'(.+?)'", names)}


def group_in(name):
    """Return the group that a worker's name tells."""
    return name.rpartition("-worker-")[0].rpartition("-")[2]


def slowly(number):
    time.sleep(0.1)
    return number


def when_told(number, gate):
    """Wait for what `Event.set` tells: as long as tasks wait, no group shrinks."""
    assert Event(gate).wait(NOT_YET)
    return number


def test_groups_scale_apart_from_zero_and_back(kube, start):
    cluster = start()
    with cluster.get_client() as client:
        assert is_empty(cluster)
        plain = client.map(when_told, range(30), gate="plain", pure=False)
        wait(lambda: groups_of(cluster)["cpu"].wanted > 1, "the group grows")
        seen = groups_of(cluster)
        assert (seen["gpu"].wanted, seen["huge"].wanted) == (0, 0)
        Event("plain").set()
        assert sum(client.gather(plain)) == sum(range(30))
        # From here on one worker stays, to which the others hand over what they hold.
        cluster.adapt(interval=0.25, patience=4, cpu=(1, 2), gpu=(0, 2), huge=(0, 1))
        held = client.map(slowly, range(12), pure=False)
        client.gather(held)
        del plain

        needy = client.map(when_told, range(4), gate="needy", resources={"GPU": 1}, pure=False)
        wait(lambda: groups_of(cluster)["gpu"].running == 1, "a GPU worker, as there is one GPU")
        Event("needy").set()
        assert client.gather(needy) == [0, 1, 2, 3]
        del needy
        wait(lambda: not groups_of(cluster)["gpu"].pods, "the GPU group empties")
        wait(lambda: len(groups_of(cluster)["cpu"].pods) == 1, "the other group keeps one")
        assert client.gather(held) == list(range(12)), "what a worker holds survives its end"
        del held
        cluster.adapt(interval=0.25, patience=4, cpu=(0, 2), gpu=(0, 2), huge=(0, 1))
        wait(lambda: is_empty(cluster), "all groups empty")
        assert {group_in(name) for name in retired(cluster)} == {"cpu", "gpu"}
        left = kube.pods(NAMESPACE, f"dask.org/cluster-name={cluster.name},dask.org/component=worker")
        assert [pod["metadata"]["name"] for pod in left if not pod["metadata"].get("deletionTimestamp")] == []


@pytest.mark.slow
def test_a_group_shrinks_by_its_own_workers_only(start):
    cluster = start(follow=False)
    cluster.scale(cpu=3, gpu=1)
    wait(lambda: [groups_of(cluster)[name].running for name in ("cpu", "gpu")] == [3, 1], "four workers")
    gpu = set(groups_of(cluster)["gpu"].pods)
    with cluster.get_client() as client:
        client.wait_for_workers(4, timeout=NOT_YET)
        # Those of the other group are the ones that Dask itself would end first: they have nothing to do or to hold.
        held = client.map(slowly, range(6), pure=False)
        client.gather(held)
        cluster.scale(cpu=1)
        wait(lambda: len(groups_of(cluster)["cpu"].pods) == 1, "the group has shrunk")
        assert client.gather(held) == list(range(6))
        assert set(groups_of(cluster)["gpu"].pods) == gpu
        assert groups_of(cluster)["gpu"].running == 1
        assert {group_in(name) for name in retired(cluster)} == {"cpu"}


@pytest.mark.slow
def test_a_deployment_that_somebody_deleted_is_made_again(kube, start, monkeypatch):
    monkeypatch.setattr("kaleidoscope.cluster.kube_cluster._SETTLED_AFTER", 1.0)
    cluster = start({"cpu": {"min": 1, "max": 2, "memory": "1GiB"}}, follow=False)
    cluster.adapt(interval=0.25, patience=4, cpu=(1, 2))
    (before,) = wait(lambda: groups_of(cluster)["cpu"].pods, "a worker")
    kube.ask("DELETE", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{before}")
    (after,) = wait(lambda: set(groups_of(cluster)["cpu"].pods) - {before}, "another one")
    wait(lambda: groups_of(cluster)["cpu"].running == 1, "that runs")
    assert groups_of(cluster)["cpu"].wanted == 1
    assert after != before


def test_a_group_without_a_node_waits_is_reported_and_given_up(start, caplog):
    cluster = start(follow=False, pending_timeout="2 seconds")
    with cluster.get_client() as client:
        cluster.scale(huge=1)  # nobody gives it up until the load is followed
        wait(lambda: "Insufficient nvidia.com/gpu" in str(cluster.group_status()), "it waits")
        huge = groups_of(cluster)["huge"]
        assert (huge.wanted, huge.running, huge.pending) == (1, 0, 1)
        assert "no node for it" in huge.reasons[0]
        task = client.submit(slowly, 1, resources={"HUGE": 1})
        cluster.adapt(interval=0.25, patience=4, cpu=(0, 2), gpu=(0, 2), huge=(0, 1))
        wait(lambda: "huge: gave up 1 workers after 2 s: no node for it" in str(cluster.group_status()), "given up")
        assert any("gave up" in record.message for record in caplog.records)
        assert client.submit(slowly, 2).result() == 2, "the other groups go on"
        wait(lambda: groups_of(cluster)["huge"].wanted, "tried again, as the task still waits")
        del task


def test_status_and_logs_are_readable_and_show_no_secret(kube, start):
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3"}, "stringData": {"S3_SECRET": SECRET}}
    kube.ask("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", body)
    account = {"name": "augment", "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/augment"}}
    cluster = start({"cpu": {"min": 1, "memory": "1GiB"}}, follow=False, secrets=["s3"], service_account=account)
    wait(lambda: groups_of(cluster)["cpu"].running == 1, "a worker")
    with cluster.get_client() as client:
        client.wait_for_workers(1, timeout=NOT_YET)
        assert client.submit(lambda: __import__("os").environ["S3_SECRET"]).result() == SECRET, "the worker has it"
        logs = cluster.get_logs()
        shown = [
            repr(cluster),
            repr(client),
            str(cluster.group_status()),
            repr(cluster.group_status()),
            repr(cluster.spec),
        ]
    for part, said in (("scheduler", "Scheduler at"), ("worker", "Registered to")):
        (text,) = [text for name, text in logs.items() if f"-{part}-" in name]
        assert said in text
    assert str(cluster.group_status()).splitlines() == [
        f"{cluster.name} in namespace augment: scheduler running",
        "group  wanted  running  pending",
        "cpu         1        1        0",
    ]
    made = kube.ask("GET", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/augment")
    assert made["metadata"]["annotations"] == account["annotations"]
    for where in (*shown, *logs.values(), kube.log_of("operator"), kube.log_of("api")):
        assert SECRET not in where


def test_the_command_line_makes_shows_and_removes_a_cluster(kube, tmp_path):
    workers = {"cpu": {"min": 1, "memory": "1GiB"}, "gpu": {"min": 1, "resources": {"GPU": 8}, "memory": "1GiB"}}
    place = {"image": "kaleidoscope:test", "namespace": NAMESPACE, "service_account": {"name": "by-hand"}}
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump({"kind": "kubernetes", "name": "by-hand", "workers": workers, "kubernetes": place}))

    def run(*words):
        return CliRunner().invoke(cli, ["cluster", words[0], str(file), *words[1:]], catch_exceptions=False)

    words = [sys.executable, "-m", "kaleidoscope", "cluster", "up", str(file), "--follow"]
    up = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert up.stdout.readline() == "by-hand in namespace augment: scheduler running\n"
        up.send_signal(signal.SIGINT)
        _, said = up.communicate(timeout=NOT_YET)
    finally:
        up.kill()
        up.wait()
    assert (up.returncode, said) == (
        0,
        "\nThe cluster stays, and its workers; 'kaleidoscope cluster down' removes it.\n",
    )
    wait(lambda: _running(run("status", "--json")) == {"cpu": 1, "gpu": 0}, "the worker")
    status = run("status")
    assert status.exit_code == 1, "some wait"
    assert "no node for it: 0/2 nodes are available" in status.output
    wait(lambda: "Registered to" in run("logs").output, "the worker's log")
    logs = run("logs", "--tail", "3")
    assert logs.output.count("== by-hand-") == 3
    down = run("down")
    assert down.output.splitlines() == [
        "deleted DaskWorkerGroup by-hand-gpu",
        "deleted DaskWorkerGroup by-hand-cpu",
        "deleted DaskCluster by-hand",
        "deleted ServiceAccount by-hand",
    ]
    wait(lambda: not kube.pods(NAMESPACE, "dask.org/cluster-name=by-hand"), "the pods end")
    assert run("down").output == "there was nothing\n"


def _running(result):
    return {name: group["running"] for name, group in json.loads(result.output)["groups"].items()}


def test_a_scheduler_without_a_node_is_an_error_that_says_so_and_leaves_nothing(kube, monkeypatch):
    from kaleidoscope.cluster.kube_cluster import KubernetesCluster

    why_not_started = KubernetesCluster._why_not_started

    async def once_refused(cluster):
        """Say why once the pod has been refused, which on a busy machine takes longer than the timeout."""
        wait(lambda: "Unschedulable" in str(kube.pods(NAMESPACE, "dask.org/cluster-name=none")), "no node")
        return await why_not_started(cluster)

    monkeypatch.setattr(KubernetesCluster, "_why_not_started", once_refused)
    said = r"was not up after 6 s: its scheduler is pending: no node .*Insufficient cpu.*It is deleted again"
    with pytest.raises(ResourceError, match=said):
        ks.cluster.kubernetes("i", name="none", namespace=NAMESPACE, scheduler={"cpus": 99}, timeout="6 seconds")
    clusters = f"/apis/kubernetes.dask.org/v1/namespaces/{NAMESPACE}/daskclusters"
    wait(lambda: "none" not in [one["metadata"]["name"] for one in kube.ask("GET", clusters)["items"]], "it goes")


def test_a_kubernetes_that_is_not_there_is_a_line_on_stderr(tmp_path):
    config = {"server": "http://127.0.0.1:9"}  # nobody listens there
    context = {"cluster": "c", "user": "u"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "clusters": [{"name": "c", "cluster": config}],
        "users": [{"name": "u", "user": {"token": SECRET}}],
        "contexts": [{"name": "x", "context": context}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    content = {"kind": "kubernetes", "workers": {"cpu": None}, "kubernetes": {"image": "i"}}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(content))
    for command in ("status", "up", "logs", "down"):
        run = subprocess.run(
            [sys.executable, "-m", "kaleidoscope", "cluster", command, str(tmp_path / "cluster.yaml")],
            env={**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 2, run.stderr
        assert run.stderr.startswith("kaleidoscope: Kubernetes cannot be reached")
        assert len(run.stderr.splitlines()) == 1
        assert SECRET not in run.stderr


def test_what_makes_no_sense_is_refused_before_anything_is_made():
    with pytest.raises(
        RecipeError, match=r"ks.cluster.kubernetes: kubernetes.nmespace: unknown. Did you mean 'namespace'"
    ):
        ks.cluster.kubernetes("image", nmespace="a")


def write_photos(folder, number, size):
    folder.mkdir()
    rng = np.random.default_rng(3)
    for index in range(number):
        coarse = rng.uniform(0, 255, (8, 8, 3)).astype("float32")
        pixels = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR)
        cv2.imwrite(str(folder / f"{index:03d}.jpg"), pixels)
    return folder


def views_of(photos):
    recipe = [
        ops.HorizontalFlip(),
        ops.Rotate(limit=15),
        ops.HueSaturationValue(),
        ops.RandomBrightnessContrast(),
        ops.GaussianBlur(),
        ops.GaussNoise(),
    ]
    return ks.augment(photos, recipe, seed=7)


@contextmanager
def deleting(kube, cluster, due):
    """Delete a worker's pod whenever `due`, in turn gracefully and not, for as long as the block lasts."""
    import threading

    deleted, over = [], threading.Event()
    labels = f"dask.org/cluster-name={cluster.name},dask.org/workergroup-name={cluster.name}-cpu"

    def follow():
        while not over.wait(0.1):
            there = [pod for pod in kube.pods(NAMESPACE, labels) if pod["status"]["phase"] == "Running"]
            there = [pod for pod in there if "deletionTimestamp" not in pod["metadata"]]
            if there and due(len(deleted)):
                kube.delete_pod(there[len(deleted) % len(there)], grace=None if len(deleted) % 2 else 0)
                deleted.append(there[0]["metadata"]["name"])

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield deleted
    finally:
        over.set()
        thread.join()


def check_job_with_deletions(kube, start, tmp_path, *, photos, size, due, least, tree):
    source = write_photos(tmp_path / "photos", photos, size)
    report = views_of(source).write(tmp_path / "here").compute(scheduler="threads")
    assert report.failed == 0
    cluster = start({"cpu": {"max": 2, "memory": "1GiB"}, "gpu": {"min": 1, "memory": "1GiB", **GPU}})
    cluster.adapt(interval=0.25, patience=4, cpu=(2, 2), gpu=(1, 1))
    wait(lambda: [groups_of(cluster)[name].running for name in ("cpu", "gpu")] == [2, 1], "three workers")
    gpu = set(groups_of(cluster)["gpu"].pods)
    with cluster.get_client(), deleting(kube, cluster, due(tmp_path / "there")) as deleted:
        report = views_of(source).write(tmp_path / "there").compute()
    assert (report.outputs, report.failed) == (photos * 64, 0)
    assert len(deleted) >= least
    assert tree(tmp_path / "there") == tree(tmp_path / "here")
    assert {group_in(name) for name in retired(cluster)} <= {"cpu"}
    assert set(groups_of(cluster)["gpu"].pods) == gpu
    assert groups_of(cluster)["gpu"].running == 1


GPU = {"resources": {"GPU": 1}, "max": 1}


def test_a_job_whose_pods_are_deleted_writes_what_a_local_one_writes(kube, start, tmp_path, tree):
    def due(target):
        def far_enough(deleted):
            done = len(list(target.rglob("*.jpg"))) if target.exists() else 0
            return deleted < 2 and done > 200 * (deleted + 1)

        return far_enough

    check_job_with_deletions(kube, start, tmp_path, photos=16, size=192, due=due, least=2, tree=tree)


@pytest.mark.slow
def test_a_job_survives_a_pod_deleted_every_two_seconds(kube, start, tmp_path, tree):
    def due(_):
        last = [time.monotonic()]

        def every_two_seconds(_):
            if time.monotonic() - last[0] < 2:
                return False
            last[0] = time.monotonic()
            return True

        return every_two_seconds

    check_job_with_deletions(kube, start, tmp_path, photos=160, size=384, due=due, least=5, tree=tree)
