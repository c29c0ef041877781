"""Which images a bag holds: asked of it before a write, which plans by key."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kaleidoscope.read import as_record
from kaleidoscope.record import ImageRecord
from kaleidoscope.sources import Entry


@dataclass(frozen=True)
class Identify:
    """Names the images of a bag's partition: entry, and what opens its URL (None: the record carries its pixels)."""

    root: str | None
    storage_options: Mapping[str, Any]

    def __call__(self, partition: Iterable[Any]) -> list[tuple[Entry, Mapping[str, Any] | None]]:
        return [self._of(item) for item in partition]

    def _of(self, item: Any) -> tuple[Entry, Mapping[str, Any] | None]:
        record = as_record(item, self.root, self.storage_options)
        source = record.source
        labels = mark_of(record)
        if record.pixels is None and source is not None and record.error is None:
            entry = Entry(record.key, source.url, source.size, source.etag, labels)
            return entry, None if labels else dict(source.storage_options)
        url = source.url if source else ""
        if record.pixels is None:
            return Entry(record.key, url, labels=labels), None
        mark = f"{zlib.crc32(record.pixels.tobytes()):08x}"
        return Entry(record.key, url, record.pixels.nbytes, mark, labels), None


def mark_of(record: ImageRecord) -> str:
    """Return what tells a record's labels from others."""
    if record.targets is not None:
        return record.targets.digest()
    return "" if record.labels is None else record.labels.mark(record.key)
