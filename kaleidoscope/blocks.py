"""The tasks of a write: open the run, do blocks of it, close it. They run on the workers and know nothing of Dask."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from dask.utils import format_bytes

from kaleidoscope import at_work
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.block_work import BlockWork, PackedBlocks
from kaleidoscope.entries import Entry
from kaleidoscope.errors import StoreError
from kaleidoscope.flow import Flow
from kaleidoscope.job import Job
from kaleidoscope.lease import CHECK_EVERY, Lease, Owner, take_lease
from kaleidoscope.log import tell
from kaleidoscope.manifest import ANEW, COLUMNS, PartName, Row, from_parquet, to_parquet
from kaleidoscope.outputs import Files, ImageOutputs, Sink
from kaleidoscope.read import as_record
from kaleidoscope.read_ahead import ReadAhead, Wanted, images_ahead
from kaleidoscope.record import ImageRecord, Source
from kaleidoscope.resources import one_thread_per_task
from kaleidoscope.shards import ParquetShards, TarShards
from kaleidoscope.sinks import folded
from kaleidoscope.storage import Store
from kaleidoscope.target import PARTS, RecordedInput, delete_outputs, fingerprint, inputs_file
from kaleidoscope.targets import Labels
from kaleidoscope.totals import Totals, sum_totals
from kaleidoscope.write_behind import WriteBehind

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """What a run was asked to do, as the task that opens it gets it.

    Parameters
    ----------
    store : Store
        The target.
    job : Job
        What is to be made.
    owner : Owner
        The process that asked.
    fingerprint : str
        Of the target when the run was planned.
    files : mapping of str to bytes
        The new record, in the order of writing.
    inputs : str
        The name of the file that is to say which inputs there are now, written before the record; empty if none have
        come or changed.
    changed : sequence of RecordedInput
        Those that have changed.
    overwrite : bool
        Delete first what the manifest lists.
    outputs : int
        How many there are to make.
    litter : sequence of str
        Shards to be deleted first.
    flow : Flow
        How much of each task may be on its way.
    """

    store: Store
    job: Job
    owner: Owner
    fingerprint: str
    files: Mapping[str, bytes] = field(repr=False)
    inputs: str = ""
    changed: Sequence[RecordedInput] = field(default=(), repr=False)
    overwrite: bool = False
    outputs: int = 0
    litter: Sequence[str] = ()
    flow: Flow = Flow()  # noqa: RUF009 - frozen: nothing can change it


@dataclass(frozen=True)
class OpenRun:
    """A run under way: what its tasks need to know."""

    job: Job
    lease: Lease
    started: float
    flow: Flow = Flow()  # noqa: RUF009 - frozen: nothing can change it

    @property
    def store(self) -> Store:
        """The target."""
        return self.lease.store

    def go_on(self) -> None:
        """Do nothing while the run goes on; raise `StoreError` if it was given up or taken over."""
        at_work.go_on(self.lease.owner.run_id)
        self.lease.renew()


def open_run(order: Order, *new: PackedBlocks) -> OpenRun:
    """Take the lease, check that the plan still fits, and write down what is to be done.

    Running it again in the same run does no harm: a scheduler may, when a worker dies.

    Parameters
    ----------
    order : Order
        What was asked for.
    *new : PackedBlocks
        All new blocks, whose inputs are written down: they travel once, to the tasks that do them and to this one.

    Raises
    ------
    StoreError
        If another writer is at work here, or was since the run was planned.
    """
    with at_work.task(order.owner.run_id):
        return _open_run(order, new)


def _open_run(order: Order, new: Sequence[PackedBlocks]) -> OpenRun:
    store = order.store
    at_work.go_on(order.owner.run_id)
    lease = take_lease(store, order.owner)
    if lease.state in ("open", "failed"):
        return OpenRun(order.job, lease, time.time(), order.flow)

    def go_on() -> None:
        at_work.go_on(order.owner.run_id)
        lease.renew()

    try:
        if lease.state == "new":
            if fingerprint(store) != order.fingerprint:
                raise StoreError(f"{store.url} was written to since this run was planned: start it again")
            # From here on this task writes, and may be begun anew where its worker dies: that is no other run.
            lease = lease.mark("checked")
        store.sweep()
        if order.overwrite:
            if lease.inherited:
                time.sleep(2 * CHECK_EVERY)  # what tasks of a dead client still write must not come after the deletion
            delete_outputs(store, go_on)
        store.delete(order.litter)
        if order.inputs:
            go_on()
            store.write(order.inputs, inputs_file(order.changed, (packed.new() for packed in new)))
        for name, data in order.files.items():
            go_on()
            store.write(name, data)
        lease = lease.mark("open")
    except BaseException:
        lease.release()
        raise
    owner = order.owner
    who = f"run {owner.run_id} of process {owner.pid} on {owner.host}"
    tell(_log, logging.INFO, f"{store.url}: opened by {who}: {order.outputs:,} outputs to make")
    return OpenRun(order.job, lease, time.time(), order.flow)


def write_blocks(run: OpenRun, packed: PackedBlocks, *carried: Sequence[Any]) -> Totals:
    """Make, encode and write the variants of some blocks, and commit each with its manifest part.

    Parameters
    ----------
    run : OpenRun
        The run.
    packed : PackedBlocks
        The blocks.
    *carried : sequences of ImageRecord or (str, ndarray)
        The images themselves, where they do not lie at a URL.

    Returns
    -------
    Totals
        Of these blocks; of what another attempt of this task had committed, too.
    """
    with task_of(run):
        return _write_blocks(run, packed, carried)


@contextmanager
def task_of(run: OpenRun) -> Iterator[None]:
    """Count a task of the run while it is at work; if it fails, let the others know."""
    with at_work.task(run.lease.owner.run_id):
        try:
            yield
        except BaseException:
            with suppress(StoreError):  # the first error is the one to know
                run.lease.mark("failed")
            raise


def _write_blocks(run: OpenRun, packed: PackedBlocks, carried: Sequence[Sequence[Any]]) -> Totals:
    images = _Images.of(packed, carried)
    blocks = packed.blocks(run.job)
    with (
        one_thread_per_task(),
        ReadAhead(_needed(run, blocks, images), run.flow.reads) as ahead,
        WriteBehind(run.store, run.flow.writes) as writer,
    ):
        task = _Task(run, images, ahead, writer)
        return sum_totals([task.committed(block) or task.write(block) for block in blocks])


def close_run(run: OpenRun, totals: Sequence[Totals]) -> Totals:
    """Add up what the blocks came to, and let the next writer in."""
    total = replace(sum_totals(totals), seconds=time.time() - run.started)
    run.lease.release()
    came = f"{total.outputs:,} outputs, {format_bytes(total.bytes)}, {total.failed:,} inputs failed"
    tell(_log, logging.INFO, f"{run.store.url}: closed by run {run.lease.owner.run_id}: {came}, {total.seconds:.1f} s")
    return total


@dataclass(frozen=True)
class _Images:
    """Where the images of some blocks come from: a bag has made them, or they lie at URLs."""

    carried: Mapping[str, ImageRecord]
    labels: Labels | None
    storage_options: Mapping[str, Any]

    @classmethod
    def of(cls, packed: PackedBlocks, carried: Sequence[Sequence[Any]]) -> _Images:
        by_key = {record.key: record for items in carried for record in (as_record(i, None, {}) for i in items)}
        return cls(by_key, packed.labels(), packed.storage_options)

    def record(self, entry: Entry) -> ImageRecord:
        return self.carried.get(entry.key) or record_of(entry, self.labels, self.storage_options)


def _needed(run: OpenRun, blocks: Sequence[BlockWork], images: _Images) -> Iterator[Wanted]:
    """Yield what a task will ask stores for, in order; of this machine's own disk it asks when it needs something."""
    for block in blocks:
        if not run.store.local:
            yield from (_part_wanted(run.store, part) for part in _parts_of(block))
        yield from images_ahead(images.record(entry) for entry, _ in block.entries)


