"""Where a run is run: on the active client or on the threads of this process; and how it is followed."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from dask.base import get_scheduler
from dask.callbacks import Callback
from dask.system import CPU_COUNT

from kaleidoscope import at_work
from kaleidoscope.display import Progress
from kaleidoscope.errors import ResourceError
from kaleidoscope.report import Report
from kaleidoscope.resources import said

if TYPE_CHECKING:
    from dask.highlevelgraph import HighLevelGraph
    from dask.typing import Key
    from distributed import Client, Scheduler

#: Seconds that a run which ends early waits for its tasks on a cluster: they end with the output they are making.
_PATIENCE = 5.0
#: Between two looks at whether there are workers for what waits.
_EVERY = 10.0


def default_client() -> Client | None:
    """Return the client that work goes to if nothing else is said, if there is one."""
    return active_client(None, None)


def active_client(run: object, scheduler: object) -> Client | None:
    """Return the client that Dask would send the run to, if it would; without a run, any."""
    if "distributed" not in sys.modules:  # nobody can have made a client: do not load it
        return None
    from distributed import Client

    client = getattr(get_scheduler(collections=None if run is None else [run], scheduler=scheduler), "__self__", None)
    return client if isinstance(client, Client) else None


def thread_count() -> int:
    """Return how many threads there are to work on a run."""
    if "distributed" in sys.modules:
        from distributed import default_client

        try:
            return sum(default_client().nthreads().values()) or CPU_COUNT
        except ValueError:
            return CPU_COUNT
    return CPU_COUNT


def process_count() -> int:
    """Return how many processes those threads are in."""
    if "distributed" in sys.modules:
        from distributed import default_client

        with suppress(ValueError):
            return len(default_client().nthreads()) or 1
    return 1


def follow(
    client: Client, graph: HighLevelGraph, blocks: Sequence[Key], report: str, bar: Progress, run_id: str
) -> Report:
    """Run on a cluster, and tell the bar of every task of the `blocks` that is done; return what `report` gives."""
    from distributed import as_completed

    futures = client.get(graph, [*blocks, report], sync=False)
    try:
        with _Watch(client):
            for future, totals in as_completed(futures[:-1], loop=client.loop, with_results=True):
                bar.advance(totals.outputs + totals.lost, failed=totals.failed)
                future.release()
            result: Report = futures[-1].result()
    except BaseException as error:
        with suppress(Exception):  # the cluster may be what failed; its tasks see by the lease that they must stop
            client.cancel(futures)
            client.run(at_work.stop, run_id, _PATIENCE, on_error="ignore")
        if isinstance(error, Exception) and client.status != "running":
            raise ResourceError("the client or its cluster was closed, or lost, in the middle of the run") from error
        raise
    return result


class _Watch:
    """Looks, as long as the block lasts, whether tasks wait for a worker that has gone, and says so once.

    Dask waits in silence. Whoever starts such a worker has the run go on.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="kaleidoscope-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _look(self) -> None:
        while not self._over.wait(_EVERY):
            try:
                missed = self._client.run_on_scheduler(_missed)
            except Exception:  # noqa: BLE001 - whatever ends the connection ends the run, which says so
                return
            if missed and not self._over.is_set():
                warnings.warn(f"tasks wait for {missed}: there is none now", stacklevel=1)
                return


def _missed(dask_scheduler: Scheduler) -> str:
    """Return the workers that tasks wait for and that are not there; empty if there are none of these."""
    if not dask_scheduler.workers:
        return "a worker"
    needs = {said(task.resource_restrictions or {}) for task in dask_scheduler.unrunnable}
    return f"a worker with {' or '.join(sorted(needs))}" if needs else ""


class Advance(Callback):
    """Tells the bar of every task that a scheduler of this process has done."""

    def __init__(self, bar: Progress, keys: Iterable[Key]) -> None:
        super().__init__(posttask=self._done)
        self._bar = bar
        self._keys = set(keys)

    def _done(self, key: Key, result: Any, *_: Any) -> None:
        if key in self._keys:
            self._bar.advance(result.outputs + result.lost, failed=result.failed)
