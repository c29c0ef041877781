"""The tasks of a write: open the run, do blocks of it, close it. They run on the workers and know nothing of Dask."""

from __future__ import annotations

import logging
import pickle
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.utils import format_bytes

from kaleidoscope import at_work
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.codecs import Encoder
from kaleidoscope.errors import KaleidoscopeError, OpError, StoreError
from kaleidoscope.job import Job, environment
from kaleidoscope.lease import CHECK_EVERY, Lease, Owner, take_lease
from kaleidoscope.log import tell, tell_failure
from kaleidoscope.manifest import COLUMNS, OK, PartName, Row, from_parquet, params_text, to_parquet
from kaleidoscope.read import as_record, load, pages_of, pixels_of
from kaleidoscope.recipe import canonical
from kaleidoscope.record import Frame, ImageRecord, Source
from kaleidoscope.resources import one_thread_per_task
from kaleidoscope.run import PARTS, BlockWork, delete_outputs, fingerprint
from kaleidoscope.sinks import MASK_FORMAT, mask_name, output_name
from kaleidoscope.sources import Entry
from kaleidoscope.storage import WRITES_AT_ONCE, Store, WriteBehind, public
from kaleidoscope.targets import Labels, Targets
from kaleidoscope.totals import Totals, sum_totals
from kaleidoscope.walk import Outcome, as_failure, walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)

_MASK_ENCODER = Encoder(MASK_FORMAT)
#: Encoded masks that are kept while an image is at work; its variants come depth first.
_MASKS_KEPT = 4


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


@dataclass(frozen=True)
class PackedBlocks:
    """Blocks to do, compressed: what travels inside a task."""

    data: bytes = field(repr=False)
    storage_options: Mapping[str, Any] = field(repr=False)
    labels: Labels | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls, blocks: Sequence[BlockWork], storage_options: Mapping[str, Any], labels: Labels | None = None
    ) -> PackedBlocks:
        """Compress blocks; `storage_options` open the images of all of them, `labels` have their targets."""
        if labels is not None:
            labels = labels.part([entry.key for block in blocks for entry, _ in block.entries])
        return cls(zlib.compress(pickle.dumps(list(blocks))), storage_options, labels)

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
    with at_work.task(run.lease.owner.run_id):
        try:
            return _write_blocks(run, packed, carried)
        except BaseException:
            with suppress(StoreError):  # the first error is the one to know
                run.lease.mark("failed")
            raise


def _write_blocks(run: OpenRun, packed: PackedBlocks, carried: Sequence[Sequence[Any]]) -> Totals:
    by_key = {record.key: record for items in carried for record in (as_record(i, None, {}) for i in items)}
    with one_thread_per_task():
        return sum_totals(
            [_committed(run, block) or _write_block(run, block, packed, by_key) for block in packed.blocks()]
        )


def close_run(run: OpenRun, totals: Sequence[Totals]) -> Totals:
    """Add up what the blocks came to, and let the next writer in."""
    total = replace(sum_totals(totals), seconds=time.time() - run.started)
    run.lease.release()
    came = f"{total.outputs:,} outputs, {format_bytes(total.bytes)}, {total.failed:,} inputs failed"
    tell(_log, logging.INFO, f"{run.store.url}: closed by run {run.lease.owner.run_id}: {came}, {total.seconds:.1f} s")
    return total


def _committed(run: OpenRun, block: BlockWork) -> Totals | None:
    """Return the totals of a block that an earlier attempt of this run has committed."""
    for part in (block.part, replace(block.part, failures=True)):
        data = run.store.read_if_there(f"{PARTS}/{part}")
        if data is not None:
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
    with WriteBehind(run.store, run.writes_at_once) as writer:
        for entry, wanted in block.entries:
            one = _OneImage(run, entry, backend, writer)
            rows += one.rows(wanted, carried.get(entry.key) or _record_of(entry, packed))
    totals = Totals.of(((row.key, row.status, row.bytes) for row in rows), dict(backend.counts))
    if block.retry_only and totals.outputs == 0:
        return totals  # it failed before and it failed again: the rows that say so are there
    run.lease.check()
    written = {name for row in rows for name in row.files}
    run.store.delete(name for name in block.outdated if name not in written)
    part: PartName = replace(block.part, failures=totals.failed > 0)
    run.store.write(f"{PARTS}/{part}", to_parquet(rows, COLUMNS))
    came = f"{totals.outputs:,} outputs, {totals.failed:,} inputs failed"
    tell(_log, logging.DEBUG, f"{run.store.url}: committed block {block.part.block} as {part}: {came}")
    return totals


