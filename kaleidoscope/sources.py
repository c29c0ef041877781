"""Listing: which images there are, by key. Nothing is opened."""

from __future__ import annotations

import json
import os
import pickle
import posixpath
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
from dask.base import tokenize

from kaleidoscope.archives import Contents, archives_in, contents_of, is_archive, named_by_braces
from kaleidoscope.codecs import KNOWN_EXTENSIONS
from kaleidoscope.errors import RecipeError, StoreError
from kaleidoscope.members import Member
from kaleidoscope.record import ImageRecord, Source
from kaleidoscope.storage import etag_of, filesystem, is_local, options_of, public, store_errors
from kaleidoscope.targets import Labels

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

#: What Kaleidoscope keeps about its outputs lies in a folder of this name; a listing passes it by.
RECORD_FOLDER = "_kaleidoscope"

Url = str | os.PathLike[str]


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


@dataclass(frozen=True)
class Listing:
    """The images of a dataset, sorted as they will be processed.

    Parameters
    ----------
    entries : tuple of Entry
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

    entries: tuple[Entry, ...]
    root: str = ""
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    labels: Labels | None = field(default=None, repr=False)
    beside: tuple[Entry, ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse a key that is there twice, as nothing would tell its variants apart, and one that is no text.

        Raises
        ------
        RecipeError
            Naming the key.
        """
        seen: dict[str, str] = {}
        for entry in self.entries:
            if not entry.key.isprintable() and not _is_text(entry.key):
                raise RecipeError(f"the name {entry.key!r} is not text in UTF-8: rename the file")
            if entry.key in seen:
                raise RecipeError(
                    f"two images have the key {entry.key!r}: {public(seen[entry.key])} and {public(entry.url)}; pass "
                    "root= so that keys tell them apart, or list each once"
                )
            seen[entry.key] = entry.url

    def labelled(self, labels: Labels) -> Listing:
        """Return it with labels, whose marks are part of what its images are."""
        entries = tuple(replace(entry, labels=labels.mark(entry.key)) for entry in self.entries)
        return replace(self, entries=entries, labels=labels)

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

    def pack(self, size: int) -> list[PackedKeys]:
        """Cut into packs of at most `size` images, in order."""
        return [self.packed(self.entries[first : first + size]) for first in range(0, len(self.entries), size)]

    def packed(self, entries: Sequence[Entry]) -> PackedKeys:
        """Compress some of the entries."""
        columns = [list(column) for column in zip(*((e.key, e.url, e.size, e.etag) for e in entries), strict=True)]
        labels = pack_labels(self.labels, [e.key for e in entries])
        return PackedKeys(zlib.compress(json.dumps(columns).encode()), self.storage_options, labels)

    def __dask_tokenize__(self) -> object:
        """Name it for Dask by its entries, in which the marks of all labels are."""
        entries = [(e.key, e.url, e.size, e.etag, e.labels) for e in self.entries]
        token = None if self.labels is None else self.labels.token()
        return tokenize(entries, self.root, dict(self.storage_options), token)


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
        columns = json.loads(zlib.decompress(self.data))
        entries = (Entry(*row) for row in zip(*columns, strict=True))
        return Listing(tuple(entries), storage_options=self.storage_options, labels=unpack_labels(self.labels))


def pack_labels(labels: Labels | None, keys: Sequence[str]) -> bytes | None:
    """Return the labels of some images, compressed: a scheduler that a task passes by need not know their classes."""
    return None if labels is None else zlib.compress(cloudpickle.dumps(labels.part(keys)))


def unpack_labels(data: bytes | None) -> Labels | None:
    """Return labels as they were packed."""
    if data is None:
        return None
    labels: Labels = pickle.loads(zlib.decompress(data))  # noqa: S301 - a task's own content
    return labels


def unpack(packed: PackedKeys) -> list[ImageRecord]:
    """Return the records of a pack, without pixels. This is what a bag's task does."""
    return packed.listing().records()


