"""Entries: what was listed, in columns, so that a million of them are a hundred megabytes and travel as twenty."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.dtypes import StringDType

from kaleidoscope.errors import RecipeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Texts = NDArray[Any]  # of numpy's strings, which a column has side by side and not each as an object

#: Entries that are Python objects at a time, where all of them are gone through.
_AT_ONCE = 4096
#: Of an etag that is the MD5 of an object.
_DIGITS = 32
#: Stands for a size that is not known.
_NO_SIZE = -1


@dataclass(frozen=True, slots=True)
class Entry:
    """One listed image.

    Parameters
    ----------
    key : str
        Its name relative to the root.
    url : str
        Where it lies.
    size : int or None
        Bytes, where the listing said so.
    etag : str
        The store's mark of this version; empty where there is none.
    labels : str
        The mark of this version of its labels; empty where it has none.
    """

    key: str
    url: str
    size: int | None = None
    etag: str = ""
    labels: str = ""


class Entries(Sequence[Entry]):
    """Entries by column; a slice shares its memory with the whole.

    A Python object for each of a million entries, with its strings, is 600 MB, and as many calls whenever something is
    asked of all of them.

    Parameters
    ----------
    keys : array of str, shape (N,)
    urls : str, or array of str, shape (N,)
        Where they lie; one text if that, and then the key, is every URL.
    sizes : array of int64, shape (N,)
        Bytes; -1 where the listing said nothing.
    etags : array of str, shape (N,)
    labels : array of str, shape (N,), optional
        The marks of their labels; None where none has any.

    Examples
    --------
    >>> entries = Entries.of([Entry("a.jpg", "s3://bucket/a.jpg", 5, "e"), Entry("b.jpg", "s3://bucket/b.jpg")])
    >>> entries[1], entries.urls, len(entries[:1])
    (Entry(key='b.jpg', url='s3://bucket/b.jpg', size=None, etag='', labels=''), 's3://bucket/', 1)
    """

    def __init__(
        self, keys: Texts, urls: str | Texts, sizes: NDArray[np.int64], etags: Texts, labels: Texts | None = None
    ) -> None:
        self.keys, self.urls, self.sizes, self.etags, self.labels = keys, urls, sizes, etags, labels

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Entries:
        """Put entries into columns.

        Raises
        ------
        RecipeError
            If a key or URL is no text, as the name of a file may be.
        """
        if isinstance(entries, Entries):
            return entries
        several, left = [], iter(entries)
        while few := list(islice(left, _AT_ONCE)):
            keys, urls, sizes, etags, labels = ([getattr(e, name) for e in few] for name in Entry.__slots__)
            several.append(
                cls(
                    texts(keys),
                    _common_start(keys, urls),
                    np.array([_NO_SIZE if size is None else size for size in sizes], np.int64),
                    texts(etags),
                    texts(labels) if any(labels) else None,
                )
            )
        return cls.joined(several)

    @classmethod
    def joined(cls, several: Sequence[Entries]) -> Entries:
        """Put several into one."""
        if not several:
            return cls(texts(()), "", np.array((), np.int64), texts(()))
        starts = {one.urls if isinstance(one.urls, str) else None for one in several if len(one)}
        apart = None in starts or len(starts) > 1
        marked = any(one.labels is not None for one in several)
        return cls(
            np.concatenate([one.keys for one in several]),
            np.concatenate([texts(one.lists()[1]) for one in several]) if apart else (starts or {""}).pop() or "",
            np.concatenate([one.sizes for one in several]),
            np.concatenate([one.etags for one in several]),
            np.concatenate([texts(one.lists()[4]) for one in several]) if marked else None,
        )

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.keys)

    @overload
    def __getitem__(self, place: int) -> Entry: ...

    @overload
    def __getitem__(self, place: slice) -> Entries: ...

    def __getitem__(self, place: int | slice) -> Entry | Entries:
        """Return one, or a run of them."""
        return self.taken(place) if isinstance(place, slice) else next(iter(self.taken([place])))

    def taken(self, which: slice | Sequence[int] | NDArray[Any]) -> Entries:
        """Return those at some places, or those for which an array of bool has True, in that order."""
        urls = self.urls if isinstance(self.urls, str) else self.urls[which]
        labels = None if self.labels is None else self.labels[which]
        return Entries(self.keys[which], urls, self.sizes[which], self.etags[which], labels)

    def __iter__(self) -> Iterator[Entry]:
        """Yield each."""
        for first in range(0, len(self), _AT_ONCE):
            yield from map(Entry, *self[first : first + _AT_ONCE].lists())

    def lists(self) -> tuple[list[Any], ...]:
        """Return the columns of `Entry` as lists."""
        keys = self.keys.tolist()
        urls = [self.urls + key for key in keys] if isinstance(self.urls, str) else self.urls.tolist()
        sizes = [None if size == _NO_SIZE else size for size in self.sizes.tolist()]
        labels = [""] * len(keys) if self.labels is None else self.labels.tolist()
        return keys, urls, sizes, self.etags.tolist(), labels

    def __eq__(self, other: object) -> bool:
        """Compare what they say, one by one."""
        return isinstance(other, Entries) and len(self) == len(other) and self.digest == other.digest

    def __hash__(self) -> int:
        """Hash what they say."""
        return hash(self.digest)

    def __repr__(self) -> str:
        """Count them: URLs may hold a signature."""
        return f"Entries({len(self)})"

    @cached_property
    def digest(self) -> str:
        """A hash of everything they say, as hexadecimal digits."""
        said = blake2b(self.sizes.astype("<i8").tobytes(), digest_size=16)
        for first in range(0, len(self), _AT_ONCE):
            keys, urls, _, etags, labels = self[first : first + _AT_ONCE].lists()
            for column in (keys, urls, etags, labels):
                said.update(repr([*map(len, column)]).encode())  # so that nobody mistakes where one text ends
                said.update("".join(column).encode())
        return said.hexdigest()

    @property
    def are_labelled(self) -> bool:
        """Whether one of them has labels."""
        return self.labels is not None and bool(np.any(self.labels != ""))

    def sorted(self) -> Entries:
        """Return them in the order of their keys."""
        if bool(np.all(self.keys[:-1] <= self.keys[1:])):
            return self
        return self.taken(np.argsort(self.keys, kind="stable"))

    def twice(self) -> tuple[int, int] | None:
        """Return the places of two entries that have the same key, the first such; None if no two have."""
        if bool(np.all(self.keys[:-1] < self.keys[1:])):
            return None
        order = np.argsort(self.keys, kind="stable")
        in_order = self.keys[order]
        (same,) = np.nonzero(in_order[:-1] == in_order[1:])
        if not len(same):
            return None
        first = same[np.argmin(order[same + 1])]
        return int(order[first]), int(order[first + 1])

    def labelled(self, marks: Iterable[str]) -> Entries:
        """Return them with the marks of their labels."""
        return Entries(self.keys, self.urls, self.sizes, self.etags, texts(marks))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as text and bytes, to be compressed by whoever sends it: 3 to 25 bytes each come of it."""
        etags = self.etags.tolist()
        halved = _halved(etags)
        urls = self.urls if isinstance(self.urls, str) else self.urls.tolist()
        labels = None if self.labels is None else self.labels.tolist()
        columns = [self.keys.tolist(), urls, labels, etags if halved is None else None]
        said = json.dumps(columns, ensure_ascii=False, separators=(",", ":")).encode()
        return _arrived, (said, self.sizes.astype("<i8").tobytes(), halved)