def _record_of(entry: Entry, packed: PackedBlocks) -> ImageRecord:
    """Return the record of an image that lies at a URL."""
    source = Source(entry.url, entry.size, entry.etag, packed.storage_options)
    return ImageRecord(entry.key, source=source, labels=packed.labels)


@dataclass(frozen=True)
class _OneImage:
    """One image on its way from its bytes to its rows."""

    run: OpenRun
    entry: Entry
    backend: Cv2Backend
    writer: WriteBehind
    told: set[str | None] = field(default_factory=set, compare=False)
    #: The masks that were encoded last, with their bytes: variants that differ in colour share them.
    encoded: deque[tuple[NDArray[Any], bytes]] = field(default_factory=lambda: deque(maxlen=_MASKS_KEPT))

    def rows(self, wanted: Sequence[str] | None, record: ImageRecord) -> Iterator[Row]:
        """Yield a row for each wanted variant, its output written."""
        job, key = self.run.job, self.entry.key
        outcomes: Iterable[Outcome]
        size, pages = self.entry.size, None
        try:
            record = load(record, self.backend.counts, max_pixels=job.max_pixels)
            pixels = pixels_of(record)
            pages = pages_of(record)
            if size is None and record.source is not None:
                size = record.source.size
        except KaleidoscopeError as error:
            outcomes = [Outcome(variant, None, (), error=error) for variant in wanted or job.plan.tree.variants]
        else:
            only = None if wanted is None else frozenset(wanted)
            outcomes = walk(
                job.plan,
                pixels,
                key=key,
                seed=job.seed,
                backend=self.backend,
                targets=record.targets,
                lineage=record.lineage,
                wanted=only,
            )
        for outcome in outcomes:
            at_work.go_on(self.run.lease.owner.run_id)
            self.run.lease.renew()
            yield replace(self._row(outcome, size), source_pages=pages)

    def _row(self, outcome: Outcome, source_size: int | None) -> Row:
        """Write an outcome; return its row."""
        job, key, variant = self.run.job, self.entry.key, outcome.variant
        row = Row(
            key=key,
            variant=variant,
            params=params_text(outcome.lineage),
            seed=job.seed,
            recipe_id=job.leaf_ids[variant],
            source=public(self.entry.url),
            source_size=source_size,
            source_etag=self.entry.etag,
            environment=environment(),
        )
        error = outcome.error
        if outcome.pixels is not None:
            frame = Frame.of(outcome.pixels)
            try:
                data = self._encode(outcome.pixels, frame)
                masks = self._encoded_masks(outcome.targets)
            except KaleidoscopeError as refused:
                error = as_failure(refused, key, "encode")
            else:
                name = output_name(key, variant, job.encoder.extension)
                self.writer.write(name, data)
                mask_names = {mask: mask_name(name, mask) for mask in masks}
                for mask, mask_data in masks.items():
                    self.writer.write(mask_names[mask], mask_data)
                return replace(
                    row,
                    status=OK,
                    output=name,
                    objects=None if outcome.targets is None else canonical(outcome.targets.objects()),
                    masks=canonical(mask_names) if masks else None,
                    width=frame.width,
                    height=frame.height,
                    channels=frame.channels,
                    dtype=frame.dtype,
                    bytes=len(data),
                    checksum=zlib.crc32(data),
                )
        if error is None:
            error = OpError("no pixels came out", key=key, step=variant)
        if job.on_error == "raise":
            raise error
        tell_failure(_log, error, self.told)
        return replace(row, error=f"{type(error).__name__}: {error.message}", step=error.step)

    def _encode(self, pixels: NDArray[Any], frame: Frame) -> bytes:
        scratch = self.backend.take(frame)
        try:
            data = self.run.job.encoder.encode(pixels, scratch)
        finally:
            self.backend.release(scratch)
        self.backend.counts["encode"] += 1
        return data

    def _encoded_masks(self, targets: Targets | None) -> dict[str, bytes]:
        """Return the masks as PNG, by name."""
        return {name: self._encoded_mask(mask) for name, mask in (targets.masks if targets else {}).items()}

    def _encoded_mask(self, mask: NDArray[Any]) -> bytes:
        for done, data in self.encoded:
            if done is mask:
                return data
        data = _MASK_ENCODER.encode(mask[..., np.newaxis])
        self.backend.counts["mask"] += 1
        self.encoded.append((mask, data))
        return data
