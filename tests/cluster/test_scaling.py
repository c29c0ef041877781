import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaleidoscope.cluster.adapting import Adapting
from kaleidoscope.cluster.places import Place, next_place
from kaleidoscope.cluster.scaling import Offer, Running, State, Waiting, idle_beyond, wanted
from kaleidoscope.cluster.spec import Host
from kaleidoscope.errors import RecipeError

GPU = {"GPU": 1}
OFFERS = {"cpu": Offer(2), "gpu": Offer(2, GPU), "big": Offer(8, {"RAM": 4})}
BOUNDS = {"cpu": (1, 5), "gpu": (0, 3)}


@pytest.mark.parametrize(
    ("waiting", "bounds", "expected"),
    [
        ([], BOUNDS, {"cpu": 1, "gpu": 0}),
        ([Waiting(3)], BOUNDS, {"cpu": 2, "gpu": 0}),
        ([Waiting(99)], BOUNDS, {"cpu": 5, "gpu": 0}),
        ([Waiting(2, GPU)], BOUNDS, {"cpu": 1, "gpu": 2}),
        ([Waiting(2, {"GPU": 0.5})], BOUNDS, {"cpu": 1, "gpu": 1}),
        ([Waiting(4), Waiting(99, GPU)], BOUNDS, {"cpu": 2, "gpu": 3}),
        ([Waiting(9, {"TPU": 1})], BOUNDS, {"cpu": 1, "gpu": 0}),
        ([Waiting(3)], {"gpu": (0, 3)}, {"gpu": 2}),
        ([Waiting(3, GPU)], {"cpu": (0, 3)}, {"cpu": 0}),
        ([Waiting(4, {"RAM": 2})], {"cpu": (0, 3), "big": (0, 3)}, {"cpu": 0, "big": 2}),
        ([Waiting(3)], {"cpu": (0, 0), "gpu": (0, 3)}, {"cpu": 0, "gpu": 0}),
    ],
    ids=repr,
)
def test_a_group_gets_what_its_tasks_need_within_its_bounds(waiting, bounds, expected):
    assert wanted(waiting, OFFERS, bounds) == expected


def test_groups_that_offer_the_same_are_filled_in_order():
    offers = {"spot": Offer(1), "safe": Offer(1)}
    assert wanted([Waiting(3)], offers, {"spot": (0, 2), "safe": (0, 9)}) == {"spot": 2, "safe": 1}
    assert wanted([Waiting(3)], offers, {"safe": (0, 9), "spot": (0, 2)}) == {"safe": 3, "spot": 0}


LOADS = st.lists(st.builds(Waiting, st.integers(1, 50), st.sampled_from([{}, GPU, {"RAM": 2}, {"GPU": 1, "RAM": 1}])))
LIMITS = st.dictionaries(
    st.sampled_from(list(OFFERS)), st.tuples(st.integers(0, 5), st.integers(0, 9)).map(sorted).map(tuple), min_size=1
)


@given(LOADS, LIMITS)
def test_any_load_keeps_the_bounds_and_more_load_never_asks_for_fewer(loads, bounds):
    counts = wanted(loads, OFFERS, bounds)
    assert all(low <= counts[name] <= high for name, (low, high) in bounds.items())
    more = wanted([*loads, Waiting(1, GPU)], OFFERS, bounds)
    assert all(more[name] >= counts[name] for name in bounds)


def test_only_idle_workers_are_given_up():
    group = [Running(str(number), f"tcp://{number}", number % 2, 0) for number in range(6)]
    assert {worker.name for worker in idle_beyond(group, 0)} == {"0", "2", "4"}
    assert len(idle_beyond(group, 5)) == 1
    assert idle_beyond(group, 9) == []


@given(st.lists(st.sampled_from("+-"), max_size=30))
def test_no_place_is_taken_twice_and_none_is_left_out(steps):
    hosts = {"a": Host("a", {"cpu": 2}), "b": Host("b", {"cpu": 3}), "c": Host("c", {"gpu": 1})}
    taken: list[Place] = []
    for step in steps:
        if step == "-" and taken:
            taken.pop(0)
        elif step == "+":
            place = next_place(hosts, "cpu", taken)
            assert (place is None) == (len(taken) == 5)
            if place:
                assert place not in taken
                assert place.host != "c"
                taken.append(place)


class Recorder:
    """A cluster that starts and ends nothing; `states` is what the scheduler says, look by look."""

    offers = OFFERS

    def __init__(self, states, **counts):
        self.states, self.counts, self.done = list(states), counts, []
        self.changed = asyncio.Event()

    async def look(self):
        state = self.states.pop(0)
        if isinstance(state, Exception):
            raise state
        return state

    def group_of(self, worker):
        group = worker.name.partition("-")[0]
        return group if group in self.counts else None

    def asked_for(self, group):
        return self.counts[group]

    async def grow(self, counts):
        self.done.append(("grow", counts))
        self.counts |= counts
        self.changed.set()

    async def shrink(self, group, count, idle):
        self.done.append(("shrink", group, count, [worker.name for worker in idle]))
        self.counts[group] = count


async def follow(cluster, looks, bounds, patience=2):
    adapting = Adapting(cluster, bounds, interval=60, patience=patience)
    adapting._task.cancel()
    for _ in range(looks):
        await adapting.step()
    return cluster.done


def test_a_group_shrinks_after_it_was_too_large_a_few_times_in_a_row():
    names = ("cpu-0", "cpu-1", "gpu-0", "else")
    workers = tuple(Running(name, f"tcp://{name}", 0, 0) for name in names)
    few, many = State((), workers), State((Waiting(4),), workers)
    cluster = Recorder([few, many, few, few, few], cpu=2, gpu=1)
    assert asyncio.run(follow(cluster, 5, {"cpu": (0, 5)})) == [("shrink", "cpu", 0, ["cpu-0", "cpu-1"])]


def test_groups_grow_at_once_and_together():
    cluster = Recorder([State((Waiting(4), Waiting(1, GPU)), ())], cpu=1, gpu=0)
    assert asyncio.run(follow(cluster, 1, BOUNDS)) == [("grow", {"cpu": 2, "gpu": 1})]


def test_the_loop_outlives_a_scheduler_that_is_away_for_a_moment(caplog):
    async def main():
        cluster = Recorder([OSError("away"), *[State((Waiting(2),), ())] * 9], cpu=0)
        adapting = Adapting(cluster, {"cpu": (0, 1)}, interval="1 ms", patience=2)
        await asyncio.wait_for(cluster.changed.wait(), 60)
        adapting.stop()
        return cluster.done

    assert asyncio.run(main()) == [("grow", {"cpu": 1})]
    assert "looking at the scheduler failed" in caplog.text


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"cpus": (0, 1)}, r"no group of workers 'cpus'\. Did you mean 'cpu'\? Groups: cpu, gpu, big"),
        ({"cpu": 3}, r"adapt\(cpu=3\): expected the least and the most workers"),
        ({"cpu": (3, 1)}, r"adapt\(cpu=\(3, 1\)\)"),
        ({"cpu": (-1, 1)}, r"adapt\(cpu=\(-1, 1\)\)"),
        ({}, r"expected bounds of at least one group, such as cpu=\(0, 4\)"),
    ],
    ids=repr,
)
def test_bounds_that_make_no_sense_are_refused(bounds, message):
    async def main():
        Adapting(Recorder([], cpu=0), bounds)

    with pytest.raises(RecipeError, match=message):
        asyncio.run(main())
