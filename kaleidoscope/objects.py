"""Objects of a store by path: got and put, tried again where that helps; by obstore for S3 where it is installed.

obstore takes a quarter of the processor's time that s3fs takes for an object of 100 KB. Listings, which are few, are
fsspec's in any case.
"""

from __future__ import annotations

import errno
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from kaleidoscope import settings
from kaleidoscope.errors import KaleidoscopeError, StoreError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    Buffer = bytes | bytearray | memoryview

_Answer = TypeVar("_Answer")

#: Seconds before the second try, doubled with each, and the longest wait; drawn are parts of them.
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 10.0
#: What trying again does not change.
_FINAL = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError, KaleidoscopeError)
#: Modules whose errors are those of a connection.
_OF_CONNECTIONS = ("aiohttp", "aiobotocore", "botocore", "urllib3", "fsspec", "obstore")
#: Answers of a server that are final: what the client did wrong, but for time-outs and haste.
_CLIENT_ERROR = re.compile(r"status code: (?!408|425|429)4\d\d|\bHTTP status client error \((?!408|425|429)4\d\d")
#: Answers of a server that knows no conditional puts and says so; most that know none say nothing.
_NO_CONDITIONS = re.compile(r"status code: 501\b")
#: What S3 may answer with status 200 where it should have been 500.
_ERROR_FOR_CONTENT = re.compile(rb"\s*(<\?xml[^>]*>\s*)?<Error>\s*<Code>(\w+)</Code>")
#: Options of s3fs that obstore has, too; with any other one s3fs does the work.
_KNOWN = {"key", "secret", "token", "profile", "endpoint_url", "client_kwargs", "anon", "requester_pays", "use_ssl"}
_KNOWN_INSIDE = {"endpoint_url", "region_name"}
#: For how long a server may say nothing, and how long a request may take: a shard on a slow line takes minutes.
_SILENCE, _LONGEST_REQUEST = timedelta(seconds=60), timedelta(minutes=10)
#: Half of what S3 takes in one request: s3fs begins parts at twice a chunk.
_LARGEST_PUT = 5 * 2**29
#: Of no meaning to obstore.
_PASSED_OVER = {"use_listings_cache", "skip_instance_cache", "asynchronous"}
#: For how long credentials of the machine, a role or a profile are used before they are asked for again.
_CREDENTIALS_HOLD = timedelta(minutes=5)
#: Begins what obstore tells beyond its message.
_DETAILS = "\n\nDebug source:"
#: What has to be allowed.
_ACTIONS = {"read": "s3:GetObject", "write": "s3:PutObject", "delete": "s3:DeleteObject"}


#: Of this process, by filesystem, which fsspec has one of for equal options.
_opened: dict[tuple[AbstractFileSystem, str], Objects] = {}
_one_at_a_time = threading.Lock()


class _RefusedError(OSError):
    """What a server, or the way to it, said that is no error of files."""


class Objects(Protocol):
    """Objects by their path on a filesystem, ``bucket/key`` on S3.

    Errors are those of files: `FileNotFoundError`, `FileExistsError`, `PermissionError`, `OSError`.
    """

    def get(self, path: str) -> bytes:
        """Return an object's bytes."""

    def put(self, path: str, data: Buffer) -> None:
        """Write an object; it replaces one that is there."""

    def create(self, path: str, data: Buffer) -> None:
        """Write an object if there is none, where the store can tell; elsewhere it is replaced."""

    def delete(self, path: str) -> None:
        """Delete an object."""


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
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    usual = FsspecObjects(fs, 1 if protocol in {"file", "local"} else None, is_s3=protocol in {"s3", "s3a"})
    if wanted == "fsspec" or not url.startswith(("s3://", "s3a://")) or not _understood(options):
        return usual
    if find_spec("obstore") is None:
        if wanted == "obstore":
            raise StoreError(
                "kaleidoscope.object-store is set to obstore, which is missing: it is in kaleidoscope[fast]"
            )
        return usual
    return ObstoreObjects(options, usual)


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

    def __init__(self, fs: AbstractFileSystem, tries: int | None = None, *, is_s3: bool = False) -> None:
        self.fs = fs
        self.tries = tries
        self._how = {"chunksize": _LARGEST_PUT} if is_s3 else {}
        self._checked: Callable[[bytes], bytes] = _no_error if is_s3 else bytes

    def get(self, path: str) -> bytes:
        """Return an object's bytes."""
        return retried(lambda: self._checked(self.fs.cat_file(path)), self.tries)

    def put(self, path: str, data: Buffer) -> None:
        """Write an object; it replaces one that is there."""
        retried(partial(self.fs.pipe_file, path, bytes(data), **self._how), self.tries)

    def create(self, path: str, data: Buffer) -> None:
        """Write an object if there is none, where the store can tell; elsewhere it is replaced."""
        create = partial(self.fs.pipe_file, path, bytes(data), mode="create", **self._how)
        _conditionally(partial(retried, create, self.tries), partial(self.put, path, data))

    def delete(self, path: str) -> None:
        """Delete an object."""
        retried(partial(self.fs.rm_file, path), self.tries)


