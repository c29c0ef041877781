"""Listing: which images there are, by key. Nothing is opened."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaleidoscope.archives import Contents, archives_in, contents_of, is_archive, named_by_braces
from kaleidoscope.buckets import Bucket, Tell, is_bucket
from kaleidoscope.codecs import KNOWN_EXTENSIONS
from kaleidoscope.entries import Entries, Entry
from kaleidoscope.errors import RecipeError, StoreError
from kaleidoscope.file_info import etag_of
from kaleidoscope.listing import Listing
from kaleidoscope.members import Member
from kaleidoscope.objects import objects_of
from kaleidoscope.storage import filesystem, is_local, store_errors
from kaleidoscope.urls import options_of, public, without_query

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

#: What Kaleidoscope keeps about its outputs lies in a folder of this name; a listing passes it by.
RECORD_FOLDER = "_kaleidoscope"

#: How the name of an image ends.
_IMAGES = tuple(f".{extension}" for extension in KNOWN_EXTENSIONS)
_WILDCARD = re.compile(r"[*?[]")

Url = str | os.PathLike[str]


def list_images(
    urls: Url | Iterable[Url],
    *,
    root: Url | None = None,
    storage_options: Mapping[str, Any] | None = None,
    tell: Tell = lambda _: None,
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
    tell : callable
        Is told of a bucket's keys as they come: how many more.

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
        return _list_one(place, root, options_of(place, storage_options), tell)
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
    entries = [entry for some in several for entry in some]
    for entry in entries:
        if entry.size is None and "://" not in entry.url and Path(entry.url).is_dir():
            raise RecipeError(f"{entry.url} is a folder: read it on its own, a list is one of files")
    return Listing(Entries.of(entries), top, options, beside=_beside(inside.values()))


@dataclass(frozen=True)
class _Found:
    """What was found, and what its keys are relative to."""

    entries: Entries
    base: str
    is_glob: bool = False


def _list_one(url: str, root: Url | None, options: Mapping[str, Any], tell: Tell) -> Listing:
    fs, path = filesystem(url, options)
    top = None if root is None else filesystem(os.fspath(root), options)[1]
    top = None if top == path and is_archive(path) else top
    with store_errors(f"list {url}"):
        found = _in_bucket(fs, path, top, options, tell) if is_bucket(fs) else _in_folders(fs, path, top)
        found = _or_archives(fs, path, found)
    braces = "; braces are expanded for archives only: give a list, or a glob" if "{" in path else ""
    if found is None:
        raise StoreError(
            f"cannot list {public(url)}: there is nothing there; expected a folder, a glob or a file: check its "
            f"name, and that of its bucket{braces}"
        )
    if not len(found.entries):
        looked = "files that end in " + ", ".join(f".{extension}" for extension in sorted(KNOWN_EXTENSIONS))
        if found.is_glob:
            looked = "files whose names fit this pattern"
        raise StoreError(f"there are no images in {public(url)}: looked for {looked}{braces}")
    if found.is_glob or len(found.entries) == 1:
        return _opened(fs, path, top, found, options)
    return Listing(found.entries.sorted(), _as_url(fs, found.base), options)


def _or_archives(fs: AbstractFileSystem, path: str, found: _Found | None) -> _Found | None:
    """Return the archives that braces name or a folder without images holds, where nothing else was found."""
    if found is None and "{" in path and is_archive(path):
        names, base = named_by_braces(path), ""
    elif found is not None and not found.is_glob and not len(found.entries):
        names, base = archives_in(fs, path), found.base
    else:
        return found
    return _Found(Entries.of(Entry(name, _as_url(fs, name)) for name in names), base, is_glob=bool(names))


def _opened(fs: AbstractFileSystem, path: str, top: str | None, found: _Found, options: Mapping[str, Any]) -> Listing:
    """Return what was found with the images in archives in the place of these."""
    packed = [entry.url for entry in found.entries if is_archive(entry.url)]
    inside = list(contents_of(packed, top and _as_url(fs, top), options))
    held = set(packed)
    entries = [entry for entry in found.entries if entry.url not in held]
    entries += [entry for contents in inside for entry in _entries(contents.images)]
    if not entries:
        raise StoreError(f"there are no images in {public(path)}: looked into {len(packed)} archives")
    base = path if packed == [_as_url(fs, path)] and top is None else found.base
    return Listing(Entries.of(entries).sorted(), base and _as_url(fs, base), options, beside=_beside(inside))


def _entries(members: Iterable[tuple[str, Member]]) -> list[Entry]:
    return [Entry(key, m.url, m.size, f"{m.mark:08x}") for key, m in members if not _is_record(key)]


def _beside(inside: Iterable[Contents]) -> tuple[Entry, ...]:
    return tuple(entry for contents in inside for entry in _entries(contents.beside))


def _in_folders(fs: AbstractFileSystem, path: str, top: str | None) -> _Found | None:
    """Return the images in a folder, those that a glob fits, or one; None if there is nothing."""
    is_glob = False
    plain = without_query(path)
    if fs.isdir(path):
        infos: Iterable[tuple[str, Mapping[str, Any]]] = _images_in(fs, path)
        base = plain
    elif fs.exists(path):
        infos, base = [(path, fs.info(path))], posixpath.dirname(plain)
    elif _WILDCARD.search(plain):
        is_glob = True
        infos = [(p, i) for p, i in fs.glob(path, detail=True).items() if i["type"] == "file" and not _is_record(p)]
        base = _before_wildcard(path)
    else:
        return None
    base = base if top is None else top
    found = (Entry(_relative(p, base), _as_url(fs, p), info.get("size"), etag_of(info)) for p, info in infos)
    return _Found(Entries.of(found), base, is_glob)


def _in_bucket(
    fs: AbstractFileSystem, path: str, top: str | None, options: Mapping[str, Any], tell: Tell
) -> _Found | None:
    """Do the same in a bucket of S3, where all that lies in it is asked for at once."""
    name, _, key = path.partition("/")
    bucket = Bucket(fs, name, options, tell)

    def listed(prefix: str, base: str, wanted: Callable[[str], bool]) -> tuple[Entries, bool]:
        base = base if top is None else top
        if f"{base}/".startswith(f"{name}/"):
            return bucket.entries(prefix, f"{base}/".partition("/")[2].lstrip("/"), wanted)
        raise RecipeError(f"{public(path)} does not lie in the root {public(base)}")

    folder = f"{key.rstrip('/')}/" if key else ""
    with suppress(FileNotFoundError):  # no such bucket
        entries, there = listed(folder, path, lambda name: is_image(name[len(folder) :]))
        if there or not key:
            return _Found(entries, path if top is None else top)
        objects = objects_of(fs, f"s3://{path}", options)
        if objects.ask(path, lambda fs: fs.exists(path)):
            whole = objects.ask(path, lambda fs: fs.info(path))
            base = posixpath.dirname(path) if top is None else top
            return _Found(
                Entries.of([Entry(_relative(path, base), _as_url(fs, path), whole["size"], etag_of(whole))]), base
            )
    wildcard = _WILDCARD.search(key)
    if wildcard is None:
        return None
    from fsspec.utils import glob_translate

    base, pattern = _before_wildcard(path), re.compile(glob_translate(key))
    entries = Entries.of(())
    with suppress(FileNotFoundError):
        entries, _ = listed(
            key[: wildcard.start()],
            base,
            lambda name: bool(pattern.match(name)) and not name.endswith("/") and not _is_record(name),
        )
    return _Found(entries, base if top is None else top, is_glob=True)


def _images_in(fs: AbstractFileSystem, folder: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the images in a folder; of this machine those of one folder after the other, as all are too many."""
    if is_local(fs):
        infos = chain.from_iterable(files.values() for _, _, files in fs.walk(folder, detail=True))
    else:
        infos = iter(fs.find(folder, detail=True).values())
    return ((info["name"], info) for info in infos if is_image(_relative(info["name"], folder)))


