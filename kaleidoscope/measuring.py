"""How long it takes to make images, and a store to answer: what an estimate's tasks find out on the workers."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask
from dask.delayed import delayed

from kaleidoscope.archives import read_file
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.entries import Entry
from kaleidoscope.job import Job
from kaleidoscope.manifest import COLUMNS, OK, Row, to_parquet
from kaleidoscope.members import place_of
from kaleidoscope.outputs import Files, ImageOutputs
from kaleidoscope.record import ImageRecord
from kaleidoscope.resources import one_thread_per_task, require
from kaleidoscope.storage import Store

#: Variants of an image that are made at most: neighbours in the tree, which share their steps as all of them do.
_VARIANTS = 128
#: And of those the first, to tell what an image takes from what its variants take.
_FIRST = 16
#: Seconds after which a task has measured enough, where nobody said how many images.
_LONG_ENOUGH = 1.0
#: Images that a task makes at least: in that time a large one is not even decoded.
_AT_LEAST = 2
#: Requests one after another, and for each of those that are on their way at once: the first ones open connections.
_ASKED, _ASKED_AT_ONCE = 6, 8

#: Images of each thread that are made at most, images where each carries its pixels, and tasks that make them.
_OF_EACH, _CARRIED, _AT_WORK = 64, 32, 64

#: An image, the variants wanted of it (None: all), and its record.
Wanted = tuple[Entry, Sequence[str] | None, ImageRecord]


@dataclass(frozen=True)
class Sample:
    """Images that were made one after another, as a task of a write makes them.

    Parameters
    ----------
    images, variants : int
        That were made.
    making : float
        Seconds for decoding, the ops, the encoding, the rows; also for reading files of this machine, but not for
        reading from a store, which a write does ahead.
    packing : float
        Seconds for the manifest part of a block.
    opening : float
        Seconds of `making` that the images took whatever the number of their variants; 0 where all of them were made.
    bytes, failed, masks : int
        Of their outputs, how many there are not, and masks beside them.
    """

    images: int
    variants: int
    making: float
    packing: float
    opening: float
    bytes: int
    failed: int
    masks: int


@dataclass(frozen=True)
class Answers:
    """How a store answers.

    Parameters
    ----------
    latency : float
        Seconds until it answers a request that is alone.
    each : float
        Seconds that a request takes of a process that has as many on their way as it may.
    cpu : float
        Seconds of the processor that the asking process takes for a request.
    """

    latency: float
    each: float
    cpu: float


class _Weighed:
    """Takes what would be written, and counts it."""

    def __init__(self) -> None:
        self.objects = 0

    def write(self, *_: object) -> None:
        self.objects += 1


class _Reader:
    """Reads images, and takes the time that a store needed for it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, url: str, storage_options: Mapping[str, Any]) -> bytes:
        began = time.perf_counter()
        data = read_file(url, storage_options)
        if "://" in place_of(url):
            self.seconds += time.perf_counter() - began
        return data


