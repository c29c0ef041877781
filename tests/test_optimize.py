import json
import operator
import os
import pickle
import subprocess
import sys
import weakref
from collections import Counter, defaultdict
from contextlib import nullcontext
from itertools import pairwise
from typing import NamedTuple

import cloudpickle
import cv2
import dask
import dask.bag as db
import numpy as np
import pytest
from dask._task_spec import Alias, DataNode
from dask.highlevelgraph import HighLevelGraph
from dask.utils import key_split
from distributed import Client, Scheduler, SchedulerPlugin, SpecCluster, Worker, default_client, get_worker
from hypothesis import given, settings
from hypothesis import strategies as st

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.bag import StreamingBag
from kaleidoscope.optimize import optimize

LOOPBACK = "127.0.0.1"
ON_X = {"resources": {"X": 1}}
IMAGES = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    top = tmp_path_factory.mktemp("images")
    for i in range(IMAGES):
        cv2.imwrite(str(top / f"{i}.png"), np.full((12, 16, 3), 20 * i, np.uint8))
    return top


def streaming(items, npartitions):
    plain = db.from_sequence(items, npartitions=npartitions)
    return StreamingBag(plain.dask, plain.name, plain.npartitions)


def annotated(annotations):
    return dask.annotate(**annotations) if annotations else nullcontext()


def optimized(bag):
    return optimize(bag.dask, bag.__dask_keys__())


def tasks_of(graph):
    """Return (task, annotations of its layer) for everything that is run: aliases and data are not."""
    layers = graph.layers.values() if isinstance(graph, HighLevelGraph) else []
    return [
        (task, dict(layer.annotations or {}))
        for layer in layers
        for task in layer.values()
        if not isinstance(task, Alias | DataNode)
    ]


# ------------------------------------------------------------------------------------ the graph


class TestGraph:
    def test_without_annotations_is_one_task_for_each_partition(self):
        bag = streaming(range(6), 3).map(str).filter(bool).map(len)
        graph = optimized(bag)
        assert sum(not isinstance(task, Alias) for task in dict(graph).values()) == 3

    def test_is_cut_only_where_annotations_change(self):
        bag = streaming(range(6), 3).map(str).map(int)
        with dask.annotate(**ON_X):
            bag = bag.map(str).map(int)
        bag = bag.map(str).map(int)
        found = Counter(json.dumps(annotations) for _, annotations in tasks_of(optimized(bag)))
        assert found == {"{}": 6, json.dumps(ON_X): 3}
        assert bag.compute() == list(range(6))

    def test_different_annotations_are_not_fused(self):
        with dask.annotate(retries=1):
            bag = streaming(range(4), 2).map(str)
        with dask.annotate(retries=2):
            bag = bag.map(int)
        found = Counter(json.dumps(annotations) for _, annotations in tasks_of(optimized(bag)))
        assert found == {json.dumps({"retries": 1}): 2, json.dumps({"retries": 2}): 2}

    def test_equal_annotations_of_different_blocks_are_fused(self):
        with dask.annotate(retries=1):
            bag = streaming(range(4), 2).map(str)
        with dask.annotate(retries=1):
            bag = bag.map(int)
        assert [annotations for _, annotations in tasks_of(optimized(bag))] == [{"retries": 1}] * 2

    def test_nested_annotations_are_kept_together(self):
        bag = streaming(range(4), 2)
        with dask.annotate(retries=1), dask.annotate(priority=3):
            bag = bag.map(str)
        found = [annotations for _, annotations in tasks_of(optimized(bag)) if annotations]
        assert found == [{"retries": 1, "priority": 3}] * 2

    def test_a_function_of_the_key_is_asked_for_each_key(self):
        bag = streaming(range(6), 3)
        with dask.annotate(priority=lambda key: key[1]):
            bag = bag.map(str)
        found = [annotations["priority"] for _, annotations in tasks_of(optimized(bag)) if annotations]
        assert sorted(found) == [0, 1, 2]

    def test_what_is_not_asked_for_is_not_there(self):
        bag = streaming(range(6), 3)
        with dask.annotate(**ON_X):
            bag = bag.map(str)
        graph = optimize(bag.dask, [(bag.name, 1)])
        assert [task.key[1] for task, _ in tasks_of(graph)] == [1]

    def test_keys_to_keep_stay_tasks_of_their_own(self):
        with dask.annotate(**ON_X):
            first = streaming(range(6), 3).map(str)
            bag = first.map(int)
        kept = {(first.name, i) for i in range(3)}
        assert not kept & set(dict(optimized(bag)))
        assert kept < set(dict(optimize(bag.dask, bag.__dask_keys__(), fuse_keys=list(kept))))

    def test_two_consumers_get_everything(self):
        with dask.annotate(retries=1):
            once = streaming(range(6), 2).map(str)
        assert dask.compute(once.map(int), once.map(len), once.count(), scheduler="sync") == (
            [*range(6)],
            [1] * 6,
            6,
        )

    def test_survives_pickling(self):
        with dask.annotate(retries=1):
            bag = streaming(range(4), 2).map(str)
        copy = pickle.loads(pickle.dumps(bag))
        assert [annotations for _, annotations in tasks_of(optimized(copy)) if annotations] == [{"retries": 1}] * 2


