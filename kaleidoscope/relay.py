"""The write of a tree that is cut: its images pass from worker to worker, some at a time, and a last task commits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.block_work import BlockWork, PackedBlocks
from kaleidoscope.blocks import OpenRun, commit_behind, committed, record_of, sink_for, task_of
from kaleidoscope.manifest import Row
from kaleidoscope.outcome import Handover, Outcome
from kaleidoscope.outputs import ImageOutputs, Sink
from kaleidoscope.plan import Plan
from kaleidoscope.read import Read, as_record
from kaleidoscope.read_ahead import ReadAhead, images_ahead
from kaleidoscope.resources import one_thread_per_task, require
from kaleidoscope.segments import Opened, Passed, gone_on, gone_on_together, kept, opened
from kaleidoscope.totals import Totals
from kaleidoscope.write_behind import WriteBehind

if TYPE_CHECKING:
    from kaleidoscope.entries import Entry
    from kaleidoscope.pieces import Buffer
    from kaleidoscope.record import ImageRecord

#: An output as it waits for its shard: its row, its bytes and its masks; without bytes where it has been written.
Kept = tuple[Row, "Buffer | None", Mapping[str, bytes]]


@dataclass(frozen=True, slots=True)
class Leg:
    """What one task does for some images.

    Parameters
    ----------
    place : int or None
        The segment that it runs; None if it only writes what others have made.
    resources : mapping of str to float
        What it needs.
    feeds : tuple of int
        The legs whose images it takes.
    writes : tuple of int
        Those among them whose finished variants it writes; a leg on the CPU writes its own, too.
    who : str
        The ops that need the resources, for messages.
    """

    place: int | None
    resources: Mapping[str, float]
    feeds: tuple[int, ...]
    writes: tuple[int, ...] = ()
    who: str = ""

    @property
    def on_cpu(self) -> bool:
        """Whether any worker will do."""
        return not self.resources


def legs_of(plan: Plan) -> list[Leg]:
    """Return the legs of a tree that is cut: its segments, and one more if nothing else writes what the last one makes.

    Variants are encoded and written on the CPU: by the next segment there, which takes the same images anyway.
    """
    legs: list[Leg] = []
    unwritten = {segment.place for segment in plan.segments if segment.resources}
    for segment in plan.segments:
        writes = () if segment.resources else tuple(sorted(unwritten & set(segment.feeds)))
        unwritten -= set(writes)
        legs.append(Leg(segment.place, segment.resources, segment.feeds, writes, ", ".join(segment.ops)))
    last = tuple(sorted(unwritten))
    return [*legs, Leg(None, {}, last, last)] if last else legs


@dataclass(frozen=True)
class LegDone:
    """What a leg leaves: what was written or waits for its shard, and what it passes on, image by image."""

    outputs: list[Kept] = field(repr=False)
    counts: Mapping[str, int]
    passed: list[Passed] = field(repr=False)


class _Waiting:
    """Keeps outputs until their shard is made; a `Sink` that names them as the shard will."""

    def __init__(self, sink: Sink) -> None:
        self.name = sink.name
        self.mask_names = sink.mask_names
        self._contents: dict[int, tuple[Buffer, Mapping[str, bytes]]] = {}

    def put(self, row: Row, data: Buffer, masks: Mapping[str, bytes]) -> None:
        """Keep them."""
        self._contents[id(row)] = data, masks

    def finish(self) -> None:
        """Do nothing: they wait."""

    def of(self, row: Row) -> Kept:
        """Return what was put with a row; one that failed has nothing."""
        return (row, *self._contents.pop(id(row), (None, {})))


def run_leg(run: OpenRun, packed: PackedBlocks, leg: Leg, received: Sequence[Any], *_after: object) -> LegDone:
    """Do a leg for some images of a block.

    Parameters
    ----------
    run : OpenRun
        The run.
    packed : PackedBlocks
        One block, with these images only.
    leg : Leg
        What to do.
    received : sequence
        What each of its feeds passed on, in their order; for the first leg, the partitions that carry the images.
    *_after : object
        What had to be done before it.

    Raises
    ------
    ResourceError
        If it was started on a worker that has not what it needs.
    """
    with task_of(run):
        run.go_on()
        require(leg.resources, leg.who)
        (block,) = packed.blocks(run.job)
        if leg.place == 0 and committed(run, block) is not None:
            return LegDone([], {}, [])
        images = list(_images(packed, block, leg, received))
        ahead = images_ahead(record for record, _ in images) if leg.place == 0 else ()
        with (
            one_thread_per_task(),
            ReadAhead(ahead, run.flow.reads) as reader,
            WriteBehind(run.store, run.flow.writes) as writer,
        ):
            return _Runner(run, block, leg, writer, reader.read).done(images)


def outputs_of(done: LegDone) -> tuple[list[Kept], Mapping[str, int]]:
    """Return what the block's last task needs of a leg."""
    return done.outputs, done.counts


