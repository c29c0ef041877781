"""Which errors of a store pass, and trying again where they do: in one place, for all libraries alike."""

from __future__ import annotations

import errno
import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

from kaleidoscope import settings
from kaleidoscope.errors import KaleidoscopeError

_Answer = TypeVar("_Answer")

#: Seconds before the second try, doubled with each, and the longest wait; drawn are parts of them.
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 10.0
#: What trying again does not change.
_FINAL = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError, KaleidoscopeError)
#: Modules whose errors are those of a connection.
_OF_CONNECTIONS = ("aiohttp", "aiobotocore", "botocore", "urllib3", "http", "fsspec", "obstore")
#: Answers of a server that are final: what the client did wrong, but for time-outs and haste.
_CLIENT_ERROR = re.compile(r"status code: (?!408|425|429)4\d\d|\bHTTP status client error \((?!408|425|429)4\d\d")
#: Answers of a server that knows no conditional puts and says so; most that know none say nothing.
_NO_CONDITIONS = re.compile(r"status code: 501\b")


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
    return known and not _CLIENT_ERROR.search(str(error)) and not no_conditions(error)


def no_conditions(error: BaseException) -> bool:
    """Whether a server says that it does not do what was asked of it: s3fs makes ``ENOSYS`` of that."""
    return getattr(error, "errno", None) == errno.ENOSYS or bool(_NO_CONDITIONS.search(str(error)))


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
