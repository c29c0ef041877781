"""The outputs of one image: made, encoded, written, and told in rows."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from isal.isal_zlib import crc32

from kaleidoscope.archives import read_file
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.codecs import Encoder
from kaleidoscope.entries import Entry
from kaleidoscope.errors import KaleidoscopeError, OpError
from kaleidoscope.job import Job, environment
from kaleidoscope.log import tell_failure
from kaleidoscope.manifest import OK, Row, others_text, params_text
from kaleidoscope.outcome import Encoded, Outcome
from kaleidoscope.read import Read, pages_of
from kaleidoscope.recipe import canonical
from kaleidoscope.record import Frame, ImageRecord
from kaleidoscope.segments import Opened, opened
from kaleidoscope.sinks import MASK_FORMAT, mask_name, output_name
from kaleidoscope.targets import Targets
from kaleidoscope.urls import public
from kaleidoscope.walk import as_failure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kaleidoscope.pieces import Buffer, Content

_log = logging.getLogger(__name__)

_MASK_ENCODER = Encoder(MASK_FORMAT)
#: Targets that are kept as they are written; variants come depth first, so that few geometries are at work at a time.
_KEPT = 4


@dataclass(frozen=True, slots=True)
class _Written:
    """Targets as they are written: the objects as JSON, the masks as PNG by name."""

    targets: Targets | None
    objects: str | None = None
    masks: Mapping[str, bytes] = field(default_factory=dict)


class Writer(Protocol):
    """Takes objects by name."""

    def write(self, name: str, data: Content, /) -> None:
        """Write an object, now or soon."""


class Sink(Protocol):
    """Takes outputs with their masks and rows: as objects of their own (`Files`), or in shards."""

    def name(self, output: str, /) -> str:
        """Return what an output is called there, which as an object of its own would be called `output`."""

    def mask_names(self, name: str, masks: Iterable[str], /) -> dict[str, str]:
        """Return what the masks of an output are called there."""

    def put(self, row: Row, data: Buffer, masks: Mapping[str, bytes], /) -> None:
        """Take an output, now or soon."""

    def finish(self) -> None:
        """Take note that there are no more."""


@dataclass(frozen=True)
class Files:
    """Writes outputs and masks as objects of their own; a `Sink`."""

    writer: Writer

    def name(self, output: str) -> str:
        """Return it."""
        return output

    def mask_names(self, name: str, masks: Iterable[str]) -> dict[str, str]:
        """Return where they lie: beside the output."""
        return {mask: mask_name(name, mask) for mask in masks}

    def put(self, row: Row, data: Buffer, masks: Mapping[str, bytes]) -> None:
        """Write them."""
        self.writer.write(str(row.output), data)
        names = self.mask_names(str(row.output), masks)
        for mask, content in masks.items():
            self.writer.write(names[mask], content)
        if masks:
            row.others = others_text(masks)

    def finish(self) -> None:
        """Do nothing: all is written."""


@dataclass(frozen=True)
class ImageOutputs:
    """One image on its way from its bytes to its rows.

    Parameters
    ----------
    job : Job
        What is to be made of it.
    entry : Entry
        As it was listed.
    backend : Cv2Backend
        Applies the ops, and counts.
    sink : Sink
        Takes what is made.
    go_on : callable
        Called before each output; raises if the run was given up.
    read : callable
        Returns the bytes at a URL.
    """

    job: Job
    entry: Entry
    backend: Cv2Backend
    sink: Sink
    go_on: Callable[[], None]
    read: Read = read_file
    told: set[str | None] = field(default_factory=set, compare=False)
    #: What was written down last: variants that differ in colour share their targets.
    written_down: deque[_Written] = field(default_factory=lambda: deque(maxlen=_KEPT), compare=False)

    def rows(self, wanted: Sequence[str] | None, record: ImageRecord) -> Iterator[Row]:
        """Yield a row for each wanted variant, all made here, its output given to the sink."""
        one = opened(self.job, record, wanted, self.backend, None, read=self.read)
        about = self.about(one)
        for outcome in one.outcomes:
            yield self.row(cast("Outcome", outcome), about)

    def about(self, one: Opened) -> dict[str, Any]:
        """Return what the rows of all variants of the image have in common."""
        source, entry = one.record.source, self.entry
        return {
            "key": entry.key,
            "seed": self.job.seed,
            "source": public(entry.url),
            "source_size": source.size if entry.size is None and source is not None else entry.size,
            "source_etag": entry.etag,
            "source_pages": None if one.failed else pages_of(one.record),
            "environment": environment(self.job.device),
        }

    def row(self, outcome: Outcome, about: Mapping[str, Any]) -> Row:
        """Put an outcome into the sink; return its row.

        Parameters
        ----------
        outcome : Outcome
            One variant.
        about : mapping
            What `about` returned.
        """
        self.go_on()
        return self._row(outcome, about)

    def _row(self, outcome: Outcome, of_all: Mapping[str, Any]) -> Row:
        """Put an outcome into the sink; return its row, which has what those of all variants have."""
        job, key, variant = self.job, self.entry.key, outcome.variant
        about = {
            **of_all,
            "variant": variant,
            "params": params_text(outcome.lineage),
            "recipe_id": job.leaf_ids[variant],
        }
        error = outcome.error
        if outcome.pixels is not None or outcome.encoded is not None:
            try:
                data, frame = self._file(outcome)
                labels = self._write_down(outcome.targets)
                name = self.sink.name(output_name(key, variant, job.encoder.extension))
                mask_names = self.sink.mask_names(name, labels.masks)
            except KaleidoscopeError as refused:
                error = as_failure(refused, key, "encode")
            else:
                row = Row(
                    **about,
                    status=OK,
                    output=name,
                    objects=labels.objects,
                    masks=canonical(mask_names) if mask_names else None,
                    width=frame.width,
                    height=frame.height,
                    channels=frame.channels,
                    dtype=frame.dtype,
                    bytes=len(data),
                    checksum=crc32(data),
                )
                self.sink.put(row, data, labels.masks)
                return row
        if error is None:
            error = OpError("no pixels came out", key=key, step=variant)
        if job.on_error == "raise":
            raise error
        tell_failure(_log, error, self.told)
        return Row(**about, error=f"{type(error).__name__}: {error.message}", step=error.step)

    def _file(self, outcome: Outcome) -> tuple[bytes, Frame]:
        """Return an outcome's file, which a device may have made, and the frame of its pixels."""
        if outcome.pixels is None:
            made = cast("Encoded", outcome.encoded)
            return made.data, made.frame
        frame = Frame.of(outcome.pixels)
        return self._encode(outcome.pixels, frame), frame

    def _encode(self, pixels: NDArray[Any], frame: Frame) -> bytes:
        scratch = self.backend.take(frame) if self.job.encoder.needs_scratch(pixels) else None
        try:
            data = self.job.encoder.encode(pixels, scratch)
        finally:
            if scratch is not None:
                self.backend.release(scratch)
        self.backend.counts["encode"] += 1
        return data

    def _write_down(self, targets: Targets | None) -> _Written:
        """Return targets as they are written: those of the variant before, often enough."""
        for written in self.written_down:
            if written.targets is targets:
                return written
        if targets is None:
            return _Written(None)
        try:
            objects = canonical(targets.objects())
        except ValueError as error:
            raise OpError(f"expected finite coordinates of objects: {error}") from error
        masks = {name: _MASK_ENCODER.encode(mask[..., np.newaxis]) for name, mask in targets.masks.items()}
        self.backend.counts["mask"] += len(masks)
        self.written_down.append(_Written(targets, objects, masks))
        return self.written_down[-1]
