"""A listing: the images of a dataset in order, and the runs of them that travel inside tasks, compressed."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

import cloudpickle
from dask.base import tokenize

from kaleidoscope.entries import Entries, Entry
from kaleidoscope.errors import RecipeError
from kaleidoscope.record import ImageRecord, Source
from kaleidoscope.targets import Labels
from kaleidoscope.urls import public


@dataclass(frozen=True)
class Listing:
    """The images of a dataset, sorted as they will be processed.

    Parameters
    ----------
    entries : Entries
        Each key once.
    root : str
        The folder that keys are relative to; empty where each URL is its own.
    storage_options : mapping
        What fsspec needs to open the URLs. Never shown.
    labels : Labels, optional
        Where the images' targets come from.
    beside : tuple of Entry
        What lies in the same archives and may be labels of them.
    """

    entries: Entries
    root: str = ""
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    labels: Labels | None = field(default=None, repr=False)
    beside: tuple[Entry, ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse a key that is there twice, as nothing would tell its variants apart.

        Raises
        ------
        RecipeError
            Naming the key.
        """
        twice = self.entries.twice()
        if twice is not None:
            one, other = (self.entries[place] for place in twice)
            raise RecipeError(
                f"two images have the key {one.key!r}: {public(one.url)} and {public(other.url)}; pass "
                "root= so that keys tell them apart, or list each once"
            )

    def labelled(self, labels: Labels) -> Listing:
        """Return it with labels, whose marks are part of what its images are."""
        return replace(self, entries=self.entries.labelled(map(labels.mark, self.entries.keys.tolist())), labels=labels)

    def records(self) -> list[ImageRecord]:
        """Return a record for every image, without pixels."""
        return [
            ImageRecord(
                e.key,
                source=Source(e.url, e.size, e.etag, self.storage_options),
                labels=self.labels and self.labels.part((e.key,)),
            )
            for e in self.entries
        ]

    def runs(self, size: int) -> KeyRuns:
        """Cut it into runs of at most `size` images, in order."""
        return KeyRuns(self, [*range(0, len(self.entries), size), len(self.entries)])

    def __dask_tokenize__(self) -> object:
        """Name it for Dask by its entries, in which the marks of all labels are."""
        token = None if self.labels is None else self.labels.token()
        return tokenize(self.entries.digest, self.root, dict(self.storage_options), token)


@dataclass(frozen=True, eq=False)
class KeyRun:
    """A run of a listing's keys, as its process has it; another one gets it as `PackedKeys`.

    Parameters
    ----------
    whole : Listing
        The images.
    first, last : int
        Where it begins, and where the next one does.
    """

    whole: Listing = field(repr=False)
    first: int
    last: int

    def listing(self) -> Listing:
        """Return the entries."""
        return replace(self.whole, entries=self.whole.entries[self.first : self.last])

    def packed(self) -> PackedKeys:
        """Compress them."""
        entries = self.whole.entries[self.first : self.last]
        labels = pack_labels(self.whole.labels, entries.keys.tolist())
        return PackedKeys(zlib.compress(pickle.dumps(entries)), self.whole.storage_options, labels)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel compressed."""
        packed = self.packed()
        return PackedKeys, (packed.data, packed.storage_options, packed.labels)


class KeyRuns(Sequence[KeyRun]):
    """The runs that a listing is cut into.

    Parameters
    ----------
    listing : Listing
        The images.
    bounds : sequence of int
        Where each run begins, and where the last one ends.
    """

    def __init__(self, listing: Listing, bounds: Sequence[int]) -> None:
        self.listing, self.bounds = listing, bounds

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.bounds) - 1

    @overload
    def __getitem__(self, place: int) -> KeyRun: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[KeyRun]: ...

    def __getitem__(self, place: int | slice) -> KeyRun | Sequence[KeyRun]:
        """Return one, or several."""
        if isinstance(place, slice):
            return [self[each] for each in range(len(self))[place]]
        each = range(len(self))[place]
        return KeyRun(self.listing, self.bounds[each], self.bounds[each + 1])


class RunTasks(Mapping[Any, Any]):
    """The graph of a bag over runs of keys, one task for each; a task is made when somebody asks for it.

    A write never does: it cuts the listing anew, into blocks.

    Parameters
    ----------
    name : str
        Of the bag.
    runs : KeyRuns
        One for each partition.
    task : callable
        Returns the task of a run.
    """

    def __init__(self, name: str, runs: KeyRuns, task: Callable[[KeyRun], Any]) -> None:
        self.name, self.runs, self.task = name, runs, task

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.runs)

    def __iter__(self) -> Iterator[Any]:
        """Yield the keys of the tasks."""
        return ((self.name, place) for place in range(len(self)))

    def __contains__(self, key: object) -> bool:
        """Whether it has a task of that key."""
        match key:
            case (self.name, int(place)):
                return 0 <= place < len(self)
            case _:
                return False

    def __getitem__(self, key: Any) -> Any:
        """Return the task of a key."""
        if key not in self:
            raise KeyError(key)
        return self.task(self.runs[key[1]])

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the tasks themselves, each with its keys compressed: a scheduler has no use for the columns."""
        return dict, (list(self.items()),)


@dataclass(frozen=True)
class PackedKeys:
    """A run of keys, compressed: what travels inside a task.

    Parameters
    ----------
    data : bytes
        Columns of keys, URLs, sizes and etags.
    storage_options : mapping
        What fsspec needs to open the URLs. Never shown.
    labels : bytes, optional
        Where the targets of these images come from; see `pack_labels`.
    """

    data: bytes = field(repr=False)
    storage_options: Mapping[str, Any] = field(repr=False)
    labels: bytes | None = field(default=None, repr=False)

    def listing(self) -> Listing:
        """Return the entries as they were packed."""
        entries: Entries = pickle.loads(zlib.decompress(self.data))  # noqa: S301 - a task's own content
        return Listing(entries, storage_options=self.storage_options, labels=unpack_labels(self.labels))


def pack_labels(labels: Labels | None, keys: Sequence[str]) -> bytes | None:
    """Return the labels of some images, compressed: a scheduler that a task passes by need not know their classes."""
    return None if labels is None else zlib.compress(cloudpickle.dumps(labels.part(keys)))


def unpack_labels(data: bytes | None) -> Labels | None:
    """Return labels as they were packed."""
    if data is None:
        return None
    labels: Labels = pickle.loads(zlib.decompress(data))  # noqa: S301 - a task's own content
    return labels


def unpack(keys: KeyRun | PackedKeys) -> list[ImageRecord]:
    """Return the records of a run of keys, without pixels. This is what a bag's task does."""
    return keys.listing().records()
