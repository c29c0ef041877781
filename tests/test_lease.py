import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import fsspec
import psutil
import pytest

from kaleidoscope.errors import StoreError
from kaleidoscope.lease import EXPIRES_AFTER, Owner, _text, give_up, take_lease
from kaleidoscope.storage import Store


@pytest.fixture(params=["disk", "memory"])
def store(request, tmp_path):
    url = f"memory://{uuid.uuid4().hex}" if request.param == "memory" else str(tmp_path / "out")
    yield Store(url)
    fs = fsspec.filesystem("memory")
    if request.param == "memory" and fs.exists(url):
        fs.rm(url, recursive=True)


@pytest.fixture
def disk(tmp_path):
    return Store(str(tmp_path / "out"))


def names(store):
    return [name for name in store.list("_kaleidoscope") if name.startswith("lease")]


def held_by(store, owner, *, age=0.0, number=1, state="new"):
    """Leave a lease in the store as another process would have."""
    content = json.loads(_text(owner, state))
    content["renewed"] -= age
    store.write(f"_kaleidoscope/lease-{number}.json", json.dumps(content).encode())


def elsewhere(run_id):
    return Owner(run_id, "far-away", "another boot", 1, 0.0)


def dead():
    """Return a process of this machine that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    born = psutil.Process(child.pid).create_time()
    child.wait()
    return replace(Owner.here("dead"), pid=child.pid, born=born)


def test_the_first_takes_it(store):
    lease = take_lease(store, Owner.here("mine"))
    assert names(store) == ["lease-1.json"]
    assert lease.owner.run_id == "mine"
    lease.check()


def test_the_second_is_refused_by_name_and_the_first_goes_on(store):
    lease = take_lease(store, Owner.here("first"))
    with pytest.raises(StoreError, match=rf"process {Owner.here('').pid} on {socket.gethostname()}.*wait until"):
        take_lease(store, Owner.here("second"))
    lease.check()
    assert names(store) == ["lease-1.json"]


def test_whoever_comes_after_it_was_released_takes_it(store):
    take_lease(store, Owner.here("first")).release()
    assert names(store) == []
    take_lease(store, Owner.here("second")).check()


def test_releasing_twice_is_no_error(store):
    lease = take_lease(store, Owner.here("first"))
    lease.release()
    lease.release()


def test_the_same_run_takes_it_again(store):
    first = take_lease(store, Owner.here("mine"))
    again = take_lease(store, elsewhere("mine"))  # another worker runs the task once more
    assert (again.number, again.owner) == (first.number, first.owner)
    again.check()
    first.check()
    assert names(store) == ["lease-1.json"]


def test_a_run_that_was_opened_finds_that_out_again(store):
    lease = take_lease(store, Owner.here("mine"))
    assert lease.state == "new"
    assert lease.mark("open").state == "open"
    assert take_lease(store, Owner.here("mine")).state == "open"
    assert names(store) == ["lease-1.json"]


def test_a_run_whose_task_failed_is_passed_over_at_once(store):
    take_lease(store, Owner.here("failed")).mark("failed")
    take_lease(store, Owner.here("mine")).check()
    assert names(store) == ["lease-2.json"]


def test_a_run_whose_task_failed_may_try_it_again(store):
    lease = take_lease(store, Owner.here("mine")).mark("failed")
    again = take_lease(store, Owner.here("mine"))
    assert again.number == lease.number
    again.mark("open")
    with pytest.raises(StoreError, match="is being written"):
        take_lease(store, Owner.here("other"))


def test_a_process_of_this_machine_that_lives_is_not_passed_over(store):
    held_by(store, Owner.here("theirs"))
    with pytest.raises(StoreError, match="is being written"):
        take_lease(store, Owner.here("mine"))


def test_a_dead_process_of_this_machine_is_passed_over(store):
    held_by(store, dead())
    take_lease(store, Owner.here("mine")).check()
    assert names(store) == ["lease-2.json"]


def test_a_process_number_that_was_used_again_is_passed_over(store):
    here = Owner.here("theirs")
    held_by(store, replace(here, born=here.born - 1000))
    take_lease(store, Owner.here("mine")).check()


@pytest.mark.parametrize("other", [{"host": "far-away"}, {"boot": "another"}])
def test_a_process_of_another_machine_counts_as_alive(store, other):
    held_by(store, replace(dead(), **other))
    with pytest.raises(StoreError, match="is being written"):
        take_lease(store, Owner.here("mine"))


def test_one_that_gave_no_sign_of_life_is_passed_over(store):
    held_by(store, elsewhere("theirs"), age=EXPIRES_AFTER + 1)
    take_lease(store, Owner.here("mine")).check()
    assert names(store) == ["lease-2.json"]


def test_one_that_gave_a_sign_of_life_is_not_passed_over(store, monkeypatch):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    held_by(store, elsewhere("theirs"), age=EXPIRES_AFTER - 20)
    with pytest.raises(StoreError, match=r"far-away \(last sign of life 100 s ago\)"):
        take_lease(store, Owner.here("mine"))


def test_several_dead_ones_are_passed_over_at_once(store):
    for number in (3, 12):
        held_by(store, elsewhere(f"dead-{number}"), age=10_000, number=number)
    assert take_lease(store, Owner.here("mine")).number == 13
    assert names(store) == ["lease-13.json"]


def test_one_alive_among_the_dead_is_not_passed_over(store):
    held_by(store, elsewhere("dead"), age=10_000, number=2)
    held_by(store, elsewhere("alive"), number=1)
    with pytest.raises(StoreError, match="is being written"):
        take_lease(store, Owner.here("mine"))


class TestARunThatWasTakenOver:
    @pytest.fixture
    def overtaken(self, store):
        lease = take_lease(store, Owner.here("slow"))
        held_by(store, Owner.here("slow"), age=10_000)
        take_lease(store, elsewhere("mine"))
        return lease

    def test_is_told_so_before_it_commits(self, overtaken):
        with pytest.raises(StoreError, match="another one has taken over"):
            overtaken.check()

    def test_is_told_so_when_it_gives_a_sign_of_life(self, overtaken, store):
        overtaken._renewed[0] -= 1000
        with pytest.raises(StoreError, match="another one has taken over"):
            overtaken.renew()
        assert names(store) == ["lease-2.json"]

    def test_is_told_so_when_it_says_how_far_it_is(self, overtaken, store):
        with pytest.raises(StoreError, match="another one has taken over"):
            overtaken.mark("open")
        assert names(store) == ["lease-2.json"]

    def test_leaves_the_other_alone_when_it_lets_go(self, overtaken, store):
        overtaken.release()
        assert names(store) == ["lease-2.json"]

    def test_knows_its_own_from_one_of_the_same_number(self, store):
        lease = take_lease(store, Owner.here("slow"))
        lease.release()
        take_lease(store, Owner.here("mine"))
        assert names(store) == ["lease-1.json"]
        with pytest.raises(StoreError, match="another one has taken over"):
            lease.check()


class TestSignsOfLife:
    @staticmethod
    def renewed(store):
        return json.loads(store.read("_kaleidoscope/lease-1.json"))["renewed"]

    def test_are_given_once_in_a_while(self, store):
        lease = take_lease(store, Owner.here("mine"))
        first = self.renewed(store)
        lease.renew()
        assert self.renewed(store) == first
        lease._renewed[0] -= 20
        lease.renew()
        assert self.renewed(store) > first
        again = self.renewed(store)
        lease.renew()
        assert self.renewed(store) == again

    def test_do_not_forget_that_the_run_is_open(self, store):
        lease = take_lease(store, Owner.here("mine")).mark("open")
        lease._renewed[0] -= 20
        lease.renew()
        assert take_lease(store, Owner.here("mine")).state == "open"

    def test_keep_a_lease_alive(self, store):
        lease = take_lease(store, elsewhere("mine"))
        held_by(store, elsewhere("mine"), age=EXPIRES_AFTER + 100)
        lease._renewed[0] -= 20
        lease.renew()
        with pytest.raises(StoreError, match="is being written"):
            take_lease(store, Owner.here("other"))

    def test_are_given_by_a_worker_that_got_it_by_mail(self, store):
        lease = pickle.loads(pickle.dumps(take_lease(store, Owner.here("mine")).mark("open")))
        first = self.renewed(store)
        lease._renewed[0] -= 20
        lease.renew()
        assert self.renewed(store) > first
        assert lease.state == "open"


class TestGivingUp:
    def test_lets_the_next_one_in(self, store):
        lease = take_lease(store, Owner.here("mine"))
        give_up(store, "mine")
        assert names(store) == []
        with pytest.raises(StoreError, match="given up"):
            lease.check()
        take_lease(store, Owner.here("next")).check()

    def test_of_another_run_changes_nothing(self, store):
        lease = take_lease(store, Owner.here("mine"))
        give_up(store, "other")
        lease.check()

    def test_where_nothing_is_held_is_no_error(self, store):
        give_up(store, "mine")


class Forgetful(Store):
    """A server that goes on listing a lease which is not there."""

    def list(self, folder):
        return sorted({*super().list(folder), "lease-1.json"})


def test_a_lease_that_is_listed_and_not_there_is_none(tmp_path):
    store = Forgetful(str(tmp_path / "out"))
    lease = take_lease(store, Owner.here("mine"))
    lease.release()
    give_up(store, "mine")
    assert take_lease(store, Owner.here("next")).number == 1


def test_of_eight_threads_at_once_one_wins(disk):
    rounds, workers = 10, 8
    start = threading.Barrier(workers)

    def take(me):
        won = []
        for i in range(rounds):
            store = Store(f"{disk.url}/{i}")
            start.wait(30)
            try:
                won.append(take_lease(store, Owner.here(f"run {me}")).number)
            except StoreError:
                won.append(None)
        return won

    with ThreadPoolExecutor(workers) as pool:
        columns = zip(*pool.map(take, range(workers)), strict=True)
    for won in columns:
        assert sorted(filter(None, won)) == [1]


def test_of_eight_threads_that_pass_over_a_dead_one_at_once_one_wins(disk):
    rounds, workers = 10, 8
    start = threading.Barrier(workers)
    for i in range(rounds):
        held_by(Store(f"{disk.url}/{i}"), elsewhere("dead"), age=10_000)

    def take(me):
        won = []
        for i in range(rounds):
            store = Store(f"{disk.url}/{i}")
            start.wait(30)
            try:
                lease = take_lease(store, Owner.here(f"run {me}"))
                lease.check()
                won.append(lease.number)
            except StoreError:
                won.append(None)
        return won

    with ThreadPoolExecutor(workers) as pool:
        columns = zip(*pool.map(take, range(workers)), strict=True)
    for won in columns:
        assert sorted(filter(None, won)) == [2]


PROCESS = """
import sys
from kaleidoscope.lease import Owner, take_lease
from kaleidoscope.storage import Store
from kaleidoscope.errors import StoreError
print("ready", flush=True)
for line in sys.stdin:
    try:
        print(take_lease(Store(line.strip()), Owner.here(sys.argv[1])).number, flush=True)
    except StoreError as error:
        print("refused", flush=True)
