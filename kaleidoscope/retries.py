"""Which errors of a store pass, and trying again where they do: in one place, for all libraries alike."""

from __future__ import annotations

import errno
import logging
import random
import re
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from kaleidoscope import settings
from kaleidoscope.errors import KaleidoscopeError
from kaleidoscope.log import tell

_Answer = TypeVar("_Answer")

#: Seconds before the second try, doubled with each, and the longest wait; drawn are parts of them.
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 10.0
#: What trying again does not change.
_FINAL = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError, KaleidoscopeError)
#: Modules whose errors are those of a connection.
_OF_CONNECTIONS = ("aiohttp", "aiobotocore", "botocore", "urllib3", "http", "fsspec", "obstore")
#: Answers of a server that are final: what the client did wrong, but for time-outs and haste.
_CLIENT_ERROR = re.compile(
    r"(status code: |\bHTTP status client error \()(?!408|425|429)4\d\d|^(?!408|425|429)4\d\d, message="
)
#: What the libraries say where a server did not answer, and where no connection to it came about.
_TIMED_OUT = re.compile(r"\(timed out\)|[Tt]imeout on endpoint|TimeoutError|operation timed out")
_NO_CONNECTION = re.compile(r"no connection to|Could not connect|Cannot connect|Connect call failed|Connection refused")
#: Seconds from one line that tells of trying again to the next, of the whole process.
_TOLD_EVERY = 10.0
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


def silence_in(said: str) -> str:
    """Return what an error's text says of a server that cannot be talked to; empty where it has answered.

    Examples
    --------
    >>> silence_in("Read timeout on endpoint URL"), silence_in("Could not connect to the endpoint"), silence_in("503")
    ('no answer (timed out)', 'no connection', '')
    """
    if _TIMED_OUT.search(said):
        return "no answer (timed out)"
    return "no connection" if _NO_CONNECTION.search(said) else ""


def described(error: BaseException) -> str:
    """Return an error's kind and text; no kind that is this package's own affair, for nobody could look it up.

    Examples
    --------
    >>> described(ValueError("too dark"))
    'ValueError: too dark'
    """
    name = type(error).__name__
    return str(error) if name.startswith("_") else f"{name}: {error}"


class _Unheard(logging.Handler):
    """Shows on stderr what nobody listens for: who waits for minutes has to know why."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show it, as Python does where there is no handler at all."""
        logger: logging.Logger | None = _logger
        while logger is not None:
            if any(not isinstance(each, logging.NullHandler | _Unheard) for each in logger.handlers):
                return
            logger = logger.parent if logger.propagate else None
        if logging.lastResort is not None:
            logging.lastResort.handle(record)


class _Teller:
    """Tells that something is tried again: one line in a while, however many wait."""

    def __init__(self) -> None:
        self._lock, self._last = threading.Lock(), float("-inf")

    def tell(self, about: str, error: BaseException, number: int, most: int) -> None:
        """Tell which try comes now, and why."""
        with self._lock:
            if time.monotonic() - self._last < _TOLD_EVERY:
                return
            self._last = time.monotonic()
        why = silence_in(described(error)) or described(error)
        tell(_logger, logging.WARNING, f"{about or 'a store'}: {why}, try {number} of {most}")


_logger = logging.getLogger(__name__)
_logger.addHandler(_Unheard(logging.WARNING))
_teller = _Teller()


def retried(call: Callable[[], _Answer], tries: int | None = None, about: str = "") -> _Answer:
    """Return what a call returns; try again where a server was busy or a connection broke.

    Waits double from 0.2 s up to 10 s, and are drawn from none to all of it (Brooker, 2015, "Exponential backoff and
    jitter"), so that many workers do not come back at once.

    Parameters
    ----------
    call : callable
        May be done again where it `passes`.
    tries : int, optional
        By default what the setting ``kaleidoscope.store-tries`` says.
    about : str
        The URL of what is asked for, to tell of.
    """
    most = settings.value("store-tries") if tries is None else tries
    for number in range(most - 1):
        try:
            return call()
        except Exception as error:
            if not passes(error):
                raise
            _teller.tell(about, error, number + 2, most)
            time.sleep(random.uniform(0, min(_LONGEST_WAIT, _FIRST_WAIT * 2**number)))  # noqa: S311 - no secret
    return call()
