"""The lazy write: planned when it is computed, run as one task to open, some to do blocks, one to close."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
from dask._task_spec import List, Task, TaskRef
from dask.bag import Bag
from dask.base import DaskMethodsMixin, dont_optimize
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.threaded import get as threaded_get

from kaleidoscope import at_work, settings
from kaleidoscope.augmentation import Augmentation
from kaleidoscope.block_work import BlockWork, NewBlocks, PackedBlocks, in_tasks, keys_of
from kaleidoscope.blocks import OpenRun, Order, close_run, open_run, record_of, write_blocks
from kaleidoscope.display import Progress
from kaleidoscope.entries import Entries, Entry
from kaleidoscope.errors import RecipeError, StoreError
from kaleidoscope.estimate import Estimate, ToDo, predict
from kaleidoscope.flow import Flow
from kaleidoscope.following import Advance, active_client, follow, process_count, thread_count
from kaleidoscope.identify import Identify
from kaleidoscope.labels.table import masks_in
from kaleidoscope.lease import Owner, give_up
from kaleidoscope.listing import Listing
from kaleidoscope.measuring import ask, enough, sample, spread
from kaleidoscope.members import place_of
from kaleidoscope.preflight import Need, before_sending
from kaleidoscope.prices import Prices
from kaleidoscope.read import as_record
from kaleidoscope.record import ImageRecord
from kaleidoscope.relay_graph import Layers, Relay, annotated, in_flight
from kaleidoscope.report import Report
from kaleidoscope.run import Work, plan_work
from kaleidoscope.sinks import check_names
from kaleidoscope.sources import Url
from kaleidoscope.storage import Store
from kaleidoscope.target import PARTS, bucket_is_missing, fingerprint
from kaleidoscope.targets import Labels
from kaleidoscope.totals import Totals
from kaleidoscope.weights import decoded_bytes
from kaleidoscope.whereabouts import case_folds, check_outside

if TYPE_CHECKING:
    from dask.typing import Key


@dataclass(frozen=True)
class _Images:
    """The images of a source: by key, and where those come from that have no URL of their own.

    ``carried`` maps a key to the partition of the source's bag that holds its pixels.
    """

    entries: Entries
    storage_options: Mapping[str, Any]
    carried: Mapping[str, Key]
    labels: Labels | None = None


@dataclass(frozen=True)
class _Planned:
    """A run, planned: its graph, the key of its report, and the tasks that progress is counted by."""

    run_id: str
    work: Work
    graph: HighLevelGraph
    report: str
    blocks: list[Key]
    outputs: int
    images: _Images


class WriteRun(DaskMethodsMixin):
    """The lazy write of variants, as `AugmentedBag.write` returns it; computes to a `Report`.

    Each time it is computed it looks at the target and does what is left to do there.
    """

    __dask_scheduler__ = staticmethod(threaded_get)
    # Planning optimizes the graph of the bag below, with all of its partitions kept; nothing else can be fused.
    __dask_optimize__ = staticmethod(dont_optimize)

    def __init__(
        self,
        source: Listing | Bag,
        augmentation: Augmentation,
        url: str,
        *,
        storage_options: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        only_failed: bool = False,
    ) -> None:
        if overwrite and only_failed:
            raise RecipeError(
                "overwrite=True deletes what has failed with all else: drop it, or only_failed=True (on the "
                "command line --overwrite and --only-failed)"
            )
        options = augmentation.storage_options if storage_options is None else storage_options
        self.store = Store(url, options)
        self.source = source
        self.augmentation = augmentation
        self.overwrite = overwrite
        self.only_failed = only_failed
        # The graph is made later, when the caller's `with dask.annotate(...)` may be over.
        self._annotations = dict(dask.get_annotations())
        self._plan: _Planned | None = None
        if isinstance(source, Listing):
            check_outside(source.root, self.store, "the source", "outputs for inputs")
            for masks in masks_in(source.labels):
                check_outside(masks.root, self.store, "the folder of masks", "outputs for masks")
            self._check_names(source.entries)

    def __repr__(self) -> str:
        """Name the target."""
        return f"WriteRun<{self.store.url}>"

    @property
    def left(self) -> int:
        """How many outputs computing it now would write; 0 once everything is there."""
        return self._planned().outputs

    def estimate(
        self, *, images: int | None = None, probe: bool = False, prices: Prices | Url | None = None
    ) -> Estimate:
        """Return what computing it now would come to; see `AugmentedBag.estimate`."""
        if images is not None and (type(images) is not int or images < 1):
            raise RecipeError(f"estimate(images={images!r}): expected a whole number of at least 1")
        planned, job, threads = self._planned(), self.augmentation.job, thread_count()
        if probe and bucket_is_missing(self.store):
            raise StoreError(f"there is no bucket for {self.store.url}: make it, or check its name")
        if job.plan.own_needs:
            before_sending([Need(job.plan.own_needs, "the estimate", is_op=True)], active_client(self, None))
        work = planned.work
        todo = [one for block in work.blocks for one in block.entries]
        sizes = [*(entry.size for entry, _ in todo), *work.new.entries.lists()[2]]
        places = spread(sizes, enough(images, threads, carried=bool(planned.images.carried)))
        few = [todo[place] if place < len(todo) else self._new(work.new.entries[place - len(todo)]) for place in places]
        records = self._records([entry for entry, _ in few], planned.images)
        wanted = [(*one, record) for one, record in zip(few, records, strict=True)]
        found = sample(job, wanted, threads, all_of_them=images is not None)
        processes = process_count()
        at_once = settings.value("writes-at-once") * max(threads // processes, 1)
        answers = ask(self.store, at_once) if probe else None
        to_do = ToDo(
            inputs=len(sizes),
            outputs=planned.outputs,
            skipped=work.there,
            blocks=len(work.blocks) + len(work.new),
            tasks=len(planned.blocks),
            source_bytes=sum(size or 0 for size in sizes),
            threads=threads,
            processes=processes,
            from_store=any("://" in place_of(entry.url) for entry, _ in few),
            reads=self.store.requests_to_read,
            layout=job.layout,
        )
        given = prices if isinstance(prices, Prices) else Prices.read(prices)
        return predict(self.store, found, to_do, given, answers)

    def _new(self, entry: Entry) -> tuple[Entry, tuple[str, ...] | None]:
        """Return a new image with the variants that are wanted of it."""
        return entry, self.augmentation.job.wanted(entry.key)

    def _records(self, entries: Sequence[Entry], images: _Images) -> list[ImageRecord]:
        """Return the records of some images; those that lie at no URL are asked of the bag."""
        carried: dict[str, ImageRecord] = {}
        if isinstance(self.source, Bag):
            wanted = {images.carried[entry.key] for entry in entries if entry.key in images.carried}
            places = [place for place, key in enumerate(self.source.__dask_keys__()) if key in wanted]
            parts = self.source.to_delayed()
            for items in dask.compute(*(parts[place] for place in places)):
                found = (as_record(item, self.augmentation.root, {}) for item in items)
                carried |= {record.key: record for record in found}
        return [carried.get(entry.key) or record_of(entry, images.labels, images.storage_options) for entry in entries]

    def compute(self, *, progress: bool | None = None, **kwargs: Any) -> Report:
        """Write what is left to write, and wait for it.

        Parameters
        ----------
        progress : bool, optional
            Whether to show a progress bar on stderr; by default what the setting ``kaleidoscope.progress`` says, else
            in a terminal and in a notebook.
        **kwargs
            As for any Dask collection: ``scheduler="sync"``, ``num_workers=4``.

        Returns
        -------
        Report

        Raises
        ------
        RecipeError
            If the target holds outputs of another recipe.
        StoreError
            If the target cannot be written, or another run is writing there.
        """
        self._plan = None
        planned = self._planned()
        client = active_client(self, kwargs.get("scheduler"))
        before_sending(self._needs(), client)
        try:
            shown = settings.value("progress") if progress is None else progress
            with Progress(planned.outputs, enabled=shown) as bar:
                if client is not None:
                    return follow(client, planned.graph, planned.blocks, planned.report, bar, planned.run_id)
                with Advance(bar, planned.blocks):
                    report: Report = super().compute(**kwargs)
                    return report
        except BaseException as error:
            self._end_early(planned, error)
            raise

    def _end_early(self, planned: _Planned, error: BaseException) -> None:
        """Let the next writer in once the tasks of this process have stopped; others see it by the lease."""
        self._plan = None  # it was given up: what is computed next is planned anew
        at_work.stop(planned.run_id)
        try:
            give_up(self.store, planned.run_id)
            if self.store.list(PARTS):
                error.add_note(f"What was committed to {self.store.url} stays; the same write goes on from there.")
        except StoreError as unreachable:
            error.add_note(f"The lease could not be given back: {unreachable}")

    # ------------------------------------------------------------------------------ a Dask collection

    def __dask_graph__(self) -> HighLevelGraph:
        """Return the graph for the target as it is now."""
        return self._planned().graph

    def __dask_keys__(self) -> list[Key]:
        """Return the key of the report."""
        return [self._last_plan().report]

    def __dask_layers__(self) -> tuple[str, ...]:
        """Return the layer that makes the report."""
        return (self._last_plan().report,)

    def __dask_tokenize__(self) -> object:
        """Name it for Dask: two writes are never the same work."""
        return self._last_plan().run_id

    def __dask_postcompute__(self) -> tuple[Any, tuple[()]]:
        """Return the report out of the list of results; Dask asks on the way to any scheduler."""
        before_sending(self._needs(), active_client(self, None))
        return _first, ()

    def __dask_postpersist__(self) -> tuple[Any, tuple[Any, ...]]:
        """Return the report, under way, as a `dask.delayed.Delayed`."""
        return _as_delayed, (self._last_plan().report,)

    # ------------------------------------------------------------------------------ planning

    def _planned(self) -> _Planned:
        """Return the plan for the target as it is now: the last one, while nobody has written there since."""
        if self._plan is None or self._plan.work.fingerprint != fingerprint(self.store):
            self._plan = self._make_plan()
        return self._plan

    def _last_plan(self) -> _Planned:
        """Return the plan whose graph was handed out: what Dask asks next must fit it, whatever was written since."""
        return self._plan or self._planned()

    def _make_plan(self) -> _Planned:
        job, store = self.augmentation.job, self.store
        images = self._images()
        work = plan_work(store, job, images.entries, overwrite=self.overwrite, only_failed=self.only_failed)
        run_id = uuid.uuid4().hex
        outputs = sum(block.outputs(len(job.plan.tree)) for block in work.blocks)
        outputs += len(work.new.entries) * job.per_image
        owner, mark = Owner.here(run_id), work.fingerprint
        record = (work.files, work.inputs, work.changed)
        order = Order(store, job, owner, mark, *record, work.overwrite, outputs, work.litter, Flow.as_set())
        opened, report = f"open-{run_id}", f"write-{run_id}"
        layers, block_keys, in_new = self._tasks(work, images, run_id, opened)
        plain = layers.setdefault((0, ()), {})
        plain[opened] = Task(opened, open_run, order, *map(TaskRef, in_new))
        done = List(*map(TaskRef, block_keys))
        plain[report] = Task(report, _report, TaskRef(opened), done, work.asked, work.there)
        graph = self._graph(report, layers, below=bool(images.carried))
        return _Planned(run_id, work, graph, report, block_keys, outputs, images)

    def _tasks(self, work: Work, images: _Images, run_id: str, opened: str) -> tuple[Layers, list[Key], list[Key]]:
        """Return what does the blocks, the keys of their totals, and those of new blocks by themselves."""
        pack = partial(PackedBlocks.of, storage_options=images.storage_options, labels=images.labels)
        known, new = in_tasks(work.blocks, work.new, thread_count())
        tasks: dict[Key, Task] = {}
        in_new: list[Key] = []
        several: list[tuple[Sequence[BlockWork] | NewBlocks, Any]] = [(blocks, pack(blocks)) for blocks in known]
        for place, some in enumerate(new):
            in_new.append((f"new-{run_id}", place))
            tasks[in_new[-1]] = Task(in_new[-1], _itself, pack(some))
            several.append((some, TaskRef(in_new[-1])))
        if len(self.augmentation.job.plan.segments) > 1:
            masks = 0 if images.labels is None else images.labels.mask_count()
            weights = decoded_bytes(images.entries, masks).tolist()
            weigh = dict(zip(images.entries.keys.tolist(), weights, strict=True)).__getitem__
            most, at_once = settings.value("partition-bytes"), in_flight(thread_count())
            plan = self.augmentation.job.plan
            relay = Relay(plan, run_id, opened, pack, images.carried.get, weigh, most, at_once)
            every = (*work.blocks, *work.new.works(self.augmentation.job))
            keys = [relay.add(number, block) for number, block in enumerate(every)]
            relay.layers.setdefault((0, ()), {}).update(tasks)
            return relay.layers, keys, in_new
        keys = [(f"blocks-{run_id}", place) for place in range(len(several))]
        for key, (blocks, packed) in zip(keys, several, strict=True):
            carriers = (images.carried.get(k) for k in keys_of(blocks)) if images.carried else ()
            needs = dict.fromkeys(carrier for carrier in carriers if carrier is not None)
            tasks[key] = Task(key, write_blocks, TaskRef(opened), packed, *map(TaskRef, needs))
        return {(0, ()): tasks}, keys, in_new

    def _graph(self, name: str, layers: Layers, *, below: bool) -> HighLevelGraph:
        """Put the run's tasks on top of those that make the images, if there are any."""
        graphs: dict[str, Any] = {}
        for (level, resources), tasks in layers.items():
            its = f"{name}-{level}-{resources}" if level or resources else name
            graphs[its] = MaterializedLayer(tasks, annotations=annotated(self._annotations, level, dict(resources)))
        needs: dict[str, set[str]] = {its: set() for its in graphs}
        if below and isinstance(self.source, Bag):
            optimized = self.source.__dask_optimize__(self.source.__dask_graph__(), self.source.__dask_keys__())
            if not isinstance(optimized, HighLevelGraph):
                optimized = HighLevelGraph.from_collections(self.source.name, optimized)
            graphs.update(optimized.layers)
            needs.update(optimized.dependencies)
        needs[name] = set(graphs) - {name}
        return HighLevelGraph(graphs, needs)

    def _needs(self) -> Iterator[Need]:
        """Yield what the tasks need of a worker."""
        if self._annotations.get("resources"):
            yield Need(self._annotations["resources"], "the write")
        for segment in self.augmentation.job.plan.segments:
            if segment.resources:
                yield Need(segment.resources, ", ".join(segment.ops), is_op=True)

    def _images(self) -> _Images:
        """Return the images; those of a bag are asked for their keys, here or on the active client."""
        if isinstance(self.source, Listing):
            return _Images(self.source.entries, self.source.storage_options, {}, self.source.labels)
        identify = Identify(self.augmentation.root, self.augmentation.storage_options)
        partitions = dask.compute(*self.source.map_partitions(identify).to_delayed())
        entries = Entries.of(entry for found in partitions for entry, _ in found)
        options: Mapping[str, Any] = next((o for found in partitions for _, o in found if o is not None), {})
        carried: dict[str, Any] = {
            entry.key: key
            for key, found in zip(self.source.__dask_keys__(), partitions, strict=True)
            for entry, its_options in found
            if its_options != options
        }
        self._check_names(Listing(entries).entries)
        return _Images(entries, options, carried)

    def _check_names(self, entries: Entries) -> None:
        job = self.augmentation.job
        folds = self.store.local and not job.layout.sharded and case_folds(Path(self.store.path()))
        check_names(entries.keys, job.encoder.extension, case_folds=folds)


def _report(run: OpenRun, totals: Sequence[Totals], inputs: int, there: int) -> Report:
    """Close the run and say what it came to: its last task."""
    total = close_run(run, totals)
    return Report(
        run.store.url,
        inputs,
        total.outputs,
        there,
        total.failed,
        total.bytes,
        total.seconds,
        total.counts,
        run.store.storage_options,
    )


def _first(results: Sequence[Report]) -> Report:
    return results[0]


def _as_delayed(graph: Any, key: str, *, rename: Mapping[str, str] | None = None) -> Delayed:
    return Delayed((rename or {}).get(key, key), graph)


def _itself(packed: PackedBlocks) -> PackedBlocks:
    """Be the task of blocks that two others need."""
    return packed