"""


def test_of_three_processes_at_once_one_wins(disk):
    def start(me):
        return subprocess.Popen(
            [sys.executable, "-c", PROCESS, f"run {me}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    processes = [start(me) for me in range(3)]
    try:
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3
        for i in range(20):
            for process in processes:
                print(f"{disk.url}/{i}", file=process.stdin, flush=True)
            answers = [process.stdout.readline().strip() for process in processes]
            assert sorted(answers) == ["1", "refused", "refused"]
    finally:
        for process in processes:
            process.stdin.close()
            process.wait()
            process.stdout.close()
    # All of them are gone, and so the lease is free.
    assert take_lease(Store(f"{disk.url}/0"), Owner.here("next")).number == 2


def test_a_zombie_is_dead():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = replace(Owner.here("theirs"), pid=child.pid, born=psutil.Process(child.pid).create_time())
    assert not owner.is_dead()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and not reaped
    try:
        assert owner.is_dead()
    finally:
        child.stdin.close()
        child.wait()


def test_a_lease_that_is_damaged_is_an_error_with_its_name(store):
    store.write("_kaleidoscope/lease-1.json", b"{")
    with pytest.raises(StoreError, match=r"lease-1\.json is damaged; delete it"):
        take_lease(store, Owner.here("mine"))


def test_other_files_beside_it_are_none(store):
    for name in ("run.json", "lease-x.json", "lease-1.json.tmp", "inputs-00000.parquet"):
        store.write(f"_kaleidoscope/{name}", b"no JSON")
    assert take_lease(store, Owner.here("mine")).number == 1
