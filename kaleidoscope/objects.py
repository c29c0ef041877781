"""Objects of a store by path: got and put, tried again where that helps; by obstore for S3 where it is installed.

obstore takes a quarter of the processor's time that s3fs takes for an object of 100 KB, and less for a long listing.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from kaleidoscope import settings
from kaleidoscope.errors import StoreError
from kaleidoscope.opening import open_bucket
from kaleidoscope.pieces import whole
from kaleidoscope.retries import no_conditions, retried

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from kaleidoscope.pieces import Buffer, Content

_Answer = TypeVar("_Answer")

#: Of s3fs, at once: 10 by default, which one task's reads and writes exceed. They are opened as they are needed.
_CONNECTIONS = 128
#: What S3 may answer with status 200 where it should have been 500.
_ERROR_FOR_CONTENT = re.compile(rb"\s*(<\?xml[^>]*>\s*)?<Error>\s*<Code>(\w+)</Code>")
#: Options of s3fs that obstore has, too; with any other one s3fs does the work.
_KNOWN = {"key", "secret", "token", "profile", "endpoint_url", "client_kwargs", "anon", "requester_pays", "use_ssl"}
_KNOWN_INSIDE = {"endpoint_url", "region_name"}
#: Half of what S3 takes in one request: s3fs begins parts at twice a chunk.
_LARGEST_PUT = 5 * 2**29
#: Of no meaning to obstore.
_PASSED_OVER = {"use_listings_cache", "skip_instance_cache", "asynchronous"}
#: Keys that S3 tells in one answer.
_A_PAGE = 1000
#: Begins what obstore tells beyond its message.
_DETAILS = "\n\nDebug source:"
#: Where no answer came; the details say why.
_UNANSWERED = re.compile(r"(https?://[^/\s]+)\S* in .*error sending request")
#: What has to be allowed.
_ACTIONS = {"read": "s3:GetObject", "write": "s3:PutObject", "delete": "s3:DeleteObject", "list": "s3:ListBucket"}


#: Of this process, by filesystem, which fsspec has one of for equal options.
_opened: dict[tuple[AbstractFileSystem, str], Objects] = {}
_one_at_a_time = threading.Lock()


class OddPathError(ValueError):
    """A listing holds a path that obstore cannot spell."""


class _RefusedError(OSError):
    """What a server, or the way to it, said that is no error of files."""


class _NotPartialError(StoreError):
    """A server has answered 200 instead of 206, be the body a part or the whole: obstore does not take it."""


class Objects(Protocol):
    """Objects by their path on a filesystem, ``bucket/key`` on S3.

    Errors are those of files: `FileNotFoundError`, `FileExistsError`, `PermissionError`, `OSError`.
    """

    #: Whether an object in pieces is sent as it is; otherwise it is put together first, which takes its size again.
    takes_pieces: bool

    def get(self, path: str) -> bytes:
        """Return an object's bytes."""

    def get_range(self, path: str, start: int, end: int) -> bytes:
        """Return some of an object's bytes; fewer where it ends before."""

    def put(self, path: str, data: Content) -> None:
        """Write an object; it replaces one that is there."""

    def create(self, path: str, data: Buffer) -> None:
        """Write an object if there is none, where the store can tell; elsewhere it is replaced."""

    def delete(self, path: str) -> None:
        """Delete an object."""

    def ask(self, path: str, question: Callable[[Any], _Answer]) -> _Answer:
        """Return what an fsspec filesystem says of a path, tried again where that helps."""


def created(objects: Objects, path: str, data: Buffer) -> bool:
    """Write an object if there is none; return whether it is there now, as it was given.

    Trying again after a connection that broke may find it there: what it holds says whose it is, if `data` is unique.
    """
    try:
        objects.create(path, data)
    except FileExistsError:
        try:
            return objects.get(path) == data
        except FileNotFoundError:
            return False  # it went in the meantime
    return True


def objects_of(fs: AbstractFileSystem, url: str, options: Mapping[str, Any]) -> Objects:
    """Return what gets and puts the objects of a filesystem, by the fastest library there is.

    Parameters
    ----------
    fs : fsspec filesystem
        What lists them, and gets and puts them where nothing faster does.
    url : str
        Any URL on it: says the protocol.
    options : mapping
        What it was opened with.
    """
    wanted = settings.value("object-store")
    with _one_at_a_time:
        if (fs, wanted) not in _opened:
            _opened[fs, wanted] = _objects_of(fs, url, options, wanted)
        return _opened[fs, wanted]


