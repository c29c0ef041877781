"""What a bag's task does: records in, the variants of each out, one at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.errors import KaleidoscopeError
from kaleidoscope.job import Job
from kaleidoscope.listing import KeyRun, PackedKeys, unpack
from kaleidoscope.log import tell_failure
from kaleidoscope.read import as_record, load
from kaleidoscope.record import ImageRecord
from kaleidoscope.resources import one_thread_per_task
from kaleidoscope.walk import walk

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
    """

    job: Job
    root: str | None = None
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __call__(self, partition: KeyRun | PackedKeys | Iterable[Any]) -> Iterator[ImageRecord]:
        """Yield the variants of each image of a partition, in tree order; their pixels are the caller's to keep."""
        items = unpack(partition) if isinstance(partition, KeyRun | PackedKeys) else partition
        with one_thread_per_task():
            backend = Cv2Backend()
            for item in items:
                record = as_record(item, self.root, self.storage_options)
                yield from self._variants(record, backend)

    def _variants(self, record: ImageRecord, backend: Cv2Backend) -> Iterator[ImageRecord]:
        job, key = self.job, record.key
        wanted = job.wanted(key)
        try:
            record, picture = load(record, backend.counts, max_pixels=job.max_pixels)
        except KaleidoscopeError as error:
            if job.on_error == "raise":
                raise
            tell_failure(_log, error, set())
            for variant in wanted or job.plan.tree.variants:
                yield ImageRecord(key, variant=variant, source=record.source, error=error)
            return
        told: set[str | None] = set()
        for outcome in walk(
            job.plan,
            picture,
            key=key,
            seed=job.seed,
            backend=backend,
            targets=record.targets,
            lineage=record.lineage,
            wanted=None if wanted is None else frozenset(wanted),
        ):
            if outcome.error is not None and job.on_error == "raise":
                raise outcome.error
            if outcome.error is not None:
                tell_failure(_log, outcome.error, told)
            yield ImageRecord(
                key,
                None if outcome.pixels is None else outcome.pixels.copy(),
                None if outcome.targets is None else outcome.targets.copied(),
                metadata=dict(record.metadata),
                lineage=outcome.lineage,
                variant=outcome.variant,
                source=record.source,
                error=outcome.error,
            )
