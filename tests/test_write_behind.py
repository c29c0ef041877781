"""Writes behind a task's back: how many, how many bytes, in what order, and what becomes of errors."""

import threading
import uuid
from functools import partial

import fsspec
import pytest

from kaleidoscope.errors import StoreError
from kaleidoscope.flow import Bounds, Flow
from kaleidoscope.storage import Store
from kaleidoscope.write_behind import WriteBehind

AT_ONCE = Flow().writes.number


class Gate(Store):
    """A remote store whose writes wait until they are let through by name; some fail."""

    def __init__(self, url, names, failing=()):
        super().__init__(url)
        self.gates = {name: threading.Event() for name in names}
        self.failing, self.finished = set(failing), []

    def write(self, name, data):
        assert self.gates[name].wait(30)
        if name in self.failing:
            raise StoreError(f"no {name}")
        super().write(name, data)
        self.finished.append(name)

    def open(self):
        for gate in self.gates.values():
            gate.set()


@pytest.fixture
def memory():
    """Return a URL of the in-memory filesystem, which is no disk of this machine, with nothing under it."""
    url = f"memory://{uuid.uuid4().hex}"
    yield url
    fs = fsspec.filesystem("memory")
    if fs.exists(url):
        fs.rm(url, recursive=True)


@pytest.fixture
def disk(tmp_path):
    return Store(str(tmp_path / "out"))


def begun(call, *args):
    """Call something in a thread of its own; return the thread once it has ended, or waits for something."""
    thread = threading.Thread(target=call, args=args)
    thread.start()
    thread.join(0.1)
    return thread


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_all_is_written_by_the_end_of_the_block(where, request, memory, disk):
    store = disk if where == "disk" else Store(memory)
    with WriteBehind(store) as writer:
        for i in range(3 * AT_ONCE):
            writer.write(f"a{i:02d}", b"%d" % i)
    assert [store.read(name) for name in store.list("")] == [b"%d" % i for i in range(3 * AT_ONCE)]


def test_on_disk_nothing_waits(disk):
    before, called = set(threading.enumerate()), []
    writer = WriteBehind(disk)
    writer.write("a", b"1")
    assert disk.read("a") == b"1"
    writer.then(partial(called.append, 1))
    assert called == [1]
    assert set(threading.enumerate()) <= before


def test_caller_goes_on(memory):
    store = Gate(memory, "a")
    with WriteBehind(store) as writer:
        writer.write("a", b"1")
        assert store.finished == []
        store.open()
        writer.wait()
        assert store.finished == ["a"]


def test_a_bounded_number_is_on_its_way(memory):
    names = [f"{i:02d}" for i in range(AT_ONCE + 1)]
    store = Gate(memory, names)
    with WriteBehind(store) as writer:
        for name in names[:-1]:
            writer.write(name, b"")
        one_more = begun(writer.write, names[-1], b"")
        assert one_more.is_alive()  # it waits: nothing has been written yet
        store.gates[names[5]].set()  # whichever it is that makes room
        one_more.join(30)
        assert not one_more.is_alive()
        assert store.finished == names[5:6]
        store.open()
    assert sorted(store.finished) == names


def test_bounded_bytes_are_on_their_way(memory):
    store = Gate(memory, "abcd")
    with WriteBehind(store, Bounds(16, 100)) as writer:
        writer.write("a", bytes(60))
        writer.write("b", bytes(40))
        third = begun(writer.write, "c", bytes(50))
        assert third.is_alive()
        store.gates["b"].set()
        third.join(0.1)
        assert third.is_alive(), "60 + 50 bytes are more than 100"
        store.gates["a"].set()
        third.join(30)
        assert not third.is_alive()
        store.open()


def test_one_that_is_larger_than_allowed_goes_alone(memory):
    store = Gate(memory, "ab")
    with WriteBehind(store, Bounds(16, 100)) as writer:
        writer.write("a", bytes(500))
        second = begun(writer.write, "b", b"1")
        assert second.is_alive()
        store.open()
        second.join(30)
    assert store.finished == ["a", "b"]