def list_images(
    urls: Url | Iterable[Url],
    *,
    root: Url | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Listing:
    """List the images of a folder, a glob, a file, an archive, or a list of files and archives.

    Parameters
    ----------
    urls : str, path, or iterable of them
        A folder (listed with everything under it: files with an image's extension, no hidden ones; where there are
        none, archives), a glob, one file, an archive (``.zip``, ``.tar``, ``.tar.gz``), several of them in braces
        (``train-{000..009}.tar``), or a list of files and archives; local or any fsspec URL.
    root : str or path, optional
        What keys are relative to. Without it: the folder; a glob's part before its first wildcard; one file's
        parent; the archive, for each of several; for a list of images, the URL without its scheme is the key.
    storage_options : mapping, optional
        What fsspec needs.

    Returns
    -------
    Listing
        Sorted by key; a list keeps its own order.

    Raises
    ------
    StoreError
        If there is nothing there, or no image.
    RecipeError
        If two images have the same key, or one lies outside of `root`.
    """
    if isinstance(urls, str | os.PathLike):
        place = os.fspath(urls)
        if not place:
            raise RecipeError("expected a URL or path of images, got an empty one")
        return _list_one(place, root, options_of(place, storage_options))
    if not isinstance(urls, Iterable):
        raise RecipeError(f"expected URLs or paths of images, got {urls!r} ({type(urls).__name__})")
    given = list(urls)
    if not given or isinstance(urls, Mapping):
        raise RecipeError(f"expected URLs or paths of images, got {urls!r}")
    for url in given:
        if not isinstance(url, str | os.PathLike):
            raise RecipeError(f"expected URLs or paths of images, got {url!r} ({type(url).__name__}) among them")
    by_url = [options_of(os.fspath(url), storage_options) for url in given]
    options = by_url[0] if by_url else dict(storage_options or {})
    if any(other != options for other in by_url):
        raise RecipeError("the URLs name different hosts or users: list each on its own")
    top = "" if root is None else _as_url(*filesystem(os.fspath(root), options))
    places = [os.fspath(url) for url in given]
    packed = {url: _as_url(*filesystem(url, options)) for url in places if is_archive(url)}
    inside = dict(zip(packed, contents_of(packed.values(), top, options), strict=True))
    several = [_entries(inside[url].images) if url in inside else [entry_of(url, root, options)] for url in places]
    entries = tuple(entry for some in several for entry in some)
    for entry in entries:
        if entry.size is None and "://" not in entry.url and Path(entry.url).is_dir():
            raise RecipeError(f"{entry.url} is a folder: read it on its own, a list is one of files")
    return Listing(entries, top, options, beside=_beside(inside.values()))


def _list_one(url: str, root: Url | None, options: Mapping[str, Any]) -> Listing:
    fs, path = filesystem(url, options)
    with store_errors(f"list {url}"):
        if fs.isdir(path):
            found, base = _images_in(fs, path) or {name: {} for name in archives_in(fs, path)}, path
        elif fs.exists(path):
            found, base = {path: fs.info(path)}, posixpath.dirname(path)
        elif any(wildcard in path for wildcard in "*?["):
            found = {p: i for p, i in fs.glob(path, detail=True).items() if i["type"] == "file" and not _is_record(p)}
            base = _before_wildcard(path)
        elif "{" in path and is_archive(path):
            found, base = {name: {} for name in named_by_braces(path)}, ""
        else:
            raise StoreError(
                f"cannot list {public(url)}: there is nothing there; expected a folder, a glob or a file: check its "
                "name, and that of its bucket"
            )
    if not found:
        looked = "files that end in " + ", ".join(f".{extension}" for extension in sorted(KNOWN_EXTENSIONS))
        if not fs.isdir(path):
            looked = "files whose names fit this pattern"
        raise StoreError(f"there are no images in {public(url)}: looked for {looked}")
    top = None if root is None else filesystem(os.fspath(root), options)[1]
    packed = [name for name in found if is_archive(name)]
    inside = list(contents_of([_as_url(fs, name) for name in packed], top and _as_url(fs, top), options))
    base = path if packed == [path] else base
    entries = [
        Entry(_relative(name, top or base), _as_url(fs, name), info.get("size"), etag_of(info))
        for name, info in found.items()
        if name not in packed
    ]
    entries += [entry for contents in inside for entry in _entries(contents.images)]
    if not entries:
        raise StoreError(f"there are no images in {public(url)}: looked into {len(packed)} archives")
    ordered = tuple(sorted(entries, key=lambda e: e.key))
    base = top or base
    return Listing(ordered, base and _as_url(fs, base), options, beside=_beside(inside))


def _entries(members: Iterable[tuple[str, Member]]) -> list[Entry]:
    return [Entry(key, m.url, m.size, f"{m.mark:08x}") for key, m in members if not _is_record(key)]


def _beside(inside: Iterable[Contents]) -> tuple[Entry, ...]:
    return tuple(entry for contents in inside for entry in _entries(contents.beside))


def _images_in(fs: AbstractFileSystem, folder: str) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for name, info in fs.find(folder, detail=True).items():
        parts = _relative(name, folder).split("/")
        hidden = any(part.startswith(".") or part == RECORD_FOLDER for part in parts)
        if not hidden and extension(name) in KNOWN_EXTENSIONS:
            found[name] = info
    return found


def _is_record(path: str) -> bool:
    return RECORD_FOLDER in path.split("/")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def entry_of(url: str, root: Url | None, storage_options: Mapping[str, Any]) -> Entry:
    """Return the entry of one URL, without listing: only this machine's files are looked at.

    A remote one would cost a request each; it is met when it is read. So is a file that is not there, or a folder.
    """
    member = Member.parse(url)
    if member is not None:
        return Entry(member.name, url, member.size, f"{member.mark:08x}")
    fs, path = filesystem(url, storage_options)
    key = _key_of_url(url) if root is None else _relative(path, filesystem(os.fspath(root), storage_options)[1])
    if not is_local(fs) or not Path(path).is_file():
        return Entry(key, _as_url(fs, path))
    info = fs.info(path)
    return Entry(key, path, info["size"], etag_of(info))


def _key_of_url(url: str) -> str:
    """Return the URL without its scheme, as it was given.

    Examples
    --------
    >>> _key_of_url("s3://bucket/a/b.jpg"), _key_of_url("/data/b.jpg"), _key_of_url("photos/b.jpg")
    ('bucket/a/b.jpg', 'data/b.jpg', 'photos/b.jpg')
    """
    path = public(url).split("://", 1)[-1].replace(os.sep, "/")
    return posixpath.normpath(posixpath.join("/", path)).lstrip("/")


def _relative(path: str, base: str) -> str:
    base = base.rstrip("/") + "/"
    if not path.startswith(base):
        raise RecipeError(f"{public(path)} does not lie in the root {public(base)}")
    return path[len(base) :]


def _before_wildcard(path: str) -> str:
    first = min(path.find(wildcard) for wildcard in "*?[" if wildcard in path)
    return posixpath.dirname(path[:first])


def _as_url(fs: AbstractFileSystem, path: str) -> str:
    return path if is_local(fs) else str(fs.unstrip_protocol(path))


def extension(name: str) -> str:
    """Return a name's extension, lower-case and without its dot; empty if it has none.

    Examples
    --------
    >>> extension("a/b.JPG"), extension("a.b/c"), extension(".hidden")
    ('jpg', '', '')
    """
    return posixpath.splitext(posixpath.basename(name))[1].lstrip(".").lower()
