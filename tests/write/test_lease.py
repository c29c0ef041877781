"""One writer at a time: a second is refused, a dead one is passed over, and one that was overtaken commits nothing."""

import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import dask
import psutil
import pytest
from dask._task_spec import TaskRef
from dask.threaded import get as threaded_get

from kaleidoscope import lease as leases
from kaleidoscope.blocks import close_run, open_run, write_blocks
from kaleidoscope.codecs import Encoder
from kaleidoscope.errors import DecodeError, StoreError
from kaleidoscope.lease import Lease, Owner, give_up, take_lease
from kaleidoscope.storage import Store
from kaleidoscope.writing import WriteRun

REFUSED = "is being written by|was written to since this run was planned"


@pytest.mark.parametrize("rounds", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_of_two_clients_at_once_one_writes_and_the_other_is_refused_or_finds_it_done(
    rounds, photos, six, start_client, check_whole, tmp_path
):
    targets = [tmp_path / f"out-{i}" for i in range(rounds)]
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    options = {"names": six[:2], "format": "png"}  # three blocks of four images, four outputs of each
    pair = [start_client(photos, targets, meet=meet, **options) for meet in ((a, b), (b, a))]
    assert [client.wait() for client in pair] == [0, 0], "".join(client.log.read_text() for client in pair)

    first_files = None
    for target, *came in zip(targets, *(client.results for client in pair), strict=True):
        done = [result for result in came if "error" not in result]
        refused = [result for result in came if "error" in result]
        assert all(result["error"] == "StoreError" for result in refused), came
        assert all(re.search(REFUSED, result["message"]) for result in refused), came
        assert done, came
        assert sorted(result["outputs"] for result in done) in ([48], [0, 48]), came
        _, files = check_whole(target)
        first_files = first_files or files
        assert files == first_files


@pytest.fixture
def plan_of():
    """Return a function that takes a write apart: what opens it, and the arguments of its block tasks."""

    def plan_of(run):
        order, blocks = None, []
        graph = run.__dask_graph__().to_dict()
        for task in graph.values():
            if task.func is open_run:
                order = task.args[0]
            elif task.func is write_blocks:
                packed = task.args[1]
                blocks.append(graph[packed.key]() if isinstance(packed, TaskRef) else packed)
        return order, blocks

    return plan_of


@pytest.fixture
def another():
    """Return a process that runs until it is told to stop, and the owner of a run that it would be."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    born = psutil.Process(child.pid).create_time()
    yield child, replace(Owner.here("theirs"), pid=child.pid, born=born)
    child.communicate(b"\n")


def test_second_writer_is_refused_by_name_and_let_in_once_the_first_is_dead(
    photos, augmented, another, check_whole, tmp_path
):
    run = augmented(photos, 1).write(tmp_path / "out")
    child, holder = another
    take_lease(run.store, holder)
    with pytest.raises(StoreError, match=rf"process {child.pid} on {holder.host}.*wait until it is done"):
        run.compute()
    assert list((tmp_path / "out").rglob("*.jpg")) == []

    child.kill()
    child.wait()
    assert run.compute().outputs == 24
    check_whole(tmp_path / "out")


def test_loser_of_a_race_for_the_lease_is_told_who_won(another, tmp_path, monkeypatch):
    store = Store(tmp_path)
    child, winner = another

    def link(source, target, real=os.link):
        monkeypatch.setattr(os, "link", real)  # between the loser's look and its try, the winner gets there
        take_lease(store, winner)
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StoreError, match=f"process {child.pid} on"):
        take_lease(store, Owner.here("mine"))


def test_two_cannot_hold_a_lease_whose_number_was_free_again(tmp_path, monkeypatch):
    """One that looked, slept through another's whole run, and woke up, must not join a third."""
    store = Store(tmp_path)
    take_lease(store, replace(Owner.here("dead"), born=0.0))

    def link(source, target, real=os.link):
        monkeypatch.setattr(os, "link", real)
        take_lease(store, Owner.here("second")).release()
        take_lease(store, Owner.here("third"))
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StoreError, match=REFUSED):
        take_lease(store, Owner.here("first"))