def _parts_of(block: BlockWork) -> tuple[PartName, PartName]:
    """Return what the part of a block may be called once it is done."""
    return block.part, replace(block.part, failures=True)


def _part_wanted(store: Store, part: PartName) -> Wanted:
    return Wanted(str(part), partial(store.read_if_there, f"{PARTS}/{part}"), 0)


@dataclass(frozen=True)
class _Task:
    """Some blocks of a run, in turn: while one is made, others are read for, written, and committed."""

    run: OpenRun
    images: _Images
    ahead: ReadAhead
    writer: WriteBehind

    def committed(self, block: BlockWork) -> Totals | None:
        """Return the totals of a block that an earlier attempt of this run has committed."""
        return committed(self.run, block, None if self.run.store.local else self.ahead.get)

    def write(self, block: BlockWork) -> Totals:
        """Make the outputs of a block and hand them over; once they are there, so is its part."""
        run, backend = self.run, Cv2Backend()
        rows: list[Row] = []
        sink = sink_for(run.job, block.part, self.writer)
        for entry, wanted in block.entries:
            one = ImageOutputs(run.job, entry, backend, sink, run.go_on, self.ahead.read)
            rows += one.rows(wanted, self.images.record(entry))
        sink.finish()
        return commit_behind(run, block, rows, dict(backend.counts), self.writer)