class ObstoreObjects:
    """Objects in S3's buckets through obstore; paths that it cannot spell go through fsspec.

    Parameters
    ----------
    options : mapping
        As s3fs takes them.
    usual : FsspecObjects
        For paths with empty parts, dots alone, or control characters.
    """

    def __init__(self, options: Mapping[str, Any], usual: FsspecObjects) -> None:
        self._options = dict(options)
        self._usual = usual
        self._buckets: dict[str, Any] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        """Name the buckets; never the options, which may hold credentials."""
        return f"ObstoreObjects({', '.join(self._buckets)})"

    def get(self, path: str) -> bytes:
        """Return an object's bytes."""
        return self._usual.get(path) if _odd(path) else self._call("get", "read", path)

    def put(self, path: str, data: Buffer) -> None:
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

    def _call(self, name: str, doing: str, path: str, *args: Any, **kwargs: Any) -> Any:
        import obstore

        bucket, _, key = path.partition("/")

        def call() -> Any:
            with _plain_errors(bucket, key, doing):
                done = getattr(obstore, name)(self._bucket(bucket), key, *args, **kwargs)
                # The body comes only now, and may break off.
                return _no_error(bytes(done.bytes())) if name == "get" else done

        return retried(call)

    def _bucket(self, name: str) -> Any:
        with self._lock:
            if name not in self._buckets:
                self._buckets[name] = _open(name, self._options)
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
        raise _RefusedError(f"{where}: {str(error).partition(_DETAILS)[0].strip()}") from None


def _odd(path: str) -> bool:
    """Whether obstore cannot spell a path.

    Examples
    --------
    >>> _odd("bucket/a//b"), _odd("bucket/a b+%#?.jpg")
    (True, False)
    """
    parts = path.split("/")
    return any(part in {"", ".", ".."} for part in parts) or any(ord(char) < 32 or ord(char) == 127 for char in path)


def _open(bucket: str, options: Mapping[str, Any]) -> Any:
    from botocore.session import Session  # type: ignore[import-untyped]
    from obstore.store import S3Store

    inside = options.get("client_kwargs") or {}
    session = Session(profile=options.get("profile"))
    endpoint = options.get("endpoint_url") or inside.get("endpoint_url") or _endpoint(session)
    config: dict[str, Any] = {
        "region": inside.get("region_name") or session.get_config_variable("region") or "us-east-1",
        "virtual_hosted_style_request": endpoint is None and "." not in bucket,  # a certificate covers no more dots
    }
    if endpoint is not None:
        config["endpoint"] = endpoint
    if options.get("requester_pays"):
        config["request_payer"] = True
    more: dict[str, Any] = {}
    if options.get("anon"):
        config["skip_signature"] = True
    elif options.get("key") is not None:
        config |= {"access_key_id": options["key"], "secret_access_key": options.get("secret")}
        if options.get("token"):
            config["session_token"] = options["token"]
    else:
        more["credential_provider"] = partial(_credentials, session)
    return S3Store(
        bucket,
        config=config,  # type: ignore[arg-type]  # a TypedDict of these very names
        client_options={
            "allow_http": bool(endpoint and endpoint.startswith("http://")),
            "timeout": _LONGEST_REQUEST,
            "read_timeout": _SILENCE,
        },
        retry_config={"max_retries": 0},  # `retried` does that, for all libraries alike
        **more,
    )


def _endpoint(session: Any) -> str | None:
    """Return where the environment or the profile says that S3 is."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if os.environ.get(name):
            return os.environ[name]
    found: str | None = session.get_scoped_config().get("endpoint_url")
    return found


def _credentials(session: Any) -> dict[str, Any]:
    """Return what the environment, the profile, or the machine's role has: what botocore, and so s3fs, would find."""
    found = session.get_credentials()
    if found is None:
        raise PermissionError("no AWS credentials were found: give key and secret, a profile, or anon=True")
    frozen = found.get_frozen_credentials()
    return {
        "access_key_id": frozen.access_key,
        "secret_access_key": frozen.secret_key,
        "token": frozen.token,
        "expires_at": datetime.now(UTC) + _CREDENTIALS_HOLD,
    }


def passes(error: BaseException) -> bool:
    """Whether trying again may help: not where something is missing, forbidden, or was asked for wrongly.

    Examples
    --------
    >>> passes(FileNotFoundError()), passes(PermissionError()), passes(ConnectionResetError()), passes(ValueError())
    (False, False, True, False)
    """
    if isinstance(error, _FINAL):
        return False
    known = type(error).__module__.partition(".")[0] in _OF_CONNECTIONS or isinstance(error, OSError | TimeoutError)
    return known and not _CLIENT_ERROR.search(str(error)) and not _no_conditions(error)


def _no_conditions(error: BaseException) -> bool:
    """Whether a server says that it does not do what was asked of it: s3fs makes ``ENOSYS`` of that."""
    return getattr(error, "errno", None) == errno.ENOSYS or bool(_NO_CONDITIONS.search(str(error)))


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
        if not _no_conditions(error):
            raise
        put()


def retried(call: Callable[[], _Answer], tries: int | None = None) -> _Answer:
    """Return what a call returns; try again where a server was busy or a connection broke.

    Waits double from 0.2 s up to 10 s, and are drawn from none to all of it (Brooker, 2015, "Exponential backoff and
    jitter"), so that many workers do not come back at once.

    Parameters
    ----------
    call : callable
        May be done again where it `passes`.
    tries : int, optional
        By default what the setting ``kaleidoscope.store-tries`` says.
    """
    most = settings.value("store-tries") if tries is None else tries
    for number in range(most - 1):
        try:
            return call()
        except Exception as error:
            if not passes(error):
                raise
            time.sleep(random.uniform(0, min(_LONGEST_WAIT, _FIRST_WAIT * 2**number)))  # noqa: S311 - no secret
    return call()