def test_lease_that_is_being_taken_survives_the_sweep_of_another_run(tmp_path, monkeypatch):
    store = Store(tmp_path)

    def link(source, target, real=os.link):
        monkeypatch.setattr(os, "link", real)
        store.sweep()  # of a run that was opened, and perhaps closed, since this one looked
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    assert take_lease(store, Owner.here("mine")).number == 1


@pytest.mark.parametrize("age", [119.0, 121.0])
def test_holder_elsewhere_counts_as_dead_after_two_minutes_of_silence(age, tmp_path, monkeypatch):
    store = Store(tmp_path)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - age)
    take_lease(store, replace(Owner.here("theirs"), host="far-away"))
    monkeypatch.setattr(time, "time", lambda: now)
    if age < 120:
        with pytest.raises(StoreError, match=r"on far-away.*last sign of life 119 s ago"):
            take_lease(store, Owner.here("mine"))
    else:
        assert take_lease(store, Owner.here("mine")).number == 2
        assert store.list("_kaleidoscope") == ["lease-2.json"]


def test_long_image_gives_signs_of_life(photos, augmented, monkeypatch, tmp_path):
    """An image of a thousand slow variants takes longer than a lease lasts."""
    monkeypatch.setattr(leases, "_RENEW_EVERY", 0.0)
    signs = set()

    def encode(encoder, *args, real=Encoder.encode):
        signs.update(path.read_bytes() for path in (tmp_path / "out" / "_kaleidoscope").glob("lease-*"))
        return real(encoder, *args)

    monkeypatch.setattr(Encoder, "encode", encode)
    augmented(photos / "000.jpg").write(tmp_path / "out").compute(scheduler="sync")
    assert len(signs) > 32, "of 64 variants"


def test_overtaken_run_commits_nothing_more(photos, augmented, plan_of, check_whole, tmp_path):
    run = augmented(photos, 1).write(tmp_path / "out", format="png")
    order, blocks = plan_of(run)
    assert len(blocks) == 2
    orphan = open_run(replace(order, owner=replace(order.owner, born=0.0)), *blocks)  # its client was killed since
    write_blocks(orphan, blocks[0])

    heir_order, heir_blocks = plan_of(augmented(photos, 1).write(tmp_path / "out", format="png"))
    heir = open_run(heir_order, *heir_blocks)
    with pytest.raises(StoreError, match="another one has taken over"):
        write_blocks(orphan, blocks[1])
    totals = [write_blocks(heir, packed) for packed in heir_blocks]
    close_run(heir, totals)
    assert sum(one.outputs for one in totals) == 8
    rows, _ = check_whole(tmp_path / "out")
    assert len(rows) == 24


def test_task_that_runs_again_leaves_what_it_had_committed(photos, augmented, plan_of, stamps, tmp_path):
    """A scheduler does so when the worker that knew the outcome has died."""
    order, blocks = plan_of(augmented(photos, 2).write(tmp_path / "out"))
    opened = open_run(order, *blocks)
    totals = [write_blocks(opened, packed) for packed in blocks]
    before = stamps(tmp_path / "out")
    again = [write_blocks(opened, packed) for packed in blocks]
    assert stamps(tmp_path / "out") == before
    assert [(one.outputs, one.bytes) for one in again] == [(one.outputs, one.bytes) for one in totals]
    assert close_run(opened, again).outputs == 48


@pytest.mark.parametrize("overwrite", [False, True])
def test_opening_again_in_the_same_run_does_no_harm(overwrite, photos, augmented, plan_of, check_whole, tmp_path):
    """A scheduler does so when the one worker that knew the outcome has died."""
    augmented(photos, 1, seed=1 if overwrite else 7).write(tmp_path / "out", format="png").compute()
    run = augmented(photos, 2).write(tmp_path / "out", format="png", overwrite=overwrite)
    order, blocks = plan_of(run)
    first, *others = blocks
    opened = open_run(order, *blocks)
    totals = [write_blocks(opened, first)]
    again = open_run(order, *blocks)
    totals += [write_blocks(again, packed) for packed in others]
    assert close_run(again, totals).outputs == (48 if overwrite else 24)
    rows, _ = check_whole(tmp_path / "out")
    assert len(rows) == 48