class _Measuring:
    """Makes images of a job, and takes the time."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.reader, self.writer = _Reader(), _Weighed()
        self.rows: list[Row] = []
        self.first = self.all = 0.0
        self._backend = Cv2Backend()

    def make(self, one: Wanted) -> None:
        """Make an image, of whose variants the first are timed by themselves where there are too many to make all."""
        names = self._names(one)
        if len(names) == _VARIANTS:
            self.first += self._timed(one, names[:_FIRST], [])
        self.all += self._timed(one, names, self.rows)

    def next_block(self) -> None:
        """Begin as a block begins: with no buffers."""
        self._backend = Cv2Backend()

    def _names(self, one: Wanted) -> Sequence[str]:
        wanted = one[1]
        return (self.job.plan.tree.variants if wanted is None else wanted)[:_VARIANTS]

    def _timed(self, one: Wanted, names: Sequence[str], rows: list[Row]) -> float:
        entry, _, record = one
        began, reading = time.perf_counter(), self.reader.seconds
        outputs = ImageOutputs(self.job, entry, self._backend, Files(self.writer), lambda: None, self.reader)
        rows += outputs.rows(names, record)
        return time.perf_counter() - began - (self.reader.seconds - reading)

    def opening(self, images: int) -> float:
        """Return the seconds that all images took before their first variant, by the line through both times."""
        if not self.first:
            return 0.0
        # On a busy machine the few may have taken longer than all of them.
        each = max(0.0, self.all - self.first) / (len(self.rows) - images * _FIRST)
        return min(max(0.0, self.first - images * _FIRST * each), self.all)


def measure(job: Job, share: Sequence[Wanted], *, all_of_them: bool) -> Sample:
    """Make images as a write does, and write nothing: a task.

    The first image is made once before the clock runs: a process imports and makes tables with its first.

    Parameters
    ----------
    job : Job
        What is to be made.
    share : sequence of (Entry, variants or None, ImageRecord)
        The images, in an order of which every beginning stands for all; of many variants only the first are made.
    all_of_them : bool
        Make all these images, and not only until it has taken long enough.
    """
    require(job.plan.own_needs, "what is to be measured")
    with one_thread_per_task():
        warm = _Measuring(job)
        warm.make(share[0])
        to_parquet(warm.rows, COLUMNS)
        made, images = _Measuring(job), 0
        for one in share:
            if not all_of_them and images >= _AT_LEAST and made.all + made.first > _LONG_ENOUGH:
                break
            if images % job.block_images == 0:
                made.next_block()
            made.make(one)
            images += 1
        began = time.perf_counter()
        to_parquet(made.rows[: job.block_images * job.per_image], COLUMNS)
        packing = time.perf_counter() - began
    good = [row.bytes or 0 for row in made.rows if row.status == OK]
    masks = sum(len(json.loads(row.masks)) for row in made.rows if row.masks)
    return Sample(
        images=images,
        variants=len(made.rows),
        making=made.all,
        packing=packing,
        opening=made.opening(images),
        bytes=sum(good),
        failed=len(made.rows) - len(good),
        masks=masks,
    )


def answering(store: Store, at_once: int) -> Answers:
    """Ask a store for objects that are not there, one by one and then `at_once`: a task, as the workers will ask."""
    names = (f"_kaleidoscope/nothing-{number}" for number in range(10**9))
    times = [_seconds(store, next(names)) for _ in range(_ASKED)]
    with ThreadPoolExecutor(at_once) as pool:
        _ask(store, pool, [next(names) for _ in range(at_once)])
        some = [next(names) for _ in range(at_once * _ASKED_AT_ONCE)]
        cpu, began = time.process_time(), time.perf_counter()
        _ask(store, pool, some)
        each, cpu = time.perf_counter() - began, time.process_time() - cpu
    requests = store.requests_to_read
    return Answers(statistics.median(times[1:]) / requests, each / len(some) / requests, cpu / len(some) / requests)


def _seconds(store: Store, name: str) -> float:
    began = time.perf_counter()
    store.read_if_there(name)
    return time.perf_counter() - began


def _ask(store: Store, pool: ThreadPoolExecutor, names: Sequence[str]) -> None:
    for _ in pool.map(store.read_if_there, names):
        pass


def spread(sizes: Sequence[int | None], count: int) -> list[int]:
    """Return so many places, evenly from the smallest to the largest, in an order of which every beginning is spread.

    Examples
    --------
    >>> spread([50, 10, 30, 20, 60, 40], 3)
    [2, 1, 4]
    """
    order = sorted(range(len(sizes)), key=lambda place: (sizes[place] or 0, place))
    count = min(count, len(order))
    evenly = [order[round(number * (len(order) - 1) / max(count - 1, 1))] for number in range(count)]
    # Steps of the golden ratio never leave a large gap (Knuth, The Art of Computer Programming 3, 6.4).
    return [evenly[number] for number in sorted(range(count), key=lambda number: (number * 0.6180339887 + 0.5) % 1)]


def enough(images: int | None, threads: int, *, carried: bool) -> int:
    """Return how many images are to be measured at most: what was asked for, or fewer where each carries its pixels."""
    return images or (_CARRIED if carried else _OF_EACH * threads)


def sample(job: Job, wanted: Sequence[Wanted], threads: int, *, all_of_them: bool) -> Sequence[Sample]:
    """Make images on the threads of the active client, or else on those of this process, all of them at work."""
    count = min(threads, len(wanted), _AT_WORK)
    needs = job.plan.own_needs
    making = delayed(partial(measure, job, all_of_them=all_of_them), pure=False)
    with dask.annotate(**({"resources": needs} if needs else {})):
        several = [making(wanted[first::count]) for first in range(count)]
    samples: Sequence[Sample] = dask.compute(*several)
    return samples


def ask(store: Store, at_once: int) -> Answers:
    """Ask a store from where the work will be done."""
    (answers,) = dask.compute(delayed(partial(answering, store, at_once), pure=False)())
    found: Answers = answers
    return found