class Marked:
    """A step whose mark can be found again in the bytes of whatever task it went into."""

    __name__ = "step"  # what Dask makes keys of, which stand in other tasks too

    def __init__(self, mark, do):
        self.mark, self.do = mark, do

    def __call__(self, *args):
        return self.do(*args)


def _plus(x):
    return x + 1


def _odd(x):
    return x % 2 == 1


def _backwards(items):
    return list(items)[::-1]


def _twice(x):
    return [x, x]


STEPS = {
    "map": (lambda bag, f: bag.map(f), _plus, lambda parts: [[_plus(x) for x in p] for p in parts]),
    "filter": (lambda bag, f: bag.filter(f), _odd, lambda parts: [[x for x in p if _odd(x)] for p in parts]),
    "partitions": (lambda bag, f: bag.map_partitions(f), _backwards, lambda parts: [p[::-1] for p in parts]),
    "flatten": (
        lambda bag, f: bag.map(f).flatten(),
        _twice,
        lambda parts: [[x for x in p for _ in range(2)] for p in parts],
    ),
}
ANNOTATIONS = [{}, ON_X, {"retries": 1}, {"priority": 2, "retries": 1}]


@given(
    st.integers(0, 9),
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.sampled_from(ANNOTATIONS)), max_size=6),
    st.sampled_from(["bag", "count", "two"]),
)
@settings(max_examples=40, deadline=None)
def test_pipelines_give_what_they_give_unoptimized_and_keep_every_annotation(items, partitions, steps, end):
    bag = streaming(range(items), partitions)
    expected = bag.map_partitions(lambda p: [list(p)]).compute(scheduler="sync")
    for i, (name, annotations) in enumerate(steps):
        build, f, model = STEPS[name]
        with annotated(annotations):
            bag = build(bag, Marked(f"step-{i}|", f))
        expected = model(expected)
    flat = [x for part in expected for x in part]

    if any(annotations for _, annotations in steps):
        segments = 1 + sum(a != b for (_, a), (_, b) in pairwise(steps))
        assert len(tasks_of(optimized(bag))) == segments * bag.npartitions
    for task, found in tasks_of(optimized(bag)):
        text = cloudpickle.dumps(task)
        for i, (_, annotations) in enumerate(steps):
            assert f"step-{i}|".encode() not in text or found == annotations

    if end == "bag":
        assert bag.compute(scheduler="sync") == flat
        assert bag.compute(scheduler="sync", optimize_graph=False) == flat
    elif end == "count":
        assert bag.count().compute(scheduler="sync") == len(flat)
    else:
        found = dask.compute(bag, bag.map(_plus), bag.count(), scheduler="sync")
        assert found == (flat, [_plus(x) for x in flat], len(flat))


