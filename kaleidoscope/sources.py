"""Listing: which images there are, by key. Nothing is opened."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaleidoscope.codecs import KNOWN_EXTENSIONS
from kaleidoscope.entries import Entries, Entry
from kaleidoscope.errors import RecipeError, StoreError
from kaleidoscope.listing import Listing
from kaleidoscope.storage import filesystem, is_local, options_of, public, store_errors

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

#: What Kaleidoscope keeps about its outputs lies in a folder of this name; a listing passes it by.
RECORD_FOLDER = "_kaleidoscope"

Url = str | os.PathLike[str]


def list_images(
    urls: Url | Iterable[Url],
    *,
    root: Url | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Listing:
    """List the images of a folder, a glob, a file, or a list of files.

    Parameters
    ----------
    urls : str, path, or iterable of them
        A folder (listed with everything under it: files with an image's extension, no hidden ones), a glob, one
        file, or a list of files; local or any fsspec URL.
    root : str or path, optional
        What keys are relative to. Without it: the folder; a glob's part before its first wildcard; one file's
        parent; for a list, the URL without its scheme is the key.
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
    entries = [entry_of(os.fspath(url), root, options) for url in given]
    for entry in entries:
        if entry.size is None and "://" not in entry.url and Path(entry.url).is_dir():
            raise RecipeError(f"{entry.url} is a folder: read it on its own, a list is one of files")
    return Listing(Entries.of(entries), top, options)


def _list_one(url: str, root: Url | None, options: Mapping[str, Any]) -> Listing:
    fs, path = filesystem(url, options)
    with store_errors(f"list {url}"):
        if fs.isdir(path):
            found, base = _images_in(fs, path), path
        elif fs.exists(path):
            found, base = {path: fs.info(path)}, posixpath.dirname(path)
        elif any(wildcard in path for wildcard in "*?["):
            found = {p: i for p, i in fs.glob(path, detail=True).items() if i["type"] == "file" and not _is_record(p)}
            base = _before_wildcard(path)
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
    if root is not None:
        base = filesystem(os.fspath(root), options)[1]
    entries = [
        Entry(_relative(name, base), _as_url(fs, name), info.get("size"), _etag(info)) for name, info in found.items()
    ]
    return Listing(Entries.of(entries).sorted(), _as_url(fs, base), options)


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


def entry_of(url: str, root: Url | None, storage_options: Mapping[str, Any]) -> Entry:
    """Return the entry of one URL, without listing: only this machine's files are looked at.

    A remote one would cost a request each; it is met when it is read. So is a file that is not there, or a folder.
    """
    fs, path = filesystem(url, storage_options)
    key = _key_of_url(url) if root is None else _relative(path, filesystem(os.fspath(root), storage_options)[1])
    if not is_local(fs) or not Path(path).is_file():
        return Entry(key, _as_url(fs, path))
    info = fs.info(path)
    return Entry(key, path, info["size"], _etag(info))


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


def _etag(info: Mapping[str, Any]) -> str:
    """Return what tells this version of an object from the next: its etag, else when it was changed."""
    for name in ("ETag", "etag", "md5Hash", "md5", "mtime", "LastModified", "last_modified", "created"):
        if info.get(name) is not None:
            return str(info[name]).strip('"')
    return ""


def extension(name: str) -> str:
    """Return a name's extension, lower-case and without its dot; empty if it has none.

    Examples
    --------
    >>> extension("a/b.JPG"), extension("a.b/c"), extension(".hidden")
    ('jpg', '', '')
    """
    return posixpath.splitext(posixpath.basename(name))[1].lstrip(".").lower()
