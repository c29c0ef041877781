"""What a bag's task does: records in, the variants of each out, one at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.flow import Bounds, Flow
from kaleidoscope.job import Job
from kaleidoscope.listing import KeyRun, PackedKeys, unpack
from kaleidoscope.log import tell_failure
from kaleidoscope.outcome import Outcome
from kaleidoscope.read import as_record
from kaleidoscope.read_ahead import ReadAhead, images_ahead
from kaleidoscope.record import ImageRecord
from kaleidoscope.resources import one_thread_per_task, require
from kaleidoscope.segments import Opened, Passed, gone_on, gone_on_together, kept, opened

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Augmentation:
    """A function of a partition that streams: nothing but the present image is held.

    Parameters
    ----------
    job : Job
        What to make of each image.
    root : str or None
        What the keys of URLs in the partition are relative to.
    storage_options : mapping
        What fsspec needs to open them. Never shown.
    reads : Bounds
        Of the images of a pack that are fetched from a store before their turn.
    """

    job: Job
    root: str | None = None
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    reads: Bounds = Flow().reads

    def __call__(self, partition: KeyRun | PackedKeys | Iterable[Any]) -> Iterator[ImageRecord]:
        """Yield the variants of each image of a partition, in tree order; their pixels are the caller's to keep."""
        with one_thread_per_task(), self.opening(partition, Cv2Backend(), None) as images:
            for one in images:
                told: set[str | None] = set()
                for found in one.outcomes:
                    yield self.variant(one.record, cast("Outcome", found), told, copy=True)

    @contextmanager
    def opening(
        self, partition: KeyRun | PackedKeys | Iterable[Any], backend: Cv2Backend, place: int | None
    ) -> Iterator[Iterator[Opened]]:
        """Let the images of a partition be opened one after another, the next ones being read meanwhile."""
        # What else there is comes out of other steps of a bag, one by one: nobody may look ahead of it.
        known = unpack(partition) if isinstance(partition, KeyRun | PackedKeys) else []
        items = known if isinstance(partition, KeyRun | PackedKeys) else partition
        with ReadAhead(images_ahead(known), self.reads) as ahead:
            records = (as_record(item, self.root, self.storage_options) for item in items)
            yield (
                opened(self.job, record, self.job.wanted(record.key), backend, place, read=ahead.read)
                for record in records
            )

    def variant(self, record: ImageRecord, outcome: Outcome, told: set[str | None], *, copy: bool) -> ImageRecord:
        """Return a variant as a record; `copy` its pixels where they were only lent.

        `told` remembers which failures of the image have been logged.
        """
        if outcome.error is not None:
            if self.job.on_error == "raise":
                raise outcome.error
            tell_failure(_log, outcome.error, told)
        pixels, targets = outcome.pixels, outcome.targets
        return ImageRecord(
            record.key,
            pixels if pixels is None or not copy else pixels.copy(),
            None if targets is None else targets.copied(),
            metadata=dict(record.metadata),
            lineage=outcome.lineage,
            variant=outcome.variant,
            source=record.source,
            error=outcome.error,
        )


@dataclass(frozen=True)
class InSegment:
    """A function of a partition that does what one segment of a cut tree does.

    Parameters
    ----------
    augmentation : Augmentation
        What to make of each image.
    place : int
        The segment.
    """

    augmentation: Augmentation
    place: int

    @property
    def needed_by(self) -> str:
        """The ops that need what the segment needs."""
        return ", ".join(self.augmentation.job.plan.segments[self.place].ops)

    def __call__(self, *received: Any) -> list[Passed]:
        """Return what comes of each image.

        Parameters
        ----------
        *received
            What each segment that feeds this one has handed over; for the first, the partition.

        Raises
        ------
        ResourceError
            If it was started on a worker that has not what it needs.
        """
        augmentation, place, backend = self.augmentation, self.place, Cv2Backend()
        job = augmentation.job
        require(job.plan.segments[place].resources, self.needed_by)
        with one_thread_per_task():
            if place == 0:
                with augmentation.opening(received[0], backend, place) as images:
                    return [Passed(one.record, *kept(one.outcomes)) for one in images]
            several: list[tuple[Passed, ...]] = list(zip(*received, strict=True))
            if job.plan.on_device(place):
                wanted = [job.wanted(passed[0].record.key) for passed in several]
                return gone_on_together(job, place, several, wanted, backend.counts)
            return [self._gone_on(passed, backend) for passed in several]

    def _gone_on(self, passed: Sequence[Passed], backend: Cv2Backend) -> Passed:
        job, record = self.augmentation.job, passed[0].record
        handovers = (handover for one in passed for handover in one.handovers)
        return Passed(record, *kept(gone_on(job, self.place, handovers, record.key, job.wanted(record.key), backend)))


def handed_over(passed: Iterable[Passed]) -> list[Passed]:
    """Return what other segments need of a segment."""
    return [replace(one, outcomes=()) for one in passed]


def finished(passed: Iterable[Passed]) -> list[Passed]:
    """Return the variants that a segment finished."""
    return [replace(one, handovers=()) for one in passed]


@dataclass(frozen=True)
class Gathered:
    """A function that puts the variants of each image of a partition together again; see `Augmentation`.

    Parameters
    ----------
    augmentation : Augmentation
        What was made.
    """

    augmentation: Augmentation

    def __call__(self, *segments: Sequence[Passed]) -> Iterator[ImageRecord]:
        """Yield the variants of each image, in tree order, from what the segments have finished."""
        order = {variant: number for number, variant in enumerate(self.augmentation.job.plan.tree.variants)}
        for passed in zip(*segments, strict=True):
            outcomes = [outcome for one in passed for outcome in one.outcomes]
            told: set[str | None] = set()
            for outcome in sorted(outcomes, key=lambda outcome: order[outcome.variant]):
                yield self.augmentation.variant(passed[0].record, outcome, told, copy=False)