class TestStreaming:
    """One image in flight, whatever the number in the partition."""

    @pytest.fixture
    def views(self, tmp_path):
        for i in range(20):
            cv2.imwrite(str(tmp_path / f"{i:02d}.png"), np.full((8, 8, 3), i, np.uint8))
        return ks.augment(ks.read_images(tmp_path, partition_size=20), [ops.HorizontalFlip()])

    @staticmethod
    def counter():
        """Return a function of records that tells how many of those it has seen still have their pixels."""
        seen = []

        def alive(record):
            seen.append(weakref.ref(record.pixels))
            return sum(ref() is not None for ref in seen)

        return alive

    def test_of_a_map(self, views):
        assert views.npartitions == 1
        counts = views.map(self.counter()).compute(scheduler="sync")
        assert len(counts) == 40
        assert max(counts) <= 2

    def test_of_several_steps(self, views):
        counts = views.filter(lambda r: r.key != "03.png").map(lambda r: r).map(self.counter())
        assert max(counts.compute(scheduler="sync")) <= 2

    def test_of_a_bag_of_records(self, views):
        again = ks.augment(ks.read_images(views.source.root).filter(bool), [ops.HorizontalFlip()])
        counts = again.map(self.counter()).compute(scheduler="sync")
        assert (len(counts), max(counts) <= 2) == (40, True)

    def test_of_a_count(self, views):
        seen = self.counter()
        highest = views.map(seen).max()
        assert highest.compute(scheduler="sync") <= 2

    @pytest.mark.parametrize("seed", range(6))  # seeds give other keys, and those another order of the graph
    def test_with_annotations_after_it(self, views, seed):
        views = ks.augment(ks.read_images(views.source.root), [ops.HorizontalFlip()], seed=seed)
        mapped = views.map(self.counter())
        with dask.annotate(**ON_X):
            mapped = mapped.map(_plus)
        counts = mapped.compute(scheduler="sync")
        assert (len(counts), max(counts) <= 3) == (40, True)

    @pytest.mark.parametrize("seed", range(6))
    def test_of_two_results_of_one_chain(self, views, seed):
        views = ks.augment(ks.read_images(views.source.root), [ops.HorizontalFlip()], seed=seed)
        counts = views.map(self.counter())
        first, then = dask.compute(counts, counts.map(_plus), scheduler="sync")
        assert max(first) <= 2
        assert then == [_plus(count) for count in first]

    def test_with_equal_annotations_all_along(self, views):
        with dask.annotate(retries=2):
            views = ks.augment(ks.read_images(views.source.root), [ops.HorizontalFlip()])
            mapped = views.map(lambda r: r)
        with dask.annotate(retries=2):
            mapped = mapped.map(self.counter())
        assert any(annotations for _, annotations in tasks_of(optimized(mapped)))
        counts = mapped.compute(scheduler="sync")
        assert (len(counts), max(counts) <= 2) == (40, True)

    def test_holds_a_partition_where_annotations_change(self, views):
        # Not a wish, a check of the counter: what passes a cut between tasks is materialized.
        with dask.annotate(**ON_X):
            mapped = views.map(self.counter())
        assert max(mapped.compute(scheduler="sync")) > 2


# ------------------------------------------------------------------------------------ on a cluster


@pytest.fixture(scope="module")
def client():
    """Two workers of this process: one has the resource X."""
    here = {"host": LOOPBACK, "dashboard": False}
    workers = {
        "plain": {"cls": Worker, "options": {"nthreads": 1, **here}},
        "x": {"cls": Worker, "options": {"nthreads": 1, "resources": {"X": 1}, **here}},
    }
    scheduler = {"cls": Scheduler, "options": {**here, "port": 0, "dashboard_address": f"{LOOPBACK}:0"}}
    with SpecCluster(workers=workers, scheduler=scheduler) as cluster, Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


class Run(NamedTuple):
    """Where a function was run, and as what."""

    worker: str
    annotations: str
    priority: int


def run_as(_):
    """Tell where this is run: what the worker was told of the task, not what was asked for."""
    worker = get_worker()
    task = worker.state.tasks[worker.get_current_task()]
    return Run(worker.name, json.dumps(task.annotations or {}, sort_keys=True), task.priority[0])


RUN_ON_X = ("x", json.dumps(ON_X))


def places(runs):
    return {(run.worker, run.annotations) for run in runs}


@pytest.fixture
def bag(folder, request):
    """A bag whose keys are this test's own: the same map with and without annotations has the same key."""
    images = ks.read_images(folder, partition_size=1)
    return images.map_partitions(lambda part, _: list(part), request.node.name)


@pytest.fixture
def on_x(bag):
    with dask.annotate(**ON_X):
        return bag.map(run_as)


FAILED: Counter[str] = Counter()


def fail_twice(record):
    """Fail the first two times an image comes by; in this process, where the workers are too."""
    if FAILED[record.key] < 2:
        FAILED[record.key] += 1
        raise ValueError(record.key)
    return record.key


class WhereFinished(SchedulerPlugin):
    """Remembers which worker finished the tasks of each name."""

    name = "where-finished"

    def __init__(self):
        self.workers = defaultdict(set)

    def transition(self, key, start, finish, *args, worker=None, **kwargs):
        if finish == "memory":
            self.workers[key_split(key)].add(worker)