def committed(run: OpenRun, block: BlockWork, get: Callable[[Wanted], bytes | None] | None = None) -> Totals | None:
    """Return the totals of a block that an earlier attempt of this run has committed; `get` gets what was fetched."""
    for part in _parts_of(block):
        wanted = _part_wanted(run.store, part)
        data = wanted.fetch() if get is None else get(wanted)
        if data is not None:
            if part.leaves == ANEW:
                run.store.delete(block.outdated)
            table = from_parquet(data)
            columns = (table[name].to_pylist() for name in ("key", "status", "bytes"))
            return Totals.of(zip(*columns, strict=True), {})
    return None


def commit_behind(
    run: OpenRun, block: BlockWork, rows: Sequence[Row], counts: Mapping[str, int], writer: WriteBehind
) -> Totals:
    """Let a block count once what the writer was given is there; return what it came to."""
    totals = Totals.of(((row.key, row.status, row.bytes) for row in rows), counts)
    if block.retry_only and totals.outputs == 0:
        return totals  # it failed before and it failed again: the rows that say so are there
    written = {folded(name) for row in rows for name in row.files}  # some targets do not tell A.png from a.png
    outdated = [name for name in block.outdated if folded(name) not in written]
    part: PartName = replace(block.part, failures=totals.failed > 0)
    # Arrow keeps memory for each thread that it has worked in: here, then, not in the many that write.
    data = to_parquet(rows, COLUMNS)
    writer.then(partial(_commit, run, part, data, outdated, totals), len(data))
    return totals


def _commit(run: OpenRun, part: PartName, data: bytes, outdated: Sequence[str], totals: Totals) -> None:
    """Write the part of a block whose outputs are there, and delete what they take the place of."""
    run.lease.check()
    if part.leaves != ANEW:
        run.store.delete(outdated)
    run.store.write(f"{PARTS}/{part}", data)
    if part.leaves == ANEW:  # others' outputs lie in its old shards: only now do they lie elsewhere
        run.store.delete(outdated)
    came = f"{totals.outputs:,} outputs, {totals.failed:,} inputs failed"
    tell(_log, logging.DEBUG, f"{run.store.url}: committed block {part.block} as {part}: {came}")


def sink_for(job: Job, part: PartName, writer: WriteBehind) -> Sink:
    """Return what takes the outputs of a block."""
    match job.layout.name:
        case "webdataset":
            return TarShards(writer, job.layout, part)
        case "parquet":
            return ParquetShards(writer, job.layout, part, job.encoder.extension)
        case _:
            return Files(writer)


def record_of(entry: Entry, labels: Labels | None, storage_options: Mapping[str, Any]) -> ImageRecord:
    """Return the record of an image that lies at a URL."""
    source = Source(entry.url, entry.size, entry.etag, storage_options)
    return ImageRecord(entry.key, source=source, labels=labels)
