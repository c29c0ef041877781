"""The tasks of this process, by run: a run that ends early tells them to stop, and waits until they have."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from kaleidoscope.errors import StoreError

_changed = threading.Condition()
_tasks: Counter[str] = Counter()
_stopped: set[str] = set()


@contextmanager
def task(run_id: str) -> Iterator[None]:
    """Count a task of a run while it is at work."""
    with _changed:
        _tasks[run_id] += 1
    try:
        yield
    finally:
        with _changed:
            _tasks[run_id] -= 1
            _changed.notify_all()


def go_on(run_id: str) -> None:
    """Do nothing while the run goes on.

    Raises
    ------
    StoreError
        If it was told to stop.
    """
    if run_id in _stopped:
        raise StoreError("this run was given up")


def stop(run_id: str, patience: float | None = None) -> None:
    """Tell the tasks of a run to stop, and wait for those at work: they end with the output they are making.

    Parameters
    ----------
    run_id : str
        The run.
    patience : float, optional
        Seconds to wait for them; by default until they have ended.
    """
    with _changed:
        _stopped.add(run_id)
        _changed.wait_for(lambda: not _tasks[run_id], patience)