@pytest.mark.parametrize("overwrite", [False, True])
def test_opening_that_was_killed_halfway_is_begun_anew(
    overwrite, photos, augmented, plan_of, check_whole, tmp_path, monkeypatch
):
    """What has changed since the run was planned is its own doing."""
    augmented(photos, 1, seed=1 if overwrite else 7).write(tmp_path / "out", format="png").compute()
    order, blocks = plan_of(augmented(photos, 2).write(tmp_path / "out", format="png", overwrite=overwrite))
    mark = Lease.mark

    def killed(lease, state):
        if state == "open":
            raise KeyboardInterrupt
        return mark(lease, state)

    with monkeypatch.context() as patch:
        patch.setattr(Lease, "mark", killed)
        patch.setattr(Lease, "release", lambda _: None)  # a worker that is killed does not
        with pytest.raises(KeyboardInterrupt):
            open_run(order, *blocks)
    opened = open_run(order, *blocks)
    assert close_run(opened, [write_blocks(opened, packed) for packed in blocks]).outputs == (48 if overwrite else 24)
    rows, _ = check_whole(tmp_path / "out")
    assert len(rows) == 48


def test_opening_again_in_the_same_run_leaves_a_write_under_way_alone(photos, augmented, plan_of, tmp_path):
    order, blocks = plan_of(augmented(photos, 1).write(tmp_path / "out"))
    opened = open_run(order, *blocks)
    written = opened.store._temporary(b"of another worker of this run, about to be renamed")
    open_run(order, *blocks)
    assert Path(written).exists()


def test_plan_that_was_overtaken_is_refused_even_if_its_record_is_the_same(photos, augmented, rows, tmp_path):
    """Two runs sent to one cluster: the second was planned before the first began, and starts once it is over."""
    few, many = (augmented(photos, 3).sample(n).write(tmp_path / "out") for n in (2, 4))
    graphs = [(run.__dask_graph__(), run.__dask_keys__()) for run in (few, many)]
    assert threaded_get(*graphs[0])[0].outputs == 24
    try:
        outputs = threaded_get(*graphs[1])[0].outputs
    except StoreError as error:
        assert "was written to since" in str(error)  # noqa: PT017 - refused or right, both are well
    else:
        assert outputs == 24
        assert len(rows(tmp_path / "out")) == 48


@pytest.mark.parametrize("compute", [dask.compute, WriteRun.compute], ids=["dask", "own"])
def test_run_that_failed_gives_its_lease_back(compute, make_photos, augmented, check_whole, tmp_path):
    source = make_photos(tmp_path / "photos", 2)
    (source / "001.jpg").write_bytes(b"no image")
    run = augmented(source, 1, on_error="raise").write(tmp_path / "out")
    with pytest.raises(DecodeError, match=r"001\.jpg: decode"):
        compute(run)
    make_photos(source, 2)
    assert augmented(source, 1).write(tmp_path / "out").compute().outputs == 4
    check_whole(tmp_path / "out")


def test_letting_go_late_leaves_the_lease_of_another_run_alone(tmp_path):
    store = Store(tmp_path)
    first = take_lease(store, Owner.here("first"))
    first.release()
    second = take_lease(store, Owner.here("second"))
    assert second.name == first.name
    first.release()
    second.check()


def test_a_run_given_up_while_it_deletes_stops_there(augmented, photos, tmp_path, monkeypatch):
    """Ctrl-C, and the next run at once: the first one must not delete what the second one writes."""
    target = tmp_path / "out"
    augmented(photos, 1).write(target).compute()
    started = []

    def delete(store, names, real=Store.delete):
        names = list(names)
        if any(name.endswith(".jpg") for name in names) and not started:
            started.append(threading.current_thread())
            give_up(store, run._last_plan().run_id)  # as the interrupted client does
        real(store, names)

    monkeypatch.setattr(Store, "delete", delete)
    monkeypatch.setattr(leases, "CHECK_EVERY", 0.0)
    run = augmented(photos, 2).write(target, overwrite=True)
    with pytest.raises(StoreError, match="given up"):
        dask.compute(run, scheduler="sync")
    assert started
    monkeypatch.undo()
    assert augmented(photos, 1).write(target).compute().outputs > 0