def is_image(name: str) -> bool:
    """Whether a file, by its name in the folder that is listed, is an image that is not hidden."""
    return name.lower().endswith(_IMAGES) and "/." not in f"/{name}" and not _is_record(name)


def _is_record(path: str) -> bool:
    return RECORD_FOLDER in path.split("/")


def entry_of(url: str, root: Url | None, storage_options: Mapping[str, Any]) -> Entry:
    """Return the entry of one URL, without listing: only this machine's files are looked at.

    A remote one would cost a request each; it is met when it is read. So is a file that is not there, or a folder.
    """
    member = Member.parse(url)
    if member is not None:
        return Entry(member.name, url, member.size, f"{member.mark:08x}")
    fs, path = filesystem(url, storage_options)
    key = key_of_url(url) if root is None else _relative(path, filesystem(os.fspath(root), storage_options)[1])
    if not is_local(fs) or not Path(path).is_file():
        return Entry(key, _as_url(fs, path))
    info = fs.info(path)
    return Entry(key, path, info["size"], etag_of(info))


def key_of_url(url: str) -> str:
    """Return the URL without its scheme, as it was given; without what stands behind ``?`` in one of http.

    Examples
    --------
    >>> key_of_url("s3://bucket/a/b.jpg"), key_of_url("/data/b.jpg"), key_of_url("photos/b.jpg")
    ('bucket/a/b.jpg', 'data/b.jpg', 'photos/b.jpg')
    """
    path = public(without_query(url)).split("://", 1)[-1].replace(os.sep, "/")
    return posixpath.normpath(posixpath.join("/", path)).lstrip("/")


def _relative(path: str, base: str) -> str:
    path, base = without_query(path), without_query(base).rstrip("/") + "/"
    if not path.startswith(base):
        raise RecipeError(f"{public(path)} does not lie in the root {public(base)}")
    return path[len(base) :]


def _before_wildcard(path: str) -> str:
    first = _WILDCARD.search(path)
    return posixpath.dirname(path[: first.start()] if first else path)


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
