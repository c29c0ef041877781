"""What is fetched before it is needed: how much of it, in what order, and what becomes of errors."""

import threading

import pytest

from kaleidoscope.errors import StoreError
from kaleidoscope.flow import Bounds
from kaleidoscope.read_ahead import ReadAhead, Wanted, images_ahead
from kaleidoscope.record import ImageRecord, Source


class Shelf:
    """Answers by name; counts what has been asked for, and waits where it is told to."""

    def __init__(self, sizes):
        self.data = {name: bytes([i]) * size for i, (name, size) in enumerate(sizes.items())}
        self.asked, self.gate = [], threading.Event()
        self.gate.set()

    def wanted(self, *, known=True):
        return [self.one(name, known=known) for name in self.data]

    def one(self, name, *, known=True):
        def fetch():
            self.asked.append(name)
            assert self.gate.wait(30)
            return self.data[name]

        return Wanted(name, fetch, len(self.data[name]) if known else None)


def settled(ahead):
    """Return how many of what is not asked for yet have been fetched, once all that have been begun are there."""
    for _, future in ahead._fetched:
        future.result()
    return len(ahead._fetched)


def test_answers_are_those_of_the_names():
    shelf = Shelf({f"{i}": i for i in range(50)})
    with ReadAhead(shelf.wanted(), Bounds(4, 1000)) as ahead:
        assert [ahead.get(one) for one in shelf.wanted()] == list(shelf.data.values())
    assert sorted(shelf.asked) == sorted(shelf.data), "each of them once"


def test_next_ones_are_fetched_while_the_caller_is_at_work():
    shelf = Shelf(dict.fromkeys("abcdef", 1))
    with ReadAhead(shelf.wanted(), Bounds(2, 1000)) as ahead:
        assert settled(ahead) == 2
        ahead.get(shelf.one("a"))
        assert settled(ahead) == 2
        assert sorted(shelf.asked) == ["a", "b", "c"]


def test_bytes_are_bounded():
    shelf = Shelf({"a": 60, "b": 40, "c": 1, "d": 500, "e": 1})
    with ReadAhead(shelf.wanted(), Bounds(16, 100)) as ahead:
        assert settled(ahead) == 2
        ahead.get(shelf.one("a"))
        assert settled(ahead) == 2, "d is too large to come along"
        ahead.get(shelf.one("b"))
        ahead.get(shelf.one("c"))
        assert settled(ahead) == 1, "d comes alone"
        assert len(ahead.get(shelf.one("d"))) == 500


def test_of_unknown_size_it_takes_each_for_the_largest_so_far():
    shelf = Shelf(dict.fromkeys("abcdefghi", 40))
    with ReadAhead(shelf.wanted(known=False), Bounds(6, 100)) as ahead:
        assert settled(ahead) == 6  # nothing is known yet
        for name in "abcdef":
            ahead.get(shelf.one(name))
        assert settled(ahead) == 2


def test_one_that_nobody_asks_for_is_dropped():
    shelf = Shelf(dict.fromkeys("abcd", 1))
    with ReadAhead(shelf.wanted(), Bounds(2, 1000)) as ahead:
        assert ahead.get(shelf.one("c")) == shelf.data["c"]
        assert ahead.get(shelf.one("d")) == shelf.data["d"]
        assert ahead.get(shelf.one("a")) == shelf.data["a"], "fetched now"


def test_error_comes_out_where_its_answer_would():
    shelf = Shelf(dict.fromkeys("abc", 1))

    def fails():
        raise StoreError("no b")

    first, _, last = shelf.wanted()
    with ReadAhead([first, Wanted("b", fails, 1), last]) as ahead:
        ahead.get(first)
        with pytest.raises(StoreError, match="no b"):
            ahead.get(Wanted("b", fails, 1))
        assert ahead.get(last) == shelf.data["c"]


def test_leaving_early_begins_nothing_more_and_ends_the_threads():
    before = set(threading.enumerate())
    shelf = Shelf(dict.fromkeys("abcdef", 1))
    shelf.gate.clear()
    with pytest.raises(KeyError), ReadAhead(shelf.wanted(), Bounds(2, 1000)):  # noqa: PT012
        shelf.gate.set()
        raise KeyError("mine")
    assert set(shelf.asked) <= {"a", "b"}
    assert set(threading.enumerate()) <= before


def test_files_of_this_machine_are_read_in_their_turn():
    records = [
        ImageRecord("far", source=Source("s3://bucket/far.jpg", 5, "", {})),
        ImageRecord("near", source=Source("/data/near.jpg", 5, "", {})),
        ImageRecord("failed", source=Source("s3://bucket/failed.jpg", 5, "", {}), error=StoreError("no")),
        ImageRecord("nowhere"),
    ]
    assert [(one.name, one.size) for one in images_ahead(records)] == [("s3://bucket/far.jpg", 5)]


def test_without_anything_far_there_are_no_threads(tmp_path):
    before = set(threading.enumerate())
    (tmp_path / "a").write_bytes(b"1")
    with ReadAhead([]) as ahead:
        assert ahead.read(str(tmp_path / "a"), {}) == b"1"
        assert set(threading.enumerate()) <= before