def runs_in_pairs(pairs):
    return [run for pair in pairs for run in pair]


def runs_in_groups(groups):
    return [run for _, runs in groups for run in runs]


def runs_in_frame(bag):
    frame = bag.to_dataframe(meta={"worker": str, "annotations": str, "priority": int}).compute()
    return [Run(*row) for row in frame.itertuples(index=False)]


# What may be done with a bag of runs, and still get at those runs.
METHODS = {
    "take": lambda bag: bag.take(3, npartitions=-1),
    "iter": list,
    "to_delayed": lambda bag: [run for part in dask.compute(*bag.to_delayed()) for run in part],
    "fold": lambda bag: bag.fold(lambda runs, run: [*runs, run], operator.add, initial=[]).compute(),
    "max": lambda bag: [bag.max().compute()],
    "item.apply": lambda bag: [bag.max().apply(lambda run: run).compute()],
    "item.to_delayed": lambda bag: [bag.max().to_delayed().compute()],
    "item.persist": lambda bag: [bag.max().persist().compute()],
    "frequencies": lambda bag: [run for run, _ in bag.frequencies().compute()],
    "distinct": lambda bag: bag.distinct().compute(),
    "topk": lambda bag: bag.topk(9).compute(),
    "accumulate": lambda bag: bag.accumulate(lambda _, run: run).compute(),
    "foldby": lambda bag: runs_in_groups(
        bag.foldby(len, lambda runs, run: [*runs, run], [], operator.add, []).compute()
    ),
    "groupby": lambda bag: runs_in_groups(bag.groupby(len, shuffle="tasks").compute()),
    "product": lambda bag: runs_in_pairs(bag.product(bag).compute()),
    "map of two": lambda bag: runs_in_pairs(bag.map(lambda a, b: (a, b), bag).compute()),
    "repartition": lambda bag: bag.repartition(npartitions=2).compute(),
    "repartition to more": lambda bag: bag.repartition(npartitions=12).compute(),
    "persist": lambda bag: bag.persist().compute(),
    "dask.compute": lambda bag: dask.compute(bag, bag.count())[0],
    "client.compute": lambda bag: default_client().compute(bag).result(),
}

METHODS_THAT_LOSE_IT = {
    "delayed": lambda bag: dask.delayed(list)(bag).compute(),
    "dask.optimize": lambda bag: dask.optimize(bag)[0].compute(),
    "db.zip": lambda bag: runs_in_pairs(db.zip(bag, bag).compute()),
    "to_dataframe": runs_in_frame,
}


