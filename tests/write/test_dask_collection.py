"""A write is a Dask collection: computed, submitted, persisted and annotated as any other."""

import itertools
import os

import dask
import pytest
from dask.delayed import Delayed
from distributed import Client

import kaleidoscope as ks
from kaleidoscope.errors import StoreError
from kaleidoscope.writing import WriteRun


@pytest.fixture(scope="module")
def cluster():
    """Two workers that are threads of this process, so that a test can reach into them."""
    with ks.cluster.local(workers=2, processes=False, dashboard=False) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    """A client of it, active while the test runs."""
    with Client(cluster) as client:
        yield client


def test_is_a_dask_collection_that_computes_to_a_report(photos, augmented, check_whole, tmp_path):
    run = augmented(photos, 2).write(tmp_path / "out")
    assert dask.is_dask_collection(run)
    assert run.left == 48
    assert not (tmp_path / "out").exists(), "planning touches nothing"
    (report,) = dask.compute(run)
    assert isinstance(report, ks.Report)
    assert (report.outputs, run.left) == (48, 0)
    (report,) = dask.compute(run)
    assert (report.outputs, report.skipped) == (0, 48)
    check_whole(tmp_path / "out")


def test_two_writes_are_computed_together(photos, augmented, check_whole, tmp_path):
    runs = [augmented(photos, n).write(tmp_path / f"out-{n}") for n in (1, 2)]
    reports = dask.compute(*runs)
    assert [report.outputs for report in reports] == [24, 48]
    for n in (1, 2):
        check_whole(tmp_path / f"out-{n}")


def test_persist_without_a_client_writes_and_gives_the_report(photos, augmented, check_whole, tmp_path):
    run = augmented(photos, 2).write(tmp_path / "out").persist()
    assert isinstance(run, Delayed)
    check_whole(tmp_path / "out")
    assert run.compute().outputs == 48


def test_client_computes_it(client, photos, augmented, check_whole, tmp_path):
    run = augmented(photos, 2).write(tmp_path / "out")
    assert client.compute(run).result().outputs == 48
    assert client.compute(run).result().skipped == 48
    assert run.left == 0
    check_whole(tmp_path / "out")


def test_client_persists_it(client, photos, augmented, check_whole, tmp_path):
    run = augmented(photos, 2).write(tmp_path / "out").persist()
    assert isinstance(run, Delayed)
    assert run.compute().outputs == 48
    check_whole(tmp_path / "out")
    again = client.persist(augmented(photos, 2).write(tmp_path / "out"))
    assert again.compute().skipped == 48


def test_active_client_does_the_work(client, photos, augmented, tmp_path):
    ran = augmented(photos, 2).write(tmp_path / "out").compute().counts
    assert ran["encode"] == 48
    done = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.task_prefixes))
    assert {"open", "blocks", "write"} <= set(done)


def test_explicit_scheduler_beats_the_client(client, photos, augmented, tmp_path):
    before = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_counter)
    assert augmented(photos, 2).write(tmp_path / "out").compute(scheduler="sync").outputs == 48
    assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_counter) == before


@pytest.fixture
def flaky(monkeypatch):
    """Make the sixth rename, that of an output, fail once."""
    count = itertools.count()

    def replace(source, target, real=os.replace):
        if str(target).endswith(".jpg") and next(count) == 5:
            raise OSError(5, "Input/output error")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    return count


@pytest.mark.parametrize("way", ["compute", "client.compute", "dask.compute", "persist"])
def test_annotated_retries_reach_the_tasks(way, client, flaky, photos, augmented, check_whole, tmp_path):
    with dask.annotate(retries=2):
        run = augmented(photos, 2).write(tmp_path / "out")
    ways = {
        "compute": run.compute,
        "client.compute": lambda: client.compute(run).result(),
        "dask.compute": lambda: dask.compute(run)[0],
        "persist": lambda: run.persist().compute(),
    }
    assert ways[way]().outputs == 48
    assert next(flaky) > 48, "the put that failed was done again"
    check_whole(tmp_path / "out")


def test_without_retries_the_first_error_ends_it(client, flaky, photos, augmented, check_whole, tmp_path):
    run = augmented(photos, 2).write(tmp_path / "out")
    with pytest.raises(StoreError, match="Input/output error"):
        run.compute()
    assert augmented(photos, 2).write(tmp_path / "out").compute().outputs <= 48
    check_whole(tmp_path / "out")


def test_annotations_of_the_images_below_are_kept(client, photos, loaded, augmented, check_whole, tmp_path):
    with dask.annotate(priority=3):
        dataset = ks.read_images(photos, partition_size=4).map(loaded)
    with dask.annotate(retries=2):
        run = augmented(dataset, 2).write(tmp_path / "out")
    found = [layer.annotations for layer in run.__dask_graph__().layers.values()]
    assert {"retries": 2} in found
    assert {"priority": 3} in found
    assert run.compute().outputs == 48
    check_whole(tmp_path / "out")


@pytest.mark.parametrize("asked", ["__dask_graph__", "__dask_keys__", "__dask_layers__", "__dask_postcompute__"])
@pytest.mark.parametrize("compute", [dask.compute, WriteRun.compute], ids=["dask", "own"])
def test_run_overtaken_while_dask_asks_about_it_is_refused_or_right(
    asked, compute, photos, augmented, check_whole, monkeypatch, tmp_path
):
    """Dask asks a collection several questions, and another run may write between two of them."""
    run, other = (augmented(photos, 2).write(tmp_path / "out") for _ in range(2))
    answer, calls = getattr(WriteRun, asked), itertools.count()

    def after_the_other(self):
        if self is run and next(calls) == 0:
            other.compute(scheduler="sync")
        return answer(self)

    monkeypatch.setattr(WriteRun, asked, after_the_other)
    try:
        compute(run, scheduler="sync")
    except StoreError as error:
        assert "was written to since this run was planned" in str(error)  # noqa: PT017 - refused or right: both are well
    check_whole(tmp_path / "out")
    assert run.left == 0
