"""The tasks of a write: open the run, do blocks of it, close it. They run on the workers and know nothing of Dask."""

from __future__ import annotations

import logging
import pickle
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from dask.utils import format_bytes

from kaleidoscope import at_work
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.errors import StoreError
from kaleidoscope.job import Job
from kaleidoscope.lease import CHECK_EVERY, Lease, Owner, take_lease
from kaleidoscope.log import tell
from kaleidoscope.manifest import ANEW, COLUMNS, PartName, Row, from_parquet, to_parquet
from kaleidoscope.outputs import Files, ImageOutputs, Sink
from kaleidoscope.read import as_record
from kaleidoscope.record import ImageRecord, Source
from kaleidoscope.resources import one_thread_per_task
from kaleidoscope.run import BlockWork
from kaleidoscope.shards import ParquetShards, TarShards
from kaleidoscope.sinks import folded
from kaleidoscope.sources import Entry, pack_labels, unpack_labels
from kaleidoscope.storage import Store
from kaleidoscope.target import PARTS, delete_outputs, fingerprint
from kaleidoscope.targets import Labels
from kaleidoscope.totals import Totals, sum_totals
from kaleidoscope.write_behind import WRITES_AT_ONCE, WriteBehind

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
    overwrite : bool
        Delete first what the manifest lists.
    outputs : int
        How many there are to make.
    litter : sequence of str
        Shards to be deleted first.
    writes_at_once : int
        See `WriteBehind`.
    """

    store: Store
    job: Job
    owner: Owner
    fingerprint: str
    files: Mapping[str, bytes] = field(repr=False)
    overwrite: bool = False
    outputs: int = 0
    litter: Sequence[str] = ()
    writes_at_once: int = WRITES_AT_ONCE


@dataclass(frozen=True)
class OpenRun:
    """A run under way: what its tasks need to know."""

    job: Job
    lease: Lease
    started: float
    writes_at_once: int = WRITES_AT_ONCE

    @property
    def store(self) -> Store:
        """The target."""
        return self.lease.store

    def go_on(self) -> None:
        """Do nothing while the run goes on; raise `StoreError` if it was given up or taken over."""
        at_work.go_on(self.lease.owner.run_id)
        self.lease.renew()


@dataclass(frozen=True)
class PackedBlocks:
    """Blocks to do, compressed: what travels inside a task."""

    data: bytes = field(repr=False)
    storage_options: Mapping[str, Any] = field(repr=False)
    labels_data: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls, blocks: Sequence[BlockWork], storage_options: Mapping[str, Any], labels: Labels | None = None
    ) -> PackedBlocks:
        """Compress blocks; `storage_options` open the images of all of them, `labels` have their targets."""
        keys = [entry.key for block in blocks for entry, _ in block.entries]
        return cls(zlib.compress(pickle.dumps(list(blocks))), storage_options, pack_labels(labels, keys))

    def labels(self) -> Labels | None:
        """Return where the targets of these images come from."""
        return unpack_labels(self.labels_data)

    def blocks(self) -> list[BlockWork]:
        """Return the blocks as they were packed."""
        blocks: list[BlockWork] = pickle.loads(zlib.decompress(self.data))  # noqa: S301 - a task's own content
        return blocks


def open_run(order: Order) -> OpenRun:
    """Take the lease, check that the plan still fits, and write down what is to be done.

    Running it again in the same run does no harm: a scheduler may, when a worker dies.

    Raises
    ------
    StoreError
        If another writer is at work here, or was since the run was planned.
    """
    with at_work.task(order.owner.run_id):
        return _open_run(order)


def _open_run(order: Order) -> OpenRun:
    store = order.store
    at_work.go_on(order.owner.run_id)
    lease = take_lease(store, order.owner)
    if lease.state != "new":
        return OpenRun(order.job, lease, time.time(), order.writes_at_once)

    def go_on() -> None:
        at_work.go_on(order.owner.run_id)
        lease.renew()

    try:
        if fingerprint(store) != order.fingerprint:
            raise StoreError(f"{store.url} was written to since this run was planned: start it again")
        store.sweep()
        if order.overwrite:
            if lease.inherited:
                time.sleep(2 * CHECK_EVERY)  # what tasks of a dead client still write must not come after the deletion
            delete_outputs(store, go_on)
        store.delete(order.litter)
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
    return OpenRun(order.job, lease, time.time(), order.writes_at_once)


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
    by_key = {record.key: record for items in carried for record in (as_record(i, None, {}) for i in items)}
    with one_thread_per_task():
        return sum_totals(
            [committed(run, block) or _write_block(run, block, packed, by_key) for block in packed.blocks()]
        )


def close_run(run: OpenRun, totals: Sequence[Totals]) -> Totals:
    """Add up what the blocks came to, and let the next writer in."""
    total = replace(sum_totals(totals), seconds=time.time() - run.started)
    run.lease.release()
    came = f"{total.outputs:,} outputs, {format_bytes(total.bytes)}, {total.failed:,} inputs failed"
    tell(_log, logging.INFO, f"{run.store.url}: closed by run {run.lease.owner.run_id}: {came}, {total.seconds:.1f} s")
    return total


def committed(run: OpenRun, block: BlockWork) -> Totals | None:
    """Return the totals of a block that an earlier attempt of this run has committed."""
    for part in (block.part, replace(block.part, failures=True)):
        data = run.store.read_if_there(f"{PARTS}/{part}")
        if data is not None:
            if part.leaves == ANEW:
                run.store.delete(block.outdated)
            table = from_parquet(data)
            columns = (table[name].to_pylist() for name in ("key", "status", "bytes"))
            return Totals.of(zip(*columns, strict=True), {})
    return None


def _write_block(
    run: OpenRun,
    block: BlockWork,
    packed: PackedBlocks,
    carried: Mapping[str, ImageRecord],
) -> Totals:
    backend = Cv2Backend()
    rows: list[Row] = []
    labels = packed.labels()

    # Of shards, which are large, one is on its way while the next is filled.
    with WriteBehind(run.store, 1 if run.job.layout.sharded else run.writes_at_once) as writer:
        sink = sink_for(run.job, block.part, writer)
        for entry, wanted in block.entries:
            one = ImageOutputs(run.job, entry, backend, sink, run.go_on)
            rows += one.rows(wanted, carried.get(entry.key) or record_of(entry, labels, packed.storage_options))
        sink.finish()
    return commit(run, block, rows, dict(backend.counts))


def commit(run: OpenRun, block: BlockWork, rows: Sequence[Row], counts: Mapping[str, int]) -> Totals:
    """Write the manifest part of a block whose outputs are all there: from now on it counts."""
    totals = Totals.of(((row.key, row.status, row.bytes) for row in rows), counts)
    if block.retry_only and totals.outputs == 0:
        return totals  # it failed before and it failed again: the rows that say so are there
    run.lease.check()
    written = {folded(name) for row in rows for name in row.files}  # some targets do not tell A.png from a.png
    outdated = [name for name in block.outdated if folded(name) not in written]
    part: PartName = replace(block.part, failures=totals.failed > 0)
    if part.leaves != ANEW:
        run.store.delete(outdated)
    run.store.write(f"{PARTS}/{part}", to_parquet(rows, COLUMNS))
    if part.leaves == ANEW:  # others' outputs lie in its old shards: only now do they lie elsewhere
        run.store.delete(outdated)
    came = f"{totals.outputs:,} outputs, {totals.failed:,} inputs failed"
    tell(_log, logging.DEBUG, f"{run.store.url}: committed block {block.part.block} as {part}: {came}")
    return totals


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
