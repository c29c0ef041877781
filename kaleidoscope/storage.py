"""A place of bytes: a folder or a bucket, read, listed, and written so that nobody sees half an object."""

from __future__ import annotations

import errno
import itertools
import os
import posixpath
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kaleidoscope.errors import KaleidoscopeError, RecipeError, StoreError
from kaleidoscope.file_info import written_at
from kaleidoscope.objects import FsspecObjects, Objects, created, objects_of, protocol_of
from kaleidoscope.pieces import pieces_of
from kaleidoscope.retries import described, silence_in
from kaleidoscope.urls import options_in, options_of, public, shows_secrets

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from kaleidoscope.pieces import Buffer, Content

_NO_ROOM = "; make room, and start the same again"
_NOT_ALLOWED = "; choose another place, or have this one opened to you"
_NO_ENDPOINT = "; check the endpoint (AWS_ENDPOINT_URL, endpoint_url)"
#: What to do next when a disk says no.
_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _NO_ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _NOT_ALLOWED),
}

#: Windows would take the bytes for text.
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)

_serial = itertools.count()
_process = uuid.uuid4().hex[:8]


def filesystem(url: str, storage_options: Mapping[str, Any] | None = None) -> tuple[AbstractFileSystem, str]:
    """Return the fsspec filesystem of a URL, and the URL's path on it.

    What has no scheme is a path of this machine, letter by letter: ``::`` in it chains nothing.

    Raises
    ------
    StoreError
        If fsspec has no filesystem for it, or what it needs is not installed.
    """
    import fsspec

    protocol, separator, _ = url.partition("://")
    if not separator:
        fs = fsspec.filesystem("file")
        return fs, posixpath.normpath(fs._strip_protocol(url))  # noqa: SLF001 - makes ~ and relative paths absolute
    named = options_in(url)  # fsspec refuses to be told twice
    options = {name: value for name, value in (storage_options or {}).items() if name not in named}
    chained = any("://" in link or link in fsspec.available_protocols() for link in url.split("::")[1:])
    if protocol in {"s3", "s3a"}:
        options.setdefault("use_listings_cache", False)  # s3fs would go on showing an old listing
    try:
        if "::" in url and not chained and protocol in fsspec.available_protocols():  # `::` in an object's name
            kind = fsspec.get_filesystem_class(protocol)
            return kind(**named, **options), str(kind._strip_protocol(url))  # noqa: SLF001 - as above
        fs, path = fsspec.core.url_to_fs(url, **options)
    except Exception as error:  # noqa: BLE001 - an unknown host, a missing option: each library has its own way
        raise StoreError(public(f"cannot open {url!r}: {error}")) from None
    return fs, path


def is_local(fs: AbstractFileSystem) -> bool:
    """Whether this filesystem is the machine's own."""
    return protocol_of(fs) in {"file", "local"}


@contextmanager
def store_errors(doing: str) -> Iterator[None]:
    """Turn what a filesystem raises into a `StoreError` that says what was being done."""
    try:
        yield
    except KaleidoscopeError:
        raise
    except FileNotFoundError:
        nothing = "there is nothing there"
        if doing.startswith(("create ", "write ")):
            nothing = (
                "the bucket or folder it would lie in is not there, and cannot be made: make it, or check its name"
            )
        raise StoreError(f"cannot {public(doing)}: {nothing}") from None
    except IsADirectoryError:
        raise StoreError(f"cannot {public(doing)}: a folder stands where a file should") from None
    except NotADirectoryError:
        raise StoreError(f"cannot {public(doing)}: a file stands where a folder should") from None
    except Exception as error:  # noqa: BLE001 - each store's library has exceptions of its own
        said = described(error)
        unreachable = "s3://" in doing and silence_in(said)
        advice = _NO_ENDPOINT if unreachable else _ADVICE.get(getattr(error, "errno", None) or 0, "")
        cause = None if shows_secrets(error) else error  # whoever catches this may print both
        raise StoreError(public(f"cannot {doing}: {said}{advice}")) from cause


def read_url(url: str, storage_options: Mapping[str, Any] | None = None) -> bytes:
    """Return the bytes at a URL.

    Raises
    ------
    StoreError
        If they cannot be read.
    """
    with store_errors(f"read {url}"):
        if "://" not in url:
            return Path(url).read_bytes()
        fs, path = filesystem(url, storage_options)
        return objects_of(fs, url, storage_options or {}).get(path)