class TestThen:
    def test_is_called_after_the_writes_before_it_and_waits_for_none_after(self, memory):
        store, called = Gate(memory, "abc"), threading.Event()
        with WriteBehind(store) as writer:
            writer.write("a", b"1")
            writer.write("b", b"1")
            writer.then(called.set)
            writer.write("c", b"1")
            store.gates["b"].set()
            writer._under_way[1].result(30)
            assert not called.wait(0.1)
            store.gates["a"].set()
            assert called.wait(30)
            assert store.finished == ["b", "a"]
            store.open()

    @pytest.mark.parametrize("at_once", [1, 2, 16])
    def test_calls_come_in_order_whatever_the_bounds(self, at_once, memory):
        called = []
        with WriteBehind(Store(memory), Bounds(at_once, 10)) as writer:
            for i in range(20):
                writer.write(f"{i}", b"1")
                writer.write(f"{i}-again", b"1")
                writer.then(partial(called.append, i))
        assert called == list(range(20))

    def test_is_not_called_if_a_write_before_it_failed(self, memory):
        store, called = Gate(memory, "ab", failing="a"), []
        store.open()
        with pytest.raises(StoreError, match="no a"), WriteBehind(store) as writer:  # noqa: PT012
            writer.write("a", b"")
            writer.write("b", b"")
            writer.then(partial(called.append, 1))
        assert called == []

    def test_is_not_called_if_the_block_was_left_by_an_error(self, memory):
        store, called = Gate(memory, "ab"), []
        with pytest.raises(KeyError), WriteBehind(store, Bounds(2, 10)) as writer:  # noqa: PT012
            writer.write("a", b"")
            writer.then(partial(called.append, 1))
            store.failing.add("a")
            begun(store.open)
            raise KeyError("mine")
        assert called == []

    def test_lets_its_own_error_out(self, memory):
        with pytest.raises(ZeroDivisionError), WriteBehind(Store(memory)) as writer:
            writer.then(lambda: 1 / 0)


class TestErrors:
    def test_the_first_of_those_that_failed_is_raised(self, memory):
        store = Gate(memory, "abcd", failing="bc")
        with pytest.raises(StoreError, match="no b"), WriteBehind(store) as writer:  # noqa: PT012
            for name in "abcd":
                writer.write(name, b"")
            store.gates["b"].set()
            writer._under_way[1].exception(30)
            store.open()

    def test_at_the_next_chance_though_others_still_wait(self, memory):
        store = Gate(memory, "abc", failing="b")
        with pytest.raises(StoreError, match="no b"), WriteBehind(store) as writer:  # noqa: PT012
            writer.write("a", b"")
            writer.write("b", b"")
            store.gates["b"].set()
            waiting = writer._under_way[1]
            waiting.exception(30)
            try:
                while True:
                    writer.then(lambda: None)
            finally:
                store.open()

    def test_that_of_the_block_comes_out(self, memory):
        store = Gate(memory, "ab", failing="a")
        store.open()
        with pytest.raises(KeyError, match="mine"), WriteBehind(store) as writer:  # noqa: PT012
            writer.write("a", b"")
            raise KeyError("mine")

    def test_frees_a_caller_that_waits_for_room(self, memory):
        store, came = Gate(memory, "ab", failing="a"), []
        with pytest.raises(StoreError, match="no a"), WriteBehind(store, Bounds(1, 10)) as writer:  # noqa: PT012

            def second():
                with pytest.raises(StoreError, match="no a"):
                    writer.write("b", b"")
                came.append("b")

            writer.write("a", b"")
            waiting = begun(second)
            store.open()
            waiting.join(30)
            assert came == ["b"]
            writer.write("b", b"")


def test_threads_end_with_the_block(memory):
    before = set(threading.enumerate())
    with WriteBehind(Store(memory)) as writer:
        writer.write("a", b"1")
        assert set(threading.enumerate()) - before
    assert set(threading.enumerate()) <= before
