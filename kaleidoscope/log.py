"""What an operator reads: a line for each thing that happens, on the ``kaleidoscope.*`` loggers of Python's `logging`.

Every record has ``key`` and ``step``: of the image it is about, else empty. No line shows what opens a URL.
"""

from __future__ import annotations

import logging

from kaleidoscope.errors import KaleidoscopeError
from kaleidoscope.urls import public


def tell(logger: logging.Logger, level: int, message: str, *, key: str = "", step: str = "") -> None:
    """Log a message in one line, without the credentials that a URL in it may contain.

    Parameters
    ----------
    logger : logging.Logger
        Of the module that tells.
    level : int
        As `logging` numbers them.
    message : str
        What has happened.
    key, step : str
        The image and the node of the variant tree, or the stage, it is about.
    """
    if logger.isEnabledFor(level):
        line = " ".join(public(message).splitlines())
        logger.log(level, "%s", line, extra={"key": key, "step": step}, stacklevel=2)


def tell_failure(logger: logging.Logger, error: KaleidoscopeError, told: set[str | None]) -> None:
    """Warn that an image failed, unless that is told already: a lost step costs many variants and is one line.

    Parameters
    ----------
    logger : logging.Logger
        Of the module that tells.
    error : KaleidoscopeError
        With key and step.
    told : set of str or None
        The steps at which this image is known to have failed; this one is added.
    """
    if error.step in told:
        return
    told.add(error.step)
    key, step = error.key or "", error.step or ""
    tell(logger, logging.WARNING, f"{key}: {step}: {type(error).__name__}: {error.message}", key=key, step=step)
