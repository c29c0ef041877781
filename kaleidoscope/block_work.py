"""What is left to do of blocks: of those that a target knows one by one, of new ones as a run of entries."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kaleidoscope.entries import Entries, Entry
from kaleidoscope.job import Job, digest
from kaleidoscope.listing import pack_labels, unpack_labels
from kaleidoscope.manifest import PartName
from kaleidoscope.targets import Labels

#: Blocks that one task may do in a row: seconds of work, so that scheduling it costs next to nothing.
MAX_BLOCKS_PER_TASK = 64
#: Tasks for each thread of the cluster, so that the last ones to end do not leave the others idle.
_TASKS_PER_THREAD = 8


@dataclass(frozen=True, slots=True)
class BlockWork:
    """What is left to do of one block, and the manifest part that will say it is done.

    Parameters
    ----------
    part : PartName
        Without ``failures``, which only doing it tells.
    entries : tuple of (Entry, tuple of str or None)
        The images, each with the variants wanted of it (None: all).
    retry_only : bool
        Every output of it has failed before, on the same input: if it fails again, nothing is committed.
    outdated : collection of str
        What lies there of earlier versions of these images, or of the block where it is written anew: what is not
        written again is deleted.
    """

    part: PartName
    entries: tuple[tuple[Entry, tuple[str, ...] | None], ...]
    retry_only: bool = False
    outdated: Collection[str] = ()

    def outputs(self, variants: int) -> int:
        """Return how many outputs it asks for, where a recipe has that many variants."""
        return sum(variants if wanted is None else len(wanted) for _, wanted in self.entries)


@dataclass(frozen=True)
class NewBlocks:
    """Blocks that a target knows nothing of: all of each is to be made.

    Half a million of them are cut from their entries where they are done; the client has columns only.

    Parameters
    ----------
    entries : Entries
        Their images.
    first : int
        The number of the first block.
    images : int
        Of each block; the last one may have fewer.
    leaves : str
        See `PartName`.
    """

    entries: Entries
    first: int
    images: int
    leaves: str

    def __len__(self) -> int:
        """Return how many there are."""
        return (len(self.entries) + self.images - 1) // self.images

    def part(self, first: int, last: int) -> NewBlocks:
        """Return some of them."""
        return replace(self, entries=self.entries[first * self.images : last * self.images], first=self.first + first)

    def works(self, job: Job) -> Iterator[BlockWork]:
        """Yield each with its images."""
        for place in range(len(self)):
            entries = list(self.entries[place * self.images : (place + 1) * self.images])
            mark = inputs_digest((e.key, e.size, e.etag, e.labels, 0) for e in entries)
            part = PartName(self.first + place, 0, mark, self.leaves)
            yield BlockWork(part, tuple((entry, job.wanted(entry.key)) for entry in entries))


def inputs_digest(inputs: Iterable[tuple[str, int | None, str, str, int]]) -> str:
    """Return the mark of a block's images: another one when one of them changes, comes or goes.

    Parameters
    ----------
    inputs : iterable of tuple
        Of each its key, size, etag, the mark of its labels, and the part since which it has counted in this version.
    """
    return digest([list(one) for one in inputs], size=4)


@dataclass(frozen=True)
class PackedBlocks:
    """Blocks to do, compressed: what travels inside a task."""

    data: bytes = field(repr=False)
    storage_options: Mapping[str, Any] = field(repr=False)
    labels_data: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls, blocks: Sequence[BlockWork] | NewBlocks, storage_options: Mapping[str, Any], labels: Labels | None = None
    ) -> PackedBlocks:
        """Compress blocks; `storage_options` open the images of all of them, `labels` have their targets."""
        packed_labels = None if labels is None else pack_labels(labels, keys_of(blocks))
        return cls(zlib.compress(pickle.dumps(blocks)), storage_options, packed_labels)

    def labels(self) -> Labels | None:
        """Return where the targets of these images come from."""
        return unpack_labels(self.labels_data)

    def new(self) -> NewBlocks:
        """Return new blocks as they were packed."""
        blocks: NewBlocks = pickle.loads(zlib.decompress(self.data))  # noqa: S301 - a task's own content
        return blocks

    def blocks(self, job: Job) -> list[BlockWork]:
        """Return the blocks, with what a job wants of them."""
        blocks: list[BlockWork] | NewBlocks = pickle.loads(zlib.decompress(self.data))  # noqa: S301 - as above
        return list(blocks.works(job)) if isinstance(blocks, NewBlocks) else blocks


def keys_of(blocks: Sequence[BlockWork] | NewBlocks) -> list[str]:
    """Return the keys of the images of blocks."""
    if isinstance(blocks, NewBlocks):
        keys: list[str] = blocks.entries.keys.tolist()
        return keys
    return [entry.key for block in blocks for entry, _ in block.entries]


def in_tasks(
    known: Sequence[BlockWork], new: NewBlocks, threads: int
) -> tuple[list[Sequence[BlockWork]], list[NewBlocks]]:
    """Cut blocks into tasks: seconds of work each, but enough of them to keep all threads busy to the end."""
    size = min(max((len(known) + len(new)) // (threads * _TASKS_PER_THREAD), 1), MAX_BLOCKS_PER_TASK)
    return (
        [known[first : first + size] for first in range(0, len(known), size)],
        [new.part(first, first + size) for first in range(0, len(new), size)],
    )
