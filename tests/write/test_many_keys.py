"""What many keys cost the client and the scheduler: objects, bytes and tasks are counted, images there are none."""

import gc
import importlib.util
import pickle
import tracemalloc
from pathlib import Path

import pytest

import kaleidoscope as ks
from kaleidoscope.bag import _bag_of
from kaleidoscope.sources import list_images
from kaleidoscope.target import read_state

PATH = Path(__file__).parents[1] / "benchmarks" / "million.py"
_found = importlib.util.spec_from_file_location("million", PATH)
million = importlib.util.module_from_spec(_found)
_found.loader.exec_module(million)


def planned(count, ops_count, target):
    """Return a dataset, its variants, the run, and the run's graph."""
    dataset = _bag_of(million.generated(count), None)
    views = ks.augment(dataset, million.recipe(ops_count), seed=7)
    run = views.write(target)
    return dataset, views, run, run.__dask_graph__()


def counts(count, ops_count, target):
    """Return partitions, tasks, bytes of the graph, and the peak of what planning holds beside the listing."""
    listing = million.generated(count)
    planned(64, ops_count, target / "warm")  # what is loaded once
    gc.collect()
    tracemalloc.start()
    try:
        views = ks.augment(_bag_of(listing, None), million.recipe(ops_count), seed=7)
        run = views.write(target / "out")
        graph = run.__dask_graph__()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return len(run._planned().blocks), len(graph), len(pickle.dumps(graph)), peak


@pytest.mark.parametrize("ops_count", [1, 6])
@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_write_is_a_few_tasks_and_bytes_a_key(count, ops_count, tmp_path):
    partitions, tasks, sent, peak = counts(count, ops_count, tmp_path)
    assert tasks <= 2 * partitions + 10
    assert sent < 40 * count + 100_000
    assert peak < 150 * count


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_bag_is_a_task_a_partition_and_its_keys_travel_compressed(count, tmp_path):
    dataset, views, _, _ = planned(count, 1, tmp_path / "out")
    for bag in (dataset, views):
        graph = bag.__dask_optimize__(bag.__dask_graph__(), bag.__dask_keys__())
        assert len(graph) <= 2 * bag.npartitions + 10
        assert len(pickle.dumps(graph)) < 40 * count + 100_000


def test_a_bag_of_an_image_a_partition_makes_no_task_before_it_is_computed(tmp_path):
    """The power set of six ops is 64 variants of 90 KB each as a file, and decoded more than a partition may hold."""
    listing = million.generated(20_000)
    gc.collect()
    before = len(gc.get_objects())
    views = ks.augment(_bag_of(listing, None), million.recipe(6), seed=7)
    assert views.npartitions == 20_000
    assert len(gc.get_objects()) - before < 10_000


def test_new_blocks_are_the_same_whatever_the_tasks_and_recorded_once(tmp_path, photos, check_whole, augmented):
    """A run on a cluster of another size makes other tasks of the same blocks."""
    from kaleidoscope import block_work

    made = {}
    for size in (1, 64):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(block_work, "MAX_BLOCKS_PER_TASK", size)
            patch.setattr(block_work, "_TASKS_PER_THREAD", 1000 if size == 1 else 0.001)
            run = augmented(photos, 2).write(tmp_path / str(size), format="png")
            assert len(run._planned().blocks) == (3 if size == 1 else 1)
            run.compute()
        rows, files = check_whole(tmp_path / str(size))
        state = read_state(run.store)
        made[size] = (
            rows["output"].tolist(),
            files,
            state.inputs,
            sorted(str(part) for parts in state.parts.values() for part in parts),
        )
        assert run.left == 0
    assert made[1] == made[64]
    inputs = [(tmp_path / str(size) / "_kaleidoscope" / "inputs-00000.parquet").read_bytes() for size in made]
    assert inputs[0] == inputs[1]
    assert list(state.inputs) == list_images(photos).entries.keys.tolist()