def _halved(etags: Sequence[str]) -> bytes | None:
    """Return etags as bytes, if each is of 32 hexadecimal digits as S3's are; they have no pattern to compress."""
    if any(len(etag) != _DIGITS for etag in etags):
        return None
    digits = "".join(etags)
    try:
        data = bytes.fromhex(digits)
    except ValueError:
        return None
    return data if data.hex() == digits else None  # upper-case ones, or blanks among them


def _arrived(said: bytes, sizes: bytes, halved: bytes | None) -> Entries:
    keys, urls, labels, etags = json.loads(said)
    if halved is not None:
        digits = halved.hex()
        etags = [digits[first : first + _DIGITS] for first in range(0, len(digits), _DIGITS)]
    return Entries(
        texts(keys),
        urls if isinstance(urls, str) else texts(urls),
        np.frombuffer(sizes, "<i8"),
        texts(etags),
        None if labels is None else texts(labels),
    )


def texts(values: Iterable[str]) -> Texts:
    """Return texts as an array.

    Raises
    ------
    RecipeError
        If one of them is none in UTF-8, naming it: Parquet, JSON and every object store want that.
    """
    values = list(values)
    try:
        return np.array(values, dtype=StringDType())
    except UnicodeEncodeError:
        wrong = next(value for value in values if not _is_text(value))
        raise RecipeError(f"the name {wrong!r} is not text in UTF-8: rename the file") from None


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _common_start(keys: Sequence[str], urls: Sequence[str]) -> str | Texts:
    """Return what all URLs begin with before the key, else all of them."""
    start = urls[0].removesuffix(keys[0])
    together = all(url == start + key for key, url in zip(keys, urls, strict=True))
    return start if together else texts(urls)
