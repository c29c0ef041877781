"""What a write will come to: a few of its images are made, and nothing is written."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from dask.utils import format_bytes, format_time

from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.display import html_table
from kaleidoscope.entries import Entry
from kaleidoscope.errors import KaleidoscopeError
from kaleidoscope.job import Job
from kaleidoscope.layouts import Layout
from kaleidoscope.manifest import COLUMNS, OK, to_parquet
from kaleidoscope.outputs import Files, ImageOutputs
from kaleidoscope.read import load
from kaleidoscope.record import ImageRecord
from kaleidoscope.resources import one_thread_per_task
from kaleidoscope.storage import Store

#: Variants of an image that are made at most: neighbours in the tree, which share their steps as all of them do.
_VARIANTS = 128
#: Variants that are made and not measured: a process loads and makes tables with its first.
_WARM_UP = 8
#: Times that a store is asked, to find out how long it takes to answer.
_ASKED = 5
#: Keys in a page of a listing.
_LISTED = 1000


@dataclass(frozen=True)
class Prices:
    """What an object store takes, in US dollars.

    Parameters
    ----------
    writes, reads : float
        A thousand requests that write or list, and that read.
    month : float
        A gigabyte (10**9 bytes) for a month.
    said : str
        Whose they are, where, and when.
    """

    writes: float = 0.005
    reads: float = 0.0004
    month: float = 0.023
    said: str = "Amazon S3 Standard, us-east-1, November 2026"


@dataclass(frozen=True)
class Sample:
    """One image that was made.

    Parameters
    ----------
    decoding : float
        Seconds that reading and decoding it took.
    making : float
        Seconds for everything else: the ops, the encoding, the rows.
    variants : int
        That were made.
    bytes, failed, masks : int
        Of their outputs, how many there are not, and masks beside them.
    """

    decoding: float
    making: float
    variants: int
    bytes: int
    failed: int
    masks: int


@dataclass(frozen=True)
class Estimate:
    """What `AugmentedBag.write` is expected to come to.

    Parameters
    ----------
    url : str
        The target.
    inputs : int
        Images that something is left to be done of.
    outputs : int
        To be written.
    skipped : int
        Outputs that are there already.
    bytes : int
        Of the outputs.
    seconds : float
        From the first task to the last, with the threads there are now.
    threads : int
        Of the active client's workers, or of this machine.
    requests : mapping of str to int
        ``write``, ``read`` and ``list``, of an object store; empty for a folder.
    dollars : float
        For those requests.
    dollars_a_month : float
        To keep the outputs.
    prices : Prices
        What the dollars were computed with.
    measured : int
        Images that were made to find out.
    failing : float
        The share of outputs that failed among them.
    latency : float, optional
        Seconds that the store takes to answer, where it was asked to.
    """

    url: str
    inputs: int
    outputs: int
    skipped: int
    bytes: int
    seconds: float
    threads: int
    requests: Mapping[str, int] = field(default_factory=dict)
    dollars: float = 0.0
    dollars_a_month: float = 0.0
    prices: Prices = field(default_factory=Prices, repr=False)
    measured: int = 0
    failing: float = 0.0
    latency: float | None = None

    def _lines(self) -> list[tuple[str, str]]:
        lines = [
            ("inputs", f"{self.inputs:,}"),
            ("outputs", f"{self.outputs:,}"),
            ("skipped", f"{self.skipped:,} are there already" if self.skipped else "0"),
            ("bytes", f"about {format_bytes(self.bytes)}"),
            ("time", f"about {format_time(self.seconds)} on {self.threads} thread{'s' * (self.threads != 1)}"),
        ]
        if self.requests:
            lines += [
                ("requests", ", ".join(f"{count:,} to {kind}" for kind, count in self.requests.items())),
                ("cost", f"${self.dollars:,.2f} for them, ${self.dollars_a_month:,.2f} a month to keep the outputs"),
                ("prices", self.prices.said),
            ]
        if self.latency is not None:
            lines.append(("latency", format_time(self.latency)))
        if self.failing:
            lines.append(("failing", f"{100 * self.failing:.0f}% of the outputs that were tried"))
        lines += [("measured", f"{self.measured} images"), ("target", self.url)]
        return lines

    def __str__(self) -> str:
        """Read as a short table."""
        return "\n".join(f"{name:>8}  {value}" for name, value in self._lines())

    def _repr_html_(self) -> str:
        """Show as a table in a notebook."""
        return html_table(self._lines(), "Kaleidoscope estimate")


class _Weighed:
    """Takes what would be written, and counts it."""

    def __init__(self) -> None:
        self.objects = 0

    def write(self, *_: object) -> None:
        self.objects += 1


def measure(job: Job, entry: Entry, wanted: Sequence[str] | None, record: ImageRecord) -> Sample:
    """Make the variants of one image as a write does, and write nothing: a task.

    Parameters
    ----------
    job : Job
        What is to be made.
    entry : Entry
        The image.
    wanted : sequence of str or None
        The variants, None for all; of many only the first are made.
    record : ImageRecord
        Its record.
    """
    names = tuple(wanted if wanted is not None else job.plan.tree.variants)
    with one_thread_per_task():
        _outputs(job, entry, names[:_WARM_UP], record)
        began = time.perf_counter()
        with suppress(KaleidoscopeError):  # it becomes rows, as below
            load(record, Counter(), max_pixels=job.max_pixels)
        decoded = time.perf_counter()
        rows, objects = _outputs(job, entry, names[:_VARIANTS], record)
        to_parquet(rows, COLUMNS)
        done = time.perf_counter()
    decoding = decoded - began
    good = [row.bytes or 0 for row in rows if row.status == OK]
    made = max(0.0, done - decoded - decoding)  # it was decoded a second time
    return Sample(decoding, made, len(rows), sum(good), len(rows) - len(good), objects - len(good))


def _outputs(job: Job, entry: Entry, names: Sequence[str], record: ImageRecord) -> tuple[list[Any], int]:
    writer = _Weighed()
    one = ImageOutputs(job, entry, Cv2Backend(), Files(writer), lambda: None)
    return list(one.rows(names, record)), writer.objects


def answering(store: Store) -> float:
    """Return the seconds that a store takes to answer: a task, as it is the workers that ask."""
    times = []
    for number in range(_ASKED):
        began = time.perf_counter()
        store.exists(f"_kaleidoscope/nothing-{number}")
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def spread(entries: Sequence[Any], sizes: Sequence[int | None], count: int) -> list[Any]:
    """Return so many of them, evenly from the smallest to the largest.

    Examples
    --------
    >>> spread("abcdef", [5, 1, 3, 2, 6, 4], 3)
    ['b', 'c', 'e']
    """
    order = sorted(range(len(entries)), key=lambda place: (sizes[place] or 0, place))
    count = min(count, len(order))
    return [entries[order[round(i * (len(order) - 1) / max(count - 1, 1))]] for i in range(count)]


@dataclass(frozen=True)
class ToDo:
    """What there is to do, and with what.

    Parameters
    ----------
    inputs, outputs, skipped, blocks : int
        Left, and outputs that are there already.
    threads : int
        To do it with.
    from_store : bool
        The inputs, too, are read by requests.
    writes_at_once : int
        Of each thread.
    layout : Layout
        How the outputs lie in the target.
    """

    inputs: int
    outputs: int
    skipped: int
    blocks: int
    threads: int
    from_store: bool
    writes_at_once: int
    layout: Layout = Layout()  # noqa: RUF009 - frozen: nothing can change it


def predict(
    store: Store, samples: Sequence[Sample], todo: ToDo, latency: float | None = None, prices: Prices | None = None
) -> Estimate:
    """Reckon from some images to all; `latency` are seconds of a request."""
    prices = prices or Prices()
    made = sum(sample.variants for sample in samples)
    decoding = sum(sample.decoding for sample in samples) / max(len(samples), 1)
    each = sum(sample.making for sample in samples) / max(made, 1)
    good = sum(sample.variants - sample.failed for sample in samples)
    size = sum(sample.bytes for sample in samples) / max(good, 1)
    share = good / made if made else 1.0
    masks = round(todo.outputs * sum(sample.masks for sample in samples) / max(made, 1))
    written = round(todo.outputs * share)
    objects = written + masks
    if todo.layout.sharded:
        objects = max(min(todo.blocks, written), -(-round(written * size) // todo.layout.most))
    seconds = (todo.inputs * decoding + todo.outputs * each) / todo.threads
    if latency is not None:
        waiting = objects * latency / (todo.threads * todo.writes_at_once)
        seconds = max(seconds, waiting) + (todo.inputs * todo.from_store + 3 * todo.blocks) * latency / todo.threads
    requests: dict[str, int] = {}
    if not store.local:
        requests["write"] = objects + todo.blocks + 4  # the record's two files, the lease twice
    if todo.from_store:
        requests["read"] = todo.inputs
        requests["list"] = -(-todo.inputs // _LISTED)
    billed = requests.get("write", 0) + requests.get("list", 0)
    return Estimate(
        store.url,
        todo.inputs,
        todo.outputs,
        todo.skipped,
        round(written * size),
        seconds,
        todo.threads,
        requests,
        dollars=(billed * prices.writes + requests.get("read", 0) * prices.reads) / 1000,
        dollars_a_month=0.0 if store.local else written * size / 1e9 * prices.month,
        prices=prices,
        measured=len(samples),
        failing=1 - share,
        latency=latency,
    )