class TestOnACluster:
    """`run_as` runs under an annotation, and whatever is done with its results, it goes where it says."""

    pytestmark = pytest.mark.usefixtures("client")

    def test_compute(self, on_x):
        runs = on_x.compute()
        assert places(runs) == {RUN_ON_X}
        assert len(runs) == IMAGES

    def test_only_the_annotated_step(self, bag):
        before = bag.map(run_as)
        with dask.annotate(**ON_X):
            then = before.map(lambda run: [run, run_as(run)])
        after = then.map(lambda runs: [*runs, run_as(runs)])
        runs = after.compute()
        assert places(run[1] for run in runs) == {RUN_ON_X}
        assert {run[i].annotations for run in runs for i in (0, 2)} == {"{}"}

    def test_views_on_the_cpu_then_x_then_the_cpu(self, folder):
        views = ks.augment(ks.read_images(folder, partition_size=2), [ops.HorizontalFlip()], seed=91)
        with dask.annotate(**ON_X):
            mapped = views.map(lambda view: (view.key, view.variant, run_as(view)))
        found = mapped.map(lambda run: (*run, run_as(run))).compute()
        assert [run[:2] for run in found] == [
            (f"{i}.png", variant) for i in range(IMAGES) for variant in ("original", "hflip")
        ]
        assert places(run[2] for run in found) == {RUN_ON_X}
        assert {run[3].annotations for run in found} == {"{}"}

    def test_augment_itself_under_an_annotation(self, folder):
        images = ks.read_images(folder, partition_size=2)
        with dask.annotate(**ON_X):
            views = ks.augment(images, [ops.HorizontalFlip()], seed=92)
            runs = views.map(run_as).compute()
        assert places(runs) == {RUN_ON_X}

    @pytest.mark.parametrize("name", METHODS)
    def test_methods_keep_it(self, on_x, name):
        runs = METHODS[name](on_x)
        assert len(runs) > 0
        assert places(runs) == {RUN_ON_X}

    @pytest.mark.xfail(strict=True, reason="Dask makes a plain dict of the graph")
    @pytest.mark.parametrize("name", METHODS_THAT_LOSE_IT)
    def test_functions_of_dask_lose_it(self, on_x, name):
        assert places(METHODS_THAT_LOSE_IT[name](on_x)) == {RUN_ON_X}

    def test_priority_reaches_the_scheduler(self, bag):
        with dask.annotate(priority=5):
            urgent = bag.map(run_as)
        both = urgent.map(lambda run: (run, run_as(run))).compute()
        assert {(run.priority, run.annotations) for run, _ in both} == {(-5, '{"priority": 5}')}
        assert {run.priority for _, run in both} == {0}

    def test_retries_reach_the_scheduler(self, bag):
        FAILED.clear()
        with dask.annotate(retries=2):
            bag = bag.map(fail_twice)
        assert bag.map(str.upper).compute() == [f"{i}.PNG" for i in range(IMAGES)]
        assert dict(FAILED) == {f"{i}.png": 2 for i in range(IMAGES)}

    def test_workers_by_name_reach_the_scheduler(self, bag):
        with dask.annotate(workers=["plain"]):
            runs = bag.map(run_as).compute()
        assert {run.worker for run in runs} == {"plain"}

    def test_a_write_under_an_annotation_runs_there(self, folder, tmp_path, client):
        with dask.annotate(**ON_X):
            write = ks.augment(folder, [ops.HorizontalFlip()]).write(tmp_path, format="npy")
        plugin = WhereFinished()
        client.cluster.scheduler.add_plugin(plugin)
        assert write.compute().outputs == 2 * IMAGES
        client.cluster.scheduler.remove_plugin(plugin.name)
        ran = {name: workers for name, workers in plugin.workers.items() if name.startswith("blocks")}
        assert list(ran.values()) == [{client.cluster.workers["x"].address}]


# ------------------------------------------------------------------------------------ a scheduler elsewhere


@pytest.fixture
def elsewhere(tmp_path, wait_for_scheduler):
    """A scheduler and a worker, each a process of its own, as on a real cluster; ended by their ids."""
    file = tmp_path / "scheduler.json"
    common = ["--host", LOOPBACK, "--dashboard-address", f"{LOOPBACK}:0", "--scheduler-file", str(file)]
    dask_command = [sys.executable, "-m", "dask"]
    processes = [subprocess.Popen([*dask_command, "scheduler", "--port", "0", "--no-show", *common])]
    worker = ["worker", "--nthreads", "1", "--no-nanny", "--resources", "X=1", *common]
    processes.append(subprocess.Popen([*dask_command, *worker]))
    try:
        wait_for_scheduler(processes[0], file)
        with Client(scheduler_file=str(file), timeout=60) as client:
            client.wait_for_workers(1, timeout=60)
            yield client
    finally:
        for process in reversed(processes):  # a worker whose scheduler has gone takes half a minute to end
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def test_a_scheduler_in_its_own_process_takes_every_graph(elsewhere, folder, tmp_path):
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # no worker can import a test
    try:
        pids = {os.getpid(), *elsewhere.run_on_scheduler(lambda: [os.getpid()])}
        views = ks.augment(ks.read_images(folder, partition_size=2), [ops.HorizontalFlip()], seed=3)
        with dask.annotate(**ON_X):
            runs = views.map(run_as)
        assert {run.annotations for run in runs.map(lambda run: run).compute()} == {json.dumps(ON_X)}
        assert not pids & set(views.map(lambda _: os.getpid()).compute())
        assert [view.variant for view in views.compute()] == ["original", "hflip"] * IMAGES
        assert views.count().compute() == views.persist().count().compute() == 2 * IMAGES
        assert views.write(tmp_path / "out", format="npy").compute().outputs == 2 * IMAGES
        assert (
            ks.augment(views.map(lambda v: (f"{v.key}{v.variant}", v.pixels)), [ops.HorizontalFlip()])
            .write(tmp_path / "carried", format="npy")
            .compute()
            .outputs
            == 4 * IMAGES
        )
        assert views.preview(1).images == 1
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