def _objects_of(fs: AbstractFileSystem, url: str, options: Mapping[str, Any], wanted: str) -> Objects:
    protocol = protocol_of(fs)
    tries, is_s3 = 1 if protocol in {"file", "local"} else None, protocol in {"s3", "s3a"}
    usual = FsspecObjects(_trying_once(fs) if is_s3 else fs, tries, is_s3=is_s3)
    if wanted == "fsspec" or not url.startswith(("s3://", "s3a://")) or not _understood(options):
        return usual
    if find_spec("obstore") is None:
        if wanted == "obstore":
            raise StoreError(
                "kaleidoscope.object-store is set to obstore, which is missing: it is in kaleidoscope[fast]"
            )
        return usual
    return ObstoreObjects(options, usual)


def protocol_of(fs: AbstractFileSystem) -> str:
    """Return the first name of a filesystem's protocol."""
    return str(fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0])


def _trying_once(fs: AbstractFileSystem) -> AbstractFileSystem:
    """Return an s3fs of our own that leaves trying again to `retried`: its tries and botocore's would multiply ours.

    fsspec hands out one instance to all who ask with the same options; whoever shares that one keeps its retries.
    """
    once = {"retries": {"total_max_attempts": 1}, "max_pool_connections": _CONNECTIONS}
    options = {**fs.storage_options, "config_kwargs": {**once, **(fs.storage_options.get("config_kwargs") or {})}}
    own = type(fs)(*fs.storage_args, **options, skip_instance_cache=True)
    own.retries = 1
    return own


def _understood(options: Mapping[str, Any]) -> bool:
    inside = options.get("client_kwargs") or {}
    return set(options) <= _KNOWN | _PASSED_OVER and set(inside) <= _KNOWN_INSIDE


class FsspecObjects:
    """Objects through an fsspec filesystem.

    Parameters
    ----------
    fs : fsspec filesystem
    tries : int, optional
        See `retried`; 1 for a disk, which does not change its mind.
    is_s3 : bool
        Objects are put in one request each: who is killed leaves no upload in parts, out of sight and to be paid for.
    """

    takes_pieces = False

    def __init__(self, fs: AbstractFileSystem, tries: int | None = None, *, is_s3: bool = False) -> None:
        self.fs = fs
        self.tries = tries
        self._protocol = protocol_of(fs)
        self._how = {"chunksize": _LARGEST_PUT} if is_s3 else {}
        self._checked: Callable[[bytes], bytes] = _no_error if is_s3 else bytes

    def get(self, path: str) -> bytes:
        """Return an object's bytes."""
        return self.ask(path, lambda fs: self._checked(fs.cat_file(path)))

    def get_range(self, path: str, start: int, end: int) -> bytes:
        """Return some of an object's bytes; fewer where it ends before."""
        return bytes(self.ask(path, lambda fs: fs.cat_file(path, start=start, end=end)))

    def put(self, path: str, data: Content) -> None:
        """Write an object; it replaces one that is there."""
        self.ask(path, lambda fs: fs.pipe_file(path, whole(data), **self._how))

    def create(self, path: str, data: Buffer) -> None:
        """Write an object if there is none, where the store can tell; elsewhere it is replaced."""
        _conditionally(
            lambda: self.ask(path, lambda fs: fs.pipe_file(path, bytes(data), mode="create", **self._how)),
            partial(self.put, path, data),
        )

    def delete(self, path: str) -> None:
        """Delete an object."""
        self.ask(path, lambda fs: fs.rm_file(path))

    def ask(self, path: str, question: Callable[[Any], _Answer]) -> _Answer:
        """Return what the filesystem says of a path, tried again where that helps."""
        about = path if "://" in path else f"{self._protocol}://{path}"
        return retried(lambda: question(self.fs), self.tries, about)


