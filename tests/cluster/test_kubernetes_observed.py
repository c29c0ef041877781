import pytest

from kaleidoscope.cluster.observed import ClusterStatus, PodStatus, read_groups, read_pod


def pod(name="augment-cpu-worker-1-abc", group="augment-cpu", *, doomed=False, **status):
    metadata = {"name": name, "labels": {"dask.org/workergroup-name": group}}
    if doomed:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {"metadata": {**metadata, "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": status}


def condition(kind, value, **more):
    return {"type": kind, "status": str(value), **more}


READY = {"phase": "Running", "conditions": [condition("Ready", value=True)]}


def waiting(reason, message="", **last):
    state = {"state": {"waiting": {"reason": reason, "message": message}}, "lastState": last}
    return {"phase": "Running", "containerStatuses": [state]}


@pytest.mark.parametrize(
    ("found", "state", "reason"),
    [
        (pod(**READY), "running", ""),
        (pod(doomed=True, **READY), "ending", "ending"),
        (pod(phase="Pending"), "pending", "starting"),
        (pod(phase="Running", conditions=[condition("Ready", value=False)]), "pending", "starting"),
        (
            pod(conditions=[condition("PodScheduled", value=False, message="0/3 nodes are available: 3 full.")]),
            "pending",
            "no node for it: 0/3 nodes are available: 3 full.",
        ),
        (pod(**waiting("ImagePullBackOff", "no such image")), "pending", "ImagePullBackOff: no such image"),
        (
            pod(**waiting("CrashLoopBackOff", "back-off 10s", terminated={"reason": "OOMKilled"})),
            "pending",
            "CrashLoopBackOff: OOMKilled: back-off 10s",
        ),
    ],
)
def test_a_pod_is_said_in_words(found, state, reason):
    read = read_pod(found)
    assert (read.state, read.reason, read.since) == (state, reason, 1767225600.0)


def deployment(name, group="augment-cpu"):
    return {"metadata": {"name": name, "labels": {"dask.org/workergroup-name": group}}}


def group(name, replicas):
    return {"metadata": {"name": name}, "spec": {"worker": {"replicas": replicas}}}


NAMES = {"cpu": "augment-cpu", "gpu": "augment-gpu"}


def test_workers_are_counted_by_their_deployments():
    deployments = [deployment("augment-cpu-worker-1"), deployment("augment-cpu-worker-10")]
    pods = [pod("augment-cpu-worker-1-a", **READY), pod("augment-cpu-worker-10-b", phase="Pending")]
    found = read_groups(NAMES, [group("augment-cpu", 3), group("augment-default", 0)], deployments, pods)
    assert set(found) == {"cpu", "gpu"}
    assert (found["cpu"].wanted, found["cpu"].running, found["cpu"].pending) == (3, 1, 2)
    assert found["cpu"].reasons == ("starting", "the operator has not made 1 of them yet")
    assert (found["gpu"].wanted, found["gpu"].running, found["gpu"].pending) == (0, 0, 0)


def test_a_pod_that_ends_gives_way_to_the_one_that_replaces_it():
    old, new = pod("augment-cpu-worker-1-a", doomed=True), pod("augment-cpu-worker-1-b", **READY)
    for pods in ([old, new], [new, old]):
        found = read_groups(NAMES, [group("augment-cpu", 1)], [deployment("augment-cpu-worker-1")], pods)
        assert found["cpu"].running == 1


def test_a_status_is_a_table():
    refused = [
        condition("PodScheduled", value=False, message="0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")
    ]
    deployments = [deployment(f"augment-gpu-worker-{number}", "augment-gpu") for number in (1, 2)]
    pods = [pod(f"augment-gpu-worker-{number}-x", "augment-gpu", conditions=refused) for number in (1, 2)]
    groups = read_groups(NAMES, [group("augment-cpu", 0), group("augment-gpu", 2)], deployments, pods)
    status = ClusterStatus("augment", "ns", PodStatus("s", "running"), tuple(groups.values()), ("a note",))
    assert str(status).splitlines() == [
        "augment in namespace ns: scheduler running",
        "group  wanted  running  pending",
        "cpu         0        0        0",
        "gpu         2        0        2",
        "       no node for it: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu. (2x)",
        "a note",
    ]