class Found(NamedTuple):
    """An object as a listing shows it: its name in the store, size in bytes, and when it was written, where known."""

    name: str
    size: int
    written: float | None


class Store:
    """A folder or bucket that a run writes to, by names relative to its URL.

    Parameters
    ----------
    url : str
        A local path or an fsspec URL.
    storage_options : mapping, optional
        What fsspec needs to open it.

    Raises
    ------
    RecipeError
        If the URL is empty, which would mean the present folder.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        if not os.fspath(url):
            raise RecipeError("expected the URL or path of a folder or bucket, got an empty one")
        fs, path = filesystem(os.fspath(url), storage_options)
        self.local = is_local(fs)
        self.url = path if self.local else str(fs.unstrip_protocol(path))
        self.storage_options = options_of(os.fspath(url), storage_options)
        self._path = path.rstrip("/")

    def __repr__(self) -> str:
        """Name the URL; never the options, which may hold credentials."""
        return f"Store({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel without the open connection."""
        return Store, (self.url, self.storage_options)

    @cached_property
    def fs(self) -> AbstractFileSystem:
        """The fsspec filesystem."""
        return filesystem(self.url, self.storage_options)[0]

    @cached_property
    def objects(self) -> Objects:
        """What gets and puts them."""
        return objects_of(self.fs, self.url, self.storage_options)

    @property
    def requests_to_read(self) -> int:
        """How many requests reading an object takes: s3fs looks for it first."""
        return 2 if self.url.startswith(("s3://", "s3a://")) and isinstance(self.objects, FsspecObjects) else 1

    def path(self, name: str = "") -> str:
        """Return the full path of a name on the filesystem.

        Raises
        ------
        StoreError
            If the name leads out of the store: a manifest may say anything.
        """
        if ".." in name.split("/"):
            raise StoreError(f"{name!r} leads out of {self.url}")
        return f"{self._path}/{name}" if name else self._path

    def read(self, name: str) -> bytes:
        """Return an object's bytes.

        Raises
        ------
        StoreError
            If it cannot be read.
        """
        with store_errors(f"read {self.url}/{name}"):
            return self.objects.get(self.path(name))

    def read_if_there(self, name: str) -> bytes | None:
        """Return an object's bytes, or None if there is none."""
        with store_errors(f"read {self.url}/{name}"):
            try:
                return self.objects.get(self.path(name))
            except FileNotFoundError:
                return None

    def exists(self, name: str) -> bool:
        """Whether there is an object of that name."""
        with store_errors(f"look for {self.url}/{name}"):
            return bool(self._ask(name, lambda fs, path: fs.exists(path)))

    def _ask(self, name: str, question: Callable[[AbstractFileSystem, str], Any]) -> Any:
        path = self.path(name)
        return self.objects.ask(path, lambda fs: question(fs, path))

    @property
    def takes_pieces(self) -> bool:
        """Whether an object in pieces is written without being put together."""
        return self.local or self.objects.takes_pieces

    def write(self, name: str, data: Content) -> None:
        """Write an object, whole or not at all; it replaces one of the same name.

        Raises
        ------
        StoreError
            If it cannot be written.
        """
        with store_errors(f"write {self.url}/{name}"):
            if self.local:
                self._write_file(name, data)
            else:
                self.objects.put(self.path(name), data)

    def create(self, name: str, data: Buffer) -> bool:
        """Write an object if there is none of that name yet; return whether it is there now, as it was given.

        On disk and on stores with conditional writes, one of several who try at once succeeds, if no two of them write
        the same bytes. Elsewhere each of them may: see `replaces`.
        """
        with store_errors(f"create {self.url}/{name}"):
            if not self.local:
                return created(self.objects, self.path(name), data)
            path = Path(self.path(name))
            path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                temporary = self._temporary(data)
                try:
                    os.link(temporary, path)  # fails if `path` exists, and never shows it half written
                except FileExistsError:
                    if path.is_dir():
                        raise
                    return False
                except FileNotFoundError:
                    continue  # a run that was just opened has swept the temporary file away
                except OSError:
                    return _create_without_links(path, data)
                else:
                    return True
                finally:
                    Path(temporary).unlink(missing_ok=True)

    def replaces(self, name: str, data: Buffer) -> bool:
        """Whether creating an object that is there replaces it, which a server that ignores conditions does not say.

        It is asked by trying: `data` is what the object holds.
        """
        if self.local:
            return False
        with store_errors(f"create {self.url}/{name}"):
            try:
                self.objects.create(self.path(name), data)
            except FileExistsError:
                return False
            return True

    def find(self) -> list[str]:
        """Return the names of all objects, those in folders too."""
        base = self.path("").rstrip("/") + "/"
        with store_errors(f"list {self.url}"):
            found = self._ask("", lambda fs, path: fs.find(path, refresh=True))
            return [str(name).removeprefix(base) for name in found]

    def look(self, folder: str = "") -> Iterator[Found]:
        """Yield all objects under a folder, those in folders of it too, by one listing: no request for each."""
        base = self.path("").rstrip("/") + "/"
        with store_errors(f"list {self.url}/{folder}"):
            found = self._ask(folder, lambda fs, path: fs.find(path, detail=True, refresh=True))
        for path, info in found.items():
            if not str(path).endswith("/"):  # an empty object that some tools make for a folder
                yield Found(str(path).removeprefix(base), int(info["size"] or 0), written_at(info))

    def list(self, folder: str) -> list[str]:
        """Return the names of the objects directly in a folder, sorted; none if there is no such folder."""
        with store_errors(f"list {self.url}/{folder}"):
            try:
                found = self._ask(folder, lambda fs, path: fs.ls(path, detail=True, refresh=True))
            except FileNotFoundError:
                return []
            return sorted(str(i["name"]).rsplit("/", 1)[-1] for i in found if i["type"] == "file")

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; those that are gone already are no error."""
        with store_errors(f"delete from {self.url}"):
            for name in names:
                try:
                    self.objects.delete(self.path(name))
                except FileNotFoundError:
                    continue
                if self.local:
                    self._prune(Path(self.path(name)).parent)

    def _prune(self, folder: Path) -> None:
        """Delete a folder of the store, and those above it, as far as they are empty."""
        while folder != Path(self._path):
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent

    def sweep(self) -> None:
        """Delete what killed writers left of unfinished files."""
        if self.local:
            folder = Path(self._temporary_folder)
            if folder.is_dir():
                for leftover in folder.iterdir():
                    leftover.unlink(missing_ok=True)

    def _write_file(self, name: str, data: Content) -> None:
        temporary = self._temporary(data)
        path = self.path(name)
        try:
            try:
                os.replace(temporary, path)  # noqa: PTH105 - Path.replace costs twice the time
            except FileNotFoundError:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                os.replace(temporary, path)  # noqa: PTH105
        except OSError:
            with suppress(OSError):  # the first error is the one to know
                os.unlink(temporary)  # noqa: PTH108
            raise

    @cached_property
    def _temporary_folder(self) -> str:
        return self.path("_kaleidoscope/unfinished")

    def _temporary(self, data: Content) -> str:
        """Write the bytes under a name of this process's own, beside the target so that a rename is enough."""
        path = f"{self._temporary_folder}/{_process}-{os.getpid()}-{threading.get_ident()}-{next(_serial)}"
        try:
            try:
                _write_new(path, data)
            except FileNotFoundError:
                os.makedirs(self._temporary_folder, exist_ok=True)  # noqa: PTH103
                _write_new(path, data)
        except OSError:
            with suppress(OSError):  # as above
                os.unlink(path)  # noqa: PTH108
            raise
        return path


def _write_new(path: str, data: Content) -> None:
    """Write a file that is not there yet; three calls of the system, where `Path.write_bytes` needs twice as many.

    Every call lets another thread take the interpreter, which then has to be waited for: of 64 small outputs an image
    it is the calls that cost, not the bytes.
    """
    _fill(os.open(path, _NEW_FILE, 0o666), data)


def _fill(file: int, data: Content) -> None:
    """Write a file that is open, and close it."""
    try:
        for piece in pieces_of(data):
            left = memoryview(piece)
            while left:  # a disk that is almost full takes a part
                left = left[os.write(file, left) :]
    finally:
        os.close(file)


def _create_without_links(path: Path, data: Buffer) -> bool:
    """Create a file where the filesystem knows no hard links: one write of a few bytes, for a moment empty."""
    try:
        file = os.open(path, _NEW_FILE, 0o666)
    except FileExistsError:
        return False
    try:
        _fill(file, data)
    except OSError:
        with suppress(OSError):  # the first error is the one to know
            path.unlink()
        raise
    return True