def passed_of(done: LegDone) -> list[Passed]:
    """Return what the next legs need of a leg."""
    return done.passed


def nothing_of(done: LegDone) -> None:
    """Return nothing, once a leg is done: others wait for it."""


def commit_block(run: OpenRun, packed: PackedBlocks, done: Sequence[tuple[list[Kept], Mapping[str, int]]]) -> Totals:
    """Write the shards of a block, where there are some, and commit it; see `kaleidoscope.blocks.write_blocks`."""
    with task_of(run):
        (block,) = packed.blocks(run.job)
        totals = committed(run, block)
        if totals is not None:
            return totals
        place = {key: number for number, key in enumerate([entry.key for entry, _ in block.entries])}
        order = {variant: number for number, variant in enumerate(run.job.plan.tree.variants)}
        outputs = [output for outputs, _ in done for output in outputs]
        outputs.sort(key=lambda output: (place[output[0].key], order[output[0].variant]))
        counts: Counter[str] = Counter()
        for _, its_counts in done:
            counts.update(its_counts)
        with WriteBehind(run.store, run.flow.writes) as writer:
            sink = sink_for(run.job, block.part, writer)
            for row, data, masks in outputs:
                if data is not None:
                    sink.put(row, data, masks)
            sink.finish()
            return commit_behind(run, block, [row for row, _, _ in outputs], counts, writer)


def _images(
    packed: PackedBlocks, block: BlockWork, leg: Leg, received: Sequence[Any]
) -> Iterator[tuple[ImageRecord, list[Passed]]]:
    """Yield each image of a leg: its record, and what was passed on of it."""
    if leg.place == 0:
        carried = {record.key: record for items in received for record in (as_record(i, None, {}) for i in items)}
        labels = packed.labels()
        for entry, _ in block.entries:
            yield carried.get(entry.key) or record_of(entry, labels, packed.storage_options), []
    elif all(received):
        for passed in zip(*received, strict=True):
            yield passed[0].record, list(passed)


class _Runner:
    """Runs a leg."""

    def __init__(self, run: OpenRun, block: BlockWork, leg: Leg, writer: WriteBehind, read: Read) -> None:
        self._run = run
        self._read = read
        self._block = block
        self._leg = leg
        self._backend = Cv2Backend()
        sink = sink_for(run.job, block.part, writer)
        self._waiting = _Waiting(sink) if run.job.layout.sharded else None
        self._sink: Sink = self._waiting or sink
        self._outputs: list[Kept] = []

    def done(self, images: Iterable[tuple[ImageRecord, list[Passed]]]) -> LegDone:
        """Return what comes of the images."""
        job, place = self._run.job, self._leg.place
        if place is not None and job.plan.on_device(place):
            several = [before for _, before in images]
            variants = {entry.key: wanted for entry, wanted in self._block.entries}
            wanted = [variants[passed[0].record.key] for passed in several]
            passed_on = gone_on_together(job, place, several, wanted, self._backend.counts, encode=True)
            return LegDone([], dict(self._backend.counts), passed_on)
        each = zip(self._block.entries, images, strict=False)  # of a block that is committed none were passed on
        passed = [self._image(entry, wanted, record, before) for (entry, wanted), (record, before) in each]
        return LegDone(self._outputs, dict(self._backend.counts), passed)

    def _image(
        self, entry: Entry, wanted: tuple[str, ...] | None, record: ImageRecord, before: Sequence[Passed]
    ) -> Passed:
        leg, job = self._leg, self._run.job
        if leg.place == 0:
            one = opened(job, record, wanted, self._backend, read=self._read)
        else:
            handovers = [handover for passed in before for handover in passed.handovers]
            place = leg.place
            one = Opened(
                record, iter(()) if place is None else gone_on(job, place, handovers, entry.key, wanted, self._backend)
            )
        if not leg.on_cpu:
            return Passed(one.record, *kept(one.outcomes))
        finished = [
            o for feed, passed in zip(leg.feeds, before, strict=True) if feed in leg.writes for o in passed.outcomes
        ]
        return Passed(one.record, tuple(self._written(entry, one, finished)))

    def _written(self, entry: Entry, one: Opened, finished: Iterable[Outcome]) -> Iterator[Handover]:
        """Encode and write what is finished; yield what is not."""
        outputs = ImageOutputs(self._run.job, entry, self._backend, self._sink, self._run.go_on)
        about = outputs.about(one)
        for found in chain(finished, one.outcomes):
            if isinstance(found, Handover):
                yield found
            else:
                row = outputs.row(found, about)
                self._outputs.append((row, None, {}) if self._waiting is None else self._waiting.of(row))
