"""The exception tree: everything Kaleidoscope raises on purpose.

::

    KaleidoscopeError
    ├── RecipeError      what was asked for makes no sense: an op, a parameter, a tree, a target
    ├── DecodeError      bytes that are not an image we can read
    ├── OpError          an op that cannot do, or failed on, one image
    ├── StoreError       a URL that cannot be listed, read, written or locked
    └── ResourceError    work that landed where its resource is missing

Each carries the image's ``key`` and the ``step`` (the node of the variant tree, or ``read``, ``decode``,
``encode``, ``write``) where they are known, and survives pickling: errors travel between processes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class KaleidoscopeError(Exception):
    """Base of every error that Kaleidoscope raises on purpose.

    Parameters
    ----------
    message : str
        What was expected, what came, what to do next.
    key : str, optional
        The image concerned.
    step : str, optional
        The node of the variant tree, or the stage, where it happened.

    Examples
    --------
    >>> print(KaleidoscopeError("not an image", key="cat/1.jpg", step="decode"))
    cat/1.jpg: decode: not an image
    """

    def __init__(self, message: str, *, key: str | None = None, step: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.key = key
        self.step = step

    def __str__(self) -> str:
        """Join key, step and message, leaving out what is not known; a key with a line break in it is quoted."""
        key = self.key if self.key is None or self.key.isprintable() else repr(self.key)
        return ": ".join(part for part in (key, self.step, self.message) if part)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with key and step, which ``Exception`` alone would lose."""
        return _rebuild, (type(self), self.message, self.key, self.step)


class RecipeError(KaleidoscopeError, ValueError):
    """What was asked for makes no sense: an op, a parameter, a tree, a target."""


class DecodeError(KaleidoscopeError, ValueError):
    """Bytes that are not an image we can read."""


class OpError(KaleidoscopeError, RuntimeError):
    """An op that cannot do, or failed on, one image."""


class StoreError(KaleidoscopeError, OSError):
    """A URL that cannot be listed, read, written or locked."""


class ResourceError(KaleidoscopeError, RuntimeError):
    """Work that landed where its resource is missing."""


def _rebuild(kind: type[KaleidoscopeError], message: str, key: str | None, step: str | None) -> KaleidoscopeError:
    return kind(message, key=key, step=step)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the known name nearest to `name`, or an empty string.

    Examples
    --------
    >>> did_you_mean("Rotat", ["Rotate", "HorizontalFlip"])
    " Did you mean 'Rotate'?"
    >>> did_you_mean("zzz", ["Rotate"])
    ''
    """
    by_folded = {candidate.casefold(): candidate for candidate in known}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return f" Did you mean {by_folded[near[0]]!r}?" if near else ""