class ObstoreObjects:
    """Objects in S3's buckets through obstore; paths that it cannot spell go through fsspec.

    Parameters
    ----------
    options : mapping
        As s3fs takes them.
    usual : FsspecObjects
        For paths with empty parts, dots alone, or control characters.
    """

    takes_pieces = True

    def __init__(self, options: Mapping[str, Any], usual: FsspecObjects) -> None:
        self._options = dict(options)
        self._usual = usual
        self._ranges = True
        self._buckets: dict[str, Any] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        """Name the buckets; never the options, which may hold credentials."""
        return f"ObstoreObjects({', '.join(self._buckets)})"

    def get(self, path: str) -> bytes:
        """Return an object's bytes."""
        return self._usual.get(path) if _odd(path) else self._call("get", "read", path)

    def get_range(self, path: str, start: int, end: int) -> bytes:
        """Return some of an object's bytes; fewer where it ends before."""
        if self._ranges and not _odd(path):
            try:
                return bytes(self._call("get_range", "read", path, start=start, end=end))
            except _NotPartialError:
                self._ranges = False
        return self._usual.get_range(path, start, end)

    def put(self, path: str, data: Content) -> None:
        """Write an object; it replaces one that is there."""
        if _odd(path):
            self._usual.put(path, data)
        else:
            self._call("put", "write", path, data, use_multipart=False)

    def create(self, path: str, data: Buffer) -> None:
        """Write an object if there is none, where the store can tell; elsewhere it is replaced."""
        if _odd(path):
            self._usual.create(path, data)
        else:
            create = partial(self._call, "put", "write", path, data, mode="create", use_multipart=False)
            _conditionally(create, partial(self.put, path, data))

    def delete(self, path: str) -> None:
        """Delete an object."""
        if _odd(path):
            self._usual.delete(path)
        else:
            self._call("delete", "delete", path)

    def ask(self, path: str, question: Callable[[Any], _Answer]) -> _Answer:
        """Return what s3fs says of a path, tried again where that helps."""
        return self._usual.ask(path, question)

    def listed(self, bucket: str, prefix: str, after: str) -> Iterator[Sequence[Mapping[str, Any]]]:
        """Yield what lies under a prefix and after a key, in the order of keys, as much as one request tells.

        Raises
        ------
        OddPathError
            At the first path that obstore cannot spell.
        """
        import obstore

        store, pages = self._bucket(bucket), None

        def next_page() -> Any:
            nonlocal pages
            try:
                with _plain_errors(bucket, prefix, "list"):
                    pages = pages or iter(obstore.list(store, prefix or None, offset=after or None, chunk_size=_A_PAGE))
                    return next(pages, None)
            except obstore.exceptions.InvalidPathError as error:
                raise OddPathError(str(error)) from None
            except BaseException:
                pages = None  # what broke off goes on from the last key that came
                raise

        while page := retried(next_page, about=f"s3://{bucket}/{prefix}"):
            after = page[-1]["path"]
            yield page

    def _call(self, name: str, doing: str, path: str, *args: Any, **kwargs: Any) -> Any:
        import obstore

        bucket, _, key = path.partition("/")

        def call() -> Any:
            with _plain_errors(bucket, key, doing):
                done = getattr(obstore, name)(self._bucket(bucket), key, *args, **kwargs)
                # The body comes only now, and may break off.
                return _no_error(bytes(done.bytes())) if name == "get" else done

        return retried(call, about=f"s3://{path}")

    def _bucket(self, name: str) -> Any:
        with self._lock:
            if name not in self._buckets:
                self._buckets[name] = open_bucket(name, self._options)
            return self._buckets[name]


@contextmanager
def _plain_errors(bucket: str, key: str, doing: str) -> Iterator[None]:
    """Turn obstore's errors into those of files."""
    from obstore import exceptions

    where = f"bucket {bucket!r}, key {key!r}"
    try:
        yield
    except exceptions.NotFoundError:
        raise FileNotFoundError(f"{where}: there is no such object or bucket") from None
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
        raise FileExistsError(f"{where}: it is there already") from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError):
        raise PermissionError(f"{where}: the credentials do not allow {_ACTIONS[doing]}") from None
    except exceptions.GenericError as error:
        if "non-partial response" in str(error):
            raise _NotPartialError(where) from None
        said, _, details = str(error).partition(_DETAILS)
        if unanswered := _UNANSWERED.search(said):
            how = "no answer (timed out) from" if "kind: Timeout" in details else "no connection to"
            said = f"{how} {unanswered[1]}"
        raise _RefusedError(f"{where}: {said.strip()}") from None


def _odd(path: str) -> bool:
    """Whether obstore cannot spell a path.

    Examples
    --------
    >>> _odd("bucket/a//b"), _odd("bucket/a b+%#?.jpg")
    (True, False)
    """
    parts = path.split("/")
    return any(part in {"", ".", ".."} for part in parts) or any(ord(char) < 32 or ord(char) == 127 for char in path)


def _no_error(data: bytes) -> bytes:
    """Return an object's bytes.

    Raises
    ------
    OSError
        If they are an error that came with status 200.
    """
    found = _ERROR_FOR_CONTENT.match(data)
    if found:
        raise _RefusedError(f"the answer was no object but an error: {found[2].decode()}")
    return data


def _conditionally(create: Callable[[], object], put: Callable[[], object]) -> None:
    """Create an object, or put it where the server says that it cannot tell whether there is one."""
    try:
        create()
    except OSError as error:
        if not no_conditions(error):
            raise
        put()
